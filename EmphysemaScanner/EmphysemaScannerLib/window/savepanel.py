"""Panel "Save": report, tables, plots, overlays and scene into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..archive.kinds import ObjectKind
from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _
from ..report.saving import Kind


class SavePanel:
    """What the user wants saved, and where.

    Args:
        ui: the window's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui

    def kinds(self) -> set[Kind]:
        """The kinds of files that are ticked; the scene is none of them."""
        ui = self._ui
        boxes = {
            Kind.REPORT_HTML: ui.saveHtmlCheckBox,
            Kind.REPORT_PDF: ui.savePdfCheckBox,
            Kind.CSV: ui.saveCsvCheckBox,
            Kind.PLOTS: ui.savePlotsCheckBox,
            Kind.OVERLAYS: ui.saveOverlaysCheckBox,
        }
        return {kind for kind, box in boxes.items() if box.checked}

    def objects(self) -> frozenset[ObjectKind]:
        """The kinds of DICOM objects that are ticked."""
        ui = self._ui
        boxes = {
            ObjectKind.SEGMENTATION: ui.saveSegmentationCheckBox,
            ObjectKind.MEASUREMENTS: ui.saveMeasurementsCheckBox,
            ObjectKind.MAPS: ui.saveMapsCheckBox,
            ObjectKind.PDF: ui.saveEncapsulatedCheckBox,
            ObjectKind.PAGES: ui.savePagesCheckBox,
        }
        return frozenset(kind for kind, box in boxes.items() if box.checked)

    def folder(self) -> Path:
        """The folder that was named.

        Raises:
            EmphysemaScannerError: none was, or nothing is ticked.
        """
        named = self._ui.saveFolderPathLineEdit.currentPath.strip()
        if not named:
            raise EmphysemaScannerError(_("Name a folder to save to."))
        if not (self.kinds() or self.objects() or self.scene):
            raise EmphysemaScannerError(_("Tick what to save."))
        return Path(named)

    @property
    def scene(self) -> bool:
        """Whether the scene is ticked."""
        return bool(self._ui.saveSceneCheckBox.checked)

    @property
    def into_database(self) -> bool:
        """Whether DICOM objects are to be added to Slicer's DICOM database."""
        return bool(self.objects() and self._ui.saveToDatabaseCheckBox.checked)

    @property
    def named(self) -> bool:
        """Whether reports are to name the CT."""
        return bool(self._ui.saveNameCheckBox.checked)

    def remember(self) -> None:
        """Offer the folder again the next time."""
        self._ui.saveFolderPathLineEdit.addCurrentPathToHistory()
