"""Overlays lie where the CT's tissue lies, in every geometry, and are drawn inside the lungs only."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from EmphysemaScannerLib.core.grid import Grid, area_average, canonical
from EmphysemaScannerLib.core.result import OverlayMap
from EmphysemaScannerLib.scene.colours import HIDDEN_SHARE, evidence_colours
from EmphysemaScannerLib.scene.overlays import Overlay, display_grid, display_lungs, display_map
from EmphysemaScannerLib.scene.result import show_result
from EmphysemaScannerLib.scene.volumes import ijk_to_world_ras, image_from_volume_node, volume_node_from_image

from .factory import SLICES, chest, result_on

MARKER = (41, 50, 30)  # (slice, row, column) of a canonical chest, in the right lung


def turned(image: sitk.Image) -> sitk.Image:
    rotation = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.15, 0.3)
    out = sitk.Image(image)
    out.SetDirection(
        (np.array(rotation.GetMatrix()).reshape(3, 3) @ np.array(image.GetDirection()).reshape(3, 3)).ravel()
    )
    out.SetOrigin(rotation.TransformPoint(image.GetOrigin()))
    return out


STORED = {
    "canonical": lambda image: image,
    "upside down": lambda image: sitk.Flip(image, [False, False, True]),
    "left-handed and sagittal": lambda image: sitk.Flip(sitk.PermuteAxes(image, [1, 2, 0]), [True, False, True]),
    "oblique": turned,
    "oblique, coronal, left-handed": lambda image: sitk.PermuteAxes(turned(image), [0, 2, 1]),
}


@pytest.mark.parametrize("under_transform", [False, True], ids=["no transform", "under a transform"])
@pytest.mark.parametrize("store", STORED.values(), ids=list(STORED))
def test_a_marker_in_the_ct_lies_under_its_overlay_within_half_a_voxel(scene, store, under_transform):
    image, _ = chest()
    image[MARKER[::-1]] = 3000
    ct = volume_node_from_image(store(image), "CT", scene)
    if under_transform:
        shift = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.eye(4)
        matrix[:3, :3] = [[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]]
        matrix[:3, 3] = [30.0, -12.0, 80.0]
        shift.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        ct.SetAndObserveTransformNodeID(shift.GetID())
    kji = np.argwhere(slicer.util.arrayFromVolume(ct) == 3000)[0]
    marker_ras = (ijk_to_world_ras(ct) @ [*kji[::-1], 1.0])[:3]

    scanned = image_from_volume_node(ct)
    seen = sitk.GetArrayFromImage(canonical(scanned))
    result = result_on(scanned, (seen == -870).astype(np.uint8) + (seen == 3000), seed=0)
    share = area_average(seen == 3000, (SLICES, 64, 64))
    peak = (share == share.max()).astype(np.float32)
    activations = {**result.activations, "asc1": OverlayMap(peak, display_grid(result).resized(peak.shape))}
    nodes = show_result(dataclasses.replace(result, activations=activations), ct, scene)

    overlay = nodes.overlays[Overlay.ASC1]
    values = slicer.util.arrayFromVolume(overlay)
    strongest = np.argwhere(values > 0.9 * values.max())
    assert strongest.size
    centre = ijk_to_world_ras(overlay) @ [*strongest.mean(0)[::-1], 1.0]
    to_axes = np.array(activations["asc1"].grid.direction_lps).T
    if under_transform:
        assert overlay.GetTransformNodeID() == ct.GetTransformNodeID()
    off = to_axes @ ((centre[:3] - marker_ras) * [-1, -1, 1])
    assert (np.abs(off) <= np.array(activations["asc1"].grid.spacing_mm) / 2 + 1e-6).all()


def test_an_overlay_follows_its_ct_when_the_transform_changes(scene):
    image, labels = chest()
    ct = volume_node_from_image(image, "CT", scene)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    ct.SetAndObserveTransformNodeID(transform.GetID())
    nodes = show_result(result_on(image, labels), ct, scene)
    before = ijk_to_world_ras(nodes.overlays[Overlay.EVIDENCE])
    lungs_before, lungs_after = np.zeros(6), np.zeros(6)
    nodes.lungs.GetRASBounds(lungs_before)
    moved = np.eye(4)
    moved[:3, 3] = [7.0, 8.0, 9.0]
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    nodes.lungs.GetRASBounds(lungs_after)
    assert ijk_to_world_ras(nodes.overlays[Overlay.EVIDENCE]) == pytest.approx(moved @ before)
    assert lungs_after - lungs_before == pytest.approx([7, 7, 8, 8, 9, 9], abs=1e-3)


def test_maps_are_zero_outside_the_lungs_and_unchanged_at_their_own_voxels_centres():
    image, labels = chest()
    result = result_on(image, labels)
    grid, lungs = display_grid(result), np.ones(display_grid(result).shape, bool)
    ramp = np.arange(SLICES * 8 * 8, dtype=np.float32).reshape(SLICES, 8, 8)
    coarse = OverlayMap(ramp, grid.resized(ramp.shape))
    fine = display_map(Overlay.DESC2, coarse, grid, lungs).values
    in_slice = fine[1::3]  # the middle third of each slice is its centre
    between = (in_slice[:, 7::16, 7::16] + in_slice[:, 8::16, 8::16]) / 2  # a coarse centre lies between 16 fine ones
    inner = np.s_[:, 1:-1, 1:-1]  # beyond the outermost centres the map is constant, not a ramp
    assert between[inner] == pytest.approx(ramp[inner], rel=1e-5)
    assert (fine.min(), fine.max()) == (ramp.min(), ramp.max())
    inside = display_lungs(result)
    shown = display_map(Overlay.EVIDENCE, result.evidence, grid, inside)
    assert not shown.values[~inside].any()
    assert shown.values[inside].all()


def test_the_range_of_evidence_is_symmetric_and_that_of_activation_starts_at_the_median():
    image, labels = chest()
    result = result_on(image, labels)
    grid, lungs = display_grid(result), display_lungs(result)
    evidence = display_map(Overlay.EVIDENCE, result.evidence, grid, lungs)
    assert evidence.low == -evidence.high
    assert evidence.high == pytest.approx(np.percentile(np.abs(evidence.values[lungs]), 99.5), rel=0.05)
    activation = display_map(Overlay.DESC2, result.activations["desc2"], grid, lungs)
    assert activation.low == pytest.approx(np.median(activation.values[lungs]), rel=0.05)
    assert activation.low < activation.high


def test_maps_without_lungs_or_without_contrast_still_have_a_range():
    image, labels = chest()
    result = result_on(image, labels)
    grid, lungs = display_grid(result), display_lungs(result)
    for overlay in (Overlay.EVIDENCE, Overlay.ASC1):
        flat = OverlayMap(np.zeros((SLICES, 8, 8), np.float32), grid.resized((SLICES, 8, 8)))
        for inside in (lungs, np.zeros_like(lungs)):
            shown = display_map(overlay, flat, grid, inside)
            assert shown.low < shown.high
            assert np.isfinite([shown.low, shown.high]).all()


def test_evidence_near_zero_is_transparent_and_its_signs_have_different_colours(scene):
    colours = evidence_colours(scene)
    middle = (colours.GetNumberOfColors() - 1) // 2

    def rgba(i: int) -> np.ndarray:
        out = np.zeros(4)
        colours.GetColor(i, out)
        return out

    hidden = [rgba(i)[3] == 0 for i in range(colours.GetNumberOfColors())]
    assert hidden[middle]
    assert sum(hidden) == pytest.approx(HIDDEN_SHARE * len(hidden), abs=2)
    assert rgba(0)[2] > rgba(0)[0]
    assert rgba(len(hidden) - 1)[0] > rgba(len(hidden) - 1)[2]
    assert evidence_colours(scene) is colours


def test_the_display_grid_covers_the_ct_edge_to_edge():
    image, labels = chest()
    result = result_on(image, labels)
    grid, ct = display_grid(result), Grid.of_image(canonical(image))
    for corner in (0.0, 1.0):
        edge = [np.array(g.shape) * corner - 0.5 for g in (grid, ct)]
        assert grid.position_lps(edge[0]) == pytest.approx(ct.position_lps(edge[1]), abs=1e-6)
