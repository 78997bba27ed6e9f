"""The commands ``cohort nlst | split | check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..base.wholefile import write_whole
from .options import HELP_OPTIONS

if TYPE_CHECKING:
    from ..cohort.manifest import CohortRow
    from ..cohort.split import Split

_LEAKS_SHOWN = 20

app = typer.Typer(
    help="Make the manifest of a cohort, split it by patient, and check it.",
    no_args_is_help=True,
    context_settings=HELP_OPTIONS,
)

SeedOption = Annotated[int, typer.Option(help="The same seed gives the same split.")]
ManifestOut = Annotated[Path, typer.Option("--out", help="The manifest to write; a new file.")]


@app.command()
def nlst(  # noqa: PLR0913  # one parameter per option
    ctab: Annotated[Path, typer.Option(help="NLST's table of CT abnormalities, nlst_ctab: CSV or Parquet.")],
    index: Annotated[Path, typer.Option(help="idc_index.parquet of the package idc-index-data.")],
    out: ManifestOut,
    prsn: Annotated[
        Path | None, typer.Option(help="NLST's participant table, nlst_prsn, for age and sex: CSV or Parquet.")
    ] = None,
    min_slices: Annotated[int, typer.Option(min=1, help="Fewest slices of a series.")] = 100,
    max_slices: Annotated[int, typer.Option(min=1, help="Most slices of a series.")] = 250,
    kernel: Annotated[
        list[str] | None,
        typer.Option(help="A reconstruction kernel to take, once for each; soft and standard ones if not given."),
    ] = None,
    any_kernel: Annotated[bool, typer.Option(help="Also keep exams that lack these kernels, with another.")] = False,
    split: Annotated[bool, typer.Option("--split", help="Assign the splits too.")] = False,
    seed: SeedOption = 1,
) -> None:
    """Make a cohort of NLST: labels from its tables, series from the index of the Imaging Data Commons.

    Beside the manifest it writes the flow (-flow.md, -flow.csv) and a download list for s5cmd or idc-index (.s5cmd).
    """
    from ..cohort.flow import download_list, flow_csv, flow_markdown
    from ..cohort.manifest import write_manifest
    from ..cohort.nlst import SOFT_KERNELS, Wanted, nlst_cohort

    _check_new(out)
    wanted = Wanted(tuple(kernel or SOFT_KERNELS), any_kernel, min_slices, max_slices)
    cohort = nlst_cohort(ctab, index, out.absolute().parent, wanted, prsn)
    rows, left_out = cohort.rows, 0
    if split:
        assigned = _split(rows, seed)
        rows, left_out = assigned.rows, len(assigned.left_out)
    flow = flow_markdown(cohort, rows, left_out)
    write_whole(out.with_suffix(".s5cmd"), download_list(cohort, rows, out.name).encode())
    write_whole(out.with_name(f"{out.stem}-flow.csv"), flow_csv(cohort).encode())
    write_whole(out.with_name(f"{out.stem}-flow.md"), flow.encode())
    write_manifest(out, rows)
    _show(flow)
    print(out)


@app.command()
def split(
    manifest: Annotated[Path, typer.Argument(help="CSV: volume, label, patient.", show_default=False)],
    out: ManifestOut,
    seed: SeedOption = 1,
) -> None:
    """Split a cohort by patient into train, tune and test in the paper's proportions; one test volume a patient."""
    from ..cohort.flow import split_markdown
    from ..cohort.manifest import read_manifest, write_manifest

    _check_new(out)
    assigned = _split(read_manifest(manifest), seed)
    write_manifest(out, assigned.rows)
    _show(split_markdown(assigned.rows, len(assigned.left_out)))
    print(out)


@app.command()
def check(
    manifests: Annotated[
        list[Path], typer.Argument(help="CSV: volume, label, patient, split; several if used together.")
    ],
    contents: Annotated[
        bool, typer.Option("--contents/--no-contents", help="Read every volume to find copies under other names.")
    ] = True,
) -> None:
    """Check that all volumes are there and that splits share no patient, exam or volume; exit code 2 if they do."""
    from rich.progress import Progress

    from ..cohort.flow import split_markdown
    from ..cohort.leaks import LeakError, find_leaks
    from ..cohort.manifest import check_volumes, read_manifest

    rows = [row for manifest in manifests for row in read_manifest(manifest)]
    check_volumes(rows)
    with Progress(transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task("Reading volumes", total=1.0, visible=contents)
        leaks = find_leaks(rows, contents=contents, progress=lambda done, _: bar.update(task, completed=done))
    for leak in leaks[:_LEAKS_SHOWN]:
        print(leak, file=sys.stderr)
    if leaks:
        raise LeakError(f"{len(leaks)} leaks in this cohort; mend the manifest before training or measuring with it.")
    _show(split_markdown(rows, 0))
    print("No leak found." if contents else "No leak found in the manifest; the volumes were not read.")


def _split(rows: tuple[CohortRow, ...], seed: int) -> Split:
    from ..cohort.split import split_cohort

    return split_cohort(rows, seed)


def _show(markdown: str) -> None:
    from rich.markdown import Markdown

    Console().print(Markdown(markdown))


def _check_new(path: Path) -> None:
    from ..cohort.manifest import ManifestError

    if path.suffix.lower() != ".csv":
        raise ManifestError(f"A manifest is a CSV file; name it '{path.stem}.csv'.")
    if path.exists():
        raise ManifestError(f"'{path}' exists already; name a new file.")
    if not path.absolute().parent.is_dir():
        raise ManifestError(f"There is no folder '{path.absolute().parent}' to write {path.name} into; make it.")
