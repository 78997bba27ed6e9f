"""What the slice and plot views show of a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import numpy as np
import slicer
from numpy.typing import NDArray

from ..i18n import tr as _
from ..scan.result import SliceMeasure
from . import outlines, overlays
from .charts import Chart
from .colours import ColourMap
from .layout import AXIAL_VIEW, BARE_VIEW, CHOSEN_PLOT, EVIDENCE_PLOT
from .overlays import Drawing, Overlay
from .rendering import hide_all_in_3d
from .result import ResultNodes, is_part_of_a_result
from .tables import POSITION
from .volumes import ijk_to_world_ras

OPACITY = 0.5
LEGEND_SIZE = (0.1, 0.36)  # of the axial view, in the window
CLASS_LEGEND_SIZE = (0.24, 0.36)  # words are longer than numbers
LEAST_COSINE = 0.7  # between an axial view's normal and the body's axis
WINDOW_ATTRIBUTE = "EmphysemaScanner.Window"  # of a CT's display: the last one that was given here


class CTWindow(Enum):
    """Which densities of the CT are told apart."""

    LUNG = "lung"
    LOW = "low"

    def label(self) -> str:
        """Its name in the window."""
        return {
            CTWindow.LUNG: _("CT: lung window"),
            CTWindow.LOW: _("CT: -1000 to -600 HU"),
        }[self]

    @property
    def width_and_level(self) -> tuple[float, float]:
        """In HU."""
        return {CTWindow.LUNG: (1500.0, -600.0), CTWindow.LOW: (400.0, -800.0)}[self]


def style_overlay(nodes: ResultNodes, overlay: Overlay, threshold: float, colours: ColourMap) -> None:
    """Draw an overlay with other colours, and only its stronger values; its legend shows the same.

    Args:
        nodes: the result.
        overlay: one that the result has.
        threshold: share (0 to 1) of the colour range below which nothing is drawn; of signed maps, of the size of the
            values, on either side of zero.
        colours: of the overlay and its legend.

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
    """Show the CT with one overlay, or the CT alone, in slice views; the bare view never has one.

    The colour legend is in the axial view alone, where it is large enough to be read.

    Args:
        nodes: the result.
        overlay: what lies over the CT; None for nothing.
        opacity: of the overlay, 0 to 1.
        layers: the slice views' composite nodes; all of the scene's if None.
    """
    scene = nodes.ct.GetScene()
    foreground = None if overlay is None else nodes.overlays[overlay]
    axial = scene.GetSingletonNode(AXIAL_VIEW, "vtkMRMLSliceNode")
    for legend in () if foreground is None or axial is None else overlays.legends_of(foreground):
        if not legend.IsViewNodeIDPresent(axial.GetID()):
            legend.AddViewNodeID(axial.GetID())
    for composite in composite_nodes(scene) if layers is None else layers:
        shown = None if foreground is None or composite.GetLayoutName() == BARE_VIEW else foreground.GetID()
        composite.SetBackgroundVolumeID(nodes.ct.GetID())
        composite.SetForegroundVolumeID(shown)
        composite.SetForegroundOpacity(opacity)
        announce_layers(composite)


def draw_overlay(
    nodes: ResultNodes,
    overlay: Overlay | None,
    drawing: Drawing,
    opacity: float,
    threshold: float,
    colours: ColourMap,
) -> None:
    """Show the CT in all slice views, with an overlay filled or outlined, or alone.

    Args:
        nodes: the result.
        overlay: one that the result has; None for nothing.
        drawing: filled or outlined.
        opacity: of what is filled, 0 to 1.
        threshold: share (0 to 1) of the colour range below which nothing is drawn.
        colours: of the overlay.

    Raises:
        ValueError: the threshold is not from 0 to 1.
    """
    if overlay is not None:
        style_overlay(nodes, overlay, threshold, colours)
        for legend in overlays.legends_of(nodes.overlays[overlay]):
            legend.SetSize(*(CLASS_LEGEND_SIZE if overlay is Overlay.RESPONSE else LEGEND_SIZE))
    filled = overlay if drawing is Drawing.FILL else None
    set_overlay(nodes, filled, opacity)
    if overlay is None or drawing is Drawing.FILL:
        outlines.hide_outline(nodes)
        return
    scene = nodes.ct.GetScene()
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    views = [scene.GetNthNodeByClass(i, "vtkMRMLSliceNode") for i in range(count)]
    drawn_in = [view.GetID() for view in views if view.GetLayoutName() != BARE_VIEW]
    outlines.show_outline(nodes, overlay, threshold, colours, drawn_in)


def first_overlay(nodes: ResultNodes) -> Overlay | None:
    """The overlay that a result opens with; None if it has none."""
    return next((overlay for overlay in Overlay if overlay in nodes.overlays), None)


def announce_layers(composite: slicer.vtkMRMLSliceCompositeNode) -> None:
    """Slicer's colour legends look at a view's layers anew only when a user's change of them is announced."""
    for _time in range(2):  # the first finds the legends that are there, the second brings them up to date
        composite.SetInteractionFlags(slicer.vtkMRMLSliceCompositeNode.ForegroundVolumeFlag)
        composite.SetInteracting(True)
        composite.Modified()
        composite.SetInteracting(False)


def use_window(ct: slicer.vtkMRMLScalarVolumeNode, window: CTWindow) -> None:
    """Show a CT in a window."""
    display = ct.GetDisplayNode()
    if display is not None:
        display.AutoWindowLevelOff()
        display.SetWindowLevel(*window.width_and_level)
        display.SetAttribute(WINDOW_ATTRIBUTE, window.value)


def use_window_at_first(ct: slicer.vtkMRMLScalarVolumeNode, window: CTWindow) -> None:
    """Show a CT in a window, unless it was given one here before: what the user has changed since stays."""
    display = ct.GetDisplayNode()
    if display is not None and display.GetAttribute(WINDOW_ATTRIBUTE) is None:
        use_window(ct, window)


def show_charts(nodes: ResultNodes, right: Chart = Chart.PROBABILITY) -> None:
    """Put the charts into the plot views of the reading layout, as far as there are such views.

    What the model gives for each slice is at the left; LAA%-950, where it gives nothing.

    Args:
        nodes: the result.
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
        nodes: the result whose scene is meant.
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
    """World RAS, mm, of where a result is looked at first.

    That is the place with most of the first overlay, in the axial plane with most of it; where no overlay is one of
    places, the middle of the right lung in the slice of the highest bar. There is lung in the plane wherever there is
    lung at all.
    """
    overlay = _first_by_place(nodes)
    if overlay is None:
        positions, heights = _by_slice(nodes)
        bounds = lung_bounds(nodes)
        _middle, anterior, _superior = bounds.mean(axis=0)
        right = bounds[0, 0] + 0.75 * (bounds[1, 0] - bounds[0, 0])
        return np.array([right, anterior, positions[int(heights.argmax())]])
    weight, matrix = _weight(nodes, overlay), ijk_to_world_ras(nodes.overlays[overlay])
    if not weight.any():
        return np.asarray(lung_bounds(nodes).mean(axis=0))
    k = int(weight.sum(axis=(1, 2)).argmax())
    j, i = int(weight[k].sum(axis=1).argmax()), int(weight[k].sum(axis=0).argmax())
    return (matrix @ [i, j, k, 1.0])[:3]


def telling_slices(nodes: ResultNodes, count: int) -> list[float]:
    """World S positions, mm, of the axial planes with most of the first overlay, most first.

    They keep at least a tenth of the scan between them. Where fewer planes have any of it, the ones with most lung
    follow. Of the highest bars, where no overlay is one of places.
    """
    overlay = _first_by_place(nodes)
    if overlay is None:
        positions, weight = _by_slice(nodes)
        lung = np.zeros_like(weight)
    else:
        node = nodes.overlays[overlay]
        columns, rows, slices = node.GetImageData().GetDimensions()
        matrix = ijk_to_world_ras(node)
        positions = [float((matrix @ [(columns - 1) / 2, (rows - 1) / 2, k, 1.0])[2]) for k in range(slices)]
        weight = _weight(nodes, overlay).sum(axis=(1, 2))
        lung = (slicer.util.arrayFromVolume(node) != 0).sum(axis=(1, 2))  # outside the lungs, overlays are 0
    apart = max(1, -(-len(weight) // 10))
    chosen: list[int] = []
    for k in np.lexsort((-lung, -weight)):
        if len(chosen) < count and all(abs(int(k) - other) >= apart for other in chosen):
            chosen.append(int(k))
    return [positions[k] for k in chosen]


def _first_by_place(nodes: ResultNodes) -> Overlay | None:
    """The first overlay, unless it is the evidence by slice, which is drawn beside the lungs."""
    first = first_overlay(nodes)
    return None if first is Overlay.EVIDENCE else first


def _weight(nodes: ResultNodes, overlay: Overlay) -> NDArray[np.float32]:
    """How much of an overlay there is in each voxel: what speaks for disease and is drawn, or, without any, all."""
    values = slicer.util.arrayFromVolume(nodes.overlays[overlay])
    drawn = np.where(values >= overlays.least_drawn(nodes.overlays[overlay], overlay, overlays.HIDDEN_SHARE), values, 0)
    return np.maximum(drawn, 0) if (drawn > 0).any() else np.abs(values)


def _by_slice(nodes: ResultNodes) -> tuple[list[float], NDArray[np.float64]]:
    """S positions, mm, and heights of the bars of the main chart, in reading order; below 0 where there is no lung."""
    table = nodes.slice_table
    heights = np.nan_to_num(np.abs(slicer.util.arrayFromTableColumn(table, _main_chart(nodes).column)))
    with_lung = np.isfinite(slicer.util.arrayFromTableColumn(table, SliceMeasure.LAA_950.title))
    positions = [float(position) for position in slicer.util.arrayFromTableColumn(table, POSITION)]
    return positions, np.where(with_lung, heights, -1.0)


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
