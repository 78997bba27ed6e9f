"""Models' answers on a whole cohort in one CSV, a row a volume and model; stopped work goes on there."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit

from .. import __version__
from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..base.rowfile import RowFile
from ..batch.cluster import engine
from ..batch.engine import Work, rows_of
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow, ManifestError, read_manifest
from ..models import modelfile
from ..models.modelfile import Model
from ..scan.device import Device, take_own_gpu
from .evaluation import DEFAULT_INFERENCE, Inference, InputSource, predict_logits, predictions_of, read_inputs
from .statistics import Predictions

Part = tuple[CohortRow, ...]  # volumes that go through the networks at once
DONE, REFUSED = "done", "refused"
COLUMNS = ("volume", "patient", "split", "label", "model", "name", "status", "logit", "probability", "problem")


class PredictionsError(EmphysemaScannerError):
    """Predictions cannot be made, merged or used."""


@dataclass(frozen=True)
class Answers:
    """What models answer on some volumes.

    Attributes:
        rows: the volumes.
        logits: shape (volumes, models), NaN where a volume cannot be read.
        problems: why it cannot, or "".
    """

    rows: Part
    logits: np.ndarray
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Asking:
    """What a worker process needs to ask the models; called with volumes it gives their answers.

    Attributes:
        models: the model files.
        marks: the fingerprints that they had where the work was started.
        inference: how the models are asked.
        version: of EmphysemaScanner where the work was started.
    """

    models: tuple[Path, ...]
    marks: tuple[str, ...]
    inference: Inference
    version: str = __version__

    def __call__(self, rows: Part) -> Answers:
        """The answers on volumes that are read here.

        Raises:
            ModelFileError: a model cannot be read here.
            DeviceError: there is no such device here.
            PredictionsError: another model, or another version of EmphysemaScanner, is here than where the work was
                started; or the volumes do not fit on the device.
        """
        device = self.inference.device
        models = _loaded(self.models, self.marks, self.version, device, threading.get_ident())
        return _asked(models, self.inference.cache or VolumeCache(), rows)


@dataclass(frozen=True)
class PredictSummary:
    """What came out; ``str`` makes a sentence of it.

    Attributes:
        volumes: that were wanted.
        kept: those that an earlier run had already done.
        refused: those that could not be read.
        path: the CSV.
    """

    volumes: int
    kept: int
    refused: int
    path: Path

    def __str__(self) -> str:
        kept = f", {self.kept} of them in an earlier run" if self.kept else ""
        return f"{self.volumes - self.refused} volumes predicted{kept}, {self.refused} refused: '{self.path}'."


def predict_cohort(
    models: Sequence[Path],
    manifest: Path,
    out: Path,
    split: str = "",
    *,
    inference: Inference = DEFAULT_INFERENCE,
    processes: int = 1,
    cluster: str = "",
    progress: Progress = silent,
) -> PredictSummary:
    """Ask models about every volume of a cohort; what cannot be read gets a row that says why, and the work goes on.

    Args:
        models: model files.
        manifest: the cohort.
        out: the CSV. Volumes that are done there are not asked again, those that were refused are.
        split: "train", "tune", "test", or "" for all volumes.
        inference: how the models are asked.
        processes: how many ask at a time, each with the models in memory.
        cluster: as for ``batch.batch.run_batch``.
        progress: told the share done after each batch of volumes, and a few times a second while others work; what it
            raises ends the work, and at most the batches that are being asked are lost.

    Raises:
        ManifestError: the cohort cannot be read, or has no volume in the split.
        ModelFileError: a model cannot be read.
        DeviceError: there is no such device here.
        PredictionsError: the CSV is something else, another run writes it, it cannot be written, or a batch does not
            fit on the device.
        BatchError: the processes cannot be started, or the cluster is not there or is lost.
        MissingPackageError: a cluster is asked for, and dask.distributed is not installed.
    """
    rows = cohort_rows(manifest, split)
    paths = tuple(Path(path).absolute() for path in models)
    loaded = [modelfile.load(path) for path in paths]
    marks = tuple(map(fingerprint, loaded))
    out_file = _row_file(Path(out).absolute())
    with out_file.growing() as table:
        done = {(row["volume"], row["model"]) for row in out_file.rows() if row["status"] == DONE}
        remaining = [row for row in rows if any((_name(row, manifest), mark) not in done for mark in marks)]
        kept, size = len(rows) - len(remaining), inference.batch_size
        parts = [tuple(remaining[k : k + size]) for k in range(0, len(remaining), size)]
        problems: list[str] = []

        def still_wanted(_done: int, at_a_time: int) -> None:
            there = kept + len(problems)
            progress(there / len(rows), f"{there} of {len(rows)} volumes are done, {at_a_time * size} at a time")

        def refused(part: Part, problem: str) -> Answers:
            return Answers(part, np.full((len(part), len(marks)), np.nan), (problem,) * len(part))

        cache = inference.cache or VolumeCache()
        if isinstance(cache, VolumeCache):
            cache.check_asked([row for part in parts for row in part])
        if not parts:
            return PredictSummary(len(rows), kept, 0, out_file.path)
        asking: Work[Part, Answers] = Asking(paths, marks, inference)
        if processes == 1 and not cluster:
            inference.place(loaded)
            asking = partial(_asked, loaded, cache)
        with engine(asking, processes, cluster) as started:
            for answers in rows_of(parts, started, refused, still_wanted, _one_by_one):
                lines = []
                for row, logits, problem in zip(answers.rows, answers.logits, answers.problems, strict=True):
                    name, status = _name(row, manifest), REFUSED if problem else DONE
                    for model, mark, logit in zip(loaded, marks, logits, strict=True):
                        about = (name, row.patient, row.split, row.label, mark, model.card.name, status)
                        if (name, mark) not in done:
                            lines.append((*about, float(logit), float(expit(logit)), problem))
                table.add(lines)
                problems += answers.problems
    return PredictSummary(len(rows), kept, sum(map(bool, problems)), out_file.path)


def _one_by_one(part: Part) -> list[Part]:
    return [(row,) for row in part]


@lru_cache(maxsize=8)
def _loaded(paths: tuple[Path, ...], marks: tuple[str, ...], version: str, device: Device, _thread: int) -> list[Model]:
    """The models of one thread, on their device."""
    if version != __version__:
        raise PredictionsError(
            f"The work was started by EmphysemaScanner {version}, and a worker has {__version__}; install the same "
            "version."
        )
    models = [modelfile.load(path) for path in paths]
    for path, model, mark in zip(paths, models, marks, strict=True):
        if fingerprint(model) != mark:
            raise PredictionsError(
                f"'{path}' is another model for a worker than where the work was started; give a path that all share."
            )
    take_own_gpu()
    Inference(device).place(models)
    return models


def _asked(models: Sequence[Model], source: InputSource, rows: Part) -> Answers:
    read = [_read(models, source, row) for row in rows]
    logits = np.full((len(rows), len(models)), np.nan)
    logits[[inputs is not None for inputs, _ in read]] = _answers(models, [x for x, _ in read if x is not None]).T
    return Answers(rows, logits, tuple(problem for _, problem in read))


def _read(models: Sequence[Model], source: InputSource, row: CohortRow) -> tuple[list[torch.Tensor] | None, str]:
    """A volume as each of the models reads it, or why it cannot be read."""
    try:
        return read_inputs(models, row, source), ""
    except (EmphysemaScannerError, OSError, RuntimeError, MemoryError) as error:
        # RuntimeError is ITK's: one file that it cannot handle must not end a night's work.
        return None, str(error) or type(error).__name__


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
        raise PredictionsError(f"There are no predictions at '{path}'; write them with predict.")
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
