"""The hidden states of a Conv-LSTM, for reading: those of ``conv_lstm``, in less time and a third of the memory.

Where no gradient is wanted,
- each BatchNorm after a convolution is folded into its weights;
- on a CPU each slice goes through a whole unit before the next one, in buffers that all slices share, so that the
  numbers at work fit in the cache;
- channels lie last in memory, as the fast convolutions of CPUs and GPUs want them.

Nothing is kept from one pass to the next, so weights may change at any time.
Shapes as in ``conv_lstm``, but slices first: (T, B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .conv_lstm import OnSlice, Unit, ignore_slice

_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def hidden_states(
    units: Sequence[Unit], x: Tensor, on_slice: OnSlice = ignore_slice, slices_at_once: int | None = None
) -> tuple[Tensor, ...]:
    """As ``ConvLSTMNetwork.read`` in evaluation mode without gradients.

    Under ``torch.autocast`` the convolutions have its type; cells and hidden states have at least 32 bits.

    Args:
        units: in evaluation mode.
        x: (B, T, 1, H, W).
        on_slice: called before every slice of every unit.
        slices_at_once: how many slices go through a unit's slice layers together; None for one on a CPU, whose caches
            are small, and for all of them elsewhere, where each call costs time.
    """
    if slices_at_once is None:
        slices_at_once = 1 if x.device.type == "cpu" else x.shape[1]
    dtype, slices, hidden = convolution_type(x), x.transpose(0, 1), []
    norm: nn.BatchNorm2d | None = None
    for unit in units:
        slices = _unit_states(unit, norm, slices, on_slice, dtype, slices_at_once)
        hidden.append(slices.transpose(0, 1))
        norm = unit.state_norm
    return tuple(hidden)


def _unit_states(
    unit: Unit, norm: nn.BatchNorm2d | None, slices: Tensor, on_slice: OnSlice, dtype: torch.dtype, at_once: int
) -> Tensor:
    """A unit's hidden states (T, B, F, H/2, W/2) for slices (T, B, C, H, W), to which ``norm`` is applied first."""
    layers, layer = unit.slice_layers, unit.recurrence
    first, second = (_folded(layers[k], layers[k + 1], dtype) for k in (0, 3))
    if norm is not None:
        scale, shift = (v.to(dtype)[:, None, None] for v in _scale_and_shift(norm))
    weight = channels_last(torch.cat([layer.input_conv.weight, layer.state_conv.weight], dim=1).to(dtype))
    bias = cast(Tensor, layer.input_conv.bias).to(dtype)

    steps, batch, _, height, width = slices.shape
    size = batch, layer.filters, height // 2, width // 2
    h = zeros_channels_last(steps, *size, like=slices, dtype=wide_type(dtype))
    c = torch.zeros_like(h[0])
    x_and_h = zeros_channels_last(1, batch, 2 * layer.filters, *size[2:], like=slices, dtype=dtype)[0]
    x_now, h_before = x_and_h.chunk(2, dim=1)  # side by side in memory, so that one convolution does both
    order = layer.direction.order(steps)
    for start in range(0, steps, at_once):
        group = order[start : start + at_once]
        low, high = min(group), max(group) + 1
        y = channels_last(slices[low:high].flatten(0, 1).to(dtype))
        if norm is not None:
            y = torch.addcmul(shift, y, scale)
        y = convolved(y, *first).relu_()
        y = convolved(y, *second).relu_()
        features = by_slice(functional.max_pool2d(y, 2), len(group))
        for t in group:
            on_slice()
            x_now.copy_(features[t - low])
            i, f, g, o = activate_gates_(convolved(x_and_h, weight, bias).to(c.dtype))
            c.mul_(f).addcmul_(i, g)
            tanh(c, out=h[t]).mul_(o)
            h_before.copy_(h[t])
    return h


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """BatchNorm in evaluation mode is x * scale + shift, each (C,)."""
    scale = norm.weight * torch.rsqrt(cast(Tensor, norm.running_var) + norm.eps)
    return scale, norm.bias - cast(Tensor, norm.running_mean) * scale


def _folded(conv: nn.Module, norm: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does a convolution and the BatchNorm after it."""
    conv, norm = cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)
    scale, shift = _scale_and_shift(norm)
    weight = channels_last((conv.weight * scale[:, None, None, None]).to(dtype))
    return weight, (cast(Tensor, conv.bias) * scale + shift).to(dtype)


def activate_gates_(gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input gate, forget gate, new content of the cell and output gate, each (B, F, H, W), activated in place.

    Args:
        gates: (B, 4F, H, W), W_x * x + W_h * h + b.
    """
    i, f, g, o = gates.chunk(4, dim=1)
    g.mul_(2)  # its tanh as in ``tanh``, by the one sigmoid for all gates
    gates.sigmoid_()
    g.mul_(2).sub_(1)
    return i, f, g, o


def tanh(x: Tensor, out: Tensor) -> Tensor:
    """The hyperbolic tangent as 2 sigmoid(2x) - 1, written into ``out``; torch's sigmoid is several times faster."""
    return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """3 x 3 convolution that keeps the size and leaves the channels last in memory: (B, C, H, W) -> (B, C', H, W).

    Args:
        x: (B, C, H, W).
        weight: (C', C, 3, 3).
        bias: (C',), or None.
    """
    if x.dtype is torch.float32 and x.device.type == "cpu" and _ONEDNN:
        # conv2d takes a slower way for one small slice.
        return torch.mkldnn_convolution(x, weight, bias, padding=(1, 1), stride=(1, 1), dilation=(1, 1), groups=1)
    return torch.conv2d(x, weight, bias, padding=1)


def channels_last(x: Tensor) -> Tensor:
    """The same (N, C, H, W) with channels last in memory, also where one channel leaves torch in doubt about it."""
    if x.shape[1] == 1:
        return x.reshape(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=torch.channels_last)
    if len(x) == 1:  # its stride means nothing, and can be one with which torch's gradients of convolutions go wrong
        channels, width = x.shape[1], x.shape[3]
        x = x.as_strided(x.shape, (x.numel(), 1, width * channels, channels))
    return x


def by_slice(x: Tensor, slices: int) -> Tensor:
    """(T*B, C, H, W) -> (T, B, C, H, W), the same memory."""
    return x.reshape(slices, -1, *x.shape[1:])


def zeros_channels_last(
    slices: int, batch: int, channels: int, height: int, width: int, *, like: Tensor, dtype: torch.dtype
) -> Tensor:
    """Zeros (T, B, C, H, W) with channels last in memory, on the device of ``like``."""
    zeros = torch.zeros(slices, batch, height, width, channels, dtype=dtype, device=like.device)
    return zeros.permute(0, 1, 4, 2, 3)


def convolution_type(x: Tensor) -> torch.dtype:
    """The type in which convolutions of x are calculated here: autocast's where it is on, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """The type of cells and hidden states for convolutions in ``dtype``: at least 32 bits."""
    return torch.promote_types(dtype, torch.float32)
