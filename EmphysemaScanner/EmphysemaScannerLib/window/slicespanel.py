"""Panel "Which slice": plots and slice views follow one another, a ranked table, and playing the scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt
import vtk
from slicer.util import VTKObservationMixin

from ..i18n import tr as _
from ..report.slicewords import slice_words
from ..scan.result import ScanResult, SliceEvidence
from ..scene import charts, layout, marker, views
from ..scene.result import ResultNodes
from . import styles
from .linking import plot_widgets

TELLING_SLICES = 10
PLAY_INTERVAL_MS = 200
CLICK_PIXELS = 3  # a mouse that moved further between press and release was dragging the plot


class SlicesPanel(VTKObservationMixin):
    """Keeps plots, slice views, table and the text of the position in step for one result.

    Args:
        ui: the window's widgets by name.
        read_so_far: told how many slices have been read while the scan is played, and None when it has ended.
    """

    def __init__(self, ui: Any, read_so_far: Callable[[int | None], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._ui, self._read_so_far = ui, read_so_far
        self._nodes: ResultNodes | None = None
        self._result: ScanResult | None = None
        self._position: float | None = None
        self._count = 0
        self._interactors: list[tuple[Any, int]] = []
        self._pressed_at = (0, 0)
        self._timer = qt.QTimer()
        self._timer.interval = PLAY_INTERVAL_MS
        self._timer.connect("timeout()", self._on_tick)
        ui.playButton.connect("toggled(bool)", self._on_play)
        ui.tellingTable.connect("cellClicked(int,int)", self._on_row)
        ui.tellingTable.connect("currentCellChanged(int,int,int,int)", self._on_row)
        styles.set_up_table(ui.tellingTable, [_("S (mm)")])
        ui.tellingTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.tellingTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        self.clear()

    def clear(self) -> None:
        """Follow no result."""
        self.stop()
        self.removeObservers()
        self._nodes = self._result = self._position = None
        self._ui.tellingTable.setRowCount(0)

    def show(self, nodes: ResultNodes, result: ScanResult) -> None:
        """Follow this result."""
        self.clear()
        self._nodes, self._result = nodes, result
        self._ui.playButton.visible = isinstance(result.slices, SliceEvidence)
        self._fill_table(result)
        axial = nodes.ct.GetScene().GetSingletonNode(layout.AXIAL_VIEW, "vtkMRMLSliceNode")
        if axial is not None:
            self.addObserver(axial, vtk.vtkCommand.ModifiedEvent, self._on_slice_moved)
        self._on_slice_moved()
        self.listen_to_plots()

    def listen_to_plots(self) -> None:
        """Take clicks in the plot views that the layout shows now."""
        self._ignore_plots()
        for widget in plot_widgets():
            interactor = widget.plotView().renderWindow().GetInteractor()
            press = interactor.AddObserver("LeftButtonPressEvent", self._on_press)
            release = interactor.AddObserver(
                "LeftButtonReleaseEvent", lambda i, _event, widget=widget: self._on_release(widget, i)
            )
            self._interactors += [(interactor, press), (interactor, release)]

    def stop(self) -> None:
        """End playing; the plots show the whole scan again."""
        if self._timer.active:
            self._ui.playButton.checked = False

    def close(self) -> None:
        """Let go of everything that is observed."""
        self._timer.stop()
        self.removeObservers()
        self._ignore_plots()

    def go_to(self, position_mm: float) -> None:
        """Move the axial view, and with it the marker, to a position S in mm."""
        if self._nodes is not None:
            views.jump_to_slice(self._nodes, position_mm)

    def _fill_table(self, result: ScanResult) -> None:
        table = self._ui.tellingTable
        telling = result.telling_slices(TELLING_SLICES)
        positions = [f"{position:.0f}" for position in result.slice_positions_mm]
        columns = {_("S (mm)"): positions, **slice_words(result).table()}
        table.setColumnCount(len(columns))
        table.setHorizontalHeaderLabels(list(columns))
        table.setRowCount(len(telling))
        for column, texts in enumerate(columns.values()):
            for row, k in enumerate(telling):
                item = qt.QTableWidgetItem(texts[k])
                item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
                table.setItem(row, column, item)

    def _on_row(self, row: int, _column: int, *_before: int) -> None:
        if self._result is not None and row >= 0:
            self.stop()
            self.go_to(float(self._result.slice_positions_mm[self._result.telling_slices(TELLING_SLICES)[row]]))

    def _on_slice_moved(self, _caller: Any = None, _event: Any = None) -> None:
        """Bring marker and text to where the axial view is."""
        nodes, result = self._nodes, self._result
        if nodes is None or result is None:
            return
        position = views.axial_position(nodes.ct.GetScene())
        if position is None or (self._position is not None and abs(position - self._position) < 0.05):
            return
        self._position = position
        marker.set_marker(nodes, position)
        k = int(np.abs(result.slice_positions_mm - position).argmin())
        self._ui.positionLabel.text = slice_words(result).where(position, k)

    def _on_press(self, interactor: Any, _event: str) -> None:
        self._pressed_at = interactor.GetEventPosition()

    def _on_release(self, widget: Any, interactor: Any) -> None:
        """A click in a plot moves the slice views to that position."""
        x, y = interactor.GetEventPosition()
        chart = widget.mrmlPlotViewNode().GetPlotChartNode()
        if max(abs(x - self._pressed_at[0]), abs(y - self._pressed_at[1])) > CLICK_PIXELS or chart is None:
            return
        if not charts.is_by_slice(chart):
            return
        upwards = charts.runs_upwards(chart)
        axis = widget.plotView().chart().GetAxis(vtk.vtkAxis.LEFT if upwards else vtk.vtkAxis.BOTTOM)
        first, last = axis.GetPoint1()[int(upwards)], axis.GetPoint2()[int(upwards)]
        clicked = y if upwards else x
        if first < last and first <= clicked <= last:
            low, high = axis.GetUnscaledMinimum(), axis.GetUnscaledMaximum()
            self.stop()
            self.go_to(low + (clicked - first) / (last - first) * (high - low))

    def _ignore_plots(self) -> None:
        for interactor, tag in self._interactors:
            interactor.RemoveObserver(tag)
        self._interactors = []

    def _on_play(self, playing: bool) -> None:
        self._ui.playButton.text = _("Stop") if playing else _("Play the scan")
        if playing and self._result is not None:
            self._count = 0
            self._timer.start()
            return
        self._timer.stop()
        if self._nodes is not None:
            marker.read_up_to(self._nodes, None)
        self._read_so_far(None)

    def _on_tick(self) -> None:
        """One slice further, in the order in which the network's last unit reads."""
        if self._nodes is None or self._result is None or self._count == len(self._result.slice_indices):
            self._ui.playButton.checked = False
            return
        self._count += 1
        self.go_to(float(self._result.slice_positions_mm[self._count - 1]))
        marker.read_up_to(self._nodes, self._count)
        self._read_so_far(self._count)
