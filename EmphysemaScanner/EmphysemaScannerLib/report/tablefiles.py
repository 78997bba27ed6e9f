"""A scan's numbers as CSV tables, for spreadsheets and statistics programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence

from ..lungs.densitometry import HISTOGRAM_HU
from ..lungs.expiration import ExpiratoryPair
from ..lungs.measurements import Measurements
from ..lungs.measures import CLUSTER_MEASURES, DISTRIBUTION_MEASURES, LUNG_MEASURES, PAIR_MEASURES
from ..lungs.regions import LOBES
from ..scan.result import ScanResult

SLICES_FILE, DENSITOMETRY_FILE = "slices.csv", "densitometry.csv"
MEASUREMENTS_FILE, CLUSTERS_FILE = "measurements.csv", "clusters.csv"
CLUSTER_SIZES_FILE, HISTOGRAM_FILE = "cluster_sizes.csv", "histogram.csv"


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
    """A line for each region of the lungs and each part that was measured.

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
        for name, region in {**result.densitometry, **result.measurements.parts}.items()
    )
    return _csv(titles, rows)


def further_csvs(result: ScanResult) -> dict[str, str]:
    """The tables of what was measured beside densitometry, by the names of their files, as far as it was.

    measurements.csv: a line for each figure: region, the CT it was measured in ("raw", "smooth_kernel" for the CT made
    like one of a smooth kernel, "less_noise" after a sliding average, "expiratory_pair" of this CT and one in
    expiration), measure, value, unit. clusters.csv: the volumes
    of the largest clusters of each region. cluster_sizes.csv: how many areas in the slices are at least as large as
    each size. histogram.csv: voxels of each whole HU by region; the first and the last line hold what lies beyond, too.
    """
    measured = result.measurements
    tables = {}
    if rows := list(_figures(measured, result.expiration)):
        tables[MEASUREMENTS_FILE] = _csv(("region", "ct", "measure", "value", "unit"), rows)
    if measured.clusters:
        tables[CLUSTERS_FILE] = _csv(
            ("region", "rank", "volume_ml"),
            (
                (name, rank, volume)
                for name, found in measured.clusters.items()
                for rank, volume in enumerate(found.largest_ml, start=1)
            ),
        )
        tables[CLUSTER_SIZES_FILE] = _csv(
            ("region", "area_mm2", "areas_at_least"),
            (
                (name, area, count)
                for name, found in measured.clusters.items()
                for area, count in zip(found.areas_mm2.tolist(), found.at_least.tolist(), strict=True)
            ),
        )
    if measured.histograms:
        columns = [HISTOGRAM_HU.tolist(), *(counts.tolist() for counts in measured.histograms.values())]
        tables[HISTOGRAM_FILE] = _csv(("hu", *measured.histograms), zip(*columns, strict=True))
    return tables


def _figures(measured: Measurements, pair: ExpiratoryPair | None) -> Iterator[tuple[str, str, str, float, str]]:
    if measured.histograms:
        for measure in DISTRIBUTION_MEASURES:
            yield "whole", "raw", measure.field, measure.of(measured.distribution), measure.unit
    for name, found in measured.clusters.items():
        for measure in CLUSTER_MEASURES:
            yield name, "raw", measure.field, measure.of(found), measure.unit
    for name, figures in (pair.regions if pair is not None else {}).items():
        for measure in PAIR_MEASURES:
            yield name, "expiratory_pair", measure.field, measure.of(figures), measure.unit
    normalised = measured.normalised
    for ct, regions in (("smooth_kernel", normalised.of_smooth_kernel), ("less_noise", normalised.with_less_noise)):
        for name, region in regions.items():
            for measure in LUNG_MEASURES:
                yield name, ct, measure.field, measure.of(region), measure.unit


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
