"""A volume node becomes an image that lies where the node lies, or is refused with a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from EmphysemaScannerLib.base.errors import GeometryError, NotAChestCTError
from EmphysemaScannerLib.scene.straighten import image_from_volume_node
from EmphysemaScannerLib.scene.volumes import add_volume, volume_node_from_image

SHAPE = (5, 6, 7)
TURN = np.array([[0.8, -0.6, 0.0], [0.48, 0.64, -0.6], [0.36, 0.48, 0.8]])
GEOMETRIES = {
    "as Slicer stores it": np.diag([-1.0, -1.0, 1.0]),
    "upside down": np.diag([-1.0, -1.0, -1.0]),
    "left-handed": np.diag([1.0, -1.0, 1.0]),
    "sagittal slices": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "oblique": TURN,
    "oblique and left-handed": TURN @ np.diag([1.0, 1.0, -1.0]),
}


def ijk_to_ras(direction: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = direction * [0.7, 0.9, 2.5]
    matrix[:3, 3] = [12.0, -34.5, 56.25]
    return matrix


def volume(scene: slicer.vtkMRMLScene, direction: np.ndarray = GEOMETRIES["oblique"]) -> slicer.vtkMRMLScalarVolumeNode:
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    return add_volume(scene, values, ijk_to_ras(direction), "CT")


def transform(scene: slicer.vtkMRMLScene, matrix: np.ndarray) -> slicer.vtkMRMLLinearTransformNode:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def ras_of(image: sitk.Image, i: int, j: int, k: int) -> np.ndarray:
    return np.array(image.TransformIndexToPhysicalPoint((i, j, k))) * [-1, -1, 1]


@pytest.mark.parametrize("direction", GEOMETRIES.values(), ids=list(GEOMETRIES))
def test_every_voxel_keeps_its_value_and_its_place(scene, direction):
    node = volume(scene, direction)
    image = image_from_volume_node(node)
    assert np.array_equal(sitk.GetArrayFromImage(image), slicer.util.arrayFromVolume(node))
    for index in ((0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (6, 5, 4)):
        expected = (ijk_to_ras(direction) @ [*index, 1])[:3]
        assert ras_of(image, *index) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("direction", GEOMETRIES.values(), ids=list(GEOMETRIES))
def test_an_image_made_into_a_node_and_back_is_the_same_image(scene, direction):
    image = image_from_volume_node(volume(scene, direction))
    again = image_from_volume_node(volume_node_from_image(image, "again", scene))
    assert again.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(image))
    for get in (sitk.Image.GetSpacing, sitk.Image.GetOrigin, sitk.Image.GetDirection):
        assert get(again) == pytest.approx(get(image), abs=1e-9)


def test_whole_numbers_in_a_float_image_become_16_bit_and_fractions_stay_float(scene):
    whole = sitk.Cast(sitk.GaussianSource(sitk.sitkFloat32, [4, 4, 4], mean=[2, 2, 2]) > 100, sitk.sitkFloat32)
    fractions = whole + 0.25
    assert slicer.util.arrayFromVolume(volume_node_from_image(whole, "a", scene)).dtype == np.int16
    kept = slicer.util.arrayFromVolume(volume_node_from_image(fractions, "b", scene))
    assert kept.dtype == np.float32
    assert np.array_equal(kept, sitk.GetArrayFromImage(fractions))


def test_linear_parent_transforms_are_applied_and_the_scene_is_left_alone(scene):
    node = volume(scene)
    outer = np.eye(4)
    outer[:3, :3], outer[:3, 3] = TURN, [5.0, 6.0, 7.0]
    inner = np.eye(4)
    inner[:3, :3], inner[:3, 3] = TURN.T @ TURN.T * 1.5, [-10.0, 20.0, 30.0]
    child = transform(scene, inner)
    child.SetAndObserveTransformNodeID(transform(scene, outer).GetID())
    node.SetAndObserveTransformNodeID(child.GetID())
    count, before = scene.GetNumberOfNodes(), node.GetMTime()

    image = image_from_volume_node(node)

    expected = (outer @ inner @ ijk_to_ras(GEOMETRIES["oblique"]) @ [6, 5, 4, 1])[:3]
    assert ras_of(image, 6, 5, 4) == pytest.approx(expected, abs=1e-9)
    assert image.GetSpacing() == pytest.approx((0.7 * 1.5, 0.9 * 1.5, 2.5 * 1.5))
    assert (scene.GetNumberOfNodes(), node.GetMTime()) == (count, before)
    assert node.GetTransformNodeID() == child.GetID()


def test_the_image_is_a_copy_that_a_thread_may_keep(scene):
    node = volume(scene)
    image = image_from_volume_node(node)
    slicer.util.arrayFromVolume(node)[:] = -1
    assert sitk.GetArrayViewFromImage(image).min() == 0


def test_the_rounding_of_single_precision_is_no_shear(scene):
    node = volume(scene, TURN.astype(np.float32).astype(float) + 1e-6)
    assert image_from_volume_node(node).GetSize() == SHAPE[::-1]


def test_an_axis_without_length_is_refused(scene):
    node = volume(scene, GEOMETRIES["as Slicer stores it"])
    node.SetAndObserveTransformNodeID(transform(scene, np.diag([1.0, 1.0, 0.0, 1.0])).GetID())
    with pytest.raises(GeometryError, match="axis without length"):
        image_from_volume_node(node)


def test_what_is_no_scalar_volume_is_refused(scene):
    colour = add_volume(scene, np.zeros(SHAPE, np.uint8), np.eye(4), "Photo")
    rgb = vtk.vtkImageData()
    rgb.SetDimensions(4, 4, 4)
    rgb.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    colour.SetAndObserveImageData(rgb)
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    for node, sentence in (
        (None, "not a volume"),
        (scene.AddNewNodeByClass("vtkMRMLModelNode", "Model"), "'Model' is not a volume"),
        (labels, "'Labels' is a label map"),
        (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty"), "'Empty' holds no voxels"),
        (colour, "'Photo' has 3 values per voxel"),
    ):
        with pytest.raises(NotAChestCTError, match=sentence):
            image_from_volume_node(node)
