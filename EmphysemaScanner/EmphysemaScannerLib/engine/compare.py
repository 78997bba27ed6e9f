"""Models measured on the same labelled volumes: AUC by DeLong, paired tests between them, sensitivity, specificity."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm

from ..core import modelfile
from ..core.errors import EmphysemaScannerError
from ..core.manifest import ManifestError, read_manifest
from ..core.modelcard import Metric, ModelCard
from ..core.progress import Progress, silent
from .evaluation import Z95, Predictions, predict_all

MARKDOWN_FILE, CSV_FILE, PAIRS_FILE = "comparison.md", "comparison.csv", "comparison-pairs.csv"


class ComparisonError(EmphysemaScannerError):
    """The models cannot be compared."""


@dataclass(frozen=True)
class ModelFigures:
    """How one model did.

    Attributes:
        path: its file.
        card: what it says of itself.
        auc: with DeLong's 95 % interval.
        sensitivity, specificity: at its own operating point, with Wilson's 95 % intervals.
    """

    path: Path
    card: ModelCard
    auc: Metric
    sensitivity: Metric
    specificity: Metric


@dataclass(frozen=True)
class PairTest:
    """DeLong's test of two models on the same volumes.

    Attributes:
        first, second: indices of the models.
        difference: AUC of the first less that of the second.
        low, high: its 95 % interval.
        p: two-sided, that there is no difference; 1 where the two order all volumes alike.
    """

    first: int
    second: int
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Several models on the same volumes.

    Attributes:
        models: in the order in which they were given.
        pairs: every two of them.
        positive, negative: volumes with and without emphysema.
        data: what the volumes are, in words.
    """

    models: tuple[ModelFigures, ...]
    pairs: tuple[PairTest, ...]
    positive: int
    negative: int
    data: str

    def names(self) -> list[str]:
        """The models' names; where two have the same, their files' too."""
        names = [model.card.name for model in self.models]
        return [
            name if names.count(name) == 1 else f"{name} ({model.path})"
            for name, model in zip(names, self.models, strict=True)
        ]

    def to_markdown(self) -> str:
        """Two tables with a line on what was measured on what."""
        names = [name.replace("|", r"\|") for name in self.names()]
        models = [
            (
                name,
                f"{model.card.parameters:,}",
                _interval(model.auc),
                f"{model.card.operating_point.probability:.3f}",
                _interval(model.sensitivity),
                _interval(model.specificity),
            )
            for name, model in zip(names, self.models, strict=True)
        ]
        pairs = [
            (
                f"{names[pair.first]} - {names[pair.second]}",
                f"{pair.difference:+.3f} ({pair.low:+.3f} to {pair.high:+.3f})",
                p_value(pair.p),
            )
            for pair in self.pairs
        ]
        counts = f"{self.positive} with and {self.negative} without emphysema"
        lines = [
            f"Measured on {self.positive + self.negative} volumes ({counts}): {self.data}",
            "",
            *_table(("model", "parameters", "AUC", "operating point", "sensitivity", "specificity"), models, "lrrrrr"),
        ]
        if pairs:
            lines += ["", *_table(("difference of AUC", "", "p (DeLong)"), pairs, "lrr")]
        lines += [
            "",
            "In brackets: 95 % intervals, of the AUC and its differences by DeLong et al. 1988, of sensitivity and "
            "specificity by Wilson. Each model is measured at the operating point in its own card. P values are "
            "two-sided and not corrected for the number of comparisons.",
        ]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """A line for each model."""
        titles = ("model", "file", "parameters", "operating_point", "positive", "negative")
        figures = ("auc", "sensitivity", "specificity")
        columns = [f"{name}{end}" for name in figures for end in ("", "_low", "_high")]
        rows = [
            (
                model.card.name,
                model.path,
                model.card.parameters,
                model.card.operating_point.probability,
                self.positive,
                self.negative,
                *(v for name in figures for m in [getattr(model, name)] for v in (m.value, m.low, m.high)),
                self.data,
            )
            for model in self.models
        ]
        return _csv((*titles, *columns, "data"), rows)

    def pairs_to_csv(self) -> str:
        """A line for every two models."""
        names = self.names()
        rows = [(names[pair.first], names[pair.second], *dataclasses.astuple(pair)[2:]) for pair in self.pairs]
        return _csv(("first", "second", "difference_of_auc", "low", "high", "p"), rows)

    def write(self, folder: Path) -> None:
        """Write comparison.md, comparison.csv and comparison-pairs.csv into an existing folder."""
        for name, text in (
            (MARKDOWN_FILE, self.to_markdown()),
            (CSV_FILE, self.to_csv()),
            (PAIRS_FILE, self.pairs_to_csv()),
        ):
            (folder / name).write_text(text, encoding="utf-8")


def compare(
    models: Sequence[Path], manifest: Path, split: str = "test", *, data: str = "", progress: Progress = silent
) -> Comparison:
    """Measure models on a split of a cohort, each at the operating point in its card.

    Args:
        models: model files of any architecture; one is enough for a table without tests.
        manifest: the cohort.
        split: "train", "tune" or "test".
        data: what the volumes are, in words; the manifest's name if empty.
        progress: told the share done and the volume before each; what it raises ends the work.

    Raises:
        ComparisonError: no model was given.
        ModelFileError: a model cannot be read.
        ManifestError: the cohort cannot be read, or the split has less than two volumes of a label.
    """
    if not models:
        raise ComparisonError("Name at least one model to measure.")
    rows = [row for row in read_manifest(manifest) if row.split == split]
    labels = [row.label for row in rows]
    if min(labels.count(0), labels.count(1)) < 2:
        raise ManifestError(f"The split '{split}' of {Path(manifest).name} needs at least two volumes of each label.")
    loaded = [modelfile.load(path) for path in models]
    data = data or f"{Path(manifest).name}, split '{split}'"
    predictions = predict_all(loaded, rows, progress)
    figures = [
        ModelFigures(
            Path(path),
            model.card,
            answers.auc("AUC", data),
            *answers.at(model.card.operating_point.probability, data),
        )
        for path, model, answers in zip(models, loaded, predictions, strict=True)
    ]
    pairs = [
        PairTest(a, b, *paired_delong(predictions[a], predictions[b]))
        for a, b in itertools.combinations(range(len(models)), 2)
    ]
    return Comparison(tuple(figures), tuple(pairs), labels.count(1), labels.count(0), data)


def paired_delong(first: Predictions, second: Predictions) -> tuple[float, float, float, float]:
    """DeLong's test of two AUCs on the same volumes (DeLong et al. 1988).

    Args:
        first, second: with the same labels in the same order.

    Returns:
        The difference of the AUCs, its 95 % interval (low, high), and the two-sided p.

    Raises:
        ValueError: the labels differ.
    """
    if not np.array_equal(first.labels, second.labels):
        raise ValueError("the two predictions are not of the same volumes")
    sick, well = (a - b for a, b in zip(first.placements(), second.placements(), strict=True))
    difference = float(sick.mean())
    # Placement values are exact multiples of half a volume; what is below this is rounding.
    deviation = float(np.sqrt(sick.var(ddof=1) / len(sick) + well.var(ddof=1) / len(well)))
    if not deviation > 1e-12:
        return difference, difference, difference, 1.0 if abs(difference) < 1e-12 else 0.0
    p = float(2 * norm.sf(abs(difference) / deviation))
    return difference, difference - Z95 * deviation, difference + Z95 * deviation, p


def p_value(p: float) -> str:
    """A p value as journals print it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _interval(metric: Metric) -> str:
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> list[str]:
    ruler = ["---:" if side == "r" else "---" for side in align]
    return [f"| {' | '.join(cells)} |" for cells in (titles, ruler, *rows)]


def _csv(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([titles, *rows])
    return buffer.getvalue()
