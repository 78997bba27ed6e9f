"""Plots of the followed figures against the date, with the band in which repeated CTs lie."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page

from ..i18n import tr as _
from ..report.montage import WIDTH_INCHES
from .comparison import Course
from .figures import EXTENT, LAA_950, PERC15, PERC15_ADJUSTED, PROBABILITY, VOLUME, Figure

HEIGHT_INCHES = 3.6
INK, QUIET, BAND, RAW = "#1f2933", "#7b8794", "#d7e3ee", "#c8531c"
_PANELS = (PROBABILITY, EXTENT, LAA_950, PERC15, PERC15_ADJUSTED, VOLUME)
_ROOM = 0.15  # of the time between the first and the last CT, on either side
_MOST_TICKS = 3


def time_chart(course: Course) -> Page:
    """Six panels: probability, extent, LAA%-950, Perc15, the same volume-adjusted, lung volume."""
    page = Page(figsize=(WIDTH_INCHES, HEIGHT_INCHES), facecolor="white", layout="constrained")
    for axes, figure in zip(page.subplots(2, 3, sharex=True).flat, _PANELS, strict=True):
        _panel(axes, course, figure)
    return page


def _panel(axes: Axes, course: Course, figure: Figure) -> None:
    first = course.points[0].taken
    days = np.array([(point.taken - first).days for point in course.points], float)
    values = np.array(course.values(figure))
    room = _ROOM * float(np.ptp(days))
    axes.set_xlim(days[0] - room, days[-1] + room)
    limits = figure.limits_around(values[0])
    if limits is not None:
        axes.axhspan(*limits, color=BAND, linewidth=0)
    if np.isfinite(values).any():
        axes.plot(days, values, color=INK, linewidth=1.2, marker="o", markersize=4)
        for day, value in zip(days, values, strict=True):
            axes.annotate(
                f"{value:.{figure.digits}f}", (day, value), (0, 5), textcoords="offset points", fontsize=6, ha="center"
            )
    else:
        axes.text(0.5, 0.5, _("not measured"), fontsize=7, color=QUIET, ha="center", transform=axes.transAxes)
    axes.set_ylim(*figure.shown(values))
    ticked = np.unique(np.linspace(0, len(days) - 1, min(len(days), _MOST_TICKS)).round().astype(int))
    axes.set_xticks(days[ticked], [course.points[k].taken.isoformat() for k in ticked])
    axes.set_title(f"{figure.title} ({figure.unit})", fontsize=7.5, color=INK)
    axes.tick_params(labelsize=6, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color="#e4e7eb", linewidth=0.5)
    axes.set_axisbelow(True)
