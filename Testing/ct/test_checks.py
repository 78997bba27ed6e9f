"""What is refused before anything heavy runs, and with which kind of error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from boxchest import SHAPE, SPACING, boxes, ct
from EmphysemaScannerLib.base.errors import GeometryError, NotAChestCTError
from EmphysemaScannerLib.ct.checks import check_image
from EmphysemaScannerLib.ct.reading import read_ct


def sagittal(image: sitk.Image) -> sitk.Image:
    return sitk.PermuteAxes(image, (2, 1, 0))


@pytest.mark.parametrize("image", [ct(), sagittal(ct()), sitk.Flip(ct(), (True, False, True))])
def test_a_chest_ct_stored_in_any_axis_order_passes(image: sitk.Image) -> None:
    check_image(image)


def test_real_chests_pass(chest: sitk.Image) -> None:
    check_image(chest)


def sheared() -> sitk.Image:
    tilt = np.deg2rad(10)
    return ct(direction=(1, 0, 0, 0, 1, np.sin(tilt), 0, 0, np.cos(tilt)))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (sitk.Image([40, 40, 40, 3], sitk.sitkInt16), "4 dimensions"),
        (sitk.Image([512, 512], sitk.sitkInt16), "2 dimensions"),
        (sheared(), "right angles"),
        (ct(boxes()[:19], spacing=(5, 5, 10)), "has 19 axial slices .at least 20 are needed.;"),
        (ct(boxes()[:1]), "has 1 axial slice .at least 20 are needed. and covers 5 mm .*at least 120 mm"),
        (sagittal(ct(boxes()[:20])), "image covers 100 mm from bottom to top .at least 120 mm are needed.;"),
        (ct(spacing=(3, 5, 5)), "180 x 300 mm"),
        (ct(spacing=(7, 7, 5)), "7.0 mm wide"),
    ],
)
def test_geometry_that_cannot_be_a_whole_chest_is_refused(image: sitk.Image, says: str) -> None:
    with pytest.raises(GeometryError, match=says):
        check_image(image)


def shifted_inside_its_padding() -> sitk.Image:
    hu = boxes(heart_hu=1500) + np.int16(1024)
    hu[:, :5] = -2000
    return ct(hu)


def spoilt(value: float) -> sitk.Image:
    hu = boxes().astype(np.float32)
    hu[3, 4, 5] = value
    return ct(hu)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (sitk.Image([60, 60, 40], sitk.sitkVectorUInt8, 3), "3 values per voxel"),
        (spoilt(np.nan), "NaN or infinite"),
        (spoilt(-np.inf), "NaN or infinite"),
        (ct(np.full(SHAPE, -1000, np.int16)), "Every voxel of the image is -1000"),
        (ct((boxes() // 8 + 125).astype(np.uint8)), "8-bit"),
        (ct(boxes() // 8), "range of a grey-scale picture"),
        (ct(((boxes() + 1000) / 1040).astype(np.float32)), "range of a grey-scale picture"),
        (ct(boxes(heart_hu=1500) + np.int16(1024)), "1024 too high"),
        (ct(np.clip(boxes(heart_hu=300), -150, 350)), "Every value below -150 was cut off"),
        (shifted_inside_its_padding(), "1024 too high"),
    ],
)
def test_values_that_are_not_hounsfield_units_are_refused(image: sitk.Image, says: str) -> None:
    if image.GetNumberOfComponentsPerPixel() > 1:
        image.SetSpacing(SPACING)
    with pytest.raises(NotAChestCTError, match=says):
        check_image(image)


def test_twenty_slices_of_a_lung_base_are_refused(shared_data: Path) -> None:
    with pytest.raises(GeometryError, match="covers 40 mm from bottom to top"):
        check_image(read_ct(shared_data / "not-a-chest/lung-base-20-slices-jpeg2000").image)
