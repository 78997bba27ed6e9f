"""The convolutional LSTM network of Braman, Beymer and Dehghan (2018), section 2.2, to be read beside the paper.

At its published size it has 901,793 parameters, as Keras counts them. This file is the whole network in its plainest
form. ``networks.FastConvLSTM`` is the same network in less time and memory; tests hold the two equal.

Shapes: B volumes, T slices (35), C channels, F filters, H x W pixels (128 x 128 at the input). The slices of a tensor
always run inferior to superior (ascending), whatever the order in which a unit reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH_NORM_EPS = 1e-3  # Keras' default, with which the published network was built

OnSlice = Callable[[], None]
"""Called before every slice of every unit; what it raises ends the pass."""


def ignore_slice() -> None:
    """The ``OnSlice`` that does nothing."""


class Direction(Enum):
    """The order in which a unit reads the slices."""

    ASCENDING = "ascending"
    DESCENDING = "descending"

    def order(self, slices: int) -> range:
        """The indices of so many slices, in this order."""
        return range(slices) if self is Direction.ASCENDING else range(slices - 1, -1, -1)


@dataclass(frozen=True)
class ConvLSTMConfig:
    """The sizes of a network. The defaults are the published ones.

    Attributes:
        width: filters of the first two units; the last two have twice as many.
        image_size: rows and columns of a slice, a multiple of 16.

    Raises:
        ValueError: there is no network of these sizes.
    """

    width: int = 32
    image_size: int = 128

    def __post_init__(self) -> None:
        if self.width < 1 or self.image_size < 16 or self.image_size % 16:
            raise ValueError(
                f"width must be positive and image_size a multiple of 16, not {self.width} and {self.image_size}"
            )

    @property
    def final_size(self) -> int:
        """Rows and columns of the fourth unit's hidden states: each of the four units halves them."""
        return self.image_size // 16


@dataclass(frozen=True)
class ConvLSTMOutput:
    """The result of one forward pass.

    Attributes:
        logit: (B,), of the probability of emphysema.
        hidden: the hidden states of the four units, each (B, T, F, H, W) with the unit's own F, H and W.
    """

    logit: Tensor
    hidden: tuple[Tensor, ...]


class ConvLSTM(nn.Module):
    """Convolutional LSTM layer (Shi et al. 2015, without peepholes), as Keras' ``ConvLSTM2D(return_sequences=True)``.

    ``input_conv`` holds W_x and the bias b, ``state_conv`` holds W_h, each for all four gates, which lie one after the
    other in the channels of the output, as in Keras: input gate i, forget gate f, cell c, output gate o.

    Args:
        in_channels: channels of the input.
        filters: F, channels of cell and hidden state.
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
        bias = cast(Tensor, self.input_conv.bias)
        nn.init.zeros_(bias)
        nn.init.ones_(bias[filters : 2 * filters])  # forget gates start at sigmoid(1) = 0.73, Keras' unit_forget_bias

    def forward(self, x: Tensor, on_slice: OnSlice = ignore_slice) -> Tensor:
        """(B, T, C, H, W) -> hidden states (B, T, F, H, W)."""
        slices = x.shape[1]
        wx = self.input_conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]).unbind(1)  # W_x * x_t + b, T of (B, 4F, H, W)
        at_least_32_bits = torch.promote_types(x.dtype, torch.float32)  # also under autocast
        c = h = x.new_zeros(len(x), self.filters, *x.shape[3:], dtype=at_least_32_bits)
        states: dict[int, Tensor] = {}
        for t in self.direction.order(slices):
            on_slice()
            zi, zf, zc, zo = (wx[t] + self.state_conv(h)).chunk(4, dim=1)  # W_xi * x_t + W_hi * h + b_i ...
            i = torch.sigmoid(zi)
            f = torch.sigmoid(zf)
            c = f * c + i * torch.tanh(zc)
            o = torch.sigmoid(zo)
            h = o * torch.tanh(c)
            states[t] = h
        return torch.stack([states[t] for t in range(slices)], dim=1)


class Unit(nn.Module):
    """[Conv 3x3 + BatchNorm + ReLU] x 2 and 2x2 max pooling on each slice by itself, then a ConvLSTM over the slices.

    ``state_norm``, the BatchNorm on the ConvLSTM's output, gives the next unit's input.

    Args:
        in_channels: channels of the input.
        filters: of every layer.
        direction: order in which the ConvLSTM reads the slices.
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

    def forward(self, x: Tensor, on_slice: OnSlice = ignore_slice) -> Tensor:
        """(B, T, C, H, W) -> hidden states (B, T, F, H/2, W/2), before ``state_norm``."""
        features = self.slice_layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # (B, T, F, H/2, W/2)
        states: Tensor = self.recurrence(features, on_slice)
        return states

    def normalised(self, states: Tensor) -> Tensor:
        """``state_norm`` of the hidden state of every slice: (B, T, F, H, W) -> the same shape."""
        normalised: Tensor = self.state_norm(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        return normalised


def dense_terms(dense: nn.Linear, features: Tensor) -> Tensor:
    """The products of a dense layer on flattened features, summed over channels: (B, N, C, ...) -> (B, N, ...)."""
    return (features * dense.weight.view(features.shape[2:])).sum(2)


class ConvLSTMNetwork(nn.Module):
    """The whole network: four units, and one dense layer on the last hidden state of the fourth.

    Args:
        config: the sizes.
    """

    unit_names = ("asc1", "desc1", "asc2", "desc2")
    units: Sequence[Unit]

    def __init__(self, config: ConvLSTMConfig = ConvLSTMConfig()) -> None:
        super().__init__()
        self.config = config
        self.width, self.image_size = config.width, config.image_size
        width = config.width
        units = [
            Unit(1, width, Direction.ASCENDING),
            Unit(width, width, Direction.DESCENDING),
            Unit(width, 2 * width, Direction.ASCENDING),
            Unit(2 * width, 2 * width, Direction.DESCENDING),
        ]
        self.units = cast("Sequence[Unit]", nn.ModuleList(units))
        self.dense = nn.Linear(2 * width * config.final_size**2, 1)

    @property
    def last_read_slice(self) -> int:
        """Index of the slice that the fourth unit reads last."""
        return 0 if self.units[-1].recurrence.direction is Direction.DESCENDING else -1

    def forward(self, x: Tensor, on_slice: OnSlice = ignore_slice) -> ConvLSTMOutput:
        """Read volumes (B, T, 1, H, W), values in [0, 1]."""
        hidden = self.read(x, on_slice)
        return ConvLSTMOutput(self.answer(hidden[-1]), hidden)

    def read(self, x: Tensor, on_slice: OnSlice = ignore_slice) -> tuple[Tensor, ...]:
        """The hidden states of the four units for volumes (B, T, 1, H, W)."""
        hidden = [self.units[0](x, on_slice)]  # (B, T, 32, 64, 64) in the published network
        for before, unit in pairwise(self.units):
            hidden.append(unit(before.normalised(hidden[-1]), on_slice))  # ... (B, T, 64, 8, 8)
        return tuple(hidden)

    def answer(self, states: Tensor) -> Tensor:
        """The logit (B,) from the hidden states of the fourth unit (B, T, F, 8, 8): the last one read decides."""
        last = self.units[-1].state_norm(states[:, self.last_read_slice])  # (B, F, 8, 8)
        logit: Tensor = self.dense(last.flatten(1)).squeeze(1)
        return logit

    def evidence(self, states: Tensor) -> Tensor:
        """The terms of the dense layer by place, for hidden states of the fourth unit (any number N of slices).

        Args:
            states: (N, F, 8, 8).

        Returns:
            (N, 8, 8); with the dense layer's bias, each map sums to the logit that its state would give.
        """
        norm = self.units[-1].state_norm
        normalised = functional.batch_norm(
            states, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
        return dense_terms(self.dense, normalised[None])[0]
