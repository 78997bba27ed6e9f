"""Training on a cohort, on Lightning: one process or many, resumed where it stopped.

The published way is one label per volume and nothing else (the defaults of ``Plan``). Simulated cohorts come with
lesion maps; from them a Conv-LSTM can also be taught where the disease is (``lesion_weight``), on small fields of view
(``crop``): many cheap presentations, whose network is then enlarged to whole slices.
"""

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
from ..cohort.manifest import CohortRow, check_volumes
from ..models.conv_lstm import ConvLSTMNetwork
from ..models.networks import FastConvLSTM
from ..models.preprocessing import Field, Preprocessing
from . import runfolder as trainingwatch
from .checkpoints import LAST_FILE, OnEpoch, Stop
from .learner import Learner, LesionLearner
from .plan import ONE_PROCESS, Balance, Hardware, Plan, TrainingError
from .trainer import make_trainer, optimise
from .volumes import TrainingOrder, TuningOrder, Volumes

MODEL_FILE = "model.safetensors"
LOCK_FILE = ".lock"
GPU_WORKERS = 4


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


def _silent(curves: trainingwatch.TrainingCurves) -> None:
    pass


def split_rows(rows: Sequence[CohortRow]) -> tuple[list[CohortRow], list[CohortRow]]:
    """What is learned from, and what is tuned with; all their files are there.

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
        check_volumes(part)
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
    """Whether this is the first of a training's processes, as torchrun, Lightning and srun number them; on machines
    that are started by hand, NODE_RANK numbers these.
    """
    numbers = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ]
    return {*numbers[:1], os.environ.get("NODE_RANK", "0")} == {"0"}


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _unwritable(out: Path, error: OSError) -> TrainingError:
    return TrainingError(f"Nothing can be written to '{out}' ({error.strerror}); name another folder.")


def train(
    network: nn.Module,
    architecture: str,
    preprocessing: Preprocessing,
    rows: Sequence[CohortRow],
    plan: Plan,
    out: Path,
    *,
    hardware: Hardware = ONE_PROCESS,
    cache: VolumeCache | None = None,
    progress_bar: bool = True,
    on_epoch: OnEpoch = _silent,
    stop: Stop | None = None,
) -> Outcome:
    """Train a network in place and keep the weights with the best AUC on the tuning split.

    Args:
        network: of the architecture, with fresh weights or others to begin with; for slices of the grid, or of the
            crop.
        architecture: its name in the registry; one that reads volumes.
        preprocessing: how volumes become its input.
        rows: the cohort; splits "train" and "tune" are used.
        plan: how to train.
        out: folder for ``last.ckpt``, the best weights, ``plan.json`` and ``metrics.csv``, as
            ``trainingwatch.read_training`` reads them; a run that was stopped or killed there goes on after its last
            whole epoch, with the same weights as if it had not been.
        hardware: where to train.
        cache: of volumes; None for the user's.
        progress_bar: whether one is drawn on the terminal.
        on_epoch: told of each whole epoch, in the first process.
        stop: asked at every step.

    Returns:
        How it went; the best weights are in ``network``.

    Raises:
        TrainingError: a split is empty or holds one class only, a volume cannot be read, the plan or the hardware
            doesn't fit, ``out`` holds a run that was planned otherwise, or nothing can be written there any more.
        ManifestError: a file of the cohort is missing.
        TrainingStopped: ``stop`` was wanted.
    """
    stop, out = stop or Stop(), Path(out).absolute()
    plan.check_architecture(architecture)
    train_rows, tune_rows = split_rows(rows)
    trainer, keeper = make_trainer(network, plan, out, hardware, progress_bar, on_epoch, stop)
    ranks = trainer.world_size
    if len(train_rows) < plan.batch_size:
        raise TrainingError(
            f"The training split has {len(train_rows)} volumes, fewer than a step's {plan.batch_size}; choose a "
            "smaller batch size."
        )
    if plan.batch_size % ranks:
        raise TrainingError(
            f"A step's {plan.batch_size} volumes cannot be shared equally by {ranks} processes; choose a batch size "
            f"that is a multiple of {ranks}."
        )
    keep_plan(out, model_plan(network, architecture, preprocessing, rows, plan), trainer.is_global_zero)
    last = out / LAST_FILE
    _check_whole(last)
    lightning.seed_everything(plan.seed, verbose=False)
    if plan.long_memory and not last.exists():
        assert isinstance(network, ConvLSTMNetwork)
        give_long_memory(network, preprocessing.shape[0])
    cache = cache or VolumeCache()
    if not cache.is_writable():
        raise TrainingError(
            f"The cache '{cache.folder}' cannot be written, or the folder holds other things; name another one in the "
            f"environment variable {ENVIRONMENT}."
        )
    labels = [row.label for row in train_rows]
    order = TrainingOrder(labels, plan, trainer.global_rank, ranks)
    in_memory = hardware.in_memory
    train_set = Volumes(train_rows, preprocessing, plan, True, cache, in_memory)
    tune_set = Volumes(tune_rows, preprocessing, plan, False, cache, in_memory)
    workers = hardware.workers
    if workers is None:
        workers = 0 if trainer.strategy.root_device.type == "cpu" else GPU_WORKERS
    how: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    size = plan.batch_size // ranks
    train_loader = DataLoader(train_set, size, sampler=order, drop_last=True, **how)
    tune_order = TuningOrder(len(tune_rows), trainer.global_rank, ranks)
    tune_loader = DataLoader(tune_set, size, sampler=tune_order, **how)
    learner = _learner(network, plan, plan.epochs * order.steps, labels)
    optimise(network, hardware, trainer.strategy.root_device)
    with warnings.catch_warnings():
        # Advice to programmers, of which this process takes none: workers, and moments at which nothing is logged.
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
        warnings.filterwarnings("ignore", "`isinstance", FutureWarning)  # Lightning's, of PyTorch's own functions
        try:
            resumed = str(last) if last.exists() else None
            trainer.fit(learner, train_loader, tune_loader, ckpt_path=resumed, weights_only=True)
        except SIGTERMException:  # Lightning saw the signal between two of our looks
            stop.wanted = True
        except OSError as error:
            raise TrainingError(
                f"Nothing more can be written to '{out}' ({error.strerror}); free space there and repeat the command, "
                "which goes on after its last whole epoch."
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
    network.load_state_dict(torch.load(keeper.best, map_location="cpu", weights_only=True))
    main = trainer.is_global_zero
    return Outcome(keeper.epochs, keeper.best_epoch, keeper.best_auc, str(trainer.precision), main)


def _learner(network: nn.Module, plan: Plan, total_steps: int, labels: Sequence[int]) -> Learner:
    if plan.lesion_weight:
        assert isinstance(network, ConvLSTMNetwork)
        return LesionLearner(network, plan, total_steps)
    weights = (1.0, 1.0)
    if plan.balance is Balance.WEIGHT:  # their mean over the volumes is 1
        weights = (len(labels) / (2 * labels.count(0)), len(labels) / (2 * labels.count(1)))
    return Learner(network, plan, total_steps, weights)


def _unwrapped(error: EmphysemaScannerError) -> EmphysemaScannerError:
    """An error as it was, if a loading process has wrapped it in its traceback."""
    text = str(error.args[0]) if error.args else ""
    if not text.startswith("Caught "):
        return error
    return TrainingError(text.strip().splitlines()[-1].partition(": ")[2])


def model_plan(
    network: nn.Module, architecture: str, preprocessing: Preprocessing, rows: Sequence[CohortRow], plan: Plan
) -> dict[str, object]:
    """All that decides what a run learns, as plain JSON values."""
    used = [row for row in rows if row.split in ("train", "tune")]
    cohort = "\n".join(f"{row.volume.name} {row.label} {row.split}" for row in used)
    model = {"architecture": architecture, "width": getattr(network, "width", 1), "grid": list(preprocessing.shape)}
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

    Raises:
        TrainingError: it is another one, such as one with another learning rate, whose schedule cannot be changed on
            the way; or nothing can be written.
    """
    before = trainingwatch.read_plan(out)
    kept = next((name for name in (LAST_FILE, MODEL_FILE) if (out / name).exists()), None)
    if kept is not None and not before:
        raise TrainingError(f"The folder '{out}' holds a {kept} and nobody knows of which run; name another folder.")
    changed = [name for name, value in plan.items() if name in before and before[name] != value]
    if kept is not None and changed:
        was = ", ".join(f"{name} {before[name]} instead of {plan[name]}" for name in changed)
        raise TrainingError(f"The folder '{out}' holds a run with {was}; repeat its settings, or name another folder.")
    if not main:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        trainingwatch.write_plan(out, plan)
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


def give_long_memory(network: ConvLSTMNetwork, slices: int) -> None:
    """Chrono initialisation of the last unit: forget bias log U(1, T - 1), input bias its negative."""
    filters = network.units[-1].recurrence.filters
    with torch.no_grad():
        bias = network.units[-1].recurrence.input_conv.bias
        assert bias is not None
        forget = torch.log(torch.empty(filters).uniform_(1, slices - 1))
        bias[filters : 2 * filters] = forget
        bias[:filters] = -forget


def enlarge(network: ConvLSTMNetwork, image_size: int) -> ConvLSTMNetwork:
    """The same network for larger slices: every place of the last unit votes with the crop network's mean weight."""
    large = FastConvLSTM(dataclasses.replace(network.config, image_size=image_size))
    state = network.state_dict()
    channels = network.dense.in_features // network.config.final_size**2
    mean = state.pop("dense.weight").view(channels, network.config.final_size**2).mean(1)
    state["dense.weight"] = mean[:, None].expand(-1, large.config.final_size**2).reshape(1, -1).clone()
    large.load_state_dict(state)
    return large
