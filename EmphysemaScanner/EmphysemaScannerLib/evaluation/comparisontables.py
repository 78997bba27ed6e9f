"""The tables of a comparison: the paper's Table 1 beside its published rows, and what goes beyond it."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..base.errors import shown
from ..base.rowfile import guarded
from ..models.modelcard import ARCHITECTURE_TITLES, Metric
from ..report.wording import RESEARCH_USE
from .published import CONTRADICTIONS, F1_NOTE, PUBLISHED, SOURCE
from .statistics import SMALL_GROUP

if TYPE_CHECKING:
    from .compare import Comparison, ModelFigures

NONE = "-"
HARMONIC_MEAN = "harmonic mean of sens. and spec."
SMALL = "°"
COLUMN_TITLES = {
    "kernel": "Kernel",
    "manufacturer": "Manufacturer",
    "sex": "Sex",
    "gender": "Gender",
    "age_group": "Age group",
    "age": "Age in years",
}


@dataclass(frozen=True)
class Table:
    """A table for readers.

    Attributes:
        title: what stands above it.
        columns: their names; the first is of text, the others of figures.
        rows: cells; a figure's interval follows it in brackets.
        published: which rows are the paper's.
        notes: what stands below it.
        words: whether all columns are of text.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    published: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    words: bool = False


def statement(comparison: Comparison) -> tuple[str, ...]:
    """Sentences on what was measured on what, and what may be concluded from it."""
    total = comparison.positive + comparison.negative
    said = [
        f"Measured on {total:,} volumes of {comparison.patients:,} patients, {comparison.positive:,} with and "
        f"{comparison.negative:,} without emphysema ({100 * comparison.positive / total:.0f} %): "
        f"{comparison.data.rstrip('.')}. Listed in {comparison.manifest}, split '{comparison.split}'."
    ]
    if comparison.split != "test":
        said.append(
            f"These volumes are the '{comparison.split}' split: models that learned from it, or whose operating point "
            "was chosen on it, look better here than they are."
        )
    if any(model.card.demonstration for model in comparison.models):
        said.append("Models marked as demonstrations were not validated on patients.")
    said.append(RESEARCH_USE)
    return tuple(said)


def tables(comparison: Comparison) -> list[Table]:
    """All tables, the paper's Table 1 first."""
    found = [_table_1(comparison), _further(comparison)]
    if comparison.pairs:
        found.append(_pairs(comparison))
    found += [_subgroups(comparison, column) for column in dict.fromkeys(g.column for g in comparison.subgroups)]
    return [*found, _models(comparison)]


def _table_1(comparison: Comparison) -> Table:
    rows: list[tuple[str, ...]] = []
    published = set()
    for name, model in zip(titles(comparison), comparison.models, strict=True):
        f = model.figures
        cells = (f.auc, f.sensitivity, f.specificity, f.f1, f.harmonic_mean)
        rows.append((name, f"{model.card.parameters:,}", *map(interval, cells)))
        if paper := PUBLISHED.get(model.card.architecture):
            published.add(len(rows))
            measured = (paper.auc, paper.sensitivity, paper.specificity)
            printed = (*(f"{figure:.2f}" for figure in measured), f"{paper.f1:.2f} ‡")
            rows.append(("published, on NLST", f"{paper.parameters:,}", *printed, NONE))
    clustered = comparison.models[0].predictions.clustered
    wilson = "bootstrap over patients" if clustered else "Wilson"
    delong = "DeLong, patients with several volumes by Obuchowski 1997" if clustered else "DeLong"
    notes = [
        f"With 95 % intervals (AUC: {delong}; sensitivity and specificity: {wilson}; the others: bootstrap over "
        "patients). Each model is measured at the operating point in its own card."
    ]
    return Table(
        "Table 1, in the paper's layout",
        ("model", "parameters", "AUC", "sensitivity", "specificity", "F1", HARMONIC_MEAN),
        tuple(rows),
        frozenset(published),
        (*notes, *((SOURCE, CONTRADICTIONS, f"‡ {F1_NOTE}") if published else ())),
    )


def _further(comparison: Comparison) -> Table:
    rows = [
        (
            name,
            f"{model.card.operating_point.probability:.3f}",
            f"{model.card.temperature:.2f}",
            *map(interval, (model.figures.ppv, model.figures.npv, model.figures.brier)),
        )
        for name, model in zip(titles(comparison), comparison.models, strict=True)
    ]
    share = comparison.positive / (comparison.positive + comparison.negative)
    return Table(
        "Predictive values and calibration",
        ("model", "operating point", "temperature", "PPV", "NPV", "Brier score"),
        tuple(rows),
        notes=(
            f"PPV and NPV hold at the prevalence of these volumes, {100 * share:.0f} %. The Brier score of answering "
            f"that prevalence to everything is {share * (1 - share):.3f}; less is better.",
        ),
    )


def _pairs(comparison: Comparison) -> Table:
    names = comparison.names()
    rows = [
        (
            f"{names[pair.first]} - {names[pair.second]}",
            f"{pair.difference:+.3f}",
            NONE if math.isnan(pair.p) else f"{pair.low:+.3f} to {pair.high:+.3f}",
            p_value(pair.p),
        )
        for pair in comparison.pairs
    ]
    return Table(
        "Differences of AUC (DeLong's paired test)",
        ("models", "difference of AUC", "95 % interval", "p"),
        tuple(rows),
        notes=("P values are two-sided and not corrected for the number of comparisons.",),
    )


def _subgroups(comparison: Comparison, column: str) -> Table:
    groups = [group for group in comparison.subgroups if group.column == column]
    rows = [
        (
            (group.group or "not stated") + (SMALL if group.small else ""),
            str(group.positive),
            str(group.negative),
            *(NONE if figures is None else interval(figures.auc) for figures in group.figures),
        )
        for group in groups
    ]
    few = f"{SMALL} Fewer than {SMALL_GROUP} volumes with or without emphysema: its figures say little."
    return Table(
        f"AUC by {COLUMN_TITLES[column].lower()}",
        (COLUMN_TITLES[column], "with", "without", *comparison.names()),
        tuple(rows),
        notes=(few,) if any(group.small for group in groups) else (),
    )


def _models(comparison: Comparison) -> Table:
    rows = [
        (
            name + (" (demonstration)" if model.card.demonstration else ""),
            ARCHITECTURE_TITLES.get(model.card.architecture, model.card.architecture),
            model.card.training_data,
            model.card.operating_point.source,
            str(model.path),
        )
        for name, model in zip(comparison.names(), comparison.models, strict=True)
    ]
    columns = ("model", "architecture", "learned from", "operating point", "file")
    return Table("The models", columns, tuple(rows), words=True)


def titles(comparison: Comparison) -> list[str]:
    """The models' names, with the architecture where the name doesn't say it."""
    architectures = [ARCHITECTURE_TITLES.get(m.card.architecture, m.card.architecture) for m in comparison.models]
    return [
        name if _letters(title).startswith(_letters(name)) or _letters(title) in _letters(name) else f"{name} · {title}"
        for name, title in zip(comparison.names(), architectures, strict=True)
    ]


def _letters(text: str) -> str:
    """What is left of "conv_lstm" and "Conv-LSTM", which are the same to a reader."""
    return "".join(character for character in text.lower() if character.isalnum())


def markdown(comparison: Comparison, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """All tables with what was measured on what.

    Args:
        comparison: what was measured.
        pictures: of plots that are put below the first table: what they show, and their files.
    """
    lines = ["  \n".join(map(escaped, statement(comparison)))]
    for number, table in enumerate(tables(comparison)):
        align = ["---", *(["---" if table.words else "---:"] * (len(table.columns) - 1))]
        rows = [
            tuple(f"*{c}*" if k in table.published else c for c in map(escaped, row))
            for k, row in enumerate(table.rows)
        ]
        cells = (tuple(map(escaped, table.columns)), align, *rows)
        lines += ["", f"### {escaped(table.title)}", "", *(f"| {' | '.join(row)} |" for row in cells)]
        for note in table.notes:
            lines += ["", note]
        if number == 0:
            for caption, file in pictures:
                lines += ["", f"![{caption}]({file})"]
    return "\n".join(lines) + "\n"


def models_csv(comparison: Comparison) -> str:
    """A line for each model, with every figure, its interval, and the paper's figures."""
    columns = ["model", "file", "architecture", "parameters", "operating_point", "temperature"]
    columns += ["positive", "negative", "patients", *_figure_columns(comparison.models[0])]
    columns += [f"published_{name}" for name in ("auc", "sensitivity", "specificity", "f1")]
    rows = []
    for model in comparison.models:
        card, paper = model.card, PUBLISHED.get(model.card.architecture)
        about = (card.name, model.path, card.architecture, card.parameters, card.operating_point.probability)
        counts = (card.temperature, comparison.positive, comparison.negative, comparison.patients)
        published = dataclasses.astuple(paper)[1:] if paper else [""] * 4
        rows.append((*about, *counts, *_values(vars(model.figures).values()), *published, comparison.data))
    return _csv((*columns, "data"), rows)


def pairs_csv(comparison: Comparison) -> str:
    """A line for every two models."""
    names = comparison.names()
    rows = [(names[pair.first], names[pair.second], *dataclasses.astuple(pair)[2:]) for pair in comparison.pairs]
    return _csv(("first", "second", "difference_of_auc", "low", "high", "p"), rows)


def subgroups_csv(comparison: Comparison) -> str:
    """A line for each subgroup and model; figures are empty with less than two volumes of a label."""
    figure_columns = _figure_columns(comparison.models[0])
    rows = [
        (
            *(group.column, group.group, name, group.positive, group.negative, int(group.small)),
            *([""] * len(figure_columns) if figures is None else _values(vars(figures).values())),
        )
        for group in comparison.subgroups
        for name, figures in zip(comparison.names(), group.figures, strict=True)
    ]
    return _csv(("column", "group", "model", "positive", "negative", "small", *figure_columns), rows)


def p_value(p: float) -> str:
    """A p value as journals print it."""
    if math.isnan(p):
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def interval(metric: Metric) -> str:
    """A figure and its interval, or a dash where there was nothing to measure."""
    if not math.isfinite(metric.value):
        return NONE
    if not math.isfinite(metric.low):
        return f"{metric.value:.3f} (one patient: no interval)"
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def _figure_columns(model: ModelFigures) -> list[str]:
    return [f"{name}{end}" for name in vars(model.figures) for end in ("", "_low", "_high")]


def _values(metrics: Iterable[Metric]) -> list[object]:
    values = [value for metric in metrics for value in (metric.value, metric.low, metric.high)]
    return [value if math.isfinite(value) else "" for value in values]


def escaped(cell: str) -> str:
    """Markdown that shows the text as it is; a stranger's words become no links, pictures or HTML."""
    marked = re.sub(r"([\\|\[\]`])", r"\\\1", shown(cell))
    return marked.replace("&", "&amp;").replace("<", "&lt;")


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *(map(guarded, row) for row in rows)])
    return buffer.getvalue()
