"""The lung mask: air inside the chest, without trachea and main bronchi, bowel gas and the air around the patient.

The shape is found on a grid of about 3 mm, where everything is fast and noise is averaged out; its border is then drawn
on the CT's own voxels. Arrays are canonical: (slices, rows, columns), inferior to superior, anterior to posterior,
patient right to left.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import LungsNotFoundError
from ..base.parallel import in_threads, pieces
from ..ct.grid import canonical_view
from . import LEFT, RIGHT
from .airways import find_airways
from .bodyair import air_inside_body
from .coarse import AIR_BELOW_HU, Coarse, Hu, Labels, averaged, largest_piece, numbered
from .coverage import lung_coverage
from .fieldofview import FieldOfView, field_of_view
from .gas import find_gas, lung_cores
from .morphology import Mask, Radius, box, dilated, eroded
from .strayair import sort_stray_air

_NO_LUNG = 3

_BORDER_HU = -500  # the lung's border on the CT's own voxels; nearer to lung, to keep half-filled pleural voxels out
_WALL_MM = 2.0  # of an airway
_CLOSING_MM = 6.0  # fills vessels and bronchi within the lung, leaves the mediastinum out
_PARTING_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
_PARTING_HU = (-400, -600, -700, -750, -800)  # a wall thinner than a voxel looks like dense lung
_SMALLEST_LUNGS_L = 0.6
_LARGEST_LUNGS_L = 20.0
_CARINA_PERCENT = 33.0  # of the lungs' height below their top; 31 to 41 in eight chests
_SHORTEST_LUNGS_MM = 120.0
_LEAST_SOLID_PERCENT = 50.0  # of tissue, one voxel from any air: 78 to 89 in seven chests, below 1 in noise
_BOWEL_GAS_HU = -985  # the median of lungs stays above it even in severe emphysema
_SECOND_LUNG_SHARE = 0.1  # of the larger lung; a lung may be collapsed


@dataclass(frozen=True)
class Lungs:
    """The lungs of a chest CT, and what their mask leaves doubtful.

    Attributes:
        labels: (slices, rows, columns), canonical; 0 outside, 1 the patient's right lung, 2 the left lung.
        view: what of the CT was measured.
        trachea_in_view: whether a trachea was found, and not a bronchus in a CT that starts below the carina.
        left_out_ml: pieces of air in the chest that are in neither lung nor airways, largest first.
        free_air_ml: what of the mask is as light as free air, without any tissue over 9 mm.
    """

    labels: Labels
    view: FieldOfView
    trachea_in_view: bool
    left_out_ml: tuple[float, ...]
    free_air_ml: float


def segment_lungs(image: sitk.Image) -> Labels:
    """The labels of ``find_lungs``."""
    return find_lungs(image).labels


def find_lungs(image: sitk.Image) -> Lungs:
    """Find the two lungs of a chest CT.

    Vessels and bronchi inside the lungs belong to them; trachea and main bronchi do not.

    Args:
        image: a CT in HU, any orientation.

    Raises:
        LungsNotFoundError: less than 0.6 litres or 120 mm of lung were found, or nothing but gas in the bowel.
    """
    hu, grid = canonical_view(image)
    view = field_of_view(hu)
    coarse = averaged(hu, grid.spacing_mm, view)
    air = air_inside_body(coarse)
    cores = lung_cores(air, coarse)
    found = find_airways(air, cores, coarse)
    airways = dilated(found.mask, coarse.radius(_WALL_MM))  # with their wall
    gas = find_gas(air & ~airways, cores, coarse)
    lungs = _two_lungs(air & ~airways & ~gas, coarse)
    stray = sort_stray_air(air & ~airways, lungs, coarse)
    lungs |= stray.kept
    _refuse_what_is_no_chest(lungs, coarse)
    filled = np.zeros_like(lungs)
    closed = airways | gas | coarse.outside
    for side in (RIGHT, LEFT):
        filled[_filled(lungs == side, coarse.radius(_CLOSING_MM)) & ~closed & (filled == 0)] = side
    labels = _on_voxels(hu, filled, ~dilated(airways, (1, 1, 1)) & ~gas, view)
    beside = (stray.left_out > 0) & (filled == 0)  # what the lungs enclose is in them
    left_out = np.bincount(stray.left_out[beside])[1:] * coarse.voxel_ml
    left_out_ml = tuple(sorted(left_out[left_out >= 1].tolist(), reverse=True))
    missing = lung_coverage(filled, grid.resized(filled.shape)).missing_top_percent
    trachea_in_view = found.found and missing < _CARINA_PERCENT
    return Lungs(labels, view, trachea_in_view, left_out_ml, _free_air_ml(filled, coarse))


def _two_lungs(air: Mask, coarse: Coarse) -> Labels:
    """Label the right and the left lung; where they touch, part them along the ridge of density between them."""
    # Erosion takes what lies beyond the array for air; the margin keeps that to where the CT itself ends.
    dz, dy, dx = coarse.radius(_PARTING_MM[-1])
    where = box(air, (dz + 1, dy + 1, dx + 1))
    inside, hu = air[where], coarse.hu[where]
    out = np.zeros(air.shape, np.uint8)
    whole = numbered(inside)
    radii = dict.fromkeys(map(coarse.radius, _PARTING_MM))  # each once, where voxels are larger than the steps
    for radius, threshold in itertools.product(radii, _PARTING_HU):
        seed = inside & (hu < threshold)
        untouched = not any(radius) and threshold == AIR_BELOW_HU
        pair = _pair(*(whole if untouched else numbered(eroded(seed, radius) if any(radius) else seed)))
        if pair is not None:
            out[where] = pair if untouched else _flooded(pair, whole[0], hu, dx)
            return out
    return _by_midline(largest_piece(air), coarse)


def _pair(pieces: NDArray[np.uint32], sizes: NDArray[np.int64]) -> Labels | None:
    """The largest piece of air and the largest one beside it that may be the other lung; None without a second.

    Args:
        pieces: number of each cell's piece, as from ``numbered``.
        sizes: cells of each piece, as from ``numbered``.
    """
    if len(sizes) < 3:
        return None
    first, *others = np.argsort(sizes)[::-1][:6]
    levels, _, columns = box(pieces == first)
    for second in others:
        if sizes[second] < _SECOND_LUNG_SHARE * sizes[first]:
            break
        # Bowel gas lies below the middle of the lungs and under one of them; the other lung lies beside the first.
        height, _, beside = box(pieces == second)
        overlap = min(columns.stop, beside.stop) - max(columns.start, beside.start)
        if height.stop > (levels.start + levels.stop) / 2 and overlap < 0.5 * (beside.stop - beside.start):
            right, left = (first, second) if columns.start < beside.start else (second, first)
            return np.asarray(RIGHT * (pieces == right) + LEFT * (pieces == left), np.uint8)
    return None


def _flooded(markers: Labels, pieces: NDArray[np.uint32], hu: Hu, margin: int) -> Labels:
    """Grow the two markers over the pieces of air in which they lie, lowest density first, until they meet.

    They are let meet where both have columns, and ``margin`` columns beyond: what lies farther out is the one lung's.
    """
    reached = np.zeros(pieces.max() + 1, bool)
    reached[pieces[markers > 0]] = True
    lungs = reached[pieces]
    meeting = np.flatnonzero((markers == LEFT).any((0, 1)))[0], np.flatnonzero((markers == RIGHT).any((0, 1)))[-1]
    start, stop = max(min(meeting) - margin, 0), max(meeting) + margin + 1
    between = (slice(None), slice(None), slice(start, stop))
    grown = lungs * np.where(np.arange(lungs.shape[2]) < start, RIGHT, LEFT).astype(np.uint8)
    part, known = lungs[between], markers[between].copy()
    # Lung that is connected with its marker only beyond these columns is taken up from there.
    if start > 0:
        known[:, :, 0] = RIGHT
    if stop < lungs.shape[2]:
        known[:, :, -1] = LEFT
    density = sitk.GetImageFromArray(np.where(part, hu[between], 1000).astype(np.int16))
    # A marker of its own keeps the flood out of what is no lung anyhow.
    seeds = sitk.GetImageFromArray(np.where(part, known, np.uint8(_NO_LUNG)))
    flooded = sitk.MorphologicalWatershedFromMarkers(density, seeds, markWatershedLine=False)
    grown[between] = sitk.GetArrayViewFromImage(flooded) * part
    return grown


def _by_midline(lung: Mask, coarse: Coarse) -> Labels:
    """Lungs that cannot be parted, or a single one, labelled by the side of the body's middle on which they lie."""
    if not lung.any():
        return lung.astype(np.uint8)
    body_columns = np.flatnonzero((coarse.hu >= AIR_BELOW_HU).any((0, 1)))
    middle = (body_columns[0] + body_columns[-1]) / 2
    halves = np.where(np.arange(lung.shape[2]) < middle, RIGHT, LEFT) * lung
    right, left = (np.count_nonzero(halves == side) for side in (RIGHT, LEFT))
    if min(right, left) < _SECOND_LUNG_SHARE * max(right, left):
        halves = np.where(lung, RIGHT if right > left else LEFT, 0)
    return halves.astype(np.uint8)


def _refuse_what_is_no_chest(lungs: Labels, coarse: Coarse) -> None:
    litres = np.count_nonzero(lungs) * coarse.voxel_ml / 1000
    height = np.count_nonzero(lungs.any((1, 2))) * coarse.spacing_mm[0]
    if litres < _SMALLEST_LUNGS_L:
        raise LungsNotFoundError(
            f"Only {litres:.1f} litres of lung were found (below {_SMALLEST_LUNGS_L:g}); choose a CT that shows the "
            "whole chest."
        )
    if height < _SHORTEST_LUNGS_MM:
        raise LungsNotFoundError(
            f"The lungs that were found are only {height:.0f} mm high (below {_SHORTEST_LUNGS_MM:.0f}); choose a CT "
            "that shows the whole chest."
        )
    if litres > _LARGEST_LUNGS_L:
        raise LungsNotFoundError(
            f"{litres:.4g} litres of lung were found, more than any chest holds; correct the CT's spacing."
        )
    tissue = coarse.tissue
    solid = 100 * np.count_nonzero(eroded(tissue, (1, 1, 1))) / np.count_nonzero(tissue)
    if solid < _LEAST_SOLID_PERCENT:
        raise LungsNotFoundError(
            f"Only {solid:.0f} % of the tissue is solid, as in noise and not as in a body; choose a chest CT."
        )
    median = float(np.median(coarse.hu[lungs > 0]))
    if median < _BOWEL_GAS_HU:
        raise LungsNotFoundError(
            f"The air in the body measures {median:.0f} HU, as bowel gas does and lungs do not; choose a chest CT."
        )


def _free_air_ml(lungs: Labels, coarse: Coarse) -> float:
    free = (lungs > 0) & (coarse.hu < _BOWEL_GAS_HU)
    core = eroded(free, (1, 1, 1))
    return coarse.volume_ml(dilated(core, (1, 1, 1)) & free) if core.any() else 0.0


def _filled(lung: Mask, radius: Radius) -> Mask:
    """The lung with vessels, bronchi and nodules that it surrounds."""
    margin = [(r + 1, r + 1) for r in radius]
    inner = tuple(slice(low, -high) for low, high in margin)
    where = box(lung, radius)
    extended = np.pad(lung[where], margin, mode="edge")  # as if the lung went on where the CT ends
    closed = eroded(dilated(np.pad(extended, margin), radius), radius)[inner]
    out = np.zeros_like(lung)
    out[where] = _without_holes(closed)[inner]
    return out


def _on_voxels(hu: NDArray[np.generic], lungs: Labels, free: Mask, view: FieldOfView) -> Labels:
    """Draw the border of the coarse labels where the CT's own voxels pass from air to tissue.

    Args:
        hu: the CT.
        lungs: on the working grid.
        free: where lung may be beyond its border on the working grid.
        view: what of the CT was measured.
    """
    one = (1, 1, 1)
    core = lungs * eroded(lungs > 0, one)
    shell = lungs - core  # where the CT's own voxels decide
    for side in (RIGHT, LEFT):
        shell[dilated(lungs == side, one) & (lungs == 0) & (shell == 0) & free] = side
    indices = [(np.arange(n) * m + m // 2) // n for n, m in zip(hu.shape, lungs.shape, strict=True)]
    used = [
        slice(*np.searchsorted(index, (part.start, part.stop)))
        for index, part in zip(indices, box((core | shell) > 0), strict=True)
    ]
    k, r, c = (index[part] for index, part in zip(indices, used, strict=True))
    out = np.zeros(hu.shape, np.uint8)
    inside, planes = out[tuple(used)], hu[tuple(used)]
    view_is_whole = view.is_whole

    def draw(numbers: range) -> None:
        last = -1
        for i in numbers:
            if k[i] != last:
                last = k[i]
                surely, perhaps = (part[last].take(c, 1).take(r, 0) for part in (core, shell))
            np.multiply(perhaps, planes[i] < _BORDER_HU, out=inside[i])
            inside[i] |= surely
            if not view_is_whole and not view.holds(i + used[0].start, (used[1], used[2])):
                inside[i] *= view.inside(i + used[0].start, (used[1], used[2]))

    in_threads(draw, pieces(len(inside)))
    return out


def _without_holes(mask: Mask) -> Mask:
    """The mask with what it encloses on all sides."""
    around, sizes = numbered(~mask)
    enclosed = np.ones(len(sizes), bool)
    for axis in range(3):
        enclosed[around.take([0, -1], axis)] = False
    enclosed[0] = True
    return np.asarray(enclosed[around])
