"""The registry of architectures, and parameters as the paper counts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..base.errors import ModelFileError
from . import fast_learning, fast_reading
from .baselines import AttentionNetwork, CNN3DNetwork, MILNetwork, Pooling
from .conv_lstm import ConvLSTMConfig, ConvLSTMNetwork, OnSlice, ignore_slice
from .densitybaselines import DensityLogistic, Measure
from .modelcard import ARCHITECTURE_TITLES, ModelCard
from .preprocessing import Needs


class FastConvLSTM(ConvLSTMNetwork):
    """The same parameters and, but for rounding, the same answers and gradients as ``ConvLSTMNetwork``."""

    needs = Needs.VOLUME

    def read(self, x: Tensor, on_slice: OnSlice = ignore_slice) -> tuple[Tensor, ...]:
        """As ``ConvLSTMNetwork.read``; under ``torch.autocast`` cells have at least 32 bits."""
        if self.training or torch.is_grad_enabled():
            return fast_learning.hidden_states(self.units, x, on_slice)
        return fast_reading.hidden_states(self.units, x, on_slice)


@dataclass(frozen=True)
class Architecture:
    """One kind of model.

    Every network answers with an object that has ``logit``, shape (B,); ``scan.answers`` makes a result of it.

    Attributes:
        name: in model cards and on the command line.
        network: its class, which has ``needs``.
        builder: (width, image_size, slices) -> network with fresh weights; raises ValueError for sizes it can't have.
        published_width: filters of the first two units in the paper, or as many as are built where it has none.
        published_parameters: in Keras' counting, as the paper gives them; None if the paper has no such model.
        each_slice: what its result has for each slice, in the list of architectures.
    """

    name: str
    network: type[FastConvLSTM | MILNetwork | AttentionNetwork | CNN3DNetwork | DensityLogistic]
    builder: Callable[[int, int, int], nn.Module]
    published_width: int
    published_parameters: int | None
    each_slice: str = "none"

    @property
    def title(self) -> str:
        """Its name for people."""
        return ARCHITECTURE_TITLES[self.name]

    @property
    def needs(self) -> Needs:
        """What its network reads."""
        return self.network.needs


def _mil(pooling: Pooling) -> Architecture:
    return Architecture(
        f"mil_{pooling.value}",
        MILNetwork,
        lambda width, image_size, slices: MILNetwork(pooling, width, image_size),
        64,
        1_011_393,
        "probability",
    )


def _density(name: str, measure: Measure) -> Architecture:
    return Architecture(name, DensityLogistic, lambda width, image_size, slices: DensityLogistic(measure), 1, None)


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "conv_lstm",
            FastConvLSTM,
            lambda width, image_size, slices: FastConvLSTM(ConvLSTMConfig(width, image_size)),
            32,
            901_793,
            "evidence",
        ),
        *(_mil(pooling) for pooling in Pooling),
        Architecture(
            "mil_attention",
            AttentionNetwork,
            lambda width, image_size, slices: AttentionNetwork(width, image_size),
            64,
            None,
            "weight",
        ),
        Architecture("cnn3d", CNN3DNetwork, CNN3DNetwork, 36, 958_213),
        _density("laa950_logistic", Measure.LAA_950),
        _density("perc15_logistic", Measure.PERC15),
    )
}


def known_architecture(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        ModelFileError: there is none.
    """
    if name not in ARCHITECTURES:
        raise ModelFileError(f"'{name}' is not a known architecture; choose one of {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[name]


def build(architecture: str, width: int | None = None, image_size: int = 128, slices: int = 35) -> nn.Module:
    """A network with fresh weights.

    Args:
        architecture: a name in ``ARCHITECTURES``.
        width: filters of the first two units; None for the paper's.
        image_size: rows and columns of a slice.
        slices: of a volume. A model that reads densitometry takes no notice of these three.

    Raises:
        ModelFileError: the architecture's name is unknown, or it can't have this size.
    """
    known = known_architecture(architecture)
    try:
        return known.builder(known.published_width if width is None else width, image_size, slices)
    except (ValueError, RuntimeError) as error:  # RuntimeError: sizes that no memory holds
        raise ModelFileError(f"A {known.title} cannot be built like this: {error}.") from error


def logits(network: nn.Module, card: ModelCard, x: Tensor) -> Tensor:
    """The calibrated answer of a model, (B,) float64: its logit divided by the card's temperature.

    Args:
        network: as the card says.
        card: the model's card.
        x: (B, T, 1, H, W), or (B, 2) for a model that reads densitometry.
    """
    logit: Tensor = network(x).logit.double() / card.temperature
    return logit


def keras_parameter_count(network: nn.Module) -> int:
    """Parameters as Keras counts them, the paper's numbers: BatchNorm counts its two moving statistics too."""
    statistics = sum(
        buffer.numel() for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))
    )
    return sum(p.numel() for p in network.parameters()) + statistics
