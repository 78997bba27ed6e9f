"""What moves in the charts: the line at the slice that is shown, and how much of the scan has been read."""

from __future__ import annotations

import numpy as np
import slicer

from ..scan.result import SliceMeasure
from .charts import Chart
from .result import ResultNodes
from .tables import POSITION


def set_marker(nodes: ResultNodes, position_mm: float) -> None:
    """Put the line in every chart at a slice; no node is added or removed.

    Args:
        nodes: the result whose charts are meant.
        position_mm: RAS S coordinate of the slice.
    """
    ends = slicer.util.arrayFromTableColumn(nodes.marker_table, POSITION)
    if not (ends == position_mm).all():
        ends[:] = position_mm
        slicer.util.arrayFromTableColumnModified(nodes.marker_table, POSITION)


def read_up_to(nodes: ResultNodes, count: int | None) -> None:
    """Let the chart of the running probability show the first slices only, as if the scan were still being read.

    A result without a running probability stays as it is.

    Args:
        nodes: the result whose chart is meant.
        count: how many slices, in reading order; None for all.
    """
    if Chart.PROBABILITY not in nodes.charts:
        return
    running = SliceMeasure.RUNNING_PROBABILITY.title
    whole = slicer.util.arrayFromTableColumn(nodes.slice_table, running)
    shown = slicer.util.arrayFromTableColumn(nodes.chart_table, running)
    read = np.arange(len(whole)) < (len(whole) if count is None else count)
    wanted = np.repeat(np.where(read, whole, np.nan), len(shown) // len(whole))  # what is not a number is not drawn
    if not np.array_equal(shown, wanted, equal_nan=True):
        shown[:] = wanted
        slicer.util.arrayFromTableColumnModified(nodes.chart_table, running)
