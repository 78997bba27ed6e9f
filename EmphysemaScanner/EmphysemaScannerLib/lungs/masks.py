"""A user's lung mask and lobes brought onto the CT, compared with the lungs that are found in it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from ..base.errors import LungsNotFoundError
from ..base.parallel import in_threads
from ..ct.grid import Grid, canonical_view
from . import LEFT, RIGHT
from .coarse import Labels
from .fieldofview import field_of_view
from .lungs import Lungs, find_lungs, segment_lungs
from .maskwarnings import mask_warnings
from .morphology import box
from .regions import BOTH, LOBES, OWN, GivenRegions, MaskKind, Masks, Origin, RegionError, lobe_voxels

_SAME_PLACE = 0.1  # voxels
_LEAST_COVERED_PERCENT = 50.0  # of the lungs that are found
_SIDES = ((RIGHT, "right"), (LEFT, "left"))


@dataclass(frozen=True)
class LungRegions:
    """The lungs of a CT with their parts, on its canonical grid.

    Attributes:
        lungs: uint8: 0 outside, 1 right lung, 2 left lung.
        lobes: uint8: the place in ``regions.LOBES`` from 1, nowhere but in the lungs; None without lobes.
        lungs_from: whose lung mask it is.
        lobes_from: whose lobes; None without lobes.
        warnings: what makes them doubtful, as sentences, gravest first.
    """

    lungs: Labels
    lobes: Labels | None = None
    lungs_from: Origin = OWN
    lobes_from: Origin | None = None
    warnings: tuple[str, ...] = ()

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """The box of the CT outside of which there is no lung."""
        return box(self.lungs)


def lung_regions(image: sitk.Image, masks: Masks) -> LungRegions:
    """The lungs of a CT: as found, or as a user gave them.

    Args:
        image: a CT in HU, any orientation.
        masks: what the user gave. Lobes alone are the lungs, too; lobes beside a lung mask are cut to it.

    Raises:
        LungsNotFoundError: no mask was given, and no lungs were found.
        RegionError: what was given does not lie in the CT.
    """
    given = masks.lungs or masks.lobes
    if given is None:
        own = find_lungs(image)
        return LungRegions(own.labels, warnings=mask_warnings(image, own))
    try:
        found, missing = find_lungs(image), ""
    except LungsNotFoundError as error:
        found, missing = None, str(error)
    hu, grid = canonical_view(image)
    lungs, lobes = _on_ct(given, grid, found)
    origin = given.origin
    if masks.lungs is None:
        lobes_from: Origin | None = origin
    elif masks.lobes is not None:
        lobes_from = masks.lobes.origin
        lobes = _on_ct(masks.lobes, grid, found)[1]
        if not (lobes.any() and (lobes * (lungs > 0)).any()):
            raise RegionError(f"The lobes of {_called(lobes_from)} lie nowhere in the lung mask of {_called(origin)}.")
        lobes *= lungs > 0
    else:
        lobes_from = None
    if found is None:
        view = field_of_view(hu)
        doubts = [f"No lungs were found to compare the mask of {_called(origin)} with: {missing}"]
        measured = Lungs(lungs, view, trachea_in_view=True, left_out_ml=(), free_air_ml=0.0)
    else:
        doubts = _doubts(lungs, found.labels, origin)
        measured = dataclasses.replace(found, labels=lungs, trachea_in_view=True, left_out_ml=(), free_air_ml=0.0)
    _keep_to_view(measured, lungs, lobes)
    doubts += [] if lobes_from is None else _lobe_doubts(lungs, lobes, masks.lobes, lobes_from)
    warnings = (*doubts, *mask_warnings(image, measured))
    return LungRegions(lungs, None if lobes_from is None else lobes, origin, lobes_from, warnings)


def lungs_in(image: sitk.Image, masks: Masks) -> Labels:
    """As ``lung_regions(image, masks).lungs``, without the time that its warnings take where no mask was given."""
    given = masks.lungs or masks.lobes
    return segment_lungs(image) if given is None else lung_regions(image, masks).lungs


def _on_ct(given: GivenRegions, grid: Grid, found: Lungs | None) -> tuple[Labels, Labels]:
    """Sides and lobes on a CT's grid, without BOTH; by the nearest voxel where they lie on another grid.

    Raises:
        RegionError: nothing lies in the CT, or one label of both lungs cannot be parted.
    """
    sides, lobes = (resampled(labels, given.grid, grid) for labels in (given.sides, given.lobes))
    if not sides.any():
        raise RegionError(
            f"{_error_name(given.origin)} does not overlap with the CT: it was made for another CT or patient; "
            "give the one of this CT."
        )
    if (sides == BOTH).any():
        sides = _parted(sides, found, given.origin)
    if found is not None and not (found.labels[sides > 0] > 0).any():
        raise RegionError(
            f"{_error_name(given.origin)} does not overlap with the lungs of this CT: it was made for another CT "
            "or patient; give the one of this CT."
        )
    return sides, lobes


def resampled(labels: Labels, stored: Grid, grid: Grid) -> Labels:
    """Labels on another grid, each voxel as the nearest of the stored ones; 0 beyond these."""
    if _same_place(stored, grid):
        return np.array(labels)
    if not labels.any():
        return np.zeros(grid.shape, np.uint8)
    where = box(labels)
    over = tuple((float(part.start), float(part.stop)) for part in where)
    shape = tuple(part.stop - part.start for part in where)
    cropped = stored.part((over[0], over[1], over[2]), (shape[0], shape[1], shape[2])).to_image(labels[where])
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    resampler.SetSize(grid.shape[::-1])
    resampler.SetOutputSpacing(grid.spacing_mm[::-1])
    resampler.SetOutputOrigin(grid.origin_lps)
    resampler.SetOutputDirection(np.array(grid.direction_lps)[:, ::-1].ravel().tolist())
    labels_there: Labels = sitk.GetArrayFromImage(resampler.Execute(cropped))
    return labels_there


def _same_place(one: Grid, other: Grid) -> bool:
    """Whether the voxels of two grids lie at the same places."""
    if one.shape != other.shape:
        return False
    corners = np.array(np.meshgrid(*((0.0, n - 1.0) for n in one.shape))).reshape(3, -1).T
    apart = np.abs(one.position_lps(corners) - other.position_lps(corners)).max()
    return bool(apart < _SAME_PLACE * min(one.spacing_mm))


def _parted(sides: Labels, found: Lungs | None, origin: Origin) -> Labels:
    """One label of both lungs as right and left: as the lungs that are found, elsewhere by the middle between these.

    Raises:
        RegionError: both sides of the lungs are not found.
    """
    if found is None or not all((found.labels == side).any() for side, _ in _SIDES):
        raise RegionError(
            f"{_error_name(origin)} has one label for both lungs, and where the right one ends could not be "
            "found; give a label file with the right and the left lung."
        )
    columns = np.arange(sides.shape[2])
    right, left = (float(np.average(columns, weights=np.sum(found.labels == side, axis=(0, 1)))) for side, _ in _SIDES)
    by_middle = np.where(columns < (right + left) / 2, RIGHT, LEFT).astype(np.uint8)

    def part(k: int) -> None:
        both = sides[k] == BOTH
        if both.any():
            own = found.labels[k]
            np.copyto(sides[k], np.where(own > 0, own, by_middle[None]), where=both)

    in_threads(part, range(len(sides)))
    return sides


def _keep_to_view(lungs: Lungs, sides: Labels, lobes: Labels) -> None:
    """Take what the scanner did not measure out of a mask."""
    if lungs.view.is_whole:
        return
    for k in range(len(sides)):
        if sides[k].any():
            inside = lungs.view.inside(k)
            sides[k] *= inside
            lobes[k] *= inside


def _doubts(lungs: Labels, found: Labels, origin: Origin) -> list[str]:
    """How a given mask differs from the lungs that are found."""
    # (given, found): voxels by side
    counts = np.zeros((3, 3), np.int64)
    for plane, own in zip(lungs, found, strict=True):
        counts += np.bincount(3 * plane.ravel().astype(np.int64) + own.ravel(), minlength=9).reshape(3, 3)
    mask, check = f"lung mask of {_called(origin)}", "check that the mask belongs to this CT."
    if origin.kind is MaskKind.EDITED:
        mask, check = "edited lung mask", "check the edits."
    if counts[RIGHT, LEFT] > counts[RIGHT, RIGHT] and counts[LEFT, RIGHT] > counts[LEFT, LEFT]:
        return [f"The right and the left lung seem to be swapped in the {mask}; check the mask."]
    doubts = []
    for side, name in _SIDES:
        total = int(counts[:, side].sum())
        covered = 100 * int(counts[1:, side].sum()) / total if total else 100.0
        if covered < _LEAST_COVERED_PERCENT:
            doubts.append(
                f"The {mask} covers only {covered:.0f} % of the {name} lung that was found in this CT (below "
                f"{_LEAST_COVERED_PERCENT:.0f} %); {check}"
            )
    beyond = 100 * int(counts[1:, 0].sum()) / max(int(counts[1:].sum()), 1)
    if beyond > _LEAST_COVERED_PERCENT:
        doubts.append(
            f"{beyond:.0f} % of the {mask} lie outside the lungs that were found in this CT (above "
            f"{_LEAST_COVERED_PERCENT:.0f} %); {check}"
        )
    return doubts


def _lobe_doubts(lungs: Labels, lobes: Labels, given: GivenRegions | None, origin: Origin) -> list[str]:
    doubts = []
    here = lobe_voxels(lobes)
    there = here if given is None else lobe_voxels(given.lobes)
    outside = [str(lobe) for lobe in LOBES if there[lobe.lobe] and not here[lobe.lobe]]
    if outside:
        doubts.append(f"The {' and the '.join(outside)} of {_called(origin)} lie outside the lungs of this CT.")
    lung = int(np.count_nonzero(lungs))
    without = 100 * (1 - int(here[1:].sum()) / lung) if lung else 0.0
    if without > 100 - _LEAST_COVERED_PERCENT:
        doubts.append(
            f"{without:.0f} % of the lung mask belong to no lobe of {_called(origin)} (above "
            f"{100 - _LEAST_COVERED_PERCENT:.0f} %); check that the lobes belong to this CT."
        )
    return doubts


def _error_name(origin: Origin) -> str:
    """A mask at the beginning of an error."""
    called = _called(origin)
    return f"T{called[1:]} '{origin.name}'" if origin.name else f"T{called[1:]}"


def _called(origin: Origin) -> str:
    """A mask in a sentence; without its name, which may be a patient's and stay in the result."""
    return {
        MaskKind.OWN: "the lung mask",
        MaskKind.EDITED: "the edited lung mask",
        MaskKind.FILE: "the label file",
        MaskKind.SEGMENTATION: "the segmentation",
        MaskKind.ARRAY: "the given mask",
    }[origin.kind]
