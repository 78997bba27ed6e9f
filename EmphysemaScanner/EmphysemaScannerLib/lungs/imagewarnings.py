"""Image quality warnings, each with the figure that was measured; ``maskwarnings`` has those of the lung mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from ..base.parallel import in_threads, pieces
from ..ct.grid import Grid, canonical_view
from . import LEFT, RIGHT


@dataclass(frozen=True)
class Shadow:
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
    def of(cls, labels: NDArray[np.uint8]) -> Shadow:
        """The shadow of a lung mask as from ``lungs.segment_lungs``, (slices, rows, columns)."""
        by_slice = np.zeros((2, len(labels)), np.int64)

        def project(numbers: range) -> NDArray[np.uint8]:
            for k in numbers:
                by_slice[0, k] = np.count_nonzero(labels[k] == RIGHT)
                by_slice[1, k] = np.count_nonzero(labels[k]) - by_slice[0, k]
            return np.asarray(np.bitwise_or.reduce(labels[numbers.start : numbers.stop], axis=0))

        flat = np.bitwise_or.reduce(in_threads(project, pieces(len(labels))), axis=0)
        slices, rows, columns = (np.flatnonzero(used) for used in (by_slice.any(0), flat.any(1), flat.any(0)))
        return cls(by_slice, slices, rows, columns, labels.shape)


_THICK_MM = 3.2  # the thickest slices that the NLST protocol allowed
_COARSE_MM = 1.5
_TILT_DEGREES = 15.0
_NOISE_HU = 20.0  # one patient, two kernels: 3 HU with LAA%-950 0.1, 26 HU with 13.6
_GRAIN = 0.68  # seven patients, pixels up to 1 mm: 0.39 to 0.62; a sharp kernel of one of them: 0.75
_GRAIN_SEEN_UP_TO_MM = 1.0
_CONTRAST_HU = 100.0  # blood without contrast agent is about 40 HU
_THINNEST_BLOOD_HU = 5.0
_AIR_ERROR_HU = 25.0
_LEAST_AIR = 1000  # voxels
_CLIPPED_HU = -900.0
_PADDING_BELOW_HU = -1200.0  # scanners write -2000, -2048 or -3024 where they saw nothing

Array = NDArray[np.float32]


class NoiseWarning(str):
    """A warning of noise or of a sharp kernel, either of which raises LAA%-950 in lungs without emphysema."""


def image_warnings(image: sitk.Image, labels: NDArray[np.uint8], slice_thickness_mm: float = 0.0) -> tuple[str, ...]:
    """What makes the answer on this CT doubtful, as sentences with the figure that was measured, gravest first.

    Args:
        image: the CT in HU, any orientation.
        labels: its lung mask as from ``lungs.segment_lungs``, (slices, rows, columns).
        slice_thickness_mm: as DICOM states it; 0 where nothing is stated.
    """
    hu, grid = canonical_view(image)
    shadow = Shadow.of(labels)
    return (
        *_calibration(hu),
        *_padding(hu),
        *_noise(hu, labels, shadow),
        *_grain(hu, labels, shadow, grid),
        *_blood(hu, labels, shadow),
        *_sampling(grid, slice_thickness_mm),
    )


def _calibration(hu: NDArray[np.generic]) -> list[str]:
    """Air in front of the patient, without the scanner's padding and what it clipped at -1024."""
    lowest = float(hu.min())
    if lowest > _CLIPPED_HU:
        return [f"No voxel is below {lowest:.0f} HU, though air is -1000: values were clipped, which hides emphysema."]
    found = []
    for plane in hu[_sample(len(hu)), :, ::4]:
        air = plane[: plane.shape[0] // 2].astype(np.float32)
        front = np.logical_and.accumulate(air < -500, axis=0)
        filled = (air <= -1024) & ((air == lowest) | (air == np.roll(air, 1, axis=0)))
        found.append(air[front & (air > _PADDING_BELOW_HU) & ~filled])
    air = np.concatenate(found)
    if air.size < _LEAST_AIR or abs((median := float(np.median(air))) + 1000) <= _AIR_ERROR_HU:
        return []
    return [f"Air around the patient measures {median:.0f} HU instead of -1000: the scanner's calibration is doubtful."]


def _padding(hu: NDArray[np.generic]) -> list[str]:
    """Corners of one and the same value, as scanners fill them outside a round field of view; it should be like air."""
    rows, columns = (max(1, n // 40) for n in hu.shape[1:])
    every = hu[_sample(len(hu))]
    corners = [
        every[:, y, x] for y in (slice(rows), slice(-rows, None)) for x in (slice(columns), slice(-columns, None))
    ]
    value = float(corners[0].flat[0])
    if value <= -900 or not all((corner == value).all() for corner in corners):
        return []
    return [
        f"The slices' corners are filled with {value:.0f} HU, which is not air: the model would read it as tissue; "
        "fill them with -1024."
    ]


def noise_hu(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: Shadow) -> float:
    """Noise from what a difference of Laplacians leaves inside the lung (Immerkaer 1996), robust against vessels.

    It is measured in the lung because around the patient most scanners clip it; 0 without lung.
    """
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
    return 1.4826 * float(np.median(np.abs(values))) if values.size else 0.0


def _noise(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: Shadow) -> list[str]:
    noise = noise_hu(hu, labels, shadow)
    if noise <= _NOISE_HU:
        return []
    return [
        NoiseWarning(
            f"The noise in the lungs is {noise:.0f} HU (above {_NOISE_HU:.0f}), from a sharp kernel or a low dose: it "
            "mimics emphysema; prefer a smooth reconstruction."
        )
    ]


def _grain(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: Shadow, grid: Grid) -> list[str]:
    """A sharp kernel makes neighbouring pixels differ nearly as much as distant ones, a smooth one makes them alike."""
    if max(grid.spacing_mm[1:]) > _GRAIN_SEEN_UP_TO_MM:
        return []
    where = tuple(slice(used[0], used[-1] + 1) for used in (shadow.rows, shadow.columns))
    found: tuple[list[Array], list[Array]] = ([], [])
    for k in shadow.slices[:: 4 * _sample(len(hu)).step]:
        plane = np.asarray(hu[k][where], np.float32)
        lung = (labels[k][where] > 0) & (plane < -700)
        four = lung[:, :-3] & lung[:, 1:-2] & lung[:, 2:-1] & lung[:, 3:]
        for values, step in zip(found, (1, 3), strict=True):
            difference = plane[:, step : step + four.shape[1]] - plane[:, : four.shape[1]]
            values.append(np.abs(difference[four]))
    near, far = (float(np.median(values)) if values.size else 0.0 for values in map(np.concatenate, found))
    if far == 0 or near / far <= _GRAIN:
        return []
    return [
        NoiseWarning(
            f"Neighbouring pixels in the lungs differ {near / far:.2f} times as much as pixels three apart (above "
            f"{_GRAIN:g}), as with a sharp kernel: prefer a smooth reconstruction."
        )
    ]


def blood_hu(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: Shadow) -> float:
    """Median density of heart and great vessels, with contrast agent or without; NaN where none are seen."""
    return _median_of_blood(_between_lungs(hu, labels, shadow))


def _median_of_blood(tissue: Array) -> float:
    soft = tissue[(tissue > 0) & (tissue < 600)]
    return float(np.median(soft)) if soft.size else math.nan


def _between_lungs(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: Shadow) -> Array:
    """What lies where heart and great vessels do: between the lungs, in the middle third, before the spine."""
    n, m = len(shadow.slices), len(shadow.rows)
    rows = shadow.rows[m // 4 : m * 11 // 20]

    def between_lungs(k: int) -> NDArray[np.generic]:
        right, left = (labels[k][rows] == side for side in (RIGHT, LEFT))
        after_right = ~np.logical_or.accumulate(right[:, ::-1], axis=1)[:, ::-1]
        before_left = ~np.logical_or.accumulate(left, axis=1)
        both = right.any(1, keepdims=True) & left.any(1, keepdims=True)
        return np.asarray(hu[k][rows][after_right & before_left & both])

    found = in_threads(between_lungs, shadow.slices[n // 3 : 2 * n // 3 : 2].tolist())
    return np.concatenate(found).astype(np.float32) if found else np.empty(0, np.float32)


def _blood(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: Shadow) -> list[str]:
    tissue = _between_lungs(hu, labels, shadow)
    if (density := _median_of_blood(tissue)) > _CONTRAST_HU:
        return [
            f"Heart and vessels measure {density:.0f} HU (above {_CONTRAST_HU:.0f}): contrast agent raises the density "
            "of the lungs and may hide disease."
        ]
    # The commonest density, of which fat (-100 HU) takes no part; noise and fat's edges would draw a median down.
    counts, edges = np.histogram(tissue, np.arange(-70.0, 131.0, 2.0))
    smooth = ndimage.uniform_filter1d(counts.astype(float), 10)
    density = float(edges[int(smooth.argmax())]) + 1
    if not counts.sum() or density >= _THINNEST_BLOOD_HU:
        return []
    return [
        f"Heart and vessels measure {density:.0f} HU (below {_THINNEST_BLOOD_HU:.0f}) instead of about 40: the "
        "scanner's calibration is doubtful."
    ]


def _sampling(grid: Grid, thickness_mm: float) -> list[str]:
    dz, dy, dx = grid.spacing_mm
    found = []
    if max(dz, thickness_mm) > _THICK_MM:
        size = f"{dz:.1f} mm apart" if dz >= thickness_mm else f"{thickness_mm:.1f} mm thick"
        found.append(f"The slices are {size} (above {_THICK_MM:g} mm): small lesions may be averaged away.")
    if max(dx, dy) > _COARSE_MM:
        found.append(
            f"The pixels are {max(dx, dy):.1f} mm wide (above {_COARSE_MM:g} mm): small lesions may be averaged away."
        )
    tilt = math.degrees(math.acos(min(1.0, abs(grid.direction_lps[2][0]))))
    if tilt > _TILT_DEGREES:
        found.append(f"The slices are tilted {tilt:.0f} degrees from axial; the model learned from axial slices.")
    return found


def _sample(slices: int) -> slice:
    """Every n-th slice, about 32 of them: enough for a median, and quick."""
    return slice(None, None, max(1, slices // 32))
