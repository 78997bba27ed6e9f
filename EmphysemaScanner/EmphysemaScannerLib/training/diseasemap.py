"""Learning a disease map: a linear readout of a trained Conv-LSTM's hidden states, from cases with lesion maps.

The network stays as it is. In every place of the lungs the readout estimates how probable disease is from the hidden
states there. Both classes count the same while it learns, and so does every case; the probability is then set to that
of the cases as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch.nn import functional

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..cohort.lesionmaps import lesions_on
from ..cohort.manifest import CohortRow
from ..ct.grid import canonical, canonical_view
from ..ct.reading import read_ct
from ..lungs.lungs import segment_lungs
from ..models.conv_lstm import ConvLSTMNetwork
from ..models.modelcard import DiseaseMap
from ..models.modelfile import Model
from ..models.preprocessing import View

UNITS = ("asc1", "desc1", "asc2")
LUNG_SHARE = 0.5  # a place is of the lung where lung fills this much of it
PLACES_PER_CASE = 1000
PENALTY = 1e-2  # of the squared weights of standardised states
MARKED_HEALTHY_PERCENT = 0.5  # of the lungs of healthy cases, all together: the floor leaves no more

Floats = NDArray[np.float32]


class DiseaseMapError(EmphysemaScannerError):
    """No disease map can be learned."""


@dataclass(frozen=True)
class Places:
    """Places of the lungs of one case.

    Attributes:
        states: (places, channels), the hidden states of ``UNITS`` side by side.
        diseased: (places,) the share of the place's lung that is diseased, 0 to 1.
    """

    states: Floats
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
        places.append(_some(places_of(model, row), random))
    weights, bias = fit(places)
    logits = []
    for number, row in enumerate(healthy):
        progress(0.9 + 0.1 * number / len(healthy), row.volume.name)
        logits.append(places_of(model, row).states @ weights + bias)
    floor = np.percentile(np.concatenate(logits), 100 - MARKED_HEALTHY_PERCENT)
    return DiseaseMap(UNITS, tuple(weights.tolist()), bias, float(expit(floor)), data)


def places_of(model: Model, row: CohortRow) -> Places:
    """All places of a case's lungs.

    Raises:
        EmphysemaScannerError: (a kind of) a file cannot be read, or there are no lungs.
    """
    network, preprocessing = model.network, model.card.preprocessing
    assert isinstance(network, ConvLSTMNetwork)
    image = canonical(read_ct(row.volume).image)
    hu, ct = canonical_view(image)
    labels = segment_lungs(image)
    view = preprocessing.view(ct, labels)
    x = torch.from_numpy(preprocessing.normalise(preprocessing.average(hu, view)))[None, :, None]
    device = next(network.parameters()).device
    with torch.inference_mode():
        hidden = network.read(x.to(device))
        states = [hidden[network.unit_names.index(name)][0].float() for name in UNITS]
        size = tuple(states[0].shape[-2:])
        finer = [functional.interpolate(s, size=size, mode="bilinear", align_corners=False) for s in states]
        channels = torch.cat(finer, 1).movedim(1, -1).cpu().numpy()  # (T, H, W, channels)
    slices, high, wide = channels.shape[:3]
    grid = view.grid.resized((slices, high, wide))
    lung = View(view.over, grid).share(labels)
    inside = lung >= LUNG_SHARE
    diseased = np.zeros(int(inside.sum()), np.float32)
    if row.lesions is not None and row.label:
        diseased = (lesions_on(row.lesions, grid)[inside] / 255 / lung[inside]).clip(0, 1)
    return Places(channels[inside], diseased)


def _some(places: Places, random: np.random.Generator) -> Places:
    count = len(places.diseased)
    chosen = random.choice(count, min(count, PLACES_PER_CASE), replace=False)
    return Places(places.states[chosen], places.diseased[chosen])


def fit(places: Sequence[Places]) -> tuple[NDArray[np.float64], float]:
    """Logistic regression with the diseased share as label.

    A place of which a share is diseased counts as both: as a diseased one with that share of its weight.

    Args:
        places: of each case.

    Returns:
        The weight of each channel, and the bias.
    """
    from sklearn.linear_model import LogisticRegression

    states = np.concatenate([case.states for case in places]).astype(np.float64)
    diseased = np.concatenate([case.diseased for case in places]).astype(np.float64)
    weight = np.concatenate([np.full(len(case.diseased), 1 / len(case.diseased)) for case in places])
    sick, well = weight * diseased, weight * (1 - diseased)
    if not sick.any():
        raise DiseaseMapError("The lesion maps of these cases are empty; no disease map can be learned from them.")
    odds = sick.sum() / well.sum()
    sick, well = sick / sick.sum(), well / well.sum()
    mean, scale = states.mean(0), states.std(0) + 1e-6
    standard = (states - mean) / scale
    either = [sick > 0, well > 0]
    model = LogisticRegression(C=1 / (2 * PENALTY), max_iter=1000)
    model.fit(
        np.concatenate([standard[chosen] for chosen in either]),
        np.concatenate([np.full(int(chosen.sum()), label) for chosen, label in zip(either, (1, 0), strict=True)]),
        np.concatenate([sick[either[0]], well[either[1]]]),
    )
    weights: NDArray[np.float64] = model.coef_[0] / scale
    return weights, float(model.intercept_[0] - mean @ weights + np.log(odds))
