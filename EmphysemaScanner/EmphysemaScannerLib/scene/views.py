"""What the slice and plot views show of a result, and a layout for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import slicer
from numpy.typing import NDArray

from . import overlays
from .charts import Chart
from .colours import ColourMap
from .overlays import Overlay
from .rendering import hide_all_in_3d
from .result import ResultNodes, is_part_of_a_result
from .tables import POSITION
from .volumes import ijk_to_world_ras

LUNG_WINDOW, LUNG_LEVEL = 1400.0, -500.0  # HU
OPACITY = 0.5
LEAST_COSINE = 0.7  # between an axial view's normal and the body's axis

EVIDENCE_PLOT, CHOSEN_PLOT = "PlotView1", "PlotView2"
AXIAL_VIEW = "Red"
_SLICE_VIEW = """<view class="vtkMRMLSliceNode" singletontag="{tag}">
  <property name="orientation" action="default">{orientation}</property>
  <property name="viewlabel" action="default">{label}</property>
  <property name="viewcolor" action="default">{colour}</property>
</view>"""
_PLOT_VIEW = """<view class="vtkMRMLPlotViewNode" singletontag="{tag}">
  <property name="viewlabel" action="default">{label}</property>
</view>"""
_AXIAL = _SLICE_VIEW.format(tag=AXIAL_VIEW, orientation="Axial", label="R", colour="#F34A33")
_CORONAL = _SLICE_VIEW.format(tag="Green", orientation="Coronal", label="G", colour="#6EB04B")
_SAGITTAL = _SLICE_VIEW.format(tag="Yellow", orientation="Sagittal", label="Y", colour="#EDD54C")
_THREE_D = """<view class="vtkMRMLViewNode" singletontag="1">
  <property name="viewlabel" action="default">1</property>
</view>"""
_LAYOUT = """<layout type="vertical" split="true">
  <item splitSize="700"><layout type="horizontal" split="true">
    <item splitSize="{axial_size}">{axial}</item>
    <item splitSize="{side_size}"><layout type="vertical" split="true">
      <item>{coronal}</item>
      <item>{third}</item>
    </layout></item>
  </layout></item>
  <item splitSize="300"><layout type="horizontal" split="true">
    <item splitSize="500">{evidence}</item>
    <item splitSize="500">{chosen}</item>
  </layout></item>
</layout>"""
_VIEWS = {
    "axial": _AXIAL,
    "coronal": _CORONAL,
    "evidence": _PLOT_VIEW.format(tag=EVIDENCE_PLOT, label="E"),
    "chosen": _PLOT_VIEW.format(tag=CHOSEN_PLOT, label="P"),
}
READING_LAYOUT, READING_LAYOUT_3D = 8_427, 8_428  # any numbers that no other extension uses
READING_LAYOUTS = {
    READING_LAYOUT: _LAYOUT.format(**_VIEWS, third=_SAGITTAL, axial_size=600, side_size=400),
    # The 3D view takes the sagittal one's place: beside it, it would be a slit on a small screen.
    READING_LAYOUT_3D: _LAYOUT.format(**_VIEWS, third=_THREE_D, axial_size=500, side_size=500),
}


def register_layouts(layout: slicer.vtkMRMLLayoutNode) -> None:
    """Make the reading layouts known; to be called at startup: without it a saved scene that has one opens empty.

    Args:
        layout: the scene's layout node.
    """
    for number, description in READING_LAYOUTS.items():
        if not layout.IsLayoutDescription(number):
            layout.AddLayoutDescription(number, description)


def use_layout(layout: slicer.vtkMRMLLayoutNode, with_3d: bool) -> None:
    """Show the reading layout: a large axial view, coronal and sagittal beside it, two plots below.

    Args:
        layout: the scene's layout node.
        with_3d: with a 3D view in the place of the sagittal one.
    """
    register_layouts(layout)
    layout.SetViewArrangement(READING_LAYOUT_3D if with_3d else READING_LAYOUT)


def style_overlay(nodes: ResultNodes, overlay: Overlay, threshold: float, colours: ColourMap) -> None:
    """Draw an overlay with other colours, and only its stronger values; its legend shows the same.

    Args:
        overlay: one that the result has.
        threshold: share (0 to 1) of the colour range below which nothing is drawn; of signed maps, of the size of the
            values, on either side of zero.

    Raises:
        ValueError: the threshold is not from 0 to 1.
    """
    overlays.style(nodes.overlays[overlay], overlay, threshold, colours)


def set_overlay(
    nodes: ResultNodes,
    overlay: Overlay | None,
    opacity: float = OPACITY,
    layers: Iterable[slicer.vtkMRMLSliceCompositeNode] | None = None,
) -> None:
    """Show the CT with one overlay, or the CT alone, in slice views.

    Args:
        overlay: what lies over the CT; None for nothing.
        opacity: of the overlay, 0 to 1.
        layers: the slice views' composite nodes; all of the scene's if None.
    """
    if layers is None:
        layers = composite_nodes(nodes.ct.GetScene())
    for composite in layers:
        composite.SetBackgroundVolumeID(nodes.ct.GetID())
        composite.SetForegroundVolumeID(nodes.overlays[overlay].GetID() if overlay is not None else None)
        composite.SetForegroundOpacity(opacity)
        announce_layers(composite)


def announce_layers(composite: slicer.vtkMRMLSliceCompositeNode) -> None:
    """Slicer's colour legends look at a view's layers anew only when a user's change of them is announced."""
    for _ in range(2):  # the first finds the legends that are there, the second brings them up to date
        composite.SetInteractionFlags(slicer.vtkMRMLSliceCompositeNode.ForegroundVolumeFlag)
        composite.SetInteracting(True)
        composite.Modified()
        composite.SetInteracting(False)


def use_lung_window(ct: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Window 1400, level -500 HU, unless somebody has chosen a window already."""
    display = ct.GetDisplayNode()
    if display is not None and display.GetAutoWindowLevel():
        display.AutoWindowLevelOff()
        display.SetWindowLevel(LUNG_WINDOW, LUNG_LEVEL)


def show_charts(nodes: ResultNodes, right: Chart = Chart.PROBABILITY) -> None:
    """Put the charts into the plot views of the reading layout, as far as there are such views.

    What the model gives for each slice is at the left; LAA%-950, where it gives nothing.

    Args:
        right: the chart at the right; another, where the result has no such chart.
    """
    left, beside = _main_chart(nodes), nodes.charts[shown_chart(nodes, right)]
    _put_charts(nodes.ct.GetScene(), {EVIDENCE_PLOT: nodes.charts[left], CHOSEN_PLOT: beside})


def shown_chart(nodes: ResultNodes, wanted: Chart) -> Chart:
    """The chart at the right: the one that is wanted, or, where there is no such chart, another than at the left."""
    if wanted in nodes.charts:
        return wanted
    left = _main_chart(nodes)
    return next((chart for chart in nodes.charts if chart is not left), left)


def _main_chart(nodes: ResultNodes) -> Chart:
    return next(iter(nodes.charts))


def clear_charts(scene: slicer.vtkMRMLScene) -> None:
    """Take the charts of results out of all plot views; others stay.

    To be called also before a scene is closed (its StartCloseEvent): the controllers of Slicer's plot views remember
    which series were shown, and take the first one out of the chart of the scene that is opened next, which is then
    empty or black.
    """
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode")):
        plot = scene.GetNthNodeByClass(i, "vtkMRMLPlotViewNode")
        chart = plot.GetPlotChartNode()
        if chart is not None and is_part_of_a_result(chart):
            plot.SetPlotChartNodeID(None)


def show_ct_alone(ct: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a CT that has no result: no overlay, chart or rendering of another CT stays beside it."""
    scene = ct.GetScene()
    for composite in composite_nodes(scene):
        composite.SetBackgroundVolumeID(ct.GetID())
        foreground = scene.GetNodeByID(composite.GetForegroundVolumeID() or "")
        if foreground is not None and is_part_of_a_result(foreground):
            composite.SetForegroundVolumeID(None)
        announce_layers(composite)
    clear_charts(scene)
    hide_all_in_3d(scene)


def jump_to_slice(nodes: ResultNodes, position_mm: float) -> None:
    """Move the axial view to a slice; the other views stay.

    Args:
        position_mm: RAS S coordinate.
    """
    axial = _axial_view(nodes.ct.GetScene())
    if axial is not None:
        right, anterior, _superior = _centre(axial)
        axial.JumpSliceByOffsetting(right, anterior, position_mm)


def axial_position(scene: slicer.vtkMRMLScene) -> float | None:
    """RAS S coordinate, mm, of what the axial view shows at its centre; None if there is no axial view."""
    axial = _axial_view(scene)
    return None if axial is None else _centre(axial)[2]


def composite_nodes(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSliceCompositeNode]:
    """What each slice view is made of."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode") for i in range(count)]


def telling_point(nodes: ResultNodes) -> NDArray[np.float64]:
    """World RAS, mm, of the place with the most evidence, in either direction, in the slice of the highest bar.

    The middle of the lungs in that slice, where there is no evidence by place.
    """
    positions, heights = _by_slice(nodes)
    position = positions[int(heights.argmax())]
    node = nodes.overlays.get(Overlay.EVIDENCE)
    if node is None:
        right, anterior, _superior = lung_bounds(nodes).mean(axis=0)
        return np.array([right, anterior, position])
    values, matrix = np.abs(slicer.util.arrayFromVolume(node)), ijk_to_world_ras(node)
    slices, rows, columns = values.shape
    first_centre = (matrix @ [(columns - 1) / 2, (rows - 1) / 2, 0.0, 1.0])[2]
    k = int(np.abs(first_centre + matrix[2, 2] * np.arange(slices) - position).argmin())
    in_slice = values[k] if values[k].any() else values.sum(axis=0)  # a bar may come from beside the lungs
    j, i = int(in_slice.sum(axis=1).argmax()), int(in_slice.sum(axis=0).argmax())
    return (matrix @ [i, j, k, 1.0])[:3]


def telling_slices(nodes: ResultNodes, count: int) -> list[float]:
    """World S positions, mm, of the axial planes with the most evidence in the lungs, most first.

    They keep at least a tenth of the scan between them. Of the highest bars, where there is no evidence by place.
    """
    node = nodes.overlays.get(Overlay.EVIDENCE)
    if node is None:
        positions, weight = _by_slice(nodes)
    else:
        columns, rows, slices = node.GetImageData().GetDimensions()
        matrix = ijk_to_world_ras(node)
        positions = [float((matrix @ [(columns - 1) / 2, (rows - 1) / 2, k, 1.0])[2]) for k in range(slices)]
        weight = np.abs(slicer.util.arrayFromVolume(node)).sum(axis=(1, 2))
    apart = max(1, len(weight) // 10)
    chosen: list[int] = []
    for k in np.argsort(-weight, kind="stable"):
        if len(chosen) < count and all(abs(int(k) - other) >= apart for other in chosen):
            chosen.append(int(k))
    return [positions[k] for k in chosen]


def _by_slice(nodes: ResultNodes) -> tuple[list[float], NDArray[np.float64]]:
    """S positions, mm, and heights of the bars of the main chart, in reading order."""
    table = nodes.slice_table
    heights = np.nan_to_num(np.abs(slicer.util.arrayFromTableColumn(table, _main_chart(nodes).column)))
    return [float(position) for position in slicer.util.arrayFromTableColumn(table, POSITION)], heights


def lung_bounds(nodes: ResultNodes) -> NDArray[np.float64]:
    """World RAS box of the lungs, mm: ((r, a, s) least, (r, a, s) most); of the whole CT if there are none."""
    bounds: NDArray[np.float64] = np.zeros(6)
    nodes.lungs.GetRASBounds(bounds)
    if not bounds[1] > bounds[0]:
        nodes.ct.GetRASBounds(bounds)
    return np.transpose(bounds.reshape(3, 2))


def _put_charts(scene: slicer.vtkMRMLScene, charts: Mapping[str, slicer.vtkMRMLPlotChartNode]) -> None:
    for tag, chart in charts.items():
        plot = scene.GetSingletonNode(tag, "vtkMRMLPlotViewNode")
        if plot is not None and plot.GetPlotChartNodeID() != chart.GetID():
            plot.SetPlotChartNodeID(chart.GetID())


def _axial_view(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSliceNode | None:
    """The large view of the reading layout, unless somebody has turned it away from the axial plane."""
    node = scene.GetSingletonNode(AXIAL_VIEW, "vtkMRMLSliceNode")
    if node is None or abs(node.GetSliceToRAS().GetElement(2, 2)) < LEAST_COSINE:
        return None
    return node


def _centre(view: slicer.vtkMRMLSliceNode) -> tuple[float, float, float]:
    right, anterior, superior = (view.GetSliceToRAS().GetElement(axis, 3) for axis in range(3))
    return right, anterior, superior
