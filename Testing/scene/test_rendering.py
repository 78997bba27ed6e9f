"""An overlay in 3D has the slice views' colours, and leaves with its result."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.scene.colours import ColourMap
from EmphysemaScannerLib.scene.overlays import Overlay
from EmphysemaScannerLib.scene.rendering import hide_in_3d, is_shown_in_3d, show_in_3d
from EmphysemaScannerLib.scene.result import remove_result, show_result
from EmphysemaScannerLib.scene.views import show_ct_alone, style_overlay
from EmphysemaScannerLib.scene.volumes import volume_node_from_image

from .factory import chest, result_on


@pytest.fixture(scope="module")
def case():
    image, labels = chest((40, 48, 48))
    return image, result_on(image, labels)


@pytest.fixture
def nodes(scene, case):
    image, result = case
    return show_result(result, volume_node_from_image(image, "CT", scene), scene)


@pytest.fixture
def logic(scene):
    # The application has registered this.
    slicer.vtkSegmentationConverterFactory.GetInstance().RegisterConverterRule(
        slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule()
    )
    new = slicer.vtkSlicerVolumeRenderingLogic()
    new.SetMRMLScene(scene)
    yield new
    new.SetMRMLScene(None)


def ids(scene) -> set[str]:
    return {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}


def properties_of(logic, nodes, overlay):
    return logic.GetFirstVolumeRenderingDisplayNode(nodes.overlays[overlay]).GetVolumePropertyNode().GetVolumeProperty()


def test_colours_and_threshold_are_those_of_the_slice_views(nodes, logic):
    style_overlay(nodes, Overlay.EVIDENCE, 0.4, ColourMap.VIRIDIS)
    show_in_3d(nodes, Overlay.EVIDENCE, logic)
    limit = nodes.overlays[Overlay.EVIDENCE].GetDisplayNode().GetWindowLevelMax()
    properties = properties_of(logic, nodes, Overlay.EVIDENCE)
    opacity = properties.GetScalarOpacity()
    assert [opacity.GetValue(share * limit) for share in (-0.35, 0.0, 0.35)] == [0, 0, 0]
    strengths = [opacity.GetValue(share * limit) for share in (0.45, 0.7, 1.0)]
    assert 0 < strengths[0] < strengths[1] < strengths[2] <= 1
    assert opacity.GetValue(-limit) == pytest.approx(strengths[2])
    assert properties.GetRGBTransferFunction().GetColor(limit) == pytest.approx((0.993, 0.906, 0.144), abs=0.01)
    style_overlay(nodes, Overlay.EVIDENCE, 0.0, ColourMap.GREY)
    show_in_3d(nodes, Overlay.EVIDENCE, logic)
    assert properties.GetScalarOpacity().GetValue(0.35 * limit) > 0
    assert properties.GetRGBTransferFunction().GetColor(limit) == pytest.approx((1, 1, 1))


def test_the_lungs_are_a_faint_surface_and_their_outlines_stay_hidden(nodes, logic):
    display = nodes.lungs.GetDisplayNode()
    assert not display.GetVisibility()
    show_in_3d(nodes, Overlay.EVIDENCE, logic)
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    assert nodes.lungs.GetSegmentation().ContainsRepresentation(surface)
    assert display.GetVisibility()
    assert display.GetVisibility3D()
    assert display.GetOpacity3D() < 0.5
    assert display.GetOpacity2DOutline() == 0
    hide_in_3d(nodes)
    assert not display.GetVisibility()
    assert display.GetOpacity2DOutline() == 1
    assert not nodes.lungs.GetSegmentation().ContainsRepresentation(surface)


def test_lungs_that_were_outlined_stay_so(nodes, logic):
    display = nodes.lungs.GetDisplayNode()
    display.SetVisibility(True)
    show_in_3d(nodes, Overlay.EVIDENCE, logic)
    assert display.GetOpacity2DOutline() == 1
    hide_in_3d(nodes)
    assert display.GetVisibility()


def test_one_overlay_at_a_time_is_shown_and_nothing_piles_up(scene, nodes, logic):
    before = ids(scene)
    show_in_3d(nodes, Overlay.EVIDENCE, logic)
    count = scene.GetNumberOfNodes()
    for overlay in (Overlay.ASC1, Overlay.DESC2, Overlay.EVIDENCE, Overlay.EVIDENCE):
        show_in_3d(nodes, overlay, logic)
        assert is_shown_in_3d(nodes)
        assert scene.GetNumberOfNodes() == count
        shown = [o for o in nodes.overlays if logic.GetFirstVolumeRenderingDisplayNode(nodes.overlays[o])]
        assert shown == [overlay]
    hide_in_3d(nodes)
    assert not is_shown_in_3d(nodes)
    assert ids(scene) == before


def test_another_cts_overlay_makes_room(scene, case, nodes, logic):
    image, result = case
    other = show_result(result, volume_node_from_image(image, "Other", scene), scene)
    show_in_3d(nodes, Overlay.EVIDENCE, logic)
    show_in_3d(other, Overlay.ASC1, logic)
    assert (is_shown_in_3d(nodes), is_shown_in_3d(other)) == (False, True)
    show_ct_alone(volume_node_from_image(image, "Third", scene))
    assert not is_shown_in_3d(other)


def test_a_rendering_leaves_with_its_result(scene, case, logic):
    image, result = case
    ct = volume_node_from_image(image, "CT", scene)
    remove_result(show_result(result, ct, scene))  # the subject hierarchy is there now
    before = ids(scene)
    nodes = show_result(result, ct, scene)
    show_in_3d(nodes, Overlay.ASC2, logic)
    again = show_result(result, ct, scene)
    assert not is_shown_in_3d(again)
    show_in_3d(again, Overlay.ASC2, logic)
    remove_result(again)
    assert ids(scene) == before


def test_cameras_turn_to_the_lungs_at_first_and_then_stay_as_the_user_wants(scene, nodes, logic):
    camera = scene.AddNewNodeByClass("vtkMRMLCameraNode")
    show_in_3d(nodes, Overlay.EVIDENCE, logic)
    bounds = np.zeros(6)
    nodes.lungs.GetRASBounds(bounds)
    assert camera.GetFocalPoint() == pytest.approx(bounds.reshape(3, 2).mean(axis=1))
    assert camera.GetPosition()[1] > bounds[3] + 100  # from the front
    camera.SetPosition(1.0, 2.0, 3.0)
    show_in_3d(nodes, Overlay.ASC1, logic)
    assert camera.GetPosition() == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_what_lies_outside_the_lungs_is_transparent_whatever_the_threshold(nodes, logic, threshold):
    style_overlay(nodes, Overlay.ASC1, threshold, ColourMap.STANDARD)
    show_in_3d(nodes, Overlay.ASC1, logic)
    display = nodes.overlays[Overlay.ASC1].GetDisplayNode()
    assert display.GetWindowLevelMin() > 0.1
    opacity = properties_of(logic, nodes, Overlay.ASC1).GetScalarOpacity()
    assert opacity.GetValue(0.0) == 0
    assert opacity.GetValue(display.GetWindowLevelMax()) > 0
