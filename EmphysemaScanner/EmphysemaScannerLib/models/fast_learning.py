"""The hidden states of a Conv-LSTM, to learn from: those of ``conv_lstm``, with the way back written by hand.

Of all that autograd would keep for the way back, only gates, cells and hidden states are kept, and the weights'
gradients are calculated for several slices at once. Compared with autograd's gradients by tests.

Shapes as in ``conv_lstm``, but slices first: (T, B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from .conv_lstm import Direction, OnSlice, Unit, ignore_slice
from .fast_reading import (
    activate_gates_,
    by_slice,
    channels_last,
    convolution_type,
    convolved,
    tanh,
    wide_type,
    zeros_channels_last,
)

SLICES_AT_ONCE = 5  # in a call for the weights' gradients: enough to be efficient, few enough to stay in the cache


def hidden_states(units: Sequence[Unit], x: Tensor, on_slice: OnSlice = ignore_slice) -> tuple[Tensor, ...]:
    """As ``ConvLSTMNetwork.read``; under ``torch.autocast`` the convolutions have its type, cells at least 32 bits.

    Args:
        units: in training or evaluation mode.
        x: (B, T, 1, H, W).
        on_slice: called before every slice of every unit.
    """
    slices, hidden = x.transpose(0, 1), []
    for number, unit in enumerate(units):
        y = slices.flatten(0, 1)  # (T*B, C, H, W)
        if number:
            y = units[number - 1].state_norm(y)
        features = by_slice(unit.slice_layers(channels_last(y)), len(slices))  # (T, B, F, H/2, W/2)
        layer, conv = unit.recurrence, unit.recurrence.input_conv
        weights = conv.weight, cast(Tensor, conv.bias), layer.state_conv.weight
        how = layer.direction, on_slice, convolution_type(features)
        slices = Recurrence.apply(features, *weights, *how)  # type: ignore[no-untyped-call]
        hidden.append(slices.transpose(0, 1))
    return tuple(hidden)


class Recurrence(torch.autograd.Function):
    """A ConvLSTM layer as a function of its input and its weights, with its gradient.

    In both directions ``z`` are the gates before and i, f, g, o after their activation, ``c`` the cell and ``h`` the
    hidden state; ``d_z`` is the loss's derivative by z, and so on.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_x: Tensor,
        bias: Tensor,
        w_h: Tensor,
        direction: Direction,
        on_slice: OnSlice,
        dtype: torch.dtype,
    ) -> Tensor:
        """Features (T, B, C, H, W), convolved in ``dtype`` -> hidden states (T, B, F, H, W) of this type."""
        x = x.to(dtype)
        gates = by_slice(convolved(channels_last(x.flatten(0, 1)), w_x.to(dtype), bias.to(dtype)), len(x))
        size = x.shape[1], len(bias) // 4, *x.shape[3:]
        c, c_before = _after_and_before(x, size, wide_type(dtype), direction)
        h, h_before = _after_and_before(x, size, dtype, direction)
        recurrent, now = w_h.to(dtype), torch.empty_like(c[0])
        for t in direction.order(len(x)):
            on_slice()
            z = gates[t].add_(convolved(h_before[t], recurrent))
            activated = z.to(c.dtype)
            i, f, g, o = activate_gates_(activated)
            torch.mul(f, c_before[t], out=c[t]).addcmul_(i, g)
            h[t].copy_(tanh(c[t], out=now).mul_(o))
            z.copy_(activated)  # nothing to do unless it is of another type
        ctx.save_for_backward(x, w_x, w_h, gates, c, c_before, h_before)
        ctx.direction = direction
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """The derivatives by features, input weight, bias and state weight."""
        x, w_x, w_h, gates, c, c_before, h_before = ctx.saved_tensors
        (d_h_outside,) = grad_outputs
        dtype, wide = gates.dtype, c.dtype
        w_x_back, w_h_back = _from_output_to_input(w_x.to(dtype)), _from_output_to_input(w_h.to(dtype))
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        d_w_x, d_w_h = torch.zeros_like(w_x, dtype=wide), torch.zeros_like(w_h, dtype=wide)
        d_bias = torch.zeros(len(w_x), dtype=wide, device=x.device)
        size = x.shape[1], len(w_x), *x.shape[3:]
        d_z_group = zeros_channels_last(min(SLICES_AT_ONCE, len(x)), *size, like=x, dtype=dtype)
        d_c, d_h, tanh_c, product = (torch.zeros_like(c[0]) for _ in range(4))
        d_h_from_next: Tensor | float = 0.0

        backwards = ctx.direction.order(len(x))[::-1]
        for start in range(0, len(x), SLICES_AT_ONCE):
            group = backwards[start : start + SLICES_AT_ONCE]
            low, high = min(group), max(group) + 1
            for t in group:
                i, f, g, o = gates[t].to(wide).chunk(4, dim=1)
                d_z = d_z_group[t - low]
                d_zi, d_zf, d_zg, d_zo = d_z.chunk(4, dim=1)
                tanh(c[t], out=tanh_c)
                torch.add(d_h_outside[t], d_h_from_next, out=d_h)
                d_zo.copy_(_sigmoid_back(torch.mul(d_h, tanh_c, out=product), o))
                d_c.add_(_tanh_back(torch.mul(d_h, o, out=product), tanh_c))
                d_zi.copy_(_sigmoid_back(torch.mul(d_c, g, out=product), i))
                d_zg.copy_(_tanh_back(torch.mul(d_c, i, out=product), g))
                d_zf.copy_(_sigmoid_back(torch.mul(d_c, c_before[t], out=product), f))
                d_c.mul_(f)
                d_h_from_next = convolved(d_z, w_h_back)
            d_z = d_z_group[: high - low].flatten(0, 1)
            d_bias += d_z.sum((0, 2, 3), dtype=wide)
            d_w_x += _by_weight(x[low:high], w_x, d_z)
            d_w_h += _by_weight(h_before[low:high], w_h, d_z)
            if d_x is not None:
                d_x[low:high] = by_slice(convolved(d_z, w_x_back), high - low)
        return d_x, d_w_x, d_bias, d_w_h, None, None, None


_sigmoid_back = torch.ops.aten.sigmoid_backward  # (derivative by the output, the output) -> derivative by the input
_tanh_back = torch.ops.aten.tanh_backward


def _after_and_before(
    x: Tensor, size: tuple[int, ...], dtype: torch.dtype, direction: Direction
) -> tuple[Tensor, Tensor]:
    """Zeros (T, *size) for the state after each slice, and the same memory as the state before each slice."""
    both = zeros_channels_last(len(x) + 1, *size, like=x, dtype=dtype)
    return (both[1:], both[:-1]) if direction is Direction.ASCENDING else (both[:-1], both[1:])


def _from_output_to_input(weight: Tensor) -> Tensor:
    """The weight with which ``convolved`` takes a derivative from the output of a convolution to its input."""
    return channels_last(weight.flip(2, 3).transpose(0, 1))


def _by_weight(x: Tensor, weight: Tensor, d_z: Tensor) -> Tensor:
    """The derivative by the weight of a convolution of slices (T, B, C, H, W), from that by its output."""
    y = channels_last(x.flatten(0, 1))
    by_weight: Tensor = conv2d_weight(y, weight.shape, channels_last(d_z), padding=1)  # type: ignore[no-untyped-call]
    return by_weight
