"""A result is rebuilt from its scene, also from a saved one, and takes an attribution as one more overlay."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from EmphysemaScannerLib.base.errors import RecordError
from EmphysemaScannerLib.ct.grid import canonical
from EmphysemaScannerLib.scan.result import OverlayMap
from EmphysemaScannerLib.scan.serialise import result_to_dict, result_to_json
from EmphysemaScannerLib.scene import result as result_module
from EmphysemaScannerLib.scene.export import save_scene
from EmphysemaScannerLib.scene.overlays import Overlay
from EmphysemaScannerLib.scene.result import (
    add_attribution,
    find_result,
    is_part_of_a_result,
    remove_result,
    result_of,
    show_result,
)
from EmphysemaScannerLib.scene.standalone import open_scene, standalone_scene
from EmphysemaScannerLib.scene.straighten import image_from_volume_node
from EmphysemaScannerLib.scene.views import set_overlay
from EmphysemaScannerLib.scene.volumes import volume_node_from_image

from .factory import chest, result_on


@pytest.fixture(scope="module")
def case():
    image, labels = chest()
    return image, result_on(image, labels)


def stored(image: sitk.Image) -> sitk.Image:
    """The same CT in another axis order, mirrored, and turned by some degrees."""
    rotation = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.15, 0.3)
    out = sitk.Image(image)
    turned = np.array(rotation.GetMatrix()).reshape(3, 3) @ np.array(image.GetDirection()).reshape(3, 3)
    out.SetDirection(turned.ravel().tolist())
    out.SetOrigin(rotation.TransformPoint(image.GetOrigin()))
    return sitk.Flip(sitk.PermuteAxes(out, [2, 0, 1]), [True, False, False])


def attribution_on(result, seed: int = 0):
    """As ``scan.attribution.attribute`` gives it: sparse, of both signs, on the network's input grid."""
    rng = np.random.default_rng(seed)
    lung = result.lung_fraction.values > 0.5
    values = np.where(lung & (rng.random(lung.shape) < 0.02), rng.normal(0, 1e-3, lung.shape), 0).astype(np.float32)
    return SimpleNamespace(values=OverlayMap(values, result.lung_fraction.grid), difference=0.5, gap=0.01)


def assert_same(rebuilt, result) -> None:
    assert np.array_equal(rebuilt.lung_mask.values, result.lung_mask.values)
    assert rebuilt.lung_mask.grid.shape == result.lung_mask.grid.shape
    for ours, theirs in ((rebuilt.lung_mask, result.lung_mask), (rebuilt.evidence, result.evidence)):
        assert ours.grid.ijk_to_ras() == pytest.approx(theirs.grid.ijk_to_ras(), abs=1e-6)
    assert np.allclose(rebuilt.lung_fraction.values, result.lung_fraction.values, rtol=0, atol=1e-6)
    assert np.array_equal(rebuilt.evidence.values, result.evidence.values)
    assert rebuilt.bias + rebuilt.slices.evidence.sum() == pytest.approx(result.logit)
    assert result_to_dict(rebuilt) == result_to_dict(result)
    assert rebuilt.activations.keys() == result.activations.keys()
    for unit, activation in result.activations.items():
        assert np.allclose(rebuilt.activations[unit].values, activation.values, rtol=1e-3, atol=0)


@pytest.mark.parametrize("oblique", [False, True], ids=["as stored", "oblique, mirrored, sagittal"])
def test_a_result_is_rebuilt_from_the_scene(scene, case, oblique):
    image, result = case
    if oblique:
        image = stored(image)
        labels = (sitk.GetArrayFromImage(canonical(image)) == -870).astype(np.uint8)
        result = result_on(image, labels * np.where(np.arange(labels.shape[2]) < 40, 1, 2).astype(np.uint8))
    ct = volume_node_from_image(image, "CT", scene)
    count = scene.GetNumberOfNodes()
    nodes = show_result(result, ct, scene)
    added = scene.GetNumberOfNodes()
    assert_same(result_of(nodes), result)
    assert scene.GetNumberOfNodes() == added > count


def test_a_result_is_rebuilt_as_it_was_scanned_though_the_ct_has_been_moved(scene, case):
    image, result = case
    ct = volume_node_from_image(image, "CT", scene)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    ct.SetAndObserveTransformNodeID(transform.GetID())
    nodes = show_result(result, ct, scene)
    moved = np.eye(4)
    moved[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    moved[:3, 3] = [5.0, 6.0, 7.0]
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    assert_same(result_of(nodes), result)


def test_lungs_that_somebody_has_edited_are_taken_as_they_are_now(scene, case):
    image, result = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    segmentation = nodes.lungs.GetSegmentation()
    segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName("Left lung"))
    rebuilt = result_of(nodes)
    assert np.array_equal(rebuilt.lung_mask.values, np.where(result.lung_mask.values == 1, 1, 0))
    shifted = slicer.vtkOrientedImageData()
    right = segmentation.GetSegmentIdBySegmentName("Right lung")
    nodes.lungs.GetBinaryLabelmapRepresentation(right, shifted)
    across, up, through = shifted.GetOrigin()
    shifted.SetOrigin(across, up, through + 0.7 * shifted.GetSpacing()[2])  # off the CT's grid
    nodes.lungs.RemoveSegment(right)
    nodes.lungs.AddSegmentFromBinaryLabelmapRepresentation(shifted, "Right lung", [1.0, 0.0, 0.0])
    again = result_of(nodes).lung_mask.values
    overlap = 2 * (again & rebuilt.lung_mask.values).sum() / (again.sum() + rebuilt.lung_mask.values.sum())
    assert 0.97 < overlap < 1


def test_a_saved_scene_gives_the_same_result_with_its_attribution(case, tmp_path):
    image, result = case
    with standalone_scene() as scene:
        nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
        shown = add_attribution(nodes, attribution_on(result))
        before = slicer.util.arrayFromVolume(shown.overlays[Overlay.GRADIENT]).copy()
        save_scene(scene, tmp_path / "scene.mrb")
    with standalone_scene() as scene:
        open_scene(scene, tmp_path / "scene.mrb")
        ct = next(n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetName() == "CT")
        nodes = find_result(ct)
        rebuilt = result_of(nodes)
        assert np.array_equal(slicer.util.arrayFromVolume(nodes.overlays[Overlay.GRADIENT]), before)
        assert image_from_volume_node(ct).GetSize() == image.GetSize()
        count = scene.GetNumberOfNodes()
        again = show_result(rebuilt, ct, scene)
        assert Overlay.GRADIENT not in again.overlays  # it was of the earlier scan
        assert scene.GetNumberOfNodes() < count
    assert_same(rebuilt, result)


def test_a_damaged_record_is_said_to_be_damaged(scene, case):
    image, result = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    nodes.record.SetText(nodes.record.GetText()[:-200])
    with pytest.raises(RecordError, match="scan the CT again"):
        result_of(nodes)


def test_an_attribution_is_one_more_overlay_in_the_results_folder(scene, case):
    image, result = case
    ct = volume_node_from_image(image, "CT", scene)
    nodes = show_result(result, ct, scene)
    attribution = attribution_on(result)
    shown = add_attribution(nodes, attribution)
    assert find_result(ct) == shown
    assert set(shown.overlays) == {*nodes.overlays, Overlay.GRADIENT}
    volume = shown.overlays[Overlay.GRADIENT]
    assert volume.GetName() == "CT gradient attribution"
    assert volume.GetNthDisplayNode(1).GetTitleText().startswith("Gradient")
    display = volume.GetDisplayNode()
    assert display.GetWindowLevelMin() == -display.GetWindowLevelMax()
    sizes = np.abs(attribution.values.values)
    assert 0 < display.GetWindowLevelMax() <= sizes.max()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in (volume, nodes.record)}
    assert len(folders) == 1


def test_another_attribution_takes_the_place_of_the_first_also_in_the_views(scene, case):
    image, result = case
    layers = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    first = add_attribution(nodes, attribution_on(result))
    set_overlay(first, Overlay.GRADIENT)
    count = scene.GetNumberOfNodes()
    second = add_attribution(first, attribution_on(result, seed=1))
    assert scene.GetNumberOfNodes() == count
    assert first.overlays[Overlay.GRADIENT].GetScene() is None
    assert layers.GetForegroundVolumeID() == second.overlays[Overlay.GRADIENT].GetID()


def test_an_attribution_leaves_with_its_result(scene, case):
    image, result = case
    ct = volume_node_from_image(image, "CT", scene)
    remove_result(show_result(result, ct, scene))
    count = scene.GetNumberOfNodes()
    remove_result(add_attribution(show_result(result, ct, scene), attribution_on(result)))
    assert scene.GetNumberOfNodes() == count


def test_an_attribution_that_fails_leaves_the_scene_as_it_was(scene, case, monkeypatch):
    image, result = case
    ct = volume_node_from_image(image, "CT", scene)
    nodes = show_result(result, ct, scene)
    count = scene.GetNumberOfNodes()

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(result_module, "put_into", full)
    with pytest.raises(MemoryError):
        add_attribution(nodes, attribution_on(result))
    assert scene.GetNumberOfNodes() == count
    assert find_result(ct) == nodes


def test_an_attribution_without_any_value_is_no_error(scene, case):
    image, result = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    nothing = attribution_on(result)
    nothing.values = dataclasses.replace(nothing.values, values=np.zeros_like(nothing.values.values))
    display = add_attribution(nodes, nothing).overlays[Overlay.GRADIENT].GetDisplayNode()
    assert display.GetWindowLevelMin() < display.GetWindowLevelMax()


def test_parts_of_a_result_are_told_from_other_nodes(scene, case):
    image, result = case
    ct = volume_node_from_image(image, "CT", scene)
    nodes = show_result(result, ct, scene)
    assert all(is_part_of_a_result(node) for node in nodes.parts().values())
    assert not is_part_of_a_result(ct)


def test_what_an_earlier_version_saved_is_left_alone_until_the_next_scan(scene, case):
    image, result = case
    ct = volume_node_from_image(image, "CT", scene)
    remove_result(show_result(result, ct, scene))
    count = scene.GetNumberOfNodes()
    nodes = show_result(result, ct, scene)
    whole = scene.GetNumberOfNodes()
    # Then a record had no maps, its parts other names, and there was one chart of each kind.
    nodes.record.SetText(result_to_json(result))
    nodes.record.SetAttribute("EmphysemaScanner.Record", "1")
    role = "EmphysemaScannerPart_"
    nodes.record.SetNodeReferenceID(role + "evidence_chart", nodes.record.GetNodeReferenceID(role + "chart_evidence"))
    nodes.record.SetNodeReferenceID(role + "chart_evidence", None)
    assert find_result(ct) is None
    assert is_part_of_a_result(nodes.overlays[Overlay.EVIDENCE])
    new = show_result(result, ct, scene)
    assert scene.GetNumberOfNodes() == whole
    assert find_result(ct) == new
    remove_result(new)
    assert scene.GetNumberOfNodes() == count
