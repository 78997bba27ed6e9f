"""Saved scenes, closed scenes, and results that others remove."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest
import slicer
from window.harness.driver import Driver, settle

if TYPE_CHECKING:
    from pathlib import Path


def chosen(window: Driver) -> int:
    """The place of a plain activation in the list of overlays."""
    overlay = window.module("scene.overlays").Overlay
    return list(overlay).index(overlay.ASC1)


def saved(window: Driver, folder: Path) -> Path:
    """A scene with a scanned CT, saved; the choices in it are not the first ones."""
    window.add_ct("Saved")
    window.scan()
    window.ui.overlayOpacitySlider.value = 0.25
    window.ui.overlayComboBox.currentIndex = chosen(window)
    settle()
    path = folder / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    return path


def test_a_scene_that_is_opened_again_shows_its_answer_and_its_choices(window: Driver, tmp_path: Path) -> None:
    path = saved(window, tmp_path)
    told = [window.ui.probabilityLabel.text, window.ui.densitometryLabel.text]
    rows = [window.ui.tellingTable.item(row, 1).text() for row in range(window.ui.tellingTable.rowCount)]
    slicer.mrmlScene.Clear(False)
    settle()
    assert not window.shown("answerFrame")
    slicer.util.loadScene(str(path))
    settle()
    assert window.ui.inputSelector.currentNode().GetName() == "Saved"
    assert window.shown("answerFrame")
    assert [window.ui.probabilityLabel.text, window.ui.densitometryLabel.text] == told
    assert [window.ui.tellingTable.item(row, 1).text() for row in range(window.ui.tellingTable.rowCount)] == rows
    assert window.ui.overlayOpacitySlider.value == pytest.approx(0.25)
    assert window.ui.overlayComboBox.currentIndex == chosen(window)


def test_an_opened_scene_shows_its_answer_without_pytorch(window: Driver, tmp_path: Path) -> None:
    path = saved(window, tmp_path)
    told = window.ui.probabilityLabel.text
    slicer.mrmlScene.Clear(False)
    with mock.patch.object(window.module("window.packages"), "torch_is_there", return_value=False):
        slicer.util.loadScene(str(path))
        settle()
        assert window.ui.probabilityLabel.text == told
        assert not window.ui.scanButton.enabled
        window.ui.saveFolderPathLineEdit.currentPath = str(tmp_path / "results")
        window.press("saveButton")
        assert (tmp_path / "results/densitometry.csv").is_file()


def test_an_opened_scene_can_be_scanned_again_without_growing(window: Driver, tmp_path: Path) -> None:
    path = saved(window, tmp_path)
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(path))
    settle()
    before = len(window.node_ids())
    window.scan()
    assert window.ui.statusLabel.text == ""
    assert len(window.node_ids()) <= before  # the saved files' storage nodes go with the nodes that they were of


def test_a_scene_that_is_opened_while_another_module_is_shown_is_there_on_entering(
    window: Driver, tmp_path: Path
) -> None:
    path = saved(window, tmp_path)
    slicer.mrmlScene.Clear(False)
    slicer.util.selectModule("Data")
    slicer.util.loadScene(str(path))
    settle()
    slicer.util.selectModule("EmphysemaScanner")
    settle()
    assert window.shown("answerFrame")


def test_closing_the_scene_empties_the_window(window: Driver) -> None:
    window.add_ct()
    window.scan()
    slicer.mrmlScene.Clear(False)
    settle()
    assert not window.shown("answerFrame")
    assert [window.ui.resultTabs.isTabEnabled(index) for index in range(3)] == [False, False, True]
    assert not window.ui.scanButton.enabled
    assert window.ui.inputSelector.currentNode() is None


def test_a_ct_that_is_removed_takes_its_answer_along(window: Driver) -> None:
    ct = window.add_ct()
    window.scan()
    slicer.mrmlScene.RemoveNode(ct)
    settle()
    assert not window.shown("answerFrame")
    assert not window.ui.scanButton.enabled


def test_a_result_that_somebody_removes_leaves_the_window(window: Driver) -> None:
    ct = window.add_ct()
    window.scan()
    nodes = window.panel.logic.find(ct)
    slicer.mrmlScene.RemoveNode(nodes.record)
    settle()
    assert not window.shown("answerFrame")
    window.scan()
    assert window.shown("answerFrame")


def test_a_results_volumes_are_not_offered_for_scanning(window: Driver) -> None:
    window.add_ct()
    window.scan()
    assert window.ui.inputSelector.nodeCount() == 1


def test_the_users_layout_comes_back_on_leaving_and_ours_on_entering(window: Driver) -> None:
    layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    users = layout.GetViewArrangement()
    window.add_ct()
    window.scan()
    ours = layout.GetViewArrangement()
    assert ours != users
    slicer.util.selectModule("Data")
    assert layout.GetViewArrangement() == users
    slicer.util.selectModule("EmphysemaScanner")
    assert layout.GetViewArrangement() == ours
    window.press("layoutButton")
    assert layout.GetViewArrangement() == users
