"""What is refused before anything heavy runs, and what is scanned with a warning."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .errors import GeometryError, NotAChestCTError

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


def doubts(oriented: sitk.Image, labels: NDArray[np.uint8]) -> tuple[str, ...]:
    """What makes the answer on this CT doubtful, as sentences with the number that was measured, gravest first.

    Args:
        oriented: the CT in canonical axial order, HU.
        labels: its lung mask as from ``lungs.segment_lungs``, (slices, rows, columns).
    """
    hu = sitk.GetArrayViewFromImage(oriented)
    return (
        *_cut_lungs(labels),
        *_cut_sides(labels, oriented.GetSpacing()),
        *_lung_volumes(labels, math.prod(oriented.GetSpacing())),
        *_air_calibration(hu),
        *_noise(hu, labels),
        *_contrast(hu, labels),
        *_sampling(oriented),
    )


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


def _cut_lungs(labels: NDArray[np.uint8]) -> list[str]:
    areas = np.count_nonzero(labels, axis=(1, 2))
    ends = (("top", areas[-1], "apices"), ("bottom", areas[0], "bases"))
    return [
        f"The lungs reach the CT's {end} slice with {100 * area / areas.max():.0f} % of their largest area: the {part} "
        "are cut off."
        for end, area, part in ends
        if 100 * area > _CUT_PERCENT * areas.max()
    ]


def _cut_sides(labels: NDArray[np.uint8], spacing: tuple[float, float, float]) -> list[str]:
    """A lung that the field of view cuts is lost to the mask there, but beside the cut it comes close to the edge."""
    margins = []
    for axis, mm in ((1, spacing[1]), (2, spacing[0])):
        used = np.flatnonzero((labels > 0).any((0, 3 - axis)))
        margins += [used[0] * mm, (labels.shape[axis] - 1 - used[-1]) * mm]
    if min(margins) >= _CHEST_WALL_MM:
        return []
    return [
        f"The lungs come within {min(margins):.0f} mm (below {_CHEST_WALL_MM:.0f} mm) of the field of view's edge: "
        "they may be cut off at the side."
    ]


def _lung_volumes(labels: NDArray[np.uint8], voxel_mm3: float) -> list[str]:
    right, left = (np.count_nonzero(labels == side) * voxel_mm3 / 1e6 for side in (1, 2))
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


def _noise(hu: NDArray[np.generic], labels: NDArray[np.uint8]) -> list[str]:
    """Noise from what a difference of Laplacians leaves inside the lung (Immerkaer 1996), robust against vessels."""
    left: list[Array] = []
    for k in np.flatnonzero((labels > 0).any((1, 2)))[:: _sample(len(hu)).step]:
        plane = np.asarray(hu[k], np.float32)
        across = 2 * plane[1:-1] - plane[:-2] - plane[2:]
        residual = (2 * across[:, 1:-1] - across[:, :-2] - across[:, 2:]) / 6
        lung = (labels[k] > 0) & (plane < -700)
        inside = lung[1:-1] & lung[:-2] & lung[2:]
        left.append(residual[inside[:, 1:-1] & inside[:, :-2] & inside[:, 2:]])
    values = np.concatenate(left) if left else np.empty(0, np.float32)
    noise = 1.4826 * float(np.median(np.abs(values))) if values.size else 0.0
    if noise <= _NOISE_HU:
        return []
    return [
        f"The noise in the lungs is {noise:.0f} HU (above {_NOISE_HU:.0f}), from a sharp kernel or a low dose: it "
        "imitates emphysema; prefer a smooth reconstruction."
    ]


def _contrast(hu: NDArray[np.generic], labels: NDArray[np.uint8]) -> list[str]:
    """Median density of heart and great vessels: between the lungs, in the middle third, before the spine."""
    slices, rows = np.flatnonzero((labels > 0).any((1, 2))), np.flatnonzero((labels > 0).any((0, 2)))
    n, m = len(slices), len(rows)
    block = np.ix_(slices[n // 3 : 2 * n // 3 : 2], rows[m // 4 : m * 11 // 20])
    side = labels[block]
    right, left = side == 1, side == 2
    after_right = np.cumsum(right[..., ::-1], axis=-1)[..., ::-1] == 0
    before_left = np.cumsum(left, axis=-1) == 0
    between = after_right & before_left & right.any(-1, keepdims=True) & left.any(-1, keepdims=True)
    soft = hu[block][between]
    soft = soft[(soft > 0) & (soft < 600)]
    if not soft.size or (density := float(np.median(soft.astype(np.float32)))) <= _CONTRAST_HU:
        return []
    return [
        f"Heart and vessels measure {density:.0f} HU (above {_CONTRAST_HU:.0f}): contrast agent raises the density "
        "of the lungs and may hide disease."
    ]


def _sampling(oriented: sitk.Image) -> list[str]:
    dx, dy, dz = oriented.GetSpacing()
    found = []
    if dz > _THICK_MM:
        found.append(f"The slices are {dz:.1f} mm apart (above {_THICK_MM:g} mm): small lesions are averaged away.")
    if max(dx, dy) > _COARSE_MM:
        found.append(
            f"The pixels are {max(dx, dy):.1f} mm wide (above {_COARSE_MM:g} mm): small lesions are averaged away."
        )
    tilt = math.degrees(math.acos(min(1.0, abs(oriented.GetDirection()[8]))))
    if tilt > _TILT_DEGREES:
        found.append(f"The slices are tilted {tilt:.0f} degrees from axial; the model learned from axial slices.")
    return found


def _sample(slices: int) -> slice:
    """Every n-th slice, about 32 of them: enough for a median, and quick."""
    return slice(None, None, max(1, slices // 32))


def _times(sizes: object) -> str:
    return " x ".join(str(n) for n in sizes)  # type: ignore[attr-defined]
