"""What the module remembers on this computer, in Slicer's own settings."""

from __future__ import annotations

from pathlib import Path

import slicer

from ..lungs.scope import Scope
from ..scan.device import Device, Precision

GROUP = "EmphysemaScanner"


class Settings:
    """Device, precision, what is measured, and model folder; a value that no longer exists reads as the default."""

    @property
    def device(self) -> Device:
        """Where the network runs."""
        return Device(self._read("Device", Device.AUTO.value, {d.value for d in Device}))

    @device.setter
    def device(self, device: Device) -> None:
        self._write("Device", device.value)

    @property
    def precision(self) -> Precision:
        """With how many bits the network calculates."""
        return Precision(self._read("Precision", Precision.AUTO.value, {p.value for p in Precision}))

    @precision.setter
    def precision(self, precision: Precision) -> None:
        self._write("Precision", precision.value)

    @property
    def measure(self) -> Scope:
        """How much a scan measures."""
        return Scope(self._read("Measure", Scope.HISTOGRAM.value, {s.value for s in Scope}))

    @measure.setter
    def measure(self, scope: Scope) -> None:
        self._write("Measure", scope.value)

    @property
    def model_folder(self) -> Path:
        """Where the user's models lie; it need not exist."""
        return Path(self._read("ModelFolder", "") or Path(slicer.app.defaultScenePath) / "EmphysemaScanner models")

    @model_folder.setter
    def model_folder(self, folder: Path) -> None:
        self._write("ModelFolder", str(folder))

    def _read(self, key: str, default: str, allowed: set[str] | None = None) -> str:
        value = str(slicer.app.settings().value(f"{GROUP}/{key}", default))
        return value if allowed is None or value in allowed else default

    def _write(self, key: str, value: str) -> None:
        slicer.app.settings().setValue(f"{GROUP}/{key}", value)
