"""Learning a disease map: a linear readout of a trained Conv-LSTM's hidden states and of density, from lesion maps.

The network stays as it is. In every voxel of the lungs the readout estimates how probable disease is from the hidden
states there, the network's own input, and the share of lung below -950 HU. Both classes count the same while it learns,
and so does every case; the probability is then set to that of the cases as they are. The share of lung below -950 HU is
only learned from CTs that are finer than the network's grid; from others its weight is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..cohort.lesionmaps import lesions_on
from ..cohort.manifest import CohortRow
from ..models.conv_lstm import ConvLSTMNetwork
from ..models.diseasemap import enlarged
from ..models.modelcard import DiseaseMap
from ..models.modelfile import Model
from .places import LUNG_SHARE, read_chest, some

UNITS = ("asc1", "desc1", "asc2")
PENALTY = 1e-2  # of the squared weights of standardised terms
MARKED_HEALTHY_PERCENT = 2.0  # of the lungs of healthy cases, all together: the floor leaves no more

Floats = NDArray[np.float32]


class DiseaseMapError(EmphysemaScannerError):
    """No disease map can be learned."""


@dataclass(frozen=True)
class Places:
    """Voxels of the lungs of one case on the network's grid.

    Attributes:
        terms: (places, channels + 2), the hidden states of ``UNITS`` side by side, then the network's input and the
            share of lung below -950 HU.
        diseased: (places,) the share of the place's lung that is diseased, 0 to 1.
    """

    terms: Floats
    diseased: Floats


def learn_disease_map(model: Model, rows: Sequence[CohortRow], data: str, progress: Progress = silent) -> DiseaseMap:
    """Fit the readout on the split "train" and its floor on the healthy cases of the split "tune".

    Args:
        model: a trained Conv-LSTM; nothing of it changes.
        rows: cases; the diseased ones have lesion maps.
        data: what the cases are, in one sentence.
        progress: called with the share done and the case; whatever it raises ends the work.

    Raises:
        DiseaseMapError: the model is no Conv-LSTM, or cases are missing.
    """
    if not isinstance(model.network, ConvLSTMNetwork):
        raise DiseaseMapError("Only a Conv-LSTM has a disease map; choose a model of this architecture.")
    learned = [row for row in rows if row.split == "train" and (row.lesions or not row.label)]
    healthy = [row for row in rows if row.split == "tune" and not row.label]
    if len({row.label for row in learned}) < 2 or not healthy:
        raise DiseaseMapError(
            "The cohort needs diseased cases with lesion maps and healthy ones in the split train, and healthy ones in "
            "the split tune."
        )
    random = np.random.default_rng(0)
    places = []
    for number, row in enumerate(learned):
        progress(0.9 * number / len(learned), row.volume.name)
        places.append(places_of(model, row, random))
    weights, bias = fit(places)
    logits = []
    for number, row in enumerate(healthy):
        progress(0.9 + 0.1 * number / len(healthy), row.volume.name)
        logits.append(places_of(model, row).terms @ weights + bias)
    floor = np.percentile(np.concatenate(logits), 100 - MARKED_HEALTHY_PERCENT)
    *of_states, of_input, of_low = weights.tolist()
    return DiseaseMap(UNITS, tuple(of_states), bias, float(expit(floor)), data, of_input, of_low)


def places_of(model: Model, row: CohortRow, random: np.random.Generator | None = None) -> Places:
    """Voxels of a case's lungs: some of them by chance, or all.

    Raises:
        EmphysemaScannerError: (a kind of) a file cannot be read, or there are no lungs.
    """
    network, chest = model.network, read_chest(model, row)
    assert isinstance(network, ConvLSTMNetwork)
    shape = chest.low.shape
    lung = chest.lung(shape)
    slices, rows, columns = np.nonzero(lung >= LUNG_SHARE)
    chosen = np.arange(len(slices)) if random is None else some(len(slices), random)
    at = slices[chosen], rows[chosen], columns[chosen]
    terms = np.empty((len(chosen), len(channels := _channels(network, chest.x)) + 2), np.float32)
    for number, channel in enumerate(channels):
        terms[:, number] = enlarged(channel, chest.x.shape[-2:]).cpu().numpy()[at]
    terms[:, -2] = chest.x[0, :, 0].cpu().numpy()[at]
    terms[:, -1] = chest.low[at]
    diseased = np.zeros(len(chosen), np.float32)
    if row.lesions is not None and row.label:
        diseased = (lesions_on(row.lesions, chest.grid(shape))[at] / 255 / lung[at]).clip(0, 1)
    return Places(terms, diseased)


def _channels(network: ConvLSTMNetwork, x: torch.Tensor) -> list[torch.Tensor]:
    """The channels of ``UNITS``, (T, H, W) each, on the first unit's places."""
    with torch.inference_mode():
        hidden = network.read(x)
        states = [hidden[network.unit_names.index(name)][0].float() for name in UNITS]
        return [channel for unit in states for channel in enlarged(unit, states[0].shape[-2:]).unbind(1)]


def fit(places: Sequence[Places]) -> tuple[NDArray[np.float64], float]:
    """Logistic regression with the diseased share as label.

    A place of which a share is diseased counts as both: as a diseased one with that share of its weight.

    Args:
        places: of each case.

    Returns:
        The weight of each term, and the bias.
    """
    from sklearn.linear_model import LogisticRegression

    terms = np.concatenate([case.terms for case in places]).astype(np.float64)
    diseased = np.concatenate([case.diseased for case in places]).astype(np.float64)
    weight = np.concatenate([np.full(len(case.diseased), 1 / len(case.diseased)) for case in places])
    sick, well = weight * diseased, weight * (1 - diseased)
    if not sick.any():
        raise DiseaseMapError("The lesion maps of these cases are empty; no disease map can be learned from them.")
    odds = sick.sum() / well.sum()
    sick, well = sick / sick.sum(), well / well.sum()
    mean, scale = terms.mean(0), terms.std(0) + 1e-6
    standard = (terms - mean) / scale
    either = [sick > 0, well > 0]
    model = LogisticRegression(C=1 / (2 * PENALTY), max_iter=1000)
    model.fit(
        np.concatenate([standard[chosen] for chosen in either]),
        np.concatenate([np.full(int(chosen.sum()), label) for chosen, label in zip(either, (1, 0), strict=True)]),
        np.concatenate([sick[either[0]], well[either[1]]]),
    )
    weights: NDArray[np.float64] = model.coef_[0] / scale
    return weights, float(model.intercept_[0] - mean @ weights + np.log(odds))
