"""Models measured on the same labelled volumes, with paired tests between them and figures of subgroups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..cohort.manifest import CohortRow, ManifestError, read_manifest
from ..models import modelfile
from ..models.modelcard import ModelCard
from ..models.modelheader import read_card
from ..models.networks import ARCHITECTURES
from .evaluation import DEFAULT_INFERENCE, Inference, predict_all
from .predict import read_predictions
from .published import PUBLISHED
from .statistics import SMALL_GROUP, Figures, Predictions, measure, paired_delong

GROUPING = ("kernel", "manufacturer", "sex", "gender", "age_group")
AGE = "age"


class ComparisonError(EmphysemaScannerError):
    """The models cannot be compared."""


@dataclass(frozen=True)
class ModelFigures:
    """How one model did.

    Attributes:
        path: its file.
        card: what it says of itself.
        predictions: its probabilities.
        figures: at its own operating point.
    """

    path: Path
    card: ModelCard
    predictions: Predictions
    figures: Figures


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
class Subgroup:
    """The volumes with one value in a column of the manifest.

    Attributes:
        column: such as "kernel".
        group: the value, "" where the manifest has none.
        positive, negative: volumes with and without emphysema.
        figures: of each model; None with less than two volumes of a label.
    """

    column: str
    group: str
    positive: int
    negative: int
    figures: tuple[Figures | None, ...]

    @property
    def small(self) -> bool:
        """Whether a label has so few volumes that its figures say little."""
        return min(self.positive, self.negative) < SMALL_GROUP


@dataclass(frozen=True)
class Comparison:
    """Several models on the same volumes.

    Attributes:
        models: in the order in which they were given.
        pairs: every two of them.
        subgroups: by kernel, sex and age, where the manifest has such columns.
        data: what the volumes are, in words.
        manifest, split: where they are listed.
    """

    models: tuple[ModelFigures, ...]
    pairs: tuple[PairTest, ...]
    subgroups: tuple[Subgroup, ...]
    data: str
    manifest: str
    split: str

    @property
    def positive(self) -> int:
        """Volumes with emphysema."""
        return int(self.models[0].predictions.labels.sum())

    @property
    def negative(self) -> int:
        """Volumes without emphysema."""
        return len(self.models[0].predictions.labels) - self.positive

    @property
    def patients(self) -> int:
        """People whose volumes they are."""
        return int(self.models[0].predictions.patient_indices().max()) + 1

    def names(self) -> list[str]:
        """The models' names; where two have the same, their files' too."""
        names = [model.card.name for model in self.models]
        return [
            name if names.count(name) == 1 else f"{name} ({model.path})"
            for name, model in zip(names, self.models, strict=True)
        ]


def compare(
    models: Sequence[Path],
    manifest: Path,
    split: str = "test",
    *,
    data: str = "",
    progress: Progress = silent,
    predictions: Path | None = None,
    inference: Inference = DEFAULT_INFERENCE,
) -> Comparison:
    """Measure models on a split of a cohort, each at the operating point in its card.

    Args:
        models: model files of any architecture, or folders with trainings; one is enough for a table without tests.
        manifest: the cohort.
        split: "train", "tune" or "test".
        data: what the volumes are, in words; the manifest's name if empty.
        progress: told the share done and the volume before each; what it raises ends the work.
        predictions: a CSV of ``predict`` with these models' answers on all of the volumes; None to ask the models now.
        inference: how the models are asked.

    Raises:
        ComparisonError: no model was given.
        ModelFileError: a model cannot be read.
        ManifestError: the cohort cannot be read, or the split has less than two volumes of a label.
        PredictionsError: the CSV lacks a model or a volume.
    """
    paths = find_models(models)
    rows = labelled_rows(manifest, split)
    loaded = [modelfile.load(path) for path in paths]
    data = data or f"{Path(manifest).name}, split '{split}'"
    if predictions is not None:
        answers = read_predictions(predictions, loaded, rows, Path(manifest))
    else:
        inference.place(loaded)
        answers = predict_all(loaded, rows, progress, inference.cache, inference.batch_size)
    points = [model.card.operating_point.probability for model in loaded]
    figures = [
        ModelFigures(Path(path), model.card, answer, measure(answer, point, data))
        for path, model, answer, point in zip(paths, loaded, answers, points, strict=True)
    ]
    pairs = [
        PairTest(a, b, *paired_delong(answers[a], answers[b])) for a, b in itertools.combinations(range(len(paths)), 2)
    ]
    return Comparison(
        tuple(figures), tuple(pairs), subgroups(rows, answers, points, data), data, Path(manifest).name, split
    )


def find_models(paths: Sequence[Path]) -> list[Path]:
    """The model files among paths; in a folder every training's, in the order of the paper's Table 1.

    Raises:
        ComparisonError: there is none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(path.rglob("model.safetensors")) or sorted(path.glob("*.safetensors"))
        if not inside:
            raise ComparisonError(f"The folder '{path}' holds no finished training (model.safetensors); name another.")
        found += sorted(inside, key=_place)
    if not found:
        raise ComparisonError("Name at least one model to measure.")
    return found


def _place(path: Path) -> int:
    order = [*PUBLISHED, *(name for name in ARCHITECTURES if name not in PUBLISHED)]
    return order.index(read_card(path).architecture)


def labelled_rows(manifest: Path, split: str) -> list[CohortRow]:
    """The rows of a split.

    Raises:
        ManifestError: the cohort cannot be read, or the split has less than two volumes of a label.
    """
    rows = [row for row in read_manifest(manifest) if row.split == split]
    labels = [row.label for row in rows]
    if min(labels.count(0), labels.count(1)) < 2:
        raise ManifestError(f"The split '{split}' of {Path(manifest).name} needs at least two volumes of each label.")
    return rows


def subgroups(
    rows: Sequence[CohortRow], answers: Sequence[Predictions], points: Sequence[float], data: str
) -> tuple[Subgroup, ...]:
    """Figures of the volumes with each value of the columns that group people or scans, where the manifest has them.

    Age in years is grouped by decades; a column in which all volumes have the same value is left out.

    Args:
        rows: the volumes.
        answers: of each model on all of them, in the same order.
        points: each model's operating point, a probability.
        data: what the volumes are, in words; goes beside every figure.
    """
    found = []
    for column in (*GROUPING, AGE):
        values = np.array([_group(row, column) for row in rows], dtype=object)
        groups = sorted(set(values.tolist()), key=lambda group: (group == "", group))
        if len(groups) < 2:
            continue
        for group in groups:
            chosen = values == group
            labels = answers[0].labels[chosen]
            positive, negative = int(labels.sum()), int((1 - labels).sum())
            figures = tuple(
                measure(answer.of(chosen), point, data) if min(positive, negative) >= 2 else None
                for answer, point in zip(answers, points, strict=True)
            )
            found.append(Subgroup(column, group, positive, negative, figures))
    return tuple(found)


def _group(row: CohortRow, column: str) -> str:
    # The manifest's own columns are attributes of a row, all others lie in ``extra``.
    value = str(getattr(row, column, "") or row.extra.get(column, "")).strip()
    if column != AGE:
        return value
    try:
        decade = int(float(value)) // 10 * 10
    except ValueError:
        return ""
    return f"{decade} to {decade + 9}"
