"""Panel "Batch": many CTs into one table, one row a CT as they finish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer

from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _
from ..report import wording
from . import styles

if TYPE_CHECKING:
    from ..batch.row import BatchRow


class BatchPanel:
    """The cohort's paths and its table.

    Args:
        ui: the window's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._sources: list[str] = []
        titles = [_("CT"), _("Probability"), _("Call"), _("LAA%-950 (%)")]
        styles.set_up_table(ui.batchTable, titles)
        ui.batchTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.batchTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.batchTable.connect("cellDoubleClicked(int,int)", self._on_double_click)
        ui.batchProgressBar.visible = False

    def paths(self) -> tuple[Path, Path]:
        """Where the CTs are, and the CSV.

        Raises:
            EmphysemaScannerError: one of them was not named.
        """
        source = self._ui.batchSourcePathLineEdit.currentPath.strip()
        output = self._ui.batchOutputPathLineEdit.currentPath.strip()
        if not source:
            raise EmphysemaScannerError(_("Choose a folder with CTs, or a CSV that lists them."))
        if not output:
            raise EmphysemaScannerError(_("Choose a CSV file for the results."))
        for edit in (self._ui.batchSourcePathLineEdit, self._ui.batchOutputPathLineEdit):
            edit.addCurrentPathToHistory()
        return Path(source), Path(output)

    @property
    def retry(self) -> bool:
        """Whether refused CTs are to be scanned again."""
        return bool(self._ui.batchRetryCheckBox.checked)

    def objects_beside(self, output: Path) -> Path | None:
        """The folder for DICOM objects, beside the table; None if they are not ticked."""
        return output.with_name(f"{output.stem}-dicom") if self._ui.batchObjectsCheckBox.checked else None

    def clear(self) -> None:
        """Empty the table."""
        self._sources = []
        self._ui.batchTable.setRowCount(0)

    def add(self, row: BatchRow) -> None:
        """One CT is done."""
        table = self._ui.batchTable
        k = table.rowCount
        table.setRowCount(k + 1)
        self._sources.append(row.source)
        done = row.status == "done"
        texts = (
            Path(row.source).name,
            wording.percent(row.probability) if done else "",
            wording.CALL_NAMES.get(row.call, row.call) if done else _("refused"),
            wording.number(row.laa_950_percent, 1) if done else "",
        )
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(styles.tip(row.source, row.problem, row.call_reason, row.warnings, row.dicom_problem))
            table.setItem(k, column, item)
        table.scrollToBottom()

    def _on_double_click(self, row: int, _column: int) -> None:
        """Load a CT of the table."""
        path = Path(self._sources[row])
        if path.is_dir():
            slicer.util.selectModule("DICOM")
        elif path.is_file():
            slicer.util.loadVolume(str(path))
