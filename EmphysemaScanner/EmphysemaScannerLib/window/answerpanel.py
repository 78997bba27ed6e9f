"""The answer of the chosen CT: probability, call and warnings, and the tabs below it."""

from __future__ import annotations

from typing import Any

from ..i18n import tr as _
from ..report import richtext as panel
from ..scan.result import ScanResult, SliceEvidence

REGIONS_TAB, SLICES_TAB, ABOUT_TAB = range(3)


class AnswerPanel:
    """Shows a result; needs no PyTorch, so that a saved scene reads everywhere.

    Args:
        ui: the window's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._all_warnings = self._all_measurements = False
        self.result: ScanResult | None = None
        ui.warningsLabel.connect("linkActivated(QString)", self._on_warnings)
        ui.densitometryLabel.connect("linkActivated(QString)", self._on_measurements)
        self.clear()

    def clear(self) -> None:
        """Show nothing but what is known about the model."""
        self.result = None
        self._ui.answerFrame.visible = False
        self._ui.provenanceLabel.visible = False
        self._offer_tabs(False)
        self._ui.resultTabs.currentIndex = ABOUT_TAB

    def show(self, result: ScanResult) -> None:
        """Show a result: the probability and the call, then the image quality warnings in a line."""
        ui = self._ui
        if self.result is None:
            self._offer_tabs(True)
            ui.resultTabs.currentIndex = REGIONS_TAB
        self.result = result
        ui.probabilityLabel.text = panel.probability(result)
        ui.verdictLabel.text = panel.verdict(result)
        ui.provenanceLabel.text = panel.provenance(result)
        self._show_measurements(False)
        self._show_warnings(False)
        ui.answerFrame.visible = True
        ui.provenanceLabel.visible = True

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

    def _offer_tabs(self, with_result: bool) -> None:
        for index in (REGIONS_TAB, SLICES_TAB):
            self._ui.resultTabs.setTabEnabled(index, with_result)

    def _on_measurements(self, _link: str = "") -> None:
        self._show_measurements(not self._all_measurements)

    def _show_measurements(self, all_of_them: bool) -> None:
        if self.result is not None:
            self._all_measurements = all_of_them
            further = panel.all_measurements(self.result)
            link = _("Fewer measurements") if all_of_them else _("All measurements")
            text = panel.densitometry(self.result, link if further else "")
            self._ui.densitometryLabel.text = f"{text}<br>{further}" if all_of_them else text

    def _on_warnings(self, _link: str = "") -> None:
        self._show_warnings(not self._all_warnings)

    def _show_warnings(self, all_of_them: bool) -> None:
        if self.result is not None:
            self._all_warnings = all_of_them
            text = panel.warnings(self.result) if all_of_them else panel.warnings_in_short(self.result)
            self._ui.warningsLabel.text = f'{text} <a href="#">{_("Hide") if all_of_them else _("Show")}</a>'
            self._ui.warningsLabel.visible = bool(self.result.warnings)
