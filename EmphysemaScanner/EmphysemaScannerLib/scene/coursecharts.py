"""Charts of figures over time, one for each figure, drawn beside the two CTs of a follow-up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from numpy.typing import NDArray

from ..i18n import tr as _
from . import tables
from .charts import BLUE, GREY
from .densitycharts import add_chart, draw_line, fix_ranges

YEAR, VALUE = "Year", "Value"
_ENDS = ("Lower limit", "Upper limit")
_ROOM = 0.15  # of the time between the first and the last CT, on either side


@dataclass(frozen=True, eq=False)
class FigureOverTime:
    """A figure of the CTs of one patient.

    Attributes:
        title: of the figure, with its unit.
        years: dates as decimal years, rising.
        values: (CTs,); NaN where it was not measured.
        limits: the range around the first value in which repeated CTs lie; None where no limit is published.
        shown: lowest and highest value of the axis.
    """

    title: str
    years: NDArray[np.float64]
    values: NDArray[np.float64]
    limits: tuple[float, float] | None
    shown: tuple[float, float]


def add_course_chart(
    scene: slicer.vtkMRMLScene, figure: FigureOverTime, name: str
) -> tuple[slicer.vtkMRMLPlotChartNode, list[slicer.vtkMRMLNode]]:
    """The chart of a figure over time.

    Args:
        scene: gets the new nodes.
        figure: what is drawn.
        name: of the CT; tables and charts begin with it.

    Returns:
        The chart, and every new node.
    """
    title = f"{name} {figure.title}"
    first, last = float(figure.years[0]), float(figure.years[-1])
    room = _ROOM * (last - first)
    shown = (first - room, last + room)
    table = tables.add_table(scene, title, {YEAR: figure.years, VALUE: figure.values})
    line = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    draw_line(line, table, (YEAR, VALUE), figure.title, BLUE, 2)
    line.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    line.SetMarkerSize(8)
    made, series = [table, line], [line]
    if figure.limits is not None:
        rows = {end: np.full(2, value) for end, value in zip(_ENDS, figure.limits, strict=True)}
        limits = tables.add_table(scene, f"{title} repeatability limits", {YEAR: np.array(shown), **rows})
        made.append(limits)
        for end in _ENDS:
            limit = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
            draw_line(limit, limits, (YEAR, end), _("Repeatability limit"), GREY, 1.5)
            limit.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleDash)
            series.append(limit)
        made += series[1:]
    # The plot is low beside the CTs: a title beside the axis would not fit.
    across = _("{figure} by year").format(figure=figure.title)
    chart = add_chart(scene, series, (f"{title} over time", across, ""))
    chart.SetLegendVisibility(False)
    fix_ranges(chart, shown, figure.shown)
    return chart, [*made, chart]
