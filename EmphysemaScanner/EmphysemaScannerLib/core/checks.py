"""What is refused before anything heavy runs, and what is scanned with a warning."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .errors import GeometryError, NotAChestCTError
from .grid import Grid, canonical_view
from .parallel import in_threads, pieces

_FEWEST_SLICES = 20
_SHORTEST_MM = 120.0  # adult lungs are 180 to 300 mm high
_NARROWEST_MM = 200.0
_COARSEST_MM = 6.0  # within a slice; such a voxel is as large as a secondary lobule and hides the disease
_AIR_MUST_BE_BELOW_HU = -200

_THICK_MM = 3.2  # the thickest slices that the NLST protocol allowed
_COARSE_MM = 1.5
_TILT_DEGREES = 15.0
_NOISE_HU = 20.0  # one patient, two kernels: 3 HU with LAA%-950 0.1, 26 HU with 13.6
_CONTRAST_HU = 100.0  # blood without contrast agent is about 40 HU
_AIR_ERROR_HU = 25.0
_LUNGS_L = (2.0, 9.0)
_SMALLER_LUNG_PERCENT = 25.0
_CHEST_WALL_MM = 5.0  # no chest wall is thinner
_CUT_PERCENT = 2.0  # of the largest slice's lung area

Array = NDArray[np.float32]


def check_image(image: sitk.Image) -> None:
    """Refuse what cannot be a chest CT in HU.

    Raises:
        GeometryError: not three-dimensional, sheared, too few or too widely spaced slices, too small a field of view.
        NotAChestCTError: in colour, NaN or infinite, constant, or not in HU.
    """
    _check_kind(image)
    _check_geometry(image)
    _check_values(image)


def doubts(image: sitk.Image, labels: NDArray[np.uint8]) -> tuple[str, ...]:
    """What makes the answer on this CT doubtful, as sentences with the number that was measured, gravest first.

    Args:
        image: the CT in HU, any orientation.
        labels: its lung mask as from ``lungs.segment_lungs``, (slices, rows, columns).
    """
    hu, grid = canonical_view(image)
    shadow = _Shadow.of(labels)
    return (
        *_cut_lungs(shadow),
        *_cut_sides(shadow, grid),
        *_lung_volumes(shadow, math.prod(grid.spacing_mm)),
        *_air_calibration(hu),
        *_noise(hu, labels, shadow),
        *_contrast(hu, labels, shadow),
        *_sampling(grid),
    )


@dataclass(frozen=True)
class _Shadow:
    """Where the lungs lie along each axis of the CT.

    Attributes:
        by_slice: (2, slices), voxels of the right and of the left lung.
        slices, rows, columns: those with lung in them, ascending.
        shape: of the CT.
    """

    by_slice: NDArray[np.int64]
    slices: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, labels: NDArray[np.uint8]) -> _Shadow:
        by_slice = np.zeros((2, len(labels)), np.int64)

        def project(numbers: range) -> NDArray[np.uint8]:
            for k in numbers:
                by_slice[0, k] = np.count_nonzero(labels[k] == 1)
                by_slice[1, k] = np.count_nonzero(labels[k]) - by_slice[0, k]
            return np.asarray(np.bitwise_or.reduce(labels[numbers.start : numbers.stop], axis=0))

        flat = np.bitwise_or.reduce(in_threads(project, pieces(len(labels))), axis=0)
        slices, rows, columns = (np.flatnonzero(used) for used in (by_slice.any(0), flat.any(1), flat.any(0)))
        return cls(by_slice, slices, rows, columns, labels.shape)


def _check_kind(image: sitk.Image) -> None:
    if image.GetDimension() != 3:
        raise GeometryError(
            f"The image has {image.GetDimension()} dimensions (size {_times(image.GetSize())}); choose one CT volume, "
            "not a time series and not a single slice."
        )
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise NotAChestCTError(
            f"The image has {image.GetNumberOfComponentsPerPixel()} values per voxel, as a colour picture has; "
            "choose the original CT in Hounsfield units."
        )


def _check_geometry(image: sitk.Image) -> None:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise GeometryError(
            "The image's axes are not at right angles (a tilted gantry, or a shear in its transform); resample it onto "
            "a straight grid first."
        )
    along = int(np.argmax(np.abs(direction[2])))  # the image axis nearest to the patient's head-foot axis
    sizes, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    extent = sizes * spacing
    if sizes[along] < _FEWEST_SLICES or extent[along] < _SHORTEST_MM:
        raise GeometryError(
            f"The image has {sizes[along]} axial slices over {extent[along]:.0f} mm; choose a CT of the whole chest "
            f"with at least {_FEWEST_SLICES} slices over {_SHORTEST_MM:.0f} mm."
        )
    within = [axis for axis in range(3) if axis != along]
    if extent[within].min() < _NARROWEST_MM:
        raise GeometryError(
            f"The field of view is {_times(extent[within].round().astype(int))} mm; choose a CT that shows both "
            f"lungs, at least {_NARROWEST_MM:.0f} mm wide."
        )
    if spacing[within].max() > _COARSEST_MM:
        raise GeometryError(
            f"The pixels are {spacing[within].max():.1f} mm wide; "
            f"choose a CT with pixels of {_COARSEST_MM:.0f} mm or less."
        )


def _check_values(image: sitk.Image) -> None:
    if image.GetPixelID() in (sitk.sitkUInt8, sitk.sitkInt8):
        raise NotAChestCTError(
            "The image holds 8-bit grey values, not Hounsfield units; choose the original CT instead of a label map "
            "or an exported picture."
        )
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NotAChestCTError("The image holds NaN or infinite values; replace them by -1024 (air) and try again.")
    if low == high:
        raise NotAChestCTError(f"Every voxel of the image is {low:g}; choose another one.")
    if high - low <= 255:
        raise NotAChestCTError(
            f"The values run from {low:g} to {high:g}, the range of a grey-scale picture, not of a CT in Hounsfield "
            "units; choose the original CT."
        )
    if low >= _AIR_MUST_BE_BELOW_HU:
        hint = "; it may have been stored 1024 too high, then subtract 1024" if low >= 0 and high > 1024 else ""
        raise NotAChestCTError(
            f"The lowest value is {low:g}, but in a chest CT air is about -1000 HU{hint}; choose a CT in "
            "Hounsfield units."
        )


def _cut_lungs(shadow: _Shadow) -> list[str]:
    areas = shadow.by_slice.sum(0)
    ends = (("top", areas[-1], "apices"), ("bottom", areas[0], "bases"))
    return [
        f"The lungs reach the CT's {end} slice with {100 * area / areas.max():.0f} % of their largest area: the {part} "
        "are cut off."
        for end, area, part in ends
        if 100 * area > _CUT_PERCENT * areas.max()
    ]


def _cut_sides(shadow: _Shadow, grid: Grid) -> list[str]:
    """A lung that the field of view cuts is lost to the mask there, but beside the cut it comes close to the edge."""
    margins = []
    for used, size, mm in zip((shadow.rows, shadow.columns), shadow.shape[1:], grid.spacing_mm[1:], strict=True):
        margins += [used[0] * mm, (size - 1 - used[-1]) * mm]
    if min(margins) >= _CHEST_WALL_MM:
        return []
    return [
        f"The lungs come within {min(margins):.0f} mm (below {_CHEST_WALL_MM:.0f} mm) of the field of view's edge: "
        "they may be cut off at the side."
    ]


def _lung_volumes(shadow: _Shadow, voxel_mm3: float) -> list[str]:
    right, left = (voxels * voxel_mm3 / 1e6 for voxels in shadow.by_slice.sum(1).tolist())
    smallest, largest = _LUNGS_L
    found = []
    if right + left < smallest:
        found.append(
            f"Only {right + left:.1f} litres of lung were found (below {smallest:g}): not fully breathed in, partly "
            "collapsed, or not recognised; look at the lung mask."
        )
    if right + left > largest:
        found.append(f"{right + left:.1f} litres of lung were found (above {largest:g}); look at the lung mask.")
    smaller = 100 * min(right, left) / max(right, left)
    if smaller < _SMALLER_LUNG_PERCENT:
        side = "right" if right < left else "left"
        found.append(f"The {side} lung has {smaller:.0f} % of the other one's volume; look at the lung mask.")
    return found


def _air_calibration(hu: NDArray[np.generic]) -> list[str]:
    """Air in front of and beside the patient, without the scanner's padding (and clipping) at -1024 and below."""
    rows, columns = (max(1, n // 40) for n in hu.shape[1:])
    every = _sample(len(hu))
    border = np.concatenate(
        [hu[every, :rows].ravel(), hu[every, :, :columns].ravel(), hu[every, :, -columns:].ravel()]
    ).astype(np.float32)
    air = border[(border > -1024) & (border < -700)]
    if air.size < border.size / 4:
        return []
    median = float(np.median(air))
    if abs(median + 1000) <= _AIR_ERROR_HU:
        return []
    return [f"Air around the patient measures {median:.0f} HU instead of -1000: the scanner's calibration is doubtful."]


def _noise(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: _Shadow) -> list[str]:
    """Noise from what a difference of Laplacians leaves inside the lung (Immerkaer 1996), robust against vessels."""
    where = tuple(slice(used[0], used[-1] + 1) for used in (shadow.rows, shadow.columns))

    def residual_in_lung(k: int) -> Array:
        plane = np.asarray(hu[k][where], np.float32)
        across = 2 * plane[1:-1] - plane[:-2] - plane[2:]
        residual = (2 * across[:, 1:-1] - across[:, :-2] - across[:, 2:]) / 6
        lung = (labels[k][where] > 0) & (plane < -700)
        inside = lung[1:-1] & lung[:-2] & lung[2:]
        return np.asarray(residual[inside[:, 1:-1] & inside[:, :-2] & inside[:, 2:]])

    left = in_threads(residual_in_lung, shadow.slices[:: _sample(len(hu)).step].tolist())
    values = np.concatenate(left) if left else np.empty(0, np.float32)
    noise = 1.4826 * float(np.median(np.abs(values))) if values.size else 0.0
    if noise <= _NOISE_HU:
        return []
    return [
        f"The noise in the lungs is {noise:.0f} HU (above {_NOISE_HU:.0f}), from a sharp kernel or a low dose: it "
        "imitates emphysema; prefer a smooth reconstruction."
    ]


def _contrast(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: _Shadow) -> list[str]:
    """Median density of heart and great vessels: between the lungs, in the middle third, before the spine."""
    n, m = len(shadow.slices), len(shadow.rows)
    rows = shadow.rows[m // 4 : m * 11 // 20]

    def between_lungs(k: int) -> NDArray[np.generic]:
        right, left = (labels[k][rows] == side for side in (1, 2))
        after_right = ~np.logical_or.accumulate(right[:, ::-1], axis=1)[:, ::-1]
        before_left = ~np.logical_or.accumulate(left, axis=1)
        both = right.any(1, keepdims=True) & left.any(1, keepdims=True)
        return np.asarray(hu[k][rows][after_right & before_left & both])

    found = in_threads(between_lungs, shadow.slices[n // 3 : 2 * n // 3 : 2].tolist())
    soft = np.concatenate(found) if found else np.empty(0)
    soft = soft[(soft > 0) & (soft < 600)]
    if not soft.size or (density := float(np.median(soft.astype(np.float32)))) <= _CONTRAST_HU:
        return []
    return [
        f"Heart and vessels measure {density:.0f} HU (above {_CONTRAST_HU:.0f}): contrast agent raises the density "
        "of the lungs and may hide disease."
    ]


def _sampling(grid: Grid) -> list[str]:
    dz, dy, dx = grid.spacing_mm
    found = []
    if dz > _THICK_MM:
        found.append(f"The slices are {dz:.1f} mm apart (above {_THICK_MM:g} mm): small lesions are averaged away.")
    if max(dx, dy) > _COARSE_MM:
        found.append(
            f"The pixels are {max(dx, dy):.1f} mm wide (above {_COARSE_MM:g} mm): small lesions are averaged away."
        )
    tilt = math.degrees(math.acos(min(1.0, abs(grid.direction_lps[2][0]))))
    if tilt > _TILT_DEGREES:
        found.append(f"The slices are tilted {tilt:.0f} degrees from axial; the model learned from axial slices.")
    return found


def _sample(slices: int) -> slice:
    """Every n-th slice, about 32 of them: enough for a median, and quick."""
    return slice(None, None, max(1, slices // 32))


def _times(sizes: object) -> str:
    return " x ".join(str(n) for n in sizes)  # type: ignore[attr-defined]
