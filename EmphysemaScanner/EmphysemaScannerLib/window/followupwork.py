"""A follow-up as the logic offers it: CTs of the scene are scanned and compared on the worker's thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..i18n import tr as _
from ..jobs.worker import Report
from ..scene.coursecharts import FigureOverTime
from ..scene.pairs import FollowUpNodes, Pair, show_follow_up
from ..scene.straighten import prepare
from .dicomfiles import ct_of, files_of, single_volume_of
from .packages import Need, ensure
from .waiting import VolumeRemovedError, wait_for

if TYPE_CHECKING:
    from slicer import vtkMRMLScalarVolumeNode

    from ..followup.comparison import Course
    from ..followup.followup import FollowUp
    from ..followup.saving import FollowUpKind
    from ..followup.technique import Technique
    from ..scan.device import Device, Precision


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
        from ..followup.scanning import DatedCT, compared
        from ..models import modelfile
        from ..scan import device as devices

        report(0.0, _("Loading the model"))
        model, series = modelfile.load(path), []
        for k, make in enumerate(straighten):
            report(0.0, _("Reading the CT"))
            series.append(DatedCT(ct_of(make(), files[k]), days[k], techniques[k], names[k]))
        return compared(series, model, devices.choose(device), report, precision)

    found = wait_for(work, progress, nodes[0])
    if any(node.GetScene() is not scene for node in nodes):
        raise VolumeRemovedError(_("A CT was removed in the meantime; the comparison was discarded."))
    return found


def show(found: FollowUp, nodes: Sequence[vtkMRMLScalarVolumeNode]) -> FollowUpNodes:
    """Put the registered CTs, the change maps and charts over time into the scene.

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
    return show_follow_up(earlier, pairs, _over_time(found.course))


def _over_time(course: Course) -> list[FigureOverTime]:
    """The figures that were measured, as charts draw them."""
    from ..followup.figures import FIGURES
    from ..followup.timepoint import decimal_year

    years, drawn = np.array([decimal_year(point.taken) for point in course.points]), []
    for figure in FIGURES:
        values = np.array(course.values(figure))
        if np.isfinite(values).any():
            title = f"{figure.title} ({figure.unit})"
            drawn.append(FigureOverTime(title, years, values, figure.limits_around(values[0]), figure.shown(values)))
    return drawn


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
