"""What each kind of network says of one volume, and what can be told of its slices and places without approximation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..base.progress import Progress
from ..models.baselines import AttentionNetwork, AttentionOutput, CNN3DNetwork, MILNetwork
from ..models.conv_lstm import ConvLSTMNetwork


@dataclass(frozen=True)
class Answer:
    """One network on one volume. Arrays over slices are inferior to superior; everything is before temperature.

    Attributes:
        logit: the network's.
        bias: what it starts from: with the terms it sums to the logit, or, where slices are pooled, to each slice's.
        terms: (slices, h, w) by place, on slices of the network's input; None for a network that reads no volume.
        order: (slices,) the slices in the order in which they are told.
        accumulates: whether the terms of a slice are what reading it added, in this order.
        slice_logits: (slices,) of each slice by itself; None if there is no such thing.
        slice_weights: (slices,) attention weights; None if there are none.
        activations: (slices, h, w) by unit.
    """

    logit: float
    bias: float
    terms: NDArray[np.float64] | None
    order: NDArray[np.int64]
    accumulates: bool = False
    slice_logits: NDArray[np.float64] | None = None
    slice_weights: NDArray[np.float64] | None = None
    activations: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def answer(network: nn.Module, x: Tensor, progress: Progress, dtype: torch.dtype) -> Answer:
    """Ask a network about a volume.

    Args:
        network: of any architecture that reads volumes, in evaluation mode.
        x: (1, T, 1, H, W) on the network's device.
        progress: told the share done and each slice or unit; whatever it raises ends the reading.
        dtype: what the convolutions are calculated in; answer and terms are always float32 at least.
    """
    with torch.inference_mode():
        reading = torch.autocast(x.device.type, dtype, enabled=dtype is not torch.float32)
        if isinstance(network, ConvLSTMNetwork):
            return _conv_lstm(network, x, progress, reading)
        if isinstance(network, CNN3DNetwork):
            return _cnn3d(network, x, progress, reading)
        assert isinstance(network, (MILNetwork, AttentionNetwork))
        return _slice_by_slice(network, x, progress, reading)


def _conv_lstm(network: ConvLSTMNetwork, x: Tensor, progress: Progress, reading: torch.autocast) -> Answer:
    slices, units, done = x.shape[1], len(network.units), 0

    def next_slice() -> None:
        nonlocal done
        unit, number = divmod(done, slices)
        stage = f"Reading: unit {unit + 1} of {units}, slice {number + 1} of {slices}"
        progress(done / (units * slices), stage)
        done += 1

    with reading:
        hidden = network.read(x, next_slice)
    activations = {
        name: states[0].float().square().mean(1).sqrt().cpu().numpy()
        for name, states in zip(network.unit_names, hidden, strict=True)
    }
    last = hidden[-1].float()
    order = np.array(network.units[-1].recurrence.direction.order(slices))
    terms, bias = _running_terms(network, last[0], order)
    return Answer(float(network.answer(last)[0]), bias, terms, order, accumulates=True, activations=activations)


def _running_terms(
    network: ConvLSTMNetwork, states: Tensor, order: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """What each slice added to the logit at each place, and the logit before any slice was read.

    The dense layer applied to the state after slice t gives the running logit. What slice t added are its terms by
    place less those of the state before, which is zero before the first slice.

    Args:
        states: hidden states of the fourth unit, (T, C, 8, 8), inferior to superior.
        order: in which the fourth unit reads.

    Returns:
        (T, 8, 8) inferior to superior, and the bias.
    """
    with_start = torch.cat([torch.zeros_like(states[:1]), states[order.tolist()]])
    maps = network.evidence(with_start).double().cpu().numpy()  # (1 + T, 8, 8) in reading order
    added = np.diff(maps, axis=0)
    in_space = np.empty_like(added)
    in_space[order] = added
    return in_space, float(network.dense.bias.item() + maps[0].sum())


def _slice_by_slice(
    network: MILNetwork | AttentionNetwork, x: Tensor, progress: Progress, reading: torch.autocast
) -> Answer:
    slices, features = x.shape[1], []
    for k in range(slices - 1, -1, -1):  # from the top, as everywhere; the answer doesn't depend on it
        progress((slices - 1 - k) / slices, f"Reading: slice {slices - k} of {slices}")
        with reading:
            features.append(network.units(x[:, k]).float())
    read = torch.stack(features[::-1], 1)  # (1, T, C, 8, 8)
    output = network.answer(read)
    weights = _array(output.slice_weights[0]) if isinstance(output, AttentionOutput) else None
    return Answer(
        logit=float(output.logit[0]),
        bias=float(network.dense.bias.item()),
        terms=_array(network.evidence(read)[0]),
        order=np.arange(slices)[::-1].copy(),
        slice_logits=_array(output.slice_logits[0]),
        slice_weights=weights,
    )


def _cnn3d(network: CNN3DNetwork, x: Tensor, progress: Progress, reading: torch.autocast) -> Answer:
    slices, features = x.shape[1], x.transpose(1, 2)
    for k, unit in enumerate(network.units):
        progress(k / len(network.units), f"Reading: unit {k + 1} of {len(network.units)}")
        with reading:
            features = unit(features)
    features = features.float()
    slabs = _array(network.evidence(features)[0])  # (2, 8, 8)
    # Pooling halves the slices and leaves out a last odd one: a slab stands for 16 slices, and none for the topmost.
    height = 2 ** len(network.units)
    terms = np.zeros((slices, *slabs.shape[1:]))
    terms[: height * len(slabs)] = np.repeat(slabs / height, height, axis=0)
    return Answer(
        logit=float(network.answer(features).logit[0]),
        bias=float(network.dense.bias.item()),
        terms=terms,
        order=np.arange(slices)[::-1].copy(),
    )


def _array(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.double().cpu().numpy()
    return array
