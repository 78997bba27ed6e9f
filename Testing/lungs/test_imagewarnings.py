"""Every doubt names the figure that was measured, where there is reason for it, and is silent where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from boxchest import SHAPE, box_labels, boxes, ct
from EmphysemaScannerLib.ct.grid import canonical
from EmphysemaScannerLib.lungs.imagewarnings import image_warnings
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from scipy import ndimage


def warned(image: sitk.Image) -> tuple[str, ...]:
    return image_warnings(image, box_labels())


def test_nothing_is_doubted_about_a_plain_ct_but_its_coarse_voxels() -> None:
    assert [text.split(":")[0] for text in warned(ct())] == [
        "The slices are 5.0 mm apart (above 3.2 mm)",
        "The pixels are 5.0 mm wide (above 1.5 mm)",
    ]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (ct(boxes(heart_hu=180)), "Heart and vessels measure 180 HU"),
        (ct(boxes(heart_hu=-20)), "Heart and vessels measure -2"),
        (ct(boxes(air_hu=-940)), "Air around the patient measures -940 HU"),
        (ct(np.maximum(boxes(), -800)), "No voxel is below -800 HU"),
    ],
)
def test_doubtful_input_is_named_with_its_number(image: sitk.Image, says: str) -> None:
    found = warned(image)
    assert any(says in text for text in found), found
    assert not any(says in text for text in warned(ct()))


@pytest.mark.parametrize(("heart_hu", "expected"), [(95, False), (105, True)])
def test_contrast_agent_is_named_above_100_hu(heart_hu: float, expected: bool) -> None:
    assert any("contrast agent" in text for text in warned(ct(boxes(heart_hu=heart_hu)))) == expected


def test_tilted_slices_are_named() -> None:
    t = np.deg2rad(20)
    oblique = ct(direction=(1, 0, 0, 0, np.cos(t), -np.sin(t), 0, np.sin(t), np.cos(t)))
    assert any("tilted 20 degrees" in text for text in warned(oblique))


@pytest.mark.parametrize("noise_hu", [15, 30])
def test_noise_is_measured_and_named_above_20_hu(noise_hu: int) -> None:
    grainy = boxes() + np.random.default_rng(0).normal(0, noise_hu, SHAPE)
    found = [text for text in warned(ct(grainy.astype(np.float32))) if "noise" in text]
    assert bool(found) == (noise_hu > 20)
    assert all(f"{noise_hu} HU" in text for text in found)


def test_scanner_padding_and_clipped_air_do_not_count_as_wrong_calibration() -> None:
    assert not any("calibration" in text for text in warned(ct(boxes(air_hu=-2000))))
    assert not any("calibration" in text for text in warned(ct(boxes(air_hu=-1024))))


@pytest.mark.parametrize(("stated", "says"), [(5.0, "5.0 mm thick"), (2.5, ""), (0.0, "")])
def test_thick_slices_that_overlap_are_named_by_the_thickness_that_dicom_states(stated: float, says: str) -> None:
    found = " ".join(image_warnings(ct(spacing=(5, 5, 3)), box_labels(), stated))
    assert (says in found) if says else ("thick" not in found)


class RealChest:
    """LIDC-IDRI-0001, and what is derived from it with the same mask."""

    def __init__(self, image: sitk.Image) -> None:
        self.image, self.labels = image, segment_lungs(image)
        self.hu = sitk.GetArrayFromImage(image)

    def image_warnings(self, hu: np.ndarray) -> str:
        image = sitk.GetImageFromArray(hu.astype(np.int16))
        image.CopyInformation(self.image)
        return " ".join(image_warnings(image, self.labels))


@pytest.fixture(scope="module")
def real(chest: sitk.Image) -> RealChest:
    return RealChest(sitk.Cast(sitk.BinShrink(chest, [2, 2, 1]), sitk.sitkInt16))


def test_contrast_agent_is_all_that_is_doubted_about_the_real_chest(real: RealChest) -> None:
    found = image_warnings(real.image, real.labels)
    assert len(found) == 1
    assert "contrast agent" in found[0]


def test_nothing_is_doubted_about_the_real_chest_without_its_contrast_agent(real: RealChest) -> None:
    assert real.image_warnings(np.where((real.hu > 90) & (real.hu < 500), 40, real.hu)) == ""


@pytest.mark.parametrize("offset", [-60, 60])
def test_a_scanner_that_is_60_hu_off_is_named_though_the_corners_are_padded(real: RealChest, offset: int) -> None:
    found = real.image_warnings(real.hu + np.where(real.hu == -2048, 0, offset))
    assert "instead of -1000" in found
    assert "calibration" in found


def test_blood_that_is_too_thin_is_named(real: RealChest) -> None:
    without_contrast = np.where((real.hu > 90) & (real.hu < 500), 40, real.hu)
    assert "Heart and vessels measure" in real.image_warnings(without_contrast - 60)


@pytest.mark.parametrize("value", [-3024, -2000, -1024, -1000, 0, 3000])
def test_padding_is_named_where_it_is_unlike_air(real: RealChest, value: int) -> None:
    found = real.image_warnings(np.where(real.hu == -2048, value, real.hu))
    assert (f"corners are filled with {value} HU" in found) == (value >= 0)


def test_values_clipped_above_air_are_named(real: RealChest) -> None:
    assert "No voxel is below -850 HU" in real.image_warnings(np.maximum(real.hu, -850))


def test_noise_and_grain_of_a_real_chest_are_named_when_noise_is_added_and_not_when_it_is_smoothed(
    chest: sitk.Image,
) -> None:
    slab = RealChest(chest)
    white = np.random.default_rng(0).normal(0, 25, slab.hu.shape[1:])
    noisy = slab.image_warnings(slab.hu + white)
    assert "noise in the lungs is 2" in noisy
    assert "Neighbouring pixels in the lungs differ 0.7" in noisy
    smooth = ndimage.gaussian_filter(white, 1)
    smoothed = slab.image_warnings(slab.hu + smooth * 15 / smooth.std())
    assert "noise" not in smoothed
    assert "Neighbouring" not in smoothed


def test_the_sharp_kernel_of_a_pair_is_named_twice_and_the_smooth_one_is_not(shared_data: Path) -> None:
    for name, expected in (("kernelL_sharp", True), ("kernelB_smooth", False)):
        image = canonical(sitk.ReadImage(str(shared_data / f"kernel-pair/A0001_{name}.nrrd")))
        found = " ".join(image_warnings(image, segment_lungs(image)))
        assert ("noise in the lungs is 24 HU" in found) == expected, name
        assert ("differ 0.75 times" in found) == expected, name
