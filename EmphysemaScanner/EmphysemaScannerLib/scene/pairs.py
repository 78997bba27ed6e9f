"""CTs of one patient side by side: the later one brought onto the earlier, the change of density, charts over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from numpy.typing import NDArray

from ..ct.grid import Grid
from ..i18n import tr as _
from ..scan.result import OverlayMap
from . import layout
from .colours import ENTRIES, ColourMap, add_colours, colours_of, set_colours
from .coursecharts import FigureOverTime, add_course_chart
from .membership import all_or_nothing, put_into, remove_folder, remove_nodes
from .result import FOLDER_ATTRIBUTE, FOLLOW_UP_ATTRIBUTE
from .views import CTWindow, announce_layers, use_window
from .volumes import add_volume, ijk_to_world_ras

OPACITY = 0.6
_LEGEND_SIZE, _LEGEND_PLACE = (0.12, 0.4), (0.98, 0.08)


@dataclass(frozen=True, eq=False)
class Pair:
    """What is shown of two CTs.

    Attributes:
        earlier_day, later_day: in the names of the nodes.
        moved_hu: (slices, rows, columns): the later CT on the earlier one's grid.
        grid: that grid.
        change: of density, g/L, 0 outside the lungs.
        floor: smaller changes are not drawn.
        full: larger changes share the last colour.
    """

    earlier_day: str
    later_day: str
    moved_hu: NDArray[np.int16]
    grid: Grid
    change: OverlayMap
    floor: float
    full: float


@dataclass(frozen=True, eq=False)
class PairNodes:
    """A pair in the scene.

    Attributes:
        earlier: the user's own CT; only looked at.
        moved: the later CT brought onto it.
        change: the change of density.
    """

    earlier: slicer.vtkMRMLScalarVolumeNode
    moved: slicer.vtkMRMLScalarVolumeNode
    change: slicer.vtkMRMLScalarVolumeNode

    @property
    def are_there(self) -> bool:
        """Whether all of them are still in the scene."""
        return all(node.GetScene() is not None for node in (self.earlier, self.moved, self.change))


@dataclass(frozen=True, eq=False)
class FollowUpNodes:
    """A follow-up in the scene.

    Attributes:
        pairs: each later CT that could be registered.
        charts: of the figures over time, by their titles.
    """

    pairs: list[PairNodes]
    charts: dict[str, slicer.vtkMRMLPlotChartNode]

    def still_there(self) -> FollowUpNodes:
        """Those that the user has not removed since."""
        return FollowUpNodes(
            [pair for pair in self.pairs if pair.are_there],
            {title: chart for title, chart in self.charts.items() if chart.GetScene() is not None},
        )


def show_follow_up(
    earlier: slicer.vtkMRMLScalarVolumeNode, pairs: Sequence[Pair], figures: Sequence[FigureOverTime]
) -> FollowUpNodes:
    """Put a follow-up into the scene, as one folder beside the earlier CT; whole or not at all. Earlier ones leave.

    Args:
        earlier: the CT that the pairs' grid lies on.
        pairs: each later CT with the change.
        figures: what charts show over time.
    """
    scene = earlier.GetScene()
    before, folder_before = _of(earlier)
    with all_or_nothing(scene):
        made = [PairNodes(earlier, _add_moved(earlier, pair), _add_change(earlier, pair)) for pair in pairs]
        added = [node for nodes in made for node in (nodes.moved, nodes.change)]
        charts = {}
        for figure in figures:
            charts[figure.title], drawn = add_course_chart(scene, figure, earlier.GetName())
            added += drawn
        for node in added:
            node.SetAttribute(FOLLOW_UP_ATTRIBUTE, earlier.GetID())
        _put_in_folder(earlier, added)
    _take_out_of_views(scene, before)
    remove_nodes(scene, before)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if folder_before and hierarchy.GetNumberOfItemChildren(folder_before) == 0:
        remove_folder(scene, hierarchy, folder_before)
    return FollowUpNodes(made, charts)


def draw_chart(scene: slicer.vtkMRMLScene, chart: slicer.vtkMRMLPlotChartNode | None) -> None:
    """Show a chart, or none, in the plot view of the layouts of a follow-up; none also before a scene is closed."""
    view = scene.GetSingletonNode(layout.COURSE_PLOT, "vtkMRMLPlotViewNode")
    if view is not None:
        view.SetPlotChartNodeID(None if chart is None else chart.GetID())


def draw_pair(nodes: PairNodes) -> None:
    """Show a pair in the views of the pair layout: the earlier CT with the change over it, and the later one."""
    scene = nodes.earlier.GetScene()
    axial = layout.view_node(scene, layout.EARLIER_VIEWS[0])
    if axial is not None:
        for legend in _legends_of(nodes.change):
            if not legend.IsViewNodeIDPresent(axial.GetID()):
                legend.AddViewNodeID(axial.GetID())
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        if composite.GetLayoutName() in layout.EARLIER_VIEWS:
            composite.SetBackgroundVolumeID(nodes.earlier.GetID())
            composite.SetForegroundVolumeID(nodes.change.GetID())
            composite.SetForegroundOpacity(OPACITY)
            announce_layers(composite)
        elif composite.GetLayoutName() in layout.LATER_VIEWS:
            composite.SetBackgroundVolumeID(nodes.moved.GetID())
            composite.SetForegroundVolumeID(None)
            announce_layers(composite)


def most_loss(nodes: PairNodes) -> NDArray[np.float64]:
    """World RAS, mm, of where most density was lost: in the axial plane with most loss; of the middle without any."""
    values = slicer.util.arrayFromVolume(nodes.change)
    loss = np.clip(-values, 0, None)
    if not loss.any():
        index = [(n - 1) / 2 for n in values.shape]
    else:
        k = int(loss.sum((1, 2)).argmax())
        index = [k, int(loss[k].sum(1).argmax()), int(loss[k].sum(0).argmax())]
    slices, rows, columns = index
    return np.asarray((ijk_to_world_ras(nodes.change) @ [columns, rows, slices, 1.0])[:3])


def _add_moved(earlier: slicer.vtkMRMLScalarVolumeNode, pair: Pair) -> slicer.vtkMRMLScalarVolumeNode:
    name = f"CT of {pair.later_day} registered onto {pair.earlier_day}"
    node = add_volume(earlier.GetScene(), pair.moved_hu, pair.grid.ijk_to_ras(), name, earlier)
    use_window(node, CTWindow.LUNG)
    shown = earlier.GetDisplayNode()
    if shown is not None:  # both CTs in the window that the user gave the earlier one
        node.GetDisplayNode().SetWindowLevel(shown.GetWindow(), shown.GetLevel())
    return node


def _add_change(earlier: slicer.vtkMRMLScalarVolumeNode, pair: Pair) -> slicer.vtkMRMLScalarVolumeNode:
    scene, name = earlier.GetScene(), f"density change {pair.earlier_day} to {pair.later_day}"
    node = add_volume(scene, pair.change.values, pair.change.grid.ijk_to_ras(), name, earlier)
    display, colours = node.GetDisplayNode(), add_colours(scene, f"{name} colours")
    display.SetAndObserveColorNodeID(colours.GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(-pair.full, pair.full)
    display.ApplyThresholdOff()
    values = np.linspace(-pair.full, pair.full, ENTRIES)
    # Loss, which is negative, has the colours that disease has elsewhere.
    set_colours(colours, colours_of(ColourMap.STANDARD, signed=True)[::-1], np.abs(values) >= pair.floor)
    _add_legend(node)
    return node


def _add_legend(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    legend = node.GetScene().AddNewNodeByClass("vtkMRMLColorLegendDisplayNode")
    legend.SetName(f"{node.GetName()} legend")
    legend.SetAndObservePrimaryDisplayNode(node.GetDisplayNode())
    legend.SetTitleText(_("Density change\n(g/L; - lost)"))
    legend.SetLabelFormat("%.0f")
    legend.SetNumberOfLabels(5)
    legend.SetSize(*_LEGEND_SIZE)
    legend.SetPosition(*_LEGEND_PLACE)
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontFamilyToArial()
        text.BoldOff()
        text.ItalicOff()
    node.AddAndObserveDisplayNodeID(legend.GetID())
    legend.Modified()  # the views don't notice the line above


def _legends_of(node: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLColorLegendDisplayNode]:
    displays = [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    return [display for display in displays if display is not None and display.IsA("vtkMRMLColorLegendDisplayNode")]


def _of(earlier: slicer.vtkMRMLScalarVolumeNode) -> tuple[list[slicer.vtkMRMLNode], int]:
    """What an earlier follow-up has put into the scene beside a CT, and its folder; 0 for none."""
    scene = earlier.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    found = [node for node in nodes if node.GetAttribute(FOLLOW_UP_ATTRIBUTE) == earlier.GetID()]
    if not found:
        return [], 0
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(found[0]))
    return found, folder if hierarchy.HasItemAttribute(folder, FOLDER_ATTRIBUTE) else 0


def _take_out_of_views(scene: slicer.vtkMRMLScene, nodes: Sequence[slicer.vtkMRMLNode]) -> None:
    """So that no view gives a volume that leaves a new display node, which would stay."""
    leaving = {node.GetID() for node in nodes}
    draw_chart(scene, None)
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        if composite.GetBackgroundVolumeID() in leaving:
            composite.SetBackgroundVolumeID(None)
        if composite.GetForegroundVolumeID() in leaving:
            composite.SetForegroundVolumeID(None)


def _put_in_folder(earlier: slicer.vtkMRMLScalarVolumeNode, nodes: Sequence[slicer.vtkMRMLNode]) -> None:
    scene = earlier.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(earlier)
    parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
    folder = hierarchy.CreateFolderItem(parent, f"{earlier.GetName()} follow-up")
    hierarchy.SetItemAttribute(folder, FOLDER_ATTRIBUTE, "1")
    put_into(scene, folder, nodes)
