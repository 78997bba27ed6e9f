"""Two CTs side by side in linked views with a chart over time; the user's own layout comes back with one click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from numpy.typing import NDArray
from slicer.util import VTKObservationMixin

from ..scene import layout


class PairLayout(VTKObservationMixin):
    """Switches between the user's layout and the one with two CTs, whose views move together.

    Args:
        button: checkable; checked while the layout is shown.
        shown: called after the layout has been shown.
    """

    def __init__(self, button: Any, shown: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._button, self._shown = button, shown
        self.arrangement = layout.PAIR_LAYOUT  # or that of the chart alone
        self._before: int | None = None
        self._following = False
        button.connect("clicked(bool)", self._on_clicked)

    @property
    def is_shown(self) -> bool:
        """Whether the follow-up is shown now."""
        node = _layout_node()
        return node is not None and node.GetViewArrangement() in layout.FOLLOW_UP_LAYOUTS

    def show(self) -> None:
        """Switch to the follow-up, remembering the user's layout."""
        node = _layout_node()
        if node is None:  # Slicer without a main window
            return
        if not self.is_shown:
            self._before = node.GetViewArrangement()
        layout.register_layouts(node)
        node.SetViewArrangement(self.arrangement)
        self._button.checked = True
        self._link()
        self._shown()

    def restore(self) -> None:
        """Bring the user's layout back, if ours is still what is shown."""
        self.removeObservers()
        if self._before is not None and self.is_shown:
            _layout_node().SetViewArrangement(self._before)
        self._button.checked = False

    def look_at(self, point: NDArray[Any]) -> None:
        """Fit the CTs into their views and move these to a place.

        Args:
            point: world RAS, mm.
        """
        manager = slicer.app.layoutManager()
        for tag in (*layout.EARLIER_VIEWS, *layout.LATER_VIEWS):
            widget = None if manager is None else manager.sliceWidget(tag)
            if widget is not None:
                widget.sliceController().fitSliceToBackground()
                widget.mrmlSliceNode().JumpSlice(*point)

    def close(self) -> None:
        """Let go of the views, and bring the user's layout back."""
        self.restore()

    def _link(self) -> None:
        self.removeObservers()
        scene = slicer.mrmlScene
        for tags in zip(layout.EARLIER_VIEWS, layout.LATER_VIEWS, strict=True):
            one, other = (layout.view_node(scene, tag) for tag in tags)
            if one is not None and other is not None:
                self._follows(other, one)
                self._follows(one, other)

    def _follows(self, follower: Any, leader: Any) -> None:
        self.addObserver(leader, vtk.vtkCommand.ModifiedEvent, lambda *_event: self._follow(follower, leader))

    def _follow(self, follower: Any, leader: Any) -> None:
        if not self._following:
            self._following = True
            layout.follow_view(follower, leader)
            self._following = False

    def _on_clicked(self, checked: bool) -> None:
        if checked:
            self.show()
        else:
            self.restore()


def _layout_node() -> Any:
    manager = slicer.app.layoutManager()
    return None if manager is None else manager.layoutLogic().GetLayoutNode()
