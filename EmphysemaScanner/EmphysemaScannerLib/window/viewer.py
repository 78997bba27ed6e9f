"""What the views show of the chosen CT and its result, as it is chosen in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

from ..scene import layout, rendering, views
from ..scene.overlays import Overlay
from ..scene.result import ResultNodes
from .linking import Linking
from .readinglayout import ReadingLayout

if TYPE_CHECKING:
    from collections.abc import Callable

    from .logic import EmphysemaScannerLogic
    from .parameters import EmphysemaScannerParameterNode


class Viewer:
    """Draws into slice, plot and 3D views.

    Args:
        ui: the window's widgets by name.
        logic: the module's logic.
        plots_shown: called after the layout with the plots has been shown.
    """

    def __init__(self, ui: Any, logic: EmphysemaScannerLogic, plots_shown: Callable[[], None]) -> None:
        self._ui, self._logic, self._plots_shown = ui, logic, plots_shown
        self._nodes: ResultNodes | None = None
        self._parameters: EmphysemaScannerParameterNode | None = None
        self._window: views.CTWindow | None = None
        self.linking = Linking()
        self.layout = ReadingLayout(ui.layoutButton, self._on_layout_shown)

    def follow(self, parameters: EmphysemaScannerParameterNode | None, nodes: ResultNodes | None) -> None:
        """What is drawn from now on; the views stay as they are.

        Args:
            parameters: the choices.
            nodes: the result of the chosen CT, if it has one.
        """
        self._parameters, self._nodes = parameters, nodes
        self._window = None if parameters is None else parameters.ctWindow
        if nodes is None:
            self.linking.clear()
        elif self.layout.is_shown:
            self.linking.show(nodes)

    def open(self) -> None:
        """Bring the views to the chosen CT: with its result where it has one."""
        parameters, nodes = self._parameters, self._nodes
        if parameters is None or parameters.inputVolume is None:
            return
        views.use_window_at_first(parameters.inputVolume, parameters.ctWindow)
        if nodes is None:
            views.show_ct_alone(parameters.inputVolume)
            slicer.util.resetSliceViews()
            return
        self.layout.show()
        self.draw()
        slicer.app.processEvents()  # the views must have their sizes before the CT is fitted into them
        slicer.util.resetSliceViews()
        coronal = layout.view_node(slicer.mrmlScene, layout.CORONAL_VIEW)
        if coronal is not None:
            layout.leave_room(coronal)
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *views.telling_point(nodes))
        self.linking.show(nodes)

    def draw(self) -> None:
        """Draw overlay, plots and the CT's window as they are chosen."""
        parameters, nodes = self._parameters, self._nodes
        if parameters is None:
            return
        if parameters.ctWindow is not self._window and parameters.inputVolume is not None:
            self._window = parameters.ctWindow
            views.use_window(parameters.inputVolume, parameters.ctWindow)
        if nodes is None:
            return
        self._logic.setOverlay(
            nodes.ct,
            parameters.overlay,
            parameters.overlayVisible,
            parameters.overlayOpacity,
            parameters.overlayThreshold,
            parameters.overlayColours,
            parameters.overlayDrawing,
        )
        views.show_charts(nodes, parameters.chart)
        if self._ui.overlay3DCheckBox.checked:
            self.draw_in_3d()

    def draw_in_3d(self) -> None:
        """Draw the chosen overlay, or the first, in 3D."""
        parameters, nodes = self._parameters, self._nodes
        if parameters is not None and nodes is not None and nodes.overlays:
            first = views.first_overlay(nodes) or Overlay.EVIDENCE
            self._logic.showIn3D(nodes, parameters.overlay if parameters.overlay in nodes.overlays else first)

    def show_3d(self, shown: bool) -> None:
        """Show the 3D view in the layout, or take it away; what it shows is drawn already."""
        nodes = self._nodes
        if nodes is None:
            return
        self.layout.with_3d = shown
        if not shown:
            rendering.hide_in_3d(nodes)
        self.layout.show()
        if shown:
            slicer.util.resetThreeDViews()  # the box around what is shown, which stays where it was otherwise
            rendering.turn_cameras(nodes)

    def close(self) -> None:
        """Let go of everything that is observed."""
        self.linking.clear()

    def _on_layout_shown(self) -> None:
        if self._nodes is not None and self._parameters is not None:
            views.show_charts(self._nodes, self._parameters.chart)
            self.linking.show(self._nodes)
        self._plots_shown()
