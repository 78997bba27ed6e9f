"""The arithmetic of a convolutional LSTM layer, with as little memory traffic as torch allows.

Everything here is time-major: T slices, B volumes, C channels, H x W pixels, with the channels last in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

OnSlice = Callable[[], None]

SLICES_AT_ONCE = 5  # whose weight gradients are summed in one call: enough to be efficient, few enough to stay in cache

_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_MINUS_1, _MINUS_2 = torch.tensor(-1.0), torch.tensor(-2.0)  # a scalar to add to in one pass
_GEOMETRY = ((1, 1), (1, 1), (1, 1))  # padding, stride and dilation of every convolution of the network


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """3 x 3 convolution that keeps the size and leaves the channels last in memory: (B, C, H, W) -> (B, C', H, W)."""
    if x.dtype is torch.float32 and x.device.type == "cpu" and _ONEDNN:
        return torch.mkldnn_convolution(x, weight, bias, *_GEOMETRY, 1)  # conv2d takes a slow way for small batches
    return torch.conv2d(x, weight, bias, padding=1)


def channels_last(x: Tensor) -> Tensor:
    """The same (N, C, H, W) with channels last in memory; also where one channel leaves torch in doubt about it."""
    if x.shape[1] == 1:
        return x.reshape(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=torch.channels_last)
    if len(x) == 1:  # whose stride means nothing and can be one that torch's convolutions go wrong with on the way back
        channels, width = x.shape[1], x.shape[3]
        x = x.as_strided(x.shape, (x.numel(), 1, width * channels, channels))
    return x


def by_slice(x: Tensor, steps: int) -> Tensor:
    """(T*B, C, H, W) -> (T, B, C, H, W), the same memory."""
    return x.reshape(steps, -1, *x.shape[1:])


def room(like: Tensor, steps: int, batch: int, channels: int, dtype: torch.dtype, pooled: int = 1) -> Tensor:
    """Zeros (T, B, channels, H, W) with the device of ``like`` (..., H, W) and its H x W divided by ``pooled``."""
    height, width = (size // pooled for size in like.shape[-2:])
    return torch.zeros(steps, batch, height, width, channels, dtype=dtype, device=like.device).permute(0, 1, 4, 2, 3)


def gates_by_sigmoid(weight: Tensor, filters: int) -> Tensor:
    """Weights (4F, ...) with those of the cell's gate doubled: tanh(z) = 2 sigmoid(2 z) - 1, and sigmoid is fast."""
    scaled = weight.clone(memory_format=torch.preserve_format)
    scaled[2 * filters : 3 * filters] *= 2
    return scaled


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """The type of the cells for convolutions in ``dtype``: at least 32 bits."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def tanh_of_half(out: Tensor, x: Tensor) -> Tensor:
    """tanh(x / 2) = 2 sigmoid(x) - 1 written into ``out``: torch calculates sigmoid several times faster than tanh."""
    return torch.add(_MINUS_1, torch.sigmoid(x, out=out), alpha=2, out=out)


def step_(gates: Tensor, previous_cell: Tensor | None, cell: Tensor, hidden: Tensor) -> None:
    """One slice, in place.

    Args:
        gates: (B, 4F, H, W) before the activation, scaled as by ``gates_by_sigmoid``; activated afterwards.
        previous_cell: (B, F, H, W), twice the cell, which saves work; None before the first slice; may be ``cell``.
        cell, hidden: (B, F, H, W), written; twice the cell, too.
    """
    i, f, g, o = gates.sigmoid_().chunk(4, dim=1)
    torch.add(_MINUS_2, g, alpha=4, out=g)  # twice its tanh
    if previous_cell is None:
        torch.mul(i, g, out=cell)
    else:
        torch.mul(f, previous_cell, out=cell).addcmul_(i, g)
    tanh_of_half(hidden, cell).mul_(o)


class Recurrence(torch.autograd.Function):
    """All slices of a ConvLSTM, forward and back, without keeping more than gates, cells and hidden states.

    Cells and the cell's gate are kept as ``step_`` leaves them, twice as large; ``grad_cell`` is for twice the cell.

    Forward: features (T, B, C, H, W), input weight and bias, state weight, the order in which the slices are read,
    ``on_slice``, the type to convolve in -> hidden states (T, B, F, H, W). The cell is never kept in 16 bits.
    The weights' gradients are summed over several slices in one call.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        state_weight: Tensor,
        order: range,
        on_slice: OnSlice,
        dtype: torch.dtype,
    ) -> Tensor:
        steps, batch = x.shape[:2]
        filters = len(bias) // 4
        x, wide = x.to(dtype), wide_type(dtype)
        wx, b, wh = (gates_by_sigmoid(w, filters).to(dtype) for w in (input_weight, bias, state_weight))
        gates = by_slice(convolved(channels_last(x.flatten(0, 1)), wx, b), steps)
        cells = room(x, steps, batch, filters, wide)
        states = room(x, steps, batch, filters, dtype)
        hidden = states[0] if dtype is wide else torch.empty_like(cells[0])
        before: int | None = None
        for t in order:
            on_slice()
            now = gates[t]
            if before is not None:
                now.add_(convolved(states[before], wh))
            wide_gates = now.to(wide)
            hidden = states[t] if dtype is wide else hidden
            step_(wide_gates, None if before is None else cells[before], cells[t], hidden)
            if dtype is not wide:
                now.copy_(wide_gates)
                states[t].copy_(hidden)
            before = t
        ctx.save_for_backward(x, input_weight, state_weight, gates, cells, states)
        ctx.order = order
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, input_weight, state_weight, gates, cells, states = ctx.saved_tensors
        grad_states = grad_outputs[0]
        dtype, wide = gates.dtype, cells.dtype
        steps, batch, filters = states.shape[:3]
        wx, wh = input_weight.to(dtype), state_weight.to(dtype)
        wx_back, wh_back = _transposed(wx), _transposed(wh)
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_wx, grad_wh = (torch.zeros_like(w, dtype=wide) for w in (wx, wh))
        grad_bias = torch.zeros(4 * filters, dtype=wide, device=x.device)
        shared = room(x, min(SLICES_AT_ONCE, steps), batch, 4 * filters, dtype)
        grad_hidden, grad_cell, tanh_cell, work = (torch.zeros_like(cells[0]) for _ in range(4))
        from_next: Tensor | None = None
        backwards = ctx.order[::-1]
        earlier = -ctx.order.step  # the slice read before t is t + earlier
        for first in range(0, steps, SLICES_AT_ONCE):
            group = backwards[first : first + SLICES_AT_ONCE]
            low, high = min(group), max(group) + 1
            for t in group:
                before = t + earlier if t != backwards[-1] else None
                grad_gates = shared[t - low]
                grad_hidden.copy_(grad_states[t])
                if from_next is not None:
                    grad_hidden.add_(from_next)
                i, f, g, o = gates[t].to(wide).chunk(4, dim=1)
                grad_i, grad_f, grad_g, grad_o = grad_gates.chunk(4, dim=1)
                tanh_of_half(tanh_cell, cells[t])
                torch.mul(grad_hidden, o, out=work)  # d tanh(cell)
                grad_cell.add_(work, alpha=0.5).addcmul_(work.mul_(tanh_cell), tanh_cell, value=-0.5)
                grad_o.copy_(work.addcmul_(work, o, value=-1))  # s' = s (1 - s), tanh' = 1 - tanh^2
                torch.mul(grad_cell, g, out=work).mul_(i)
                grad_i.copy_(work.addcmul_(work, i, value=-1))
                torch.mul(grad_cell, i, out=work)
                torch.mul(work.addcmul_(torch.mul(work, g, out=tanh_cell), g, value=-0.25), 2, out=grad_g)
                grad_cell.mul_(f)
                if before is None:
                    grad_f.zero_()
                    continue
                torch.mul(grad_cell, cells[before], out=work)
                grad_f.copy_(work.addcmul_(work, f, value=-1))
                from_next = convolved(grad_gates, wh_back)
            group_gates = shared[: high - low].flatten(0, 1)
            grad_bias += group_gates.sum((0, 2, 3), dtype=wide)
            grad_wx += _weight_gradient(group_gates, x[low:high].flatten(0, 1), wx)
            low_h, high_h = max(low, -earlier), min(high, steps - max(earlier, 0))  # those with a slice before them
            if low_h < high_h:
                with_state = shared[low_h - low : high_h - low].flatten(0, 1)
                grad_wh += _weight_gradient(with_state, states[low_h + earlier : high_h + earlier].flatten(0, 1), wh)
            if grad_x is not None:
                grad_x[low:high] = by_slice(convolved(group_gates, wx_back), high - low)
        return grad_x, grad_wx, grad_bias, grad_wh, None, None, None


def _transposed(weight: Tensor) -> Tensor:
    """The weights with which ``convolved`` takes a gradient from the output back to the input."""
    return weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    grad, x = channels_last(grad), channels_last(x)
    geometry: Sequence[Any] = (None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1)
    gradient: Tensor = torch.ops.aten.convolution_backward(grad, x, weight, *geometry, (False, True, False))[1]
    return gradient
