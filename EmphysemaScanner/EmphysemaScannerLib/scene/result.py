"""A scan's result in the scene: made whole or not at all, found again, replaced by the next scan of the same CT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields

import slicer
import vtk

from ..core.result import ScanResult
from ..core.serialise import result_to_json
from . import tables
from .overlays import Overlay, add_overlay, display_grid, display_lungs, display_map, maps_of
from .segmentations import add_lungs

RECORD_ATTRIBUTE = "EmphysemaScanner.Record"
FOLDER_ATTRIBUTE = "EmphysemaScanner.Folder"
CT_ROLE = "EmphysemaScannerCT"
PART_ROLE = "EmphysemaScannerPart_"  # followed by the part's name; kept in saved scenes


@dataclass(frozen=True)
class ResultNodes:
    """The nodes of one CT's result.

    Attributes:
        ct: the CT that was scanned.
        record: text: the result's numbers as JSON; its attributes say probability, operating point and model.
        overlays: volumes to lay over the CT.
        lungs: the lung mask, outlined, hidden at first.
        slice_table, densitometry_table: the numbers by slice and by region.
        evidence_series, probability_series, operating_point_series: what the charts draw.
        evidence_chart, probability_chart: one chart each, for they don't share an axis.
    """

    ct: slicer.vtkMRMLScalarVolumeNode
    record: slicer.vtkMRMLTextNode
    overlays: Mapping[Overlay, slicer.vtkMRMLScalarVolumeNode]
    lungs: slicer.vtkMRMLSegmentationNode
    slice_table: slicer.vtkMRMLTableNode
    densitometry_table: slicer.vtkMRMLTableNode
    evidence_series: slicer.vtkMRMLPlotSeriesNode
    probability_series: slicer.vtkMRMLPlotSeriesNode
    operating_point_series: slicer.vtkMRMLPlotSeriesNode
    evidence_chart: slicer.vtkMRMLPlotChartNode
    probability_chart: slicer.vtkMRMLPlotChartNode

    def parts(self) -> dict[str, slicer.vtkMRMLNode]:
        """Every node but the CT and the record, by the name of its part."""
        single = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("ct", "record", "overlays")}
        return {**{f"overlay_{overlay.value}": node for overlay, node in self.overlays.items()}, **single}


def show_result(
    result: ScanResult, volume_node: slicer.vtkMRMLScalarVolumeNode, scene: slicer.vtkMRMLScene
) -> ResultNodes:
    """Put a scan's result into the scene beside its CT; an earlier result of the same CT is replaced.

    If anything goes wrong on the way the scene is left as it was. Views that showed the earlier result show this one.

    Args:
        result: the answer of a scan of this CT.
        volume_node: the CT; it isn't changed.
        scene: the scene that the CT is in.
    """
    earlier = find_result(volume_node)
    with _all_or_nothing(scene):
        nodes = _build(result, volume_node, scene)
    if earlier is not None:
        _hand_over_views(scene, earlier, nodes)
        remove_result(earlier)
    return nodes


def find_result(volume_node: slicer.vtkMRMLScalarVolumeNode) -> ResultNodes | None:
    """The result of a CT that is in its scene, e.g. after a saved scene was opened; None if there isn't a whole one."""
    scene = volume_node.GetScene()
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLTextNode")):
        record = scene.GetNthNodeByClass(i, "vtkMRMLTextNode")
        if record.GetAttribute(RECORD_ATTRIBUTE) is not None and record.GetNodeReference(CT_ROLE) is volume_node:
            nodes = _from_record(record, volume_node)
            if nodes is not None:
                return nodes
    return None


def remove_result(nodes: ResultNodes) -> None:
    """Take a result out of the scene with all that belongs to it; shared colours stay."""
    scene = nodes.ct.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.record))
    for node in (*nodes.parts().values(), nodes.record):
        helpers, item = _helpers(node), hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)  # first: outside the application, items outlive their nodes
        for left in (*helpers, node):
            if left.GetScene() is scene:
                scene.RemoveNode(left)
    # What the user put into the folder keeps it.
    if hierarchy.HasItemAttribute(folder, FOLDER_ATTRIBUTE) and hierarchy.GetNumberOfItemChildren(folder) == 0:
        _remove_folder(scene, hierarchy, folder)


def _build(result: ScanResult, ct: slicer.vtkMRMLScalarVolumeNode, scene: slicer.vtkMRMLScene) -> ResultNodes:
    grid, lungs = display_grid(result), display_lungs(result)
    shown = {overlay: display_map(overlay, raw, grid, lungs) for overlay, raw in maps_of(result).items()}

    name = ct.GetName()
    table = tables.add_slice_table(scene, result, f"{name} slices")
    evidence_series = tables.add_evidence_series(scene, table, f"{name} slice evidence")
    probability_series = tables.add_probability_series(scene, table, f"{name} running probability")
    operating_point_series = tables.add_operating_point_series(scene, table, f"{name} operating point")
    nodes = ResultNodes(
        ct=ct,
        record=_add_record(scene, result, f"{name} emphysema scan"),
        overlays={
            overlay: add_overlay(scene, overlay, display, f"{name} {overlay.label}", ct)
            for overlay, display in shown.items()
        },
        lungs=add_lungs(scene, result, f"{name} lungs", ct),
        slice_table=table,
        densitometry_table=tables.add_densitometry_table(scene, result, f"{name} densitometry"),
        evidence_series=evidence_series,
        probability_series=probability_series,
        operating_point_series=operating_point_series,
        evidence_chart=tables.add_evidence_chart(scene, evidence_series, f"{name} evidence by slice"),
        probability_chart=tables.add_probability_chart(
            scene, [probability_series, operating_point_series], f"{name} probability by slice"
        ),
    )
    nodes.record.SetNodeReferenceID(CT_ROLE, ct.GetID())
    for part, node in nodes.parts().items():
        nodes.record.SetNodeReferenceID(PART_ROLE + part, node.GetID())
    _put_in_folder(scene, nodes, f"{name} emphysema scan")
    return nodes


def _add_record(scene: slicer.vtkMRMLScene, result: ScanResult, name: str) -> slicer.vtkMRMLTextNode:
    record = scene.AddNewNodeByClass("vtkMRMLTextNode")
    record.SetName(name)
    record.SetText(result_to_json(result))
    point = result.model.operating_point
    for key, value in (
        ("Record", "1"),
        ("Probability", f"{result.probability:.6f}"),
        ("OperatingPoint", f"{point.probability:.6f} ({point.source})"),
        ("Answer", "positive" if result.positive else "negative"),
        ("Model", result.model.name),
    ):
        record.SetAttribute(f"EmphysemaScanner.{key}", value)
    return record


def _from_record(record: slicer.vtkMRMLTextNode, ct: slicer.vtkMRMLScalarVolumeNode) -> ResultNodes | None:
    overlays = {o: record.GetNodeReference(f"{PART_ROLE}overlay_{o.value}") for o in Overlay}
    single = {
        f.name: record.GetNodeReference(PART_ROLE + f.name)
        for f in fields(ResultNodes)
        if f.name not in ("ct", "record", "overlays")
    }
    if None in single.values() or overlays[Overlay.EVIDENCE] is None:
        return None
    return ResultNodes(ct=ct, record=record, overlays={o: n for o, n in overlays.items() if n is not None}, **single)


def _put_in_folder(scene: slicer.vtkMRMLScene, nodes: ResultNodes, name: str) -> None:
    """Into a folder beside the CT: in the same study, where there is one."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    ct_item = hierarchy.GetItemByDataNode(nodes.ct)
    parent = hierarchy.GetItemParent(ct_item) if ct_item else hierarchy.GetSceneItemID()
    folder = hierarchy.CreateFolderItem(parent, name)
    hierarchy.SetItemAttribute(folder, FOLDER_ATTRIBUTE, "1")
    for node in (nodes.record, *nodes.parts().values()):
        item = hierarchy.GetItemByDataNode(node)  # the application has made one already
        if item:
            hierarchy.SetItemParent(item, folder)
        else:
            hierarchy.CreateItem(folder, node)


def _hand_over_views(scene: slicer.vtkMRMLScene, earlier: ResultNodes, new: ResultNodes) -> None:
    """Let slice and plot views that show the earlier result show the new one."""
    successor = {earlier.overlays[o].GetID(): new.overlays[o].GetID() for o in earlier.overlays if o in new.overlays}
    successor[earlier.evidence_chart.GetID()] = new.evidence_chart.GetID()
    successor[earlier.probability_chart.GetID()] = new.probability_chart.GetID()
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        layers = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        if layers.GetForegroundVolumeID() in successor:
            layers.SetForegroundVolumeID(successor[layers.GetForegroundVolumeID()])
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode")):
        plot = scene.GetNthNodeByClass(i, "vtkMRMLPlotViewNode")
        if plot.GetPlotChartNodeID() in successor:
            plot.SetPlotChartNodeID(successor[plot.GetPlotChartNodeID()])


@contextmanager
def _all_or_nothing(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Nodes and folders that are added in the block are removed again if it raises."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes_before, folders_before = set(_node_ids(scene)), set(_folders(hierarchy))
    try:
        yield
    except BaseException:
        for folder in set(_folders(hierarchy)) - folders_before:
            _remove_folder(scene, hierarchy, folder)
        for node_id in reversed([n for n in _node_ids(scene) if n not in nodes_before]):
            node = scene.GetNodeByID(node_id)
            if node is not None:  # removing one may have removed another
                scene.RemoveNode(node)
        raise


def _helpers(node: slicer.vtkMRMLNode) -> list[slicer.vtkMRMLNode]:
    """Legend, display and storage nodes, which Slicer leaves behind when their node is removed."""
    helpers = []
    if node.IsA("vtkMRMLDisplayableNode"):  # the legend, last, leaves first: without the display it is an error
        helpers += [node.GetNthDisplayNode(i) for i in reversed(range(node.GetNumberOfDisplayNodes()))]
    if node.IsA("vtkMRMLStorableNode"):
        helpers += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
    return [helper for helper in helpers if helper is not None]


def _remove_folder(scene: slicer.vtkMRMLScene, hierarchy: slicer.vtkMRMLSubjectHierarchyNode, folder: int) -> None:
    display = hierarchy.GetItemDataNode(folder)  # the application gives a folder a display node once it is hidden
    hierarchy.RemoveItem(folder, False, True)
    if display is not None and display.GetScene() is scene:
        scene.RemoveNode(display)


def _node_ids(scene: slicer.vtkMRMLScene) -> list[str]:
    return [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]


def _folders(hierarchy: slicer.vtkMRMLSubjectHierarchyNode) -> list[int]:
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    ids = [items.GetId(i) for i in range(items.GetNumberOfIds())]
    return [i for i in ids if hierarchy.IsItemLevel(i, "Folder")]
