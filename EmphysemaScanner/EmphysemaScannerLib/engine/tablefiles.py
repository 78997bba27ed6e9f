"""A scan's numbers as CSV tables, for spreadsheets and statistics programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Sequence

from ..core.result import Densitometry, ScanResult

SLICES_FILE, DENSITOMETRY_FILE = "slices.csv", "densitometry.csv"


def slices_csv(result: ScanResult) -> str:
    """A line for each slice, in the order in which the network's last unit read them.

    Columns: read (1 is read first), slice (index from inferior to superior, from 0), position_mm (RAS S), evidence and
    running_logit (logit), running_probability (0 to 1), laa_950_percent (empty where the slice holds no lung).
    """
    rows = zip(
        range(1, len(result.slice_indices) + 1),
        result.slice_indices.tolist(),
        result.slice_positions_mm.tolist(),
        result.slice_evidence.tolist(),
        result.running_logit.tolist(),
        result.running_probability.tolist(),
        result.laa_950_by_slice_percent.tolist(),
        strict=True,
    )
    titles = ("read", "slice", "position_mm", "evidence", "running_logit", "running_probability", "laa_950_percent")
    return _csv(titles, rows)


def densitometry_csv(result: ScanResult) -> str:
    """A line for each region of the lungs; columns are region and the fields of ``Densitometry``."""
    titles = ("region", *(field.name for field in dataclasses.fields(Densitometry)))
    return _csv(titles, ((name, *dataclasses.astuple(region)) for name, region in result.densitometry.items()))


def _csv(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(titles)
    for row in rows:
        writer.writerow("" if isinstance(value, float) and not math.isfinite(value) else value for value in row)
    return buffer.getvalue()
