"""The convolutional LSTM network of Braman, Beymer and Dehghan (2018), section 2.2: 901,793 parameters as Keras counts.

Shapes: B volumes, T slices (35), C channels, H x W pixels (128 x 128 at the input). The slices of a tensor always run
inferior to superior (ascending); a descending unit reads them backwards and puts its states back in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from . import slicewise
from .recurrence import OnSlice, Recurrence, channels_last

BATCH_NORM_EPS = 1e-3  # Keras' default, which the published network was built with


def _nothing() -> None:
    pass


def _call_next(calls: Iterator[OnSlice]) -> None:
    next(calls, _nothing)()


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm layers in training leave their moving statistics alone."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


def _first_and_again(unit: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What a checkpointed unit is calculated under, the first time and on the way back."""
    return nullcontext(), _statistics_kept(unit)


def convolution_type(x: Tensor) -> torch.dtype:
    """The type in which convolutions of x are calculated here: autocast's where it is on, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class Direction(Enum):
    """The order in which a unit reads the slices."""

    ASCENDING = "ascending"
    DESCENDING = "descending"


@dataclass(frozen=True)
class ConvLSTMOutput:
    """What one forward pass gives.

    Attributes:
        logit: (B,)
        hidden: the hidden states of the four units, each (B, T, C, H_u, W_u), slices inferior to superior.
    """

    logit: Tensor
    hidden: tuple[Tensor, ...]


class ConvLSTM(nn.Module):
    """Convolutional LSTM layer (Shi et al. 2015, without peepholes), as Keras' ``ConvLSTM2D(return_sequences=True)``.

    Gate order in the channels of both convolutions is Keras': input, forget, cell, output.

    Args:
        in_channels: channels of the input.
        filters: channels of the hidden state.
        direction: order in which the slices are read.
    """

    def __init__(self, in_channels: int, filters: int, direction: Direction) -> None:
        super().__init__()
        self.filters = filters
        self.direction = direction
        self.input_conv = nn.Conv2d(in_channels, 4 * filters, 3, padding=1)
        self.state_conv = nn.Conv2d(filters, 4 * filters, 3, padding=1, bias=False)
        nn.init.xavier_uniform_(self.input_conv.weight)
        nn.init.orthogonal_(self.state_conv.weight.view(4 * filters, -1))
        nn.init.zeros_(self.input_conv.bias)  # type: ignore[arg-type]
        with torch.no_grad():  # Keras' unit_forget_bias
            self.input_conv.bias[filters : 2 * filters] = 1.0  # type: ignore[index]

    def order(self, steps: int) -> range:
        """The slices' numbers, counted from the lowest, in the order in which they are read."""
        return range(steps) if self.direction is Direction.ASCENDING else range(steps - 1, -1, -1)

    def forward(self, x: Tensor, on_slice: OnSlice = _nothing) -> Tensor:
        """(B, T, C, H, W) -> hidden states (B, T, filters, H, W), both inferior to superior."""
        states: Tensor = Recurrence.apply(  # type: ignore[no-untyped-call]
            x.transpose(0, 1),
            self.input_conv.weight,
            self.input_conv.bias,
            self.state_conv.weight,
            self.order(x.shape[1]),
            on_slice,
            convolution_type(x),
        )
        return states.transpose(0, 1)


class Unit(nn.Module):
    """[Conv 3x3 + BatchNorm + ReLU] x 2 and 2x2 max pooling on each slice, then a ConvLSTM over the slices.

    The BatchNorm on the hidden states (``state_norm``) is the unit's output and the next unit's input.
    """

    def __init__(self, in_channels: int, filters: int, direction: Direction) -> None:
        super().__init__()
        self.slice_layers = nn.Sequential(
            nn.Conv2d(in_channels, filters, 3, padding=1),
            nn.BatchNorm2d(filters, eps=BATCH_NORM_EPS),
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, 3, padding=1),
            nn.BatchNorm2d(filters, eps=BATCH_NORM_EPS),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.recurrence = ConvLSTM(filters, filters, direction)
        self.state_norm = nn.BatchNorm2d(filters, eps=BATCH_NORM_EPS)

    def convolution(self, number: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """The first (0) or second (1) convolution of the slice layers, and its norm."""
        layers = self.slice_layers
        return cast(nn.Conv2d, layers[3 * number]), cast(nn.BatchNorm2d, layers[3 * number + 1])

    def hidden_states(self, x: Tensor, on_slice: OnSlice = _nothing) -> Tensor:
        """(B, T, C, H, W) -> hidden states (B, T, filters, H/2, W/2), before ``state_norm``."""
        by_slice = x.transpose(0, 1)  # the slices of one step lie together in memory, from here on
        features = self.slice_layers(channels_last(by_slice.flatten(0, 1)))  # (T*B, F, H/2, W/2)
        states: Tensor = self.recurrence(features.unflatten(0, by_slice.shape[:2]).transpose(0, 1), on_slice)
        return states

    def normalised(self, states: Tensor) -> Tensor:
        """``state_norm`` applied to the hidden state of every slice; same shape."""
        by_slice = states.transpose(0, 1)
        out: Tensor = self.state_norm(by_slice.flatten(0, 1)).unflatten(0, by_slice.shape[:2])
        return out.transpose(0, 1)


class ConvLSTMNetwork(nn.Module):
    """The whole network: four units and one dense layer on the last state of the fourth.

    Args:
        width: filters of the first two units; the last two have twice as many. The published network has 32.
        image_size: rows and columns of a slice, a multiple of 16. The published network has 128.

    Attributes:
        checkpointing: in training, keep only each unit's hidden states and calculate the rest again on the way back:
            about a sixth less memory, a third more time.
    """

    architecture = "conv_lstm"
    unit_names = ("asc1", "desc1", "asc2", "desc2")

    def __init__(self, width: int = 32, image_size: int = 128) -> None:
        super().__init__()
        if width < 1 or image_size < 16 or image_size % 16:
            raise ValueError(f"width must be positive and image_size a multiple of 16, not {width} and {image_size}")
        self.width, self.image_size = width, image_size
        self.checkpointing = False
        up, down = Direction.ASCENDING, Direction.DESCENDING
        self.units = nn.ModuleList(
            [
                Unit(1, width, up),
                Unit(width, width, down),
                Unit(width, 2 * width, up),
                Unit(2 * width, 2 * width, down),
            ]
        )
        self.final_size = image_size // 16
        self.dense = nn.Linear(2 * width * self.final_size**2, 1)

    @property
    def reading_units(self) -> tuple[Unit, ...]:
        """The four units, typed."""
        return tuple(cast(Unit, unit) for unit in self.units)

    @property
    def last_read_slice(self) -> int:
        """Index (inferior to superior) of the slice that the fourth unit reads last."""
        return 0 if self.reading_units[-1].recurrence.direction is Direction.DESCENDING else -1

    def forward(self, x: Tensor, on_slice: OnSlice = _nothing) -> ConvLSTMOutput:
        """Read volumes (B, T, 1, H, W), values in [0, 1], slices inferior to superior.

        ``on_slice`` is called before every slice of every unit; what it raises ends the pass.
        """
        hidden = self.read(x, on_slice)
        return ConvLSTMOutput(self.answer(hidden[-1]), hidden)

    def answer(self, states: Tensor) -> Tensor:
        """The logit (B,) for the hidden states of the fourth unit (B, T, C, 8, 8): the last one read decides."""
        last = self.reading_units[-1].state_norm(states[:, self.last_read_slice])  # (B, C, 8, 8)
        logit: Tensor = self.dense(last.flatten(1)).squeeze(1)
        return logit

    def read(self, x: Tensor, on_slice: OnSlice = _nothing) -> tuple[Tensor, ...]:
        """The hidden states of the four units for volumes (B, T, 1, H, W).

        In evaluation mode and without gradients, slice by slice; otherwise so that all of it can be learned from.
        Under ``torch.autocast`` the convolutions have its type, the cells never less than 32 bits.
        """
        units = self.reading_units
        if not self.training and not torch.is_grad_enabled():
            return slicewise.read(units, x, on_slice, convolution_type(x))
        hidden: list[Tensor] = []
        for previous, unit in zip((None, *units), units, strict=False):
            if previous is not None:
                x = previous.normalised(hidden[-1])
            if self.checkpointing and torch.is_grad_enabled():
                calls = iter([on_slice] * x.shape[1])  # the first time only
                x = checkpoint(
                    unit.hidden_states,
                    x,
                    partial(_call_next, calls),
                    use_reentrant=False,
                    context_fn=partial(_first_and_again, unit),
                )
            else:
                x = unit.hidden_states(x, on_slice)
            hidden.append(x)
        return tuple(hidden)

    def evidence(self, states: Tensor) -> Tensor:
        """The terms of the dense layer by place, for hidden states of the fourth unit (any number of slices).

        Args:
            states: (N, C, 8, 8).

        Returns:
            (N, 8, 8); with the dense layer's bias, each map sums to the logit that its state would give.
        """
        norm = self.reading_units[-1].state_norm
        normalised = functional.batch_norm(
            states, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
        return (normalised * self.dense.weight.view(1, *states.shape[1:])).sum(1)
