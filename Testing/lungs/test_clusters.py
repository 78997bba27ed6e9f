"""Clusters, their exponent and bullae in volumes whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from EmphysemaScannerLib.lungs.clusters import (
    areas_in_slices,
    exponent,
    find_bullae,
    measure_clusters,
    volumes_in_space,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

SIDES = {1: "right", 2: "left"}
LUNG, LOW = -850, -970


def noise(shape: tuple[int, int, int] = (6, 20, 24)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.ones(shape, np.uint8)
    labels[:, :, shape[2] // 2 :] = 2
    labels[:, :2] = 0
    return random.choice([LOW, LUNG], shape, p=[0.3, 0.7]).astype(np.int16), labels


def test_d_is_the_exponent_of_a_power_law() -> None:
    # 256 X^-2 areas are at least as large as X
    sizes, at_least = np.array([1, 2, 4, 8, 16]), np.array([256, 64, 16, 4, 1])
    areas = np.repeat(sizes, at_least - np.append(at_least[1:], 0))
    found, found_sizes, found_counts = exponent(areas)
    assert found == pytest.approx(2)
    assert found_sizes.tolist() == sizes.tolist()
    assert found_counts.tolist() == at_least.tolist()


def test_d_is_numpys_line_through_the_logarithms() -> None:
    areas = np.random.default_rng(0).geometric(0.2, 500)
    sizes = np.unique(areas)
    counts = [(areas >= size).sum() for size in sizes]
    assert exponent(areas)[0] == pytest.approx(-np.polyfit(np.log10(sizes), np.log10(counts), 1)[0])


def test_four_sizes_are_too_few_for_an_exponent() -> None:
    assert math.isnan(exponent(np.array([1, 2, 3, 4, 4]))[0])
    assert math.isfinite(exponent(np.array([1, 2, 3, 4, 5]))[0])


def test_areas_touch_by_sides_and_clusters_by_faces() -> None:
    low = np.zeros((3, 5, 5), bool)
    low[0, 0, 0] = low[0, 1, 1] = low[0, 1, 2] = True  # a corner parts 1 from 2 pixels
    low[1, 1, 2] = True  # above one of the two
    low[2, 4, 4] = True
    assert sorted(areas_in_slices(low).tolist()) == [1, 1, 1, 2]
    assert sorted(volumes_in_space(low).tolist()) == [1, 1, 3]


def test_sizes_are_those_of_scipys_labels() -> None:
    hu, _ = noise()
    found, count = ndimage.label(hu < -950)
    assert sorted(volumes_in_space(hu < -950).tolist()) == sorted(np.bincount(found.ravel())[1:].tolist())
    assert len(volumes_in_space(hu < -950)) == count


def test_the_whole_has_the_clusters_of_its_regions_and_none_crosses_between_them() -> None:
    hu, labels = noise()
    hu[:] = LOW  # one cluster, were it not for the border
    found = measure_clusters(hu, labels, SIDES, (2.0, 1.0, 1.0))
    assert list(found) == ["whole", "right", "left"]
    side_ml = 6 * 18 * 12 * 2 / 1000
    assert found["right"].largest_ml == pytest.approx((side_ml,))
    assert found["whole"].largest_ml == pytest.approx((side_ml, side_ml))
    assert found["whole"].count == 12


def test_only_lung_strictly_below_950_hu_counts() -> None:
    hu, labels = noise()
    hu[:] = -950
    hu[:, :2] = LOW  # outside the lungs
    found = measure_clusters(hu, labels, SIDES, (1.0, 1.0, 1.0))["whole"]
    assert (found.count, found.largest_ml, found.largest_cluster_ml, found.bulla_volume_ml) == (0, (), 0.0, 0.0)
    assert math.isnan(found.exponent)
    hu[2, 5, 5] = -951
    assert measure_clusters(hu, labels, SIDES, (1.0, 1.0, 1.0))["whole"].largest_ml == pytest.approx((1e-3,))


def test_at_most_ten_clusters_are_listed_largest_first_and_areas_are_in_mm2() -> None:
    hu, labels = noise()
    found = measure_clusters(hu, labels, SIDES, (3.0, 0.5, 2.0))["whole"]
    volumes = np.concatenate([volumes_in_space((hu < -950) & (labels == side)) for side in (1, 2)])
    assert found.largest_ml == pytest.approx(sorted(volumes * 3e-3, reverse=True)[:10])
    assert found.areas_mm2[0] == pytest.approx(1.0)
    assert found.at_least[0] == found.count


def test_a_lobe_is_measured_like_a_lung() -> None:
    hu, labels = noise()
    lobes = measure_clusters(hu, np.where(labels == 1, 4, 0).astype(np.uint8), {4: "left_upper_lobe"}, (1.0, 1.0, 1.0))
    right = measure_clusters(hu, labels, SIDES, (1.0, 1.0, 1.0))["right"]
    np.testing.assert_equal(vars(lobes["left_upper_lobe"]), vars(right))


def ball(diameter_mm: float, spacing: tuple[float, float, float] = (2.0, 1.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
    """Lung with a ball of air in the middle of 40 x 40 x 40 mm."""
    shape = tuple(round(40 / mm) for mm in spacing)
    place = np.meshgrid(*((np.arange(n) + 0.5) * mm - 20 for n, mm in zip(shape, spacing, strict=True)), indexing="ij")
    inside = sum(axis**2 for axis in place) < (diameter_mm / 2) ** 2
    return np.where(inside, -995, LUNG).astype(np.int16), np.ones(shape, np.uint8)


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (1.0, 0.7, 0.7), (4.0, 2.0, 2.0)])
def test_a_bulla_of_2_cm_has_most_of_the_volume_of_its_ball_and_one_of_8_mm_is_none(spacing) -> None:
    hu, labels = ball(20, spacing)
    found = measure_clusters(hu, labels, {1: "right"}, spacing)["right"]
    assert found.bulla_count == 1
    assert 0.6 < found.bulla_volume_ml / (math.pi / 6 * 8) <= 1.0  # cells at its edge hold lung as well
    hu, labels = ball(8, spacing)
    assert measure_clusters(hu, labels, {1: "right"}, spacing)["right"].bulla_count == 0


def test_noise_does_not_hide_a_bulla() -> None:
    hu, labels = ball(20)
    noisy = hu + np.random.default_rng(0).normal(0, 30, hu.shape)
    volume = measure_clusters(noisy, labels, {1: "right"}, (2.0, 1.0, 1.0))["right"].bulla_volume_ml
    assert 0.7 < volume / (math.pi / 6 * 8) <= 1.0


def test_a_flat_low_sheet_is_no_bulla_however_wide_it_is() -> None:
    hu, labels = np.full((40, 40, 40), LUNG, np.int16), np.ones((40, 40, 40), np.uint8)
    hu[18:24] = LOW
    bullae, _ = find_bullae(hu, labels, (1.0, 1.0, 1.0))
    assert not bullae.any()


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(bool, st.tuples(*[st.integers(1, 6)] * 3)))
def test_areas_and_clusters_are_scipys(low: np.ndarray) -> None:
    in_slice = np.zeros((3, 3, 3), bool)
    in_slice[1] = ndimage.generate_binary_structure(2, 1)
    for sizes, structure in ((areas_in_slices(low), in_slice), (volumes_in_space(low), None)):
        expected = np.bincount(ndimage.label(low, structure)[0][low])[1:]
        assert sorted(sizes.tolist()) == sorted(expected.tolist())
