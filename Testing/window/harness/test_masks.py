"""The panel "Lung mask and lobes": lobes of the scene, segments that are not recognised, an edited mask."""

from __future__ import annotations

import importlib
from typing import Any

import slicer
from window.harness.driver import Driver, settle


def lobes_of(window: Driver, ct: Any) -> Any:
    """Lobes of a scanned CT as another extension's segmentation, as in the self-tests."""
    tests = importlib.import_module("EmphysemaScannerMasksTest")
    return tests.lobeSegmentation(window.panel.logic.result(ct), ct)


def scanned(window: Driver) -> tuple[Any, Any]:
    """A scanned CT, and lobes of it in the scene."""
    ct = window.add_ct()
    window.scan()
    return ct, lobes_of(window, ct)


def test_lobes_of_the_scene_are_offered_and_measured_by_one_click(window: Driver) -> None:
    ct = window.add_ct()
    assert not window.ui.remeasureButton.enabled
    assert "TotalSegmentator and Lung CT Analyzer" in window.ui.masksHintLabel.text
    window.scan()
    lobes = lobes_of(window, ct)
    settle()
    assert "'Lobes of another tool' has lobes" in window.ui.masksHintLabel.text
    assert window.ui.lobesSelector.nodeCount() == 1  # the result's own segmentation is none of them
    window.ui.lobesSelector.setCurrentNode(lobes)
    settle()
    assert "The lobes together are the lung mask" in window.ui.masksHintLabel.text
    window.press("remeasureButton")
    assert "Right middle lobe" in window.ui.densitometryLabel.text
    assert "recognised by the names" in window.ui.masksStatusLabel.text
    assert "Lobes:" in window.ui.provenanceLabel.text
    assert window.ui.remeasureButton.text == "Measure again"


def test_segments_that_are_not_recognised_are_asked_for_and_the_answer_is_used(window: Driver) -> None:
    ct, lobes = scanned(window)
    window.ui.masksCollapsibleButton.collapsed = False
    window.panel.window.update()
    assert not window.shown("segmentsTable")
    for k in range(5):
        lobes.GetSegmentation().GetNthSegment(k).SetName(f"Segment_{k + 1}")
    window.ui.lobesSelector.setCurrentNode(lobes)
    settle()
    table = window.ui.segmentsTable
    assert window.shown("segmentsTable")
    assert [table.item(k, 0).text() for k in range(table.rowCount)] == [f"Segment_{k}" for k in range(1, 6)]
    window.press("remeasureButton")
    assert "state which segment is which region" in window.ui.masksStatusLabel.text
    for k in range(table.rowCount):
        table.cellWidget(k, 1).currentIndex = k + 1
    window.press("remeasureButton")
    assert "its labels named by the user" in window.ui.masksStatusLabel.text
    assert "left_lower_lobe" in window.panel.logic.result(ct).densitometry
    assert window.shown("segmentsTable")  # for what was said to be seen and changed


def test_an_edited_mask_is_said_when_the_module_is_entered_and_is_not_saved_unmeasured(
    window: Driver, tmp_path: object
) -> None:
    ct, _lobes = scanned(window)
    nodes = window.panel.window.nodes
    nodes.lungs.GetSegmentation().RemoveSegment(nodes.lungs.GetSegmentation().GetNthSegmentID(0))
    window.panel.window.enter()
    settle()
    assert "The lung mask was edited: press Measure again" in window.ui.statusLabel.text
    window.ui.saveFolderPathLineEdit.currentPath = str(tmp_path)
    window.press("saveButton")
    assert "measure again, then save" in window.ui.saveStatusLabel.text
    window.press("remeasureButton")
    assert "edited" in window.ui.masksStatusLabel.text
    assert window.ui.statusLabel.text == ""
    assert window.panel.logic.result(ct).densitometry["right"].volume_l == 0
    assert window.panel.window.nodes.lungs is nodes.lungs


def test_a_model_that_reads_the_lungs_alone_scans_again(window: Driver) -> None:
    """Its answer depends on the lung mask; the window states so and uses the edited mask."""
    ct, lobes = scanned(window)
    remeasure = window.module("scan.remeasure")
    original, remeasure.depends_on_the_mask = remeasure.depends_on_the_mask, lambda _result: True
    try:
        window.ui.lobesSelector.setCurrentNode(lobes)
        settle()
        window.press("remeasureButton")
    finally:
        remeasure.depends_on_the_mask = original
    assert "the CT was scanned again" in window.ui.masksStatusLabel.text
    assert "left_lower_lobe" in window.panel.logic.result(ct).densitometry
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
