"""The charts of a scan by slice: what the model gives, density, and how active the network's units were.

All share one axis, the slices' positions, which runs upwards as the body does beside them in a coronal view. Each has
fixed ranges, so that nothing jumps while the marker of the slice that is shown moves through them.

Slicer's plots have no horizontal bars; a thick line from zero to the value is one. Each slice therefore has three rows
in the table: where its bar begins, where it ends, and a break.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import slicer
from numpy.typing import NDArray

from ..ct.grid import area_average
from ..i18n import tr as _
from ..scan.result import ScanResult, SliceMeasure
from . import tables
from .tables import OPERATING_POINT, POSITION

ORANGE, BLUE, GREY, GREEN = (0.90, 0.42, 0.05), (0.10, 0.35, 0.70), (0.45, 0.45, 0.45), (0.20, 0.55, 0.35)
PURPLE = (0.51, 0.31, 0.66)
UNITS = {  # of the network, first to last; apart in all common colour blindness
    "asc1": (0.90, 0.60, 0.00),
    "desc1": (0.35, 0.70, 0.90),
    "asc2": (0.00, 0.62, 0.45),
    "desc2": (0.80, 0.40, 0.70),
}
MARKER_COLOUR = (0.10, 0.10, 0.10)
BAR_WIDTH = 3.5  # pixels; bars of 35 slices stay apart in a plot of 150 pixels
ROWS_OF_A_SLICE = 3
LEGEND_ROOM = 1.5  # of the values' range, at the right, where Slicer draws legends
MARGIN = 0.08  # of a range, so that the longest bar doesn't touch the frame
LEAST_LAA_PERCENT = 5.0  # the top of the density chart, at least: healthy lungs shouldn't look ill


_LUNGS = {
    "right": ("laa_right", BLUE, _("Right lung")),
    "left": ("laa_left", ORANGE, _("Left lung")),
}
"""Of each lung: its column and series, its colour, its name in the legend."""


class Chart(Enum):
    """What is drawn, as far as a result has it.

    By slice, which are ranked by the first that it has; the last three are not by slice and in ``densitycharts``.
    """

    EVIDENCE = "evidence"
    WEIGHT = "weight"
    SLICE_PROBABILITY = "slice_probability"
    PROBABILITY = "probability"
    LAA = "laa"
    ACTIVATION = "activation"
    LAA_BY_LUNG = "laa_by_lung"
    HISTOGRAM = "histogram"
    REGIONS = "regions"
    CLUSTERS = "clusters"

    def label(self) -> str:
        """Its name in the window."""
        return {
            Chart.EVIDENCE: _("Evidence"),
            Chart.WEIGHT: _("Attention weight (not evidence)"),
            Chart.SLICE_PROBABILITY: _("Slice probability"),
            Chart.PROBABILITY: _("Running probability"),
            Chart.LAA: _("Low attenuation area (LAA%-950)"),
            Chart.ACTIVATION: _("Activation of the units"),
            Chart.LAA_BY_LUNG: _("Low attenuation area of each lung"),
            Chart.HISTOGRAM: _("Histogram of lung density"),
            Chart.REGIONS: _("Low attenuation area by region"),
            Chart.CLUSTERS: _("Sizes of low attenuation areas"),
        }[self]

    @property
    def column(self) -> str | None:
        """The column of the slice table that it draws; None for charts of what isn't in it."""
        return MEASURES[self].title if self in MEASURES else None


MEASURES = {
    Chart.EVIDENCE: SliceMeasure.EVIDENCE,
    Chart.WEIGHT: SliceMeasure.WEIGHT,
    Chart.SLICE_PROBABILITY: SliceMeasure.PROBABILITY,
    Chart.PROBABILITY: SliceMeasure.RUNNING_PROBABILITY,
    Chart.LAA: SliceMeasure.LAA_950,
}
"""The figures that charts draw; activation is not one of them."""


@dataclass(frozen=True)
class ChartNodes:
    """The nodes of all charts.

    Attributes:
        chart_table: what is drawn, three rows for each slice in reading order; ``slice_table`` is for people.
        marker_table: two rows: the ends of the line that marks a slice, in each chart.
        series: by name; those named ``marker_...`` are the marker.
        charts: those that the result has, in the order of ``Chart``.
    """

    chart_table: slicer.vtkMRMLTableNode
    marker_table: slicer.vtkMRMLTableNode
    series: dict[str, slicer.vtkMRMLPlotSeriesNode]
    charts: dict[Chart, slicer.vtkMRMLPlotChartNode]

    def all(self) -> list[slicer.vtkMRMLNode]:
        """Every node."""
        return [self.chart_table, self.marker_table, *self.series.values(), *self.charts.values()]


@dataclass(frozen=True)
class ChartContents:
    """What the charts of a result draw.

    Attributes:
        rows: columns of the chart table by title, three rows for each slice in reading order.
        marker_rows: columns of the marker table by title; the marker is at the most influential slice.
        ranges: of the values of the charts that the result has, in the order of ``Chart``.
        positions: range of the slices' positions, mm.
        units: those whose activation is drawn.
        lungs: those whose LAA%-950 is drawn by height.
    """

    rows: dict[str, NDArray[np.float64]]
    marker_rows: dict[str, NDArray[np.float64]]
    ranges: dict[Chart, tuple[float, float]]
    positions: tuple[float, float]
    units: tuple[str, ...]
    lungs: tuple[str, ...]

    def series_names(self) -> set[str]:
        """As in ``ChartNodes.series``."""
        bars = {chart.value for chart in _BARS if chart in self.ranges}
        running = {"probability", "operating_point"} if Chart.PROBABILITY in self.ranges else set()
        lungs = {_LUNGS[side][0] for side in self.lungs}
        return bars | running | lungs | set(self.units) | {f"marker_{chart.value}" for chart in self.ranges}


def chart_contents(result: ScanResult) -> ChartContents:
    """What the charts of a result draw."""
    laa = np.nan_to_num(result.laa_950_by_slice_percent)  # without lung: no bar
    activation, ranges = activation_by_slice(result), _ranges(result)
    by_lung = {_LUNGS[side][0]: laa for side, laa in result.measurements.laa_950_by_height_percent.items()}
    columns = {**tables.by_slice(result), SliceMeasure.LAA_950.title: laa}
    columns.pop(SliceMeasure.RUNNING_LOGIT.title, None)  # in the slice table only
    marked = result.slice_positions_mm[result.telling_slices(1)[0]]
    return ChartContents(
        rows=_rows_of_slices({POSITION: result.slice_positions_mm, **columns, **activation, **by_lung}),
        marker_rows={
            POSITION: np.full(2, marked),
            **{chart.value: np.array(limits) for chart, limits in ranges.items()},
        },
        ranges={chart: ranges[chart] for chart in Chart if chart in ranges},
        positions=_positions_range(result.slice_positions_mm),
        units=tuple(activation),
        lungs=tuple(side for side in _LUNGS if _LUNGS[side][0] in by_lung),
    )


def add_charts(scene: slicer.vtkMRMLScene, contents: ChartContents, name: str) -> ChartNodes:
    """Tables, series and charts of a result.

    Args:
        scene: gets the new nodes.
        contents: what the charts draw.
        name: of the CT; tables and charts begin with it.
    """
    ranges = contents.ranges
    table = tables.add_table(scene, f"{name} chart", contents.rows)
    marker_table = tables.add_table(scene, f"{name} chart marker", contents.marker_rows)
    bars = {
        chart.value: _add_line(scene, table, MEASURES[chart].title, _bar_name(chart), colour, BAR_WIDTH)
        for chart, colour in _BARS.items()
        if chart in ranges
    }
    lines = {unit: _add_line(scene, table, unit, unit, UNITS[unit], width=2) for unit in contents.units}
    for side in contents.lungs:
        title, colour, name_of_lung = _LUNGS[side]
        lines[title] = _add_line(scene, table, title, name_of_lung, colour, width=2)
    if Chart.PROBABILITY in ranges:
        running = _add_line(
            scene, table, SliceMeasure.RUNNING_PROBABILITY.title, _("Running probability"), BLUE, width=2
        )
        running.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        running.SetMarkerSize(5)
        point = _add_line(scene, table, OPERATING_POINT, _("Operating point"), GREY)
        point.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleDash)
        lines |= {"probability": running, "operating_point": point}
    markers = {
        f"marker_{chart.value}": _add_line(scene, marker_table, chart.value, _("Shown slice"), MARKER_COLOUR, width=1.5)
        for chart in ranges
    }
    series = {**bars, **lines, **markers}
    charts = {
        chart: _add_chart(scene, chart, series_in(chart, series), name, contents) for chart in Chart if chart in ranges
    }
    return ChartNodes(table, marker_table, series, charts)


def can_draw(nodes: ChartNodes, contents: ChartContents) -> bool:
    """Whether charts, made for another result, can draw this one when their tables are replaced."""
    of_table = {nodes.chart_table.GetID(): contents.rows, nodes.marker_table.GetID(): contents.marker_rows}
    columns_there = all(
        series.GetXColumnName() in of_table.get(series.GetTableNodeID(), {}) for series in nodes.series.values()
    )
    same = set(nodes.charts) == set(contents.ranges) and set(nodes.series) == contents.series_names()
    return same and columns_there and all(map(runs_upwards, nodes.charts.values()))


def redraw(nodes: ChartNodes, contents: ChartContents, name: str) -> None:
    """Let charts draw another result, without a node added or removed.

    Args:
        nodes: charts of which ``can_draw`` holds.
        contents: of the other result.
        name: of the CT.
    """
    for table, title, rows in (
        (nodes.chart_table, f"{name} chart", contents.rows),
        (nodes.marker_table, f"{name} chart marker", contents.marker_rows),
    ):
        table.SetName(title)
        table.SetAndObserveTable(tables.vtk_table(rows))
    for chart, node in nodes.charts.items():
        _set_ranges(node, chart, name, contents)


def _set_ranges(node: slicer.vtkMRMLPlotChartNode, chart: Chart, name: str, contents: ChartContents) -> None:
    node.SetName(f"{name} {chart.value} by slice")
    low, high = contents.ranges[chart]
    legend = chart in (Chart.ACTIVATION, Chart.LAA_BY_LUNG)  # elsewhere the title says it all
    node.XAxisRangeAutoOff()
    node.SetXAxisRange(low, high + LEGEND_ROOM * (high - low) if legend else high)
    node.YAxisRangeAutoOff()
    node.SetYAxisRange(*contents.positions)
    node.SetLegendVisibility(legend)


def _ranges(result: ScanResult) -> dict[Chart, tuple[float, float]]:
    """The lowest and highest value of the axis of each chart that a result has."""
    laa = np.nan_to_num(result.laa_950_by_slice_percent)
    ranges = {Chart.LAA: (0.0, max(LEAST_LAA_PERCENT, float(laa.max()) * (1 + MARGIN)))}
    for chart in (Chart.EVIDENCE, Chart.WEIGHT):
        if MEASURES[chart] in result.by_slice:
            ranges[chart] = _range_of(result.by_slice[MEASURES[chart]])
    for chart in (Chart.SLICE_PROBABILITY, Chart.PROBABILITY):
        if MEASURES[chart] in result.by_slice:
            ranges[chart] = (0.0, 1.0)
    if result.activations:
        ranges[Chart.ACTIVATION] = (0.0, 1.0 + MARGIN)
    by_lung = result.measurements.laa_950_by_height_percent.values()
    if by_lung:
        most = max(float(np.nan_to_num(values).max()) for values in by_lung)
        ranges[Chart.LAA_BY_LUNG] = (0.0, max(LEAST_LAA_PERCENT, most * (1 + MARGIN)))
    return ranges


def series_in(chart: Chart, series: Mapping[str, slicer.vtkMRMLPlotSeriesNode]) -> list[slicer.vtkMRMLPlotSeriesNode]:
    """Those of a result's series that a chart draws, the marker last."""
    names = {
        Chart.PROBABILITY: ["probability", "operating_point"],
        Chart.ACTIVATION: [name for name in series if name in UNITS],
        Chart.LAA_BY_LUNG: [title for title, _colour, _name in _LUNGS.values()],
    }.get(chart, [chart.value])
    return [series[name] for name in (*names, f"marker_{chart.value}") if name in series]


def runs_upwards(chart: slicer.vtkMRMLPlotChartNode) -> bool:
    """Whether the slices' positions run upwards in a chart; in scenes of earlier versions they run to the right."""
    series = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    return any(one is not None and one.GetYColumnName() == POSITION for one in series)


def is_by_slice(chart: slicer.vtkMRMLPlotChartNode) -> bool:
    """Whether an axis of a chart are the slices' positions."""
    series = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    return any(POSITION in (one.GetXColumnName(), one.GetYColumnName()) for one in series if one is not None)


def _rows_of_slices(columns: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The rows of the table: of a bar zero, its value and a break, of anything else its value three times."""
    rows = {title: np.repeat(values, ROWS_OF_A_SLICE) for title, values in columns.items()}
    for column in (MEASURES[chart].title for chart in _BARS):
        if column in rows:
            rows[column][0::ROWS_OF_A_SLICE], rows[column][2::ROWS_OF_A_SLICE] = 0.0, np.nan
    return rows


def activation_by_slice(result: ScanResult) -> dict[str, NDArray[np.float64]]:
    """How active each unit was in the lungs of each slice, in reading order, as a share of its most active slice.

    Returns:
        By unit: (slices,) the mean activation within the lungs, divided by its own largest; NaN without lung.
    """
    shares = {}
    for unit, raw in result.activations.items():
        lung = area_average(result.lung_fraction.values, raw.values.shape).astype(np.float64)
        area = lung.sum(axis=(1, 2))
        total = (raw.values * lung).sum(axis=(1, 2))
        mean = np.divide(total, area, out=np.full(len(area), np.nan), where=area > 0)[result.slice_indices]
        largest = np.nanmax(mean) if np.isfinite(mean).any() else 0.0
        shares[unit] = mean / largest if largest > 0 else mean
    return shares


_BARS = {Chart.EVIDENCE: ORANGE, Chart.WEIGHT: PURPLE, Chart.SLICE_PROBABILITY: BLUE, Chart.LAA: GREEN}


def _bar_name(chart: Chart) -> str:
    return SliceMeasure.LAA_950.title if chart is Chart.LAA else chart.label()


def _range_of(values: NDArray[np.float64]) -> tuple[float, float]:
    """What a chart of bars shows: all of them and zero, with a margin."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    margin = MARGIN * (high - low) or 1.0
    return low - margin * (low < 0 or high == 0), high + margin * (high > 0 or low == 0)


def _positions_range(positions: NDArray[np.float64]) -> tuple[float, float]:
    """All slices with one more at either end."""
    low, high = float(positions.min()), float(positions.max())
    slice_mm = (high - low) / max(len(positions) - 1, 1) or 1.0
    return low - slice_mm, high + slice_mm


def _title(chart: Chart) -> str:
    return {
        Chart.EVIDENCE: _("Evidence by slice"),
        Chart.WEIGHT: _("Attention weight"),
        Chart.SLICE_PROBABILITY: _("Slice probability"),
        Chart.PROBABILITY: _("Running probability"),
        Chart.LAA: _("LAA%-950 by slice"),
        Chart.ACTIVATION: _("Activation by slice"),
        Chart.LAA_BY_LUNG: _("LAA%-950 of each lung by slice"),
    }[chart]


def _value_title(chart: Chart) -> str:
    return {
        Chart.EVIDENCE: _("Evidence (logit)"),
        Chart.WEIGHT: _("Weight (not evidence)"),
        Chart.SLICE_PROBABILITY: _("Slice probability"),
        Chart.PROBABILITY: _("Running probability"),
        Chart.LAA: _("LAA%-950 (%)"),
        Chart.ACTIVATION: _("Activation (of largest)"),
        Chart.LAA_BY_LUNG: _("LAA%-950 of each lung (%)"),
    }[chart]


def _add_line(
    scene: slicer.vtkMRMLScene,
    table: slicer.vtkMRMLTableNode,
    column: str,
    name: str,
    colour: tuple[float, float, float],
    width: float = 1.0,
) -> slicer.vtkMRMLPlotSeriesNode:
    series = _add_series(scene, table, column, name, colour)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetLineWidth(width)
    return series


def _add_series(
    scene: slicer.vtkMRMLScene,
    table: slicer.vtkMRMLTableNode,
    column: str,
    name: str,
    colour: tuple[float, float, float],
) -> slicer.vtkMRMLPlotSeriesNode:
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    series.SetName(name)  # what the legend shows, so without the CT's name
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(column)
    series.SetYColumnName(POSITION)
    series.SetColor(*colour)
    return series


def _add_chart(
    scene: slicer.vtkMRMLScene,
    chart: Chart,
    series: Sequence[slicer.vtkMRMLPlotSeriesNode],
    name: str,
    contents: ChartContents,
) -> slicer.vtkMRMLPlotChartNode:
    node = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    for one in series:
        node.AddAndObservePlotSeriesNodeID(one.GetID())
    node.SetTitle(_title(chart))
    node.SetXAxisTitle(_value_title(chart))
    node.SetYAxisTitle(_("Position S (mm)"))
    node.SetTitleFontSize(13)
    node.SetTitleVisibility(False)  # its room would be missing beside the apices; the axis says the same
    node.SetAxisTitleFontSize(12)
    node.SetAxisLabelFontSize(11)
    node.SetLegendFontSize(11)
    _set_ranges(node, chart, name, contents)
    return node
