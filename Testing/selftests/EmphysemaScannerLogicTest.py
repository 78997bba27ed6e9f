"""Self-tests of the logic; they run inside Slicer."""
# ruff: noqa: PT009, PT027 (run by unittest: Slicer has no pytest)

import importlib.util
import unittest
from pathlib import Path

import numpy as np
import selftestdata
import slicer
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, ModelFileError, NotAChestCTError, ScanCancelled
from EmphysemaScannerLib.scene.overlays import Overlay
from EmphysemaScannerLib.window.packages import PackagesMissingError
from EmphysemaScannerLib.window.waiting import VolumeRemovedError

from EmphysemaScanner import EmphysemaScannerLogic, phantomVolume

needsTorch = unittest.skipUnless(importlib.util.find_spec("torch"), "PyTorch is not installed")

# What a scan by the model of these tests gives: it has neither disease map nor class weights.
COMPUTED = [Overlay.EVIDENCE, Overlay.ASC1, Overlay.DESC1, Overlay.ASC2, Overlay.DESC2]


class EmphysemaScannerLogicTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.logic = EmphysemaScannerLogic()
        self.volumeNode = phantomVolume()

    def scan(self, volumeNode=None, **options):
        return self.logic.scan(volumeNode or self.volumeNode, selftestdata.modelPath(), **options)

    @needsTorch
    def test_the_evidence_and_the_bias_sum_to_the_logit(self) -> None:
        result = self.scan()
        self.assertEqual(len(result.slices.evidence), 35)
        self.assertAlmostEqual(result.bias + float(result.slices.evidence.sum()), result.logit, places=4)

    @needsTorch
    def test_a_scan_changes_nothing_in_the_scene(self) -> None:
        before = selftestdata.sceneState()
        self.scan()
        self.assertEqual(selftestdata.sceneState(), before)

    @needsTorch
    def test_the_same_ct_stored_the_other_way_round_has_the_same_probability(self) -> None:
        first = self.scan().probability
        second = self.scan(selftestdata.flipped(self.volumeNode)).probability
        self.assertAlmostEqual(first, second, places=5)

    @needsTorch
    def test_progress_rises_and_names_its_stages(self) -> None:
        heard = []
        self.scan(progress=lambda fraction, stage: heard.append((fraction, stage)))
        fractions = [fraction for fraction, _ in heard]
        self.assertEqual(fractions, sorted(fractions))
        self.assertGreater(len({stage for _, stage in heard}), 3)

    @needsTorch
    def test_showing_adds_overlays_over_the_ct(self) -> None:
        result = self.scan()
        before = set(selftestdata.sceneState())
        self.logic.show(result)
        added = [slicer.mrmlScene.GetNodeByID(i) for i in selftestdata.sceneState() if i not in before]
        self.assertEqual(sum(node.IsA("vtkMRMLScalarVolumeNode") for node in added), len(COMPUTED))
        self.assertTrue(any(node.IsA("vtkMRMLTableNode") for node in added))

    @needsTorch
    def test_a_ct_of_a_tilted_gantry_is_scanned_and_its_result_lies_in_the_world(self) -> None:
        sheared = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        shear = np.eye(4)
        shear[1, 2] = np.tan(np.radians(12.0))
        slicer.util.updateTransformMatrixFromArray(sheared, shear)
        self.volumeNode.SetAndObserveTransformNodeID(sheared.GetID())
        result = self.scan()
        self.assertIn("12.0 degrees", result.warnings[0])
        nodes = self.logic.show(result)
        self.assertTrue(all(node.GetParentTransformNode() is None for node in [*nodes.overlays.values(), nodes.lungs]))

    @needsTorch
    def test_every_overlay_that_can_be_chosen_is_laid_over_the_ct(self) -> None:
        layers = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
        if layers is None:  # no views: Slicer without a main window
            layers = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", "Red")
        self.logic.show(self.scan(), self.volumeNode)
        shown = set()
        for overlay in COMPUTED:
            self.logic.setOverlay(self.volumeNode, overlay, opacity=0.3)
            self.assertEqual(layers.GetBackgroundVolumeID(), self.volumeNode.GetID())
            self.assertAlmostEqual(layers.GetForegroundOpacity(), 0.3)
            shown.add(layers.GetForegroundVolumeID())
        self.assertEqual(len(shown - {None}), len(COMPUTED))
        self.logic.setOverlay(self.volumeNode, visible=False)
        self.assertIsNone(layers.GetForegroundVolumeID())

    def test_a_ct_without_a_result_leaves_the_views_as_they_are(self) -> None:
        before = selftestdata.sceneState()
        self.logic.setOverlay(self.volumeNode)
        self.assertEqual(selftestdata.sceneState(), before)

    @needsTorch
    def test_a_cancelled_scan_changes_nothing_in_the_scene(self) -> None:
        before = selftestdata.sceneState()
        with self.assertRaises(ScanCancelled):
            self.scan(progress=lambda fraction, stage: self.logic.cancel())
        self.assertEqual(selftestdata.sceneState(), before)

    @needsTorch
    def test_a_ct_that_is_removed_during_its_scan_has_no_result(self) -> None:
        def remove(fraction: float, stage: str) -> None:
            slicer.mrmlScene.RemoveNode(self.volumeNode)

        with self.assertRaises(VolumeRemovedError):
            self.scan(progress=remove)

    @needsTorch
    def test_closing_the_scene_during_a_scan_discards_the_result(self) -> None:
        with self.assertRaises(VolumeRemovedError):
            self.scan(progress=lambda fraction, stage: slicer.mrmlScene.Clear())

    @needsTorch
    def test_a_second_scan_during_the_first_is_refused(self) -> None:
        refused = []

        def scanAgain(fraction: float, stage: str) -> None:
            try:
                self.scan()
            except EmphysemaScannerError as error:
                refused.append(str(error))

        self.scan(progress=scanAgain)
        self.assertTrue(refused)

    @needsTorch
    def test_a_volume_that_is_not_in_hounsfield_units_is_refused(self) -> None:
        slicer.util.updateVolumeFromArray(self.volumeNode, np.full((40, 64, 64), 100, np.int16))
        before = selftestdata.sceneState()
        with self.assertRaises(NotAChestCTError):
            self.scan()
        self.assertEqual(selftestdata.sceneState(), before)

    @needsTorch
    def test_a_model_file_that_is_not_there_is_named(self) -> None:
        with self.assertRaisesRegex(ModelFileError, "nowhere"):
            self.logic.scan(self.volumeNode, Path("nowhere.safetensors"))

    @needsTorch
    def test_a_scan_works_again_after_the_worker_was_closed(self) -> None:
        self.logic.close()
        self.assertEqual(self.scan().source, self.volumeNode.GetName())

    @unittest.skipUnless(selftestdata.ctPath(), "EMPHYSEMA_SCANNER_TEST_CT names no CT")
    @needsTorch
    def test_a_real_ct_is_scanned_and_shown(self) -> None:
        volumeNode = slicer.util.loadVolume(str(selftestdata.ctPath()))
        result = self.scan(volumeNode)
        self.assertGreater(result.densitometry["whole"].volume_l, 1)
        self.logic.show(result, volumeNode)

    def test_no_volume_is_refused_with_a_sentence(self) -> None:
        with self.assertRaises(NotAChestCTError):
            self.logic.scan(None)

    def test_a_volume_without_an_image_is_refused_with_a_sentence(self) -> None:
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        with self.assertRaises(NotAChestCTError):
            self.logic.scan(empty)

    @unittest.skipIf(importlib.util.find_spec("torch"), "PyTorch is installed")
    def test_without_pytorch_a_scan_says_what_is_missing(self) -> None:
        with self.assertRaisesRegex(PackagesMissingError, "PyTorch"):
            self.logic.scan(self.volumeNode, "any.safetensors")
