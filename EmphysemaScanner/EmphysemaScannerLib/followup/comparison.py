"""Figures over time: their changes, changes per year, and whether a change exceeds what repeated CTs show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..i18n import tr as _
from .differences import Difference, differences
from .figures import FIGURES, Figure
from .timepoint import TimePoint, check_dates, check_one_model, check_patients, check_same_voxels, years_between

LEAST_YEARS = 0.25
"""Between two CTs for a change per year; from days or weeks, noise would be extrapolated to a year."""


class Verdict(str, Enum):
    """What a change may be taken for.

    WITHIN: within the repeatability limits: no change can be told.
    BEYOND: beyond them.
    DISTURBED: beyond them, but technique, breath or coverage differ in a way that moves the figure.
    NO_LIMIT: no published limit is known.
    NOT_MEASURED: the figure is missing in one CT.
    """

    WITHIN = "within_repeatability"
    BEYOND = "beyond_repeatability"
    DISTURBED = "beyond_repeatability_but_technique_differs"
    NO_LIMIT = "no_published_limit"
    NOT_MEASURED = "not_measured"

    def label(self) -> str:
        """In tables."""
        return {
            Verdict.WITHIN: _("within repeatability"),
            Verdict.BEYOND: _("beyond repeatability"),
            Verdict.DISTURBED: _("beyond it, but CTs differ"),
            Verdict.NO_LIMIT: _("no published limit"),
            Verdict.NOT_MEASURED: _("not measured"),
        }[self]


@dataclass(frozen=True)
class Change:
    """A figure at two times.

    Attributes:
        figure: which.
        before, after: its values; NaN where it was not measured.
        years: between the CTs.
        verdict: what the change may be taken for.
    """

    figure: Figure
    before: float
    after: float
    years: float
    verdict: Verdict

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def per_year(self) -> float:
        """Of the difference; NaN for less than ``LEAST_YEARS``."""
        return self.difference / self.years if self.years >= LEAST_YEARS else math.nan


@dataclass(frozen=True, eq=False)
class Comparison:
    """A later CT against the first.

    Attributes:
        earlier, later: the CTs.
        changes: of all figures, in their order.
        differences: between the CTs beside the lungs, gravest first.
    """

    earlier: TimePoint
    later: TimePoint
    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]

    @property
    def years(self) -> float:
        """Between the CTs."""
        return years_between(self.earlier.taken, self.later.taken)


@dataclass(frozen=True, eq=False)
class Course:
    """CTs of one patient in the order of their dates.

    Attributes:
        points: two or more.
        volume_l: the common lung volume of adjusted figures: that of the first CT, litres.
        comparisons: each later CT against the first.
        notes: sentences about how the CTs were given.
    """

    points: tuple[TimePoint, ...]
    volume_l: float
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def values(self, figure: Figure) -> tuple[float, ...]:
        """A figure over time."""
        return tuple(figure.of(point, self.volume_l) for point in self.points)


def course(points: Sequence[TimePoint]) -> Course:
    """Compare CTs of one patient over time.

    Args:
        points: two or more, in any order.

    Raises:
        FollowUpError: they are of different patients or models, one was given twice, or two have one date.
    """
    names = [point.result.source for point in points]
    check_patients(names, [point.technique for point in points])
    check_same_voxels(points)
    check_dates(names, [point.taken for point in points], "")
    check_one_model(points)
    ordered = tuple(sorted(points, key=lambda point: point.taken))
    notes: tuple[str, ...] = ()
    if list(ordered) != list(points):
        notes = (_("The CTs were given in another order than that of their dates; they are compared by date."),)
    first = ordered[0]
    volume_l = first.lungs.volume_l
    compared = tuple(_compared(first, later, volume_l) for later in ordered[1:])
    return Course(ordered, volume_l, compared, notes)


def _compared(earlier: TimePoint, later: TimePoint, volume_l: float) -> Comparison:
    differ = differences(earlier, later)
    years = years_between(earlier.taken, later.taken)
    changes = []
    for figure in FIGURES:
        before, after = figure.of(earlier, volume_l), figure.of(later, volume_l)
        changes.append(Change(figure, before, after, years, _verdict(figure, after - before, differ)))
    return Comparison(earlier, later, tuple(changes), differ)


def _verdict(figure: Figure, change: float, differ: Sequence[Difference]) -> Verdict:
    if not math.isfinite(change):
        return Verdict.NOT_MEASURED
    if figure.limit is None:
        return Verdict.NO_LIMIT
    if figure.limit.holds(change):
        return Verdict.WITHIN
    disturbed = any(difference.disturbs(figure.adjusted) for difference in differ)
    return Verdict.DISTURBED if disturbed else Verdict.BEYOND
