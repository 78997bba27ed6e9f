"""Simulated cases upside down, or with a part of the lungs missing: models and densitometry on the same cases."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ...base.errors import EmphysemaScannerError
from ...base.progress import Progress, silent
from ...cohort.lesionmaps import lesions_on
from ...cohort.manifest import CohortRow
from ...ct.grid import Grid, canonical, canonical_view
from ...ct.reading import read_ct
from ...lungs.densitometry import measure_lungs
from ...lungs.masks import lung_regions
from ...models.modelfile import Model
from ...models.networks import ARCHITECTURES
from ...models.preprocessing import Needs
from ..comparisontables import escaped
from ..evaluation import predict_logits
from ..statistics import Predictions
from .section import Section
from .simulated import Chosen, by_group, names_of

MISSING_PERCENT = 40  # of the slices with lung
LEAST_EXTENT_PERCENT = 2.0  # of the lungs that are left: with less, a case with disease is not counted
TITLE = "Simulated cases cut and upside down"
Labels = NDArray[np.uint8]
Inputs = list[torch.Tensor]  # one for each model, as ``evaluation.read_inputs`` gives them


class Shown(str, Enum):
    """What is shown of a CT."""

    WHOLE = "as they are"
    TURNED = "upside down"
    NO_TOP = f"upper {MISSING_PERCENT} % missing"
    NO_BOTTOM = f"lower {MISSING_PERCENT} % missing"


CUTS = (Shown.NO_TOP, Shown.NO_BOTTOM)


@dataclass(frozen=True)
class Shot:
    """A case, shown in one way.

    Attributes:
        case: number of the case.
        shown: in which way.
        extent_percent: share of the lungs shown that is diseased; NaN where the lesions are not known.
        laa_950_percent, perc15_hu: of the lungs shown.
    """

    case: int
    shown: Shown
    extent_percent: float
    laa_950_percent: float
    perc15_hu: float


def cuts(models: Sequence[Model], rows: Sequence[CohortRow], progress: Progress = silent) -> Section:
    """AUC, sensitivity and specificity of the same cases as they are, upside down, and without an end of the lungs.

    Args:
        models: the one that the report is on, then those that it is compared with.
        rows: simulated cases of both labels.
        progress: told the share done and the case.
    """
    shots: list[Shot] = []
    answers: list[NDArray[np.float64]] = []
    refused = []
    for number, row in enumerate(rows):
        progress(number / len(rows), row.volume.name)
        found, problems = _shots(models, row, number)
        refused += problems
        if found:
            answers.append(expit(predict_logits(models, [inputs for _, inputs in found])))
            shots += [shot for shot, _ in found]
    said = [escaped(f"Refused: {'; '.join(refused)}")] if refused else []
    if not shots:
        return Section(TITLE, said, [])
    section = _section(models, rows, shots, np.concatenate(answers, axis=1))
    return dataclasses.replace(section, said=[*section.said, *said])


def _shots(models: Sequence[Model], row: CohortRow, number: int) -> tuple[list[tuple[Shot, Inputs]], list[str]]:
    """A case in all ways with what the models read, and why it could not be shown in some."""
    try:
        image = canonical(read_ct(row.volume).image)
        labels = lung_regions(image, row.masks.read()).lungs
        whole, inputs = _shot(models, row, number, Shown.WHOLE, image, labels)
    except EmphysemaScannerError as error:
        return [], [f"{row.volume.name}: {error}"]
    turned = [
        x.flip(0) if ARCHITECTURES[model.card.architecture].needs is Needs.VOLUME else x
        for model, x in zip(models, inputs, strict=True)
    ]
    found, problems = [(whole, inputs), (dataclasses.replace(whole, shown=Shown.TURNED), turned)], []
    for shown in CUTS:
        part = cut(image, labels, shown)
        try:
            found.append(_shot(models, row, number, shown, part, lung_regions(part, row.masks.read()).lungs))
        except EmphysemaScannerError as error:
            problems.append(f"{row.volume.name}, {shown.value}: {error}")
    return found, problems


def cut(image: sitk.Image, labels: Labels, shown: Shown) -> sitk.Image:
    """A canonical CT without the slices of one end of its lungs and what lies beyond."""
    used = np.flatnonzero(labels.any((1, 2)))
    missing = round(MISSING_PERCENT / 100 * (used[-1] + 1 - used[0]))
    last = int(used[-1] + 1 - missing)
    return image[:, :, :last] if shown is Shown.NO_TOP else image[:, :, int(used[0] + missing) :]


def _shot(
    models: Sequence[Model], row: CohortRow, number: int, shown: Shown, image: sitk.Image, labels: Labels
) -> tuple[Shot, Inputs]:
    hu, grid = canonical_view(image)
    whole = measure_lungs(hu, labels, grid.spacing_mm).regions["whole"]
    density = torch.tensor([whole.laa_950_percent, whole.perc15_hu], dtype=torch.float32)
    inputs = []
    for model in models:
        if ARCHITECTURES[model.card.architecture].needs is Needs.DENSITOMETRY:
            inputs.append(density)
        else:
            preprocessing = model.card.preprocessing
            averaged = preprocessing.average(hu, preprocessing.view(grid, labels))
            inputs.append(torch.from_numpy(preprocessing.normalise(averaged))[:, None])
    extent = _extent_percent(row, grid, labels)
    return Shot(number, shown, extent, whole.laa_950_percent, whole.perc15_hu), inputs


def _extent_percent(row: CohortRow, grid: Grid, labels: Labels) -> float:
    if not row.label:
        return 0.0
    return np.nan if row.lesions is None else float(100 * lesions_on(row.lesions, grid)[labels > 0].mean() / 255)


def _section(
    models: Sequence[Model],
    rows: Sequence[CohortRow],
    shots: Sequence[Shot],
    probabilities: NDArray[np.float64],
) -> Section:
    names, point = names_of(models), models[0].card.operating_point.probability
    labels = np.array([rows[shot.case].label for shot in shots])
    patients = tuple(rows[shot.case].patient for shot in shots)
    scores = {name: Predictions(labels, of, patients) for name, of in zip(names, probabilities, strict=True)}
    scores["LAA%-950"] = Predictions(labels, np.array([shot.laa_950_percent for shot in shots]), patients)
    scores["Perc15"] = Predictions(labels, np.array([-shot.perc15_hu for shot in shots]), patients)
    called = probabilities[0] >= point
    whole, turned = (called[_shown(shots, shown)] for shown in (Shown.WHOLE, Shown.TURNED))
    said = [
        f"Upside down, the network reads the slices of the same lungs from the other end: {(whole != turned).sum()} of "
        f"{len(whole)} calls change; densitometry stays the same. Missing: the CT lacks {MISSING_PERCENT} % of the "
        "slices with lung and what lies beyond; the lungs are found in what is left. A case with disease counts where "
        f"it fills {LEAST_EXTENT_PERCENT:g} % or more of the lungs that are left; the next line has the same cases "
        "whole. LAA%-950 and Perc15 are measured on the same lungs in the volumes that are listed; where these are "
        "averages on a coarse grid, noise is averaged too, and the figures differ from those of the manifest above."
    ]
    table = by_group("simulated-cuts", "Cut and upside down", scores, _groups(shots, labels), names[0], point)
    return Section(TITLE, said, [table])


def _shown(shots: Sequence[Shot], shown: Shown) -> Chosen:
    return np.array([shot.shown is shown for shot in shots])


def _groups(shots: Sequence[Shot], labels: NDArray[np.int64]) -> list[tuple[str, Chosen]]:
    case = np.array([shot.case for shot in shots])
    whole = _shown(shots, Shown.WHOLE)
    groups = [(Shown.WHOLE.value, whole), (Shown.TURNED.value, _shown(shots, Shown.TURNED))]
    enough = (labels == 0) | (np.array([shot.extent_percent for shot in shots]) >= LEAST_EXTENT_PERCENT)
    for shown in CUTS:
        counted = _shown(shots, shown) & enough
        if counted.any():
            groups += [
                (shown.value, counted),
                (f"{shown.value}: the same cases whole", whole & np.isin(case, case[counted])),
            ]
    return groups
