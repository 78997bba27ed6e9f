"""What takes long, as the logic offers it, on the worker's thread; ``commands`` has what runs by itself."""

from __future__ import annotations

import dataclasses
import queue
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import slicer

from ..base.errors import EmphysemaScannerError, NotAChestCTError, ScanCancelled
from ..i18n import tr as _
from ..jobs.worker import Report
from ..lungs.regions import GivenRegions, MaskKind, Origin
from ..lungs.scope import Scope
from ..models.modelheader import read_card
from ..scene.result import add_attribution, find_result, mask_is_edited, mask_of, result_of
from ..scene.straighten import StraightImage, prepare
from . import commands
from .dicomfiles import ct_of, files_of, single_volume_of, volume_of
from .masknodes import NO_NODES, MaskNodes
from .packages import Need, ensure
from .waiting import wait_for

if TYPE_CHECKING:
    from slicer import vtkMRMLScalarVolumeNode

    from ..archive.kinds import ObjectKind
    from ..batch.batch import BatchSummary
    from ..batch.row import BatchRow
    from ..ct.series import Volume
    from ..evaluation.compare import Comparison
    from ..report.saving import Kind
    from ..scan.attribution import Attribution
    from ..scan.device import Device, Precision
    from ..scan.result import ScanResult

OBJECTS = "dicom"
"""The subfolder that DICOM objects are saved to."""


def scan(
    volume_node: vtkMRMLScalarVolumeNode,
    path: Path,
    device: Device,
    precision: Precision,
    progress: Report | None,
    measure: Scope = Scope.HISTOGRAM,
    masks: MaskNodes = NO_NODES,
    expiratory: vtkMRMLScalarVolumeNode | None = None,
) -> ScanResult:
    """Ask a model about a chest CT, and about a second one in expiration."""
    second = None if expiratory is None else _prepare(expiratory)
    second_files = [] if expiratory is None else files_of(expiratory)
    straighten, files, make_masks = _prepare(volume_node), files_of(volume_node), masks.prepare()
    ensure(Need.SCAN)
    name = volume_node.GetName()

    def work(report: Report) -> ScanResult:
        from ..ct.reading import CT
        from ..models import modelfile
        from ..scan import device as devices
        from ..scan.pair import Expiratory, check_pair, scan_pair

        report(0.0, _("Reading the CT"))
        ct, expiration = ct_of(straighten(), files), None
        if second is not None:
            other = ct_of(second(), second_files)
            both = ((ct, files), (other, second_files))
            check_pair(*(CT(one.image, volume=single_volume_of(its)) for one, its in both))
            expiration = Expiratory(other.image, other.provenance)
        report(0.0, _("Loading the model"))
        model = modelfile.load(path)
        chosen, given = devices.choose(device), make_masks()
        return scan_pair(
            lambda told: devices.scan_on(
                chosen, ct, model, told, name, precision=precision, masks=given, measure=measure
            ),
            ct.image,
            expiration,
            report,
        )

    return wait_for(work, progress, volume_node)


def attribute(volume_node: vtkMRMLScalarVolumeNode, path: Path, device: Device, progress: Report | None) -> Attribution:
    """Which voxels moved a scanned CT's answer, added to its result in the scene."""
    straighten, nodes = _prepare(volume_node), find_result(volume_node)
    if nodes is None:
        raise EmphysemaScannerError(_("Scan this CT first."))
    if read_card(path) != result_of(nodes).model:
        raise EmphysemaScannerError(_("This CT was scanned with another model; choose that one, or scan again."))
    if mask_is_edited(nodes):
        raise EmphysemaScannerError(_("The lung mask was edited after the CT was measured; measure again first."))
    labels = mask_of(nodes)
    ensure(Need.ATTRIBUTION)

    def work(report: Report) -> Attribution:
        from ..models import modelfile
        from ..scan import device as devices

        report(0.0, _("Loading the model"))
        chosen, image = devices.choose(device), straighten().image
        return devices.attribute_on(chosen, image, modelfile.load(path), report, labels)

    attributed = wait_for(work, progress, volume_node)
    nodes = find_result(volume_node)
    if nodes is None:
        raise EmphysemaScannerError(_("The result was removed in the meantime; scan this CT again."))
    add_attribution(nodes, attributed)
    return attributed


def remeasure(volume_node: vtkMRMLScalarVolumeNode, masks: MaskNodes, progress: Report | None) -> ScanResult:
    """Measure a scanned CT in the lung mask that is in the scene now, and by other lobes, without the network."""
    straighten, nodes = _prepare(volume_node), find_result(volume_node)
    if nodes is None:
        raise EmphysemaScannerError(_("Scan this CT first."))
    result = result_of(nodes)
    edited = mask_is_edited(nodes) or (masks.lungs is None and result.lungs_from.kind is MaskKind.EDITED)
    labels = mask_of(nodes) if edited else None
    make_masks = (dataclasses.replace(masks, lungs=None) if edited else masks).prepare()

    def work(report: Report) -> ScanResult:
        from ..ct.grid import canonical_view
        from ..scan.remeasure import remeasured

        report(0.0, _("Reading the CT"))
        image, given = straighten().image, make_masks()
        if labels is not None:
            own = GivenRegions.of_arrays(labels, None, canonical_view(image)[1], Origin(MaskKind.EDITED))
            given = dataclasses.replace(given, lungs=own)
        return remeasured(image, result, given, progress=report)

    return wait_for(work, progress, volume_node)


def save(
    volume_node: vtkMRMLScalarVolumeNode,
    folder: Path,
    kinds: set[Kind] | None,
    scene: bool,
    progress: Report | None,
    named: bool,
    objects: frozenset[ObjectKind],
) -> list[Path]:
    """Write a CT's result from the scene into a folder."""
    from ..archive.source import check_is_dicom
    from ..report import saving
    from ..report.outputfolder import FILE_LIST, check_output_folder

    kinds = set(saving.Kind) if kinds is None else kinds
    nodes = find_result(volume_node)
    if nodes is None:
        raise EmphysemaScannerError(_("This CT has no result to save; scan it first."))
    if mask_is_edited(nodes):
        raise EmphysemaScannerError(_("The lung mask was edited after the CT was measured; measure again, then save."))
    if kinds & {saving.Kind.REPORT_HTML, saving.Kind.REPORT_PDF}:
        ensure(Need.REPORT, torch=False)
    if saving.Kind.PLOTS in kinds:
        ensure(Need.PLOTS, torch=False)
    series: Volume | None = None
    if objects:
        series = check_is_dicom(volume_of(files_of(volume_node)))
        ensure(Need.DICOM, torch=False)
    check_output_folder(folder)
    straighten, result, files = _prepare(volume_node), result_of(nodes), files_of(volume_node)
    with tempfile.TemporaryDirectory(dir=slicer.app.temporaryPath) as temporary:
        made = [_save_scene(Path(temporary))] if scene else []

        def work(report: Report) -> list[Path]:
            from ..lungs.dicomperson import person_in_file
            from ..lungs.reference import NOBODY
            from ..report.contents import Case, pseudonym, without_names

            image = straighten().image
            if series is not None:
                from ..archive.writing import write_objects

                own = Path(temporary) / OBJECTS
                write_objects(result, series, own, objects, progress=report)
                (own / FILE_LIST).unlink()  # the folder around it gets one
                made.append(own)
            said = result if named else dataclasses.replace(without_names(result), source=pseudonym(image))
            case = Case(image, said, in_header=person_in_file(files[0]) if files else NOBODY)
            return saving.save_case(case, folder, kinds, made, progress=report)

        return wait_for(work, progress, volume_node)


def _save_scene(folder: Path) -> Path:
    path = folder / "scene.mrb"
    if not slicer.util.saveScene(str(path)):
        raise EmphysemaScannerError(_("The scene could not be saved; Slicer's error log says why."))
    return path


def batch(  # noqa: PLR0913  # as the logic has them
    source: Path,
    csv_path: Path,
    model: Path,
    device: Device,
    precision: Precision,
    progress: Report | None,
    on_row: Callable[[BatchRow], None] | None,
    retry: bool,
    objects: Path | None = None,
) -> BatchSummary:
    """Scan many CTs on the worker's thread; ``on_row`` and ``progress`` are called on this one."""
    ensure(Need.SCAN)
    if objects is not None:
        ensure(Need.DICOM)
    rows: queue.SimpleQueue[BatchRow] = queue.SimpleQueue()

    def hand_out_rows() -> None:
        while on_row is not None and not rows.empty():
            on_row(rows.get())

    def deliver(fraction: float, stage: str) -> None:
        hand_out_rows()
        if progress is not None:
            progress(fraction, stage)

    def work(report: Report) -> BatchSummary:
        from ..batch.batch import find_cts, find_expiratory, find_masks, run_batch

        report(0.0, _("Looking for CTs"))
        cts, masks = find_cts(source), find_masks(source)
        return run_batch(
            cts,
            csv_path,
            model,
            device,
            precision,
            masks=masks,
            expiratory=find_expiratory(source),
            retry=retry,
            objects=objects,
            progress=report,
            on_row=rows.put,
        )

    try:
        return wait_for(work, deliver)
    except ScanCancelled:
        raise ScanCancelled(_("Cancelled; the rows so far are kept, and the same batch goes on after them.")) from None
    finally:
        hand_out_rows()


def compare(
    models: Sequence[Path], manifest: Path, split: str, data: str, record: bool, progress: Report | None
) -> Comparison:
    """Measure models on the same labelled volumes; their answers are computed in a process of its own.

    Args:
        models: model files, or folders with trainings.
        manifest: the cohort.
        split: of the cohort.
        data: what the volumes are, in words.
        record: write the figures into the models' cards.
        progress: told the share done and the volume; what it raises ends the work.
    """
    ensure(Need.LEARNING)
    with tempfile.TemporaryDirectory(dir=slicer.app.temporaryPath) as folder:
        answers = Path(folder) / "predictions.csv"
        names = [str(model) for model in models]
        commands.run(["predict", *names, str(manifest), "--split", split, "--out", str(answers)], progress)

        def work(_report: Report) -> Comparison:
            from ..evaluation import compare as comparing

            return comparing.compare(models, manifest, split, data=data, predictions=answers)

        comparison = wait_for(work)
        for model in comparison.models if record else ():
            options = ["--split", split, "--data", comparison.data, "--predictions", str(answers), "--record"]
            commands.run(["evaluate", str(model.path), str(manifest), *options], progress)
    return comparison


def _prepare(volume_node: vtkMRMLScalarVolumeNode | None) -> Callable[[], StraightImage]:
    """What makes the image of a CT, on the worker's thread."""
    if volume_node is None or volume_node.GetImageData() is None:
        raise NotAChestCTError(_("There is no image to scan; choose a chest CT."))
    return prepare(volume_node)
