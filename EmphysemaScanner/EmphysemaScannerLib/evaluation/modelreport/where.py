"""Which overlay to trust: each one against the lesions of simulated cases, and by taking away what it highlights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from ...base.progress import Progress, silent
from ...cohort.lesionmaps import lesions_on
from ...cohort.manifest import CohortRow
from ...ct.grid import Grid, canonical
from ...ct.reading import read_ct
from ...models import networks
from ...models.modelfile import Model
from ...scan.attribution import HEALTHY_HU, attribute
from ...scan.result import ScanResult
from ...scan.scan import scan
from .places import LESION_SHARE, LUNG_SHARE, Found, enlarged, found, most_highlighted
from .section import Plot, Section, Table, mean_interval

PERCENTS = (1, 2, 5, 10, 20)
LIGHTNESS, RANDOM, LESIONS = "low density (no model)", "random lung", "the lesions themselves"
NO_OVERLAY = (LIGHTNESS, RANDOM, LESIONS)
Map = NDArray[np.float64]


def where(model: Model, rows: Sequence[CohortRow], seed: int = 1, progress: Progress = silent) -> Section:
    """All overlays of a model against lesions.

    Args:
        model: of an architecture that reads volumes.
        rows: diseased simulated cases with lesion maps.
        seed: of the random maps and of ties.
        progress: told the share done and the case.
    """
    measures: dict[str, list[Found]] = {}
    falls: dict[str, list[list[float]]] = {}
    table = []
    for number, row in enumerate(rows):
        progress(number / len(rows), row.volume.name)
        rng = np.random.default_rng([seed, number])
        image = canonical(read_ct(row.volume).image)
        result = scan(image, model)
        lung = result.lung_fraction.values >= LUNG_SHARE
        lesions = _lesions(row, result.lung_fraction.grid)
        averaged = _averaged(result, image, model)
        maps = {**_overlays(result, image, model), LIGHTNESS: -averaged.astype(float)}
        maps |= {RANDOM: rng.random(lung.shape), LESIONS: lesions}
        for name, values in maps.items():
            measured = found(values, lesions, lung)
            measures.setdefault(name, []).append(measured)
            fall = _falls(model, averaged, values, lung, rng)
            falls.setdefault(name, []).append(fall)
            figures = (measured.pointing, measured.precision, measured.chance, measured.slices, *fall)
            table.append((row.volume.name, name, *(f"{value:.4f}" for value in figures)))
    return _section(model, measures, falls, table, len(rows))


def _overlays(result: ScanResult, image: sitk.Image, model: Model) -> dict[str, Map]:
    shape = result.lung_fraction.values.shape
    known = {"disease map": result.disease, "evidence": result.evidence}
    maps = {name: enlarged(overlay.values, shape) for name, overlay in known.items() if overlay is not None}
    maps["gradient attribution"] = attribute(image, model).values.values.astype(float)
    for name, of in result.activations.items():
        maps[f"activation {name}"] = enlarged(of.values, shape)
    return maps


def _averaged(result: ScanResult, image: sitk.Image, model: Model) -> NDArray[np.float32]:
    """What the network saw, in HU."""
    preprocessing, labels = model.card.preprocessing, np.asarray(result.lung_mask.values, np.uint8)
    view = preprocessing.view(result.lung_mask.grid, labels)
    return preprocessing.average(sitk.GetArrayViewFromImage(image), view)


def _lesions(row: CohortRow, grid: Grid) -> Map:
    """Lesion shares on the network's grid."""
    assert row.lesions is not None
    return lesions_on(row.lesions, grid).astype(float) / 255


def _falls(
    model: Model, averaged: NDArray[np.float32], values: Map, lung: NDArray[np.bool_], rng: np.random.Generator
) -> list[float]:
    """Logit of the case less that with the most highlighted lung made healthy, for each of ``PERCENTS``."""
    volumes = [averaged]
    for percent in PERCENTS:
        healthy = averaged.copy()
        chosen = most_highlighted(values, lung, percent, rng)
        healthy[chosen] = np.maximum(healthy[chosen], np.float32(HEALTHY_HU))
        volumes.append(healthy)
    device = next(model.network.parameters()).device
    ask = partial(networks.logits, model.network, model.card)
    with torch.inference_mode():
        logits = [
            float(ask(torch.from_numpy(model.card.preprocessing.normalise(volume)).to(device)[None, :, None])[0])
            for volume in volumes
        ]
    return [logits[0] - logit for logit in logits[1:]]


def _section(
    model: Model,
    measures: dict[str, list[Found]],
    falls: dict[str, list[list[float]]],
    table: Sequence[Sequence[str]],
    cases: int,
) -> Section:
    chance = np.nanmean([one.chance for one in measures[RANDOM]])
    rows, deleted, curves = [], [], {}
    beside = np.array(falls[RANDOM])
    for name, of in measures.items():
        gained = [one.precision / one.chance for one in of]
        columns = [[one.pointing for one in of], [one.precision for one in of], gained, [one.slices for one in of]]
        rows.append((name, *map(mean_interval, columns)))
        over = np.array(falls[name]) - beside
        deleted.append((name, *(mean_interval(over[:, k]) for k in range(len(PERCENTS)))))
        curves[name] = [float(value) for value in np.mean(falls[name], 0)]
    grid = " x ".join(map(str, model.card.preprocessing.shape))
    said = [
        f"{cases} diseased simulated cases, on the network's grid of {grid}; coarser maps are enlarged to it. A voxel "
        f"is lung where lung fills {LUNG_SHARE:.0%} of it, and diseased where lesions fill {LESION_SHARE:.0%}: "
        f"{chance:.1%} of the lung on average, which is the average precision of chance. Means over cases with the "
        "interval of a bootstrap over them.",
        "Pointing game: is the highest voxel diseased? Rank correlation: of a map's sum in each slice's lung with its "
        f"lesion volume. Deletion: the k % of lung where a map is highest is raised to {HEALTHY_HU:g} HU where it is "
        "lighter, and the fall of the logit is compared with that for as much lung chosen at random. Low density, "
        "random lung and the lesions themselves are no overlays of the model; they stand there to compare with.",
        _recommended(measures, falls),
    ]
    percents = tuple(f"{percent} %" for percent in PERCENTS)
    against = ("map", "pointing game", "AUPRC", "AUPRC / chance", "slices: rank correlation")
    by_case = ("case", "map", "pointing", "AUPRC", "chance", "slices", *(f"fall_{percent}" for percent in PERCENTS))
    tables = [
        Table("where", "Overlays against lesions", against, rows),
        Table("deletion", "Deletion: fall of the logit beyond that of random lung", ("map", *percents), deleted),
        Table("where-cases", "", by_case, table, in_page=False),
    ]
    plot = Plot("deletion", "Deletion", "% of the lung made healthy", "fall of the logit", list(PERCENTS), curves)
    return Section("Where it looks", said, tables, [plot])


def _recommended(measures: dict[str, list[Found]], falls: dict[str, list[list[float]]]) -> str:
    """Which overlay finds most lesions, and which holds most of what the answer hangs on."""
    own = [name for name in measures if name not in NO_OVERLAY]
    precise = {name: float(np.nanmean([one.precision for one in measures[name]])) for name in (*own, LIGHTNESS)}
    fell = {name: float(np.mean([fall[PERCENTS.index(5)] for fall in falls[name]])) for name in own}
    best, moves = max(own, key=precise.__getitem__), max(own, key=fell.__getitem__)
    first = f"Recommended to find lesions: **{best}** (AUPRC {precise[best]:.3f}, the highest of the model's overlays"
    first += f"; low density alone: {precise[LIGHTNESS]:.3f})."
    if best == moves:
        return f"{first} It also holds most of what the answer hangs on (deletion at 5 %)."
    other = f"deletion at 5 %: {fell[moves]:.2f}, {best}: {fell[best]:.2f}"
    return f"{first} The answer hangs most on what **{moves}** highlights ({other})."
