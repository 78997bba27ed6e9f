"""Panels "Answer" and "Densitometry": the result of the chosen CT."""

from __future__ import annotations

from html import escape
from typing import Any

from ..i18n import tr as _
from ..report import richtext as panel
from ..scan.result import ScanResult, SliceEvidence

WARNINGS_AT_FIRST = 2  # more would push the probability out of sight on a small screen


class AnswerPanel:
    """Shows a result; needs no PyTorch, so that a saved scene reads everywhere.

    Args:
        ui: the window's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self.result: ScanResult | None = None
        ui.warningsLabel.connect("linkActivated(QString)", self._on_more_warnings)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self.result = None
        self._ui.resultCollapsibleButton.visible = False
        self._ui.numbersCollapsibleButton.visible = False

    def show(self, result: ScanResult) -> None:
        """Show a result: what kind of model it is, then the image quality warnings, then the probability."""
        self.result = result
        ui = self._ui
        ui.cautionLabel.text = panel.caution(result.model)
        self._warn(WARNINGS_AT_FIRST - bool(result.call_reason))
        ui.probabilityLabel.text = panel.probability(result)
        ui.verdictLabel.text = panel.verdict(result)
        ui.provenanceLabel.text = panel.provenance(result)
        ui.densitometryLabel.text = panel.densitometry(result)
        ui.resultCollapsibleButton.visible = True
        ui.numbersCollapsibleButton.visible = True

    def show_read_so_far(self, count: int | None) -> None:
        """While the scan is played: the probability after the first ``count`` slices; None for the answer again."""
        result = self.result
        if result is None:
            return
        ui = self._ui
        if count is None or not isinstance(result.slices, SliceEvidence):
            ui.probabilityLabel.text = panel.probability(result)
            ui.verdictLabel.text = panel.verdict(result)
            return
        ui.probabilityLabel.text = panel.probability(result, float(result.slices.running_probability[count - 1]))
        ui.verdictLabel.text = _("Playing: {count} of {slices} slices read so far.").format(
            count=count, slices=len(result.slice_indices)
        )

    def _on_more_warnings(self, _link: str = "") -> None:
        self._warn(None)

    def _warn(self, most: int | None) -> None:
        """Show the warnings, and before them why there is no call: on a small screen the verdict is out of sight."""
        result = self.result
        if result is None:
            return
        reason = [f"<b>{escape(result.call_reason)}</b>"] if result.call_reason else []
        warnings = [panel.warnings(result, most)] if result.warnings else []
        self._ui.warningsLabel.text = "<br>".join(reason + warnings)
        self._ui.warningsLabel.visible = bool(reason or warnings)
