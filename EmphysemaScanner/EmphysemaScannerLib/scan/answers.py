"""What each kind of network gives for one CT, by slice and by place, without approximation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from ..base.progress import Progress
from ..models.baselines import AttentionNetwork, CNN3DNetwork, MILNetwork
from ..models.classweights import class_activations
from ..models.conv_lstm import ConvLSTMNetwork, Direction
from ..models.densitybaselines import DensityLogistic
from ..models.diseasemap import disease_logits
from ..models.modelcard import ClassWeights, DiseaseMap
from .result import SliceEvidence, SliceProbabilities, Slices, SliceWeights


@dataclass(frozen=True)
class Answer:
    """One network on one CT.

    Attributes:
        logit: the network's, divided by the temperature.
        bias: what the terms are added to, as in ``ScanResult``.
        terms: (slices, h, w) by place, inferior to superior, as ``ScanResult.evidence``; None for a network that reads
            no volume.
        slices: what it gives for each slice, in the order of ``direction``; None for a network without output by slice.
        direction: the order of slices in the result.
        activations: (slices, h, w) by unit, inferior to superior.
        class_activations: (slices, h, w) by unit, inferior to superior; none without class weights.
        disease: (slices, rows, columns) probability of disease on the network's grid, inferior to superior; None
            without a disease map.
    """

    logit: float
    bias: float
    terms: NDArray[np.float64] | None = None
    slices: Slices | None = None
    direction: Direction = Direction.DESCENDING
    activations: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    class_activations: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    disease: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Reading:
    """How a network is asked.

    Attributes:
        temperature: of the model's card.
        dtype: what the convolutions are calculated in; answer and terms are always float32 at least.
        progress: called with the share done and each slice or unit; whatever it raises ends the reading.
        disease_map, class_weights: of the model's card.
        low: for a disease map that weighs it, ``low_share`` of the CT as (1, T, H, W) on the network's device.
    """

    temperature: float
    dtype: torch.dtype
    progress: Progress
    disease_map: DiseaseMap | None = None
    class_weights: ClassWeights | None = None
    low: Tensor | None = None

    def autocast(self, x: Tensor) -> torch.autocast:
        """What the convolutions on a volume run in."""
        return torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not torch.float32)


def answer(network: nn.Module, x: Tensor, reading: Reading) -> Answer:
    """Ask a network about a CT.

    Args:
        network: of any architecture, in evaluation mode.
        x: what it ``needs``, of one CT, on the network's device.
        reading: how it is asked.
    """
    with torch.inference_mode():
        return _answer(network, x, reading)


@singledispatch
def _answer(network: nn.Module, x: Tensor, reading: Reading) -> Answer:
    """A function for each class of networks is registered here."""
    raise NotImplementedError(f"scan.answers has no function for a {type(network).__name__}")


@_answer.register
def _conv_lstm(network: ConvLSTMNetwork, x: Tensor, reading: Reading) -> Answer:
    slices, units, done = x.shape[1], len(network.units), 0

    def next_slice() -> None:
        nonlocal done
        unit, number = divmod(done, slices)
        stage = f"Reading: unit {unit + 1} of {units}, slice {number + 1} of {slices}"
        reading.progress(done / (units * slices), stage)
        done += 1

    with reading.autocast(x):
        hidden = network.read(x, next_slice)
    activations = {
        name: torch.stack([plane.float().square().mean(0) for plane in states[0]]).sqrt().cpu().numpy()
        for name, states in zip(network.unit_names, hidden, strict=True)
    }
    weighted, disease = {}, None
    if reading.class_weights is not None:
        found = class_activations(network, hidden, reading.class_weights)
        weighted = {name: values[0].cpu().numpy() for name, values in found.items()}
    if reading.disease_map is not None:
        disease = disease_logits(network, hidden, x, reading.low, reading.disease_map)[0].sigmoid().cpu().numpy()
    last = hidden[-1].float()
    direction = network.units[-1].recurrence.direction
    order = np.array(direction.order(slices))
    terms, bias = _running_terms(network, last[0], order)
    terms, bias = terms / reading.temperature, bias / reading.temperature
    evidence = terms.sum((1, 2))[order]
    return Answer(
        logit=float(network.answer(last)[0]) / reading.temperature,
        bias=bias,
        terms=terms,
        slices=SliceEvidence(evidence, running_logit=bias + np.cumsum(evidence)),
        direction=direction,
        activations=activations,
        class_activations=weighted,
        disease=disease,
    )


def _running_terms(
    network: ConvLSTMNetwork, states: Tensor, order: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """What each slice added to the logit at each place, and the logit before any slice was read.

    The dense layer applied to the state after slice t gives the running logit. What slice t added are its terms by
    place less those of the state before, which is zero before the first slice.

    Args:
        network: whose dense layer and normalisation are applied.
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


@_answer.register
def _mil(network: MILNetwork, x: Tensor, reading: Reading) -> Answer:
    features = _features_by_slice(network, x, reading)
    output = network.answer(features)
    # The slices' own probabilities are pooled before the temperature divides; their terms are left as they are, too.
    return Answer(
        logit=float(output.logit[0]) / reading.temperature,
        bias=float(network.dense.bias.item()),
        terms=_array(network.evidence(features)[0]),
        slices=SliceProbabilities(_descending(expit(_array(output.slice_logits[0])))),
    )


@_answer.register
def _attention(network: AttentionNetwork, x: Tensor, reading: Reading) -> Answer:
    features = _features_by_slice(network, x, reading)
    output = network.answer(features)
    return Answer(
        logit=float(output.logit[0]) / reading.temperature,
        bias=float(network.dense.bias.item()) / reading.temperature,
        terms=_array(network.evidence(features)[0]) / reading.temperature,
        slices=SliceWeights(
            weight=_descending(_array(output.slice_weights[0])),
            probability=_descending(expit(_array(output.slice_logits[0]))),
        ),
    )


def _features_by_slice(network: MILNetwork | AttentionNetwork, x: Tensor, reading: Reading) -> Tensor:
    """The last unit's features of all slices, (1, T, C, 8, 8)."""
    slices, features = x.shape[1], []
    for k in range(slices - 1, -1, -1):  # from the top, as everywhere; the answer doesn't depend on it
        reading.progress((slices - 1 - k) / slices, f"Reading: slice {slices - k} of {slices}")
        with reading.autocast(x):
            features.append(network.units(x[:, k]).float())
    return torch.stack(features[::-1], 1)


def _descending(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From inferior to superior into superior to inferior."""
    descending: NDArray[np.float64] = values[::-1].copy()
    return descending


@_answer.register
def _cnn3d(network: CNN3DNetwork, x: Tensor, reading: Reading) -> Answer:
    slices, features = x.shape[1], x.transpose(1, 2)
    for k, unit in enumerate(network.units):
        reading.progress(k / len(network.units), f"Reading: unit {k + 1} of {len(network.units)}")
        with reading.autocast(x):
            features = unit(features)
    features = features.float()
    slabs = _array(network.evidence(features)[0])  # (2, 8, 8)
    # Pooling halves the slices and leaves out a last odd one: a slab stands for 16 slices, and none for the topmost.
    height = 2 ** len(network.units)
    terms = np.zeros((slices, *slabs.shape[1:]))
    terms[: height * len(slabs)] = np.repeat(slabs / height, height, axis=0)
    return Answer(
        logit=float(network.answer(features).logit[0]) / reading.temperature,
        bias=float(network.dense.bias.item()) / reading.temperature,
        terms=terms / reading.temperature,
    )


@_answer.register
def _density(network: DensityLogistic, x: Tensor, reading: Reading) -> Answer:
    logit = float(network(x).logit[0]) / reading.temperature
    return Answer(logit=logit, bias=logit)


def _array(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.double().cpu().numpy()
    return array
