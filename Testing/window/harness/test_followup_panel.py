"""The follow-up in the window: CTs with dates, refusals in a sentence, and the scene and layout that the user had."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
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


def compared_quickly(window: Driver, correlation: float, path: Path) -> None:
    """Press Compare; in place of the registration, which takes long, the later CT is 20 HU darker than the earlier."""
    window.ui.followUpFolderPathLineEdit.currentPath = str(path)
    changemap, errors = window.module("followup.changemap"), window.module("lungs.registration")

    def change_map(comparison: Any, _progress: Any) -> Any:
        grid, labels = comparison.earlier.result.lung_mask.grid, comparison.earlier.result.lung_mask.values
        hu = np.full(labels.shape, -850, np.int16)
        there = np.ones(hu.shape, np.float32)
        change, lungs, cells = changemap.density_change(hu, hu - 20, there, labels > 0, grid)
        shown = window.module("scan.result").OverlayMap(change, cells)
        quality = errors.RegistrationQuality(0.97, correlation, 0.0, 1.2)
        return changemap.ChangeMap(comparison, shown, lungs, hu - 20, quality)

    with mock.patch.object(window.module("followup.followup"), "change_map", change_map):
        window.press("followUpButton")
    assert window.panel.window.follow_up.found is not None, window.ui.followUpStatusLabel.text


def charts() -> dict[str, Any]:
    """The charts over time in the scene, by name."""
    nodes = [slicer.mrmlScene.GetNthNode(i) for i in range(slicer.mrmlScene.GetNumberOfNodes())]
    found = [node for node in nodes if node.IsA("vtkMRMLPlotChartNode")]
    return {node.GetName(): node for node in found if node.GetName().endswith("over time")}


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


def test_two_cts_are_compared_charted_shown_side_by_side_and_saved(window: Driver, tmp_path: Path) -> None:
    cts = two_cts(window, "2024-03-01", "2026-03-01")
    before, was = window.node_ids(), arrangement()
    voxels = [slicer.util.arrayFromVolume(ct).copy() for ct in cts]
    compared_quickly(window, 0.8, tmp_path / "out")
    ui = window.ui
    assert "LAA%-950" in ui.followUpResultLabel.text
    assert set(before) <= set(window.node_ids())
    assert all((slicer.util.arrayFromVolume(ct) == kept).all() for ct, kept in zip(cts, voxels, strict=True))
    assert arrangement() != was
    course = window.panel.window.follow_up.found.course
    figures = {f"{figure.title} ({figure.unit})": figure for figure in window.module("followup.figures").FIGURES}
    offered = [ui.followUpMeasureComboBox.itemText(i) for i in range(ui.followUpMeasureComboBox.count)]
    assert offered == list(figures)[:1] + list(figures)[2:]  # the quick model has no disease map, so no extent
    drawn = charts()[f"Before {offered[1]} over time"].GetNthPlotSeriesNode(0)
    table = drawn.GetTableNode().GetTable()
    years, values = (table.GetColumnByName(name) for name in (drawn.GetXColumnName(), drawn.GetYColumnName()))
    assert [round(years.GetValue(k), 2) for k in range(2)] == [2024.16, 2026.16]
    assert tuple(values.GetValue(k) for k in range(2)) == course.values(figures[offered[1]])
    ui.followUpMeasureComboBox.currentIndex = 2
    settle()
    view = slicer.mrmlScene.GetSingletonNode("EmphysemaScannerCourse", "vtkMRMLPlotViewNode")
    assert view.GetPlotChartNodeID() == charts()[f"Before {offered[2]} over time"].GetID()
    window.press("followUpSaveButton")
    assert (tmp_path / "out" / "changes.csv").is_file(), ui.followUpSaveStatusLabel.text
    window.press("followUpLayoutButton")
    assert arrangement() == was


def test_a_second_comparison_replaces_the_first_and_an_empty_scene_keeps_nothing(
    window: Driver, tmp_path: Path
) -> None:
    two_cts(window, "2024-03-01", "2026-03-01")
    compared_quickly(window, 0.8, tmp_path)
    nodes, kept = len(window.node_ids()), set(window.node_ids())
    compared_quickly(window, 0.8, tmp_path)
    assert len(window.node_ids()) == nodes, sorted(set(window.node_ids()) - kept)
    slicer.mrmlScene.Clear(False)
    settle()
    assert (window.ui.followUpPairComboBox.count, window.ui.followUpMeasureComboBox.count) == (0, 0)
    assert not window.shown("followUpResultLabel")


def test_a_registration_that_is_poor_is_warned_of(window: Driver, tmp_path: Path) -> None:
    two_cts(window, "2024-03-01", "2026-03-01")
    compared_quickly(window, 0.1, tmp_path)
    doubt = window.panel.window.follow_up.found.maps[0].quality.doubts[0]
    assert doubt in window.ui.followUpWarningsLabel.text
