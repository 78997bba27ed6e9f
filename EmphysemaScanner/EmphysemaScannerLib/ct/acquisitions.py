"""Slices that share a SeriesInstanceUID, told apart into volumes: one acquisition, phase and reconstruction each.

Scanners and archives put several of them under one UID. A *part* is the slices that share a value, such as an
acquisition number. Parts that lie side by side make one volume (a scanner that steps counts a new acquisition at each
position of the table); parts that cover the same space make several, and are never interleaved.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .dicomheader import Slice

EVEN_WITHIN_MM = 0.1  # positions are rounded in some headers
EVEN_WITHIN_SHARE = 0.05  # of the spacing
SAME_PLACE_MM = 0.01
_SAME_DIRECTION_DEGREES = 1.0
_OTHER_VIEW_DEGREES = 30.0  # coronal and sagittal reformats, localizers in three planes
_SAME_PIXELS_SHARE = 0.01
_OVERLAP = 0.5  # of the shorter of two parts
_WHOLE = 0.5  # of the length that all parts cover together
_FEWEST = 3  # slices in a volume
_GAP_BETWEEN_SLICES = 0.9  # of the slices' thickness

Positions = NDArray[np.float64]


def angle_degrees(one: Slice, other: Slice) -> float:
    """The angle by which two slices' axes differ, the larger one of rows and columns."""
    if one.axes is other.axes:  # as in nearly every series
        return 0.0
    cosines = (one.axes * other.axes).sum(1)
    sines = np.linalg.norm(np.cross(one.axes, other.axes), axis=1)
    return float(np.degrees(np.arctan2(sines, cosines)).max())


def volumes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """The volumes that the slices of one series make, each in the order of its slices' positions along their normal."""
    found: list[list[Slice]] = []
    for view in _clusters(slices, lambda a, b: angle_degrees(a, b) <= _OTHER_VIEW_DEGREES):
        found += _told_apart(_ordered(view), _ATTRIBUTES)
    return found


def is_even(positions: Positions) -> bool:
    """Whether ascending positions in mm are evenly spaced, none of them twice."""
    gaps = np.diff(positions)
    usual = float(np.median(gaps))
    tolerance = max(EVEN_WITHIN_MM, EVEN_WITHIN_SHARE * usual)
    return bool(gaps.min() > tolerance / 2 and np.abs(gaps - usual).max() <= tolerance)


def positions_mm(slices: Sequence[Slice]) -> Positions:
    """How far along the first one's normal each slice lies."""
    return np.array([s.position for s in slices]) @ slices[0].normal


def _ordered(slices: Sequence[Slice]) -> list[Slice]:
    return [slices[k] for k in np.argsort(positions_mm(slices), kind="stable")]


def _clusters(slices: Sequence[Slice], alike: Callable[[Slice, Slice], bool]) -> list[list[Slice]]:
    """Slices in groups, each alike its group's first."""
    groups: list[list[Slice]] = []
    for s in slices:
        group = next((g for g in groups if alike(g[0], s)), None)
        if group is None:
            groups.append([s])
        else:
            group.append(s)
    return groups


def _told_apart(slices: list[Slice], attributes: Sequence[_Attribute]) -> list[list[Slice]]:
    """The volumes by the first attribute that separates some, and these by the following ones."""
    for k, attribute in enumerate(attributes):
        runs = _runs(slices, attribute(slices))
        if _are_volumes(slices, runs):
            return [volume for run in runs for volume in _told_apart(_ordered(run), attributes[k + 1 :])]
    return [slices]


_Attribute = Callable[[Sequence[Slice]], Sequence[Hashable]]


@dataclass
class _Run:
    """Parts that lie side by side."""

    parts: list[list[Slice]] = field(default_factory=list)
    low: float = np.inf
    high: float = -np.inf

    @property
    def slices(self) -> list[Slice]:
        return [s for part in self.parts for s in part]

    def meets(self, low: float, high: float) -> bool:
        """Whether a part from ``low`` to ``high`` covers space that this run covers, more than a seam."""
        shared = min(high, self.high) - max(low, self.low)
        shorter = min(high - low, self.high - self.low)
        return shared >= -SAME_PLACE_MM if shorter <= SAME_PLACE_MM else shared >= _OVERLAP * shorter

    def add(self, part: list[Slice], low: float, high: float) -> None:
        self.parts.append(part)
        self.low, self.high = min(self.low, low), max(self.high, high)


def _runs(slices: Sequence[Slice], values: Sequence[Hashable]) -> list[list[Slice]]:
    """Parts of the same value, in the values' order, each added to the run before it unless it meets that one."""
    parts: dict[Hashable, list[int]] = defaultdict(list)
    for k, value in enumerate(values):
        parts[value].append(k)
    if len(parts) == 1:
        return [list(slices)]
    along = positions_mm(slices)
    runs = [_Run()]
    for value in sorted(parts, key=_sortable):
        here = along[parts[value]]
        low, high = float(here.min()), float(here.max())
        if runs[-1].meets(low, high):
            runs.append(_Run())
        runs[-1].add([slices[k] for k in parts[value]], low, high)
    for run, following in itertools.pairwise(runs):
        if _ends_with_another(run):
            following.parts.insert(0, run.parts.pop())
    return [run.slices for run in runs]


def _ends_with_another(run: _Run) -> bool:
    """Whether the last part lies beyond the others, unevenly: a scanner on its way back began there."""
    if len(run.parts) <= _FEWEST:
        return False
    others = np.sort(positions_mm([s for part in run.parts[:-1] for s in part]))
    return is_even(others) and not is_even(np.sort(positions_mm(run.slices)))


def _sortable(value: Hashable) -> tuple[int, float, str]:
    try:
        return (0, float(str(value)), "")
    except ValueError:
        return (1, 0.0, str(value))


def _are_volumes(slices: Sequence[Slice], runs: Sequence[Sequence[Slice]]) -> bool:
    """Whether runs are volumes by themselves, rather than slices of one that an attribute happens to number."""
    if len(runs) < 2:
        return False
    along = positions_mm(slices)
    length = float(np.ptp(along))
    whole = [run for run in runs if _is_whole(run, length)]
    if len(slices) < _FEWEST or not is_even(along):
        return bool(whole)
    spacing, thickness = float(np.median(np.diff(along))), slices[0].thickness_mm
    return len(whole) > 1 and not (0 < _GAP_BETWEEN_SLICES * thickness <= spacing)


def _is_whole(run: Sequence[Slice], length: float) -> bool:
    if len(run) < _FEWEST:
        return False
    along = np.sort(positions_mm(run))
    return is_even(along) and float(np.ptp(along)) >= _WHOLE * length


def _shapes(slices: Sequence[Slice]) -> Sequence[Hashable]:
    """A number for slices of the same direction, size and pixels."""

    def alike(a: Slice, b: Slice) -> bool:
        return (
            a.size == b.size
            and len(a.pixel_mm) == len(b.pixel_mm)
            and np.allclose(a.pixel_mm, b.pixel_mm, rtol=_SAME_PIXELS_SHARE)
            and angle_degrees(a, b) <= _SAME_DIRECTION_DEGREES
        )

    numbers = {id(s): k for k, group in enumerate(_clusters(slices, alike)) for s in group}
    return [numbers[id(s)] for s in slices]


_ATTRIBUTES: tuple[_Attribute, ...] = (
    _shapes,
    lambda slices: [s.captured for s in slices],
    lambda slices: [s.moment.image_type for s in slices],
    lambda slices: [s.moment.kernel for s in slices],
    lambda slices: [(s.header.number, s.header.description) for s in slices],
    lambda slices: [round(s.thickness_mm, 2) for s in slices],
    lambda slices: [s.moment.phase for s in slices],
    lambda slices: [s.moment.energy for s in slices],
    lambda slices: [s.moment.acquisition for s in slices],
    lambda slices: [s.moment.acquired_at for s in slices],
    lambda slices: [s.moment.made_at for s in slices],
    lambda slices: [s.moment.number for s in slices],
    lambda slices: [str(s.path.parent) for s in slices],
)
