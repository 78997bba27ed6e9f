"""A CT on a sheared or bent grid is scanned on a straight one, and its result lies where Slicer shows the CT."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from EmphysemaScannerLib.base.errors import GeometryError
from EmphysemaScannerLib.ct.grid import Grid, canonical
from EmphysemaScannerLib.scan.result import OverlayMap
from EmphysemaScannerLib.scene.overlays import Overlay, display_grid
from EmphysemaScannerLib.scene.result import result_of, show_result
from EmphysemaScannerLib.scene.straighten import image_from_volume_node, prepare, straight_image
from EmphysemaScannerLib.scene.volumes import add_volume, ijk_to_world_ras, volume_node_from_image
from scipy import ndimage
from vtk.util.numpy_support import vtk_to_numpy

from .bent import over_slices, place_in_world, staggered, tilt, under_grid
from .factory import chest, result_on

SHAPE = (12, 20, 24)  # K, J, I
RAMP = np.array([3.0, -5.0, 2.0])  # HU per mm towards R, A and S
AXIAL = np.array([[-0.9, 0.0, 0.0, 12.0], [0.0, -0.8, 0.0, -30.0], [0.0, 0.0, 2.5, 56.0], [0.0, 0.0, 0.0, 1.0]])


def blank(scene: slicer.vtkMRMLScene, matrix: np.ndarray = AXIAL) -> slicer.vtkMRMLScalarVolumeNode:
    return add_volume(scene, np.zeros(SHAPE, np.float32), matrix, "CT")


def fill_with_ramp(ct: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Values that grow evenly in the world, wherever the CT's transform has put the voxels."""
    values = slicer.util.arrayFromVolume(ct)
    for k, j, i in np.ndindex(values.shape):
        values[k, j, i] = RAMP @ place_in_world(ct, i, j, k)


def largest_error(ct: slicer.vtkMRMLScalarVolumeNode, image: sitk.Image) -> float:
    """By how many HU the ramp is off within the CT, a voxel from its edge; most of the image must be such a place."""
    grid, values = Grid.of_image(image), sitk.GetArrayFromImage(image)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing="ij"), axis=-1).astype(float)
    expected = (grid.position_lps(index) * [-1, -1, 1]) @ RAMP
    lowest = float(slicer.util.arrayFromVolume(ct).min())
    within = ndimage.binary_erosion(values > lowest, np.ones((3, 3, 3)))  # what fills the corners is the lowest value
    assert within.mean() > 0.3
    return float(np.abs(values - expected)[within].max())


def bulged(ct: slicer.vtkMRMLScalarVolumeNode, millimetres: float) -> None:
    """Put a CT under a transform that bends its planes."""
    vectors = np.zeros((3, 3, 3, 3))
    vectors[1, 1, 1, 2] = millimetres / 4
    under_grid(ct, vectors, np.array(ct.GetSpacing()) * (np.array(ct.GetImageData().GetDimensions()) - 1) / 2)


def local_matrix_of(ct: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def shear(scene: slicer.vtkMRMLScene, degrees: float) -> slicer.vtkMRMLLinearTransformNode:
    matrix = np.eye(4)
    matrix[1, 2] = np.tan(np.radians(degrees))
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


@pytest.mark.parametrize("degrees", [2.0, 12.0, -20.0])
def test_a_ct_of_a_tilted_gantry_is_resampled_where_slicer_shows_it(scene, degrees):
    ct = blank(scene)
    tilt(ct, degrees)
    fill_with_ramp(ct)
    count, before = scene.GetNumberOfNodes(), ct.GetMTime()

    straight = straight_image(ct)

    assert largest_error(ct, straight.image) < 0.01
    assert np.array(straight.image.GetDirection()) == pytest.approx(np.eye(3).ravel(), abs=1e-6)
    assert straight.warnings[0].startswith(f"The gantry was tilted by {abs(degrees):.1f} degrees: the slices were")
    assert (scene.GetNumberOfNodes(), ct.GetMTime()) == (count, before)


@pytest.mark.parametrize("put", [None, staggered, bulged], ids=["straight", "staggered", "bent"])
def test_what_was_prepared_is_made_on_another_thread_whatever_becomes_of_the_ct(scene, put):
    ct = blank(scene)
    if put is not None:
        put(ct, 12.0)
    fill_with_ramp(ct)
    expected, make = straight_image(ct), prepare(ct)
    slicer.util.arrayFromVolume(ct)[:] = 0
    scene.Clear(True)
    with ThreadPoolExecutor(1) as threads:
        made = threads.submit(make).result()
    assert made.warnings == expected.warnings
    assert np.array_equal(sitk.GetArrayFromImage(made.image), sitk.GetArrayFromImage(expected.image))
    assert Grid.of_image(made.image) == Grid.of_image(expected.image)


def test_staggered_slices_are_resampled_where_slicer_shows_them(scene):
    ct = blank(scene)
    staggered(ct, 12.0)
    fill_with_ramp(ct)
    straight = straight_image(ct)
    assert largest_error(ct, straight.image) < 0.01
    assert straight.image.GetSpacing() == pytest.approx((0.9, 0.8, 2.5))
    assert "12.0 degrees from their normal" in straight.warnings[0]


def test_a_ct_under_a_sheared_linear_transform_is_resampled_where_slicer_shows_it(scene):
    ct = blank(scene)
    ct.SetAndObserveTransformNodeID(shear(scene, 12.0).GetID())
    fill_with_ramp(ct)
    straight = straight_image(ct)
    assert largest_error(ct, straight.image) < 0.01
    assert "12.0 degrees from their normal" in straight.warnings[0]


def test_a_ct_with_sheared_axes_of_its_own_is_resampled(scene):
    matrix = AXIAL.copy()
    matrix[1, 2] = 2.5 * np.tan(np.radians(12.0))
    ct = blank(scene, matrix)
    fill_with_ramp(ct)
    straight = straight_image(ct)
    assert largest_error(ct, straight.image) < 0.01
    assert "12.0 degrees from their normal" in straight.warnings[0]


def test_rows_that_are_not_perpendicular_to_columns_are_no_tilted_gantry(scene):
    matrix = AXIAL.copy()
    matrix[0, 1] = 0.8 * np.tan(np.radians(8.0))
    ct = blank(scene, matrix)
    fill_with_ramp(ct)
    straight = straight_image(ct)
    assert largest_error(ct, straight.image) < 0.01
    assert "a transform that shears or bends it" in straight.warnings[0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)], ids=str)
@pytest.mark.parametrize("flip", [False, True])
def test_the_straight_ct_is_the_same_in_whichever_order_the_tilted_one_is_stored(scene, order, flip):
    matrix = AXIAL.copy()
    matrix[1, 2] = 2.5 * np.tan(np.radians(12.0))
    ct = blank(scene, matrix)
    fill_with_ramp(ct)
    expected = image_from_volume_node(ct)

    values = slicer.util.arrayFromVolume(ct)[::-1] if flip else slicer.util.arrayFromVolume(ct)
    if flip:
        matrix[:3, 3] += matrix[:3, 2] * (SHAPE[0] - 1)
        matrix[:3, 2] *= -1
    again = matrix.copy()
    again[:3, :3] = matrix[:3, [2 - axis for axis in order[::-1]]]
    stored = add_volume(scene, np.ascontiguousarray(values.transpose(order)), again, "stored otherwise")
    image = image_from_volume_node(stored)

    assert np.allclose(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected), atol=0.01)
    for get in (sitk.Image.GetSpacing, sitk.Image.GetOrigin, sitk.Image.GetDirection):
        assert get(image) == pytest.approx(get(expected), abs=1e-6)


@pytest.mark.parametrize(("step_mm", "after"), [(2.5, 7), (0.5, 7)])
def test_missing_and_unevenly_spaced_slices_are_refused_as_on_the_command_line(scene, step_mm, after):
    ct = blank(scene)
    over_slices(ct, lambda k: np.array([0.0, 0.0, step_mm if k >= after else 0.0]))
    sentence = rf"usual distance is 2\.50 mm, after slice {after} of 12 it is {2.5 + step_mm:.2f} mm; load the series"
    with pytest.raises(GeometryError, match=sentence):
        straight_image(ct)


def test_a_bent_ct_is_resampled_where_slicer_shows_it(scene):
    ct = blank(scene)
    s, p, r = np.meshgrid(*(np.linspace(0, np.pi, n) for n in SHAPE), indexing="ij")
    bend = np.stack([0.8 * np.sin(p), np.zeros(SHAPE), 0.6 * np.sin(r) * np.sin(s)], axis=-1)
    under_grid(ct, bend, np.array(ct.GetSpacing()))
    fill_with_ramp(ct)
    straight = straight_image(ct)
    assert largest_error(ct, straight.image) < 0.3 * np.linalg.norm(RAMP)  # 0.3 mm: linear between sampled points
    assert "a transform that shears or bends it" in straight.warnings[0]


def test_a_transform_that_folds_the_ct_is_refused(scene):
    ct = blank(scene)
    p = np.meshgrid(*(np.linspace(0, 6 * np.pi, n) for n in SHAPE), indexing="ij")[1]
    under_grid(ct, np.stack([np.zeros(SHAPE), 40 * np.sin(p), np.zeros(SHAPE)], axis=-1), np.array(ct.GetSpacing()))
    with pytest.raises(GeometryError, match=r"of 'CT' cannot be inverted; harden it"):
        straight_image(ct)


def test_a_non_linear_transform_that_only_moves_a_ct_leaves_its_voxels_as_they_are(scene):
    ct = blank(scene)
    over_slices(ct, lambda _: np.array([5.0, 6.0, 7.0]))
    fill_with_ramp(ct)
    straight = straight_image(ct)
    assert straight.warnings == ()
    assert np.array_equal(sitk.GetArrayFromImage(straight.image), slicer.util.arrayFromVolume(ct))
    assert largest_error(ct, straight.image) < 0.01


@pytest.mark.parametrize("kind", ["acquisition transform", "sheared transform"])
def test_a_result_lies_on_the_tilted_ct_as_slicer_shows_it(scene, kind):
    image, _labels = chest()
    marker = (41, 50, 30)
    image[marker[::-1]] = 3000
    ct = volume_node_from_image(image, "CT", scene)
    if kind == "acquisition transform":
        tilt(ct, 12.0)
    else:
        ct.SetAndObserveTransformNodeID(shear(scene, 12.0).GetID())
    k, j, i = np.argwhere(slicer.util.arrayFromVolume(ct) == 3000)[0]
    marker_ras = place_in_world(ct, i, j, k)

    scanned = canonical(image_from_volume_node(ct))
    seen = sitk.GetArrayFromImage(scanned)
    lungs = (seen > -920) & (seen < -820)
    labels = np.where(lungs, np.where(np.arange(seen.shape[2]) < seen.shape[2] // 2, 1, 2), 0).astype(np.uint8)
    result = result_on(scanned, labels)
    brightest = np.unravel_index(int(seen.argmax()), seen.shape)
    coarse = display_grid(result).resized((35, 64, 64))
    peak = np.zeros(coarse.shape, np.float32)
    share = (np.array(brightest) + 0.5) / seen.shape * coarse.shape
    peak[tuple(share.astype(int))] = 1
    everywhere = np.where(labels > 0, labels, 1).astype(np.uint8)
    shown = dataclasses.replace(
        result,
        activations={**result.activations, "asc1": OverlayMap(peak, coarse)},
        lung_mask=OverlayMap(everywhere, result.lung_mask.grid),
    )
    nodes = show_result(shown, ct, scene)

    overlay = nodes.overlays[Overlay.ASC1]
    assert overlay.GetParentTransformNode() is None
    assert nodes.lungs.GetParentTransformNode() is None
    values = slicer.util.arrayFromVolume(overlay)
    centre = ijk_to_world_ras(overlay) @ [*np.argwhere(values > 0.9 * values.max()).mean(0)[::-1], 1.0]
    to_axes = np.array(coarse.direction_lps).T
    off = to_axes @ ((centre[:3] - marker_ras) * [-1, -1, 1])
    voxel = np.array(coarse.spacing_mm)
    assert (np.abs(off) <= voxel / 2 + np.array(Grid.of_image(scanned).spacing_mm) / 2).all()
    assert np.array_equal(result_of(nodes).lung_mask.values, everywhere)


def test_the_lungs_of_a_tilted_ct_lie_where_slicer_shows_them(scene):
    image, labels = chest()
    ct = volume_node_from_image(image, "CT", scene)
    tilt(ct, 12.0)
    mask = volume_node_from_image(Grid.of_image(image).to_image(100 * (labels > 0)), "mask", scene)
    mask.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(local_matrix_of(ct)))
    mask.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    lungs = sitk.GetArrayFromImage(canonical(image_from_volume_node(mask))) > 50

    result = result_on(canonical(image_from_volume_node(ct)), lungs.astype(np.uint8))
    nodes = show_result(result, ct, scene)

    drawn, to_world = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    nodes.lungs.GetBinaryLabelmapRepresentation(nodes.lungs.GetSegmentation().GetNthSegmentID(0), drawn)
    drawn.GetImageToWorldMatrix(to_world)
    first = drawn.GetExtent()[::2]
    kji = np.argwhere(vtk_to_numpy(drawn.GetPointData().GetScalars()).reshape(drawn.GetDimensions()[::-1]) > 0)
    seen = (kji[:, ::-1] + first) @ slicer.util.arrayFromVTKMatrix(to_world)[:3, :3].T
    seen += slicer.util.arrayFromVTKMatrix(to_world)[:3, 3]
    inside = np.argwhere(labels > 0)
    places = np.array([place_in_world(mask, i, j, k) for k, j, i in inside[:: len(inside) // 5000]])
    voxel = max(image.GetSpacing())
    assert seen.mean(axis=0) == pytest.approx(places.mean(axis=0), abs=voxel / 4)
    assert seen.min(axis=0) == pytest.approx(places.min(axis=0), abs=voxel)
    assert seen.max(axis=0) == pytest.approx(places.max(axis=0), abs=voxel)
