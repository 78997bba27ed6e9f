"""Layouts, and what slice and plot views show of a result or of a CT that has none."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.scan.result import OverlayMap
from EmphysemaScannerLib.scene import layout as layouts
from EmphysemaScannerLib.scene import views
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.colours import ColourMap
from EmphysemaScannerLib.scene.overlays import Drawing, Overlay, least_drawn, legends_of
from EmphysemaScannerLib.scene.result import parts_of, remove_result, show_result
from EmphysemaScannerLib.scene.volumes import volume_node_from_image
from vtk.util.numpy_support import vtk_to_numpy

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


def slice_views(scene, tags=("Red", "Green")) -> dict:
    """A slice logic makes the composite node of each slice view."""
    made = {}
    for tag in tags:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(scene)
        logic.SetSliceNode(scene.GetSingletonNode(tag, "vtkMRMLSliceNode"))
        made[tag] = logic
    return made


def chart_ids(scene) -> list[str | None]:
    return [scene.GetSingletonNode(t, "vtkMRMLPlotViewNode").GetPlotChartNodeID() for t in ("PlotView1", "PlotView2")]


def test_the_bare_slice_is_beside_the_one_with_overlay_and_the_plots_are_beside_the_coronal_view():
    for number, beside in ((layouts.READING_LAYOUT, layouts.BARE_VIEW), (layouts.READING_LAYOUT_3D, "1")):
        root = ET.fromstring(layouts.READING_LAYOUTS[number])
        above, below = root.findall("item")
        assert [view.get("singletontag") for view in above.iter("view")] == ["Red", beside]
        assert [view.get("singletontag") for view in below.iter("view")] == ["Green", "PlotView1", "PlotView2"]
        assert below.find("layout").get("type") == "horizontal"  # a bar can lie at the level of its slice


@pytest.mark.parametrize("with_3d", [False, True])
def test_a_layout_makes_the_views_and_is_known_after_switching_back_and_forth(scene, layout, with_3d):
    layouts.use_layout(layout, with_3d)
    assert layout.GetViewArrangement() in layouts.READING_LAYOUTS
    assert layout.GetViewArrangement() == (layouts.READING_LAYOUT_3D if with_3d else layouts.READING_LAYOUT)
    layouts.use_layout(layout, not with_3d)
    layouts.use_layout(layout, with_3d)
    assert scene.GetSingletonNode("PlotView2", "vtkMRMLPlotViewNode") is not None
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode") == 2


def test_evidence_is_at_the_left_and_the_chosen_chart_at_the_right(scene, nodes, layout):
    layouts.use_layout(layout, False)
    for chart in nodes.charts:
        views.show_charts(nodes, chart)
        assert chart_ids(scene) == [nodes.charts[Chart.EVIDENCE].GetID(), nodes.charts[chart].GetID()]


def test_showing_charts_without_plot_views_does_nothing(scene, nodes):
    count = scene.GetNumberOfNodes()
    views.show_charts(nodes, Chart.LAA)
    assert scene.GetNumberOfNodes() == count


def test_clearing_takes_our_charts_away_and_leaves_others(scene, nodes, layout):
    layouts.use_layout(layout, False)
    views.show_charts(nodes, Chart.LAA)
    other = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    scene.GetSingletonNode("PlotView2", "vtkMRMLPlotViewNode").SetPlotChartNodeID(other.GetID())
    views.clear_charts(scene)
    assert chart_ids(scene) == [None, other.GetID()]


def test_a_ct_without_result_is_shown_without_anything_of_another(scene, case, nodes, layout):
    image, _ = case
    layouts.use_layout(layout, False)
    logics = slice_views(scene)
    views.set_overlay(nodes, Overlay.EVIDENCE)
    views.show_charts(nodes)
    mine = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    logics["Green"].GetSliceCompositeNode().SetForegroundVolumeID(mine.GetID())
    new = volume_node_from_image(image, "New", scene)
    views.show_ct_alone(new)
    shown = {tag: logic.GetSliceCompositeNode() for tag, logic in logics.items()}
    assert {c.GetBackgroundVolumeID() for c in shown.values()} == {new.GetID()}
    assert shown["Red"].GetForegroundVolumeID() is None
    assert shown["Green"].GetForegroundVolumeID() == mine.GetID()
    assert chart_ids(scene) == [None, None]
    for logic in logics.values():
        logic.SetMRMLScene(None)


def test_jumping_to_a_slice_moves_the_axial_view_alone(scene, nodes, layout):
    layouts.use_layout(layout, False)
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
    layouts.use_layout(layout, False)
    assert views.axial_position(scene) is not None
    scene.GetSingletonNode("Red", "vtkMRMLSliceNode").SetOrientation("Sagittal")
    assert views.axial_position(scene) is None
    views.jump_to_slice(nodes, 10.0)  # somebody looks at something else there: left alone
    assert views.axial_position(scene) is None


def test_the_telling_point_lies_where_most_of_the_overlay_is_drawn(scene, case):
    image, result = case
    for middle in (12, 24):
        k, _y, x = np.meshgrid(np.arange(35), np.arange(8), np.arange(8), indexing="ij")
        values = 0.15 * np.exp(-(((k - middle) / 2) ** 2) - ((x - 2) / 1.2) ** 2).astype(np.float32)
        changed = dataclasses.replace(result, evidence=OverlayMap(values, result.evidence.grid), slices=None)
        nodes = show_result(changed, volume_node_from_image(image, "CT", scene), scene)
        point = views.telling_point(nodes)
        slice_mm = 280 / 35
        assert point[2] == pytest.approx(changed.evidence.grid.slice_positions_mm()[middle], abs=slice_mm)
        assert point[0] > 20  # in the right lung


def test_the_telling_point_is_in_the_lungs_where_the_highest_bar_is_not(scene, case):
    image, result = case
    changed = with_evidence(result, np.where(result.slice_indices == 0, 5.0, result.slices.evidence))
    without_overlays = dataclasses.replace(changed, evidence=None, activations={})
    for case_result in (changed, without_overlays):
        nodes = show_result(case_result, volume_node_from_image(image, "CT", scene), scene)
        low, high = views.lung_bounds(nodes)
        point = views.telling_point(nodes)
        assert (low <= point).all()
        assert (point <= high).all()


def test_a_ct_is_first_shown_in_the_chosen_window_and_then_left_as_the_user_changes_it(scene, case):
    image, _ = case
    ct = volume_node_from_image(image, "CT", scene)
    display = ct.GetDisplayNode()
    views.use_window_at_first(ct, views.CTWindow.LUNG)
    assert (display.GetWindow(), display.GetLevel()) == (1500, -600)
    display.SetWindowLevel(400, 40)
    views.use_window_at_first(ct, views.CTWindow.LUNG)
    assert (display.GetWindow(), display.GetLevel()) == (400, 40)
    views.use_window(ct, views.CTWindow.LOW)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-1000, -600)


def test_the_bare_view_never_has_an_overlay_and_the_legend_is_in_the_axial_view_alone(scene, nodes, layout):
    layouts.use_layout(layout, False)
    logics = slice_views(scene, ("Red", "Green", layouts.BARE_VIEW))
    style = (0.5, 0.1, ColourMap.STANDARD)
    for drawing in Drawing:
        views.draw_overlay(nodes, Overlay.EVIDENCE, drawing, *style)
        bare = logics[layouts.BARE_VIEW].GetSliceCompositeNode()
        assert bare.GetBackgroundVolumeID() == nodes.ct.GetID()
        assert bare.GetForegroundVolumeID() is None
    (legend,) = legends_of(nodes.overlays[Overlay.EVIDENCE])
    shown_in = [tag for tag, logic in logics.items() if legend.IsDisplayableInView(logic.GetSliceNode().GetID())]
    assert shown_in == ["Red"]
    for logic in logics.values():
        logic.SetMRMLScene(None)


def test_the_outline_holds_what_is_drawn_filled_and_is_not_in_the_bare_view(scene, nodes, layout):
    layouts.use_layout(layout, False)
    count = scene.GetNumberOfNodes()
    views.draw_overlay(nodes, Overlay.EVIDENCE, Drawing.OUTLINE, 0.5, 0.3, ColourMap.STANDARD)
    outline = parts_of(nodes.record)["outline"]
    values = slicer.util.arrayFromVolume(nodes.overlays[Overlay.EVIDENCE])
    voxel_ml = np.prod(nodes.overlays[Overlay.EVIDENCE].GetSpacing())
    segments = outline.GetSegmentation()
    least = least_drawn(nodes.overlays[Overlay.EVIDENCE], Overlay.EVIDENCE, 0.3)
    for name, filled in (("Towards emphysema", values >= least), ("Against emphysema", values <= -least)):
        mask = slicer.vtkOrientedImageData()
        outline.GetBinaryLabelmapRepresentation(segments.GetSegmentIdBySegmentName(name), mask)
        inside = vtk_to_numpy(mask.GetPointData().GetScalars()).sum() * np.prod(mask.GetSpacing())
        assert inside == pytest.approx(filled.sum() * voxel_ml, rel=0.1)
    display = outline.GetDisplayNode()
    views_of = {tag: scene.GetSingletonNode(tag, "vtkMRMLSliceNode").GetID() for tag in ("Red", layouts.BARE_VIEW)}
    assert display.IsDisplayableInView(views_of["Red"])
    assert not display.IsDisplayableInView(views_of[layouts.BARE_VIEW])
    views.draw_overlay(nodes, Overlay.ASC1, Drawing.OUTLINE, 0.5, 0.3, ColourMap.STANDARD)
    assert len([n for n in parts_of(nodes.record) if n == "outline"]) == 1
    views.draw_overlay(nodes, Overlay.ASC1, Drawing.FILL, 0.5, 0.3, ColourMap.STANDARD)
    assert scene.GetNumberOfNodes() == count


def test_an_outline_leaves_with_its_result(scene, nodes, layout):
    views.draw_overlay(nodes, Overlay.EVIDENCE, Drawing.OUTLINE, 0.5, 0.1, ColourMap.STANDARD)
    remove_result(nodes)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_two_axial_views_are_brought_together_whatever_their_sizes(scene, layout):
    layouts.use_layout(layout, False)
    axial, bare = (layouts.view_node(scene, tag) for tag in (layouts.AXIAL_VIEW, layouts.BARE_VIEW))
    axial.SetDimensions(400, 300, 1)
    bare.SetDimensions(200, 300, 1)
    axial.JumpSliceByCentering(12.0, -34.0, 5.0)
    axial.SetFieldOfView(360.0, 270.0, 1.0)
    layouts.follow_view(bare, axial)
    assert bare.GetFieldOfView()[:2] == pytest.approx((180.0, 270.0))  # the same millimetres per pixel
    assert [bare.GetSliceToRAS().GetElement(i, 3) for i in range(3)] == pytest.approx([12.0, -34.0, 5.0])
    before = bare.GetMTime()
    layouts.follow_view(bare, axial)
    assert bare.GetMTime() == before


def test_the_levels_that_a_coronal_view_shows_go_with_it(scene, layout):
    layouts.use_layout(layout, False)
    coronal = layouts.view_node(scene, layouts.CORONAL_VIEW)
    coronal.SetDimensions(300, 200, 1)
    coronal.SetFieldOfView(450.0, 300.0, 1.0)
    coronal.JumpSliceByCentering(0.0, 0.0, -100.0)
    assert layouts.levels_shown(coronal) == pytest.approx((-250.0, 50.0))
    layouts.leave_room(coronal)
    low, high = layouts.levels_shown(coronal)
    assert (-250.0 - low) / (high - low) == pytest.approx(layouts.ROOM_BELOW)
    assert (high - 50.0) / (high - low) == pytest.approx(layouts.ROOM_ABOVE)
    coronal.SetOrientation("Axial")
    assert layouts.levels_shown(coronal) is None
