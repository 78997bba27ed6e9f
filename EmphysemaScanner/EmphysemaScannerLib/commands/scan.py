"""The command ``scan``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from ..base.errors import EmphysemaScannerError, shown
from ..lungs.reference import NOBODY, Person
from ..lungs.scope import Scope
from ..scan.device import Device
from .options import (
    AgeOption,
    DeviceOption,
    DicomOutOption,
    DicomSendOption,
    ExpiratoryLungsOption,
    ExpiratoryOption,
    HeightOption,
    LobeLabelsOption,
    LobesOption,
    LungLabelsOption,
    LungsOption,
    MeasureOption,
    ModelOption,
    SexOption,
    WeightOption,
)
from .progress import progress_bar, stage


def scan(  # noqa: PLR0913  # one parameter per option
    path: Annotated[
        str,
        typer.Argument(
            help="A chest CT: NRRD, NIfTI, MHA, a DICOM folder, or dicomwebs://HOST/PATH/studies/UID of an archive.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the results; new, empty, or written by us before.")
    ] = None,
    dicom_out: DicomOutOption = None,
    dicom_send: DicomSendOption = "",
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
    lungs: LungsOption = None,
    lobes: LobesOption = None,
    lung_labels: LungLabelsOption = "",
    lobe_labels: LobeLabelsOption = "",
    expiratory: ExpiratoryOption = None,
    expiratory_lungs: ExpiratoryLungsOption = None,
    measure: MeasureOption = Scope.HISTOGRAM,
    sex: SexOption = None,
    age: AgeOption = None,
    height: HeightOption = None,
    weight: WeightOption = None,
) -> None:
    """Scan one CT: write result.json, report.html, overlay maps, pictures and a Slicer scene, and DICOM objects."""
    import SimpleITK as sitk

    from ..archive.fetching import check_unchanged, ct_at
    from ..archive.sending import send
    from ..archive.webaddress import WebAddress
    from ..archive.webclient import check_client
    from ..archive.writing import check_can_write, write_objects
    from ..lungs.dicomperson import person_in_file
    from ..lungs.labelfiles import MaskFiles
    from ..models.modelfile import load
    from ..models.modelfolder import default_model_path
    from ..report.contents import Case, pseudonym, without_names
    from ..report.outputfolder import check_output_folder, whole_or_nothing
    from ..report.saving import write_case
    from ..scan.device import choose, scan_on
    from ..scan.pair import read_expiratory, scan_pair
    from .terminal import print_scan

    sitk.ProcessObject.GlobalWarningDisplayOff()  # ITK would write its own lines before our sentence
    _check_folders(out, dicom_out, dicom_send)
    archive = WebAddress.parse(dicom_send) if dicom_send else None
    if archive:
        check_client()
    if expiratory_lungs is not None and expiratory is None:
        raise EmphysemaScannerError("The lung mask of --expiratory-lungs belongs to no CT; name it with --expiratory.")
    for folder in filter(None, (out, dicom_out)):
        check_output_folder(folder)
    masks = MaskFiles(lungs, lobes, lung_labels, lobe_labels).read()
    loaded = load(model or default_model_path())
    with ExitStack() as passing:
        with progress_bar() as progress:
            ct, copied = passing.enter_context(ct_at(path, series, progress))
        volume = check_can_write(ct.volume) if dicom_out or archive else None
        second = None
        if expiratory is not None:
            second = read_expiratory(expiratory, ct, MaskFiles(expiratory_lungs).read())
        source = Path(path).resolve().name if named else pseudonym(ct.image)
        chosen = choose(device)
        with progress_bar() as progress:
            result = scan_pair(
                lambda told: scan_on(chosen, ct, loaded, told, source, masks=masks, measure=measure),
                ct.image,
                second,
                progress,
            )
        result = result if named else without_names(result)
        skipped: tuple[str, ...] = ()
        person = Person(sex, age, height, weight)
        if out:
            with whole_or_nothing(out) as folder, stage("Writing the results"):
                in_header = NOBODY if ct.volume is None else person_in_file(ct.volume.first_file)
                skipped = write_case(Case(ct.image, result, person=person, in_header=in_header), folder, pictures)
        if volume:
            objects = dicom_out or Path(passing.enter_context(TemporaryDirectory(prefix="emphysema-scanner-")))
            with stage("Writing the DICOM objects"):
                write_objects(result, volume, objects, person=person)
        print_scan(Console(), result, out, skipped, dicom_out)
        if archive:
            if copied is not None:
                check_unchanged(copied)
            with progress_bar() as progress:
                print(shown(str(send(objects, archive, progress))))


def _check_folders(out: Path | None, dicom_out: Path | None, dicom_send: str) -> None:
    """Each kind of result has a folder of its own, as each replaces its earlier results whole."""
    if out is None and dicom_out is None and not dicom_send:
        raise EmphysemaScannerError(
            "Name a folder for the results with --out, or for DICOM objects with --dicom-out, or an archive with "
            "--dicom-send."
        )
    if out is None or dicom_out is None:
        return
    one, other = out.resolve(), dicom_out.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise EmphysemaScannerError(
            f"The folders for results ('{out}') and for DICOM objects ('{dicom_out}') must not be the same or lie in "
            "each other; name another folder with --dicom-out."
        )
