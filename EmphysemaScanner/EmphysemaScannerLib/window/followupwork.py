"""A follow-up as the logic offers it: CTs of the scene are scanned and compared on the worker's thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ..i18n import tr as _
from ..jobs.worker import Report
from ..scene.pairs import Pair, PairNodes, show_pairs
from ..scene.straighten import prepare
from .dicomfiles import ct_of, files_of, single_volume_of
from .packages import Need, ensure
from .waiting import VolumeRemovedError, wait_for

if TYPE_CHECKING:
    from slicer import vtkMRMLScalarVolumeNode

    from ..followup.followup import FollowUp
    from ..followup.saving import FollowUpKind
    from ..followup.technique import Technique
    from ..scan.device import Device, Precision

_SCANNING = 0.6  # share of the time


def techniques_of(nodes: Sequence[vtkMRMLScalarVolumeNode]) -> list[Technique]:
    """How volumes of the scene were acquired, as far as the DICOM files state that Slicer loaded them from."""
    from ..followup.technique import technique_of

    return [technique_of(single_volume_of(files_of(node))) for node in nodes]


def follow_up(
    nodes: Sequence[vtkMRMLScalarVolumeNode],
    dates: Sequence[date | str | None] | None,
    path: Path,
    device: Device,
    precision: Precision,
    progress: Report | None,
) -> FollowUp:
    """Scan CTs of the scene, compare them, and map the change of density."""
    from ..followup.timepoint import FollowUpError, check_dates, check_patients, parse_date

    techniques = techniques_of(nodes)
    names = [node.GetName() for node in nodes]
    given = [parse_date(day) if isinstance(day, str) else day for day in dates or [None] * len(nodes)]
    if len(set(names)) < len(names):
        raise FollowUpError(_("Two of these CTs have the same name; rename one of them."))
    check_patients(names, techniques)
    known = [day or technique.taken for day, technique in zip(given, techniques, strict=True)]
    days = check_dates(names, known, _("enter it beside the CT"))
    ensure(Need.SCAN)
    scene = nodes[0].GetScene()
    straighten, files = [prepare(node) for node in nodes], [files_of(node) for node in nodes]

    def work(report: Report) -> FollowUp:
        from ..followup.comparison import course
        from ..followup.followup import with_maps
        from ..followup.scanning import DatedCT, followed
        from ..models import modelfile
        from ..scan import device as devices

        report(0.0, _("Loading the model"))
        model, series = modelfile.load(path), []
        for k, make in enumerate(straighten):
            report(0.0, _("Reading the CT"))
            series.append(DatedCT(ct_of(make(), files[k]), days[k], techniques[k], names[k]))
        chosen = devices.choose(device)
        points = followed(series, model, chosen, lambda share, stage: report(_SCANNING * share, stage), precision)
        return with_maps(course(points), lambda share, stage: report(_SCANNING + (1 - _SCANNING) * share, stage))

    found = wait_for(work, progress, nodes[0])
    if any(node.GetScene() is not scene for node in nodes):
        raise VolumeRemovedError(_("A CT was removed in the meantime; the comparison was discarded."))
    return found


def show(found: FollowUp, nodes: Sequence[vtkMRMLScalarVolumeNode]) -> list[PairNodes]:
    """Put the registered CTs and the change maps into the scene.

    Args:
        found: the comparison.
        nodes: the CTs, in any order.
    """
    from ..followup.changemap import FLOOR_G_PER_L, FULL_G_PER_L

    first = found.course.points[0]
    earlier = next((node for node in nodes if node.GetName() == first.result.source), nodes[0])
    pairs = [
        Pair(
            made.comparison.earlier.taken.isoformat(),
            made.comparison.later.taken.isoformat(),
            made.moved_hu,
            first.result.lung_mask.grid,
            made.change,
            FLOOR_G_PER_L,
            FULL_G_PER_L,
        )
        for made in found.maps
    ]
    return show_pairs(earlier, pairs)


def save(
    found: FollowUp, folder: Path, kinds: Sequence[FollowUpKind] | None, named: bool, progress: Report | None
) -> list[Path]:
    """Write a follow-up into a folder, whole or not at all."""
    from ..followup.saving import FollowUpKind, without_names, write_follow_up
    from ..report.outputfolder import check_output_folder, whole_or_nothing

    chosen = tuple(FollowUpKind) if kinds is None else tuple(kinds)
    if {FollowUpKind.REPORT_HTML, FollowUpKind.REPORT_PDF} & set(chosen):
        ensure(Need.REPORT, torch=False)
    check_output_folder(folder)

    def work(report: Report) -> list[Path]:
        said = found if named else without_names(found)
        with whole_or_nothing(folder) as working:
            names = write_follow_up(said, working, chosen, report)
        return [folder / name for name in names]

    return wait_for(work, progress)
