"""Panel "Train": the command-line training as a background process, with live curves, log and Cancel."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt

from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _
from ..models.modelcard import ARCHITECTURE_TITLES
from . import styles
from .settings import Settings

if TYPE_CHECKING:
    from ..jobs.process import BackgroundProcess

WATCH_INTERVAL_MS = 1000
CURVES_SIZE = (400, 190)  # pixels


class TrainPanel:
    """Watches one training.

    Args:
        ui: the window's widgets by name.
        settings: knows the model folder, which the finished model is copied to.
        start: starts the training: manifest, output folder, epochs, and the new model's architecture, or "" to go on
            from the chosen model.
        finished: told the path of the finished model.
    """

    def __init__(
        self,
        ui: Any,
        settings: Settings,
        start: Callable[[Path, Path, int, str], BackgroundProcess],
        finished: Callable[[Path], None],
    ) -> None:
        self._ui, self._settings, self._start, self._finished = ui, settings, start, finished
        self._process: BackgroundProcess | None = None
        self._folder = Path()
        self._drawn: Any = None
        self._timer = qt.QTimer()
        self._timer.interval = WATCH_INTERVAL_MS
        self._timer.connect("timeout()", self._on_tick)
        for architecture, title in ARCHITECTURE_TITLES.items():
            ui.startComboBox.addItem(_("A new model: {title}").format(title=title), architecture)
        ui.startComboBox.insertItem(1, _("The chosen model"), "")
        ui.trainButton.connect("clicked(bool)", self._on_button)
        ui.trainStatusLabel.visible = ui.trainCurvesLabel.visible = False

    @property
    def running(self) -> bool:
        """Whether a training is running."""
        return self._process is not None

    def close(self) -> None:
        """End a running training; the same command, or the same button, goes on with it."""
        self._timer.stop()
        if self._process is not None:
            self._process.cancel()
            self._process = None

    def _on_button(self, _checked: bool = False) -> None:
        if self._process is not None:
            self._ui.trainButton.enabled = False
            self._ui.trainButton.text = _("Cancelling...")
            self._process.cancel()
            return
        ui = self._ui
        try:
            manifest, folder = self._paths()
            ui.trainLog.clear()
            self._drawn = None
            self._process = self._start(manifest, folder, ui.epochsSpinBox.value, ui.startComboBox.currentData)
        except EmphysemaScannerError as error:
            styles.say(ui.trainStatusLabel, str(error), styles.ERROR)
            return
        self._folder = folder
        ui.trainButton.text = _("Cancel")
        styles.say(ui.trainStatusLabel, _("Preparing the cohort..."))
        self._timer.start()

    def _paths(self) -> tuple[Path, Path]:
        manifest = self._ui.manifestPathLineEdit.currentPath.strip()
        folder = self._ui.trainFolderPathLineEdit.currentPath.strip()
        if not manifest or not Path(manifest).is_file():
            raise EmphysemaScannerError(_("Choose the cohort's manifest, a CSV file."))
        if not folder:
            raise EmphysemaScannerError(_("Name the output folder."))
        for edit in (self._ui.manifestPathLineEdit, self._ui.trainFolderPathLineEdit):
            edit.addCurrentPathToHistory()
        return Path(manifest), Path(folder)

    def _on_tick(self) -> None:
        """Show what has become new since the last look."""
        process = self._process
        if process is None:
            return
        exit_code = process.poll()  # before the last lines are read, or some would be lost
        for line in process.new_lines():
            self._ui.trainLog.appendPlainText(line)
        self._draw()
        if exit_code is None:
            return
        self._timer.stop()
        self._process = None
        self._ui.trainButton.text, self._ui.trainButton.enabled = _("Train"), True
        self._end(exit_code)

    def _end(self, exit_code: int) -> None:
        model, label = self._folder / "model.safetensors", self._ui.trainStatusLabel
        if exit_code == 0 and model.is_file():
            kept = _free(self._settings.model_folder / f"{self._folder.name}.safetensors")
            try:
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(model, kept)
            except OSError as error:
                sentence = _("Finished: '{path}'; it could not be copied to the model folder ({why}).")
                styles.say(label, sentence.format(path=model, why=error.strerror), styles.ERROR)
                return
            styles.say(label, _("Finished: '{path}' is in the model list.").format(path=kept))
            self._finished(kept)
        elif exit_code == 0 or self._ui.trainLog.toPlainText().strip() == "":
            styles.say(label, _("The training ended without a model; its log says why."), styles.ERROR)
        else:
            said = self._ui.trainLog.toPlainText().strip().splitlines()[-1]
            styles.say(label, _("Stopped: {said}").format(said=said), styles.NOTE)

    def _draw(self) -> None:
        """The curves, when an epoch has been added."""
        from ..training.runfolder import curves_png, read_training

        ui, curves = self._ui, read_training(self._folder)
        dark = ui.trainLog.palette.color(qt.QPalette.Window).lightness() < 128
        if not curves.train_loss or (curves, dark) == self._drawn:
            return
        self._drawn = (curves, dark)
        pixmap = qt.QPixmap()
        pixmap.loadFromData(qt.QByteArray(curves_png(curves, *CURVES_SIZE, dark)))
        ui.trainCurvesLabel.setPixmap(pixmap)
        ui.trainCurvesLabel.visible = True
        auc = f"{curves.val_auc[-1]:.3f}" if curves.val_auc else "-"
        sentence = _("Epoch {done} of {planned}: validation AUC {auc}")
        styles.say(ui.trainStatusLabel, sentence.format(done=curves.epoch, planned=curves.epochs or "?", auc=auc))


def _free(path: Path) -> Path:
    """The path, or one with a number where there is such a file already."""
    numbered = (path.with_stem(f"{path.stem} {k}") for k in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not one.exists())
