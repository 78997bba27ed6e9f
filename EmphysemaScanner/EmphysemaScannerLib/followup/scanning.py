"""CTs of a follow-up read from paths, checked before the long work, and scanned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ..archive.fetching import ct_at
from ..archive.webaddress import WebAddress, is_web_address
from ..base.errors import shown
from ..base.progress import Progress, silent
from ..ct.reading import CT
from ..i18n import tr as _
from ..report.contents import pseudonym
from ..scan import device as devices
from ..scan.device import Precision
from .comparison import course
from .followup import FollowUp, with_maps
from .technique import Technique, technique_of
from .timepoint import TimePoint, check_count, check_dates, check_patients, parse_dates

if TYPE_CHECKING:
    import torch

    from ..models.modelfile import Model

_SCANNING = 0.6  # share of the time


@dataclass(frozen=True, eq=False)
class DatedCT:
    """A CT that is to be scanned.

    Attributes:
        ct: the CT.
        taken: its day.
        technique: how it was acquired.
        name: what it is called.
    """

    ct: CT
    taken: date
    technique: Technique
    name: str


def read_series(
    places: Sequence[str], dates: str, named: bool, progress: Progress = silent, chosen: str = ""
) -> list[DatedCT]:
    """Read CTs and refuse those that make no follow-up, before anything is scanned.

    Args:
        places: of the CTs, each as for ``ct_at``. What is copied from an archive is removed as soon as it is read.
        dates: as for ``parse_dates``; "" for those that DICOM states.
        named: whether the CTs are called by their files' names or, from an archive, their UIDs; or by names made from
            their voxels.
        progress: told the share copied and how many slices; whatever it raises ends the reading.
        chosen: which series of each folder and study, as for ``read_ct``; a file is of its own series.

    Raises:
        FollowUpError: there are too few CTs, they are of different patients, or a date is missing, wrong or double.
        EmphysemaScannerError: as ``ct_at``; a wrong address before anything is read.
    """
    check_count(len(places))  # before anything is copied
    files = [_file_name(place) for place in places]
    given: Sequence[date | None] = parse_dates(dates, len(places)) if dates else [None] * len(places)
    cts, techniques = [], []
    for k, place in enumerate(places):

        def part(share: float, stage: str, start: int = k) -> None:
            progress((start + share) / len(places), stage)

        with ct_at(place, "" if Path(place).is_file() else chosen, part) as (ct, _copied):
            cts.append(ct)
            techniques.append(technique_of(ct.volume))
    check_patients(files, techniques)
    days = [day or technique.taken for day, technique in zip(given, techniques, strict=True)]
    known = check_dates(files, days, _("give the dates of all CTs with --dates"))
    names = files if named else [pseudonym(ct.image) for ct in cts]
    return [DatedCT(*parts) for parts in zip(cts, known, techniques, names, strict=True)]


def compared(
    series: Sequence[DatedCT],
    model: Model,
    device: torch.device,
    progress: Progress = silent,
    precision: Precision = Precision.AUTO,
) -> FollowUp:
    """Scan CTs, compare them, and map where density changed.

    Args and errors are those of ``followed``; and of ``course`` where they make no follow-up.
    """
    points = followed(series, model, device, lambda share, stage: progress(_SCANNING * share, stage), precision)
    return with_maps(course(points), lambda share, stage: progress(_SCANNING + (1 - _SCANNING) * share, stage))


def followed(
    series: Sequence[DatedCT],
    model: Model,
    device: torch.device,
    progress: Progress = silent,
    precision: Precision = Precision.AUTO,
) -> list[TimePoint]:
    """Scan each CT.

    Args:
        series: the CTs.
        model: the model.
        device: where the network runs.
        progress: told the share done and the stage; whatever it raises ends the work.
        precision: numerical precision of the network.

    Raises:
        NotAChestCTError: (or one of its kinds) one of them cannot be scanned.
    """
    points = []
    for k, dated in enumerate(series):

        def part(share: float, stage: str, start: int = k, day: date = dated.taken) -> None:
            progress((start + share) / len(series), f"{day.isoformat()}: {stage}")

        result = devices.scan_on(device, dated.ct, model, part, dated.name, precision)
        points.append(TimePoint.of(dated.taken, dated.ct.image, result, dated.technique))
    return points


def _file_name(place: str) -> str:
    return WebAddress.parse(place).name if is_web_address(place) else shown(Path(place).resolve().name)
