"""The follow-up in the window: CTs with dates, refusals in a sentence, and the scene and layout that the user had."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import slicer
from PySide6 import QtCore

from .driver import Driver, settle


def two_cts(window: Driver, *dates: str) -> list[Any]:
    """Two made-up CTs that are not the same, ticked in the list, with their dates typed."""
    cts = [window.add_ct("Before"), window.add_ct("After")]
    voxels = slicer.util.arrayFromVolume(cts[1])
    voxels[:, ::7, ::5] -= 20
    slicer.util.arrayFromVolumeModified(cts[1])
    tick(window, *dates)
    return cts


def tick(window: Driver, *dates: str) -> None:
    """Tick the first CTs of the list and type their dates."""
    window.panel.window.follow_up.fill()
    for row, day in enumerate(dates):
        window.ui.followUpTable.item(row, 0).setCheckState(QtCore.Qt.CheckState.Checked)
        window.ui.followUpTable.item(row, 1).setText(day)
    settle()


def arrangement() -> int:
    """The layout that is shown."""
    return int(slicer.app.layoutManager().layoutLogic().GetLayoutNode().GetViewArrangement())


def test_a_ct_without_a_date_and_one_given_twice_are_refused_in_a_sentence(window: Driver) -> None:
    window.add_ct("Before"), window.add_ct("After")
    before, shown = window.node_ids(), arrangement()
    tick(window, "2024-03-01", "")
    window.press("followUpButton")
    assert "enter it beside the CT" in window.ui.followUpStatusLabel.text
    tick(window, "2024-03-01", "2026-03-01")
    window.press("followUpButton")
    assert "same CT, voxel by voxel" in window.ui.followUpStatusLabel.text
    assert (window.node_ids(), arrangement()) == (before, shown)


def test_a_cancelled_comparison_leaves_the_scene_as_it_was(window: Driver) -> None:
    two_cts(window, "2024-03-01", "2026-03-01")
    before, shown = window.node_ids(), arrangement()
    with window.at(0.3, window.ui.followUpButton.click):
        window.press("followUpButton")
    assert window.panel.window.follow_up.found is None
    assert (window.node_ids(), arrangement()) == (before, shown)


def test_a_ct_whose_files_make_no_single_volume_is_listed_without_a_date(window: Driver) -> None:
    several = mock.Mock(side_effect=window.module("base.errors").UnreadableInputError("two volumes"))
    with ExitStack() as patched:
        for name in ("followuppanel", "followupwork"):
            module = window.module(f"window.{name}")
            patched.enter_context(mock.patch.object(module, "files_of", return_value=[Path("a.dcm")]))
        patched.enter_context(mock.patch.object(window.module("window.dicomfiles"), "volume_of", several))
        patched.enter_context(mock.patch.object(window.module("window.ctpanel"), "files_of", return_value=[]))
        window.add_ct("Before")
        window.panel.window.follow_up.fill()
    assert several.called
    assert window.ui.followUpTable.item(0, 1).text() == ""
