"""Which labels of a label map are which part of the lungs: by SNOMED CT codes, then by names, then by known numberings.

Sources: DICOM PS3.16, CID 6170 (lobes with a modifier for the side, as Slicer's terminologies have them), and SNOMED
CT's own concepts of one side; the label tables of TotalSegmentator (task ``total``, versions 1 and 2), of lungmask's
README and of the Chest Imaging Platform's ChestConventions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .regions import (
    LOBES,
    LUNGS,
    GivenRegions,
    LabelMap,
    MaskKind,
    Origin,
    Recognition,
    Region,
    RegionError,
    Segment,
    UnknownLabelsError,
)

RIGHT_CODE, LEFT_CODE = "24028007", "7771000"
_RIGHT_CODES, _LEFT_CODES, _BOTH_CODES = (RIGHT_CODE, "G-A100"), (LEFT_CODE, "G-A101"), ("", "51440002", "G-A102")
_ONE_SIDE = {
    "3341008": Region.RIGHT_LUNG,
    "44029006": Region.LEFT_LUNG,
    "74101002": Region.LUNGS,
    "42400003": Region.RIGHT_UPPER_LOBE,
    "72481006": Region.RIGHT_MIDDLE_LOBE,
    "T-28300": Region.RIGHT_MIDDLE_LOBE,
    "266005": Region.RIGHT_LOWER_LOBE,
    "44714003": Region.LEFT_UPPER_LOBE,
    "41224006": Region.LEFT_LOWER_LOBE,
}
_WITH_A_SIDE = {
    "39607008": (Region.RIGHT_LUNG, Region.LEFT_LUNG, Region.LUNGS),
    "T-28000": (Region.RIGHT_LUNG, Region.LEFT_LUNG, Region.LUNGS),
    "45653009": (Region.RIGHT_UPPER_LOBE, Region.LEFT_UPPER_LOBE, None),
    "T-28820": (Region.RIGHT_UPPER_LOBE, Region.LEFT_UPPER_LOBE, None),
    "90572001": (Region.RIGHT_LOWER_LOBE, Region.LEFT_LOWER_LOBE, None),
    "T-28830": (Region.RIGHT_LOWER_LOBE, Region.LEFT_LOWER_LOBE, None),
}
"""Codes of both sides: with the modifier for the right, for the left, and for both or without one."""

_WORDS = re.compile("right|left|upper|superior|middle|lower|inferior|lobes?|lungs?|whole|both|mask|and|of|the")
_ABBREVIATIONS = {
    "rul": Region.RIGHT_UPPER_LOBE,
    "rml": Region.RIGHT_MIDDLE_LOBE,
    "rll": Region.RIGHT_LOWER_LOBE,
    "lul": Region.LEFT_UPPER_LOBE,
    "lll": Region.LEFT_LOWER_LOBE,
}


@dataclass(frozen=True)
class Numbering:
    """The numbers of a tool's label maps.

    Attributes:
        tool: its name.
        regions: by number.
        needed: numbers that must all be there.
        among_others: whether labels of other organs may be there, too.
        low_byte: whether a number's low byte counts alone.
    """

    tool: str
    regions: Mapping[int, Region]
    needed: frozenset[int] = field(default_factory=frozenset)
    among_others: bool = False
    low_byte: bool = False


_RUL, _RML, _RLL, _LUL, _LLL = LOBES
_R, _L, _BOTH = LUNGS
_CIP_LOBES = {4: _RUL, 5: _RML, 6: _RLL, 7: _LUL, 8: _LLL}
_CIP_THIRDS = {**dict.fromkeys((9, 10, 11), _L), **dict.fromkeys((12, 13, 14), _R)}
_CIP = "Chest Imaging Platform"
NUMBERINGS = (
    Numbering("EmphysemaScanner and lungmask", {1: _R, 2: _L}, frozenset((1, 2))),
    Numbering("lungmask (lobes)", {1: _LUL, 2: _LLL, 3: _RUL, 4: _RML, 5: _RLL}, frozenset(range(1, 6))),
    Numbering(_CIP, {1: _BOTH, 2: _R, 3: _L}, frozenset((2, 3)), low_byte=True),
    Numbering(_CIP, _CIP_LOBES, frozenset(_CIP_LOBES), low_byte=True),
    Numbering(_CIP, _CIP_THIRDS, frozenset(_CIP_THIRDS), low_byte=True),
    Numbering("TotalSegmentator 2", {10: _LUL, 11: _LLL, 12: _RUL, 13: _RML, 14: _RLL}, frozenset(range(10, 15)), True),
    Numbering("TotalSegmentator 1", {13: _LUL, 14: _LLL, 15: _RUL, 16: _RML, 17: _RLL}, frozenset(range(13, 18)), True),
    Numbering("one label", {1: _BOTH}, frozenset((1,))),
)

_LISTED_AT_MOST = 12


def recognise(
    labels: LabelMap, kind: MaskKind, wanted: Wanted, given: Mapping[str, Region] | None = None
) -> GivenRegions:
    """The regions of a label map.

    Args:
        labels: a file's or a segmentation's.
        kind: which of the two.
        wanted: what they are to be used for.
        given: regions by number or name (in lower case) where the user named the labels; nothing else is used then.

    Raises:
        UnknownLabelsError: none of the labels is known.
        RegionError: a region is missing or empty.
    """
    if not any(layer.any() for layer in labels.layers):
        raise RegionError(f"'{labels.name}' is empty; choose a label map of the {wanted.what}.")
    found, how = known_segments(labels.segments, labels.name, given)
    numbering = ""
    if not found:
        found, numbering = _by_numbers(labels)
        how = Recognition.NUMBERS
    chosen = chosen_for(wanted, kind, found, labels.segments, labels.name)
    return GivenRegions.of(labels, chosen, Origin(kind, labels.name, how, numbering))


def known_segments(
    segments: Sequence[Segment], name: str, given: Mapping[str, Region] | None = None
) -> tuple[dict[Segment, Region], Recognition]:
    """The regions of segments by what the user named them, or else by their codes and names, and by which of these.

    Args:
        segments: of a label map.
        name: of the label map, for errors.
        given: as for ``recognise``.

    Raises:
        RegionError: the user named a segment that is not there.
    """
    if given:
        return _as_named(segments, name, given), Recognition.USER
    by_codes = {segment: region for segment in segments if (region := by_code(segment.terminology))}
    by_both = {segment: region for segment in segments if (region := region_of(segment))}
    # Names add to codes only where the codes leave a lung or a lobe out.
    known = by_codes if _is_complete({*by_codes.values()}) else by_both
    return known, Recognition.CODES if known == by_codes else Recognition.NAMES


def chosen_for(
    wanted: Wanted, kind: MaskKind, found: Mapping[Segment, Region], segments: Sequence[Segment], name: str
) -> dict[Segment, Region]:
    """Those of the recognised segments that serve.

    Args:
        wanted: for what.
        kind: where the segments come from.
        found: the recognised ones.
        segments: all of the label map, for errors.
        name: of the label map, for errors.

    Raises:
        UnknownLabelsError: none of them serves.
    """
    chosen = {segment: region for segment, region in found.items() if region in wanted.regions}
    if not chosen:
        raise UnknownLabelsError(_unknown(wanted, kind, found, segments, name))
    return chosen


@dataclass(frozen=True)
class Wanted:
    """What a label map is to be used for.

    Attributes:
        what: in words.
        regions: that serve.
        option: of the command line, by which its labels are named.
        example: for that option.
    """

    what: str
    regions: frozenset[Region]
    option: str
    example: str


WANTED_LUNGS = Wanted("lungs", frozenset(Region), "--lung-labels", "1=right_lung,2=left_lung")
WANTED_LOBES = Wanted("lobes", frozenset(LOBES), "--lobe-labels", "1=right_upper_lobe,2=right_middle_lobe")


def region_of(segment: Segment) -> Region | None:
    """The region of a segment by its code, or else by its name; None if neither is known."""
    return by_code(segment.terminology) or by_name(segment.name)


def by_code(terminology: str) -> Region | None:
    """The region of a Slicer terminology entry; None if it is not a lung's or a lobe's.

    Args:
        terminology: context, category, type, modifier, ..., separated by ``~``; each ``scheme^code^meaning``.
    """
    fields = [part.split("^") for part in terminology.split("~")]
    codes = [part[1] if len(part) > 1 else "" for part in fields]
    if len(codes) < 3:
        return None
    kind, modifier = codes[2], codes[3] if len(codes) > 3 else ""
    if kind in _WITH_A_SIDE:
        right, left, both = _WITH_A_SIDE[kind]
        if modifier in _RIGHT_CODES:
            return right
        if modifier in _LEFT_CODES:
            return left
        return both if modifier in _BOTH_CODES else None
    return _ONE_SIDE.get(kind)


def by_name(name: str) -> Region | None:
    """The region that a name means, such as lung_upper_lobe_left, RightSuperiorLobe or LUL; None for other names."""
    letters = re.sub(r"[^a-z]", "", name.lower())
    if re.search(r"\d", name) or not letters:
        return None
    if letters in _ABBREVIATIONS:
        return _ABBREVIATIONS[letters]
    words = _WORDS.findall(letters)
    if "".join(words) != letters:
        return None
    said = {word.rstrip("s") for word in words}
    sides = said & {"right", "left"}
    height = said & {"upper", "superior", "middle", "lower", "inferior"}
    if "lobe" in said and len(sides) == 1 and len(height) == 1:
        heights = {"superior": "upper", "inferior": "lower"}
        (side,), (level,) = sides, height
        wanted = f"{side}_{heights.get(level, level)}_lobe"
        return next((lobe for lobe in LOBES if lobe.value == wanted), None)
    if "lung" not in said or "lobe" in said or height:
        return None
    if len(sides) == 1:
        return Region.RIGHT_LUNG if "right" in sides else Region.LEFT_LUNG
    return Region.LUNGS


def _by_numbers(labels: LabelMap) -> tuple[dict[Segment, Region], str]:
    """The regions by the one known numbering that fits, and its tool; nothing where none does, or several."""
    fitting = [(tool, numbers) for tool in NUMBERINGS if (numbers := _by_number(labels, tool)) is not None]
    # Exactly a tool's numbers are that tool's, though they be among those of another.
    fitting = [pair for pair in fitting if not pair[0].among_others] or fitting
    if not fitting or any(numbers != fitting[0][1] for _, numbers in fitting):
        return {}, ""
    numbering, numbered = fitting[0]
    return numbered, numbering.tool


def _is_complete(regions: set[Region]) -> bool:
    return regions >= {Region.RIGHT_LUNG, Region.LEFT_LUNG} or regions >= {*LOBES} or Region.LUNGS in regions


def _by_number(labels: LabelMap, numbering: Numbering) -> dict[Segment, Region] | None:
    """The regions by a tool's numbers; None where other numbers are there, or where they lie as lungs do not."""
    if len(labels.layers) != 1 or any(_has_own_name(segment) for segment in labels.segments):
        return None
    numbers = {segment: segment.value & 255 if numbering.low_byte else segment.value for segment in labels.segments}
    if not numbering.needed <= {*numbers.values()}:
        return None
    known = {segment: numbering.regions[number] for segment, number in numbers.items() if number in numbering.regions}
    left_over = {number for segment, number in numbers.items() if segment not in known and number}
    if left_over and not numbering.among_others:
        return None
    return known if _lie_as_lungs_do(labels, known) else None


def _has_own_name(segment: Segment) -> bool:
    """Whether a name is more than a number, as Slicer's Segment_1 and TotalSegmentator's L1 are not."""
    return not re.fullmatch(r"(?i)(segment|label|l)?[\s_-]*\d*", segment.name)


def _lie_as_lungs_do(labels: LabelMap, regions: Mapping[Segment, Region]) -> bool:
    """Whether what is right lies to the right of what is left, and upper lobes above the lower ones of their side."""
    sums: dict[Region, NDArray[np.float64]] = {}
    for segment, region in regions.items():
        sums[region] = sums.get(region, np.zeros(4)) + _moments(labels, segment.value)
    centres = {region: total[1:] / total[0] for region, total in sums.items() if total[0]}
    columns = {side: [at[2] for region, at in centres.items() if region.side == side] for side in (_R.side, _L.side)}
    if columns[_R.side] and columns[_L.side] and max(columns[_R.side]) >= min(columns[_L.side]):
        return False
    return all(
        centres[upper][0] > centres[lower][0]
        for upper, lower in ((_RUL, _RLL), (_LUL, _LLL))
        if upper in centres and lower in centres
    )


def _moments(labels: LabelMap, value: int) -> NDArray[np.float64]:
    """(4,): voxels with a value, and the sums of their slices, rows and columns."""
    mask = labels.layers[0] == value
    counts = [mask.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    return np.array([counts[0].sum(), *(count @ np.arange(len(count)) for count in counts)], float)


def _as_named(segments: Sequence[Segment], name: str, given: Mapping[str, Region]) -> dict[Segment, Region]:
    found = {}
    for label, region in given.items():
        by_its_name = [segment for segment in segments if segment.name.casefold() == label.casefold()]
        meant = by_its_name or [segment for segment in segments if str(segment.value) == label]
        if len(meant) != 1:
            problem = "more than one label" if meant else "no label"
            raise RegionError(f"'{name}' has {problem} {label}; it has {_listed(segments)}.")
        found[meant[0]] = region
    return found


def _unknown(
    wanted: Wanted, kind: MaskKind, found: Mapping[Segment, Region], segments: Sequence[Segment], name: str
) -> str:
    how = f"name its labels, such as {wanted.option} {wanted.example}"
    if kind is MaskKind.SEGMENTATION:
        how = "state which segment is which region"
    if found:
        only = ", ".join(dict.fromkeys(map(str, found.values())))
        return f"'{name}' holds no {wanted.what}, only {only}; choose another, or {how}."
    return f"No labels of '{name}' are known as {wanted.what} ({_listed(segments)}); {how}, or choose another."


def _listed(segments: Sequence[Segment]) -> str:
    texts = [str(segment) for segment in segments]
    more = f" and {len(texts) - _LISTED_AT_MOST} more" if len(texts) > _LISTED_AT_MOST else ""
    return ", ".join(texts[:_LISTED_AT_MOST]) + more
