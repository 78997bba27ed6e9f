"""One CT of a follow-up, with its date, the model's answer on it and how it was acquired."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import SimpleITK as sitk

from ..base.errors import EmphysemaScannerError
from ..ct.grid import canonical_view
from ..i18n import tr as _
from ..lungs.densitometry import Densitometry
from ..lungs.imagewarnings import Shadow, blood_hu, noise_hu
from ..scan.result import ScanResult
from .technique import NOT_STATED, Technique

FEWEST = 2
"""CTs of a follow-up."""


class FollowUpError(EmphysemaScannerError):
    """These CTs cannot be compared over time."""


@dataclass(frozen=True, eq=False)
class TimePoint:
    """A CT of a follow-up; two of them are never equal.

    Attributes:
        taken: the day of the CT.
        image: the CT in HU, any orientation.
        result: the model's answer, which has what the CT is called.
        technique: how it was acquired.
        noise_hu: noise in the lungs, HU.
        blood_hu: median density of heart and great vessels, HU; NaN where none are seen.
    """

    taken: date
    image: sitk.Image
    result: ScanResult
    technique: Technique
    noise_hu: float
    blood_hu: float

    @classmethod
    def of(cls, taken: date, image: sitk.Image, result: ScanResult, technique: Technique = NOT_STATED) -> TimePoint:
        """Measure what tells two techniques apart in the CT itself."""
        hu, _grid = canonical_view(image)
        labels = np.asarray(result.lung_mask.values, np.uint8)
        shadow = Shadow.of(labels)
        noise, blood = noise_hu(hu, labels, shadow), blood_hu(hu, labels, shadow)
        return cls(taken, image, result, technique, noise, blood)

    @property
    def lungs(self) -> Densitometry:
        """Densitometry of both lungs."""
        return self.result.densitometry["whole"]

    def renamed(self, name: str) -> TimePoint:
        """The same under another name."""
        return dataclasses.replace(self, result=dataclasses.replace(self.result, source=name))


def years_between(earlier: date, later: date) -> float:
    """In years of 365.25 days."""
    return (later - earlier).days / 365.25


def decimal_year(day: date) -> float:
    """A day as an axis of years draws it: 2 July 2024 is 2024.5."""
    first = date(day.year, 1, 1)
    return day.year + (day - first).days / (date(day.year + 1, 1, 1) - first).days


def parse_dates(text: str, count: int) -> tuple[date, ...]:
    """Dates as a user writes them: year-month-day, separated by commas.

    Args:
        text: such as "2024-03-01,2026-03-02".
        count: how many CTs there are.

    Raises:
        FollowUpError: one of them is no date, or there are more or fewer than CTs.
    """
    days = tuple(parse_date(part.strip()) for part in text.split(",") if part.strip())
    if len(days) != count:
        raise FollowUpError(
            _("There are {cts} CTs but {dates} dates; give one date for each CT, in the same order.").format(
                cts=count, dates=len(days)
            )
        )
    return days


def parse_date(text: str) -> date:
    """A date as a user writes it.

    Raises:
        FollowUpError: it is no date.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  # a day, not a moment
    except ValueError:
        sentence = _("'{text}' is not a date; write year-month-day, such as 2024-03-01.")
        raise FollowUpError(sentence.format(text=text)) from None


def check_count(cts: int) -> None:
    """Refuse too few CTs.

    Raises:
        FollowUpError: there are fewer than two.
    """
    if cts < FEWEST:
        raise FollowUpError(_("A follow-up needs two or more CTs; choose another CT of the same patient."))


def check_patients(names: Sequence[str], techniques: Sequence[Technique]) -> None:
    """Refuse CTs that state different patients.

    Args:
        names: what the CTs are called.
        techniques: of the CTs, in the same order.

    Raises:
        FollowUpError: two of them state different patients.
    """
    known = [(name, t.patient) for name, t in zip(names, techniques, strict=True) if t.patient is not None]
    for k, (name, patient) in enumerate(known):
        for other_name, other in known[:k]:
            pairs = [(patient.identity, other.identity), (patient.birth_date, other.birth_date)]
            if not (patient.identity and other.identity):  # names change and are spelt in several ways
                pairs.append((patient.name, other.name))
            if any(mine and theirs and mine != theirs for mine, theirs in pairs):
                raise FollowUpError(
                    _(
                        "By their DICOM files, '{one}' and '{other}' are CTs of different patients; choose CTs of one"
                        " patient."
                    ).format(one=other_name, other=name)
                )


def check_dates(names: Sequence[str], days: Sequence[date | None], missing: str) -> tuple[date, ...]:
    """The days of some CTs.

    Args:
        names: what the CTs are called.
        days: theirs; None where none is known.
        missing: what the user can do about a missing date, as the end of a sentence.

    Raises:
        FollowUpError: there are too few CTs, a date is missing, or two are equal.
    """
    check_count(len(names))
    by_day: dict[date, str] = {}
    known = []
    for name, day in zip(names, days, strict=True):
        if day is None:
            raise FollowUpError(_("The date of '{name}' is not known; {remedy}.").format(name=name, remedy=missing))
        if day in by_day:
            raise FollowUpError(
                _("'{one}' and '{other}' have the same date ({day}); choose CTs of different days.").format(
                    one=by_day[day], other=name, day=day.isoformat()
                )
            )
        by_day[day] = name
        known.append(day)
    return tuple(known)


def check_same_voxels(points: Sequence[TimePoint]) -> None:
    """Refuse one CT that was given twice.

    Raises:
        FollowUpError: two of them have the same voxels.
    """
    seen: dict[str, str] = {}
    for point in points:
        run = point.result.run
        if run is None:
            continue
        if run.input_sha256 in seen:
            raise FollowUpError(
                _("'{one}' and '{other}' are the same CT, voxel by voxel; choose CTs of different days.").format(
                    one=seen[run.input_sha256], other=point.result.source
                )
            )
        seen[run.input_sha256] = point.result.source


def check_one_model(points: Sequence[TimePoint]) -> None:
    """Refuse answers of different models, which cannot be compared.

    Raises:
        FollowUpError: two models answered.
    """
    if any(point.result.model != points[0].result.model for point in points):
        raise FollowUpError(_("These CTs were scanned with different models; scan them again with one model."))
