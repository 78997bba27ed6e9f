"""What is refused, with which kind of error, and what is scanned with a warning that names its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.core.checks import check_image, doubts
from EmphysemaScannerLib.core.errors import GeometryError, NotAChestCTError
from EmphysemaScannerLib.core.grid import canonical
from EmphysemaScannerLib.core.lungs import segment_lungs
from EmphysemaScannerLib.core.reading import read_ct

SPACING = (5.0, 5.0, 5.0)  # column, row, slice; with SHAPE: 300 x 300 mm, 200 mm high
SHAPE = (40, 60, 60)


def ct(
    hu: np.ndarray | None = None,
    spacing: tuple[float, float, float] = SPACING,
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> sitk.Image:
    """A chest of boxes: air around, tissue, two lungs that end before the first and last slice."""
    image = sitk.GetImageFromArray(boxes() if hu is None else hu)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


def boxes(lung_hu: float = -850, air_hu: float = -1000, heart_hu: float = 40) -> np.ndarray:
    hu = np.full(SHAPE, air_hu, np.int16)
    hu[:, 10:50, 5:55] = 40
    hu[:, 15:40, 27:33] = heart_hu
    hu[4:36, 15:45, 8:27] = lung_hu
    hu[4:36, 15:45, 33:52] = lung_hu
    return hu


def box_labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:36, 15:45, 8:27] = 1
    labels[4:36, 15:45, 33:52] = 2
    return labels


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
        (ct(boxes()[:19], spacing=(5, 5, 10)), "19 axial slices over 190 mm"),
        (ct(boxes()[:1]), "1 axial slices over 5 mm"),
        (sagittal(ct(boxes()[:20])), "20 axial slices over 100 mm"),
        (ct(spacing=(3, 5, 5)), "180 x 300 mm"),
        (ct(spacing=(7, 7, 5)), "7.0 mm wide"),
    ],
)
def test_geometry_that_cannot_be_a_whole_chest_is_refused(image: sitk.Image, says: str) -> None:
    with pytest.raises(GeometryError, match=says):
        check_image(image)


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
        (ct(np.clip(boxes(heart_hu=300), -150, 350)), "lowest value is -150"),
    ],
)
def test_values_that_are_not_hounsfield_units_are_refused(image: sitk.Image, says: str) -> None:
    if image.GetNumberOfComponentsPerPixel() > 1:
        image.SetSpacing(SPACING)
    with pytest.raises(NotAChestCTError, match=says):
        check_image(image)


def test_twenty_slices_of_a_lung_base_are_refused(shared_data: Path) -> None:
    with pytest.raises(GeometryError, match="20 axial slices over 40 mm"):
        check_image(read_ct(shared_data / "not-a-chest/lung-base-20-slices-jpeg2000"))


def warned(image: sitk.Image, labels: np.ndarray | None = None) -> tuple[str, ...]:
    return doubts(image, box_labels() if labels is None else labels)


FINE = (0.7, 0.7, 1.0)


def test_nothing_is_doubted_about_a_plain_ct_but_its_coarse_voxels() -> None:
    assert [text.split(":")[0] for text in warned(ct())] == [
        "The slices are 5.0 mm apart (above 3.2 mm)",
        "The pixels are 5.0 mm wide (above 1.5 mm)",
    ]


@pytest.mark.parametrize(
    ("image", "labels", "says"),
    [
        (ct(boxes(heart_hu=180)), None, "Heart and vessels measure 180 HU"),
        (ct(boxes(air_hu=-940)), None, "Air around the patient measures -940 HU"),
        (ct(), np.concatenate([np.zeros_like(box_labels()[:6]), box_labels()[2:36]]), "top slice with 100 %"),
        (ct(), box_labels()[[*range(4, 40), 0, 1, 2, 3]], "bottom slice with 100 %"),
        (ct()[8:], box_labels()[:, :, 8:], "within 0 mm"),
        (ct(), box_labels() * (box_labels() == 1), "left lung has 0 %"),
        (ct(spacing=(3, 3, 3)), None, "Only 1.0 litres"),
        (ct(spacing=(7, 7, 6)), None, "10.7 litres"),
    ],
)
def test_doubtful_input_is_named_with_its_number(image: sitk.Image, labels: np.ndarray | None, says: str) -> None:
    found = warned(image, labels)
    assert any(says in text for text in found), found
    assert not any(says in text for text in warned(ct()))


def test_a_lung_cut_by_the_field_of_view_of_a_real_chest_is_named(chest: sitk.Image) -> None:
    cut = chest[60:430]  # through the left lung's side
    assert any("cut off at the side" in text for text in doubts(cut, segment_lungs(cut)))


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


def test_the_sharp_kernel_of_a_pair_is_named_and_the_smooth_one_is_not(shared_data: Path) -> None:
    for name, expected in (("kernelL_sharp", True), ("kernelB_smooth", False)):
        image = canonical(sitk.ReadImage(str(shared_data / f"kernel-pair/A0001_{name}.nrrd")))
        assert any("noise" in text for text in doubts(image, segment_lungs(image))) == expected, name


def test_contrast_agent_in_a_real_chest_is_named(chest: sitk.Image) -> None:
    found = doubts(chest, segment_lungs(chest))
    assert len(found) == 1
    assert "contrast agent" in found[0]
