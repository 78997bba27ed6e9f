"""A follow-up's files: report, tables, everything as JSON, maps."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import math
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from .. import __version__
from ..base.progress import Progress, silent
from ..i18n import tr as _
from ..report.blocks import Drawing
from ..report.contents import pseudonym
from ..report.pictures import Drawn, as_file
from .comparison import Comparison
from .contents import page
from .figures import FIGURES
from .followup import FollowUp

HTML_FILE, PDF_FILE, JSON_FILE = "followup.html", "followup.pdf", "followup.json"
VALUES_FILE, CHANGES_FILE = "values.csv", "changes.csv"
_SCHEMA = 1


class FollowUpKind(str, Enum):
    """What can be saved."""

    REPORT_HTML = "html"
    REPORT_PDF = "pdf"
    TABLES = "tables"
    MAPS = "maps"

    def label(self) -> str:
        """Its name while it is written."""
        return {
            FollowUpKind.REPORT_HTML: _("Report (HTML)"),
            FollowUpKind.REPORT_PDF: _("Report (PDF)"),
            FollowUpKind.TABLES: _("Tables (CSV, JSON)"),
            FollowUpKind.MAPS: _("Change maps (NRRD)"),
        }[self]


def without_names(follow_up: FollowUp) -> FollowUp:
    """A follow-up whose CTs are called by names made from their voxels, instead of their nodes' or files'."""
    points = {id(p): p.renamed(pseudonym(p.image)) for p in follow_up.course.points}
    compared = {
        id(c): dataclasses.replace(c, earlier=points[id(c.earlier)], later=points[id(c.later)])
        for c in follow_up.course.comparisons
    }
    course = dataclasses.replace(follow_up.course, points=tuple(points.values()), comparisons=tuple(compared.values()))
    maps = tuple(dataclasses.replace(m, comparison=compared[id(m.comparison)]) for m in follow_up.maps)
    return FollowUp(course, maps, follow_up.problems)


def write_follow_up(
    follow_up: FollowUp,
    folder: Path,
    kinds: Sequence[FollowUpKind] = tuple(FollowUpKind),
    progress: Progress = silent,
) -> list[str]:
    """Write a follow-up into an existing folder.

    Args:
        follow_up: the CTs over time.
        folder: an existing folder.
        kinds: what to write.
        progress: told the share done and the kind; whatever it raises ends the work.

    Returns:
        The names of the files.
    """
    names = []
    for k, kind in enumerate(kinds):
        progress(k / len(kinds), kind.label())
        if kind is FollowUpKind.MAPS:
            names += _write_maps(follow_up, folder)
            continue
        for name, content in _contents(kind, follow_up).items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
            names.append(name)
    progress(1.0, "")
    return names


def _contents(kind: FollowUpKind, follow_up: FollowUp) -> dict[str, str | bytes]:
    if kind is FollowUpKind.REPORT_HTML:
        from ..report.report import render_page

        return {HTML_FILE: render_page(page(follow_up), draw(follow_up))}
    if kind is FollowUpKind.REPORT_PDF:
        from ..report.pdfreport import render_document

        return {PDF_FILE: render_document(page(follow_up), draw(follow_up))}
    values = json.dumps(to_dict(follow_up), indent=2, ensure_ascii=False, allow_nan=False)
    return {VALUES_FILE: values_csv(follow_up), CHANGES_FILE: changes_csv(follow_up), JSON_FILE: f"{values}\n"}


@functools.lru_cache(maxsize=1)  # the page and the PDF are written one after the other
def draw(follow_up: FollowUp) -> Drawn:
    """The pictures of the report."""
    from .changepicture import change_picture
    from .timechart import time_chart

    drawn: Drawn = {Drawing.CHART: ("svg", as_file(time_chart(follow_up.course), "svg"))}
    if follow_up.maps:
        drawn[Drawing.MAP] = ("png", as_file(change_picture(follow_up.maps[-1]), "png"))
    return drawn


def values_csv(follow_up: FollowUp) -> str:
    """A line for each CT: date, name, days since the first CT, and the figures with their units in the titles."""
    course = follow_up.course
    first = course.points[0].taken
    titles = ["date", "ct", "days", *(f"{figure.key} ({figure.unit})" for figure in FIGURES), "noise (HU)"]
    rows = []
    for point in course.points:
        values = [_cell(figure.of(point, course.volume_l)) for figure in FIGURES]
        rows.append(
            [point.taken.isoformat(), point.result.source, (point.taken - first).days, *values, _cell(point.noise_hu)]
        )
    return _csv(titles, rows)


def changes_csv(follow_up: FollowUp) -> str:
    """A line for each figure of each later CT against the first."""
    titles = [
        *("from", "to", "years", "figure", "unit", "before", "after", "change", "change_per_year"),
        *("repeatability_low", "repeatability_high", "verdict", "source_of_limits"),
    ]
    rows = []
    for comparison in follow_up.course.comparisons:
        for change in comparison.changes:
            limit = change.figure.limit
            rows.append(
                [
                    *(comparison.earlier.taken.isoformat(), comparison.later.taken.isoformat()),
                    *(_cell(comparison.years), change.figure.key, change.figure.unit),
                    *(_cell(change.before), _cell(change.after), _cell(change.difference), _cell(change.per_year)),
                    *(("", "") if limit is None else (limit.low, limit.high)),
                    *(change.verdict.value, "" if limit is None else limit.source),
                ]
            )
    return _csv(titles, rows)


def to_dict(follow_up: FollowUp) -> dict[str, Any]:
    """The follow-up as strict JSON values; what was not measured is None.

    Keys: schema; version; common_lung_volume_l; cts (date, name, figures by key, noise_hu, blood_hu, technique,
    warnings, run); comparisons (from, to, years, changes by key with before, after, change, change_per_year, limits and
    verdict; differences with kind and sentence; map: mean, lost and gained share, registration quality, or None);
    notes; problems.
    """
    course = follow_up.course
    maps = {id(made.comparison): made for made in follow_up.maps}
    return {
        "schema": _SCHEMA,
        "version": __version__,
        "common_lung_volume_l": course.volume_l,
        "figures": {figure.key: {"title": figure.title, "unit": figure.unit} for figure in FIGURES},
        "cts": [
            {
                "date": point.taken.isoformat(),
                "name": point.result.source,
                "figures": {figure.key: _known(figure.of(point, course.volume_l)) for figure in FIGURES},
                "noise_hu": _known(point.noise_hu),
                "blood_hu": _known(point.blood_hu),
                "technique": {
                    "scanner": point.technique.scanner,
                    "kernel": point.technique.kernel,
                    "slice_thickness_mm": _known(point.technique.thickness_mm),
                    "exposure_mas": _known(point.technique.exposure_mas),
                    "ctdi_vol_mgy": _known(point.technique.ctdi_mgy),
                    "tube_kv": _known(point.technique.tube_kv),
                    "contrast_agent": point.technique.contrast_agent,
                },
                "warnings": list(point.result.warnings),
                "model": point.result.model.name,
                "voxels_sha256": point.result.run.input_sha256 if point.result.run else None,
            }
            for point in course.points
        ],
        "comparisons": [
            {**_compared(comparison), "map": _map(maps.get(id(comparison)))} for comparison in course.comparisons
        ],
        "notes": list(course.notes),
        "problems": list(follow_up.problems),
    }


def _compared(comparison: Comparison) -> dict[str, Any]:
    return {
        "from": comparison.earlier.taken.isoformat(),
        "to": comparison.later.taken.isoformat(),
        "years": comparison.years,
        "changes": {
            change.figure.key: {
                "before": _known(change.before),
                "after": _known(change.after),
                "change": _known(change.difference),
                "change_per_year": _known(change.per_year),
                "repeatability": None
                if change.figure.limit is None
                else [change.figure.limit.low, change.figure.limit.high],
                "source": None if change.figure.limit is None else change.figure.limit.source,
                "verdict": change.verdict.value,
            }
            for change in comparison.changes
        },
        "differences": [
            {"kind": difference.kind.value, "sentence": difference.sentence} for difference in comparison.differences
        ],
    }


def _map(made: Any) -> dict[str, Any] | None:
    if made is None:
        return None
    quality = made.quality
    return {
        "mean_change_g_per_l": _known(made.mean_g_per_l),
        "lost_percent": _known(made.lost_percent),
        "gained_percent": _known(made.gained_percent),
        "registration": {
            "dice": quality.dice,
            "correlation": quality.correlation,
            "folded_percent": quality.folded_percent,
            "inverse_consistency_mm": quality.inverse_consistency_mm,
            "warnings": list(quality.doubts),
        },
    }


def _write_maps(follow_up: FollowUp, folder: Path) -> list[str]:
    """``density_change_<day>.nrrd``, g/L, and ``registered_<day>.nrrd``, the later CT on the earlier one's grid, HU."""
    names = []
    for made in follow_up.maps:
        day, grid = made.comparison.later.taken.isoformat(), made.comparison.earlier.result.lung_mask.grid
        for name, image in (
            (f"density_change_{day}.nrrd", made.change.grid.to_image(made.change.values)),
            (f"registered_{day}.nrrd", grid.to_image(made.moved_hu)),
        ):
            sitk.WriteImage(image, str(folder / name), useCompression=True)
            names.append(name)
    return names


def _csv(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(titles)
    writer.writerows(rows)
    return text.getvalue()


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
