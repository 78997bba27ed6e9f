"""What keeps the views of the reading layout together: the bare axial view's place, and the level of the plots."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from ..scene import charts, layout
from ..scene.result import ResultNodes

SAME_MM = 0.05
DRAWN_MS = 100  # until a plot view that has just been laid out is drawn, and knows where its axes are


class Linking(VTKObservationMixin):
    """Keeps views and plots together while the reading layout is shown.

    The bare axial view is where the other axial view is, and either moves both; the plots have the coronal view's range
    of positions, so that a bar lies at the level of its slice.
    """

    def __init__(self) -> None:
        VTKObservationMixin.__init__(self)
        self._nodes: ResultNodes | None = None
        self._windows: list[tuple[Any, int]] = []
        self._following = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.interval = DRAWN_MS
        self._timer.connect("timeout()", self.level_plots)

    def show(self, nodes: ResultNodes | None) -> None:
        """Follow the views that the layout shows now.

        Args:
            nodes: the result whose charts are kept level; None for none.
        """
        self.clear()
        self._nodes = nodes
        scene = slicer.mrmlScene
        axial, bare = layout.view_node(scene, layout.AXIAL_VIEW), layout.view_node(scene, layout.BARE_VIEW)
        if axial is not None and bare is not None:
            self.addObserver(axial, vtk.vtkCommand.ModifiedEvent, lambda *_event: self._follow(bare, axial))
            self.addObserver(bare, vtk.vtkCommand.ModifiedEvent, lambda *_event: self._follow(axial, bare))
            self._follow(bare, axial)
        coronal = layout.view_node(scene, layout.CORONAL_VIEW)
        if coronal is not None and nodes is not None:
            self.addObserver(coronal, vtk.vtkCommand.ModifiedEvent, self._on_drawn)
            for widget in plot_widgets():
                window = widget.plotView().renderWindow()
                self._windows.append((window, window.AddObserver("EndEvent", self._on_drawn)))
            self._timer.start()

    def clear(self) -> None:
        """Let go of the views."""
        self._timer.stop()
        self.removeObservers()
        for window, tag in self._windows:
            window.RemoveObserver(tag)
        self._windows, self._nodes = [], None

    def level_plots(self) -> None:
        """Give the plots the range of positions that the coronal view shows at the same height."""
        coronal = layout.view_node(slicer.mrmlScene, layout.CORONAL_VIEW)
        shown = None if coronal is None else layout.levels_shown(coronal)
        if shown is None or self._nodes is None:
            return
        low, high = shown
        ours = {chart.GetID() for chart in self._nodes.charts.values()}
        for widget in plot_widgets():
            chart, view = widget.mrmlPlotViewNode().GetPlotChartNode(), widget.plotView()
            height = view.renderWindow().GetSize()[1]
            axis = view.chart().GetAxis(vtk.vtkAxis.LEFT)
            bottom, top = axis.GetPoint1()[1], axis.GetPoint2()[1]
            if chart is None or chart.GetID() not in ours or not charts.runs_upwards(chart):
                continue
            if 0 <= bottom < top <= height:
                wanted = [low + (high - low) * pixel / height for pixel in (bottom, top)]
                if max(abs(a - b) for a, b in zip(wanted, chart.GetYAxisRange(), strict=True)) > SAME_MM:
                    chart.SetYAxisRange(*wanted)

    def _on_drawn(self, _caller: Any = None, _event: Any = None) -> None:
        if not self._timer.active:
            self._timer.start()

    def _follow(self, follower: Any, leader: Any) -> None:
        if not self._following:
            self._following = True
            layout.follow_view(follower, leader)
            self._following = False


def plot_widgets() -> list[Any]:
    """The plot views that the layout shows now."""
    manager = slicer.app.layoutManager()
    return [manager.plotWidget(index) for index in range(0 if manager is None else manager.plotViewCount)]
