"""The numbers of a scan as Slicer's tables and plots: by slice, and densitometry by region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from ..core.result import ScanResult

POSITION, EVIDENCE, PROBABILITY = "Position S (mm)", "Evidence (logit)", "Running probability"
OPERATING_POINT = "Operating point"

ORANGE, BLUE, GREY = (0.90, 0.42, 0.05), (0.10, 0.35, 0.70), (0.45, 0.45, 0.45)


def add_slice_table(scene: slicer.vtkMRMLScene, result: ScanResult, name: str) -> slicer.vtkMRMLTableNode:
    """One row for each slice, in the order in which the network's last unit read them."""
    return _add_table(
        scene,
        name,
        {
            "Slice": result.slice_indices.astype(np.int32),  # 64 bit integers don't survive Slicer's table files
            POSITION: result.slice_positions_mm,
            EVIDENCE: result.slice_evidence,
            "Running logit": result.running_logit,
            PROBABILITY: result.running_probability,
            OPERATING_POINT: np.full(len(result.slice_indices), result.model.operating_point.probability),
            "LAA%-950": result.laa_950_by_slice_percent,
        },
    )


def add_densitometry_table(scene: slicer.vtkMRMLScene, result: ScanResult, name: str) -> slicer.vtkMRMLTableNode:
    """One row for each region of the lungs."""
    regions = result.densitometry
    measured = {
        "LAA%-950": "laa_950_percent",
        "LAA%-910": "laa_910_percent",
        "LAA%-856": "laa_856_percent",
        "Perc15 (HU)": "perc15_hu",
        "Mean (HU)": "mean_hu",
        "SD (HU)": "sd_hu",
        "Volume (l)": "volume_l",
        "Mass (g)": "mass_g",
    }
    columns: dict[str, NDArray[np.generic] | Sequence[str]] = {"Region": list(regions)}
    columns.update({title: np.array([getattr(d, key) for d in regions.values()]) for title, key in measured.items()})
    return _add_table(scene, name, columns)


def add_evidence_series(
    scene: slicer.vtkMRMLScene, table: slicer.vtkMRMLTableNode, name: str
) -> slicer.vtkMRMLPlotSeriesNode:
    """Bars: what each slice added to the logit."""
    series = _add_series(scene, table, name, EVIDENCE, ORANGE)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatterBar)
    return series


def add_probability_series(
    scene: slicer.vtkMRMLScene, table: slicer.vtkMRMLTableNode, name: str
) -> slicer.vtkMRMLPlotSeriesNode:
    """A line: the probability if the scan had stopped after each slice."""
    series = _add_series(scene, table, name, PROBABILITY, BLUE)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    series.SetMarkerSize(5)
    series.SetLineWidth(2)
    return series


def add_operating_point_series(
    scene: slicer.vtkMRMLScene, table: slicer.vtkMRMLTableNode, name: str
) -> slicer.vtkMRMLPlotSeriesNode:
    """A dashed line: the probability at and above which a CT is called positive."""
    series = _add_series(scene, table, name, OPERATING_POINT, GREY)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleDash)
    return series


def add_evidence_chart(
    scene: slicer.vtkMRMLScene, series: slicer.vtkMRMLPlotSeriesNode, name: str
) -> slicer.vtkMRMLPlotChartNode:
    chart = _add_chart(scene, [series], name, "Evidence by slice", EVIDENCE)
    chart.LegendVisibilityOff()
    return chart


def add_probability_chart(
    scene: slicer.vtkMRMLScene, series: Sequence[slicer.vtkMRMLPlotSeriesNode], name: str
) -> slicer.vtkMRMLPlotChartNode:
    """On a chart of its own: probability runs from 0 to 1, evidence is a sum's signed terms."""
    chart = _add_chart(scene, series, name, "Running probability (read superior to inferior)", PROBABILITY)
    chart.YAxisRangeAutoOff()
    chart.SetYAxisRange(0.0, 1.0)
    chart.LegendVisibilityOn()
    chart.SetLegendFontSize(11)
    return chart


def _add_table(
    scene: slicer.vtkMRMLScene, name: str, columns: dict[str, NDArray[np.generic] | Sequence[str]]
) -> slicer.vtkMRMLTableNode:
    node = scene.AddNewNodeByClass("vtkMRMLTableNode")
    node.SetName(name)
    table = vtk.vtkTable()
    for title, values in columns.items():
        if isinstance(values, np.ndarray):
            column = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
        else:
            column = vtk.vtkStringArray()
            for text in values:
                column.InsertNextValue(text)
        column.SetName(title)
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def _add_series(
    scene: slicer.vtkMRMLScene,
    table: slicer.vtkMRMLTableNode,
    name: str,
    y_column: str,
    colour: tuple[float, float, float],
) -> slicer.vtkMRMLPlotSeriesNode:
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    series.SetName(name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(POSITION)
    series.SetYColumnName(y_column)
    series.SetColor(*colour)
    return series


def _add_chart(
    scene: slicer.vtkMRMLScene, series: Sequence[slicer.vtkMRMLPlotSeriesNode], name: str, title: str, y_title: str
) -> slicer.vtkMRMLPlotChartNode:
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    chart.SetName(name)
    for one in series:
        chart.AddAndObservePlotSeriesNodeID(one.GetID())
    chart.SetTitle(title)
    chart.SetXAxisTitle(POSITION)
    chart.SetYAxisTitle(y_title)
    chart.SetTitleFontSize(14)
    chart.SetAxisTitleFontSize(12)
    chart.SetAxisLabelFontSize(11)
    return chart
