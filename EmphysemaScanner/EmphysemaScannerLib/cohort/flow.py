"""The flow of a cohort from NLST: which series were left out where, the labels, and the download list."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from .manifest import CohortRow
from .nlst import NLSTCohort
from .split import counts


def flow_csv(cohort: NLSTCohort) -> str:
    """A line for each step: step, left_out (series), and the series, exams and participants that go on."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("step", "left_out", "series", "exams", "participants"))
    writer.writerows((s.title, s.left_out, s.series, s.exams, s.participants) for s in cohort.steps)
    return buffer.getvalue()


def flow_markdown(cohort: NLSTCohort, rows: Sequence[CohortRow], left_out: int) -> str:
    """The flow, what the labels are, and the splits where there are any.

    Args:
        cohort: as it was chosen.
        rows: of the manifest.
        left_out: volumes of the cohort that are in no split.
    """
    lines = [
        "| step | left out | series | exams | participants |",
        "| :--- | ---: | ---: | ---: | ---: |",
        *(f"| {s.title} | {s.left_out:,} | {s.series:,} | {s.exams:,} | {s.participants:,} |" for s in cohort.steps),
        "",
        "| emphysema | volumes | participants |",
        "| :--- | ---: | ---: |",
    ]
    for label, title in ((1, "noted in any year"), (0, "noted in none")):
        labelled = [row for row in cohort.rows if row.label == label]
        lines.append(f"| {title} | {len(labelled):,} | {len({row.patient for row in labelled}):,} |")
    lines += [
        "",
        f"{cohort.without_findings:,} participants of these have no row in the table of abnormalities: nothing was "
        f"noted, they are negative. {cohort.without_ct:,} participants of that table have no CT in the index.",
    ]
    if any(row.split for row in rows):
        lines += ["", split_markdown(rows, left_out)]
    size = sum(cohort.sizes_gb[row.series] for row in rows)
    return "\n".join([*lines, "", f"{len(rows):,} volumes to download, {size:,.0f} GB.", ""])


def split_markdown(rows: Sequence[CohortRow], left_out: int) -> str:
    """A line for each split: volumes, positive ones, patients."""
    lines = ["| split | volumes | positive | patients |", "| :--- | ---: | ---: | ---: |"]
    for split, (volumes, positive, patients) in counts(rows).items():
        lines.append(f"| {split or 'none'} | {volumes:,} | {positive:,} | {patients:,} |")
    if left_out:
        lines += ["", f"{left_out:,} further volumes of test patients are left out: one volume a patient is tested."]
    return "\n".join(lines)


def download_list(cohort: NLSTCohort, rows: Sequence[CohortRow], manifest_name: str) -> str:
    """Commands for ``s5cmd run``, to be run in the manifest's folder; idc-index reads them too."""
    lines = [
        f"# The volumes of {manifest_name}. In its folder:",
        f"# s5cmd --no-sign-request --endpoint-url https://s3.amazonaws.com run {Path(manifest_name).stem}.s5cmd",
    ]
    for row in rows:
        folder = "/".join(row.volume.parts[-4:])
        lines.append(f"cp {cohort.urls[row.series]} {folder}/")
    return "\n".join([*lines, ""])
