"""Scanning from the window: its buttons pressed, and what may come in between."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import slicer
from PySide6 import QtCore
from PySide6.QtTest import QTest
from window.harness.driver import Driver, bad_ct, message_boxes, settle, wait_until
from window.harness.pythonqt import plain

if TYPE_CHECKING:
    from pathlib import Path

FIRST_REPORT, LUNGS, NETWORK = 0.0, 0.05, 0.61
STAGES = pytest.mark.parametrize("share", [FIRST_REPORT, LUNGS, NETWORK], ids=["first report", "lungs", "network"])


def test_there_is_nothing_to_press_without_a_ct(window: Driver) -> None:
    ui = window.ui
    assert not ui.scanButton.enabled
    assert "CT" in ui.scanButton.toolTip
    assert not ui.saveButton.enabled
    assert not window.shown("answerFrame")
    assert not window.shown("progressBar")


def test_a_ct_that_is_loaded_is_offered_and_can_be_scanned(window: Driver) -> None:
    window.add_ct()
    assert window.ui.inputSelector.nodeCount() == 1
    assert window.ui.scanButton.enabled


def test_a_scan_shows_the_answer_and_the_views(window: Driver) -> None:
    ct = window.add_ct()
    window.scan()
    ui = window.ui
    assert ui.statusLabel.text == ""
    assert window.shown("answerFrame")
    assert "%" in ui.probabilityLabel.text
    assert "random weights" in ui.provenanceLabel.text
    assert "LAA%-950" in ui.densitometryLabel.text
    assert ui.scanButton.text == "Scan"
    assert not window.shown("progressBar")
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetBackgroundVolumeID() == ct.GetID()
    assert red.GetForegroundVolumeID() is not None


def test_ctrl_return_scans(window: Driver) -> None:
    window.add_ct()
    main = slicer.util.mainWindow()
    plain(main, "activateWindow")()
    QTest.keyClick(main, QtCore.Qt.Key.Key_Return, QtCore.Qt.KeyboardModifier.ControlModifier)
    wait_until(lambda: window.shown("answerFrame"), "the answer")


def test_while_it_scans_the_button_says_cancel_and_the_choices_are_closed(window: Driver) -> None:
    window.add_ct()
    seen = {}

    def look() -> None:
        ui = window.ui
        seen.update(
            text=ui.scanButton.text,
            inputs=ui.inputsFrame.enabled,
            bar=window.shown("progressBar"),
            stage=ui.progressBar.format,
        )

    with window.at(LUNGS, look):
        window.scan()
    assert seen["text"] == "Cancel"
    assert not seen["inputs"]
    assert seen["bar"]
    assert "lungs" in seen["stage"]


def test_while_it_scans_no_other_work_can_be_started(window: Driver) -> None:
    window.add_ct()
    window.scan()
    window.ui.overlayComboBox.currentIndex = window.ui.overlayComboBox.count - 1
    settle()
    enabled: dict[str, bool] = {}
    buttons = ("attributeButton", "saveButton", "batchButton")
    assert all(getattr(window.ui, name).enabled for name in buttons)
    with window.at(LUNGS, lambda: enabled.update({name: getattr(window.ui, name).enabled for name in buttons})):
        window.scan()
    assert enabled == dict.fromkeys(buttons, False)
    assert all(getattr(window.ui, name).enabled for name in buttons)


def test_an_answer_belongs_to_the_ct_that_was_scanned_whatever_is_chosen_in_the_meantime(window: Driver) -> None:
    other = window.add_ct("Other")
    scanned = window.add_ct("Scanned")

    def choose_other() -> None:
        window.parameters.inputVolume = other

    with window.at(LUNGS, choose_other):
        window.scan()
    assert not window.shown("answerFrame")
    window.choose(scanned)
    assert "Scanned" in window.ui.provenanceLabel.text


def test_a_ct_that_is_loaded_during_a_scan_is_offered_after_it(window: Driver) -> None:
    scanned = window.add_ct("Scanned")
    with window.at(LUNGS, lambda: bad_ct("constant") and None):
        window.scan()
    assert window.ui.inputSelector.currentNode() is scanned
    assert window.shown("answerFrame")
    assert window.ui.inputSelector.nodeCount() == 2


@STAGES
def test_a_cancelled_scan_leaves_everything_as_it_was(window: Driver, share: float) -> None:
    window.add_ct()
    before = window.node_ids()
    with window.at(share, lambda: window.ui.scanButton.click()):
        window.scan()
    assert "ancelled" in window.ui.statusLabel.text
    assert window.node_ids() == before
    assert not window.shown("answerFrame")
    assert (window.ui.scanButton.text, window.ui.scanButton.enabled) == ("Scan", True)
    window.scan()  # and it can be pressed again
    assert window.shown("answerFrame")


def test_a_cancelled_rescan_keeps_the_answer_that_was_there(window: Driver) -> None:
    window.add_ct()
    window.scan()
    before, answer = window.node_ids(), window.ui.probabilityLabel.text
    with window.at(NETWORK, lambda: window.ui.scanButton.click()):
        window.scan()
    assert window.node_ids() == before
    assert window.ui.probabilityLabel.text == answer
    assert window.shown("answerFrame")


def test_scanning_again_adds_no_nodes(window: Driver) -> None:
    window.add_ct()
    window.scan()
    before = len(window.node_ids())
    for _again in range(2):
        window.scan()
    assert len(window.node_ids()) == before


def test_each_of_two_cts_has_its_own_answer(window: Driver) -> None:
    first = window.add_ct("First")
    window.scan()
    second = window.add_ct("Second")
    assert not window.shown("answerFrame")
    window.scan()
    assert "Second" in window.ui.provenanceLabel.text
    window.choose(first)
    assert "First" in window.ui.provenanceLabel.text
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetBackgroundVolumeID() == first.GetID()
    slicer.mrmlScene.RemoveNode(first)
    settle()
    window.choose(second)
    assert "Second" in window.ui.provenanceLabel.text


@STAGES
def test_a_scene_that_is_closed_during_the_scan_stays_empty(window: Driver, share: float) -> None:
    window.add_ct()
    with window.at(share, lambda: slicer.mrmlScene.Clear(False)):
        window.scan()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    assert not window.shown("answerFrame")
    assert "removed" in window.ui.statusLabel.text
    window.add_ct()
    window.scan()
    assert window.shown("answerFrame")


@STAGES
def test_a_ct_that_is_removed_during_its_scan_gets_no_answer(window: Driver, share: float) -> None:
    ct = window.add_ct()
    with window.at(share, lambda: slicer.mrmlScene.RemoveNode(ct)):
        window.scan()
    assert "removed" in window.ui.statusLabel.text
    assert not window.shown("answerFrame")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_another_ct_that_is_removed_during_a_scan_does_not_disturb_it(window: Driver) -> None:
    other = window.add_ct("Other")
    window.add_ct()
    with window.at(LUNGS, lambda: slicer.mrmlScene.RemoveNode(other)):
        window.scan()
    assert window.shown("answerFrame")


def test_a_closed_main_window_ends_the_scan(window: Driver) -> None:
    window.add_ct()
    with window.at(LUNGS, lambda: slicer.util.mainWindow().hide()):
        window.scan()
    slicer.util.mainWindow().show()
    assert not window.shown("answerFrame")


def test_leaving_the_module_during_a_scan_loses_nothing(window: Driver) -> None:
    window.add_ct()
    with window.at(LUNGS, lambda: slicer.util.selectModule("Data")):
        window.scan()
    slicer.util.selectModule("EmphysemaScanner")
    settle()
    assert window.shown("answerFrame")


@pytest.mark.parametrize("kind", ["constant", "eight bits", "one slice", "too small"])
def test_what_cannot_be_scanned_gets_one_sentence(window: Driver, kind: str) -> None:
    window.choose(bad_ct(kind))
    window.parameters.modelPath = window.model
    before = window.node_ids()
    window.scan()
    assert window.shown("statusLabel")
    assert window.ui.statusLabel.text.endswith(".")
    assert not window.shown("answerFrame")
    assert window.node_ids() == before


def test_a_sentence_about_a_ct_goes_when_another_is_chosen(window: Driver) -> None:
    good = window.add_ct()
    window.choose(bad_ct("constant"))
    window.scan()
    assert window.shown("statusLabel")
    window.choose(good)
    assert not window.shown("statusLabel")


def test_without_pytorch_its_installation_is_offered_and_nothing_scans(window: Driver) -> None:
    window.add_ct()
    with mock.patch.object(window.module("window.packages"), "torch_is_there", return_value=False):
        application_panel = window.panel
        application_panel.window.update()
        assert window.shown("torchFrame")
        assert not window.ui.scanButton.enabled
        assert "PyTorch" in window.ui.scanButton.toolTip
        window.press("torchButton")
        assert "PyTorch extension" in window.ui.statusLabel.text
    window.panel.window.update()
    assert not window.shown("torchFrame")
    assert window.ui.scanButton.enabled


def test_a_package_that_is_missing_is_named_when_its_installation_is_refused(window: Driver) -> None:
    window.add_ct()
    need = window.module("window.packages")
    with mock.patch.object(need, "_missing", return_value=["safetensors"]):
        window.scan()
    assert "safetensors" in window.ui.statusLabel.text
    assert not window.shown("answerFrame")


def test_an_unforeseen_error_in_the_worker_is_shown_and_the_window_goes_on(window: Driver, errors: list[str]) -> None:
    window.add_ct()
    before = window.node_ids()
    with mock.patch.object(window.module("scan.device"), "scan_on", side_effect=ZeroDivisionError("by nothing")):
        window.scan()
    assert any("by nothing" in said for said in message_boxes())
    assert "ZeroDivisionError" in errors.pop()
    assert window.node_ids() == before
    assert (window.ui.scanButton.text, window.ui.scanButton.enabled) == ("Scan", True)
    assert not window.shown("progressBar")
    window.scan()
    assert window.shown("answerFrame")


def test_a_model_file_that_cannot_be_read_is_named(window: Driver, tmp_path: Path) -> None:
    window.add_ct()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing of the kind")
    window.parameters.modelPath = broken
    window.scan()
    assert "broken.safetensors" in window.ui.statusLabel.text


def test_the_reloaded_module_scans(window: Driver) -> None:
    window.add_ct()
    window.scan()
    before = len(window.node_ids())
    old = sys.modules["EmphysemaScanner"]
    window.panel.onReload()
    settle()
    assert sys.modules["EmphysemaScanner"] is not old
    assert window.shown("answerFrame"), "the answer is in the scene"
    window.scan()
    assert window.shown("answerFrame")
    assert len(window.node_ids()) == before
