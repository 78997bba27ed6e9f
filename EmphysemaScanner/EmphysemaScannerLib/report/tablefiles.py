"""A scan's numbers as CSV tables, for spreadsheets and statistics programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from ..lungs.regions import LOBES
from ..scan.result import LUNG_MEASURES, ScanResult

SLICES_FILE, DENSITOMETRY_FILE = "slices.csv", "densitometry.csv"


def slices_csv(result: ScanResult) -> str:
    """A line for each slice, in reading order.

    Columns: read (1 is read first), slice (index from inferior to superior, from 0), position_mm (RAS S); as far as the
    model gives them: evidence and running_logit (logit), running_probability (0 to 1), attention_weight (of sum 1),
    slice_probability (0 to 1); laa_950_percent (empty where the slice holds no lung).
    """
    columns = {
        "slice": result.slice_indices,
        "position_mm": result.slice_positions_mm,
        **{measure.column: values for measure, values in result.by_slice.items()},
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return _csv(("read", *columns), ((number, *row) for number, row in enumerate(rows, start=1)))


def densitometry_csv(result: ScanResult) -> str:
    """A line for each region of the lungs.

    Columns are region, the fields of ``Densitometry``, not rounded, as far as the model has them
    disease_extent_percent and evidence_share_percent, and mask: whose mask the region was drawn by, a value of
    ``regions.MaskKind``.
    """
    shares = {
        "disease_extent_percent": result.disease_extent_percent,
        "evidence_share_percent": result.evidence_share_percent,
    }
    shares = {title: percent for title, percent in shares.items() if percent}
    titles = ("region", *(measure.field for measure in LUNG_MEASURES), *shares, "mask")
    rows = (
        (
            name,
            *(measure.of(region) for measure in LUNG_MEASURES),
            *(percent.get(name, math.nan) for percent in shares.values()),
            _mask_of(name, result),
        )
        for name, region in result.densitometry.items()
    )
    return _csv(titles, rows)


def _mask_of(region: str, result: ScanResult) -> str:
    is_lobe = region in {lobe.value for lobe in LOBES}
    origin = result.lobes_from if is_lobe and result.lobes_from is not None else result.lungs_from
    return origin.kind.value


def _csv(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(titles)
    for row in rows:
        writer.writerow("" if isinstance(value, float) and not math.isfinite(value) else value for value in row)
    return buffer.getvalue()
