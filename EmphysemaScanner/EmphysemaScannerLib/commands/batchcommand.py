"""The command ``batch``: many CTs in, one CSV out."""

from __future__ import annotations

from pathlib import Path

from ..base.errors import shown
from ..batch.batch import find_cts, run_batch
from ..batch.row import DONE, BatchRow
from ..models.modelfolder import default_model_path
from ..report import wording
from ..scan.device import Device, Precision
from .scancommand import progress_bar


def batch_scan(
    path: Path,
    out: Path,
    model: Path | None,
    device: Device,
    precision: Precision,
    processes: int = 1,
    retry: bool = False,
) -> None:
    """Scan the CTs at a path, print a line for each, and write the CSV.

    Raises:
        EmphysemaScannerError: (a kind of) what the user can mend.
    """
    sources = find_cts(path)
    with progress_bar() as progress:
        summary = run_batch(
            sources,
            out,
            model or default_model_path(),
            device,
            precision,
            processes=processes,
            retry=retry,
            progress=progress,
            on_row=_say,
        )
    print(shown(str(summary)))
    if summary.refused_before:
        print(f"Refused in an earlier run and unchanged since: {summary.refused_before}; --retry scans them again.")
    print(wording.RESEARCH_USE)


def _say(row: BatchRow) -> None:
    outcome = f"refused: {row.problem}"
    if row.status == DONE:
        outcome = f"{wording.percent(row.probability)}, {wording.CALL_NAMES.get(row.call, row.call)}"
    print(shown(f"{row.source}: {outcome}"), flush=True)
