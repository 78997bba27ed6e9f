"""Charts of lung density that are not by slice: histogram, LAA%-950 by region, sizes of clusters.

Slicer's plots draw a line at a value only as a series, so each threshold has a column of its own in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from numpy.typing import NDArray

from ..i18n import tr as _
from ..lungs.densitometry import HISTOGRAM_HU, Densitometry
from ..lungs.measures import LAA_950
from ..lungs.regions import LOBES
from ..scan.result import ScanResult
from . import tables
from .charts import BLUE, GREY, LEAST_LAA_PERCENT, ORANGE, Chart

SIDES = {"right": BLUE, "left": ORANGE}
THRESHOLDS_HU = (-950, -910, -856)
BIN_HU = 4
BAR_WIDTH = 9.0  # pixels
LEGEND_ROWS = 0.85  # of a bar's row for each bar, so that the legend of six fits above them in a small plot
LEGEND_SHARE = 1.3  # of the range of the sizes of clusters, likewise
SHOWN_HU = (-1024, -500)
HISTOGRAM, REGIONS, CLUSTERS = "histogram", "regions", "clusters"
DENSITY, SIZE = "Density (HU)", "Size X (log10 of mm\N{SUPERSCRIPT TWO})"


NOT_BY_SLICE = {
    Chart.HISTOGRAM: ("histogram_", "threshold_"),
    Chart.REGIONS: ("regions_",),
    Chart.CLUSTERS: ("clusters_",),
}
"""The charts that are drawn here, and what the names of their series begin with."""


@dataclass(frozen=True)
class DensityNodes:
    """The nodes of these charts.

    Attributes:
        tables: what is drawn, by name.
        series: by name.
        charts: as far as the result has what they draw.
    """

    tables: dict[str, slicer.vtkMRMLTableNode]
    series: dict[str, slicer.vtkMRMLPlotSeriesNode]
    charts: dict[Chart, slicer.vtkMRMLPlotChartNode]


def density_series(result: ScanResult) -> set[str]:
    """The names of the series that draw a result; its tables and charts follow from them."""
    names = set()
    if result.measurements.histograms:
        names |= {f"histogram_{side}" for side in SIDES} | {f"threshold_{-limit}" for limit in THRESHOLDS_HU}
        names |= {f"regions_{region}" for region in _barred(result)}
    clusters = result.measurements.clusters
    return names | {f"clusters_{side}" for side in SIDES if side in clusters and clusters[side].count}


def add_density_charts(
    scene: slicer.vtkMRMLScene, result: ScanResult, name: str, into: DensityNodes | None = None
) -> DensityNodes:
    """Tables, series and charts of what was measured.

    Args:
        scene: to put them into.
        result: the answer.
        name: of the CT; tables and charts begin with it.
        into: charts of another result with the same ``density_series``, which draw this one now; None for new ones.
    """
    nodes = into or DensityNodes({}, {}, {})
    if result.measurements.histograms:
        _add_histogram(scene, result, name, nodes)
        _add_regions(scene, result, name, nodes)
    if any(found.count for found in result.measurements.clusters.values()):
        _add_clusters(scene, result, name, nodes)
    return nodes


def histogram_columns(result: ScanResult) -> dict[str, NDArray[np.float64]]:
    """Share of each lung, per cent, in bins of 4 HU, by the titles of columns; and the bins' middles, HU."""
    low, high = (int(np.searchsorted(HISTOGRAM_HU, hu)) for hu in SHOWN_HU)
    columns = {DENSITY: HISTOGRAM_HU[low:high].reshape(-1, BIN_HU).mean(1) + 0.5}
    for side in SIDES:
        counts = result.measurements.histograms[side]
        columns[side] = 100 * counts[low:high].reshape(-1, BIN_HU).sum(1) / max(int(counts.sum()), 1)
    return columns


def _add_histogram(scene: slicer.vtkMRMLScene, result: ScanResult, name: str, nodes: DensityNodes) -> None:
    columns = histogram_columns(result)
    top = 1.08 * max(float(columns[side].max()) for side in SIDES) or 1.0
    lines = {f"{limit}": np.full(len(columns[DENSITY]), float(limit)) for limit in THRESHOLDS_HU}
    height = np.zeros(len(columns[DENSITY]))
    height[1:] = top
    rows = {**columns, **lines, "height": height}
    table = tables.add_table(scene, f"{name} histogram", rows, nodes.tables.get(HISTOGRAM))
    nodes.tables[HISTOGRAM] = table
    shown = []
    for side, colour in SIDES.items():
        shown.append(_line(scene, nodes, f"histogram_{side}", table, (DENSITY, side), _side(side), colour, 2))
    shown += [
        _line(scene, nodes, f"threshold_{limit[1:]}", table, (limit, "height"), f"{limit} HU", GREY) for limit in lines
    ]
    y_title = _("% of the lung per {width} HU").format(width=BIN_HU)
    chart = _chart(scene, nodes, Chart.HISTOGRAM, shown, (f"{name} histogram", DENSITY, y_title))
    fix_ranges(chart, SHOWN_HU, (0.0, top))


def _add_regions(scene: slicer.vtkMRMLScene, result: ScanResult, name: str, nodes: DensityNodes) -> None:
    """Bars from top to bottom, as thick lines: Slicer's own bars have numbers instead of names below them.

    They begin below the legend, which names them and is as high as they are many.
    """
    regions = _barred(result)
    columns = {"ends": np.array([0.0, 1.0])}
    for place, (region, figures) in enumerate(regions.items()):
        columns[region] = np.array([0.0, figures.laa_950_percent])
        columns[f"{region} place"] = np.full(2, -float(place))
    table = tables.add_table(scene, f"{name} LAA%-950 by region", columns, nodes.tables.get(REGIONS))
    nodes.tables[REGIONS] = table
    shown = []
    for region, figures in regions.items():
        label = f"{region.replace('_', ' ').capitalize()}: {LAA_950.text(figures)} %"
        colour = SIDES.get(region.split("_")[0], GREY)
        ends = (region, f"{region} place")
        shown.append(_line(scene, nodes, f"regions_{region}", table, ends, label, colour, BAR_WIDTH))
    chart = _chart(scene, nodes, Chart.REGIONS, shown, (f"{name} LAA%-950 by region", _("LAA%-950 (%)"), ""))
    most = max((figures.laa_950_percent for figures in regions.values()), default=0.0)
    bars = max(len(regions), 1)
    fix_ranges(chart, (0.0, 1.1 * max(LEAST_LAA_PERCENT, most)), (0.5 - bars, 0.5 + LEGEND_ROWS * bars))


def _barred(result: ScanResult) -> dict[str, Densitometry]:
    """The regions that are drawn: beside lobes there is no room for sides and thirds, which the table has."""
    measured = {k: region for k, region in result.densitometry.items() if np.isfinite(region.laa_950_percent)}
    lobes = {k: region for k, region in measured.items() if k in set(LOBES)}
    return {k: region for k, region in measured.items() if k == "whole" or k in lobes} if lobes else measured


def _add_clusters(scene: slicer.vtkMRMLScene, result: ScanResult, name: str, nodes: DensityNodes) -> None:
    """Logarithms on plain axes: the labels of Slicer's logarithmic ones run into one another in a small plot."""
    found = {side: result.measurements.clusters[side] for side in SIDES if side in result.measurements.clusters}
    rows = max(len(one.areas_mm2) for one in found.values())
    columns: dict[str, NDArray[np.float64]] = {}
    for side, one in found.items():
        for title, values in ((f"{side} {SIZE}", one.areas_mm2), (side, one.at_least)):
            columns[title] = np.full(rows, np.nan)
            columns[title][: len(values)] = np.log10(values)
    table = tables.add_table(scene, f"{name} cluster sizes", columns, nodes.tables.get(CLUSTERS))
    nodes.tables[CLUSTERS] = table
    shown = []
    for side, one in found.items():
        if one.count:
            label = f"{_side(side)}, D = {one.exponent:.2f}" if np.isfinite(one.exponent) else _side(side)
            series = _line(scene, nodes, f"clusters_{side}", table, (f"{side} {SIZE}", side), label, SIDES[side], 0)
            series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
            series.SetMarkerSize(4)
            shown.append(series)
    y_title = _("Areas below -950 HU of at least X (log10)")
    chart = _chart(scene, nodes, Chart.CLUSTERS, shown, (f"{name} cluster sizes", SIZE, y_title))
    sizes = max(float(np.nanmax(columns[f"{side} {SIZE}"], initial=1.0)) for side in found)
    counts = max(float(np.nanmax(columns[side], initial=1.0)) for side in found)
    fix_ranges(chart, (0.0, 1.05 * sizes), (0.0, LEGEND_SHARE * counts))


def _side(side: str) -> str:
    return {"right": _("Right lung"), "left": _("Left lung")}[side]


def _line(
    scene: slicer.vtkMRMLScene,
    nodes: DensityNodes,
    key: str,
    table: slicer.vtkMRMLTableNode,
    columns: tuple[str, str],
    name: str,
    colour: tuple[float, float, float],
    width: float = 1.0,
) -> slicer.vtkMRMLPlotSeriesNode:
    """The series of that key, one that is there or a new one."""
    series = nodes.series.get(key) or scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    nodes.series[key] = series
    draw_line(series, table, columns, name, colour, width)
    return series


def draw_line(
    series: slicer.vtkMRMLPlotSeriesNode,
    table: slicer.vtkMRMLTableNode,
    columns: tuple[str, str],
    name: str,
    colour: tuple[float, float, float],
    width: float = 1.0,
) -> None:
    """Let a series draw two columns of a table as a line.

    Args:
        series: the series.
        table: with the columns.
        columns: titles of those of the horizontal and the vertical axis.
        name: in the legend.
        colour: red, green, blue; 0 to 1.
        width: pixels.
    """
    series.SetName(name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(columns[0])
    series.SetYColumnName(columns[1])
    series.SetColor(*colour)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetLineWidth(width)


def _chart(
    scene: slicer.vtkMRMLScene,
    nodes: DensityNodes,
    key: Chart,
    series: list[slicer.vtkMRMLPlotSeriesNode],
    titles: tuple[str, str, str],
) -> slicer.vtkMRMLPlotChartNode:
    nodes.charts[key] = add_chart(scene, series, titles, nodes.charts.get(key))
    return nodes.charts[key]


def add_chart(
    scene: slicer.vtkMRMLScene,
    series: Sequence[slicer.vtkMRMLPlotSeriesNode],
    titles: tuple[str, str, str],
    chart: slicer.vtkMRMLPlotChartNode | None = None,
) -> slicer.vtkMRMLPlotChartNode:
    """A chart of series.

    Args:
        scene: gets the new node.
        series: what is drawn.
        titles: the node's name and the titles of its axes.
        chart: one that is there already; None for a new one.
    """
    chart = chart or scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    name, x_title, y_title = titles
    chart.SetName(name)
    for one in series:
        if not chart.HasPlotSeriesNodeID(one.GetID()):
            chart.AddAndObservePlotSeriesNodeID(one.GetID())
    chart.SetTitleVisibility(False)
    chart.SetXAxisTitle(x_title)
    chart.SetYAxisTitle(y_title)
    chart.SetAxisTitleFontSize(12)
    chart.SetAxisLabelFontSize(11)
    chart.SetLegendFontSize(11)
    return chart


def fix_ranges(chart: slicer.vtkMRMLPlotChartNode, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Show these ranges of the axes, whatever is drawn."""
    chart.XAxisRangeAutoOff()
    chart.SetXAxisRange(*x)
    chart.YAxisRangeAutoOff()
    chart.SetYAxisRange(*y)


def in_chart(chart: Chart, series: Mapping[str, slicer.vtkMRMLPlotSeriesNode]) -> list[slicer.vtkMRMLPlotSeriesNode]:
    """Those of a result's series that one of these charts draws."""
    return [one for name, one in series.items() if name.startswith(NOT_BY_SLICE[chart])]
