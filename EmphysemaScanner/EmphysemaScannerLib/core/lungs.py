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
from scipy import ndimage

from .errors import LungsNotFoundError
from .grid import area_average, canonical_view
from .morphology import Mask, Radius, box, dilated, eroded
from .parallel import in_threads, pieces

RIGHT, LEFT = 1, 2
_NO_LUNG = 3

_PADDING_HU = -1024
_AIR_BELOW_HU = -400  # half-way between lung at about -850 and soft tissue at about +50
_BORDER_HU = -500  # the lung's border on the CT's own voxels; nearer to lung, to keep half-filled pleural voxels out
_WORKING_MM = 3.0
_WALL_MM = 2.0  # of an airway; and the thinnest thing that may join table and body
_CLOSING_MM = 6.0  # fills vessels and bronchi within the lung, leaves the mediastinum out
_PARTING_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
_PARTING_HU = (-400, -600, -700, -750, -800)  # a wall thinner than a voxel looks like dense lung
_SMALLEST_LUNGS_L = 0.6
_LARGEST_LUNGS_L = 20.0
_SHORTEST_LUNGS_MM = 120.0
_LEAST_SOLID_PERCENT = 50.0  # of tissue, one voxel from any air: 78 to 89 in seven chests, below 1 in noise
_BOWEL_GAS_HU = -985  # the median of lungs stays above it even in severe emphysema
_SECOND_LUNG_SHARE = 0.1  # of the larger lung; a lung may be collapsed
_TRACHEA_AREA_MM2 = (40.0, 900.0)
_TRACHEA_OFF_CENTRE_MM = 60.0
_AIRWAY_WITHIN_MM = 130.0  # of the middle; a space that reaches so far out is wider than a trachea
_LARGEST_AIRWAY_ML = 130.0  # a wide trachea with main and lobar bronchi; what is larger has leaked into a lung
_WITHIN_SLICE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3])

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

    def radius(self, mm: float) -> Radius:
        """A distance in whole voxels along (slices, rows, columns)."""
        dz, dy, dx = self.spacing_mm
        return round(mm / dz), round(mm / dy), round(mm / dx)


def segment_lungs(image: sitk.Image) -> Labels:
    """Find the two lungs of a chest CT.

    Vessels and bronchi inside the lungs belong to them; trachea and main bronchi do not.

    Args:
        image: a CT in HU, any orientation.

    Returns:
        Labels in canonical axial order (slices, rows, columns): 0 outside, 1 the patient's right lung, 2 the left lung.

    Raises:
        LungsNotFoundError: less than 0.6 litres or 120 mm of lung were found, or nothing but gas in the bowel.
    """
    hu, grid = canonical_view(image)
    coarse = _averaged(hu, grid.spacing_mm)
    air = _air_inside_body(coarse)
    airways = dilated(_airways(air, coarse), coarse.radius(_WALL_MM))  # with their wall
    lungs = _two_lungs(air & ~airways, coarse)
    _refuse_what_is_no_chest(lungs, coarse)
    filled = np.zeros_like(lungs)
    for side in (RIGHT, LEFT):
        filled[_filled(lungs == side, coarse.radius(_CLOSING_MM)) & ~airways & (filled == 0)] = side
    return _on_voxels(hu, filled, airways)


def _averaged(hu: NDArray[np.generic], spacing: tuple[float, ...]) -> _Coarse:
    slices, rows, columns = (max(1, min(n, round(n * s / _WORKING_MM))) for n, s in zip(hu.shape, spacing, strict=True))
    averaged = area_average(hu, (slices, rows, columns), at_least=_PADDING_HU)
    dz, dy, dx = (s * n / m for s, n, m in zip(spacing, hu.shape, averaged.shape, strict=True))
    return _Coarse(averaged, (dz, dy, dx))


def _air_inside_body(coarse: _Coarse) -> Mask:
    """Air that the body encloses in each axial slice; the table and what lies around the patient are left out."""
    tissue = coarse.hu >= _AIR_BELOW_HU
    rim = coarse.radius(_WALL_MM)
    body = _largest_piece(dilated(eroded(tissue, rim), rim))
    where = box(body, (1, 1, 1))
    around, count = ndimage.label(~body[where], _WITHIN_SLICE)
    enclosed = np.ones(count + 1, bool)
    enclosed[np.concatenate([around[:, [0, -1]].ravel(), around[:, :, [0, -1]].ravel()])] = False
    enclosed[0] = True  # the body's own rim, which the opening may have rounded over some air
    air = np.zeros_like(tissue)
    air[where] = enclosed[around] & ~tissue[where]
    return air


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
    _, dy, dx = coarse.spacing_mm
    middle = coarse.hu.shape[2] / 2
    near = round(_AIRWAY_WITHIN_MM / dx)
    where = (slice(len(air) // 3, None), slice(None), slice(max(int(middle) - near, 0), int(middle) + near))
    pieces, count = ndimage.label(air[where], _WITHIN_SLICE)
    areas = np.bincount(pieces[air[where]], minlength=count + 1) * dy * dx
    middle -= where[2].start
    alike = np.zeros(count + 1, bool)
    for number, (_, rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
        height, width = (rows.stop - rows.start) * dy, (columns.stop - columns.start) * dx
        alike[number] = (
            _TRACHEA_AREA_MM2[0] <= areas[number] <= _TRACHEA_AREA_MM2[1]
            and max(height, width) < 2.2 * min(height, width)
            and areas[number] > 0.5 * height * width
            and abs((columns.start + columns.stop) / 2 - middle) * dx < _TRACHEA_OFF_CENTRE_MM
        )
    stacks, count = ndimage.label(alike[pieces])
    trachea = np.zeros_like(air)
    if count:
        heights = [part[0].stop - part[0].start for part in ndimage.find_objects(stacks)]
        trachea[where] = stacks == 1 + int(np.argmax(heights))
    return trachea


def _two_lungs(air: Mask, coarse: _Coarse) -> Labels:
    """Label the right and the left lung; where they touch, part them along the ridge of density between them."""
    # Erosion takes what lies beyond the array for air; the margin keeps that to where the CT itself ends.
    dz, dy, dx = coarse.radius(_PARTING_MM[-1])
    where = box(air, (dz + 1, dy + 1, dx + 1))
    inside, hu = air[where], coarse.hu[where]
    out = np.zeros(air.shape, np.uint8)
    radii = dict.fromkeys(map(coarse.radius, _PARTING_MM))  # each once, where voxels are larger than the steps
    for radius, threshold in itertools.product(radii, _PARTING_HU):
        seed = inside & (hu < threshold)
        if any(radius):
            seed = eroded(seed, radius)
        pair = _pair(seed)
        if pair is not None:
            untouched = not any(radius) and threshold == _AIR_BELOW_HU
            out[where] = pair if untouched else _flooded(pair, inside, hu, dx)
            return out
    return _by_midline(_largest_piece(air), coarse)


def _pair(air: Mask) -> Labels | None:
    """The largest piece of air and the largest one beside it that may be the other lung; None without a second."""
    pieces, sizes = _pieces(air)
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


def _flooded(markers: Labels, air: Mask, hu: Hu, margin: int) -> Labels:
    """Grow the two markers over the air that is connected with them, lowest density first, until they meet.

    They are let meet where both have columns, and ``margin`` columns beyond: what lies farther out is the one lung's.
    """
    pieces, sizes = _pieces(air)
    reached = np.zeros(len(sizes), bool)
    reached[pieces[markers > 0]] = True
    lungs = reached[pieces]
    meeting = np.flatnonzero((markers == LEFT).any((0, 1)))[0], np.flatnonzero((markers == RIGHT).any((0, 1)))[-1]
    start = max(min(meeting) - margin, 0)
    between = (slice(None), slice(None), slice(start, max(meeting) + margin + 1))
    grown = lungs * np.where(np.arange(lungs.shape[2]) < start, RIGHT, LEFT).astype(np.uint8)
    part = lungs[between]
    density = sitk.GetImageFromArray(np.where(part, hu[between], 1000).astype(np.int16))
    # A marker of its own keeps the flood out of what is no lung anyhow.
    seeds = sitk.GetImageFromArray(np.where(part, markers[between], np.uint8(_NO_LUNG)))
    flooded = sitk.MorphologicalWatershedFromMarkers(density, seeds, markWatershedLine=False)
    grown[between] = sitk.GetArrayViewFromImage(flooded) * part
    return grown


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
    if litres > _LARGEST_LUNGS_L:
        raise LungsNotFoundError(
            f"{litres:.4g} litres of lung were found, more than any chest holds; correct the CT's spacing."
        )
    tissue = coarse.hu >= _AIR_BELOW_HU
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


def _on_voxels(hu: NDArray[np.generic], lungs: Labels, airways: Mask) -> Labels:
    """Draw the border of the coarse labels where the CT's own voxels pass from air to tissue."""
    one = (1, 1, 1)
    core = lungs * eroded(lungs > 0, one)
    shell = lungs - core  # where the CT's own voxels decide
    free = ~dilated(airways, one)
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

    def draw(numbers: range) -> None:
        last = -1
        for i in numbers:
            if k[i] != last:
                last = k[i]
                surely, perhaps = (part[last].take(c, 1).take(r, 0) for part in (core, shell))
            np.multiply(perhaps, planes[i] < _BORDER_HU, out=inside[i])
            inside[i] |= surely

    in_threads(draw, pieces(len(inside)))
    return out


def _without_holes(mask: Mask) -> Mask:
    """The mask with what it encloses on all sides."""
    around, sizes = _pieces(~mask)
    enclosed = np.ones(len(sizes), bool)
    for axis in range(3):
        enclosed[around.take([0, -1], axis)] = False
    enclosed[0] = True
    return np.asarray(enclosed[around])


def _largest_piece(mask: Mask) -> Mask:
    pieces, sizes = _pieces(mask)
    return np.asarray(pieces == np.argmax(sizes)) if len(sizes) > 1 else mask


def _pieces(mask: Mask) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The connected pieces, numbered from 1, and how many voxels each has; 0 is what lies between and counts none."""
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(_as_image(mask)))
    return pieces, np.bincount(pieces[mask], minlength=1)


def _as_image(mask: Mask) -> sitk.Image:
    return sitk.GetImageFromArray(np.ascontiguousarray(mask).view(np.uint8))


def _as_mask(image: sitk.Image) -> Mask:
    return np.asarray(sitk.GetArrayViewFromImage(image) != 0)
