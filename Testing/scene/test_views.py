"""Layouts, and what slice and plot views show of a result or of a CT that has none."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.scene import views
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.overlays import Overlay
from EmphysemaScannerLib.scene.result import show_result
from EmphysemaScannerLib.scene.volumes import volume_node_from_image

from .factory import chest, result_on, with_evidence


@pytest.fixture(scope="module")
def case():
    image, labels = chest()
    return image, result_on(image, labels)


@pytest.fixture
def nodes(scene, case):
    image, result = case
    return show_result(result, volume_node_from_image(image, "CT", scene), scene)


@pytest.fixture
def layout(scene):
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(scene)
    yield logic.GetLayoutNode()
    logic.SetMRMLScene(None)


def slice_views(scene) -> dict:
    """A slice logic makes the composite node of each slice view."""
    made = {}
    for tag in ("Red", "Green", "Yellow"):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(scene)
        logic.SetSliceNode(scene.GetSingletonNode(tag, "vtkMRMLSliceNode"))
        made[tag] = logic
    return made


def chart_ids(scene) -> list[str | None]:
    return [scene.GetSingletonNode(t, "vtkMRMLPlotViewNode").GetPlotChartNodeID() for t in ("PlotView1", "PlotView2")]


def test_a_large_axial_view_is_first_and_two_plots_are_below_in_both_layouts():
    for number, with_3d in ((views.READING_LAYOUT, False), (views.READING_LAYOUT_3D, True)):
        root = ET.fromstring(views.READING_LAYOUTS[number])
        above, below = root.findall("item")
        tags = [view.get("singletontag") for view in above.iter("view")]
        assert tags == ["Red", "Green", "1" if with_3d else "Yellow"]
        assert [view.get("singletontag") for view in below.iter("view")] == ["PlotView1", "PlotView2"]
        sizes = [int(item.get("splitSize")) for item in above.find("layout").findall("item")]
        assert sizes[0] == max(sizes)


@pytest.mark.parametrize("with_3d", [False, True])
def test_a_layout_makes_the_views_and_is_known_after_switching_back_and_forth(scene, layout, with_3d):
    views.use_layout(layout, with_3d)
    assert layout.GetViewArrangement() in views.READING_LAYOUTS
    assert layout.GetViewArrangement() == (views.READING_LAYOUT_3D if with_3d else views.READING_LAYOUT)
    views.use_layout(layout, not with_3d)
    views.use_layout(layout, with_3d)
    assert scene.GetSingletonNode("PlotView2", "vtkMRMLPlotViewNode") is not None
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode") == 2


def test_evidence_is_at_the_left_and_the_chosen_chart_at_the_right(scene, nodes, layout):
    views.use_layout(layout, False)
    for chart in nodes.charts:
        views.show_charts(nodes, chart)
        assert chart_ids(scene) == [nodes.charts[Chart.EVIDENCE].GetID(), nodes.charts[chart].GetID()]


def test_showing_charts_without_plot_views_does_nothing(scene, nodes):
    count = scene.GetNumberOfNodes()
    views.show_charts(nodes, Chart.LAA)
    assert scene.GetNumberOfNodes() == count


def test_clearing_takes_our_charts_away_and_leaves_others(scene, nodes, layout):
    views.use_layout(layout, False)
    views.show_charts(nodes, Chart.LAA)
    other = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    scene.GetSingletonNode("PlotView2", "vtkMRMLPlotViewNode").SetPlotChartNodeID(other.GetID())
    views.clear_charts(scene)
    assert chart_ids(scene) == [None, other.GetID()]


def test_a_ct_without_result_is_shown_without_anything_of_another(scene, case, nodes, layout):
    image, _ = case
    views.use_layout(layout, False)
    logics = slice_views(scene)
    views.set_overlay(nodes, Overlay.EVIDENCE)
    views.show_charts(nodes)
    mine = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    logics["Yellow"].GetSliceCompositeNode().SetForegroundVolumeID(mine.GetID())
    new = volume_node_from_image(image, "New", scene)
    views.show_ct_alone(new)
    shown = {tag: logic.GetSliceCompositeNode() for tag, logic in logics.items()}
    assert {c.GetBackgroundVolumeID() for c in shown.values()} == {new.GetID()}
    assert shown["Red"].GetForegroundVolumeID() is None
    assert shown["Green"].GetForegroundVolumeID() is None
    assert shown["Yellow"].GetForegroundVolumeID() == mine.GetID()
    assert chart_ids(scene) == [None, None]
    for logic in logics.values():
        logic.SetMRMLScene(None)


def test_jumping_to_a_slice_moves_the_axial_view_alone(scene, nodes, layout):
    views.use_layout(layout, False)
    coronal = scene.GetSingletonNode("Green", "vtkMRMLSliceNode")
    axial = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    axial.JumpSliceByCentering(12.0, -34.0, 5.0)
    coronal.JumpSliceByCentering(1.0, 2.0, 3.0)
    views.jump_to_slice(nodes, 77.5)
    assert views.axial_position(scene) == pytest.approx(77.5)
    assert [axial.GetSliceToRAS().GetElement(i, 3) for i in range(3)] == pytest.approx([12.0, -34.0, 77.5])
    assert [coronal.GetSliceToRAS().GetElement(i, 3) for i in range(3)] == pytest.approx([1.0, 2.0, 3.0])


def test_there_is_no_axial_position_without_an_axial_view(scene, nodes, layout):
    assert views.axial_position(slicer.vtkMRMLScene()) is None
    views.use_layout(layout, False)
    assert views.axial_position(scene) is not None
    scene.GetSingletonNode("Red", "vtkMRMLSliceNode").SetOrientation("Sagittal")
    assert views.axial_position(scene) is None
    views.jump_to_slice(nodes, 10.0)  # somebody looks at something else there: left alone
    assert views.axial_position(scene) is None


def test_the_telling_point_lies_in_the_slice_of_the_highest_bar(scene, case):
    image, result = case
    for highest in (26, 9):
        evidence = np.where(result.slice_indices == highest, -3.0, result.slices.evidence)
        changed = with_evidence(result, evidence)
        nodes = show_result(changed, volume_node_from_image(image, "CT", scene), scene)
        expected = result.slice_positions_mm[result.slice_indices == highest][0]
        assert views.telling_point(nodes)[2] == pytest.approx(expected)


def test_the_telling_point_is_found_where_the_highest_bar_has_no_lung(scene, case):
    image, result = case
    evidence = np.where(result.slice_indices == 0, 5.0, result.slices.evidence)
    nodes = show_result(with_evidence(result, evidence), volume_node_from_image(image, "CT", scene), scene)
    point = views.telling_point(nodes)
    assert point[2] == pytest.approx(result.slice_positions_mm[result.slice_indices == 0][0])
    assert abs(point[0]) > 20  # in a lung's column, not in the middle of the body
