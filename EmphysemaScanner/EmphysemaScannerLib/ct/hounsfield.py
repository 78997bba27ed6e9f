"""Whether values are Hounsfield units of a chest, and if not, what was done to them."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import NotAChestCTError

_AIR_MUST_BE_BELOW_HU = -200
_LIGHT_HU, _LEAST_LIGHT_PERCENT = (-1200, -300), 2.0
_SOFT_HU = (-150, 120)  # fat, water and muscle
_LEAST_SOFT_SHARE = 0.5  # of what is not light; in an MR image tissue has values of any size
_AIR_HU, _LEAST_AIR_SHARE = (-1100, -900), 0.1  # around the patient; the brightest of an MR image is rare
_CUT_OFF_SHARE = 0.2  # of one and the same lowest value
_OFFSET = 1024
_SIGN_BITS = (16, 12)

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
    some = np.asarray(values[:: max(1, values.shape[0] // 32)], np.float32)
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
