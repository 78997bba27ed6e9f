"""The list of models, and what is known about the chosen one: it needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import qt
import slicer

from ..base.errors import ModelFileError
from ..i18n import tr as _
from ..models.modelfolder import ModelEntry, default_model_path, models_in
from ..report import richtext as panel
from . import styles
from .settings import Settings


class ModelPanel:
    """Which model answers.

    Args:
        ui: the window's widgets by name.
        settings: knows the model folder.
        chosen: told the path of a model that the user chose.
    """

    def __init__(self, ui: Any, settings: Settings, chosen: Callable[[Path], None]) -> None:
        self._ui, self._settings, self._chosen = ui, settings, chosen
        self._entries: list[ModelEntry] = []
        self._filling = False
        ui.modelComboBox.connect("currentIndexChanged(int)", self._on_index)
        ui.browseModelButton.connect("clicked(bool)", self._on_browse)

    @property
    def entry(self) -> ModelEntry | None:
        """The chosen model; None if there is none at all."""
        index = self._ui.modelComboBox.currentIndex
        return self._entries[index] if 0 <= index < len(self._entries) else None

    def fill(self, chosen: Path) -> None:
        """List the bundled model, the model folder's and the chosen one, which may lie anywhere."""
        try:
            shipped = [default_model_path()]
        except ModelFileError:
            shipped = []
        entries = [ModelEntry.of_file(path) for path in shipped] + models_in(self._settings.model_folder)
        if chosen != Path() and chosen not in [entry.path for entry in entries]:
            entries.append(ModelEntry.of_file(chosen))
        self._filling = True
        combo = self._ui.modelComboBox
        combo.clear()
        self._entries = entries
        for index, entry in enumerate(entries):
            combo.addItem(entry.card.name if entry.card else _("{file} (cannot be read)").format(file=entry.path.name))
            combo.setItemData(index, styles.tip(str(entry.path)), qt.Qt.ToolTipRole)
        paths = [entry.path for entry in entries]
        combo.currentIndex = paths.index(chosen) if chosen in paths else 0 if paths else -1
        self._filling = False
        self._describe()

    def _on_index(self, index: int) -> None:
        if not self._filling:
            self._describe()
            if self.entry is not None:
                self._chosen(self.entry.path)

    def _on_browse(self, _checked: bool = False) -> None:
        folder = str(self._settings.model_folder)
        kinds = _("EmphysemaScanner model (*.safetensors)")
        path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Choose a model"), folder, kinds)
        if path:
            self.fill(Path(path))
            self._chosen(Path(path))

    def caution(self) -> str:
        """What the software is for and what kind of model is chosen, as rich text."""
        entry = self.entry
        if entry is None:
            return _("There is no model; choose a model file.")
        return escape(entry.problem) if entry.card is None else panel.caution(entry.card)

    def _describe(self) -> None:
        entry = self.entry
        if entry is not None:
            known = panel.about_model(entry.card, entry.path.name) if entry.card else escape(entry.problem)
            self._ui.aboutModelLabel.text = known
