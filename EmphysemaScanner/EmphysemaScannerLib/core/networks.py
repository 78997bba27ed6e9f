"""The registry of architectures, and parameters as the paper counts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .baselines import CNN3DNetwork, MILNetwork, Pooling
from .conv_lstm import ConvLSTMNetwork
from .errors import ModelFileError
from .modelcard import ARCHITECTURE_TITLES


@dataclass(frozen=True)
class Architecture:
    """One of the paper's networks.

    Every network reads (B, T, 1, H, W) and answers with an object that has ``logit``, shape (B,).

    Attributes:
        name: in model cards and on the command line.
        builder: (width, image_size, slices) -> network with fresh weights; raises ValueError for sizes it can't have.
        published_width: filters of the first two units in the paper.
        published_parameters: in Keras' counting, as the paper gives them.
    """

    name: str
    builder: Callable[[int, int, int], nn.Module]
    published_width: int
    published_parameters: int

    @property
    def title(self) -> str:
        """Its name for people."""
        return ARCHITECTURE_TITLES[self.name]


def _mil(pooling: Pooling) -> Callable[[int, int, int], nn.Module]:
    return lambda width, image_size, slices: MILNetwork(pooling, width, image_size)


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("conv_lstm", lambda width, image_size, slices: ConvLSTMNetwork(width, image_size), 32, 901_793),
        Architecture("mil_max", _mil(Pooling.MAX), 64, 1_011_393),
        Architecture("mil_mean", _mil(Pooling.MEAN), 64, 1_011_393),
        Architecture("mil_product", _mil(Pooling.PRODUCT), 64, 1_011_393),
        Architecture("cnn3d", CNN3DNetwork, 36, 958_213),
    )
}


def build(architecture: str, width: int | None = None, image_size: int = 128, slices: int = 35) -> nn.Module:
    """A network with fresh weights.

    Args:
        architecture: a name in ``ARCHITECTURES``.
        width: filters of the first two units; None for the paper's.
        image_size: rows and columns of a slice.
        slices: of a volume.

    Raises:
        ModelFileError: the architecture's name is unknown, or it can't have this size.
    """
    if architecture not in ARCHITECTURES:
        raise ModelFileError(f"'{architecture}' is not a known architecture; choose one of {', '.join(ARCHITECTURES)}.")
    known = ARCHITECTURES[architecture]
    try:
        return known.builder(known.published_width if width is None else width, image_size, slices)
    except (ValueError, RuntimeError) as error:  # RuntimeError: sizes that no memory holds
        raise ModelFileError(f"A {known.title} cannot be built like this: {error}.") from error


def keras_parameter_count(network: nn.Module) -> int:
    """Parameters as Keras counts them, the paper's numbers: BatchNorm counts its two moving statistics too."""
    statistics = sum(
        buffer.numel() for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))
    )
    return sum(p.numel() for p in network.parameters()) + statistics
