"""The section "Settings": device, precision, what is measured, and model folder, remembered on this computer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..lungs.scope import Scope
from ..scan.device import Device, Precision
from .settings import Settings


class SettingsPanel:
    """Shows the settings and keeps what is changed.

    Args:
        ui: the window's widgets by name.
        settings: what is remembered.
        models_moved: told when another model folder was named.
    """

    def __init__(self, ui: Any, settings: Settings, models_moved: Callable[[], None]) -> None:
        self._settings, self._models_moved = settings, models_moved
        for combo, now, changed in (
            (ui.deviceComboBox, settings.device, self._on_device),
            (ui.precisionComboBox, settings.precision, self._on_precision),
            (ui.measureComboBox, settings.measure, self._on_measure),
        ):
            for choice in type(now):
                combo.addItem(choice.label())
            combo.currentIndex = list(type(now)).index(now)
            combo.connect("currentIndexChanged(int)", changed)
        ui.modelFolderPathLineEdit.currentPath = str(settings.model_folder)
        ui.modelFolderPathLineEdit.connect("currentPathChanged(QString)", self._on_model_folder)

    def _on_device(self, index: int) -> None:
        self._settings.device = list(Device)[index]

    def _on_precision(self, index: int) -> None:
        self._settings.precision = list(Precision)[index]

    def _on_measure(self, index: int) -> None:
        self._settings.measure = list(Scope)[index]

    def _on_model_folder(self, folder: str) -> None:
        self._settings.model_folder = Path(folder)
        self._models_moved()
