"""Overlays lie where the CT's tissue lies, in every geometry, and are drawn inside the lungs only."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from EmphysemaScannerLib.ct.grid import Grid, area_average, canonical
from EmphysemaScannerLib.scan.result import OverlayMap
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.colours import ColourMap, colours_of
from EmphysemaScannerLib.scene.overlays import (
    Drawing,
    Overlay,
    display_frame,
    display_grid,
    display_lungs,
    display_map,
    least_drawn,
    legends_of,
)
from EmphysemaScannerLib.scene.result import result_of, show_result
from EmphysemaScannerLib.scene.straighten import image_from_volume_node
from EmphysemaScannerLib.scene.views import CTWindow, style_overlay, telling_slices
from EmphysemaScannerLib.scene.volumes import ijk_to_world_ras, volume_node_from_image

from .factory import SLICES, chest, result_on, with_class_weights, with_disease_map

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
    shown = display_map(Overlay.EVIDENCE, result.evidence, grid, inside, Overlay.EVIDENCE.scale(result.model))
    assert not shown.values[~inside].any()
    assert shown.values[inside].all()


def test_evidence_has_the_same_range_for_every_ct_and_activation_that_of_its_map():
    image, labels = chest()
    result = result_on(image, labels)
    grid, lungs = display_grid(result), display_lungs(result)
    for factor in (0.01, 1.0, 100.0):
        scaled = OverlayMap(factor * result.evidence.values, result.evidence.grid)
        evidence = display_map(Overlay.TERMS, scaled, grid, lungs, Overlay.TERMS.scale(result.model))
        assert (evidence.low, evidence.high, evidence.floor) == (-0.2, 0.2, 0.02)
    activation = display_map(Overlay.DESC2, result.activations["desc2"], grid, lungs)
    assert activation.low == pytest.approx(np.median(activation.values[lungs]), rel=0.05)
    assert activation.low < activation.high


def test_the_range_of_gradient_attribution_is_symmetric_about_zero():
    image, labels = chest()
    result = result_on(image, labels)
    grid, lungs = display_grid(result), display_lungs(result)
    shown = display_map(Overlay.GRADIENT, result.evidence, grid, lungs)
    assert shown.low == -shown.high
    assert shown.high == pytest.approx(np.percentile(np.abs(shown.values[lungs]), 99.5), rel=0.05)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.1, 0.5])
def test_nothing_is_drawn_below_the_floor_whatever_the_threshold(scene, threshold):
    image, labels = chest()
    nodes = show_result(result_on(image, labels), volume_node_from_image(image, "CT", scene), scene)
    node = nodes.overlays[Overlay.EVIDENCE]
    assert least_drawn(node, Overlay.EVIDENCE, threshold) == pytest.approx(max(2 * threshold, 0.2))
    style_overlay(nodes, Overlay.EVIDENCE, threshold, ColourMap.STANDARD)
    drawn = np.linspace(-2, 2, 255)[table_of(node)[:, 3] > 0]
    assert np.abs(drawn).min() == pytest.approx(max(2 * threshold, 0.2), abs=4 / 255)


def test_evidence_that_depends_on_the_order_of_reading_is_a_frame_that_leaves_the_lungs_free(scene):
    image, labels = chest()
    result = result_on(image, labels)
    nodes = show_result(result, volume_node_from_image(image, "Chest", scene), scene)
    values = slicer.util.arrayFromVolume(nodes.overlays[Overlay.EVIDENCE])
    lungs = display_lungs(result)
    assert not values[lungs].any()
    at_level = np.empty(SLICES)
    at_level[result.slice_indices] = result.slices.evidence
    for k, plane in enumerate(values):
        drawn = plane[plane != 0]
        assert drawn.size > 100
        assert drawn == pytest.approx(at_level[k // 3], abs=1e-5)
    rows, columns = (np.flatnonzero((values != 0).any(axes)) for axes in ((0, 2), (0, 1)))
    used = [np.flatnonzero(lungs.any(axes)) for axes in ((0, 2), (0, 1))]
    for frame, lung in zip((rows, columns), used, strict=True):  # around them, and not far
        assert lung[0] - 4 == frame[0]
        assert frame[-1] == lung[-1] + 4
    assert not nodes.overlays[Overlay.EVIDENCE].GetDisplayNode().GetInterpolate()


def test_a_frame_around_lungs_at_the_edge_stays_in_the_grid():
    image, labels = chest()
    result = result_on(image, labels)
    grid = display_grid(result)
    for lungs in (np.ones(grid.shape, bool), np.zeros(grid.shape, bool)):
        shown = display_frame(result.evidence, grid, lungs, Overlay.EVIDENCE.scale(result.model))
        assert (shown.values != 0).mean() == pytest.approx(1 - (124 / 128) ** 2, abs=1e-3)


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


def table_of(node) -> np.ndarray:
    """(colours, 4) red, green, blue, opacity of an overlay's colours."""
    table = node.GetDisplayNode().GetColorNode().GetLookupTable()
    return np.array([table.GetTableValue(i) for i in range(table.GetNumberOfTableValues())])


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 1.0])
def test_signed_values_below_the_threshold_are_transparent_on_both_sides_of_zero(scene, threshold):
    image, labels = chest()
    nodes = show_result(result_on(image, labels), volume_node_from_image(image, "CT", scene), scene)
    style_overlay(nodes, Overlay.EVIDENCE, threshold, ColourMap.STANDARD)
    opacity = table_of(nodes.overlays[Overlay.EVIDENCE])[:, 3]
    assert opacity[len(opacity) // 2] == 0  # what lies outside the lungs
    assert opacity[0] == opacity[-1] == 1  # the strongest values
    assert (opacity == opacity[::-1]).all()
    assert (opacity == 0).mean() == pytest.approx(max(threshold, 0.1), abs=0.02)  # a tenth is the floor


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 1.0])
def test_activation_below_the_threshold_is_not_drawn_and_nothing_is_outside_the_lungs(scene, threshold):
    image, labels = chest()
    nodes = show_result(result_on(image, labels), volume_node_from_image(image, "CT", scene), scene)
    style_overlay(nodes, Overlay.DESC2, threshold, ColourMap.VIRIDIS)
    volume = nodes.overlays[Overlay.DESC2]
    display = volume.GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == pytest.approx(low + threshold * (high - low))
    assert 0 < display.GetLowerThreshold() <= display.GetUpperThreshold()
    assert display.GetUpperThreshold() >= slicer.util.arrayFromVolume(volume).max()
    assert (table_of(volume)[:, 3] == 0).mean() == pytest.approx(threshold, abs=0.02)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan])
def test_a_threshold_that_is_no_share_is_refused(scene, threshold):
    image, labels = chest()
    nodes = show_result(result_on(image, labels), volume_node_from_image(image, "CT", scene), scene)
    with pytest.raises(ValueError, match="share"):
        style_overlay(nodes, Overlay.EVIDENCE, threshold, ColourMap.STANDARD)


def test_styling_again_adds_no_node_and_does_not_touch_other_overlays(scene):
    image, labels = chest()
    nodes = show_result(result_on(image, labels), volume_node_from_image(image, "CT", scene), scene)
    count, other = scene.GetNumberOfNodes(), table_of(nodes.overlays[Overlay.ASC1])
    for colours in ColourMap:
        style_overlay(nodes, Overlay.EVIDENCE, 0.3, colours)
    assert scene.GetNumberOfNodes() == count
    assert np.array_equal(table_of(nodes.overlays[Overlay.ASC1]), other)


@pytest.mark.parametrize("name", ["viridis", "inferno"])
def test_the_perceptual_colour_maps_are_matplotlibs(name):
    matplotlib = pytest.importorskip("matplotlib")
    theirs = matplotlib.colormaps[name](np.linspace(0, 1, 255))[:, :3]
    assert colours_of(ColourMap(name), signed=False) == pytest.approx(theirs, abs=0.03)


def test_against_and_towards_disease_have_different_standard_colours_and_rising_maps_get_lighter():
    standard = colours_of(ColourMap.STANDARD, signed=True)
    assert standard[0, 2] > standard[0, 0]
    assert standard[-1, 0] > standard[-1, 2]
    for colours in ColourMap:
        lightness = colours_of(colours, signed=False) @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(lightness) > -1e-3).all()


def test_what_the_window_offers_has_names():
    for choices in (Overlay, ColourMap, Chart, Drawing, CTWindow):
        labels = [choice.label() for choice in choices]
        assert all(labels)
        assert len(set(labels)) == len(labels)


def test_every_overlay_is_described_in_a_sentence_of_its_own():
    sentences = [overlay.description() for overlay in Overlay]
    assert len(set(sentences)) == len(sentences)
    assert all(sentence.endswith(".") and "{" not in sentence for sentence in sentences)


def test_the_display_grid_covers_the_ct_edge_to_edge():
    image, labels = chest()
    result = result_on(image, labels)
    grid, ct = display_grid(result), Grid.of_image(canonical(image))
    for corner in (0.0, 1.0):
        edge = [np.array(g.shape) * corner - 0.5 for g in (grid, ct)]
        assert grid.position_lps(edge[0]) == pytest.approx(ct.position_lps(edge[1]), abs=1e-6)


def test_the_disease_map_is_drawn_from_its_models_floor_on_and_comes_first(scene):
    image, labels = chest()
    result = with_disease_map(result_on(image, labels))
    nodes = show_result(result, volume_node_from_image(image, "Chest", scene), scene)
    assert next(iter(nodes.overlays)) is Overlay.DISEASE
    node = nodes.overlays[Overlay.DISEASE]
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.7, 1.0)
    for threshold, least in ((0.1, 0.7), (0.7, 0.7), (0.9, 0.9)):
        assert least_drawn(node, Overlay.DISEASE, threshold) == pytest.approx(least)
    values = slicer.util.arrayFromVolume(node)
    assert 0.7 < values.max() <= 1
    assert legends_of(node)[0].GetLabelFormat() == "%.2f"


def test_planes_without_disease_follow_by_how_much_lung_they_show(scene):
    image, labels = chest()
    result = with_disease_map(result_on(image, labels))
    disease = np.full_like(result.disease.values, 0.2)
    disease[25] = 0.95
    result = dataclasses.replace(result, disease=OverlayMap(disease, result.disease.grid))
    nodes = show_result(result, volume_node_from_image(image, "Chest", scene), scene)
    marked, *others = telling_slices(nodes, 3)
    heights = result.lung_fraction.grid.slice_positions_mm()
    assert marked == pytest.approx(heights[25], abs=5)
    area = result.lung_fraction.values.sum((1, 2))
    assert all(area[np.abs(heights - height).argmin()] > 0.7 * area.max() for height in others)


def test_class_weighted_activations_have_their_models_range_and_come_before_evidence(scene):
    image, labels = chest()
    result = with_class_weights(result_on(image, labels))
    nodes = show_result(result, volume_node_from_image(image, "Chest", scene), scene)
    weighted = [overlay for overlay in Overlay if overlay.class_weighted]
    assert list(nodes.overlays)[:4] == weighted
    for overlay in weighted:
        node = nodes.overlays[overlay]
        display = node.GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (pytest.approx(0.3), 1.0)
        assert least_drawn(node, overlay, 0.0) == pytest.approx(0.3)
        assert least_drawn(node, overlay, 0.6) == pytest.approx(0.6)
        assert overlay.of_unit in legends_of(node)[0].GetTitleText()
    values = slicer.util.arrayFromVolume(nodes.overlays[Overlay.CLASS_DESC2])
    assert np.flatnonzero((values >= 0.3).any((1, 2))).min() >= 3 * (SLICES // 2) - 2
    again = result_of(nodes)
    assert again.class_activations.keys() == result.class_activations.keys()


def test_a_saved_scene_whose_evidence_lies_over_the_lungs_is_described_as_evidence_by_place(scene):
    """Earlier versions drew that of every model by place, as the part "overlay_evidence"."""
    image, labels = chest()
    ct = volume_node_from_image(image, "Chest", scene)
    nodes = show_result(dataclasses.replace(result_on(image, labels), slices=None), ct, scene)
    assert nodes.record.GetNodeReference("EmphysemaScannerPart_overlay_evidence") is nodes.overlays[Overlay.TERMS]
    assert "each place" in Overlay.TERMS.description()
    assert "not show where" in Overlay.EVIDENCE.description()
