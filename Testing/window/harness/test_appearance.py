"""How the window looks: nothing cut off, a tip at every control, the tab key goes from top to bottom."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import slicer
from PySide6 import QtCore, QtWidgets
from window.harness import widgets
from window.harness.application import PANEL_WIDTH
from window.harness.driver import Driver, bad_ct, settle
from window.harness.pythonqt import plain

if TYPE_CHECKING:
    from pathlib import Path

CONTROLS = (
    QtWidgets.QAbstractButton,
    QtWidgets.QComboBox,
    QtWidgets.QAbstractSpinBox,
    QtWidgets.QAbstractItemView,
    QtWidgets.QPlainTextEdit,
    QtWidgets.QLineEdit,
    widgets.ctkPathLineEdit,
    widgets.ctkSliderWidget,
    widgets.qMRMLNodeComboBox,
)
SPREAD = 2  # pixels by which a style may round


def empty(window: Driver) -> None:
    """Nothing is loaded."""


def loaded(window: Driver) -> None:
    """A CT is chosen, the model's card is shown."""
    window.add_ct()


def scanned(window: Driver) -> None:
    """There is an answer, with warnings."""
    window.add_ct()
    window.scan()


def shipped_model(window: Driver) -> None:
    """The answer is the shipped model's, whose texts are longer."""
    window.add_ct()
    window.parameters.modelPath = window.module("models.modelfolder").default_model_path()
    window.scan()
    assert "Model" in window.ui.provenanceLabel.text


def gradient(window: Driver) -> None:
    """The gradient overlay is chosen and not computed yet."""
    scanned(window)
    window.ui.overlayComboBox.currentIndex = window.ui.overlayComboBox.count - 1


def refused(window: Driver) -> None:
    """The CT cannot be scanned."""
    window.choose(bad_ct("constant"))
    window.scan()


STATES = pytest.mark.parametrize("state", [empty, loaded, scanned, shipped_model, gradient, refused])


def open_all(window: Driver) -> None:
    """Open every section, at the panel's default width."""
    assert plain(slicer.util.mainWindow()._area, "width")() == PANEL_WIDTH
    for widget in vars(window.ui).values():
        if isinstance(widget, widgets.ctkCollapsibleButton):
            widget.collapsed = False
    slicer.util.mainWindow().show()
    settle()


def named(window: Driver) -> dict[str, Any]:
    """The window's widgets that are to be seen, by name."""
    ours = {name: w for name, w in vars(window.ui).items() if isinstance(w, QtWidgets.QWidget)}
    return {name: w for name, w in ours.items() if plain(w, "isVisible")()}


def too_small(widget: Any) -> str | None:
    """What is cut off of a label or a button, in words."""
    size, hint = plain(widget, "size")(), plain(widget, "sizeHint")()
    wraps = isinstance(widget, QtWidgets.QLabel) and widget.wordWrap
    needed = plain(widget, "heightForWidth")(size.width()) if wraps else hint.height()
    if size.height() + SPREAD < needed:
        return f"{size.height()} pixels high instead of {needed}"
    if not wraps and size.width() + SPREAD < hint.width():
        return f"{size.width()} pixels wide instead of {hint.width()}"
    return None


@STATES
def test_no_text_is_cut_off_at_the_default_width(window: Driver, state: Callable[[Driver], None]) -> None:
    state(window)
    open_all(window)
    cut = {}
    for name, widget in named(window).items():
        section = isinstance(widget, widgets.ctkCollapsibleButton)
        if isinstance(widget, QtWidgets.QLabel | QtWidgets.QAbstractButton) and not section:
            problem = too_small(widget)
            if problem:
                cut[name] = problem
    assert cut == {}


@STATES
def test_nothing_reaches_over_the_panels_edge(window: Driver, state: Callable[[Driver], None]) -> None:
    state(window)
    open_all(window)
    area = slicer.util.mainWindow()._area
    edge = plain(area, "viewport")().width()
    assert edge <= PANEL_WIDTH
    over = {}
    for name, widget in named(window).items():
        right = plain(widget, "mapTo")(plain(area, "viewport")(), QtCore.QPoint(plain(widget, "width")(), 0)).x()
        if right > edge + SPREAD:
            over[name] = right
    assert over == {}


@STATES
def test_every_control_has_a_tip(window: Driver, state: Callable[[Driver], None]) -> None:
    state(window)
    bare = [name for name, w in vars(window.ui).items() if isinstance(w, CONTROLS) and is_ours(w) and not w.toolTip]
    assert bare == []


def test_every_control_has_a_tip_without_pytorch(window: Driver) -> None:
    with mock.patch.object(window.module("window.packages"), "torch_is_there", return_value=False):
        window.panel.window.update()
        assert "PyTorch" in window.ui.scanButton.toolTip
        assert window.ui.torchButton.toolTip
        open_all(window)
        assert too_small(window.ui.torchLabel) is None


def is_ours(widget: Any) -> bool:
    """Whether a widget is from the .ui file, and not a part that Qt or a stand-in made."""
    name = plain(widget, "objectName")()
    return not name.startswith("qt_") and name != "SpinBox"


def tab_order(window: Driver) -> list[str]:
    """The controls in the order in which the tab key reaches them, by name."""
    ours = {id(w): name for name, w in vars(window.ui).items() if isinstance(w, CONTROLS) and is_ours(w)}
    first = window.ui.EmphysemaScanner
    order, at = [], plain(first, "nextInFocusChain")()
    while at is not first:
        if reachable(at):
            name = owner(at, ours)
            if name and name not in order:
                order.append(name)
        at = plain(at, "nextInFocusChain")()
    return [name for name in order if plain(getattr(window.ui, name), "isVisible")()]


def reachable(widget: Any) -> bool:
    """Whether the tab key stops at a widget."""
    return bool(plain(widget, "focusPolicy")() & QtCore.Qt.FocusPolicy.TabFocus)


def owner(widget: Any, ours: dict[int, str]) -> str | None:
    """The named control that a widget is, or is a part of."""
    while widget is not None:
        if id(widget) in ours:
            return ours[id(widget)]
        widget = plain(widget, "parentWidget")()
    return None


@pytest.mark.parametrize("state", [empty, scanned])
def test_the_tab_key_goes_from_top_to_bottom(window: Driver, state: Callable[[Driver], None]) -> None:
    state(window)
    open_all(window)
    order = tab_order(window)
    top = window.ui.EmphysemaScanner

    def place(name: str) -> tuple[int, int, int]:
        widget = getattr(window.ui, name)
        corner = plain(widget, "mapTo")(top, QtCore.QPoint(0, 0))
        height = 21 if isinstance(widget, widgets.ctkCollapsibleButton) else plain(widget, "height")()
        return corner.y(), corner.y() + height, corner.x()

    wrong = []
    for before, after in itertools.pairwise(order):
        (top_1, bottom_1, left_1), (top_2, bottom_2, left_2) = place(before), place(after)
        same_row = min(bottom_1, bottom_2) - max(top_1, top_2) > 5
        if (same_row and left_2 < left_1) or (not same_row and top_2 < top_1):
            wrong.append(f"{before} -> {after}")
    assert len(order) > 15
    assert wrong == []


def test_a_picture_of_the_window_can_be_taken(window: Driver, tmp_path: Path) -> None:
    from window.harness.screenshots import take

    take("empty", tmp_path)
    for theme in ("light", "dark"):
        assert (tmp_path / f"empty-{theme}.png").stat().st_size > 5_000
