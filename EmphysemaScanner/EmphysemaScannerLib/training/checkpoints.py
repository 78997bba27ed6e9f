"""What a training keeps on disk after each epoch: killed at any moment, it loses only the epoch that it was in.

``last.ckpt`` is the whole state after the last epoch, ``best-N.pt`` the weights of epoch N, the best so far. The best
is written before the state that names it, and older ones are removed afterwards: at every moment ``last.ckpt`` and the
file that it names are there and whole.
"""

from __future__ import annotations

import io
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch import nn

from ..base.wholefile import PART_SUFFIX, write_whole
from . import runfolder
from .plan import TrainingError, TrainingStopped

LAST_FILE = "last.ckpt"

OnEpoch = Callable[[runfolder.TrainingCurves], None]


class Stop:
    """Whether the training is to stop; asked at every step, so that nothing is left half-done."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """End the training here if it is to stop.

        Raises:
            TrainingStopped: it is.
        """
        if self.wanted:
            raise TrainingStopped("The training was stopped; the same command goes on after its last whole epoch.")

    def listen(self) -> None:
        """Let signals ask for the stop; a second one ends the process at once. Again after others have taken them."""
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.wanted = True
        signal.signal(number, self._before[signal.Signals(number)])


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGTERM, Ctrl-C and Windows' Ctrl-Break stop a training in the block; a second one ends the process at once."""
    stop = Stop()
    if threading.current_thread() is threading.main_thread():  # no other may handle signals
        numbers = [signal.SIGTERM, signal.SIGINT, *filter(None, [getattr(signal, "SIGBREAK", None)])]
        stop._before = {number: signal.getsignal(number) for number in numbers}
    stop.listen()
    try:
        yield stop
    finally:
        for number, before in stop._before.items():
            signal.signal(number, before)


def ignore_epoch(curves: runfolder.TrainingCurves) -> None:
    """The ``OnEpoch`` that does nothing."""


@dataclass(frozen=True)
class Watch:
    """Who sees a training's progress and may stop it.

    Attributes:
        progress_bar: whether one is drawn on the terminal.
        on_epoch: told of each whole epoch, in the first process.
        stop: asked at every step.
    """

    progress_bar: bool = False
    on_epoch: OnEpoch = ignore_epoch
    stop: Stop = field(default_factory=Stop)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all.

    Lightning's own go through the folder for temporary files, and are copied from there byte by byte where it is on
    another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint beside its place and move it there; Lightning calls this instead of its own way."""
        _save(checkpoint, Path(path))


def _save(what: object, path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(what, buffer)
    write_whole(path, buffer.getbuffer())


class Keeper(Checkpoint):
    """Keeps the run and its best weights, writes its figures down, and ends it when it gets no better or is to stop.

    Args:
        network: whose weights are kept.
        out: the run's folder.
        patience: epochs without a better AUC before the end.
        watch: its stop is asked at every step, and if any process is to stop, all do; it hears of each whole epoch,
            once that is kept.
    """

    def __init__(self, network: nn.Module, out: Path, patience: int, watch: Watch) -> None:
        self.network, self.out, self.patience = network, out, patience
        self.stop, self.on_epoch = watch.stop, watch.on_epoch
        self.epochs = self.best_epoch = 0
        self.best_auc = -math.inf

    @property
    def best(self) -> Path:
        """The best weights so far."""
        return self.out / f"best-{self.best_epoch}.pt"

    def state_dict(self) -> dict[str, Any]:
        """What a continued run needs to know of the epochs before; a part of Lightning's checkpoint."""
        return {"epochs": self.epochs, "best_epoch": self.best_epoch, "best_auc": self.best_auc}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` kept."""
        self.epochs, self.best_epoch = state_dict["epochs"], state_dict["best_epoch"]
        self.best_auc = state_dict["best_auc"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Drop the figures of epochs after the checkpoint, and end a run whose patience was already used up."""
        self.stop.listen()
        if trainer.is_global_zero:
            runfolder.keep_epochs(self.out, self.epochs)
        self._end_if_worn_out(trainer)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Ask after each step whether the run is to stop."""
        self._stop_together(trainer)

    def on_validation_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Ask after each tuning volume whether the run is to stop."""
        self._stop_together(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the epoch's figures, the weights if their AUC is the best, and the state to go on from.

        Raises:
            TrainingError: the loss is not a number any more.
        """
        train_loss, val_loss, val_auc = (float(trainer.callback_metrics[name]) for name in runfolder.COLUMNS[1:])
        if not math.isfinite(train_loss + val_loss):
            raise TrainingError(
                f"In epoch {self.epochs + 1} the loss is no longer a number; train in another folder with a smaller "
                "learning rate, or with precision 32."
            )
        self.epochs += 1
        better = val_auc > self.best_auc
        if better:
            self.best_epoch, self.best_auc = self.epochs, val_auc
        if trainer.is_global_zero:
            if better:
                _save(self.network.state_dict(), self.best)
            runfolder.add_epoch(self.out, self.epochs, train_loss, val_loss, val_auc)
        trainer.save_checkpoint(self.out / LAST_FILE)
        if trainer.is_global_zero:
            for old in (*self.out.glob("best-*.pt"), *self.out.glob(f".*{PART_SUFFIX}")):
                if old != self.best:
                    old.unlink(missing_ok=True)
            self.on_epoch(runfolder.read_training(self.out))
        self._end_if_worn_out(trainer)

    def _end_if_worn_out(self, trainer: lightning.Trainer) -> None:
        if self.epochs - self.best_epoch >= self.patience:
            trainer.should_stop = True

    def _stop_together(self, trainer: lightning.Trainer) -> None:
        if trainer.world_size > 1:
            self.stop.wanted = trainer.strategy.reduce_boolean_decision(self.stop.wanted, all=False)
        self.stop.check()
