"""Self-tests of lung masks and lobes from the scene; they run inside Slicer."""
# ruff: noqa: PT009, PT027 (run by unittest: Slicer has no pytest)

import importlib.util
import unittest

import numpy as np
import selftestdata
import slicer
import vtk.util.numpy_support
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.lungs.regions import LOBES, MaskKind, Recognition, Region, UnknownLabelsError
from EmphysemaScannerLib.scene.result import mask_is_edited
from EmphysemaScannerLib.scene.segmentations import add_outlines
from EmphysemaScannerLib.window.masknodes import MaskNodes

from EmphysemaScanner import EmphysemaScannerLogic, phantomVolume

needsTorch = unittest.skipUnless(importlib.util.find_spec("torch"), "PyTorch is not installed")
NAMES = ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right")
NAMES += ("lung_upper_lobe_left", "lung_lower_lobe_left")


def lobeSegmentation(result, volumeNode, names=NAMES):
    """A segmentation of the lobes of a scanned CT, each lung cut into layers."""
    labels = result.lung_mask.values
    height = np.flatnonzero((labels > 0).any((1, 2)))
    masks = {}
    for side, count in ((1, 3), (2, 2)):
        cuts = np.linspace(height[0], height[-1] + 1, count + 1).astype(int)
        for part in range(count, 0, -1):
            mask = np.zeros(labels.shape, bool)
            layer = slice(cuts[part - 1], cuts[part])
            mask[layer] = labels[layer] == side
            masks[names[len(masks)]] = mask
    colours = dict.fromkeys(masks, (0.8, 0.6, 0.4))
    grid = result.lung_mask.grid
    return add_outlines(slicer.mrmlScene, masks, grid, colours, "Lobes of another tool", volumeNode)


class EmphysemaScannerMasksTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.logic = EmphysemaScannerLogic()
        self.volumeNode = phantomVolume()

    def scanned(self):
        result = self.logic.scan(self.volumeNode, selftestdata.modelPath())
        return result, self.logic.show(result)

    @needsTorch
    def test_lobes_of_the_scene_are_measured_without_another_scan_and_are_not_changed(self) -> None:
        result, _nodes = self.scanned()
        lobes = lobeSegmentation(result, self.volumeNode)
        before = [lobes.GetSegmentation().GetNthSegment(k).GetName() for k in range(5)]
        again = self.logic.remeasure(self.volumeNode, MaskNodes(lobes=lobes))
        self.assertEqual(again.logit, result.logit)
        self.assertTrue({lobe.value for lobe in LOBES} <= set(again.densitometry))
        self.assertEqual(again.lobes_from.recognised, Recognition.NAMES)
        self.assertEqual(self.logic.result(self.volumeNode).lobes_from, again.lobes_from)
        self.assertEqual([lobes.GetSegmentation().GetNthSegment(k).GetName() for k in range(5)], before)
        table = self.logic.find(self.volumeNode).densitometry_table.GetTable()
        self.assertEqual(table.GetNumberOfRows(), 6 + 5)

    @needsTorch
    def test_a_scan_with_lobes_gives_what_measuring_again_gives(self) -> None:
        result, _nodes = self.scanned()
        lobes = lobeSegmentation(result, self.volumeNode)
        measured = self.logic.remeasure(self.volumeNode, MaskNodes(lobes=lobes))
        scanned = self.logic.scan(self.volumeNode, selftestdata.modelPath(), masks=MaskNodes(lobes=lobes))
        self.assertEqual(scanned.densitometry, measured.densitometry)
        self.assertEqual(scanned.warnings, measured.warnings)

    @needsTorch
    def test_unknown_segments_are_refused_and_can_be_named(self) -> None:
        result, _nodes = self.scanned()
        names = [f"Segment_{k}" for k in range(1, 6)]
        lobes = lobeSegmentation(result, self.volumeNode, names)
        state = selftestdata.sceneState()
        with self.assertRaisesRegex(UnknownLabelsError, "Segment_5"):
            self.logic.remeasure(self.volumeNode, MaskNodes(lobes=lobes))
        self.assertEqual(selftestdata.sceneState(), state)
        regions = dict(zip(names, LOBES, strict=True))
        again = self.logic.remeasure(self.volumeNode, MaskNodes(lobes=lobes, lobe_segments=regions))
        self.assertEqual(again.lobes_from.recognised, Recognition.USER)

    @needsTorch
    def test_after_an_edit_of_the_own_mask_every_figure_is_renewed(self) -> None:
        result, nodes = self.scanned()
        mask, segment = nodes.lungs, nodes.lungs.GetSegmentation().GetNthSegmentID(0)
        image = slicer.vtkOrientedImageData()
        mask.GetBinaryLabelmapRepresentation(segment, image)
        values = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
        values[: values.size // 2] = 0
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, mask, segment)
        self.assertTrue(mask_is_edited(nodes))
        with self.assertRaisesRegex(EmphysemaScannerError, "measure again first"):
            self.logic.attribute(self.volumeNode, selftestdata.modelPath())
        again = self.logic.remeasure(self.volumeNode)
        self.assertEqual(again.lungs_from.kind, MaskKind.EDITED)
        self.assertLess(again.densitometry["right"].volume_l, result.densitometry["right"].volume_l)
        self.assertEqual(again.densitometry["left"], result.densitometry["left"])
        now = self.logic.find(self.volumeNode)
        self.assertIs(now.lungs, mask)
        self.assertFalse(mask_is_edited(now))

    @needsTorch
    def test_a_segmentation_serves_as_lung_mask_of_a_scan(self) -> None:
        result, _nodes = self.scanned()
        labels, grid = result.lung_mask.values, result.lung_mask.grid
        masks = {"lung right": labels == 1, "lung left": labels == 2}
        colours = dict.fromkeys(masks, (0.8, 0.6, 0.4))
        mine = add_outlines(slicer.mrmlScene, masks, grid, colours, "Mine", self.volumeNode)
        again = self.logic.scan(self.volumeNode, selftestdata.modelPath(), masks=MaskNodes(lungs=mine))
        self.assertEqual(again.densitometry, result.densitometry)
        self.assertEqual(again.lungs_from.recognised, Recognition.NAMES)
        one = MaskNodes(lungs=mine, lung_segments={"lung right": Region.RIGHT_LUNG})
        alone = self.logic.scan(self.volumeNode, selftestdata.modelPath(), masks=one)
        self.assertEqual(alone.densitometry["left"].volume_l, 0)
        self.assertTrue(any("covers only 0 % of the left lung" in warning for warning in alone.warnings))
