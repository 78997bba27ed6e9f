"""A result in the scene: complete, beside its CT, replaced by the next one, and never there by halves."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.scan.serialise import result_to_dict
from EmphysemaScannerLib.scene import result as result_module
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.colours import ColourMap
from EmphysemaScannerLib.scene.overlays import Overlay, legends_of, style
from EmphysemaScannerLib.scene.result import find_result, mask_is_edited, mask_of, remove_result, show_result
from EmphysemaScannerLib.scene.views import composite_nodes, set_overlay
from EmphysemaScannerLib.scene.volumes import volume_node_from_image

from .factory import chest, result_on


@pytest.fixture(scope="module")
def case():
    image, labels = chest()
    return image, result_on(image, labels), result_on(image, labels, seed=1)


def node_ids(scene) -> list[str]:
    return [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]


def hierarchy_of(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def column(node, title) -> np.ndarray:
    return slicer.util.arrayFromTableColumn(node, title)


def test_tables_hold_the_results_numbers_in_reading_order(scene, case):
    image, result, _ = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    assert np.array_equal(column(nodes.slice_table, "Evidence (logit)"), result.slices.evidence)
    assert np.array_equal(column(nodes.slice_table, "Position S (mm)"), result.slice_positions_mm)
    assert np.array_equal(column(nodes.slice_table, "Running probability"), result.slices.running_probability)
    assert np.array_equal(column(nodes.slice_table, "Slice"), result.slice_indices)
    assert np.isnan(column(nodes.slice_table, "LAA%-950")).sum() == 2 + 2
    densitometry = nodes.densitometry_table.GetTable()
    assert densitometry.GetValueByName(0, "Region").ToString() == "whole"
    assert densitometry.GetValueByName(0, "Perc15 (HU)").ToDouble() == -921.0


def test_evidence_and_probability_do_not_share_a_chart(scene, case):
    image, result, _ = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    drawn = {
        chart: {node.GetNthPlotSeriesNode(i).GetXColumnName() for i in range(node.GetNumberOfPlotSeriesNodes())}
        for chart, node in nodes.charts.items()
    }
    assert drawn[Chart.EVIDENCE] == {"Evidence (logit)", "evidence"}  # the second is the marker
    assert drawn[Chart.PROBABILITY] == {"Running probability", "Operating point", "probability"}
    assert tuple(nodes.charts[Chart.PROBABILITY].GetXAxisRange()) == (0.0, 1.0)


def test_the_record_says_probability_model_and_operating_point(scene, case):
    image, result, _ = case
    record = show_result(result, volume_node_from_image(image, "CT", scene), scene).record
    assert json.loads(record.GetText()).items() >= json.loads(json.dumps(result_to_dict(result))).items()
    assert float(record.GetAttribute("EmphysemaScanner.Probability")) == pytest.approx(result.probability, abs=1e-6)
    assert record.GetAttribute("EmphysemaScanner.Model") == "made up for tests"
    assert record.GetAttribute("EmphysemaScanner.OperatingPoint") == "0.400000 (made up)"
    assert record.GetAttribute("EmphysemaScanner.Call") == result.call.value


def test_everything_is_named_after_the_ct_and_lies_in_a_folder_of_its_study(scene, case):
    image, result, _ = case
    ct = volume_node_from_image(image, "Thorax 1.0", scene)
    hierarchy = hierarchy_of(scene)
    study = hierarchy.CreateStudyItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient"), "Study")
    hierarchy.CreateItem(study, ct)
    nodes = show_result(result, ct, scene)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in nodes.parts().values()}
    assert len(folders) == 1
    assert hierarchy.GetItemParent(folders.pop()) == study
    named = [node for node in nodes.parts().values() if node not in nodes.series.values()]  # those name the legend
    assert all(node.GetName().startswith("Thorax 1.0 ") for node in (*named, nodes.record))


def test_scanning_again_replaces_the_result_and_piles_up_nothing(scene, case):
    image, first, second = case
    ct = volume_node_from_image(image, "CT", scene)
    earlier = show_result(first, ct, scene)
    count, items = scene.GetNumberOfNodes(), hierarchy_of(scene).GetNumberOfItems()
    nodes = show_result(second, ct, scene)
    assert scene.GetNumberOfNodes() == count
    assert hierarchy_of(scene).GetNumberOfItems() == items
    assert earlier.record.GetScene() is None
    assert column(nodes.slice_table, "Evidence (logit)") == pytest.approx(second.slices.evidence)
    assert nodes.slice_table.GetName() == "CT slices"
    assert find_result(ct) == nodes


def test_views_that_showed_the_earlier_result_show_the_new_one(scene, case):
    image, first, second = case
    ct = volume_node_from_image(image, "CT", scene)
    layers = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    plot = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    earlier = show_result(first, ct, scene)
    set_overlay(earlier, Overlay.DESC1, 0.3)
    plot.SetPlotChartNodeID(earlier.charts[Chart.LAA].GetID())
    nodes = show_result(second, ct, scene)
    assert layers.GetForegroundVolumeID() == nodes.overlays[Overlay.DESC1].GetID()
    assert layers.GetForegroundOpacity() == pytest.approx(0.3)
    assert plot.GetPlotChartNodeID() == nodes.charts[Chart.LAA].GetID()


def test_two_cts_keep_their_results_side_by_side(scene, case):
    image, first, second = case
    cts = [volume_node_from_image(image, "CT", scene) for _ in range(2)]
    one, two = show_result(first, cts[0], scene), show_result(second, cts[1], scene)
    assert (find_result(cts[0]), find_result(cts[1])) == (one, two)
    assert set(one.parts().values()).isdisjoint(two.parts().values())
    remove_result(one)
    assert find_result(cts[0]) is None
    assert find_result(cts[1]) == two


def test_removing_a_result_leaves_nothing_of_it(scene, case):
    image, result, _ = case
    ct = volume_node_from_image(image, "CT", scene)
    hierarchy = hierarchy_of(scene)
    before, items = set(node_ids(scene)), hierarchy.GetNumberOfItems()
    remove_result(show_result(result, ct, scene))
    assert set(node_ids(scene)) == before
    assert hierarchy.GetNumberOfItems() == items


def test_a_folder_that_the_user_put_something_into_stays(scene, case):
    image, result, _ = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    hierarchy = hierarchy_of(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.record))
    note = hierarchy.CreateFolderItem(folder, "My notes")
    remove_result(nodes)
    assert hierarchy.GetItemParent(note) == folder


@pytest.mark.parametrize("step", ["display_map", "chart_contents", "add_overlay", "add_lungs", "_put_in_folder"])
def test_an_error_midway_leaves_the_scene_as_it_was(scene, case, step, monkeypatch):
    image, first, second = case
    ct = volume_node_from_image(image, "CT", scene)
    earlier = show_result(first, ct, scene)
    ids, items = node_ids(scene), hierarchy_of(scene).GetNumberOfItems()
    work = getattr(result_module, step)
    if step in ("add_overlay", "add_lungs"):  # which are called where the earlier result's nodes cannot be taken over
        monkeypatch.setattr(result_module, "can_redraw", lambda _node: False)
        monkeypatch.setattr(result_module, "can_redraw_lungs", lambda _node: False)

    def fails_after_working(*args):
        work(*args)
        raise MemoryError

    monkeypatch.setattr(result_module, step, fails_after_working)
    with pytest.raises(MemoryError):
        show_result(second, ct, scene)
    assert node_ids(scene) == ids
    assert hierarchy_of(scene).GetNumberOfItems() == items
    assert find_result(ct) == earlier
    assert np.array_equal(column(earlier.chart_table, "Running probability")[1::3], first.slices.running_probability)


def test_a_result_that_replaces_another_takes_over_its_nodes_and_draws_its_own_numbers(scene, case):
    """Slicer remembers every node that was ever in a scene."""
    image, first, second = case
    ct = volume_node_from_image(image, "CT", scene)
    before = show_result(first, ct, scene)
    style(before.overlays[Overlay.EVIDENCE], Overlay.EVIDENCE, 0.9, ColourMap.GREY)
    kept = [before.chart_table, before.marker_table, *before.series.values(), *before.charts.values()]
    kept += [overlay.GetDisplayNode().GetColorNode() for overlay in before.overlays.values()]
    kept += [before.lungs, *before.overlays.values(), *(legends_of(node)[0] for node in before.overlays.values())]
    ids = [node.GetID() for node in kept]
    again = show_result(second, ct, scene)
    parts = again.parts().values()
    assert [node.GetID() for node in kept] == ids
    helpers = ("vtkMRMLColorTableNode", "vtkMRMLColorLegendDisplayNode")
    assert {node for node in kept if not any(map(node.IsA, helpers))} <= set(parts)
    alone = show_result(second, volume_node_from_image(image, "CT", scene), scene)
    for title in ("Evidence (logit)", "LAA%-950", "asc1", "Running probability"):
        assert np.array_equal(column(again.chart_table, title), column(alone.chart_table, title), equal_nan=True)
    assert np.array_equal(column(again.marker_table, "evidence"), column(alone.marker_table, "evidence"))
    for chart, node in again.charts.items():
        assert tuple(node.GetXAxisRange()) == tuple(alone.charts[chart].GetXAxisRange())
    for overlay, node in again.overlays.items():
        tables = [n.GetDisplayNode().GetColorNode() for n in (node, alone.overlays[overlay])]
        assert np.array_equal(slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(alone.overlays[overlay]))
        assert node.GetDisplayNode().GetWindowLevelMax() == alone.overlays[overlay].GetDisplayNode().GetWindowLevelMax()
        legends = [legends_of(n)[0].GetLabelFormat() for n in (node, alone.overlays[overlay])]
        assert legends[0] == legends[1]
        colours = [[[*(table.GetLookupTable().GetTableValue(i))] for i in range(255)] for table in tables]
        assert colours[0] == colours[1]
    assert np.array_equal(mask_of(again), second.lung_mask.values)
    assert not mask_is_edited(again)
    hierarchy = hierarchy_of(scene)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (again.record, *parts)}
    assert len(folders) == 1
    remove_result(again)
    assert not {node.GetID() for node in kept} & set(node_ids(scene))


def test_an_error_on_the_first_result_leaves_no_trace_in_the_scene(scene, case, monkeypatch):
    image, result, _ = case
    ct = volume_node_from_image(image, "CT", scene)
    hierarchy_of(scene)
    ids = node_ids(scene)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(result_module, "add_lungs", full)
    with pytest.raises(MemoryError):
        show_result(result, ct, scene)
    assert node_ids(scene) == ids


def test_an_overlay_lies_over_the_ct_in_every_slice_view_and_can_be_taken_away(scene, case):
    image, result, _ = case
    ct = volume_node_from_image(image, "CT", scene)
    nodes = show_result(result, ct, scene)
    for name in ("Red", "Green"):
        scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode").SetLayoutName(name)
    set_overlay(nodes, Overlay.ASC2, 0.7)
    shown = {(c.GetBackgroundVolumeID(), c.GetForegroundVolumeID()) for c in composite_nodes(scene)}
    assert shown == {(ct.GetID(), nodes.overlays[Overlay.ASC2].GetID())}
    set_overlay(nodes, None, layers=composite_nodes(scene)[:1])
    assert [c.GetForegroundVolumeID() is None for c in composite_nodes(scene)] == [True, False]


def test_what_the_user_changed_of_a_result_is_not_drawn_anew_and_its_segments_stay(scene, case):
    image, first, second = case
    ct = volume_node_from_image(image, "CT", scene)
    before = show_result(first, ct, scene)
    other = scene.AddNewNodeByClass("vtkMRMLColorTableNode")
    before.overlays[Overlay.DESC1].GetDisplayNode().SetAndObserveColorNodeID(other.GetID())
    before.lungs.GetSegmentation().GetNthSegment(0).SetName("My right lung")
    changed, kept = before.overlays[Overlay.DESC1].GetID(), before.overlays[Overlay.ASC1].GetID()
    lungs = before.lungs
    again = show_result(second, ct, scene)
    assert again.overlays[Overlay.DESC1].GetID() != changed
    assert again.overlays[Overlay.ASC1].GetID() == kept
    assert again.lungs is not lungs
    assert (lungs.GetScene(), lungs.GetName()) == (scene, "CT lungs (edited)")
    assert other.GetScene() is scene


def test_a_result_of_a_ct_that_was_moved_moves_with_it(scene, case):
    image, first, second = case
    ct = volume_node_from_image(image, "CT", scene)
    show_result(first, ct, scene)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    ct.SetAndObserveTransformNodeID(transform.GetID())
    again = show_result(second, ct, scene)
    moved = (again.lungs, *again.overlays.values())
    assert all(node.GetParentTransformNode() is transform for node in moved)
