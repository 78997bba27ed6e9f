"""Which overlay to trust: each one against the lesions of simulated cases, and by what the answer hangs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ...base.progress import Progress, silent
from ...cohort.lesionmaps import lesions_on
from ...cohort.manifest import CohortRow
from ...ct.grid import Grid, canonical
from ...ct.reading import read_ct
from ...models import networks
from ...models.modelfile import Model
from ...scan.answers import Reading, answer
from ...scan.attribution import HEALTHY_HU, attribute
from ...scan.result import ScanResult, SliceEvidence
from ...scan.scan import scan
from ..comparisontables import NONE
from .places import LESION_SHARE, LUNG_SHARE, Found, enlarged, found, most_highlighted
from .section import Plot, Section, Table, mean_interval
from .simulated import EXTENTS

PERCENTS = (1, 5, 20)
MOVED_CASES = 8  # on which lung is taken away and put back: dozens of passes for each overlay
LIGHTNESS, RANDOM, LESIONS = "low density (no model)", "random lung", "the lesions themselves"
NO_OVERLAY = (LIGHTNESS, RANDOM, LESIONS)
Map = NDArray[np.float64]


@dataclass
class Measured:
    """What was measured on diseased cases, by overlay, and on the order of reading.

    Attributes:
        found: each case's agreement with its lesions.
        falls: of the cases on which lung was moved, the fall of the logit for each of ``PERCENTS``.
        rises: the same cases, the rise of the logit.
        order: for each case, rank correlations of the evidence by slice with the evidence of the same CT read upside
            down, at the same levels and at the same steps of reading, and of either with lesion volume.
    """

    found: dict[str, list[Found]] = field(default_factory=dict)
    falls: dict[str, list[list[float]]] = field(default_factory=dict)
    rises: dict[str, list[list[float]]] = field(default_factory=dict)
    order: list[list[float]] = field(default_factory=list)


def where(
    model: Model,
    rows: Sequence[CohortRow],
    healthy: Sequence[CohortRow] = (),
    seed: int = 1,
    progress: Progress = silent,
) -> Section:
    """All overlays of a model against lesions.

    Args:
        model: of an architecture that reads volumes.
        rows: diseased simulated cases with lesion maps.
        healthy: simulated cases without disease.
        seed: of the random maps and of ties.
        progress: told the share done and the case.
    """
    measured, table = Measured(), []
    every, cases = max(1, len(rows) // MOVED_CASES), len(rows) + len(healthy)
    for number, row in enumerate(rows):
        progress(number / cases, row.volume.name)
        rng = np.random.default_rng([seed, number])
        image = canonical(read_ct(row.volume).image)
        result = scan(image, model, masks=row.masks.read())
        lung = result.lung_fraction.values >= LUNG_SHARE
        lesions = _lesions(row, result.lung_fraction.grid)
        averaged = _averaged(result, image, model)
        maps = {**_overlays(result, image, model), LIGHTNESS: -averaged.astype(float)}
        maps |= {RANDOM: rng.random(lung.shape), LESIONS: lesions}
        moved = number % every == every // 2
        for name, values in maps.items():
            one = found(values, lesions, lung)
            measured.found.setdefault(name, []).append(one)
            fall, rise = _moves(model, averaged, values, lung, rng) if moved else ([], [])
            if moved:
                measured.falls.setdefault(name, []).append(fall)
                measured.rises.setdefault(name, []).append(rise)
            figures = (one.pointing, one.precision, one.chance, one.slices, *fall, *rise)
            table.append((row.volume.name, name, *(f"{value:.4f}" for value in figures)))
        measured.order += _order(model, averaged, result, lesions, lung)
    coloured: dict[str, list[float]] = {}
    for number, row in enumerate(healthy):
        progress((len(rows) + number) / cases, row.volume.name)
        for name, percent in _coloured(
            scan(canonical(read_ct(row.volume).image), model, masks=row.masks.read())
        ).items():
            coloured.setdefault(name, []).append(percent)
    return _section(model, measured, coloured, table, rows)


def _overlays(result: ScanResult, image: sitk.Image, model: Model) -> dict[str, Map]:
    shape = result.lung_fraction.values.shape
    known = {"disease map": result.disease}
    known |= {f"class-weighted activation {name}": of for name, of in result.class_activations.items()}
    known |= {"evidence": result.evidence}
    maps = {name: enlarged(overlay.values, shape) for name, overlay in known.items() if overlay is not None}
    labels = np.asarray(result.lung_mask.values, np.uint8)
    maps["gradient attribution"] = attribute(image, model, labels=labels).values.values.astype(float)
    for name, of in result.activations.items():
        maps[f"activation {name}"] = enlarged(of.values, shape)
    return maps


def _coloured(result: ScanResult) -> dict[str, float]:
    """Per cent of the lung that each overlay with a floor marks."""
    card = result.model
    floors = {} if card.class_weights is None else {of.unit: of.floor for of in card.class_weights.units}
    maps = {f"class-weighted activation {name}": (of, floors[name]) for name, of in result.class_activations.items()}
    if result.disease is not None and card.disease_map is not None:
        maps = {"disease map": (result.disease, card.disease_map.floor), **maps}
    lung = result.lung_fraction.values.astype(float)
    return {
        name: 100 * float((lung * (enlarged(of.values, lung.shape) >= floor)).sum() / lung.sum())
        for name, (of, floor) in maps.items()
    }


def _order(
    model: Model, averaged: NDArray[np.float32], result: ScanResult, lesions: Map, lung: NDArray[np.bool_]
) -> list[list[float]]:
    """One list of rank correlations, as ``Measured.order``; none for a model that reads slices in no order."""
    if not isinstance(result.slices, SliceEvidence):
        return []
    x = torch.from_numpy(model.card.preprocessing.normalise(averaged))[None, :, None]
    x = x.to(next(model.network.parameters()).device)
    turned = answer(model.network, x.flip(1), Reading(model.card.temperature, torch.float32, silent))
    assert isinstance(turned.slices, SliceEvidence)
    usual, upside_down = result.slices.evidence, turned.slices.evidence  # in the order of reading
    inside = lung.any((1, 2))
    at_level = np.empty_like(usual)
    at_level[result.slice_indices] = usual
    turned_at_level = np.empty_like(usual)
    turned_at_level[len(usual) - 1 - result.slice_indices] = upside_down
    volumes = np.where(lung, lesions, 0).sum((1, 2))

    def correlation(a: Map, b: Map) -> float:
        return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan

    return [
        [
            correlation(at_level[inside], turned_at_level[inside]),
            correlation(usual, upside_down),
            correlation(at_level[inside], volumes[inside]),
            correlation(turned_at_level[inside], volumes[inside]),
        ]
    ]


def _averaged(result: ScanResult, image: sitk.Image, model: Model) -> NDArray[np.float32]:
    """What the network saw, in HU."""
    preprocessing, labels = model.card.preprocessing, np.asarray(result.lung_mask.values, np.uint8)
    view = preprocessing.view(result.lung_mask.grid, labels)
    return preprocessing.average(sitk.GetArrayViewFromImage(image), view)


def _lesions(row: CohortRow, grid: Grid) -> Map:
    """Lesion shares on the network's grid."""
    assert row.lesions is not None
    return lesions_on(row.lesions, grid).astype(float) / 255


def _moves(
    model: Model, averaged: NDArray[np.float32], values: Map, lung: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[list[float], list[float]]:
    """Deletion and insertion, for each of ``PERCENTS``.

    Returns:
        Logit of the case less that with the most highlighted lung made healthy; logit with the most highlighted lung
        alone as it is, less that with all lung made healthy.
    """
    healthy = averaged.copy()
    healthy[lung] = np.maximum(healthy[lung], np.float32(HEALTHY_HU))
    volumes = [averaged, healthy]
    for percent in PERCENTS:
        chosen = most_highlighted(values, lung, percent, rng)
        volumes += [np.where(chosen, healthy, averaged), np.where(chosen, averaged, healthy)]
    device = next(model.network.parameters()).device
    ask = partial(networks.logits, model.network, model.card)
    with torch.inference_mode():
        as_it_is, without, *moved = (
            float(ask(torch.from_numpy(model.card.preprocessing.normalise(volume)).to(device)[None, :, None])[0])
            for volume in volumes
        )
    return [as_it_is - logit for logit in moved[::2]], [logit - without for logit in moved[1::2]]


def _section(
    model: Model,
    measured: Measured,
    coloured: Mapping[str, Sequence[float]],
    table: Sequence[Sequence[str]],
    rows: Sequence[CohortRow],
) -> Section:
    chance = np.nanmean([one.chance for one in measured.found[RANDOM]])
    against = ("map", "pointing game", "AUPRC", "AUPRC / chance", "AUPRC / low density", "slices: rank correlation")
    beside = [one.precision for one in measured.found[LIGHTNESS]]
    found_rows = []
    for name, of in measured.found.items():
        gained = [one.precision / one.chance for one in of]
        over = [one.precision / low for one, low in zip(of, beside, strict=True)]
        columns = [
            [one.pointing for one in of],
            [one.precision for one in of],
            gained,
            over,
            [one.slices for one in of],
        ]
        found_rows.append((name, *map(mean_interval, columns)))
    percents = tuple(f"{percent} %" for percent in PERCENTS)
    figures = ("pointing", "AUPRC", "chance", "slices")
    by_case = ("case", "map", *figures, *(f"{what}_{percent}" for what in ("fall", "rise") for percent in PERCENTS))
    width = len(by_case)
    tables = [
        Table("where", "Overlays against lesions", against, found_rows),
        _by_group(measured, rows),
        *([_order_table(measured.order)] if measured.order else []),
        *([_healthy_table(coloured)] if coloured else []),
        Table(
            "deletion",
            "Deletion: fall of the logit beyond that of random lung",
            ("map", *percents),
            _beyond_random(measured.falls),
        ),
        Table(
            "insertion",
            "Insertion: rise of the logit beyond that of random lung",
            ("map", *percents),
            _beyond_random(measured.rises),
        ),
        Table("where-cases", "", by_case, [(*row, *[NONE] * (width - len(row))) for row in table], in_page=False),
    ]
    grid = " x ".join(map(str, model.card.preprocessing.shape))
    anatomies = sorted({row.extra.get("anatomy", "unknown") for row in rows})
    healthy = max(map(len, coloured.values()), default=0)
    said = [
        f"{len(rows)} diseased simulated cases ({', '.join(anatomies)}) and {healthy} healthy ones, on the network's "
        f"grid of {grid}; coarser maps are enlarged to it. A voxel is lung where lung fills {LUNG_SHARE:.0%} of it, "
        f"and diseased where lesions fill {LESION_SHARE:.0%}: {chance:.1%} of the lung on average, the average "
        "precision of chance. Means over cases with the interval of a bootstrap over them.",
        "Pointing game: is the highest voxel diseased? Rank correlation: of a map's sum in each slice's lung with its "
        f"lesion volume. Deletion: the k % of lung where a map is highest is raised to {HEALTHY_HU:g} HU where it is "
        "lighter, and the fall of the logit is compared with that for as much lung chosen at random. Insertion: only "
        "these k % keep their density in lungs that are raised elsewhere, and the logit's rise above that of lungs "
        f"raised everywhere is compared likewise. Both on {len(measured.falls[RANDOM])} of the cases. Low density, "
        "random lung and the lesions themselves are no overlays of the model; they stand there to compare with.",
        "Evidence says when, in the order of reading, the answer arose, and not where disease is; it is measured here "
        "as if it said where, to show the difference.",
        _recommended(measured.found, measured.falls),
    ]
    curves = {name: [float(value) for value in np.mean(of, 0)] for name, of in measured.falls.items()}
    plot = Plot("deletion", "Deletion", "% of the lung made healthy", "fall of the logit", list(PERCENTS), curves)
    return Section("Where it looks", said, tables, [plot])


def _beyond_random(moves: Mapping[str, Sequence[Sequence[float]]]) -> list[tuple[str, ...]]:
    beside = np.array(moves[RANDOM])
    return [
        (name, *(mean_interval((np.array(of) - beside)[:, k]) for k in range(len(PERCENTS))))
        for name, of in moves.items()
    ]


def _by_group(measured: Measured, rows: Sequence[CohortRow]) -> Table:
    """Mean AUPRC by extent, subtype and anatomy."""
    extent = np.array([float(row.extra.get("extent_percent") or "nan") for row in rows])
    groups = {name: (extent >= low) & (extent < high) for name, low, high in EXTENTS}
    for of in ("subtype", "anatomy"):
        kinds = np.array([row.extra.get(of, "") for row in rows])
        groups |= {str(kind): kinds == kind for kind in sorted(set(kinds) - {""})}
    groups = {name: chosen for name, chosen in groups.items() if chosen.any()}
    chance = np.array([one.chance for one in measured.found[RANDOM]])
    lines = [("chance", *(f"{np.nanmean(chance[chosen]):.3f}" for chosen in groups.values()))]
    for name, cases in measured.found.items():
        precision = np.array([one.precision for one in cases])
        lines.append((name, *(f"{np.nanmean(precision[chosen]):.3f}" for chosen in groups.values())))
    columns = ("map", *(f"{name} ({chosen.sum()})" for name, chosen in groups.items()))
    return Table("where-groups", "AUPRC by extent, subtype and anatomy (cases)", columns, lines)


def _order_table(order: Sequence[Sequence[float]]) -> Table:
    of = np.array(order)
    names = (
        "the same CT read upside down, slices at the same level",
        "the same CT read upside down, slices at the same step of the reading",
        "lesion volume of the slice, read as usual",
        "lesion volume of the slice, read upside down",
    )
    lines = [(name, mean_interval(of[:, k])) for k, name in enumerate(names)]
    return Table("reading-order", "Evidence by slice and the order of reading", ("with", "rank correlation"), lines)


def _healthy_table(coloured: Mapping[str, Sequence[float]]) -> Table:
    lines = [(name, f"{np.median(of):.2f}", f"{np.mean(of):.2f}", f"{max(of):.2f}") for name, of in coloured.items()]
    columns = ("map", "median", "mean", "largest")
    return Table("where-healthy", "Marked lung of healthy simulated cases, in %", columns, lines)


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
