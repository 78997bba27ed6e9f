"""The command ``scan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..lungs.scope import Scope
from ..scan.device import Device
from .options import DeviceOption, MeasureOption, ModelOption, OutOption
from .progress import progress_bar, stage


def scan(
    path: Annotated[Path, typer.Argument(help="A chest CT: NRRD, NIfTI, MHA, or a DICOM folder.", show_default=False)],
    out: OutOption,
    model: ModelOption = None,
    device: DeviceOption = Device.AUTO,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Let slicer-core draw overlays and write scene.mrb.")
    ] = True,
    named: Annotated[
        bool, typer.Option("--named", help="Call the CT by its file's name in the results, which may name a patient.")
    ] = False,
    series: Annotated[
        str, typer.Option(help="Which CT series of a DICOM folder to read: its number, UID or description.")
    ] = "",
    measure: MeasureOption = Scope.HISTOGRAM,
) -> None:
    """Scan one CT and write result.json, report.html, overlay maps, pictures and a Slicer scene."""
    import SimpleITK as sitk

    from ..ct.reading import read_ct
    from ..models.modelfile import load
    from ..models.modelfolder import default_model_path
    from ..report.contents import Case, pseudonym
    from ..report.outputfolder import check_output_folder, whole_or_nothing
    from ..report.saving import write_case
    from ..scan.device import choose, scan_on
    from .terminal import print_scan

    sitk.ProcessObject.GlobalWarningDisplayOff()  # ITK would write its own lines before our sentence
    check_output_folder(out)
    loaded = load(model or default_model_path())
    ct = read_ct(path, series)
    source = path.resolve().name if named else pseudonym(ct.image)
    chosen = choose(device)
    with progress_bar() as progress:
        result = scan_on(chosen, ct, loaded, progress, source, measure=measure)
    with whole_or_nothing(out) as folder, stage("Writing the results"):
        skipped = write_case(Case(ct.image, result), folder, pictures)
    print_scan(Console(), result, out, skipped)
