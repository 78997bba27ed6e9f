"""Slicer's slice views draw the right thing in the right place; golden pictures are looked at when they change.

To renew them: run pytest with the environment variable RENEW_GOLDEN=1, look at the files, commit them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import Grid, canonical
from EmphysemaScannerLib.scene import offscreen
from EmphysemaScannerLib.scene.colours import ColourMap
from EmphysemaScannerLib.scene.offscreen import Layers, Orientation, RenderingUnavailableError, render_slice, slice_view
from EmphysemaScannerLib.scene.overlays import Overlay, legends_of
from EmphysemaScannerLib.scene.result import show_result
from EmphysemaScannerLib.scene.segmentations import add_lesions
from EmphysemaScannerLib.scene.straighten import image_from_volume_node
from EmphysemaScannerLib.scene.views import CTWindow, style_overlay, use_window
from EmphysemaScannerLib.scene.volumes import volume_node_from_image
from scipy import ndimage

from .factory import chest, result_on

GOLDEN = Path(__file__).parent / "golden"
CENTRE = np.array([0.0, 0.0, 0.0])
FIELD = (400.0, 300.0)
SIZE = (400, 300)


@pytest.fixture
def shown(scene):
    image, labels = chest()
    image.SetOrigin(
        (-np.array(image.TransformContinuousIndexToPhysicalPoint((47.5, 47.5, 34.5))) + image.GetOrigin()).tolist()
    )
    ct = volume_node_from_image(image, "Chest", scene)
    use_window(ct, CTWindow.LUNG)
    return show_result(result_on(image, labels), ct, scene), labels


def drawn_differs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int)).max(axis=2) > 8


def coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 80  # more than the yellowish letters


@pytest.mark.parametrize("name", ["axial_evidence", "coronal_evidence", "sagittal_activation", "axial_lesions"])
def test_pictures_look_as_they_did_when_somebody_looked_at_them(shown, name):
    nodes, labels = shown
    plane, what = name.split("_")
    overlay = {"evidence": Overlay.EVIDENCE, "activation": Overlay.DESC2, "lesions": None}[what]
    centre = {"axial": [0.0, 0.0, 60.0], "coronal": [0.0, 10.0, 0.0], "sagittal": [78.0, 0.0, 0.0]}[plane]
    if what == "lesions":
        lesions = np.zeros_like(labels)
        lesions[45:52, 40:48, 20:30] = 1
        add_lesions(nodes.ct.GetScene(), lesions, ct_grid(nodes), "Lesions", nodes.ct)
    layers = Layers(nodes.ct, nodes.overlays[overlay] if overlay else None, caption=name)
    picture = render_slice(layers, Orientation[plane.upper()], np.array(centre), FIELD, SIZE)
    golden = GOLDEN / f"{name}.png"
    if os.environ.get("RENEW_GOLDEN"):
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(golden))
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(golden))).astype(int)
    assert picture.shape == expected.shape
    difference = np.abs(picture.astype(int) - expected)
    assert difference.mean() < 1.0  # fonts and rounding differ between OpenGL drivers
    assert (difference.max(axis=2) > 40).mean() < 0.01


def ct_grid(nodes):
    return Grid.of_image(canonical(image_from_volume_node(nodes.ct)))


@pytest.mark.parametrize("orientation", list(Orientation))
def test_nothing_of_an_overlay_is_drawn_more_than_a_voxel_outside_the_lungs(shown, orientation):
    nodes, _ = shown
    centre = np.array([78.0, 0.0, 0.0])
    style_overlay(nodes, Overlay.ASC2, 0.0, ColourMap.STANDARD)
    nodes.overlays[Overlay.ASC2].GetDisplayNode().SetThreshold(1e-6, 1e6)  # all that is not exactly outside
    plain = render_slice(Layers(nodes.ct), orientation, centre, FIELD, SIZE)
    overlay = nodes.overlays[Overlay.ASC2]
    legend = overlay.GetNthDisplayNode(1)
    legend.SetVisibility(False)
    covered = drawn_differs(render_slice(Layers(nodes.ct, overlay), orientation, centre, FIELD, SIZE), plain)
    # the lungs as the CT's voxels have them, as an overlay of full colour
    lungs = lungs_in_plane(orientation, centre)
    assert covered[lungs].mean() > 0.97
    outside_mm = ndimage.distance_transform_edt(~lungs)[covered].max()  # pixels of 1 mm
    # Half a CT voxel, half a display voxel by the mask, one more by the view's interpolation.
    assert outside_mm <= 3.75 / 2 + 1.5 * 2.8


def lungs_in_plane(orientation: Orientation, centre: np.ndarray) -> np.ndarray:
    """The made-up chest's two ellipsoids, cut by the picture's plane at pixels' centres."""
    across, up, through = orientation.axes
    ras = np.zeros((*SIZE[::-1], 3))
    sideways = -1.0  # the patient's right, or front, is at the picture's left
    ras[..., across] = centre[across] + sideways * (np.arange(SIZE[0]) - (SIZE[0] - 1) / 2)[None, :]
    ras[..., up] = centre[up] - (np.arange(SIZE[1]) - (SIZE[1] - 1) / 2)[:, None]
    ras[..., through] = centre[through]
    left, post, s = -ras[..., 0], -ras[..., 1], ras[..., 2]
    return np.any([((left - c) / 55) ** 2 + (post / 82) ** 2 + (s / 122) ** 2 < 1 for c in (-78, 78)], axis=0)


@pytest.mark.parametrize("orientation", list(Orientation))
def test_a_marker_is_drawn_where_the_patient_has_it(scene, orientation):
    values = np.full((40, 40, 40), -1000, np.int16)
    values[25, 12, 30] = 1000
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((4.0, 4.0, 4.0))
    image.SetOrigin((-78.0, -78.0, -78.0))
    ct = volume_node_from_image(image, "CT", scene)
    ct.GetDisplayNode().SetInterpolate(False)
    use_window(ct, CTWindow.LUNG)
    marker = np.array(image.TransformIndexToPhysicalPoint((30, 12, 25))) * [-1, -1, 1]
    picture = render_slice(
        Layers(ct), orientation, np.where(np.arange(3) == orientation.axes[2], marker, 0), (160, 160), (320, 320)
    )
    row, column = np.argwhere(picture.min(axis=2) > 250).mean(0)
    across, up, _ = orientation.axes
    expected_column = 159.5 - 2 * marker[across]  # right, or front, of the patient at the left
    expected_row = 159.5 - 2 * marker[up]
    assert (row, column) == pytest.approx((expected_row, expected_column), abs=4)  # half a voxel


def test_the_legend_and_texts_cover_little_and_are_not_clipped(shown):
    nodes, _ = shown
    far = np.array([1000.0, 0.0, 0.0])  # beside the patient: only legend and texts are drawn
    picture = render_slice(
        Layers(nodes.ct, nodes.overlays[Overlay.EVIDENCE]), Orientation.SAGITTAL, far, (300, 300), (600, 600)
    )
    written = picture.max(axis=2) > 60
    assert 0.001 < written.mean() < 0.03
    edges = np.concatenate([written[:2].ravel(), written[-2:].ravel(), written[:, :2].ravel(), written[:, -2:].ravel()])
    assert not edges.any()
    assert coloured(picture)[:, 480:].any()
    assert not written[:250, 450:].any()


def test_rendering_leaves_the_scene_as_it_was(shown):
    nodes, _ = shown
    scene = nodes.ct.GetScene()
    before = [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]
    for _ in range(2):
        render_slice(Layers(nodes.ct, nodes.overlays[Overlay.ASC1]), Orientation.AXIAL, CENTRE, FIELD, SIZE)
    assert [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())] == before


def test_one_view_draws_one_overlay_after_another_without_leftovers(shown):
    nodes, _ = shown
    wanted = Layers(nodes.ct, nodes.overlays[Overlay.EVIDENCE])
    alone = render_slice(wanted, Orientation.AXIAL, CENTRE, FIELD, SIZE)
    with slice_view(nodes.ct.GetScene(), SIZE) as view:
        view.render(Layers(nodes.ct, nodes.overlays[Overlay.DESC1]), Orientation.CORONAL, CENTRE, FIELD)
        after = view.render(wanted, Orientation.AXIAL, CENTRE, FIELD)
        plain = view.render(Layers(nodes.ct), Orientation.AXIAL, CENTRE, FIELD)
    assert np.array_equal(after, alone)
    assert drawn_differs(plain, alone).any()
    assert not coloured(plain)[:, 300:].any()  # its legend has gone with the overlay


def test_a_picture_has_its_legend_also_where_the_window_shows_it_in_one_view_alone(shown):
    nodes, _ = shown
    layers = Layers(nodes.ct, nodes.overlays[Overlay.EVIDENCE], 0.5)
    before = render_slice(layers, Orientation.AXIAL, CENTRE, FIELD, SIZE)
    (legend,) = legends_of(nodes.overlays[Overlay.EVIDENCE])
    legend.AddViewNodeID("vtkMRMLSliceNodeElsewhere")
    assert np.array_equal(render_slice(layers, Orientation.AXIAL, CENTRE, FIELD, SIZE), before)
    assert legend.GetNumberOfViewNodeIDs() == 1
    legend.RemoveAllViewNodeIDs()


def test_a_machine_without_opengl_is_told_what_to_install(shown, monkeypatch):
    nodes, _ = shown
    monkeypatch.setattr(offscreen, "_loads", lambda *names: False)
    monkeypatch.setattr(offscreen.sys, "platform", "linux")
    count = nodes.ct.GetScene().GetNumberOfNodes()
    with pytest.raises(RenderingUnavailableError, match="apt-get install libegl1 libgl1"):
        render_slice(Layers(nodes.ct), Orientation.AXIAL, CENTRE, FIELD, SIZE)
    assert nodes.ct.GetScene().GetNumberOfNodes() == count
