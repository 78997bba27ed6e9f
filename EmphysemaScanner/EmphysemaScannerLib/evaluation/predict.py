"""Models' answers on a whole cohort in one CSV, a row a volume and model; stopped or shared work goes on there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy.special import expit

from ..base.errors import EmphysemaScannerError, reason
from ..base.progress import Progress, silent
from ..base.rowfile import RowFile, line
from ..base.wholefile import write_whole
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow, ManifestError, read_manifest
from ..models import modelfile
from ..models.modelfile import Model
from .evaluation import DEFAULT_INFERENCE, Inference, InputSource, predict_logits, predictions_of, read_inputs
from .statistics import Predictions

Row = TypeVar("Row")
DONE, REFUSED = "done", "refused"
COLUMNS = ("volume", "patient", "split", "label", "model", "name", "status", "logit", "probability", "problem")


class PredictionsError(EmphysemaScannerError):
    """Predictions cannot be made, merged or used."""


@dataclass(frozen=True)
class Shard:
    """The part of a cohort that one of several processes does: every ``count``-th row from row ``number`` on.

    Attributes:
        number: from 1.
        count: processes in all.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise PredictionsError(f"There is no shard {self.number}/{self.count}; of four, give 1/4, 2/4, 3/4, 4/4.")

    def of(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of this part."""
        return rows[self.number - 1 :: self.count]

    def path(self, out: Path) -> Path:
        """The file of this part, beside the whole one."""
        return out if self.count == 1 else out.with_name(f"{out.stem}.{self.number}-of-{self.count}{out.suffix}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "2/4"."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if not found:
            raise PredictionsError(f"'{reason(text)}' is not a shard; of four, give 1/4, 2/4, 3/4, 4/4.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Shard:
        """That of this process under torchrun (RANK of WORLD_SIZE) or srun (SLURM_PROCID of SLURM_NTASKS); else all."""
        for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
            if rank in environment and size in environment:
                numbers = environment[rank], environment[size]
                if not all(re.fullmatch("[0-9]{1,9}", number) for number in numbers):
                    raise PredictionsError(f"The environment variables {rank} and {size} must be whole numbers.")
                return cls(int(numbers[0]) + 1, int(numbers[1]))
        return cls()


@dataclass(frozen=True)
class PredictSummary:
    """What came out; ``str`` makes a sentence of it.

    Attributes:
        volumes: in this shard.
        kept: those that an earlier run had already done.
        refused: those that could not be read.
        shard: which part of the cohort.
        path: the CSV.
    """

    volumes: int
    kept: int
    refused: int
    shard: Shard
    path: Path

    def __str__(self) -> str:
        part = f"Shard {self.shard.number} of {self.shard.count}: " if self.shard.count > 1 else ""
        kept = f", {self.kept} of them in an earlier run" if self.kept else ""
        return f"{part}{self.volumes - self.refused} volumes predicted{kept}, {self.refused} refused: '{self.path}'."


def predict_cohort(
    models: Sequence[Path],
    manifest: Path,
    out: Path,
    split: str = "",
    shard: Shard = Shard(),
    *,
    inference: Inference = DEFAULT_INFERENCE,
    progress: Progress = silent,
) -> PredictSummary:
    """Ask models about every volume of a cohort; what cannot be read gets a row that says why, and the work goes on.

    Args:
        models: model files.
        manifest: the cohort.
        out: the CSV; of a shard of several, ``shard.path(out)``. Volumes that are done there are not asked again, those
            that were refused are.
        split: "train", "tune", "test", or "" for all volumes.
        shard: which part of the volumes.
        inference: how the models are asked.
        progress: told the share done and the volume before each; what it raises ends the work, and at most a batch is
            lost.

    Raises:
        ManifestError: the cohort cannot be read, or has no volume in the split.
        ModelFileError: a model cannot be read.
        DeviceError: there is no such device here.
        PredictionsError: the CSV is something else, another run writes it, it cannot be written, or a batch does not
            fit on the device.
    """
    rows = shard.of(cohort_rows(manifest, split))
    loaded = [modelfile.load(path) for path in models]
    inference.place(loaded)
    source = inference.cache or VolumeCache()
    marks = [fingerprint(model) for model in loaded]
    out_file = _row_file(shard.path(Path(out).absolute()))
    with out_file.growing() as table:
        done = {(row["volume"], row["model"]) for row in table.rows if row["status"] == DONE}
        remaining = [row for row in rows if any((_name(row, manifest), mark) not in done for mark in marks)]
        kept, refused = len(rows) - len(remaining), 0
        for start in range(0, len(remaining), inference.batch_size):
            batch = remaining[start : start + inference.batch_size]

            def report(k: int, row: CohortRow, number: int = kept + start) -> None:
                progress((number + k) / len(rows), f"{row.volume.name} ({number + k + 1} of {len(rows)})")

            logits, problems = _asked(loaded, batch, source, report)
            lines = []
            for row, of_row, problem in zip(batch, logits, problems, strict=True):
                for model, mark, logit in zip(loaded, marks, of_row, strict=True):
                    if (_name(row, manifest), mark) in done:
                        continue
                    about = (_name(row, manifest), row.patient, row.split, row.label, mark, model.card.name)
                    result = (REFUSED if problem else DONE, float(logit), float(expit(logit)))
                    lines.append((*about, *result, problem))
            table.add(lines)
            refused += sum(map(bool, problems))
    return PredictSummary(len(rows), kept, refused, shard, out_file.path)


def _asked(
    models: Sequence[Model], batch: Sequence[CohortRow], source: InputSource, report: Callable[[int, CohortRow], None]
) -> tuple[np.ndarray, list[str]]:
    """The models' logits (volumes, models) on a batch, NaN where a volume cannot be read, and why it cannot, or ""."""
    inputs, problems = [], []
    for k, row in enumerate(batch):
        report(k, row)
        try:
            inputs.append(read_inputs(models, row, source))
            problems.append("")
        except (EmphysemaScannerError, OSError, RuntimeError, MemoryError) as error:
            # RuntimeError is ITK's: one file that it cannot handle must not end a night's work.
            problems.append(str(error) or type(error).__name__)
    logits = np.full((len(batch), len(models)), np.nan)
    logits[[not problem for problem in problems]] = _answers(models, inputs).T
    return logits, problems


def _answers(models: Sequence[Model], inputs: Sequence[Sequence[torch.Tensor]]) -> np.ndarray:
    if not inputs:
        return np.empty((len(models), 0))
    try:
        return predict_logits(models, inputs)
    except torch.OutOfMemoryError as error:
        raise PredictionsError(
            f"The device's memory is too small for {len(inputs)} volumes at once; take a smaller --batch-size, or "
            "--device cpu."
        ) from error


def merge(manifest: Path, out: Path, split: str = "") -> int:
    """Put the files of all shards together, in the manifest's order.

    Args:
        manifest: as it was given to ``predict_cohort``.
        out: as it was given to ``predict_cohort``.
        split: as it was given to ``predict_cohort``.

    Returns:
        The number of rows in ``out``, which is written whole or not at all.

    Raises:
        PredictionsError: a shard is missing or not finished, or another run writes ``out``.
    """
    out = Path(out).absolute()
    found: dict[Shard, Path] = {}
    for path in sorted(out.parent.glob(f"{out.stem}.*-of-*{out.suffix}")):
        if match := re.fullmatch(r".*\.(\d+)-of-(\d+)", path.stem):
            found[Shard(int(match[1]), int(match[2]))] = path
    counts = {shard.count for shard in found}
    if len(counts) != 1:
        what = f"shards of {' and of '.join(map(str, sorted(counts)))}" if counts else "no shards"
        raise PredictionsError(f"Beside '{out}' there are {what}; merging needs all shards of one number.")
    count = counts.pop()
    if missing := [str(k) for k in range(1, count + 1) if Shard(k, count) not in found]:
        raise PredictionsError(f"Shard {', '.join(missing)} of {count} of '{out.name}' is missing; run predict for it.")
    _row_file(out).rows()  # refuses to replace a stranger's file
    answers: dict[str, dict[str, dict[str, str]]] = {}
    for path in found.values():
        for row in _row_file(path).rows():
            answers.setdefault(row["volume"], {})[row["model"]] = row
    names = [_name(row, manifest) for row in cohort_rows(manifest, split)]
    models = dict.fromkeys(model for name in names for model in answers.get(name, ()))
    unfinished = [name for name in names if set(answers.get(name, ())) != set(models)]
    if unfinished:
        raise PredictionsError(
            f"The shards lack {len(unfinished)} of {len(names)} volumes, such as '{unfinished[0]}'; run the same "
            "predict commands again, which go on where they stopped."
        )
    rows = [answers[name][model] for name in names for model in models]
    text = "".join(map(line, (COLUMNS, *(list(row.values()) for row in rows))))
    with _row_file(out).locked():
        write_whole(out, text.encode(errors="surrogateescape"))
    return len(rows)


def read_predictions(
    path: Path, models: Sequence[Model], rows: Sequence[CohortRow], manifest: Path
) -> list[Predictions]:
    """The answers of models on volumes, from the CSV that ``predict_cohort`` or ``merge`` wrote.

    Args:
        path: the CSV.
        models: whose answers are wanted.
        rows: the volumes whose answers are wanted.
        manifest: the cohort's file, from whose folder the CSV names volumes.

    Returns:
        One for each model, each with all volumes in the order of ``rows``.

    Raises:
        PredictionsError: there is no such file, or it lacks a model or a volume.
    """
    path = Path(path)
    if not path.is_file():
        raise PredictionsError(f"There are no predictions at '{path}'; write them with predict, or merge its shards.")
    found = {(row["volume"], row["model"]): row for row in _row_file(path).rows()}
    answers = []
    for model in models:
        mark = fingerprint(model)
        if not any(of == mark for _, of in found):
            raise PredictionsError(
                f"{path.name} holds no answers of the model '{model.card.name}' as it is now; run predict with it."
            )
        chosen = [found.get((_name(row, manifest), mark)) for row in rows]
        lacking = [row.volume.name for row, answer in zip(rows, chosen, strict=True) if answer is None]
        if lacking:
            raise PredictionsError(
                f"{path.name} lacks {len(lacking)} of the {len(rows)} volumes, such as '{lacking[0]}'; run predict "
                "with the same manifest."
            )
        there = [answer for answer in chosen if answer is not None]
        refused = [answer for answer in there if answer["status"] != DONE]
        if refused:
            raise PredictionsError(
                f"{len(refused)} of the {len(rows)} volumes could not be read, such as '{refused[0]['volume']}' "
                f"({refused[0]['problem']}); mend them and run predict again, or take them out of the manifest."
            )
        answers.append(predictions_of(rows, np.array([float(answer["probability"]) for answer in there])))
    return answers


def cohort_rows(manifest: Path, split: str) -> tuple[CohortRow, ...]:
    """The rows of a split, or all.

    Raises:
        ManifestError: the cohort cannot be read, or has no volume in the split.
    """
    rows = tuple(row for row in read_manifest(manifest) if split in ("", row.split))
    if not rows:
        raise ManifestError(f"{Path(manifest).name} has no volumes in the split '{split}'.")
    return rows


def fingerprint(model: Model) -> str:
    """What tells apart models that may answer differently; the words of the card and its figures don't count."""
    card = model.card.to_dict()
    answering = {key: card[key] for key in ("architecture", "preprocessing", "temperature")}
    state = {name: tensor for name, tensor in model.network.state_dict().items() if "num_batches" not in name}
    return modelfile.checksum(state, json.dumps(answering, sort_keys=True))[:16]


def _row_file(path: Path) -> RowFile:
    return RowFile(path, COLUMNS, ("volume", "model"), "prediction", PredictionsError)


def _name(row: CohortRow, manifest: Path) -> str:
    """A volume's name in the CSV: relative to the manifest where it lies below it, so that a cohort can be moved."""
    folder = Path(manifest).absolute().parent
    return (row.volume.relative_to(folder) if row.volume.is_relative_to(folder) else row.volume).as_posix()
