"""Which of the CT series in a folder is read.

The rule, one criterion after the other; a series that fails one which another series meets is left out:

1. It can be a chest: at least 20 slices over at least 120 mm.
2. It is original. Derived are series whose ImageType begins with DERIVED, whose second value is SECONDARY, or whose
   further values or description name a projection (MIP, MinIP); where ImageType is missing, also a description that
   names an average or a reformat; pictures made from a CT (secondary captures); and values that are not HU by their
   RescaleType. Source: DICOM PS3.3 C.7.6.1.1.2 and C.8.2.1.1.1.
3. It is axial: within 35 degrees, as far as a gantry is tilted.
4. It is not a part: it covers at least 80 % of what the longest covers, of which 300 mm count.
5. It has the most slices. Others that have at least 90 % as many are equally good.

Of equally good ones none is guessed, and neither is one of two patients; the user chooses.
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..base.errors import UnreadableInputError, shown
from .acquisitions import positions_mm, volumes
from .dicomheader import Slice
from .provenance import LeftOut, Series

_FEWEST_SLICES, _SHORTEST_MM = 20, 120.0  # as in checks.py
_AXIAL_WITHIN_DEGREES = 35.0
_LONG_ENOUGH_MM, _LONG_ENOUGH_SHARE = 300.0, 0.8
_EQUALLY_MANY = 0.9
_LISTED = 6  # series in a sentence

_PROJECTION = re.compile(r"(?<![a-z])(mip|mips|minip|min ip|maxip|thin ?mip|aip|max_ip|min_ip)(?![a-z])", re.IGNORECASE)
_REFORMAT = re.compile(
    r"(?<![a-z])(mpr|cpr|vrt?|vrd|3d|ssd|average|avg|ave|mean|reformat(ted|s)?|recon3d|coronal|sagittal|cor|sag|"
    r"oblique|subtract(ion|ed)?|fusion|fused)(?![a-z])",
    re.IGNORECASE,
)
_DERIVED_VALUES = re.compile(
    r"mip|min_?ip|max_?ip|projection|average|mean|mpr|cpr|reformat|3d|volume_?render|vrt|subtract|fusion|material|"
    r"iodine|effective|z_?eff|perfusion",
    re.IGNORECASE,
)
_IN_HU = ("", "HU", "HU_MOD", "US")


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT series, or the part of one that makes a single volume.

    Attributes:
        slices: in the order of their positions along their normal.
        acquisition: which of the series' volumes it is; "" where there is only one.
    """

    slices: tuple[Slice, ...]
    acquisition: str = ""

    @property
    def first(self) -> Slice:
        """The slice at the low end of the order; what it states is taken for the whole volume."""
        return self.slices[0]

    @property
    def first_file(self) -> Path:
        """The first of its files by name."""
        return min(s.path for s in self.slices)

    @cached_property
    def studies(self) -> frozenset[str]:
        """The StudyInstanceUIDs of its slices."""
        return frozenset(s.header.study for s in self.slices)

    @cached_property
    def folders(self) -> frozenset[Path]:
        """The folders of its files."""
        return frozenset(s.path.parent for s in self.slices)

    @property
    def common_folder(self) -> Path:
        """The deepest folder with all of its files at some depth."""
        return Path(os.path.commonpath(self.folders))

    @cached_property
    def length_mm(self) -> float:
        """From the first to the last slice, and one slice more."""
        if len(self.slices) < 2:
            return 0.0
        along = positions_mm(self.slices)
        return float(np.ptp(along)) * len(along) / (len(along) - 1)

    @property
    def can_be_chest(self) -> bool:
        """Whether it has slices and length enough for a chest; a localizer or a single picture has not."""
        return len(self.slices) >= _FEWEST_SLICES and self.length_mm >= _SHORTEST_MM

    @cached_property
    def derivation(self) -> str:
        """What makes it derived, as a part of a sentence; "" for an original one."""
        first, kinds = self.first, self.first.moment.image_type
        if first.captured:
            return "pictures made from a CT"
        if kinds[:1] == ("DERIVED",) or kinds[1:2] == ("SECONDARY",) or _DERIVED_VALUES.search(" ".join(kinds[2:])):
            return f"derived images (ImageType {chr(92).join(kinds)})"
        if first.units not in _IN_HU:
            return f"values that are not HU (RescaleType {first.units})"
        named = _PROJECTION.search(first.header.description)
        named = named or (None if kinds else _REFORMAT.search(first.header.description))
        return f"derived images ('{named[0]}' in the description)" if named else ""

    @property
    def is_axial(self) -> bool:
        """Whether its slices' normal is near the patient's long axis; a coronal or sagittal reformat's is not."""
        return abs(float(self.first.normal[2])) >= math.cos(math.radians(_AXIAL_WITHIN_DEGREES))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the rule would rather have another series, as sentences."""
        found = []
        if self.derivation:
            found.append(f"The series that was read is not an original CT: {self.derivation}.")
        if not self.is_axial:
            degrees = math.degrees(math.acos(min(1.0, abs(float(self.first.normal[2])))))
            found.append(f"The series that was read is not axial: its slices are {degrees:.0f} degrees from axial.")
        return tuple(found)

    @property
    def name(self) -> str:
        """Number, description, kernel and number of slices."""
        header, moment = self.first.header, self.first.moment
        words = [f"series {self.number}" if header.number else "series"]
        words[0] += f" '{header.description}'" if header.description else ""
        if self.acquisition:
            words.append(f"acquisition {self.acquisition}")
        if moment.kernel:
            words.append(f"kernel {moment.kernel}")
        return ", ".join([*words, f"{len(self.slices)} slice{'s' * (len(self.slices) != 1)}"])

    @property
    def number(self) -> str:
        """What chooses it: SeriesNumber, followed by the acquisition where the series has several."""
        return f"{self.first.header.number}.{self.acquisition}" if self.acquisition else self.first.header.number

    @property
    def provenance(self) -> Series:
        """What a result keeps of the series, each text as one printable line."""
        header, moment = self.first.header, self.first.moment
        return Series(
            number=shown(header.number),
            description=shown(header.description),
            kernel=shown(moment.kernel),
            image_type=shown("\\".join(moment.image_type)),
            slices=len(self.slices),
            acquisition=shown(self.acquisition),
        )


@dataclass(frozen=True)
class Choice:
    """The volumes that the rule leaves, best first, and why it left out the others."""

    best: tuple[Volume, ...]
    others: tuple[tuple[Volume, str], ...]


def ct_volumes(slices: Sequence[Slice]) -> list[Volume]:
    """The volumes of all CT series among some slices, most slices first."""
    series: dict[str, list[list[Slice]]] = defaultdict(list)  # of one UID, by patient
    for s in slices:
        patients = series[s.header.uid]
        same = next((p for p in patients if not p[0].header.patient.is_other_than(s.header.patient)), None)
        if same is None:
            patients.append([s])
        else:
            same.append(s)
    found = []
    for members in (one for patients in series.values() for one in patients):
        parts = sorted(volumes(members), key=len, reverse=True)
        labels = _acquisitions(parts)
        found += [Volume(tuple(part), label) for part, label in zip(parts, labels, strict=True)]
    return sorted(found, key=lambda v: (-len(v.slices), v.first.path))


def _acquisitions(parts: Sequence[Sequence[Slice]]) -> list[str]:
    """A label for each volume of a series: AcquisitionNumber where it tells them apart, otherwise 1, 2, ..."""
    if len(parts) == 1:
        return [""]
    stated = [{s.moment.acquisition for s in part} for part in parts]
    if all(len(one) == 1 and "" not in one for one in stated) and len(set.union(*stated)) == len(parts):
        return [one.pop() for one in stated]
    order = sorted(range(len(parts)), key=lambda k: (parts[k][0].moment.acquired_at, parts[k][0].path))
    return [str(order.index(k) + 1) for k in range(len(parts))]


def choose(found: Sequence[Volume]) -> Choice:
    """Apply the rule to volumes, of which there is at least one."""
    best = list(found)
    others: list[tuple[Volume, str]] = []

    def keep(good: Callable[[Volume], bool], why: Callable[[Volume], str]) -> None:
        nonlocal best
        if any(good(v) for v in best):
            others.extend((v, why(v)) for v in best if not good(v))
            best = [v for v in best if good(v)]

    keep(lambda v: v.can_be_chest, lambda v: f"no whole chest ({_extent(v)})")
    keep(lambda v: not v.derivation, lambda v: v.derivation)
    keep(lambda v: v.is_axial, lambda _: "not axial")
    enough = _LONG_ENOUGH_SHARE * min(_LONG_ENOUGH_MM, max(v.length_mm for v in best))
    keep(lambda v: v.length_mm >= enough, lambda v: f"a part of the chest ({_extent(v)})")
    most = max(len(v.slices) for v in best)
    keep(lambda v: len(v.slices) >= _EQUALLY_MANY * most, lambda _: "fewer slices")
    return Choice(tuple(best), tuple(others))


def _extent(volume: Volume) -> str:
    return f"{len(volume.slices)} slice{'s' * (len(volume.slices) != 1)} over {volume.length_mm:.0f} mm"


def of_two_patients(found: Sequence[Volume]) -> tuple[Volume, Volume] | None:
    """Two volumes that are of two patients, or of two studies that name no patient; None if there are none."""
    for k, one in enumerate(found):
        for other in found[:k]:
            mine, theirs = one.first.header.patient, other.first.header.patient
            unnamed = mine.is_anonymous and theirs.is_anonymous
            if mine.is_other_than(theirs) or (unnamed and one.studies.isdisjoint(other.studies)):
                return other, one
    return None


def matching(found: Sequence[Volume], wanted: str) -> list[Volume]:
    """The volumes that a user's words choose.

    Args:
        found: the volumes to choose from.
        wanted: a SeriesNumber (``2``, or ``2.1`` for its acquisition 1), a UID, a description, or a part of one that
            only one series has; case does not matter.
    """
    words = wanted.strip().casefold()
    tests: tuple[Callable[[Volume], bool], ...] = (
        lambda v: v.first.header.uid == wanted.strip(),
        lambda v: v.number == words,
        lambda v: v.first.header.number == words,
        lambda v: v.first.header.description.casefold() == words,
        lambda v: bool(words) and words in v.first.header.description.casefold(),
    )
    return next((chosen for test in tests if (chosen := [v for v in found if test(v)])), [])


def listed(found: Sequence[Volume], top: Path) -> str:
    """Volumes as a part of a sentence, each with a file of it."""
    names = [f"{v.name} (file '{_below(v.first.path, top)}')" for v in found[:_LISTED]]
    more = len(found) - _LISTED
    return "; ".join(names + ([f"{more} more"] if more > 0 else []))


def _below(path: Path, top: Path) -> str:
    return str(path.relative_to(top)) if path.is_relative_to(top) else str(path)


ONE_FILE = "give one of its files"
"""What a user of a folder can do; an archive has no files to give."""


def ambiguous(best: Sequence[Volume], top: Path) -> UnreadableInputError:
    """The error of several series between which the user has to choose."""
    pair = of_two_patients(best)
    if pair is not None:
        certain = pair[0].first.header.patient.is_other_than(pair[1].first.header.patient)
        what = "CTs of two patients" if certain else "CTs of two studies that name no patient, perhaps of two patients"
    else:
        what = f"{len(best)} equally good CT series"
    return UnreadableInputError(
        f"'{top}' holds {what}; choose one with --series and its number or description, or {ONE_FILE}: "
        f"{listed(best, top)}."
    )


def left_out(others: Sequence[tuple[Volume, str]]) -> list[LeftOut]:
    """Of every volume that was not read, its name, number of files and the reason, each as one printable line."""
    return [LeftOut(shown(volume.name), len({s.path for s in volume.slices}), shown(why)) for volume, why in others]
