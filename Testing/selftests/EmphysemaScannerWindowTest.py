"""Self-tests of the window; they run inside Slicer and press real buttons."""
# ruff: noqa: PT009 (run by unittest: Slicer has no pytest)

import importlib.util
import unittest
from unittest import mock

import numpy as np
import qt
import selftestdata
import slicer

from EmphysemaScanner import Overlay, phantomVolume

needsTorch = unittest.skipUnless(importlib.util.find_spec("torch"), "PyTorch is not installed")


class EmphysemaScannerWindowTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        slicer.util.selectModule("EmphysemaScanner")
        self.widget = slicer.modules.EmphysemaScannerWidget
        self.ui = self.widget.ui
        self.widget.enter()

    def chooseCt(self):
        volumeNode = phantomVolume()
        node = self.widget.logic.getParameterNode()
        node.inputVolume = volumeNode
        if importlib.util.find_spec("torch"):
            node.modelPath = selftestdata.modelPath()
        return volumeNode

    def test_slicer_lists_the_module(self) -> None:
        module = slicer.modules.emphysemascanner
        self.assertEqual(module.title, "Emphysema Scanner")
        self.assertIn("research use only", module.helpText.lower())
        self.assertIn("Braman", module.acknowledgementText)
        self.assertFalse(module.icon.isNull())

    def test_there_is_nothing_to_scan_without_a_ct(self) -> None:
        self.assertFalse(self.ui.scanButton.enabled)
        self.assertTrue(self.ui.resultCollapsibleButton.isHidden())

    def test_a_ct_that_is_in_the_scene_is_chosen_on_entering(self) -> None:
        volumeNode = phantomVolume()
        self.widget.enter()
        self.assertIs(self.ui.inputSelector.currentNode(), volumeNode)

    def test_choices_in_the_window_are_kept_in_the_scene(self) -> None:
        self.ui.overlayOpacitySlider.value = 0.25
        self.ui.overlayComboBox.currentIndex = 1
        node = self.widget.logic.getParameterNode()
        self.assertAlmostEqual(node.overlayOpacity, 0.25)
        self.assertIs(node.overlay, list(Overlay)[1])

    def test_without_pytorch_its_installation_is_offered_and_the_rest_works(self) -> None:
        self.chooseCt()
        with mock.patch("importlib.util.find_spec", return_value=None):
            self.widget.onParametersChanged()
            self.assertFalse(self.ui.torchFrame.isHidden())
            self.assertFalse(self.ui.scanButton.enabled)
        self.widget.onParametersChanged()
        self.assertEqual(self.ui.torchFrame.isHidden(), importlib.util.find_spec("torch") is not None)

    @needsTorch
    def test_scan_shows_probability_densitometry_and_overlay(self) -> None:
        self.chooseCt()
        self.ui.scanButton.click()
        self.assertTrue(self.ui.statusLabel.isHidden(), self.ui.statusLabel.text)
        self.assertFalse(self.ui.resultCollapsibleButton.isHidden())
        self.assertIn("%", self.ui.probabilityLabel.text)
        self.assertIn("LAA-950", self.ui.densitometryLabel.text)
        self.assertEqual(self.ui.scanButton.text, "Scan")

    @needsTorch
    def test_the_scan_button_cancels_a_running_scan(self) -> None:
        self.chooseCt()
        before = selftestdata.sceneState()
        seen = []

        def cancel() -> None:
            seen.append(self.ui.scanButton.text)
            self.ui.scanButton.click()

        qt.QTimer.singleShot(0, cancel)
        self.ui.scanButton.click()
        self.assertEqual(seen, ["Cancel"])
        self.assertIn("cancelled", self.ui.statusLabel.text)
        self.assertTrue(self.ui.resultCollapsibleButton.isHidden())
        self.assertEqual(selftestdata.sceneState(), before)
        self.assertTrue(self.ui.scanButton.enabled)

    @needsTorch
    def test_what_cannot_be_scanned_gets_one_sentence_and_no_result(self) -> None:
        volumeNode = self.chooseCt()
        slicer.util.updateVolumeFromArray(volumeNode, np.full((40, 64, 64), 100, np.int16))
        self.ui.scanButton.click()
        self.assertFalse(self.ui.statusLabel.isHidden())
        self.assertTrue(self.ui.statusLabel.text.endswith("."))
        self.assertTrue(self.ui.resultCollapsibleButton.isHidden())

    @needsTorch
    def test_a_result_is_shown_only_while_its_ct_is_chosen(self) -> None:
        scanned = self.chooseCt()
        self.ui.scanButton.click()
        node = self.widget.logic.getParameterNode()
        node.inputVolume = phantomVolume()
        self.assertTrue(self.ui.resultCollapsibleButton.isHidden())
        node.inputVolume = scanned
        self.assertFalse(self.ui.resultCollapsibleButton.isHidden())

    @needsTorch
    def test_an_error_goes_and_the_result_comes_back_with_its_ct(self) -> None:
        scanned = self.chooseCt()
        self.ui.scanButton.click()
        offset = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceOffset()
        node = self.widget.logic.getParameterNode()
        node.inputVolume = slicer.util.addVolumeFromArray(np.full((40, 64, 64), 100, np.int16))
        self.ui.scanButton.click()
        self.assertFalse(self.ui.statusLabel.isHidden())
        slicer.util.setSliceViewerLayers(background=node.inputVolume, fit=True)
        node.inputVolume = scanned
        self.assertTrue(self.ui.statusLabel.isHidden())
        red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
        self.assertEqual(red.GetSliceCompositeNode().GetBackgroundVolumeID(), scanned.GetID())
        self.assertAlmostEqual(red.GetSliceOffset(), offset, delta=4)

    @needsTorch
    def test_closing_the_scene_removes_the_result_from_the_window(self) -> None:
        self.chooseCt()
        self.ui.scanButton.click()
        slicer.mrmlScene.Clear()
        self.assertTrue(self.ui.resultCollapsibleButton.isHidden())
        self.assertFalse(self.ui.scanButton.enabled)

    def test_the_module_can_be_reloaded(self) -> None:
        self.widget.onReload()
        reloaded = slicer.modules.EmphysemaScannerWidget
        self.assertIsNot(reloaded, self.widget)
        self.assertFalse(reloaded.ui.scanButton.enabled)
