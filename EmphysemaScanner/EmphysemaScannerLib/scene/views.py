"""What the slice and plot views show of a result, and a layout for it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import slicer
from numpy.typing import NDArray

from .overlays import Overlay
from .result import ResultNodes
from .volumes import ijk_to_world_ras

LUNG_WINDOW, LUNG_LEVEL = 1400.0, -500.0  # HU
OPACITY = 0.5

LAYOUT_ID = 8_427  # any number that no other extension uses
_SLICE_VIEW = """<view class="vtkMRMLSliceNode" singletontag="{tag}">
  <property name="orientation" action="default">{orientation}</property>
  <property name="viewlabel" action="default">{label}</property>
  <property name="viewcolor" action="default">{colour}</property>
</view>"""
_PLOT_VIEW = """<view class="vtkMRMLPlotViewNode" singletontag="{tag}">
  <property name="viewlabel" action="default">{label}</property>
</view>"""
_AXIAL = _SLICE_VIEW.format(tag="Red", orientation="Axial", label="R", colour="#F34A33")
_CORONAL = _SLICE_VIEW.format(tag="Green", orientation="Coronal", label="G", colour="#6EB04B")
_SAGITTAL = _SLICE_VIEW.format(tag="Yellow", orientation="Sagittal", label="Y", colour="#EDD54C")
EVIDENCE_PLOT, PROBABILITY_PLOT = "PlotView1", "PlotView2"
LAYOUT = f"""<layout type="vertical" split="true">
  <item splitSize="700"><layout type="horizontal" split="true">
    <item splitSize="600">{_AXIAL}</item>
    <item splitSize="400"><layout type="vertical">
      <item>{_CORONAL}</item>
      <item>{_SAGITTAL}</item>
    </layout></item>
  </layout></item>
  <item splitSize="300"><layout type="horizontal">
    <item>{_PLOT_VIEW.format(tag=EVIDENCE_PLOT, label="E")}</item>
    <item>{_PLOT_VIEW.format(tag=PROBABILITY_PLOT, label="P")}</item>
  </layout></item>
</layout>"""


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


def show_in_layout(nodes: ResultNodes, layout: slicer.vtkMRMLLayoutNode) -> None:
    """Switch to the layout of three slice views and two plots, and fill it with a result."""
    if not layout.IsLayoutDescription(LAYOUT_ID):
        layout.AddLayoutDescription(LAYOUT_ID, LAYOUT)
    layout.SetViewArrangement(LAYOUT_ID)
    show_plots(nodes)


def show_plots(nodes: ResultNodes) -> None:
    """Put the charts into the plot views that the present layout has."""
    charts = {EVIDENCE_PLOT: nodes.evidence_chart, PROBABILITY_PLOT: nodes.probability_chart}
    for tag, chart in charts.items():
        plot = nodes.ct.GetScene().GetSingletonNode(tag, "vtkMRMLPlotViewNode")
        if plot is not None:
            plot.SetPlotChartNodeID(chart.GetID())


def composite_nodes(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSliceCompositeNode]:
    """What each slice view is made of."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode") for i in range(count)]


def telling_point(nodes: ResultNodes) -> NDArray[np.float64]:
    """World RAS, mm, of the place in the lungs with the most evidence, in either direction, on its three planes."""
    values = np.abs(slicer.util.arrayFromVolume(nodes.overlays[Overlay.EVIDENCE]))
    kji = [int(values.sum(axis=tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3)]
    return (ijk_to_world_ras(nodes.overlays[Overlay.EVIDENCE]) @ [*kji[::-1], 1.0])[:3]


def telling_slices(nodes: ResultNodes, count: int) -> list[float]:
    """World S positions, mm, of the axial planes with the most evidence in the lungs, most first.

    They keep at least a tenth of the scan between them.
    """
    node = nodes.overlays[Overlay.EVIDENCE]
    weight = np.abs(slicer.util.arrayFromVolume(node)).sum(axis=(1, 2))
    apart = max(1, len(weight) // 10)
    chosen: list[int] = []
    for k in np.argsort(-weight, kind="stable"):
        if len(chosen) < count and all(abs(int(k) - other) >= apart for other in chosen):
            chosen.append(int(k))
    columns, rows, _ = node.GetImageData().GetDimensions()
    matrix = ijk_to_world_ras(node)
    return [float((matrix @ [(columns - 1) / 2, (rows - 1) / 2, k, 1.0])[2]) for k in chosen]


def lung_bounds(nodes: ResultNodes) -> NDArray[np.float64]:
    """World RAS box of the lungs, mm: ((r, a, s) least, (r, a, s) most); of the whole CT if there are none."""
    bounds = np.zeros(6)
    nodes.lungs.GetRASBounds(bounds)
    if not bounds[1] > bounds[0]:
        nodes.ct.GetRASBounds(bounds)
    return bounds.reshape(3, 2).T
