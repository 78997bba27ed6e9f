"""Reading slice by slice when nothing has to be learned: a small working set, BatchNorm folded into the convolutions.

Nothing is kept between two readings, so weights may change at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .recurrence import OnSlice, by_slice, channels_last, convolved, gates_by_sigmoid, room, step_, wide_type

if TYPE_CHECKING:
    from .conv_lstm import Unit


def read(
    units: tuple[Unit, ...],
    x: Tensor,
    on_slice: OnSlice,
    dtype: torch.dtype,
    slices_at_once: int | None = None,
) -> tuple[Tensor, ...]:
    """The hidden states of every unit for volumes (B, T, 1, H, W), as ``ConvLSTMNetwork.read`` gives them.

    Args:
        units: in evaluation mode.
        x: the volumes.
        on_slice: called before every slice of every unit.
        dtype: to convolve in; cells and hidden states have at least 32 bits.
        slices_at_once: how many go through a unit's slice layers together; None for one on a CPU, whose caches are
            small, and all of them elsewhere, where starting a calculation is dear.
    """
    if slices_at_once is None:
        slices_at_once = 1 if x.device.type == "cpu" else x.shape[1]
    slices = x.transpose(0, 1)
    norm: nn.BatchNorm2d | None = None
    hidden = []
    for unit in units:
        slices = _unit(unit, slices, norm, on_slice, dtype, slices_at_once)
        norm = unit.state_norm
        hidden.append(slices.transpose(0, 1))
    return tuple(hidden)


def _unit(
    unit: Unit,
    slices: Tensor,
    norm: nn.BatchNorm2d | None,
    on_slice: OnSlice,
    dtype: torch.dtype,
    at_once: int,
) -> Tensor:
    """One unit: (T, B, C, H, W), not yet normalised by ``norm`` -> hidden states (T, B, F, H/2, W/2)."""
    recurrence = unit.recurrence
    steps, batch, filters = *slices.shape[:2], recurrence.filters
    first, second = (folded(*unit.convolution(k), dtype) for k in (0, 1))
    if norm is not None:
        scale, shift = (v.to(dtype)[:, None, None] for v in scale_and_shift(norm))
    weight = torch.cat([recurrence.input_conv.weight, recurrence.state_conv.weight], dim=1)
    bias = recurrence.input_conv.bias
    assert bias is not None
    weight, bias = (gates_by_sigmoid(w, filters).to(dtype) for w in (weight, bias))
    weight = channels_last(weight)

    wide = wide_type(dtype)
    states = room(slices, steps, batch, filters, wide, pooled=2)
    cell = torch.zeros_like(states[0])
    both = room(slices, 1, batch, 2 * filters, dtype, pooled=2)[0]  # what the recurrence convolves: features and state
    features, state = both.chunk(2, dim=1)

    order = recurrence.order(steps)
    for start in range(0, steps, at_once):
        group = order[start : start + at_once]
        low = min(group)
        y = channels_last(slices[low : max(group) + 1].flatten(0, 1).to(dtype))
        if norm is not None:
            y = torch.addcmul(shift, y, scale)
        y = convolved(convolved(y, *first).relu_(), *second)
        pooled = by_slice(_max_pooled(y).relu_(), len(group))  # the same as before pooling, on a quarter
        for t in group:
            on_slice()
            features.copy_(pooled[t - low])
            step_(convolved(both, weight, bias).to(wide), cell, cell, states[t])
            state.copy_(states[t])
    return states


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """BatchNorm in evaluation mode is x * scale + shift."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does both."""
    assert conv.bias is not None
    scale, shift = scale_and_shift(norm)
    weight = channels_last((conv.weight * scale[:, None, None, None]).to(dtype))
    return weight, (conv.bias * scale + shift).to(dtype)


def _max_pooled(x: Tensor) -> Tensor:
    """2 x 2 max pooling; on a CPU faster than torch's with channels last."""
    rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])
