"""What is refused before anything heavy runs; what is scanned with a warning is in ``doubts``."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk

from .errors import GeometryError, NotAChestCTError

_FEWEST_SLICES = 20
_SHORTEST_MM = 120.0  # adult lungs are 180 to 300 mm high
_NARROWEST_MM = 200.0
_WIDEST_GAP_MM = 20.0
_COARSEST_MM = 6.0  # within a slice; such a voxel is as large as a secondary lobule and hides the disease
_AIR_MUST_BE_BELOW_HU = -200
_LIGHT_HU, _LEAST_LIGHT_PERCENT = (-1200, -300), 2.0


def check_image(image: sitk.Image) -> None:
    """Refuse what cannot be a chest CT in HU.

    Raises:
        GeometryError: not three-dimensional, sheared, too few or too widely spaced slices, too small a field of view.
        NotAChestCTError: in colour, NaN or infinite, constant, or not in HU.
    """
    _check_kind(image)
    _check_geometry(image)
    _check_values(image)


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
    if spacing[along] > _WIDEST_GAP_MM:
        raise GeometryError(
            f"The slices are {spacing[along]:.4g} mm apart; choose a CT with {_WIDEST_GAP_MM:.0f} mm or less, "
            "or correct its spacing."
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
    hint = "; it may have been stored 1024 too high, then subtract 1024" if high > 1024 else ""
    if low >= _AIR_MUST_BE_BELOW_HU:
        hint = hint if low >= 0 else ""
        raise NotAChestCTError(
            f"The lowest value is {low:g}, but in a chest CT air is about -1000 HU{hint}; choose a CT in "
            "Hounsfield units."
        )
    some = values[:: max(1, values.shape[0] // 32)]
    light = 100 * float(np.count_nonzero((some > _LIGHT_HU[0]) & (some < _LIGHT_HU[1]))) / some.size
    if light < _LEAST_LIGHT_PERCENT:
        raise NotAChestCTError(
            f"Only {light:.1f} % of the voxels are as light as air and lungs{hint}; choose a chest CT in Hounsfield "
            "units."
        )


def _times(sizes: object) -> str:
    return " x ".join(str(n) for n in sizes)  # type: ignore[attr-defined]
