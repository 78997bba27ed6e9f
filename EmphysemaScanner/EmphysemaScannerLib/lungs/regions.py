"""Regions of the lungs that a user may give: the right and the left lung, and the five lobes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..base.errors import EmphysemaScannerError
from ..base.parallel import in_threads
from . import LEFT, RIGHT

if TYPE_CHECKING:
    from ..ct.grid import Grid
    from .coarse import Labels

BOTH = 3
"""A side beside RIGHT and LEFT, where a label map has one label for the two lungs."""


class RegionError(EmphysemaScannerError):
    """A label map or segmentation cannot be used as lung mask or as lobes."""


class UnknownLabelsError(RegionError):
    """No label of a label map or segmentation is known as a lung or a lobe."""


class Region(str, Enum):
    """A part of the lungs; the values are the names that files, tables and the command line have."""

    RIGHT_LUNG = "right_lung"
    LEFT_LUNG = "left_lung"
    LUNGS = "lungs"
    RIGHT_UPPER_LOBE = "right_upper_lobe"
    RIGHT_MIDDLE_LOBE = "right_middle_lobe"
    RIGHT_LOWER_LOBE = "right_lower_lobe"
    LEFT_UPPER_LOBE = "left_upper_lobe"
    LEFT_LOWER_LOBE = "left_lower_lobe"

    @property
    def side(self) -> int:
        """RIGHT, LEFT or BOTH."""
        return {"right": RIGHT, "left": LEFT}.get(self.name.partition("_")[0].lower(), BOTH)

    @property
    def lobe(self) -> int:
        """Its number in a lobe mask, from 1; 0 for what is no lobe."""
        return LOBES.index(self) + 1 if self in LOBES else 0

    def __str__(self) -> str:
        """In a sentence, such as "right upper lobe"."""
        return self.name.replace("_", " ").lower()


LUNGS = (Region.RIGHT_LUNG, Region.LEFT_LUNG, Region.LUNGS)
LOBES = tuple(region for region in Region if region not in LUNGS)
"""In the order of their numbers in a lobe mask."""


def lobe_voxels(lobes: Labels) -> NDArray[np.int64]:
    """How many voxels of a lobe mask (slices, rows, columns) have each number from 0: (1 + lobes,)."""
    counts = np.zeros(len(LOBES) + 1, np.int64)
    for plane in lobes:  # of which numpy makes eight bytes a voxel
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return counts


@dataclass(frozen=True)
class Segment:
    """A label of a label map, or a segment of a segmentation.

    Attributes:
        value: of its voxels.
        layer: in which they lie; segments of different layers may overlap.
        name: as its maker wrote it; "" for a label that is only a number.
        terminology: Slicer's terminology entry, or "".
    """

    value: int
    layer: int = 0
    name: str = ""
    terminology: str = ""

    def __str__(self) -> str:
        """As errors name it."""
        return f"{self.value} '{self.name}'" if self.name else str(self.value)


@dataclass(frozen=True)
class LabelMap:
    """What a label file or a segmentation holds, wherever it lies.

    Attributes:
        layers: each (slices, rows, columns) of whole numbers from 0, canonical; 0 is no segment.
        grid: where the voxels lie.
        segments: all that have a name or a voxel.
        name: of the file or node.
    """

    layers: tuple[NDArray[np.integer], ...]
    grid: Grid
    segments: tuple[Segment, ...]
    name: str


class MaskKind(str, Enum):
    """Where a mask comes from.

    OWN: as ``lungs.find_lungs`` draws it. EDITED: that one, edited in Slicer. FILE: a label file. SEGMENTATION: a
    segmentation or label map in Slicer's scene. ARRAY: given by a program.
    """

    OWN = "own"
    EDITED = "edited"
    FILE = "file"
    SEGMENTATION = "segmentation"
    ARRAY = "array"


class Recognition(str, Enum):
    """What the labels of a mask were recognised by.

    NONE: there was nothing to recognise. CODES: SNOMED CT. NAMES: names of segments. NUMBERS: a tool's numbering. USER:
    as the user named them.
    """

    NONE = ""
    CODES = "codes"
    NAMES = "names"
    NUMBERS = "numbers"
    USER = "user"


@dataclass(frozen=True)
class Origin:
    """Whose mask was used.

    Attributes:
        kind: where it comes from.
        name: of the file or node, which may name a patient; "" where that is not shown.
        recognised: what its labels were recognised by.
        numbering: whose numbers they are, such as "lungmask"; "" for others.
    """

    kind: MaskKind = MaskKind.OWN
    name: str = ""
    recognised: Recognition = Recognition.NONE
    numbering: str = ""


OWN = Origin()


@dataclass(frozen=True)
class GivenRegions:
    """Regions that a user gave, on a grid of their own.

    Attributes:
        sides: uint8 (slices, rows, columns), canonical: 0 outside, RIGHT, LEFT or BOTH.
        lobes: uint8 of the same shape: 0 or the number of the lobe.
        grid: where they lie.
        origin: whose they are.
    """

    sides: Labels
    lobes: Labels
    grid: Grid
    origin: Origin

    @property
    def has_lobes(self) -> bool:
        """Whether there is a lobe."""
        return bool(self.lobes.any())

    @classmethod
    def of_arrays(cls, sides: Labels, lobes: Labels | None, grid: Grid, origin: Origin | None = None) -> GivenRegions:
        """Regions from arrays.

        Args:
            sides: uint8 (slices, rows, columns), canonical: 0 outside, 1 right lung, 2 left lung, 3 both in one.
            lobes: uint8 of the same shape: 0, or the place in ``LOBES`` from 1; None without lobes.
            grid: where they lie.
            origin: whose they are; a program's if None.

        Raises:
            RegionError: an array has another shape or other values.
        """
        lobes = np.zeros_like(sides) if lobes is None else lobes
        for array, most in ((sides, BOTH), (lobes, len(LOBES))):
            if array.shape != grid.shape or array.dtype != np.uint8 or array.max(initial=0) > most:
                raise RegionError(
                    f"Lungs and lobes must be uint8 arrays of the shape {grid.shape} with values of at most {BOTH} and "
                    f"{len(LOBES)}."
                )
        return cls(sides, lobes, grid, origin or Origin(MaskKind.ARRAY))

    @classmethod
    def of(cls, labels: LabelMap, regions: Mapping[Segment, Region], origin: Origin) -> GivenRegions:
        """The regions of a label map whose segments were recognised.

        Raises:
            RegionError: a recognised segment has no voxels.
        """
        shape = labels.grid.shape
        sides, lobes = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        for number, layer in enumerate(labels.layers):
            chosen = {segment: region for segment, region in regions.items() if segment.layer == number}
            if not chosen:
                continue
            there = values_in(layer)
            codes = np.zeros((2, int(there.max(initial=0)) + 1), np.uint8)
            for segment, region in chosen.items():
                if segment.value not in there:
                    raise RegionError(
                        f"The segment {segment} of '{labels.name}', the {region}, is empty; fill it or leave it out."
                    )
                codes[:, segment.value] = region.side, region.lobe
            drawn = codes[0][layer]
            # One label for both lungs tells less than one of a side.
            np.copyto(sides, drawn, where=(drawn > 0) & ((drawn != BOTH) | (sides == 0)))
            drawn = codes[1][layer]
            np.copyto(lobes, drawn, where=drawn > 0)
        return cls(sides, lobes, labels.grid, origin)


@dataclass(frozen=True)
class Masks:
    """What a user gave for a CT in place of the lung mask that is found in it.

    Attributes:
        lungs: the lung mask; None for the union of ``lobes``, or, without these, for the one that is found.
        lobes: regions; None without lobes.
    """

    lungs: GivenRegions | None = None
    lobes: GivenRegions | None = None


NO_MASKS = Masks()


def values_in(layer: NDArray[np.integer]) -> NDArray[np.integer]:
    """The values of a layer, ascending."""
    found = in_threads(np.unique, list(layer))
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def parse_labels(text: str) -> dict[str, Region]:
    """Regions by numbers or names of labels, from a text such as ``1=right_lung, 2=left_lung``.

    Raises:
        RegionError: the text is something else.
    """
    found: dict[str, Region] = {}
    for part in filter(None, (part.strip() for part in re.split("[,;]", text))):
        label, sign, name = (word.strip() for word in part.rpartition("="))
        known = re.sub(r"[\s-]+", "_", name.lower())
        if not sign or not label or known not in {region.value for region in Region}:
            raise RegionError(
                f"'{part}' does not name a label; write pairs such as 1=right_lung, with one of "
                f"{', '.join(region.value for region in Region)}."
            )
        if label.casefold() in found:
            raise RegionError(f"The label {label} is named twice; keep one.")
        found[label.casefold()] = Region(known)
    return found
