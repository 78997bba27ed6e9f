"""Density as with a smooth kernel, with less noise, at another volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import canonical_view
from EmphysemaScannerLib.lungs.densitometry import Densitometry, measure_lungs
from EmphysemaScannerLib.lungs.lungs import find_lungs
from EmphysemaScannerLib.lungs.normalisation import (
    NOISE_WINDOW_MM,
    REFERENCE_HU,
    normalise_kernel,
    perc15_at_volume,
    reduce_noise,
)
from scipy import ndimage

SPACING = (5.0, 0.7, 0.7)


def lung_of(noise_hu: float, mean_hu: float = -880.0) -> tuple[np.ndarray, np.ndarray]:
    """White noise in a lung with a wall around it, whole HU."""
    random = np.random.default_rng(0)
    labels = np.zeros((4, 180, 190), np.uint8)
    labels[:, 15:165, 15:95], labels[:, 15:165, 95:175] = 1, 2
    hu = np.where(labels > 0, mean_hu, 40.0) + random.normal(0, noise_hu, labels.shape)
    return hu.round().astype(np.int16), labels


def test_a_ct_as_smooth_as_the_reference_is_returned_as_it_is() -> None:
    hu, labels = lung_of(10)
    found, kernel = normalise_kernel(hu, labels, SPACING)
    assert found is hu
    assert not kernel.changed
    assert kernel.factors == (1.0, 1.0)
    assert kernel.energies_hu[0] == pytest.approx(10, rel=0.15)  # nearly all of white noise is finer than 1 mm


def test_a_sharp_kernel_is_brought_down_to_the_reference_and_low_density_with_it() -> None:
    hu, labels = lung_of(60)
    found, kernel = normalise_kernel(hu, labels, SPACING)
    assert kernel.changed
    assert kernel.factors[0] == pytest.approx(REFERENCE_HU[0] / 60, abs=0.1)
    _, again = normalise_kernel(found, labels, SPACING)
    assert again.energies_hu[0] == pytest.approx(REFERENCE_HU[0], rel=0.03)
    before, after = (measure_lungs(values, labels, SPACING).regions["whole"] for values in (hu, found))
    assert before.laa_950_percent > 10
    assert after.laa_950_percent < 1
    assert found[:, 25:155, 25:165].mean() == pytest.approx(-880, abs=0.5)  # away from the wall, whose edge is smoothed


def test_low_areas_larger_than_the_bands_stay() -> None:
    hu, labels = lung_of(60)
    hu[:, 30:50, 20:40] -= 110
    found, _ = normalise_kernel(hu, labels, SPACING)
    hole = measure_lungs(found[:, 33:47, 23:37], np.ones((4, 14, 14), np.uint8), SPACING).regions["whole"]
    assert hole.laa_950_percent > 90


def test_nothing_changes_outside_the_lungs_box_and_the_given_ct_is_not_written_to() -> None:
    hu, labels = lung_of(60)
    before = hu.copy()
    found, _ = normalise_kernel(hu, labels, SPACING)
    np.testing.assert_array_equal(hu, before)
    np.testing.assert_array_equal(found[:, :5], hu[:, :5])
    assert (found[:, 20:60] != hu[:, 20:60]).any()


@pytest.mark.parametrize("labels", [np.zeros((3, 20, 20), np.uint8), np.eye(20, dtype=np.uint8)[None].repeat(3, 0)])
def test_hardly_any_lung_is_left_as_it_is(labels: np.ndarray) -> None:
    hu = np.random.default_rng(0).normal(-880, 80, labels.shape)
    found, kernel = normalise_kernel(hu, labels, SPACING)
    assert found is hu
    assert kernel.factors == (1.0, 1.0)


def test_the_sliding_average_is_that_of_the_lung_pixels_around() -> None:
    hu, labels = lung_of(30)
    found = reduce_noise(hu, labels, SPACING)
    assert found is not None
    inside = ndimage.uniform_filter(hu[2].astype(float), 3)[20:60, 20:70]  # 3 pixels of 0.7 mm are the nearest to 2.5
    np.testing.assert_allclose(found[2, 20:60, 20:70], inside, atol=0.51)
    corner = hu[2, 15:17, 15:17].mean()  # of the nine pixels four are lung
    assert found[2, 15, 15] == pytest.approx(corner, abs=0.51)


def test_pixels_larger_than_the_window_are_not_averaged() -> None:
    hu, labels = lung_of(30)
    assert reduce_noise(hu, labels, (2.0, NOISE_WINDOW_MM, NOISE_WINDOW_MM)) is None


def test_tissue_is_the_same_at_any_volume() -> None:
    deep = Densitometry(0, 0, 0, -900.0, -850.0, 90.0, 6.0, 900.0)
    shallow = Densitometry(0, 0, 0, -850.0, -775.0, 90.0, 4.0, 900.0)
    assert perc15_at_volume(deep) == pytest.approx(100)
    assert perc15_at_volume(shallow) == pytest.approx(100)
    assert perc15_at_volume(deep, 3.0) == pytest.approx(200)


def whole(path: Path) -> tuple[Densitometry, Densitometry]:
    image = sitk.ReadImage(str(path))
    hu, grid = canonical_view(image)
    labels = find_lungs(image).labels
    smooth, _ = normalise_kernel(hu, labels, grid.spacing_mm)
    raw, normalised = (measure_lungs(values, labels, grid.spacing_mm).regions["whole"] for values in (hu, smooth))
    return raw, normalised


def test_two_kernels_of_one_acquisition_agree_within_a_point(shared_data: Path) -> None:
    sharp, smooth = (
        whole(shared_data / "kernel-pair" / f"A0001_kernel{name}.nrrd") for name in ("L_sharp", "B_smooth")
    )
    assert sharp[0].laa_950_percent - smooth[0].laa_950_percent > 13
    assert abs(sharp[1].laa_950_percent - smooth[1].laa_950_percent) < 1
    assert abs(sharp[1].perc15_hu - smooth[1].perc15_hu) < 15 < abs(sharp[0].perc15_hu - smooth[0].perc15_hu)


@pytest.mark.parametrize("name", ["cip/ct-64", "emphysema/qin-lsc-0003", "anatomy/LIDC-IDRI-0002_half"])
def test_a_ct_of_a_smooth_kernel_moves_by_less_than_half_a_point(shared_data: Path, name: str) -> None:
    raw, normalised = whole(shared_data / f"{name}.nrrd")
    assert abs(raw.laa_950_percent - normalised.laa_950_percent) < 0.5
