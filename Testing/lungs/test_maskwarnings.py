"""Every doubt about a lung mask names its figure where there is reason for it; elsewhere there is none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import shapechest
import SimpleITK as sitk
from boxchest import box_labels, boxes, ct
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.lungs.fieldofview import field_of_view
from EmphysemaScannerLib.lungs.imagewarnings import image_warnings
from EmphysemaScannerLib.lungs.lungs import LEFT, RIGHT, Lungs, find_lungs
from EmphysemaScannerLib.lungs.maskwarnings import mask_warnings
from numpy.typing import NDArray


def warned(
    image: sitk.Image,
    labels: NDArray[np.uint8] | None = None,
    trachea_in_view: bool = True,
    left_out_ml: tuple[float, ...] = (),
    free_air_ml: float = 0.0,
) -> tuple[str, ...]:
    labels = box_labels() if labels is None else labels
    view = field_of_view(sitk.GetArrayFromImage(image))
    return mask_warnings(image, Lungs(labels, view, trachea_in_view, left_out_ml, free_air_ml))


def without(slices: slice, side: int) -> NDArray[np.uint8]:
    labels = box_labels()
    labels[slices][labels[slices] == side] = 0
    return labels


def moved(by: int) -> NDArray[np.uint8]:
    return np.roll(box_labels(), by, axis=0)


def test_nothing_is_doubted_about_a_plain_mask() -> None:
    assert warned(ct()) == ()


@pytest.mark.parametrize(
    ("image", "labels", "says"),
    [
        (ct(), moved(6), "top slice with 100 %"),
        (ct(), moved(-6), "bottom slice with 100 %"),
        (ct()[8:], box_labels()[:, :, 8:], "The field of view cuts the lungs: 216 cm\N{SUPERSCRIPT TWO}"),
        (ct(spacing=(4, 5, 5))[7:], box_labels()[:, :, 7:], "The lungs come within 4 mm (below 5 mm)"),
        (ct(), box_labels() * (box_labels() == RIGHT), "The left lung has only 0 % of the volume of the right"),
        (ct(), without(slice(15, None), RIGHT), "The right lung has only 33 % of the volume of the left (below 50 %)"),
        (ct(spacing=(3, 3, 3)), None, "Only 0.9 litres"),
        (ct(spacing=(7, 7, 6)), None, "9.7 litres"),
        (ct(), without(slice(30, None), LEFT), "The left lung ends abruptly: 142 cm\N{SUPERSCRIPT TWO} at S 145 mm"),
        (ct(), without(slice(None, 10), RIGHT), "The right lung ends abruptly: 142 cm\N{SUPERSCRIPT TWO} at S 50 mm"),
    ],
)
def test_a_doubtful_mask_is_named_with_its_figure(
    image: sitk.Image, labels: NDArray[np.uint8] | None, says: str
) -> None:
    found = warned(image, labels)
    assert any(says in text for text in found), found


def test_slices_without_lung_between_others_are_counted() -> None:
    labels = box_labels()
    labels[20:23] = 0
    assert "3 of 32 slices between the lungs' lowest and highest point hold no lung (first at S 100 mm)" in " ".join(
        warned(ct(), labels)
    )


@pytest.mark.parametrize(("percent", "expected"), [(48, True), (52, False)])
def test_a_lung_is_doubted_below_half_of_the_others_volume(percent: int, expected: bool) -> None:
    labels = box_labels()
    right = np.argwhere(labels == RIGHT)
    labels[tuple(right[round(len(right) * percent / 100) :].T)] = 0
    found = " ".join(warned(ct(), labels))
    assert (f"The right lung has only {percent} % of the volume of the left" in found) == expected


@pytest.mark.parametrize(("percent", "expected"), [(10, False), (20, True)])
def test_a_lung_that_ends_with_more_than_15_percent_of_its_largest_area_ends_abruptly(
    percent: int, expected: bool
) -> None:
    labels = without(slice(30, None), LEFT)
    last = np.argwhere(labels[29] == LEFT)
    labels[(29, *last[round(len(last) * percent / 100) :].T)] = 0
    assert ("The left lung ends abruptly" in " ".join(warned(ct(), labels))) == expected


@pytest.mark.parametrize(
    ("litres", "says"), [(1.9, "Only 1.9 litres"), (2.1, ""), (8.9, ""), (9.1, "9.1 litres of lung were found")]
)
def test_lungs_are_doubted_below_2_and_above_9_litres(litres: float, says: str) -> None:
    mm = (1e6 * litres / np.count_nonzero(box_labels())) ** (1 / 3)
    found = " ".join(warned(ct(spacing=(mm, mm, mm))))
    assert (says in found) if says else ("litres" not in found)


@pytest.mark.parametrize(("percent", "expected"), [(1, False), (3, True)])
def test_an_end_is_cut_where_more_than_2_percent_of_the_largest_area_lie_in_the_last_slice(
    percent: int, expected: bool
) -> None:
    labels = np.zeros_like(box_labels())
    labels[8:39] = box_labels()[20]
    last = np.argwhere(labels[20] > 0)
    labels[(39, *last[: round(len(last) * percent / 100)].T)] = RIGHT
    found = " ".join(warned(ct(), labels))
    assert ("The lungs reach the CT's top slice" in found) == expected


@pytest.mark.parametrize(("percent", "expected"), [(75, False), (85, True)])
def test_a_lowest_slice_of_gas_is_named(percent: int, expected: bool) -> None:
    hu = boxes()
    lowest = np.argwhere(box_labels()[4] > 0)
    hu[(4, *lowest[: round(len(lowest) * percent / 100)].T)] = -951
    found = " ".join(warned(ct(hu)))
    assert ("% lie below -950 HU" in found) == expected


def test_air_that_is_left_out_is_named_with_its_millilitres() -> None:
    assert "35 ml of air in the chest are not in the lung mask" in warned(ct(), left_out_ml=(35.2,))[0]
    assert "55 ml of air in the chest in 2 pieces" in warned(ct(), left_out_ml=(35.2, 20.1))[0]


@pytest.mark.parametrize(("ml", "expected"), [(19.0, False), (21.0, True)])
def test_free_air_inside_the_mask_is_named_from_20_ml(ml: float, expected: bool) -> None:
    assert any(f"{ml:.0f} ml of the lung mask are as light as free air" in t for t in warned(ct(), free_air_ml=ml)) == (
        expected
    )


def test_a_missing_trachea_is_named() -> None:
    assert "No trachea was found" in warned(ct(), trachea_in_view=False)[0]


def test_a_whole_phantom_raises_no_doubt_and_one_without_its_airway_does() -> None:
    whole = shapechest.chest()
    assert mask_warnings(shapechest.image(whole), find_lungs(shapechest.image(whole))) == ()
    closed = np.where((whole == shapechest.AIR) & (np.arange(120) > 20) & (np.arange(120) < 100), 40, whole)
    image = shapechest.image(closed.astype(np.int16))
    assert [text.split(":")[0] for text in mask_warnings(image, find_lungs(image))] == [
        "No trachea was found in this CT"
    ]


@pytest.fixture(scope="module")
def real(chest: sitk.Image) -> sitk.Image:
    return sitk.Cast(sitk.BinShrink(chest, [4, 4, 2]), sitk.sitkInt16)


@pytest.fixture(scope="module")
def real_lungs(real: sitk.Image) -> Lungs:
    return find_lungs(real)


def test_nothing_is_doubted_about_a_real_mask(real: sitk.Image, real_lungs: Lungs) -> None:
    assert mask_warnings(real, real_lungs) == ()


@pytest.mark.parametrize("filling", [-3024, -1024])
@pytest.mark.parametrize(
    ("radius", "says"), [(45, "The field of view cuts the lungs"), (46.5, "may be cut off at the side"), (50, "")]
)
def test_a_round_view_that_cuts_a_real_chest_or_comes_near_is_named(
    real: sitk.Image, radius: float, says: str, filling: int
) -> None:
    y, x = np.mgrid[:128, :128] - 63.5
    hu = np.where(x**2 + y**2 > radius**2, filling, sitk.GetArrayFromImage(real).clip(-1024))
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    image.CopyInformation(real)
    found = " ".join(mask_warnings(image, find_lungs(image)))
    assert (says in found) if says else (found == "")


def test_the_surface_that_the_images_side_cuts_is_measured(real: sitk.Image, real_lungs: Lungs) -> None:
    columns = np.flatnonzero(real_lungs.labels.any((0, 1)))
    last = int(columns[-1]) - 5
    cut = real[: last + 1]
    cm2 = np.count_nonzero(real_lungs.labels[:, :, last]) * np.prod(real.GetSpacing()[1:]) / 100
    found = re.search(r"The field of view cuts the lungs: (\d+) cm", " ".join(mask_warnings(cut, find_lungs(cut))))
    assert found
    assert float(found[1]) == pytest.approx(cm2, rel=0.1)


@pytest.mark.parametrize(("slices", "says"), [(slice(None, 55), "apices"), (slice(15, None), "bases")])
def test_real_lungs_that_the_first_or_last_slice_cuts_are_named(
    real: sitk.Image, real_lungs: Lungs, slices: slice, says: str
) -> None:
    cut = real[:, :, slices]
    view = field_of_view(sitk.GetArrayFromImage(cut))
    found = " ".join(mask_warnings(cut, Lungs(real_lungs.labels[slices], view, True, (), 0.0)))
    assert f"the {says} are cut off" in found


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("anatomy/LIDC-IDRI-0002_half.nrrd", []),
        ("anatomy/r01-142-head-to-thigh.nrrd", ["Heart", "The slices are 4.0", "The pixels are 3.9"]),
        ("emphysema/qin-lsc-0003.nrrd", ["Heart"]),
        ("kernel-pair/A0001_kernelB_smooth.nrrd", ["The slices are 5.0"]),
        ("cip/ct-64.nrrd", ["The slices are 4.0", "The pixels are 4.2"]),
    ],
)
def test_real_cts_raise_no_doubt_but_of_their_voxels_and_contrast(
    shared_data: Path, file: str, expected: list[str]
) -> None:
    image = read_ct(shared_data / file).image
    found = find_lungs(image)
    texts = (*mask_warnings(image, found), *image_warnings(image, found.labels))
    assert len(texts) == len(expected)
    assert all(text.startswith(start) for text, start in zip(texts, expected, strict=True)), texts
