"""Training a Conv-LSTM on a cohort, on Lightning: checkpoints every epoch, resumes where it stopped.

The published way is one label per volume and nothing else (the defaults of :class:`Plan`). Simulated cohorts come with
lesion maps; from them a network can also be taught where the disease is (``lesion_weight``), on small fields of view
(``crop``): many cheap presentations, whose network is then enlarged to whole slices.
"""

from __future__ import annotations

import dataclasses
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import SimpleITK as sitk
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from ..core.conv_lstm import ConvLSTMNetwork
from ..core.errors import EmphysemaScannerError
from ..core.grid import canonical
from ..core.manifest import CohortRow
from ..core.preprocessing import Preprocessing
from ..core.reading import read_ct
from . import trainingwatch

SURE, DOUBTFUL = 0.25, 0.05  # lesion share of a voxel from which it is disease; between the two it teaches nothing


OnEpoch = Callable[[trainingwatch.TrainingCurves], None]


class TrainingError(EmphysemaScannerError):
    """The cohort or the plan cannot be trained with."""


class TrainingStopped(EmphysemaScannerError):  # noqa: N818  # the user's wish, not an error
    """The user stopped the training; the same command goes on with it."""


class Stop:
    """Whether the training is to stop; asked at every step, so that nothing is left half-done."""

    wanted = False

    def check(self) -> None:
        """End the training here if it is to stop.

        Raises:
            TrainingStopped: it is.
        """
        if self.wanted:
            raise TrainingStopped("The training was stopped; the same command goes on after its last whole epoch.")


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGTERM, Ctrl-C and Windows' Ctrl-Break stop a training in the block; a second one ends the process at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield stop
        return
    numbers = [signal.SIGTERM, signal.SIGINT, *filter(None, [getattr(signal, "SIGBREAK", None)])]
    before = {number: signal.getsignal(number) for number in numbers}

    def handle(number: int, _frame: object) -> None:
        stop.wanted = True
        signal.signal(number, before[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, before[number])


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        epochs: at most; the paper's 50.
        batch_size: volumes a step.
        learning_rate: peak of AdamW's, reached after a warm-up of 5 % and let down along a cosine.
        crop: rows and columns of the random field of view that is shown, a multiple of 16; None shows whole slices.
        lesion_weight: weight of the lesion maps' loss on every unit's hidden states; 0 uses volume labels alone.
        long_memory: start the last unit with chrono initialisation (Tallec & Ollivier 2018).
        patience: epochs without a better AUC on the tuning split before stopping.
        seed: of every random choice.
    """

    epochs: int = 50
    batch_size: int = 4
    learning_rate: float = 1e-4
    crop: int | None = None
    lesion_weight: float = 0.0
    long_memory: bool = False
    patience: int = 10
    seed: int = 1

    def __post_init__(self) -> None:
        if self.crop is not None and (self.crop < 16 or self.crop % 16):
            raise TrainingError(f"The crop must be a multiple of 16, not {self.crop}.")
        if self.crop is not None and not self.lesion_weight:
            raise TrainingError("Crops need lesion maps to be labelled by; set a lesion weight.")


class Volumes(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """A split of a cohort on the network's grid, in memory: int16 HU, and lesion shares as uint8."""

    def __init__(
        self,
        rows: Sequence[CohortRow],
        preprocessing: Preprocessing,
        plan: Plan,
        augment: bool,
        stop: Stop | None = None,
    ) -> None:
        self.preprocessing, self.plan, self.augment = preprocessing, plan, augment
        self.labels = torch.tensor([row.label for row in rows], dtype=torch.float32)
        self.hu = np.empty((len(rows), *preprocessing.shape), np.int16)
        self.lesions = np.zeros((len(rows), *preprocessing.shape), np.uint8)
        for k, row in enumerate(rows):
            if stop is not None:
                stop.check()
            array = sitk.GetArrayFromImage(canonical(read_ct(row.volume)))
            self.hu[k] = np.rint(preprocessing.average(array))
            if row.lesions is not None:
                self.lesions[k] = sitk.GetArrayFromImage(sitk.ReadImage(str(row.lesions)))
            elif plan.lesion_weight and row.label:
                raise TrainingError(f"{row.volume.name} has no lesion map in the manifest; set the lesion weight to 0.")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng(torch.randint(2**31, (2,)).tolist() if self.augment else [self.plan.seed, k])
        hu, lesions = self.hu[k], self.lesions[k]
        label = self.labels[k]
        if self.plan.crop is not None:
            margin = [(n - self.plan.crop) // 8 for n in hu.shape[1:]]  # the body rarely reaches the corners
            y, x = (int(rng.integers(m, n - self.plan.crop - m + 1)) for m, n in zip(margin, hu.shape[1:], strict=True))
            field = (slice(None), slice(y, y + self.plan.crop), slice(x, x + self.plan.crop))
            hu, lesions = hu[field], lesions[field]
        grid_hu = hu.astype(np.float32)
        if self.augment:
            if rng.random() < 0.5:
                grid_hu, lesions = grid_hu[..., ::-1], lesions[..., ::-1]
            low = self.preprocessing.window_low_hu
            grid_hu = low + (grid_hu - low) * np.float32(np.exp(rng.normal(0, 0.06)))
            grid_hu = grid_hu + np.float32(rng.uniform(0, 12)) * rng.standard_normal(grid_hu.shape, dtype=np.float32)
        x_in = torch.from_numpy(np.ascontiguousarray(self.preprocessing.normalise(grid_hu)))[:, None]
        return x_in, label, torch.from_numpy(np.ascontiguousarray(lesions))


class Learner(lightning.LightningModule):
    """The network with its losses. The lesion heads are scaffolding: they are not part of the model that is saved."""

    def __init__(self, network: ConvLSTMNetwork, plan: Plan, total_steps: int) -> None:
        super().__init__()
        self.network, self.plan, self.total_steps = network, plan, total_steps
        self.heads = nn.ModuleList([nn.Conv2d(unit.recurrence.filters, 1, 1) for unit in network.reading_units])
        self.answers: list[tuple[Tensor, Tensor]] = []

    def running_logits(self, last_states: Tensor) -> Tensor:
        """(B, T, C, H, W) states of the fourth unit -> (B, T) logit after each slice."""
        normalised = self.network.reading_units[-1].normalised(last_states)
        logits: Tensor = self.network.dense(normalised.flatten(2)).squeeze(2)
        return logits

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        x, label, lesions = batch
        hidden = self.network.read(x)
        running = self.running_logits(hidden[-1])
        if not self.plan.lesion_weight:
            loss = functional.binary_cross_entropy_with_logits(running[:, self.network.last_read_slice], label)
        else:
            share = lesions.float() / 255
            loss = self._running_loss(running, share) + self.plan.lesion_weight * self._lesion_loss(hidden, share)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def _running_loss(self, running: Tensor, share: Tensor) -> Tensor:
        """After every slice: has disease been read so far? Doubtful amounts are left out."""
        highest = share.flatten(2).amax(2)  # (B, T) inferior to superior
        seen = highest.flip(1).cummax(1).values.flip(1)  # the last unit reads from the top
        weight = ((seen >= SURE) | (seen < DOUBTFUL)).float()
        weight[:, self.network.last_read_slice] *= running.shape[1] / 4  # the final answer matters most
        loss = functional.binary_cross_entropy_with_logits(running, (seen >= SURE).float(), weight, reduction="sum")
        return loss / weight.sum().clamp(min=1)

    def _lesion_loss(self, hidden: Sequence[Tensor], share: Tensor) -> Tensor:
        """At every place of every unit: is there disease here?"""
        losses = []
        for head, states in zip(self.heads, hidden, strict=True):
            stride = share.shape[-1] // states.shape[-1]
            target = (functional.max_pool2d(share, stride) / (2 * SURE)).clamp(max=1).flatten(0, 1)[:, None]
            logits = head(states.flatten(0, 1))
            losses.append(
                functional.binary_cross_entropy_with_logits(
                    logits, target, pos_weight=torch.tensor(4.0, device=self.device)
                )
            )
        return torch.stack(losses).sum()

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        x, label, lesions = batch
        hidden = self.network.read(x)
        logit = self.running_logits(hidden[-1])[:, self.network.last_read_slice]
        if self.plan.crop is not None:
            label = (lesions.flatten(1).amax(1) >= SURE * 255).float()
        self.answers.append((logit.float().cpu(), label.cpu()))

    def on_validation_epoch_end(self) -> None:
        logit, label = (torch.cat(parts) for parts in zip(*self.answers, strict=True))
        self.answers.clear()
        both = 0 < label.sum() < len(label)
        self.log("val_auc", float(roc_auc_score(label, logit)) if both else 0.5, prog_bar=True)
        self.log("val_loss", functional.binary_cross_entropy_with_logits(logit, label), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.plan.learning_rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.plan.learning_rate, total_steps=self.total_steps + 1, pct_start=0.05
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def give_long_memory(network: ConvLSTMNetwork, slices: int) -> None:
    """Chrono initialisation of the last unit: forget bias log U(1, T - 1), input bias its negative."""
    filters = network.reading_units[-1].recurrence.filters
    with torch.no_grad():
        bias = network.reading_units[-1].recurrence.input_conv.bias
        assert bias is not None
        forget = torch.log(torch.empty(filters).uniform_(1, slices - 1))
        bias[filters : 2 * filters] = forget
        bias[:filters] = -forget


class _Record(Callback):
    """Writes each epoch down for whoever watches, and stops when that is wanted."""

    def __init__(self, out: Path, stop: Stop, on_epoch: OnEpoch) -> None:
        self.out, self.stop, self.on_epoch = out, stop, on_epoch

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainingwatch.keep_epochs(self.out, trainer.current_epoch)

    def on_train_batch_end(self, *_: object) -> None:
        self.stop.check()

    def on_validation_batch_end(self, *_: object) -> None:
        self.stop.check()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        figures = [float(trainer.callback_metrics[name]) for name in trainingwatch.COLUMNS[1:]]
        trainingwatch.add_epoch(self.out, trainer.current_epoch + 1, *figures)
        self.on_epoch(trainingwatch.read_training(self.out))


def _silent(curves: trainingwatch.TrainingCurves) -> None:
    pass


def train(
    network: ConvLSTMNetwork,
    preprocessing: Preprocessing,
    rows: Sequence[CohortRow],
    plan: Plan,
    out: Path,
    *,
    progress_bar: bool = True,
    on_epoch: OnEpoch = _silent,
    stop: Stop | None = None,
) -> Path:
    """Train a network in place and keep the weights with the best AUC on the tuning split.

    Args:
        network: whole-slice or crop-sized (``image_size`` equal to the crop).
        preprocessing: how volumes become its input.
        rows: the cohort; splits "train" and "tune" are used.
        plan: how to train.
        out: folder for checkpoints, ``plan.json`` and ``metrics.csv``, as ``trainingwatch.read_training`` reads them; a
            run that was stopped there goes on after its last whole epoch.
        progress_bar: whether one is drawn on the terminal.
        on_epoch: told of each whole epoch.
        stop: asked at every volume and step.

    Returns:
        The best checkpoint; its weights are in ``network``.

    Raises:
        TrainingError: a split is empty or holds one class only, or ``out`` holds a run that was planned otherwise.
        TrainingStopped: ``stop`` was wanted.
    """
    stop = stop or Stop()
    by_split = {split: [row for row in rows if row.split == split] for split in ("train", "tune")}
    for split, part in by_split.items():
        if len({row.label for row in part}) < 2:
            raise TrainingError(f"The split '{split}' needs volumes of both labels; it has {len(part)} of one or none.")
    if len(by_split["train"]) < plan.batch_size:
        raise TrainingError(
            f"The training split has {len(by_split['train'])} volumes, fewer than a step's {plan.batch_size}; choose a "
            "smaller batch size."
        )
    last = Path(out) / "last.ckpt"
    sizes = {f"{split}_volumes": len(part) for split, part in by_split.items()}
    _keep_plan(Path(out), {**dataclasses.asdict(plan), "width": network.width, **sizes}, last.exists())
    lightning.seed_everything(plan.seed, verbose=False)
    if plan.long_memory and not last.exists():
        give_long_memory(network, preprocessing.shape[0])
    data = {split: Volumes(part, preprocessing, plan, split == "train", stop) for split, part in by_split.items()}
    train_loader = DataLoader(data["train"], plan.batch_size, shuffle=True, drop_last=True)
    tune_loader = DataLoader(data["tune"], plan.batch_size)
    best = ModelCheckpoint(out, "best", monitor="val_auc", mode="max")
    every = ModelCheckpoint(out, last.stem)  # ``save_last`` would only copy the best
    patience = EarlyStopping("val_auc", mode="max", patience=plan.patience)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Advice to programmers: the volumes are in memory, and loading them needs no workers.
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        warnings.filterwarnings("ignore", "`isinstance", FutureWarning)  # Lightning's, of PyTorch's own functions
        trainer = lightning.Trainer(
            max_epochs=plan.epochs,
            default_root_dir=out,
            accelerator="auto",
            gradient_clip_val=1.0,
            callbacks=[_Record(Path(out), stop, on_epoch), patience, best, every],
            logger=False,
            enable_progress_bar=progress_bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        learner = Learner(network, plan, plan.epochs * len(train_loader))
        resumed = str(last) if last.exists() else None
        try:
            trainer.fit(learner, train_loader, tune_loader, ckpt_path=resumed, weights_only=True)
        except SIGTERMException:  # Lightning saw the signal between two of our looks
            stop.wanted = True
    stop.check()
    chosen = Path(best.best_model_path)
    state = torch.load(chosen, map_location="cpu", weights_only=True)["state_dict"]
    learner.load_state_dict(state)
    return chosen


def _keep_plan(out: Path, plan: dict[str, object], resumes: bool) -> None:
    """Write the plan down, or see that a run that goes on is the same one.

    Raises:
        TrainingError: it is another one; a learning rate's schedule cannot be changed on the way.
    """
    before = trainingwatch.read_plan(out)
    changed = [name for name, value in plan.items() if name in before and before[name] != value]
    if resumes and changed:
        was = ", ".join(f"{name} {before[name]} instead of {plan[name]}" for name in changed)
        raise TrainingError(f"The folder '{out}' holds a run with {was}; repeat its settings, or name another folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        trainingwatch.write_plan(out, plan)
    except OSError as error:
        raise TrainingError(f"Nothing can be written to '{out}' ({error.strerror}); name another folder.") from error


def enlarge(network: ConvLSTMNetwork, image_size: int) -> ConvLSTMNetwork:
    """The same network for larger slices: every place of the last unit votes with the crop network's mean weight."""
    large = ConvLSTMNetwork(network.width, image_size)
    state = network.state_dict()
    channels = network.dense.in_features // network.final_size**2
    mean = state.pop("dense.weight").view(channels, network.final_size**2).mean(1)
    state["dense.weight"] = mean[:, None].expand(-1, large.final_size**2).reshape(1, -1).clone()
    large.load_state_dict(state)
    return large
