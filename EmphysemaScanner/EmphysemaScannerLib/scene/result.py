"""A scan's result in the scene: made whole or not at all, found again, replaced by the next scan of the same CT."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import slicer
from numpy.typing import NDArray

from ..base.errors import RecordError
from ..ct.grid import Grid
from ..i18n import tr as _
from ..lungs.regions import MaskKind, RegionError
from ..scan.result import OverlayMap, ScanResult
from ..scan.serialise import grid_from_dict, record_to_json, result_from_json
from . import tables
from .charts import Chart, ChartContents, ChartNodes, add_charts, can_draw, chart_contents, redraw, series_in
from .densitycharts import NOT_BY_SLICE, DensityNodes, add_density_charts, density_series, in_chart
from .membership import all_or_nothing, folder_of, put_into, remove_folder, remove_nodes
from .overlays import (
    DisplayMap,
    Overlay,
    add_overlay,
    can_redraw,
    display_frame,
    display_grid,
    display_lungs,
    display_map,
    maps_of,
    own_colours,
    redraw_overlay,
    style,
)
from .responsemap import add_response
from .segmentations import add_lungs, can_redraw_lungs, checksum, holds_lungs_alone, lung_labels, redraw_lungs
from .volumes import canonical_grid, grid_of, local_grid, local_matrix

if TYPE_CHECKING:
    from ..scan.attribution import Attribution  # needs PyTorch

RECORD_ATTRIBUTE = "EmphysemaScanner.Record"
RECORD_VERSION = "2"  # "1" had no maps and other charts
PARTS_ATTRIBUTE = "EmphysemaScanner.Parts"  # names of those that every such result has
MASK_ATTRIBUTE = "EmphysemaScanner.Mask"  # checksum of the lung mask that was measured in
GRID_ATTRIBUTE = "EmphysemaScanner.Grid"  # of the lung mask, in the result's own coordinates
FOLDER_ATTRIBUTE = "EmphysemaScanner.Folder"
FOLLOW_UP_ATTRIBUTE = "EmphysemaScanner.FollowUp"  # of what a follow-up has put into the scene
CT_ROLE = "EmphysemaScannerCT"
PART_ROLE = "EmphysemaScannerPart_"  # followed by the part's name; kept in saved scenes
OVERLAY, CHART, SERIES, TABLE = "overlay_", "chart_", "series_", "table_"  # what the names of such parts begin with


@dataclass(frozen=True)
class ResultNodes:
    """The nodes of one CT's result.

    Attributes:
        ct: the CT that was scanned.
        record: text: the whole result as JSON; its attributes say probability, operating point and model.
        overlays: volumes to lay over the CT, as far as the model has them; GRADIENT is there once it was computed.
        lungs: the lung mask, outlined, hidden at first.
        slice_table, densitometry_table: the numbers by slice and by region.
        chart_table, marker_table: what the charts by slice draw.
        density_tables: what the charts of lung density draw, by name.
        charts: those that the result has, in the order of ``Chart``, for they don't share an axis.
        series: what the charts are made of, by name.
    """

    ct: slicer.vtkMRMLScalarVolumeNode
    record: slicer.vtkMRMLTextNode
    overlays: Mapping[Overlay, slicer.vtkMRMLScalarVolumeNode]
    lungs: slicer.vtkMRMLSegmentationNode
    slice_table: slicer.vtkMRMLTableNode
    densitometry_table: slicer.vtkMRMLTableNode
    chart_table: slicer.vtkMRMLTableNode
    marker_table: slicer.vtkMRMLTableNode
    charts: Mapping[Chart, slicer.vtkMRMLPlotChartNode]
    series: Mapping[str, slicer.vtkMRMLPlotSeriesNode]
    density_tables: Mapping[str, slicer.vtkMRMLTableNode] = dataclasses.field(default_factory=dict)

    def parts(self) -> dict[str, slicer.vtkMRMLNode]:
        """Every node but the CT and the record, by the name of its part."""
        return {
            **{OVERLAY + overlay.value: node for overlay, node in self.overlays.items()},
            **{name: getattr(self, name) for name in _SINGLE_PARTS},
            **{CHART + chart.value: node for chart, node in self.charts.items()},
            **{SERIES + name: node for name, node in self.series.items()},
            **{TABLE + name: node for name, node in self.density_tables.items()},
        }


_SINGLE_PARTS = ("lungs", "slice_table", "densitometry_table", "chart_table", "marker_table")
_PARTS_BEFORE_THEY_WERE_LISTED = (
    OVERLAY + Overlay.TERMS.value,
    *(CHART + chart.value for chart in (Chart.EVIDENCE, Chart.PROBABILITY, Chart.LAA, Chart.ACTIVATION)),
)


def show_result(
    result: ScanResult, volume_node: slicer.vtkMRMLScalarVolumeNode, scene: slicer.vtkMRMLScene
) -> ResultNodes:
    """Put a scan's result into the scene beside its CT; an earlier result of the same CT is replaced.

    If anything goes wrong on the way the scene is left as it was. Views that showed the earlier result show this one.
    A lung mask that was edited is kept: as the mask of this result if that was measured in it, else by itself.

    Args:
        result: the answer of a scan of this CT.
        volume_node: the CT; it isn't changed.
        scene: the scene that the CT is in.
    """
    earlier = _records_of(volume_node)
    edited = next((found for record in earlier if (found := _edited_mask(record, volume_node)) is not None), None)
    mask = edited if result.lungs_from.kind is MaskKind.EDITED else None
    reused, shown = _reusable(result, volume_node, edited), _display_maps(result)
    with all_or_nothing(scene):
        nodes = _build(result, volume_node, scene, mask, shown, reused)
    # What was reused changes only now, when nothing can go wrong any more.
    if reused.charts is not None:
        redraw(reused.charts, reused.contents, volume_node.GetName())
    if reused.density is not None:
        add_density_charts(scene, result, volume_node.GetName(), into=reused.density)
    if reused.tables:
        _fill_tables(scene, result, volume_node.GetName(), reused.tables)
    for overlay, node in reused.overlays.items():
        redraw_overlay(node, overlay, shown[overlay], f"{volume_node.GetName()} {overlay.node_name}", volume_node)
    if reused.lungs is not None:
        redraw_lungs(reused.lungs, result, f"{volume_node.GetName()} lungs", volume_node)
    put_into(scene, folder_of(nodes.record), reused.nodes())
    for overlay in reused.colours.keys() & nodes.overlays.keys():
        style(nodes.overlays[overlay], overlay)
    for record in earlier:
        before = parts_of(record)
        _hand_over_views(scene, before, nodes.parts())
        for overlay in reused.colours:
            if node := before.get(OVERLAY + overlay.value):
                node.GetDisplayNode().SetAndObserveColorNodeID("")  # or its colours would leave with it
        if edited is not None and before.get("lungs") is edited:
            record.RemoveNodeReferenceIDs(f"{PART_ROLE}lungs")
        _remove_record(record, kept=nodes)
    if edited is not None and edited is not mask:
        edited.SetName(f"{edited.GetName()} (edited)")
    return nodes


@dataclass(frozen=True)
class _Reused:
    """What a result takes over from an earlier one of the same CT.

    Slicer remembers every node that was ever in a scene for each of its choosers, and a picture of every colour table:
    a day of scans that add new ones takes hundreds of MiB.

    Attributes:
        contents: what the charts are to draw.
        charts: those of the earlier result, if they can.
        density: its charts of density, if they can draw this result.
        tables: its tables by slice and by region, if there are such.
        overlays: those that can draw this result's maps.
        lungs: its lung mask, if it can become this result's.
        colours: its other overlays' own colour tables.
    """

    contents: ChartContents
    charts: ChartNodes | None = None
    density: DensityNodes | None = None
    tables: tuple[slicer.vtkMRMLTableNode, ...] = ()
    overlays: Mapping[Overlay, slicer.vtkMRMLScalarVolumeNode] = dataclasses.field(default_factory=dict)
    lungs: slicer.vtkMRMLSegmentationNode | None = None
    colours: Mapping[Overlay, slicer.vtkMRMLColorTableNode] = dataclasses.field(default_factory=dict)

    def nodes(self) -> list[slicer.vtkMRMLNode]:
        """All but the colour tables."""
        charts = self.charts.all() if self.charts else []
        of_density = (self.density.tables, self.density.series, self.density.charts) if self.density else ()
        lungs = [] if self.lungs is None else [self.lungs]
        drawn = [*charts, *self.tables, *self.overlays.values(), *lungs]
        return [*drawn, *(node for named in of_density for node in named.values())]


def _reusable(
    result: ScanResult, ct: slicer.vtkMRMLScalarVolumeNode, edited: slicer.vtkMRMLSegmentationNode | None
) -> _Reused:
    """What of an earlier result can be taken over; for one that was measured in an edited mask, no overlays.

    The edited mask's grid is known by where these lie.
    """
    contents, before = chart_contents(result), find_result(ct)
    if before is None:
        return _Reused(contents)
    by_slice = {chart: node for chart, node in before.charts.items() if chart not in NOT_BY_SLICE}
    series = {name: node for name, node in before.series.items() if name in contents.series_names()}
    charts = ChartNodes(before.chart_table, before.marker_table, series, by_slice)
    own = {overlay: own_colours(node) for overlay, node in before.overlays.items()}
    wanted = maps_of(result)
    in_edited = result.lungs_from.kind is MaskKind.EDITED
    overlays = {k: node for k, node in before.overlays.items() if not in_edited and k in wanted and can_redraw(node)}
    lungs = before.lungs if edited is None and can_redraw_lungs(before.lungs) else None
    own = {overlay: table for overlay, table in own.items() if overlay in wanted and overlay not in overlays}
    colours = {overlay: table for overlay, table in own.items() if table is not None}
    return _Reused(
        contents,
        charts if can_draw(charts, contents) else None,
        _reusable_density(result, before),
        (before.slice_table, before.densitometry_table),
        overlays,
        lungs,
        colours,
    )


def _reusable_density(result: ScanResult, before: ResultNodes) -> DensityNodes | None:
    series = {name: node for name, node in before.series.items() if name.startswith(_OF_DENSITY)}
    if series.keys() != density_series(result):
        return None
    charts = {chart: node for chart, node in before.charts.items() if chart in NOT_BY_SLICE}
    return DensityNodes(dict(before.density_tables), series, charts)


_OF_DENSITY = tuple(prefix for prefixes in NOT_BY_SLICE.values() for prefix in prefixes)


def _fill_tables(
    scene: slicer.vtkMRMLScene, result: ScanResult, name: str, earlier: Sequence[slicer.vtkMRMLTableNode] = ()
) -> list[slicer.vtkMRMLTableNode]:
    """The tables by slice and by region, those of an earlier result or new ones."""
    by_slice, by_region = earlier or (None, None)
    return [
        tables.add_table(scene, f"{name} slices", tables.slice_columns(result), by_slice),
        tables.add_table(scene, f"{name} densitometry", tables.densitometry_columns(result), by_region),
    ]


def mask_is_edited(nodes: ResultNodes) -> bool:
    """Whether the lung mask in the scene is another than that which was measured in."""
    measured = nodes.record.GetAttribute(MASK_ATTRIBUTE)  # none in records of earlier versions
    return measured is not None and checksum(lung_labels(nodes.lungs, _mask_grid(nodes))) != measured


def _edited_mask(
    record: slicer.vtkMRMLTextNode, ct: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode | None:
    """The lung mask of a result, if it was edited, before it was measured in or since, or has segments of the user."""
    nodes = _from_record(record, ct)
    if nodes is None:
        return None
    try:
        was_edited = json.loads(record.GetText())["masks"]["lungs"]["kind"] == MaskKind.EDITED.value
        is_users = was_edited or mask_is_edited(nodes) or not holds_lungs_alone(nodes.lungs)
        return nodes.lungs if is_users else None
    except (LookupError, TypeError, ValueError, RecordError):  # of an earlier version, or damaged
        return None


def find_result(volume_node: slicer.vtkMRMLScalarVolumeNode) -> ResultNodes | None:
    """The result of a CT that is in its scene, e.g. after a saved scene was opened; None if there isn't a whole one.

    One that an earlier version saved isn't whole; the next scan replaces it.
    """
    found = (_from_record(record, volume_node) for record in _records_of(volume_node))
    return next((nodes for nodes in found if nodes is not None), None)


def result_of(nodes: ResultNodes) -> ScanResult:
    """The whole result of a CT, rebuilt from the scene; needs no PyTorch.

    Raises:
        RecordError: the record was damaged; says what to do.
    """
    grid = _mask_grid(nodes)
    return result_from_json(nodes.record.GetText(), OverlayMap(lung_labels(nodes.lungs, grid), grid))


def mask_of(nodes: ResultNodes) -> NDArray[np.uint8]:
    """The lung mask of a result as it is in the scene now, on the CT's canonical voxels.

    Raises:
        RegionError: nothing is left of it.
        RecordError: the record was damaged; says what to do.
    """
    labels = lung_labels(nodes.lungs, _mask_grid(nodes))
    if not labels.any():
        raise RegionError(_("The edited lung mask is empty; undo the edits, or scan the CT again."))
    return labels


def _mask_grid(nodes: ResultNodes) -> Grid:
    """The grid that the lung mask was made on, in the coordinates that the result's nodes have now."""
    # The response map does not cover the network's field of view.
    overlay = next((node for shown, node in nodes.overlays.items() if shown is not Overlay.RESPONSE), None)
    try:
        grid = grid_from_dict(json.loads(nodes.record.GetAttribute(GRID_ATTRIBUTE) or ""))
    except (LookupError, TypeError, ValueError) as error:
        if overlay is None:
            raise RecordError(f"The record of this result is damaged ({error}); scan the CT again.") from error
        return canonical_grid(nodes.ct, local_grid(overlay))  # an earlier version's record, which had none
    return grid if overlay is None else _around(local_grid(overlay), nodes.record.GetText(), grid.shape)


def _around(drawn: Grid, record: str, shape: tuple[int, int, int]) -> Grid:
    """The grid of the CT around an overlay that covers the network's field of view in it, as it lies now."""
    try:
        maps = json.loads(record)["maps"]
        if "ct_grid" not in maps:  # of an earlier version, whose maps always cover the CT
            return drawn.resized(shape)
        ct = grid_from_dict(maps["ct_grid"])
        return drawn.part(ct.box_in(grid_from_dict(maps["grid"]).resized(drawn.shape)), ct.shape)
    except (LookupError, TypeError, ValueError) as error:
        raise RecordError(f"The record of this result is damaged ({error}); scan the CT again.") from error


def add_attribution(nodes: ResultNodes, attribution: Attribution) -> ResultNodes:
    """Put a gradient attribution into the scene as one more overlay of a result; an earlier one is replaced.

    If anything goes wrong on the way the scene is left as it was.

    Args:
        nodes: the result of the same CT by the same model.
        attribution: what was computed.

    Returns:
        The result with the overlay.

    Raises:
        RecordError: the result's record was damaged.
    """
    scene, overlay = nodes.ct.GetScene(), Overlay.GRADIENT
    result = result_of(nodes)
    shown = display_map(overlay, attribution.values, display_grid(result), display_lungs(result))
    earlier = nodes.overlays.get(overlay)
    with all_or_nothing(scene):
        node = add_overlay(scene, overlay, shown, f"{nodes.ct.GetName()} {overlay.node_name}", nodes.ct)
        put_into(scene, folder_of(nodes.record), [node])
    part = OVERLAY + overlay.value
    nodes.record.SetNodeReferenceID(PART_ROLE + part, node.GetID())
    if earlier is not None:
        _hand_over_views(scene, {part: earlier}, {part: node})
        remove_nodes(scene, [earlier])
    return dataclasses.replace(nodes, overlays={**nodes.overlays, overlay: node})


def is_part_of_a_result(node: slicer.vtkMRMLNode) -> bool:
    """Whether a node in a scene belongs to a result, also to one that an earlier version saved, or to a follow-up."""
    return node.GetAttribute(FOLLOW_UP_ATTRIBUTE) is not None or any(
        node in parts_of(record).values() for record in records(node.GetScene())
    )


def remove_result(nodes: ResultNodes) -> None:
    """Take a result out of the scene with all that belongs to it."""
    _remove_record(nodes.record)


def _remove_record(record: slicer.vtkMRMLTextNode, kept: ResultNodes | None = None) -> None:
    """Take the result of a record out of the scene, but for nodes that belong to another result now."""
    scene = record.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = folder_of(record)
    in_use = () if kept is None else {node.GetID() for node in kept.parts().values()}
    leaving = [node for node in parts_of(record).values() if node.GetID() not in in_use]
    remove_nodes(scene, [*leaving, record])
    # What the user put into the folder keeps it.
    if hierarchy.HasItemAttribute(folder, FOLDER_ATTRIBUTE) and hierarchy.GetNumberOfItemChildren(folder) == 0:
        remove_folder(scene, hierarchy, folder)


def records(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLTextNode]:
    """The records of all results in a scene, also of those that an earlier version saved."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLTextNode")
    texts = [scene.GetNthNodeByClass(i, "vtkMRMLTextNode") for i in range(count)]
    return [text for text in texts if text.GetAttribute(RECORD_ATTRIBUTE) is not None]


def _records_of(ct: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLTextNode]:
    return [record for record in records(ct.GetScene()) if record.GetNodeReference(CT_ROLE) is ct]


def parts_of(record: slicer.vtkMRMLTextNode) -> dict[str, slicer.vtkMRMLNode]:
    """The parts that are in the scene, by their names, whichever version made them."""
    roles: list[str] = []
    record.GetNodeReferenceRoles(roles)
    parts = {role[len(PART_ROLE) :]: record.GetNodeReference(role) for role in roles if role.startswith(PART_ROLE)}
    return {name: node for name, node in parts.items() if node is not None}


def _display_maps(result: ScanResult) -> dict[Overlay, DisplayMap]:
    grid, lungs = display_grid(result), display_lungs(result)
    shown: dict[Overlay, DisplayMap] = {}
    for overlay, raw in maps_of(result).items():
        scale = overlay.scale(result.model)
        if overlay is Overlay.EVIDENCE and scale is not None:
            shown[overlay] = display_frame(raw, grid, lungs, scale)
        else:
            shown[overlay] = display_map(overlay, raw, grid, lungs, scale)
    return shown


def _build(
    result: ScanResult,
    ct: slicer.vtkMRMLScalarVolumeNode,
    scene: slicer.vtkMRMLScene,
    mask: slicer.vtkMRMLSegmentationNode | None,
    shown: Mapping[Overlay, DisplayMap],
    reused: _Reused,
) -> ResultNodes:
    name = ct.GetName()
    charts = reused.charts or add_charts(scene, reused.contents, name)
    density = reused.density or add_density_charts(scene, result, name)
    slice_table, densitometry_table = reused.tables or _fill_tables(scene, result, name)
    response = add_response(scene, result, f"{name} {Overlay.RESPONSE.node_name}", ct)
    nodes = ResultNodes(
        ct=ct,
        record=_add_record(scene, result, f"{name} emphysema scan"),
        overlays={
            overlay: reused.overlays.get(overlay)
            or add_overlay(scene, overlay, display, f"{name} {overlay.node_name}", ct, reused.colours.get(overlay))
            for overlay, display in shown.items()
        }
        | ({} if response is None else {Overlay.RESPONSE: response}),
        lungs=mask or reused.lungs or add_lungs(scene, result, f"{name} lungs", ct),
        slice_table=slice_table,
        densitometry_table=densitometry_table,
        chart_table=charts.chart_table,
        marker_table=charts.marker_table,
        charts={**charts.charts, **density.charts},
        series={**charts.series, **density.series},
        density_tables=density.tables,
    )
    nodes.record.SetNodeReferenceID(CT_ROLE, ct.GetID())
    nodes.record.SetAttribute(PARTS_ATTRIBUTE, " ".join(nodes.parts()))
    nodes.record.SetAttribute(GRID_ATTRIBUTE, json.dumps(dataclasses.asdict(_local_canonical(result, ct))))
    labels = np.asarray(result.lung_mask.values, np.uint8) if mask is None else lung_labels(mask, _mask_grid(nodes))
    nodes.record.SetAttribute(MASK_ATTRIBUTE, checksum(labels))
    for part, node in nodes.parts().items():
        nodes.record.SetNodeReferenceID(PART_ROLE + part, node.GetID())
    taken_over = {node.GetID() for node in reused.nodes()}
    new = [node for node in nodes.parts().values() if node.GetID() not in taken_over]
    _put_in_folder(scene, ct, [nodes.record, *new], f"{name} emphysema scan")
    return nodes


def _local_canonical(result: ScanResult, ct: slicer.vtkMRMLScalarVolumeNode) -> Grid:
    """The grid of the lung mask in the result's own coordinates, without the parent transform that it has of its CT."""
    _parent, matrix = local_matrix(result.lung_mask.grid.ijk_to_ras(), ct)
    return grid_of(matrix, result.lung_mask.grid.shape, ct.GetName())


def _add_record(scene: slicer.vtkMRMLScene, result: ScanResult, name: str) -> slicer.vtkMRMLTextNode:
    record = scene.AddNewNodeByClass("vtkMRMLTextNode")
    record.SetName(name)
    record.SetText(record_to_json(result))
    point = result.model.operating_point
    for key, value in (
        ("Record", RECORD_VERSION),
        ("Probability", f"{result.probability:.6f}"),
        ("OperatingPoint", f"{point.probability:.6f} ({point.source})"),
        ("Call", result.call.value),
        ("CallReason", result.call_reason),
        ("Model", result.model.name),
    ):
        record.SetAttribute(f"EmphysemaScanner.{key}", value)
    return record


def _from_record(record: slicer.vtkMRMLTextNode, ct: slicer.vtkMRMLScalarVolumeNode) -> ResultNodes | None:
    if record.GetAttribute(RECORD_ATTRIBUTE) != RECORD_VERSION:
        return None
    parts = parts_of(record)
    overlays = {overlay: parts[OVERLAY + overlay.value] for overlay in Overlay if OVERLAY + overlay.value in parts}
    charts = {chart: parts[CHART + chart.value] for chart in Chart if CHART + chart.value in parts}
    listed = record.GetAttribute(PARTS_ATTRIBUTE)
    expected = set(_PARTS_BEFORE_THEY_WERE_LISTED if listed is None else listed.split())
    if not parts.keys() >= expected | set(_SINGLE_PARTS):
        return None
    series = {name[len(SERIES) :]: node for name, node in parts.items() if name.startswith(SERIES)}
    for chart, node in charts.items():
        drawn = series_in(chart, series) if chart not in NOT_BY_SLICE else in_chart(chart, series)
        for one in drawn:  # Slicer's plot views lose some at times, when a scene is opened
            if not node.HasPlotSeriesNodeID(one.GetID()):
                node.AddAndObservePlotSeriesNodeID(one.GetID())
    single = {name: parts[name] for name in _SINGLE_PARTS}
    density_tables = {name[len(TABLE) :]: node for name, node in parts.items() if name.startswith(TABLE)}
    return ResultNodes(
        ct=ct,
        record=record,
        overlays=overlays,
        charts=charts,
        series=series,
        density_tables=density_tables,
        **single,
    )


def _put_in_folder(
    scene: slicer.vtkMRMLScene, ct: slicer.vtkMRMLScalarVolumeNode, nodes: Sequence[slicer.vtkMRMLNode], name: str
) -> None:
    """Into a folder beside the CT: in the same study, where there is one."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    ct_item = hierarchy.GetItemByDataNode(ct)
    parent = hierarchy.GetItemParent(ct_item) if ct_item else hierarchy.GetSceneItemID()
    folder = hierarchy.CreateFolderItem(parent, name)
    hierarchy.SetItemAttribute(folder, FOLDER_ATTRIBUTE, "1")
    put_into(scene, folder, nodes)


def _hand_over_views(
    scene: slicer.vtkMRMLScene, earlier: Mapping[str, slicer.vtkMRMLNode], new: Mapping[str, slicer.vtkMRMLNode]
) -> None:
    """Let slice and plot views that show a part of the earlier result show the same part of the new one."""
    successor = {earlier[name].GetID(): new[name].GetID() for name in earlier if name in new}
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        layers = scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        if layers.GetForegroundVolumeID() in successor:
            layers.SetForegroundVolumeID(successor[layers.GetForegroundVolumeID()])
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode")):
        plot = scene.GetNthNodeByClass(i, "vtkMRMLPlotViewNode")
        if plot.GetPlotChartNodeID() in successor:
            plot.SetPlotChartNodeID(successor[plot.GetPlotChartNodeID()])
