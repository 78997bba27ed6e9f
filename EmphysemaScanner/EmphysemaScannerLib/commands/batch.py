"""The command ``batch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..base.errors import shown
from ..report import wording
from ..scan.device import Device, Precision
from .options import DeviceOption, ModelOption
from .progress import progress_bar

if TYPE_CHECKING:
    from ..batch.row import BatchRow


def batch(
    path: Annotated[
        Path,
        typer.Argument(
            help="A folder to search, or a CSV: volume, and, as you have them, lungs, lobes.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="CSV for the results; one that was begun is continued.")],
    model: ModelOption = None,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="With how many bits it calculates.")] = Precision.AUTO,
    processes: Annotated[int, typer.Option(min=1, help="How many CTs to scan at a time, if memory allows.")] = 1,
    retry: Annotated[
        bool, typer.Option("--retry", help="Scan refused CTs again, also those whose files have not changed.")
    ] = False,
) -> None:
    """Scan many CTs into one CSV, a row a CT as they finish; run again to resume, and to scan changed CTs again."""
    from ..batch.batch import find_cts, find_masks, run_batch
    from ..models.modelfolder import default_model_path

    sources = find_cts(path)
    with progress_bar() as progress:
        summary = run_batch(
            sources,
            out,
            model or default_model_path(),
            device,
            precision,
            masks=find_masks(path),
            processes=processes,
            retry=retry,
            progress=progress,
            on_row=_print_row,
        )
    print(shown(str(summary)))
    if summary.refused_before:
        print(f"Refused in an earlier run and unchanged since: {summary.refused_before}; --retry scans them again.")
    print(wording.RESEARCH_USE)


def _print_row(row: BatchRow) -> None:
    from ..batch.row import DONE

    outcome = f"refused: {row.problem}"
    if row.status == DONE:
        outcome = f"{wording.percent(row.probability)}, {wording.CALL_NAMES.get(row.call, row.call)}"
    print(shown(f"{row.source}: {outcome}"), flush=True)
