"""What is refused before anything heavy runs; what is scanned with a warning is in ``lungs.imagewarnings``."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import GeometryError, NotAChestCTError
from ..base.parallel import in_threads, pieces

_AIR_MUST_BE_BELOW_HU = -200
_LIGHT_HU, _LEAST_LIGHT_PERCENT = (-1200, -300), 2.0
_SOFT_HU = (-150, 120)  # fat, water and muscle
_LEAST_SOFT_SHARE = 0.5  # of what is not light; in an MR image tissue has values of any size
_AIR_HU, _LEAST_AIR_SHARE = (-1100, -900), 0.1  # around the patient; the brightest of an MR image is rare
_CUT_OFF_SHARE = 0.2  # of one and the same lowest value
_OFFSET = 1024
_SIGN_BITS = (16, 12)
_SAMPLED = (32, 256, 256)  # about as many slices, rows and columns of an image are looked at

Values = NDArray[np.float32]


def check_values(image: sitk.Image) -> None:
    """Refuse what cannot be HU of a chest.

    Raises:
        NotAChestCTError: NaN or infinite, constant, a grey scale, without air, or HU that were changed; the message
            names the change where it can be told.
    """
    if image.GetPixelID() in (sitk.sitkUInt8, sitk.sitkInt8):
        raise NotAChestCTError(
            "The image holds 8-bit grey values, not Hounsfield units; choose the original CT instead of a label map "
            "or an exported picture."
        )
    values = sitk.GetArrayViewFromImage(image)
    parts = pieces(len(values))
    low = float(np.min(in_threads(lambda part: values[part.start : part.stop].min(), parts)))
    high = float(np.max(in_threads(lambda part: values[part.start : part.stop].max(), parts)))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NotAChestCTError("The image holds NaN or infinite values; replace them by -1024 (air) and try again.")
    if low == high:
        raise NotAChestCTError(f"Every voxel of the image is {low:g}; choose another one.")
    if high - low <= 255:
        raise NotAChestCTError(
            f"The values run from {low:g} to {high:g}, the range of a grey-scale picture, not of a CT in Hounsfield "
            "units; choose the original CT."
        )
    sampled = tuple(slice(None, None, max(1, n // most)) for n, most in zip(values.shape, _SAMPLED, strict=True))
    some = np.array(values[sampled], np.float32, order="C")
    light = 100 * _share(some, *_LIGHT_HU)
    if low < _AIR_MUST_BE_BELOW_HU and light >= _LEAST_LIGHT_PERCENT and not _is_too_low(some):
        return
    if change := _change(some, low, high):
        raise NotAChestCTError(change)
    if low >= _AIR_MUST_BE_BELOW_HU:
        raise NotAChestCTError(
            f"The lowest value is {low:g}, but in a chest CT air is about -1000 HU; choose a CT in Hounsfield units."
        )
    raise NotAChestCTError(
        f"Only {light:.1f} % of the voxels are as light as air and lungs; choose a chest CT in Hounsfield units."
    )


def _is_too_low(some: Values) -> bool:
    return not _is_chest(some) and _is_chest(some + _OFFSET)


def _change(some: Values, low: float, high: float) -> str:
    """What was done to the HU of a chest to get these values, as a sentence; "" if it cannot be told."""
    for bits in _SIGN_BITS:
        if high >= 2 ** (bits - 1) and _is_chest(np.where(some >= 2 ** (bits - 1), some - 2**bits, some)):
            return (
                f"Values from {2 ** (bits - 1)} to {high:g} are negative HU that were stored without their sign "
                "(unsigned); export the CT again, or subtract "
                f"{2**bits} from them."
            )
    if _is_chest(some - _OFFSET):
        return "The values are stored 1024 too high (air is about 0); subtract 1024."
    if _is_chest(some + _OFFSET):
        return "The values are stored 1024 too low (water is about -1024); add 1024."
    inverted = high - _OFFSET - some
    if _is_chest(inverted) and _share(inverted, *_AIR_HU) >= _LEAST_AIR_SHARE:
        return "The grey scale is inverted: air is brighter than tissue; export the CT again as MONOCHROME2."
    cut = float(np.count_nonzero(some == low)) / some.size
    if cut >= _CUT_OFF_SHARE and low >= _AIR_MUST_BE_BELOW_HU and _share(some[some > low], low, _SOFT_HU[1]) > 0.5:
        return (
            f"Every value below {low:g} was cut off ({100 * cut:.0f} % of the voxels), and air and lungs with them; "
            "export the CT again with all its values."
        )
    return ""


def _is_chest(hu: Values) -> bool:
    """Whether there is enough air or lung, and most of the rest is soft tissue."""
    rest = hu[hu >= _LIGHT_HU[1]]
    return bool(
        100 * _share(hu, *_LIGHT_HU) >= _LEAST_LIGHT_PERCENT
        and rest.size
        and _share(rest, *_SOFT_HU) >= _LEAST_SOFT_SHARE
    )


def _share(values: Values, above: float, below: float) -> float:
    return float(np.count_nonzero((values > above) & (values < below))) / max(1, values.size)


_FEWEST_SLICES = 20
_SHORTEST_MM = 120.0  # adult lungs are 180 to 300 mm high
_NARROWEST_MM = 200.0
_WIDEST_GAP_MM = 20.0
_COARSEST_MM = 6.0  # within a slice; such a voxel is as large as a secondary lobule and hides the disease


def check_image(image: sitk.Image) -> None:
    """Refuse what cannot be a chest CT in HU.

    Raises:
        GeometryError: not three-dimensional, sheared, too few or too widely spaced slices, too small a field of view.
        NotAChestCTError: in colour, NaN or infinite, constant, or not in HU.
    """
    _check_kind(image)
    _check_geometry(image)
    check_values(image)


def _check_kind(image: sitk.Image) -> None:
    if image.GetDimension() != 3:
        raise GeometryError(
            f"The image has {image.GetDimension()} dimensions (size {_times(image.GetSize())}); choose one CT volume, "
            "not a time series and not a single slice."
        )
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise NotAChestCTError(
            f"The image is a colour image ({image.GetNumberOfComponentsPerPixel()} values per voxel); choose the "
            "original CT in Hounsfield units."
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
    missed = []
    if sizes[along] < _FEWEST_SLICES:
        slices = f"{sizes[along]} axial slice{'s' * int(sizes[along] != 1)}"
        missed.append(f"has {slices} (at least {_FEWEST_SLICES} are needed)")
    if extent[along] < _SHORTEST_MM:
        missed.append(f"covers {extent[along]:.0f} mm from bottom to top (at least {_SHORTEST_MM:.0f} mm are needed)")
    if missed:
        raise GeometryError(f"The image {' and '.join(missed)}; choose a CT of the whole chest.")
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


def _times(sizes: object) -> str:
    return " x ".join(str(n) for n in sizes)  # type: ignore[attr-defined]
