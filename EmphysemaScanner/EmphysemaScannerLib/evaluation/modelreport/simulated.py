"""Simulated cases of anatomies that the model never saw: how well it tells disease, by kind of disease and of scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...base.progress import Progress, silent
from ...cohort.manifest import CohortRow
from ...models.modelfile import Model
from ..comparisontables import NONE, escaped, interval
from ..evaluation import InputSource, column, predict_all
from ..predict import read_predictions
from ..statistics import Predictions, proportion
from .section import Plot, Section, Table

EXTENTS = (("mild: extent below 5 %", 0, 5), ("moderate: 5 to 20 %", 5, 20), ("severe: 20 % and more", 20, 101))
DENSITY = (("LAA%-950", "laa_950_percent", 1.0), ("Perc15", "perc15_hu", -1.0))
Chosen = NDArray[np.bool_]


def simulated(
    models: Sequence[Model],
    rows: Sequence[CohortRow],
    manifest: Path,
    predictions: Path | None = None,
    progress: Progress = silent,
    cache: InputSource | None = None,
) -> Section:
    """AUC by subtype, extent, kernel, noise and slice distance; sensitivity and specificity at the operating point.

    Args:
        models: the one that the report is on, then those that it is compared with.
        rows: simulated cases of both labels, as ``simulate`` lists them.
        manifest: where they are listed.
        predictions: a CSV of ``predict`` with all of these answers; None to ask the models.
        progress: told the share done.
        cache: gives the volumes as networks read them.
    """
    if predictions is None:
        answers = predict_all(models, rows, progress, cache)
    else:
        answers = read_predictions(predictions, models, rows, manifest)
    names = names_of(models)
    scores = dict(zip(names, answers, strict=True))
    for name, of, sign in DENSITY:
        if all(row.extra.get(of) for row in rows):
            scores[name] = column(rows, of, sign)
    point = models[0].card.operating_point.probability
    sick = answers[0].labels == 1
    everybody = np.ones(len(rows), bool)
    disease: list[tuple[str, Chosen]] = [("all", everybody), *_of_disease(rows, sick)]
    by_scan = [("all", everybody), *_of_scan(rows)]
    anatomies = sorted({row.extra.get("anatomy", "unknown") for row in rows})
    said = [
        f"{len(rows)} simulated cases, {sick.sum()} with disease, made from {len(anatomies)} "
        f"{'anatomy' if len(anatomies) == 1 else 'anatomies'} ({escaped(', '.join(anatomies))}). Each kind of disease "
        f"is against all {(~sick).sum()} healthy cases. Intervals: "
        "DeLong (AUC), Wilson (sensitivity, specificity); they treat cases as independent, which cases of one anatomy "
        f"are not. Operating point {point:.3f}: {escaped(models[0].card.operating_point.source.rstrip('.'))}."
    ]
    tables = [
        by_group("simulated-disease", "By subtype and extent", scores, disease, names[0], point),
        by_group("simulated-scan", "By kernel, noise and slice distance", scores, by_scan, names[0], point),
    ]
    extents = [chosen for name, chosen in disease if ":" in name]
    plots = []
    if len(extents) == len(EXTENTS):
        curves = {name: [of.of(chosen).auc("", "").value for chosen in extents] for name, of in scores.items()}
        plots.append(Plot("auc-by-extent", "AUC by extent", "1 mild, 2 moderate, 3 severe", "AUC", [1, 2, 3], curves))
    return Section("Simulated cases of unseen anatomies", said, tables, plots)


def names_of(models: Sequence[Model]) -> list[str]:
    """The cards' names; a second model of the same name gets its number."""
    names = [model.card.name for model in models]
    return [name if names.index(name) == k else f"{name} ({k + 1})" for k, name in enumerate(names)]


def by_group(
    name: str,
    title: str,
    scores: dict[str, Predictions],
    groups: Sequence[tuple[str, Chosen]],
    model: str,
    point: float,
) -> Table:
    """A line for each group of cases.

    Args:
        name: the table's.
        title: the table's.
        scores: of all cases, by model or measurement.
        groups: name, and which cases are in it.
        model: whose sensitivity and specificity are given.
        point: its operating point.
    """
    columns = ("cases", "with / without", "sensitivity", "specificity", *(f"AUC of {of}" for of in scores))
    rows = []
    for group, chosen in groups:
        these = scores[model].of(chosen)
        sick, called = these.labels == 1, these.scores >= point
        rows.append(
            (
                group,
                f"{sick.sum()} / {(~sick).sum()}",
                interval(proportion("", int((sick & called).sum()), int(sick.sum()), "")),
                interval(proportion("", int((~sick & ~called).sum()), int((~sick).sum()), "")),
                *(
                    interval(of.of(chosen).auc("", "")) if sick.any() and not sick.all() else NONE
                    for of in scores.values()
                ),
            )
        )
    return Table(name, title, columns, rows)


def _of_disease(rows: Sequence[CohortRow], sick: Chosen) -> list[tuple[str, Chosen]]:
    """The healthy with those of each subtype, and of each extent."""
    kinds = np.array([row.extra.get("subtype", "") for row in rows])
    groups = [(str(kind), ~sick | (kinds == kind)) for kind in sorted(set(kinds[sick]) - {""})]
    extent = _numbers(rows, "extent_percent")
    groups += [(name, ~sick | ((extent >= low) & (extent < high))) for name, low, high in EXTENTS]
    return [(name, chosen) for name, chosen in groups if (chosen & sick).any()]


def _of_scan(rows: Sequence[CohortRow]) -> list[tuple[str, Chosen]]:
    kernels = np.array([row.kernel for row in rows])
    groups = [(f"kernel {kernel}", kernels == kernel) for kernel in sorted(set(kernels) - {""})]
    for of, unit, what in (("noise_hu", "HU", "added noise"), ("slice_mm", "mm", "slices apart")):
        values = _numbers(rows, of)
        there = values[np.isfinite(values)]
        if len(there) and there.min() < there.max():
            low, high = np.quantile(there, [1 / 3, 2 / 3])
            parts: tuple[tuple[str, Callable[[NDArray[np.float64]], Chosen]], ...] = (
                (f"up to {low:.3g} {unit}", lambda v, a=low: v <= a),  # type: ignore[misc]
                (f"between {low:.3g} and {high:.3g} {unit}", lambda v, a=low, b=high: (v > a) & (v <= b)),  # type: ignore[misc]
                (f"above {high:.3g} {unit}", lambda v, b=high: v > b),  # type: ignore[misc]
            )
            groups += [(f"{what} {name}", test(values)) for name, test in parts]
    return [(name, chosen) for name, chosen in groups if chosen.any()]


def _numbers(rows: Sequence[CohortRow], name: str) -> NDArray[np.float64]:
    return np.array([float(row.extra.get(name) or "nan") for row in rows])
