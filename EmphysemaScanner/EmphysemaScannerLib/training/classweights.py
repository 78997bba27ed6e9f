"""Class weights of a trained Conv-LSTM's hidden states: what its class-weighted activations are summed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..cohort.manifest import CohortRow
from ..models.classweights import logit_gradients, weighed_states
from ..models.conv_lstm import ConvLSTMNetwork
from ..models.modelcard import ClassWeights, UnitWeights
from ..models.modelfile import Model
from .places import read_chest, some

CASES_OF_EACH_LABEL = 12
MARKED_HEALTHY_PERCENT = 1.0  # of the lungs of the healthy cases, all together: the floor leaves no more
FULL_PERCENTILE = 99.9  # of the lungs of all cases: activation 1
_LEAST_SCALE = 1e-12  # of units that never respond


class Seen(NamedTuple):
    """One unit on one case: the mean gradient of the logit by each channel, and channels in places of the lungs."""

    gradient: NDArray[np.float64]
    places: NDArray[np.float32]


def find_class_weights(model: Model, rows: Sequence[CohortRow], progress: Progress = silent) -> ClassWeights | None:
    """Weights and colour ranges from cases of the split "train"; the labels say only whose lungs should look empty.

    Args:
        model: of any architecture; nothing of it changes.
        rows: the cohort.
        progress: called with the share done and the case; whatever it raises ends the work.

    Returns:
        None for a model without recurrent units, or where no case of either label can be read.
    """
    network, random = model.network, np.random.default_rng(0)
    if not isinstance(network, ConvLSTMNetwork):
        return None
    here = [row for row in rows if row.split == "train" and row.volume.exists()]  # others are in the cache alone
    chosen = [row for label in (0, 1) for row in _evenly([row for row in here if row.label == label])]
    seen: dict[int, list[list[Seen]]] = {0: [], 1: []}
    for number, row in enumerate(chosen):
        progress(number / len(chosen), row.volume.name)
        try:
            seen[row.label].append(_seen(model, network, row, random))
        except EmphysemaScannerError:  # a cohort of thousands has some whose lungs are not found
            continue
    if not all(seen.values()):
        return None
    units = [
        _unit(name, [case[k] for case in seen[0]], [case[k] for case in seen[1]])
        for k, name in enumerate(network.unit_names)
    ]
    cases = len(seen[0]) + len(seen[1])
    return ClassWeights(tuple(units), f"{cases} cases of the training split, {len(seen[1])} of them with emphysema.")


def _evenly(rows: Sequence[CohortRow]) -> list[CohortRow]:
    """So many as are wanted, spread over the list."""
    count = min(len(rows), CASES_OF_EACH_LABEL)
    return [rows[int(k)] for k in np.linspace(0, len(rows) - 1, count).round()] if count else []


def _seen(model: Model, network: ConvLSTMNetwork, row: CohortRow, random: np.random.Generator) -> list[Seen]:
    """All units on one case.

    Raises:
        EmphysemaScannerError: (a kind of) it cannot be read, or there are no lungs.
    """
    chest = read_chest(model, row)
    hidden, gradients = logit_gradients(network, chest.x)
    seen = []
    for states, gradient in zip(weighed_states(network, hidden), gradients, strict=True):
        by_place = states[0].movedim(1, -1).float().cpu().numpy()  # (T, H, W, F)
        inside = by_place[chest.inside(by_place.shape[:3])]
        places = inside[some(len(inside), random)]
        seen.append(Seen(gradient[0].double().mean((0, 2, 3)).cpu().numpy(), places))
    return seen


def _unit(name: str, healthy: Sequence[Seen], diseased: Sequence[Seen]) -> UnitWeights:
    """Weights such that 0 is the mean of healthy lungs, and lungs of all cases hardly ever exceed 1."""
    weights = np.mean([one.gradient for one in (*healthy, *diseased)], 0)
    calm, all_ = (np.concatenate([one.places @ weights for one in of]) for of in (healthy, (*healthy, *diseased)))
    centre = float(calm.mean())
    scale = max(float(np.percentile(all_, FULL_PERCENTILE)) - centre, _LEAST_SCALE)
    floor = float(np.percentile(calm, 100 - MARKED_HEALTHY_PERCENT) - centre) / scale
    return UnitWeights(name, tuple((weights / scale).tolist()), -centre / scale, float(np.clip(floor, 0.01, 0.99)))
