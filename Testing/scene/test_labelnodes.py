"""Segmentations and label maps of the scene as lungs and lobes, and a result's own mask after an edit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
import vtk.util.numpy_support
from EmphysemaScannerLib.base.errors import GeometryError
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.lungs.labelfiles import MaskFiles
from EmphysemaScannerLib.lungs.masks import resampled
from EmphysemaScannerLib.lungs.recognition import WANTED_LOBES, WANTED_LUNGS
from EmphysemaScannerLib.lungs.regions import (
    MaskKind,
    Origin,
    Recognition,
    Region,
    RegionError,
    UnknownLabelsError,
)
from EmphysemaScannerLib.scene.labelnodes import prepare_regions, segments_of
from EmphysemaScannerLib.scene.result import find_result, mask_is_edited, mask_of, result_of, show_result
from EmphysemaScannerLib.scene.segmentations import add_outlines
from EmphysemaScannerLib.scene.volumes import volume_node_from_image

from .factory import chest, result_on

NAMES = {
    "lung_upper_lobe_right": 1,
    "lung_middle_lobe_right": 2,
    "lung_lower_lobe_right": 3,
    "lung_upper_lobe_left": 4,
    "lung_lower_lobe_left": 5,
}
CODES = "a~SCT^123037004^Anatomical Structure~SCT^39607008^Lung~SCT^{side}~b~^^~^^"


@pytest.fixture(scope="module")
def case():
    image, labels = chest()
    return image, labels, result_on(image, labels)


def lobes(labels) -> np.ndarray:
    k = np.arange(len(labels))[:, None, None]
    right, left = np.select([k >= 45, k >= 32], [1, 2], 3), np.where(k >= 38, 4, 5)
    return np.where(labels == 1, right, np.where(labels == 2, left, 0)).astype(np.uint8)


def segmentation(scene, case, masks):
    image, _, _ = case
    ct = volume_node_from_image(image, "CT", scene)
    colours = dict.fromkeys(masks, (1.0, 0.0, 0.0))
    return add_outlines(scene, masks, Grid.of_image(image), colours, "Somebody's", ct)


def on_ct(given, image) -> tuple[np.ndarray, np.ndarray]:
    grid = Grid.of_image(image)
    return resampled(given.sides, given.grid, grid), resampled(given.lobes, given.grid, grid)


def test_segments_are_lobes_by_their_names_wherever_each_was_cropped(scene, case):
    image, labels, _ = case
    parts = lobes(labels)
    node = segmentation(scene, case, {"heart": labels == 9, **{name: parts == k for name, k in NAMES.items()}})
    given = prepare_regions(node, WANTED_LOBES)()
    assert given.origin == Origin(MaskKind.SEGMENTATION, "Somebody's", Recognition.NAMES)
    sides, found = on_ct(given, image)
    assert np.array_equal(found, parts)
    assert np.array_equal(sides, labels)


def test_segments_are_lungs_by_their_terminology_under_any_name(scene, case):
    image, labels, _ = case
    node = segmentation(scene, case, {"left": labels == 1, "B": labels == 2})
    for k, side in enumerate(("24028007^Right", "7771000^Left")):
        segment = node.GetSegmentation().GetNthSegment(k)
        segment.SetTag(segment.GetTerminologyEntryTagName(), CODES.format(side=side))
    given = prepare_regions(node, WANTED_LUNGS)()
    assert given.origin.recognised is Recognition.CODES
    assert np.array_equal(on_ct(given, image)[0], labels)


def test_unknown_segments_are_listed_and_can_be_named(scene, case):
    image, labels, _ = case
    node = segmentation(scene, case, {"Segment_1": labels == 1, "Segment_2": labels == 2})
    with pytest.raises(UnknownLabelsError, match=r"'Segment_1', 2 'Segment_2'.*which segment is which"):
        prepare_regions(node, WANTED_LUNGS)
    given = prepare_regions(node, WANTED_LUNGS, {"segment_1": Region.RIGHT_LUNG, "2": Region.LEFT_LUNG})()
    assert given.origin.recognised is Recognition.USER
    assert np.array_equal(on_ct(given, image)[0], labels)


def test_an_empty_segment_is_refused(scene, case):
    _, labels, _ = case
    node = segmentation(scene, case, {"Right lung": labels == 1, "Left lung": labels == 7})
    with pytest.raises(RegionError, match="'Left lung' of 'Somebody's', the left lung, is empty"):
        prepare_regions(node, WANTED_LUNGS)


def test_a_segmentation_lies_where_its_transform_puts_it_and_one_that_bends_is_refused(scene, case):
    image, labels, _ = case
    node = segmentation(scene, case, {"Right lung": labels == 1, "Left lung": labels == 2})
    shift = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[2, 3] = 2 * image.GetSpacing()[2]
    shift.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(shift.GetID())
    found = on_ct(prepare_regions(node, WANTED_LUNGS)(), image)[0]
    assert np.array_equal(found[2:], labels[:-2])
    bent = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    bent.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(GeometryError, match="non-linear"):
        prepare_regions(node, WANTED_LUNGS)


def test_a_label_map_is_recognised_by_its_numbers(scene, case):
    image, labels, _ = case
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    node.SetName("lungmask")
    stored = volume_node_from_image(Grid.of_image(image).to_image(labels), "stored", scene)
    node.SetAndObserveImageData(stored.GetImageData())
    matrix = vtk.vtkMatrix4x4()
    stored.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    assert [segment.value for segment in segments_of(node)] == [1, 2]
    given = prepare_regions(node, WANTED_LUNGS)()
    assert given.origin.numbering == "EmphysemaScanner and lungmask"
    assert np.array_equal(on_ct(given, image)[0], labels)


def test_slicers_own_file_with_overlapping_segments_is_read(scene, case, tmp_path):
    image, labels, _ = case
    parts = lobes(labels)
    whole = {"lung_upper_lobe_right": labels == 1, **{name: parts == k for name, k in NAMES.items() if k > 1}}
    node = segmentation(scene, case, whole)  # the upper lobe lies over the other two
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "lobes.seg.nrrd"))
    assert storage.WriteData(node)
    assert sitk.ReadImage(str(tmp_path / "lobes.seg.nrrd")).GetNumberOfComponentsPerPixel() > 1
    given = MaskFiles(lobes=tmp_path / "lobes.seg.nrrd").read().lobes
    assert given is not None
    assert given.origin.recognised is Recognition.NAMES
    sides, found = on_ct(given, image)
    assert np.array_equal(sides, labels)
    assert set(np.unique(found)) >= {2, 3, 4, 5}


def test_the_results_own_mask_has_slicers_terminology_and_is_known_by_it(scene, case):
    image, labels, result = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    assert [segment.terminology.split("~")[2:4] for segment in segments_of(nodes.lungs)] == [
        ["SCT^39607008^Lung", "SCT^24028007^Right"],
        ["SCT^39607008^Lung", "SCT^7771000^Left"],
    ]
    nodes.lungs.GetSegmentation().GetNthSegment(0).SetName("Lunge rechts")
    assert np.array_equal(result_of(nodes).lung_mask.values, labels)
    assert not mask_is_edited(nodes)


def edit(nodes, labels) -> np.ndarray:
    """Cut the lower half of the right lung away, as an effect of Segment Editor does."""
    right = labels == 1
    right[:35] = False
    segmentation = nodes.lungs.GetSegmentation()
    segment = segmentation.GetNthSegmentID(0)
    mask = slicer.vtkOrientedImageData()
    nodes.lungs.GetBinaryLabelmapRepresentation(segment, mask)
    extent = mask.GetExtent()
    values = vtk.util.numpy_support.vtk_to_numpy(mask.GetPointData().GetScalars())
    shape = tuple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0))
    values.reshape(shape)[: 35 - extent[4]] = 0
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(mask, nodes.lungs, segment)
    return np.where(labels == 1, right, labels).astype(np.uint8)


def test_an_edited_mask_is_noticed_and_kept_as_the_mask_of_the_result_that_was_measured_in_it(scene, case):
    image, labels, result = case
    ct = volume_node_from_image(image, "CT", scene)
    nodes = show_result(result, ct, scene)
    mask = nodes.lungs
    edited = edit(nodes, labels)
    assert mask_is_edited(nodes)
    assert np.array_equal(mask_of(nodes), edited)
    measured = dataclasses.replace(
        result,
        lung_mask=dataclasses.replace(result.lung_mask, values=edited),
        lungs_from=Origin(MaskKind.EDITED),
    )
    again = show_result(measured, ct, scene)
    assert again.lungs is mask
    assert not mask_is_edited(again)
    assert find_result(ct) is not None


def test_an_edited_mask_outlives_another_scan_by_itself(scene, case):
    image, labels, result = case
    ct = volume_node_from_image(image, "CT", scene)
    nodes = show_result(result, ct, scene)
    edit(nodes, labels)
    mask = nodes.lungs
    again = show_result(result, ct, scene)
    assert again.lungs is not mask
    assert mask.GetScene() is scene
    assert mask.GetName() == "CT lungs (edited)"
    assert not mask_is_edited(again)


def test_an_emptied_mask_is_refused(scene, case):
    image, _, result = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    nodes.lungs.GetSegmentation().RemoveAllSegments()
    with pytest.raises(RegionError, match="edited lung mask is empty"):
        mask_of(nodes)
