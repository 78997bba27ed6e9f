"""The lung mask: air inside the chest, without trachea and main bronchi, bowel gas and the air around the patient.

The shape is found on a grid of about 2 mm, where everything is fast and noise is averaged out; its border is then drawn
on the CT's own voxels. Arrays are canonical: (slices, rows, columns), inferior to superior, anterior to posterior,
patient right to left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from .errors import LungsNotFoundError
from .grid import area_average

RIGHT, LEFT = 1, 2

_PADDING_HU = -1024
_AIR_BELOW_HU = -400  # half-way between lung at about -850 and soft tissue at about +50
_BORDER_HU = -500  # the lung's border on the CT's own voxels; nearer to lung, to keep half-filled pleural voxels out
_WORKING_MM = 2.0
_CLOSING_MM = 6.0  # fills vessels and bronchi within the lung, leaves the mediastinum out
_PARTING_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
_PARTING_HU = (
    -400,
    -600,
    -700,
    -750,
    -800,
)  # a wall thinner than a voxel looks like dense lung
_SMALLEST_LUNGS_L = 0.6
_SHORTEST_LUNGS_MM = 120.0
_BOWEL_GAS_HU = -985  # the median of lungs stays above it even in severe emphysema
_SECOND_LUNG_SHARE = 0.1  # of the larger lung; a lung may be collapsed
_TRACHEA_AREA_MM2 = (40.0, 900.0)
_TRACHEA_OFF_CENTRE_MM = 60.0
_LARGEST_AIRWAY_ML = 130.0  # a wide trachea with main and lobar bronchi; what is larger has leaked into a lung
_WITHIN_SLICE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3])

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Hu = NDArray[np.float32]


@dataclass(frozen=True)
class _Coarse:
    """The CT averaged onto the working grid.

    Attributes:
        hu: (slices, rows, columns), padding raised to -1024.
        spacing_mm: (slices, rows, columns).
    """

    hu: Hu
    spacing_mm: tuple[float, float, float]

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000

    def radius(self, mm: float) -> list[int]:
        """A distance in whole voxels along (column, row, slice), SimpleITK's order."""
        return [round(mm / s) for s in self.spacing_mm[::-1]]


def segment_lungs(oriented: sitk.Image) -> Labels:
    """Find the two lungs of a chest CT.

    Vessels and bronchi inside the lungs belong to them; trachea and main bronchi do not.

    Args:
        oriented: a CT in HU in canonical axial order (``grid.canonical``).

    Returns:
        Labels (slices, rows, columns): 0 outside, 1 the patient's right lung, 2 the left lung.

    Raises:
        LungsNotFoundError: less than 0.6 litres or 120 mm of lung were found, or nothing but gas in the bowel.
    """
    hu = sitk.GetArrayViewFromImage(oriented)
    coarse = _averaged(hu, oriented.GetSpacing()[::-1])
    air = _air_inside_body(coarse)
    airways = _dilated(_airways(air, coarse), coarse.radius(_WORKING_MM))  # with their wall
    lungs = _two_lungs(air & ~airways, coarse)
    _refuse_what_is_no_chest(lungs, coarse)
    filled = np.zeros_like(lungs)
    for side in (RIGHT, LEFT):
        filled[_filled(lungs == side, coarse.radius(_CLOSING_MM)) & ~airways & (filled == 0)] = side
    return _on_voxels(hu, filled, airways)


def _averaged(hu: NDArray[np.generic], spacing: tuple[float, ...]) -> _Coarse:
    slices, rows, columns = (max(1, min(n, round(n * s / _WORKING_MM))) for n, s in zip(hu.shape, spacing, strict=True))
    raised = np.maximum(hu, np.asarray(_PADDING_HU, hu.dtype)) if hu.min() < _PADDING_HU else hu
    averaged = area_average(raised, (slices, rows, columns))
    dz, dy, dx = (s * n / m for s, n, m in zip(spacing, hu.shape, averaged.shape, strict=True))
    return _Coarse(averaged, (dz, dy, dx))


def _air_inside_body(coarse: _Coarse) -> Mask:
    """Air that the body encloses in each axial slice; the table and what lies around the patient are left out."""
    tissue = coarse.hu >= _AIR_BELOW_HU
    body = _largest_piece(_boxed(sitk.BinaryMorphologicalOpening, tissue, coarse.radius(_WORKING_MM)))
    around, count = ndimage.label(~body, _WITHIN_SLICE)
    enclosed = np.ones(count + 1, bool)
    enclosed[np.concatenate([around[:, [0, -1]].ravel(), around[:, :, [0, -1]].ravel()])] = False
    enclosed[0] = True  # the body's own rim, which the opening may have rounded over some air
    return np.asarray(enclosed[around] & ~tissue)


def _airways(air: Mask, coarse: _Coarse) -> Mask:
    """Trachea and large bronchi: grown from the trachea to the highest density that does not leak into the lungs."""
    trachea = _trachea(air, coarse)
    if not trachea.any():
        return trachea
    centre_of_lumen = trachea & (coarse.hu <= np.percentile(coarse.hu[trachea], 20))
    seeds = np.argwhere(centre_of_lumen)[:, ::-1].tolist()
    image = sitk.GetImageFromArray(np.where(air, coarse.hu, 0).astype(np.float32))
    grown: Mask = trachea
    for threshold in range(-960, _AIR_BELOW_HU - 100, 20):
        region = _as_mask(sitk.ConnectedThreshold(image, seeds, lower=2.0 * _PADDING_HU, upper=float(threshold)))
        if np.count_nonzero(region) * coarse.voxel_ml > _LARGEST_AIRWAY_ML:
            break
        grown = region | trachea
    return grown


def _trachea(air: Mask, coarse: _Coarse) -> Mask:
    """The tallest stack of round air spaces of a trachea's size near the middle of the upper two thirds."""
    pieces, count = ndimage.label(air, _WITHIN_SLICE)
    _, dy, dx = coarse.spacing_mm
    areas = np.bincount(pieces.ravel(), minlength=count + 1) * dy * dx
    middle = coarse.hu.shape[2] / 2
    alike = np.zeros(count + 1, bool)
    for number, (levels, rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
        height, width = (rows.stop - rows.start) * dy, (columns.stop - columns.start) * dx
        alike[number] = (
            levels.start >= len(air) // 3
            and _TRACHEA_AREA_MM2[0] <= areas[number] <= _TRACHEA_AREA_MM2[1]
            and max(height, width) < 2.2 * min(height, width)
            and areas[number] > 0.5 * height * width
            and abs((columns.start + columns.stop) / 2 - middle) * dx < _TRACHEA_OFF_CENTRE_MM
        )
    stacks, count = ndimage.label(alike[pieces])
    if count == 0:
        return np.zeros_like(air)
    heights = [box[0].stop - box[0].start for box in ndimage.find_objects(stacks)]
    return np.asarray(stacks == 1 + int(np.argmax(heights)))


def _two_lungs(air: Mask, coarse: _Coarse) -> Labels:
    """Label the right and the left lung; where they touch, part them along the ridge of density between them."""
    for mm, threshold in itertools.product(_PARTING_MM, _PARTING_HU):
        seed = air & (coarse.hu < threshold)
        if mm > 0:
            seed = _boxed(sitk.BinaryErode, seed, coarse.radius(mm))
        pair = _pair(seed)
        if pair is not None:
            untouched = mm == 0 and threshold == _AIR_BELOW_HU
            return pair if untouched else _flooded(pair, air, coarse)
    return _by_midline(_largest_piece(air), coarse)


def _pair(air: Mask) -> Labels | None:
    """The largest piece of air and the largest one beside it that may be the other lung; None without a second."""
    pieces, count = ndimage.label(air)
    if count < 2:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    boxes = ndimage.find_objects(pieces)
    first, *others = np.argsort(sizes)[::-1][:6]
    levels, _, columns = boxes[first]
    for second in others:
        if sizes[second] < _SECOND_LUNG_SHARE * sizes[first]:
            break
        # Bowel gas lies below the middle of the lungs and under one of them; the other lung lies beside the first.
        top, beside = boxes[second][0].stop, boxes[second][2]
        overlap = min(columns.stop, beside.stop) - max(columns.start, beside.start)
        if top > (levels.start + levels.stop) / 2 and overlap < 0.5 * (beside.stop - beside.start):
            right, left = (first, second) if columns.start < beside.start else (second, first)
            return np.asarray(RIGHT * (pieces == right + 1) + LEFT * (pieces == left + 1), np.uint8)
    return None


def _flooded(markers: Labels, air: Mask, coarse: _Coarse) -> Labels:
    """Grow the two markers over the air that is connected with them, lowest density first, until they meet."""
    pieces, count = ndimage.label(air)
    reached = np.zeros(count + 1, bool)
    reached[np.unique(pieces[markers > 0])] = True
    lungs = reached[pieces] & air
    box = ndimage.find_objects(lungs.astype(np.uint8))[0]
    hu = sitk.GetImageFromArray(np.where(lungs[box], coarse.hu[box], 1000).astype(np.int16))
    grown = sitk.MorphologicalWatershedFromMarkers(hu, sitk.GetImageFromArray(markers[box]), markWatershedLine=False)
    out = np.zeros_like(markers)
    out[box] = sitk.GetArrayViewFromImage(grown)
    out[~lungs] = 0
    return out


def _by_midline(lung: Mask, coarse: _Coarse) -> Labels:
    """Lungs that cannot be parted, or a single one, labelled by the side of the body's middle on which they lie."""
    if not lung.any():
        return lung.astype(np.uint8)
    body_columns = np.flatnonzero((coarse.hu >= _AIR_BELOW_HU).any((0, 1)))
    middle = (body_columns[0] + body_columns[-1]) / 2
    halves = np.where(np.arange(lung.shape[2]) < middle, RIGHT, LEFT) * lung
    right, left = (np.count_nonzero(halves == side) for side in (RIGHT, LEFT))
    if min(right, left) < _SECOND_LUNG_SHARE * max(right, left):
        halves = np.where(lung, RIGHT if right > left else LEFT, 0)
    return halves.astype(np.uint8)


def _refuse_what_is_no_chest(lungs: Labels, coarse: _Coarse) -> None:
    litres = np.count_nonzero(lungs) * coarse.voxel_ml / 1000
    height = np.count_nonzero(lungs.any((1, 2))) * coarse.spacing_mm[0]
    if litres < _SMALLEST_LUNGS_L or height < _SHORTEST_LUNGS_MM:
        raise LungsNotFoundError(
            f"Only {litres:.1f} litres of lung over {height:.0f} mm were found; choose a CT that shows the whole chest."
        )
    median = float(np.median(coarse.hu[lungs > 0]))
    if median < _BOWEL_GAS_HU:
        raise LungsNotFoundError(
            f"The air in the body measures {median:.0f} HU, as bowel gas does and lungs do not; choose a chest CT."
        )


def _filled(lung: Mask, radius: list[int]) -> Mask:
    """The lung with vessels, bronchi and nodules that it surrounds."""
    margin = [(r + 1, r + 1) for r in radius[::-1]]
    inner = tuple(slice(low, -high) for low, high in margin)
    box = _box(lung, radius)
    extended = np.pad(lung[box], margin, mode="edge")  # as if the lung went on where the CT ends
    closed = sitk.BinaryMorphologicalClosing(_as_image(extended), radius)
    out = np.zeros_like(lung)
    out[box] = _as_mask(sitk.BinaryFillhole(closed))[inner]
    return out


def _on_voxels(hu: NDArray[np.generic], lungs: Labels, airways: Mask) -> Labels:
    """Draw the border of the coarse labels where the CT's own voxels pass from air to tissue."""
    one = [1, 1, 1]
    core = lungs * _boxed(sitk.BinaryErode, lungs > 0, one)
    shell = lungs.copy()
    free = ~_dilated(airways, one)
    for side in (RIGHT, LEFT):
        shell[_dilated(lungs == side, one) & (shell == 0) & free] = side
    k, r, c = ((np.arange(n) * m + m // 2) // n for n, m in zip(hu.shape, lungs.shape, strict=True))
    out = np.empty(hu.shape, np.uint8)
    for i, plane in enumerate(hu):
        out[i] = np.where(plane < _BORDER_HU, shell[k[i]][np.ix_(r, c)], core[k[i]][np.ix_(r, c)])
    return out


def _largest_piece(mask: Mask) -> Mask:
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    return np.asarray(pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]))


def _dilated(mask: Mask, radius: list[int]) -> Mask:
    return _boxed(sitk.BinaryDilate, mask, radius)


def _boxed(morphology: Callable[[sitk.Image, list[int]], sitk.Image], mask: Mask, radius: list[int]) -> Mask:
    """A morphological filter applied only around the mask, which is many times faster than on the whole array."""
    out = np.zeros_like(mask)
    if mask.any():
        box = _box(mask, radius)
        out[box] = _as_mask(morphology(_as_image(mask[box]), radius))
    return out


def _box(mask: Mask, radius: list[int]) -> tuple[slice, ...]:
    """The box around the mask with a margin of the radius and one voxel, inside the array."""
    if not mask.any():
        return tuple(slice(0, 1) for _ in mask.shape)
    around = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(s.start - r - 1, 0), s.stop + r + 1) for s, r in zip(around, radius[::-1], strict=True))


def _as_image(mask: Mask) -> sitk.Image:
    return sitk.GetImageFromArray(mask.astype(np.uint8))


def _as_mask(image: sitk.Image) -> Mask:
    return np.asarray(sitk.GetArrayViewFromImage(image) != 0)
