"""The command ``batch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..base.errors import shown
from ..lungs.scope import Scope
from ..report import wording
from ..scan.device import Device, Precision
from .options import ClusterOption, DeviceOption, DicomOutOption, MeasureOption, ModelOption, number_of
from .progress import progress_bar

if TYPE_CHECKING:
    from ..batch.row import BatchRow


def batch(  # noqa: PLR0913  # one parameter per option
    path: Annotated[
        Path,
        typer.Argument(
            help="A folder to search, or a CSV: volume, and, as known, lungs, lobes, expiratory.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="CSV, or folder, for the results; one that was begun is continued.")],
    model: ModelOption = None,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="Numerical precision.")] = Precision.AUTO,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many CTs to scan at a time, if memory allows; 1 if not given.")
    ] = None,
    cluster: ClusterOption = "",
    retry: Annotated[
        bool, typer.Option("--retry", help="Scan refused CTs again, also those whose files have not changed.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Copy CTs that are not there from the addresses in the list's column url.")
    ] = False,
    dicom_out: DicomOutOption = None,
    measure: MeasureOption = Scope.HISTOGRAM,
) -> None:
    """Scan many CTs into one CSV, one row per CT; run again to resume, and to scan changed CTs again."""
    from ..archive.writing import check_packages
    from ..batch.batch import addresses_of, find_cts, find_expiratory, find_masks, run_batch
    from ..batch.parquet import write_parquet
    from ..batch.row import BatchError
    from ..models.modelfolder import default_model_path

    number = number_of(processes, cluster)
    if dicom_out:
        check_packages()
    sources, at = find_cts(path), addresses_of(path)
    if not fetch and (away := sum(source in at and not source.exists() for source in sources)):
        raise BatchError(
            f"{away} of {len(sources)} CTs are not here but have an address; --fetch copies them from there."
        )
    csv = _csv(out)
    with progress_bar() as progress:
        summary = run_batch(
            sources,
            csv,
            model or default_model_path(),
            device,
            precision,
            masks=find_masks(path),
            expiratory=find_expiratory(path),
            processes=number,
            cluster=cluster,
            at=at,
            retry=retry,
            objects=dicom_out,
            measure=measure,
            progress=progress,
            on_row=_print_row,
        )
    print(shown(str(summary)))
    if csv != out and write_parquet(csv, csv.with_suffix(".parquet")):
        print(shown(f"The same as Parquet: '{csv.with_suffix('.parquet')}'."))
    if summary.refused_before:
        print(f"Refused in an earlier run and unchanged since: {summary.refused_before}; --retry scans them again.")
    print(wording.RESEARCH_USE)


def _csv(out: Path) -> Path:
    """The CSV itself, or that of a folder; what is not there yet is a folder if its name has no extension."""
    is_folder = out.is_dir() or not (out.exists() or out.suffix)
    return out / "results.csv" if is_folder else out


def _print_row(row: BatchRow) -> None:
    from ..batch.row import DONE

    outcome = f"refused: {row.problem}"
    if row.status == DONE:
        outcome = f"{wording.percent(row.probability)}, {wording.CALL_NAMES.get(row.call, row.call)}"
    print(shown(f"{row.source}: {outcome}"), flush=True)
