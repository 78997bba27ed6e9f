"""Training on a cohort, on Lightning: one process or many, resumed where it stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.utils.data import DataLoader

from ..base.errors import EmphysemaScannerError
from ..base.lock import held
from ..cohort.cache import ENVIRONMENT, VolumeCache
from ..cohort.manifest import CohortRow
from ..models.preprocessing import Field, Preprocessing
from . import runfolder
from .aids import way_of
from .checkpoints import LAST_FILE, Stop, Watch
from .learner import Learner
from .plan import ONE_PROCESS, Hardware, Plan, TrainingError
from .trainer import make_trainer, optimise
from .volumes import Item, TrainingOrder, TuningOrder, Volumes

MODEL_FILE = "model.safetensors"
LOCK_FILE = ".lock"
GPU_WORKERS = 4


Loader = DataLoader[Item]


@dataclass(frozen=True)
class Untrained:
    """A network that is to be trained.

    Attributes:
        network: with fresh weights or others to begin with.
        architecture: its name in the registry; one that reads volumes.
        preprocessing: how volumes become its input.
    """

    network: nn.Module
    architecture: str
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Outcome:
    """How a training went.

    Attributes:
        epochs: whole ones.
        best_epoch: the one whose weights were kept, from 1 on.
        best_auc: its AUC on the tuning split.
        precision: what the network learned with, as Lightning calls it.
        main: whether this process is the first of all, which alone writes.
    """

    epochs: int
    best_epoch: int
    best_auc: float
    precision: str
    main: bool


def split_rows(rows: Sequence[CohortRow], cache: VolumeCache) -> tuple[list[CohortRow], list[CohortRow]]:
    """What is learned from, and what is tuned with; all their files are there, or were read into the cache.

    Raises:
        TrainingError: a split is empty or holds one class only.
        ManifestError: a file is missing.
    """
    parts = []
    for split in ("train", "tune"):
        part = [row for row in rows if row.split == split]
        labels = [row.label for row in part]
        if len(set(labels)) < 2:
            raise TrainingError(
                f"The split '{split}' needs volumes of both labels; it has {sum(labels)} positive and "
                f"{len(labels) - sum(labels)} negative ones. 'emphysema-scanner cohort split' assigns splits."
            )
        cache.check_at_hand(part)
        parts.append(part)
    return parts[0], parts[1]


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """A block during which no other run trains in a folder; of a run's processes the first sees to it.

    Raises:
        TrainingError: another run trains there, or nothing can be written there.
    """
    if not is_first_process():
        yield
        return
    made = not out.exists()
    busy = TrainingError(f"Another run is training in '{out}'; wait until it ends or stop it, or name another folder.")
    with ExitStack() as stack:
        if made:
            stack.callback(_remove_if_empty, out)
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(out / LOCK_FILE, busy))
        except OSError as error:
            raise _unwritable(out, error) from error
        yield


def is_first_process() -> bool:
    """Whether this is the first of a training's processes, as torchrun, Lightning and srun number them.

    On machines that are started by hand, NODE_RANK numbers these.
    """
    numbers = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ]
    return {*numbers[:1], os.environ.get("NODE_RANK", "0")} == {"0"}


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _unwritable(out: Path, error: OSError) -> TrainingError:
    return TrainingError(f"Nothing can be written to '{out}' ({error.strerror}); name another folder.")


def train(
    untrained: Untrained,
    rows: Sequence[CohortRow],
    plan: Plan,
    out: Path,
    *,
    hardware: Hardware = ONE_PROCESS,
    cache: VolumeCache | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Train a network in place and keep the weights with the best AUC on the tuning split.

    Args:
        untrained: the network, for slices of the grid, or of the crop.
        rows: the cohort; splits "train" and "tune" are used.
        plan: how to train.
        out: folder for ``last.ckpt``, the best weights, ``plan.json`` and ``metrics.csv``, as
            ``runfolder.read_training`` reads them; a run that was stopped or killed there goes on after its last
            whole epoch, with the same weights as if it had not been.
        hardware: where to train.
        cache: of volumes; None for the user's.
        watch: who sees its progress and may stop it.

    Returns:
        How it went; the best weights are in the network.

    Raises:
        TrainingError: a split is empty or holds one class only, a volume cannot be read, the plan or the hardware
            doesn't fit, ``out`` holds a run that was planned otherwise, or nothing can be written there any more.
        ManifestError: a file of the cohort is missing.
        TrainingStopped: the stop of ``watch`` was wanted.
    """
    watch, out, network = watch or Watch(), Path(out).absolute(), untrained.network
    plan.check_architecture(untrained.architecture)
    way = way_of(plan)
    cache = cache or VolumeCache()
    parts = split_rows(rows, cache)
    trainer, keeper = make_trainer(network, plan, out, hardware, watch)
    _check_batch_size(plan, len(parts[0]), trainer.world_size)
    keep_plan(out, model_plan(untrained, rows, plan), trainer.is_global_zero)
    last = out / LAST_FILE
    _check_whole(last)
    lightning.seed_everything(plan.seed, verbose=False)
    if not last.exists():
        way.prepare(network, untrained.preprocessing.shape[0])
    cache = _writable(cache)
    sets = [
        way.volumes(part, untrained.preprocessing, cache, augment, hardware.in_memory)
        for part, augment in zip(parts, (True, False), strict=True)
    ]
    loaders = _loaders(sets, plan, hardware, trainer)
    labels = [row.label for row in parts[0]]
    learner = way.learner(network, plan.epochs * (len(labels) // plan.batch_size), labels)
    optimise(network, hardware, trainer.strategy.root_device)
    _fit(trainer, learner, loaders, last, watch.stop)
    network.load_state_dict(torch.load(keeper.best, map_location="cpu", weights_only=True))
    main = trainer.is_global_zero
    return Outcome(keeper.epochs, keeper.best_epoch, keeper.best_auc, str(trainer.precision), main)


def _check_batch_size(plan: Plan, volumes: int, ranks: int) -> None:
    if volumes < plan.batch_size:
        raise TrainingError(
            f"The training split has {volumes} volumes, fewer than a step's {plan.batch_size}; choose a "
            "smaller batch size."
        )
    if plan.batch_size % ranks:
        raise TrainingError(
            f"A step's {plan.batch_size} volumes cannot be shared equally by {ranks} processes; choose a batch size "
            f"that is a multiple of {ranks}."
        )


def _writable(cache: VolumeCache) -> VolumeCache:
    if not cache.is_writable():
        raise TrainingError(
            f"The cache '{cache.folder}' cannot be written, or the folder holds other things; name another one in the "
            f"environment variable {ENVIRONMENT}."
        )
    return cache


def _loaders(
    sets: Sequence[Volumes], plan: Plan, hardware: Hardware, trainer: lightning.Trainer
) -> tuple[Loader, Loader]:
    """This process's part of the training split, a step a batch, and of the tuning split."""
    learned, tuned = sets
    workers = hardware.workers
    if workers is None:
        workers = 0 if trainer.strategy.root_device.type == "cpu" else GPU_WORKERS
    how: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    rank, ranks = trainer.global_rank, trainer.world_size
    size = plan.batch_size // ranks
    order = TrainingOrder([row.label for row in learned.rows], plan, rank, ranks)
    return (
        DataLoader(learned, size, sampler=order, drop_last=True, **how),
        DataLoader(tuned, size, sampler=TuningOrder(len(tuned), rank, ranks), **how),
    )


def _fit(trainer: lightning.Trainer, learner: Learner, loaders: tuple[Loader, Loader], last: Path, stop: Stop) -> None:
    """Train, from the last checkpoint if there is one, until the plan's end or the stop."""
    learned, tuned = loaders
    resumed = str(last) if last.exists() else None
    with warnings.catch_warnings():
        # Advice to programmers, of which this process takes none: workers, and moments at which nothing is logged.
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
        warnings.filterwarnings("ignore", "`isinstance", FutureWarning)  # Lightning's, of PyTorch's own functions
        try:
            trainer.fit(learner, learned, tuned, ckpt_path=resumed, weights_only=True)
        except SIGTERMException:  # Lightning saw the signal between two of our looks
            stop.wanted = True
        except OSError as error:
            raise TrainingError(
                f"Nothing more can be written to '{last.parent}' ({error.strerror}); free space there and repeat the "
                "command, which goes on after its last whole epoch."
            ) from error
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                "The device's memory is too small; train with a smaller batch size, or on the CPU."
            ) from error
        except EmphysemaScannerError as error:
            raise _unwrapped(error) from error
        except RuntimeError:
            if not stop.wanted:  # else what the end of another process did to this one
                raise
    stop.check()


def _unwrapped(error: EmphysemaScannerError) -> EmphysemaScannerError:
    """An error as it was, if a loading process has wrapped it in its traceback."""
    text = str(error.args[0]) if error.args else ""
    if not text.startswith("Caught "):
        return error
    return TrainingError(text.strip().splitlines()[-1].partition(": ")[2])


def model_plan(untrained: Untrained, rows: Sequence[CohortRow], plan: Plan) -> dict[str, object]:
    """All that decides what a run learns, as plain JSON values."""
    network, preprocessing = untrained.network, untrained.preprocessing
    used = [row for row in rows if row.split in ("train", "tune")]
    cohort = "\n".join(f"{row.volume.name} {row.label} {row.split}" for row in used)
    width, grid = getattr(network, "width", 1), list(preprocessing.shape)
    model = {"architecture": untrained.architecture, "width": width, "grid": grid}
    return {
        **{name: getattr(value, "value", value) for name, value in dataclasses.asdict(plan).items()},
        **model,
        "window_hu": [preprocessing.window_low_hu, preprocessing.window_high_hu],
        **({} if preprocessing.field is Field.WHOLE else _field(preprocessing)),
        **{f"{split}_volumes": sum(row.split == split for row in used) for split in ("train", "tune")},
        "cohort": hashlib.sha256(cohort.encode()).hexdigest()[:16],
    }


def _field(preprocessing: Preprocessing) -> dict[str, object]:
    return {
        "field": preprocessing.field.value,
        "margin_mm": preprocessing.margin_mm,
        "outside_hu": preprocessing.outside_hu,
    }


def keep_plan(out: Path, plan: dict[str, object], main: bool = True) -> None:
    """Write the plan down in the first process, or see that a run that goes on is the same one.

    Args:
        out: the run's folder.
        plan: as from ``model_plan``.
        main: whether this process is the first, which alone writes.

    Raises:
        TrainingError: it is another one, such as one with another learning rate, whose schedule cannot be changed on
            the way; or nothing can be written.
    """
    before = runfolder.read_plan(out)
    kept = next((name for name in (LAST_FILE, MODEL_FILE) if (out / name).exists()), None)
    if kept is not None and not before:
        raise TrainingError(f"The folder '{out}' contains {kept} but no plan of its run; name another folder.")
    changed = [name for name, value in plan.items() if name in before and before[name] != value]
    if kept is not None and changed:
        was = ", ".join(f"{name} {before[name]} instead of {plan[name]}" for name in changed)
        raise TrainingError(f"The folder '{out}' holds a run with {was}; repeat its settings, or name another folder.")
    if not main:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        runfolder.write_plan(out, plan)
    except OSError as error:
        raise _unwritable(out, error) from error


def _check_whole(last: Path) -> None:
    """Refuse to go on from what is no checkpoint; looking at one runs no code that is in it."""
    if not last.exists():
        return
    try:
        torch.load(last, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"The run in '{last.parent}' cannot go on: {last.name} is damaged or not ours; name another folder."
        ) from error
