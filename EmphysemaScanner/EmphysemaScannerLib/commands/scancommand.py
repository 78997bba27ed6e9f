"""The command ``scan``: a path in, a folder of results out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..base.progress import Progress as ScanProgress
from ..ct.reading import CT, read_ct
from ..models.modelfile import Model, load
from ..models.modelfolder import default_model_path
from ..report.contents import Case, pseudonym
from ..report.outputfolder import check_output_folder, whole_or_nothing
from ..report.saving import write_case
from ..scan.device import Device, choose, scan_on
from ..scan.result import ScanResult
from .terminal import print_scan


def scan_path(
    path: Path,
    out: Path,
    model_file: Path | None,
    device: Device,
    pictures: bool,
    named: bool = False,
    series: str = "",
) -> None:
    """Scan the CT at a path with a model file (the shipped one if None), print a summary, write the results to ``out``.

    They call the CT by its file's name only if ``named``: names of files are often those of patients.

    Raises:
        EmphysemaScannerError: (a kind of) what the user can mend; ``out`` is then as it was before.
    """
    sitk.ProcessObject.GlobalWarningDisplayOff()  # ITK would write its own lines before our sentence
    check_output_folder(out)
    model = load(model_file or default_model_path())
    ct = read_ct(path, series)
    result = scan_ct(ct, model, device, source=path.resolve().name if named else pseudonym(ct.image))
    case = Case(ct.image, result)
    with whole_or_nothing(out) as folder, stage("Writing the results"):
        skipped = write_case(case, folder, pictures)
    print_scan(Console(), result, out, skipped)


def scan_ct(ct: CT, model: Model, device: Device, source: str) -> ScanResult:
    """Scan with the progress shown on a terminal.

    Raises:
        DeviceError: there is no such device here.
        EmphysemaScannerError: (a kind of) as ``scan.scan.scan``.
    """
    chosen = choose(device)
    with progress_bar() as progress:
        return scan_on(chosen, ct, model, progress, source)


@contextmanager
def progress_bar() -> Iterator[ScanProgress]:
    """A bar on a terminal; elsewhere nothing, or a line for each percent if $EMPHYSEMA_SCANNER_PROGRESS is "lines"."""
    if os.environ.get("EMPHYSEMA_SCANNER_PROGRESS") == "lines":
        said = -1

        def say(fraction: float, stage: str) -> None:
            nonlocal said
            if int(100 * fraction) != said:
                said = int(100 * fraction)
                print(f"{said:3} % {stage}", file=sys.stderr, flush=True)

        yield say
        return
    columns = (
        TextColumn("{task.description:34}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("Reading", total=1.0)

        def progress(fraction: float, stage: str) -> None:
            shown.update(task, completed=fraction, description=stage)

        yield progress


@contextmanager
def stage(text: str) -> Iterator[None]:
    """Say on a terminal what is being done."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        yield
