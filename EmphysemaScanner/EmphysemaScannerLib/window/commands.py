"""The command line in a process of its own, as the logic starts it and waits for it: what takes long or much memory."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import slicer

from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _
from ..jobs.process import GRACE_S, BackgroundProcess
from ..jobs.worker import POLL_S, Report
from ..training.runfolder import read_training

LOOK_INTERVAL_S = 1.0  # at what a process has got done
PROGRESS_LINE = re.compile(r"\s*(\d+) % (.*)")


def start(arguments: Sequence[str], log: Path) -> BackgroundProcess:
    """Start a command of the command line in Slicer's Python."""
    package = Path(__file__).parents[2]
    environment = dict(slicer.util.startupEnvironment())
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(package), environment.get("PYTHONPATH"))))
    environment["PYTHONUNBUFFERED"] = "1"
    environment["EMPHYSEMA_SCANNER_PROGRESS"] = "lines"
    return BackgroundProcess([_python(), "-m", "EmphysemaScannerLib", *arguments], environment=environment, log=log)


def start_training(
    manifest: Path, folder: Path, epochs: int, model: Path | None, architecture: str
) -> BackgroundProcess:
    """Start the command ``train``; a model to go on from decides the architecture itself.

    Args:
        manifest: the cohort.
        folder: of the run.
        epochs: at most.
        model: a model to train further, or None.
        architecture: of a new model.
    """
    chosen = ["--architecture", architecture] if model is None else ["--start", str(model)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmphysemaScannerError(
            _("The folder '{folder}' cannot be made ({why}); name another.").format(folder=folder, why=error.strerror)
        ) from error
    arguments = ["train", str(manifest), "--out", str(folder), "--epochs", str(epochs), *chosen]
    return start(arguments, folder / "training.log")


def train(process: BackgroundProcess, folder: Path, epochs: int, progress: Report | None) -> Path:
    """Wait for a training's end while the window stays alive.

    Args:
        process: cancelled if ``progress`` raises.
        folder: of the run.
        epochs: planned.
        progress: told the share done and the epoch about once a second.

    Returns:
        The model file.

    Raises:
        EmphysemaScannerError: it ended without a model.
    """

    def look() -> None:
        epoch = read_training(folder).epoch
        if progress is not None:
            progress(epoch / epochs, _("Epoch {epoch} of {epochs}").format(epoch=epoch, epochs=epochs))

    exit_code = _wait(process, look)
    model = folder / "model.safetensors"
    if exit_code != 0 or not model.is_file():
        why = next((line for line in reversed(process.new_lines()) if line.strip()), "")
        raise EmphysemaScannerError(_("The training ended without a model. {why}").format(why=why))
    return model


def run(arguments: Sequence[str], progress: Report | None) -> None:
    """Run a command and wait for its end while the window stays alive.

    Args:
        arguments: of the command line.
        progress: told the share done and the stage about once a second; what it raises ends the command.

    Raises:
        EmphysemaScannerError: with the sentence that the command ended with.
    """
    with tempfile.TemporaryDirectory(dir=slicer.app.temporaryPath) as folder:
        process = start(arguments, Path(folder) / "command.log")
        said: list[str] = []

        def look() -> None:
            lines = process.new_lines()
            said.extend(line for line in lines if line.strip() and not PROGRESS_LINE.match(line))
            told = [found for line in lines if (found := PROGRESS_LINE.match(line))]
            if told and progress is not None:
                progress(int(told[-1][1]) / 100, told[-1][2])

        exit_code = _wait(process, look)
        look()
        if exit_code != 0:
            raise EmphysemaScannerError(said[-1] if said else _("The command ended without a message."))


def _wait(process: BackgroundProcess, look: Callable[[], None]) -> int:
    """The exit code, once there is one; ``look`` is called about once a second, and the process ends if it raises."""
    looked = 0.0
    try:
        while (exit_code := process.poll()) is None:
            slicer.app.processEvents()
            if time.monotonic() - looked > LOOK_INTERVAL_S:
                looked = time.monotonic()
                look()
            time.sleep(POLL_S)
    except BaseException:
        process.cancel()
        process.wait(GRACE_S)  # or the same call, made again at once, would meet the process in its folder
        raise
    return exit_code


def _python() -> str:
    """Slicer's own Python interpreter."""
    suffix = ".exe" if sys.platform == "win32" else ""
    beside_slicer = Path(slicer.app.slicerHome) / "bin" / f"PythonSlicer{suffix}"
    return str(beside_slicer) if beside_slicer.exists() else sys.executable
