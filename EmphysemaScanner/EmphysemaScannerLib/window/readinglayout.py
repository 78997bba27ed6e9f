"""The reading layout: offered on entering the module; the user's own comes back on leaving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from ..scene import layout


class ReadingLayout:
    """Switches between the user's layout and ours.

    Args:
        button: checkable; checked while our layout is shown.
        shown: called after our layout has been shown.
    """

    def __init__(self, button: Any, shown: Callable[[], None]) -> None:
        self._button, self._shown = button, shown
        self._before: int | None = None
        self._line_before = False
        self._wanted = False
        self.with_3d = False
        button.connect("clicked(bool)", self._on_clicked)

    @property
    def is_shown(self) -> bool:
        """Whether the views are laid out our way now."""
        node = _layout_node()
        return node is not None and node.GetViewArrangement() in layout.READING_LAYOUTS

    def show(self) -> None:
        """Switch to our layout, remembering the user's."""
        node = _layout_node()
        if node is None:  # Slicer without a main window
            return
        if node.GetViewArrangement() not in layout.READING_LAYOUTS:
            self._before = node.GetViewArrangement()
            self._line_before = self._draw_line(True)
        self._wanted = True
        layout.use_layout(node, self.with_3d)
        self._button.checked = True
        self._shown()

    def restore(self) -> None:
        """Bring the user's layout back, if ours is still what is shown."""
        if self._before is not None and self.is_shown:
            _layout_node().SetViewArrangement(self._before)
            self._draw_line(self._line_before)
        self._button.checked = False

    def _draw_line(self, drawn: bool) -> bool:
        """Draw the axial slice as a line into the coronal view, or not; whether it was drawn before."""
        widget = slicer.app.layoutManager().sliceWidget(layout.AXIAL_VIEW)
        display = None if widget is None else widget.sliceLogic().GetSliceDisplayNode()
        if display is None:
            return False
        before = bool(display.GetIntersectingSlicesVisibility())
        display.SetIntersectingSlicesVisibility(drawn)
        return before

    def enter(self) -> None:
        """The module was entered: our layout again, if it was shown when the module was left."""
        if self._wanted:
            self.show()

    def leave(self) -> None:
        """The module was left."""
        self._wanted = self.is_shown
        self.restore()

    def _on_clicked(self, checked: bool) -> None:
        if checked:
            self.show()
        else:
            self._wanted = False
            self.restore()


def _layout_node() -> Any:
    manager = slicer.app.layoutManager()
    return None if manager is None else manager.layoutLogic().GetLayoutNode()
