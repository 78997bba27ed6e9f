"""Densitometry is that of the Chest Imaging Platform, and agrees with hand-made lungs."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import canonical
from EmphysemaScannerLib.lungs.densitometry import (
    HISTOGRAM_HU,
    LEAST_VOXELS,
    ZONES,
    Densitometry,
    measure,
    measure_lungs,
    measure_named,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

CIP_COLUMNS = {
    "laa_950_percent": "%Below-950",
    "laa_910_percent": "%Below-910",
    "laa_856_percent": "%Below-856",
    "perc15_hu": "fifteenthPercentileHU",
    "volume_l": "volume (L)",
    "mass_g": "mass (g)",
    "mean_hu": "intensityMean",
    "sd_hu": "intensitySTD",
    "laa_925_percent": "%Below-925",
    "haa_600_percent": "%Above-600",
    "haa_250_percent": "%Above-250",
    "perc10_hu": "tenthPercentileHU",
    "median_hu": "median",
    "mode_hu": "mode",
    "skewness": "skewness",
    "kurtosis": "kurtosis",
}
CIP_REGIONS = {
    "whole": "wholeLung",
    "right": "rightLung",
    "left": "leftLung",
    "upper": "utLung",
    "middle": "mtLung",
    "lower": "ltLung",
    "right_upper": "rutLung",
    "right_middle": "rmtLung",
    "right_lower": "rltLung",
    "left_upper": "lutLung",
    "left_middle": "lmtLung",
    "left_lower": "lltLung",
}


@pytest.fixture(scope="module")
def cip(shared_data: Path) -> tuple[dict[str, str], dict[str, Densitometry]]:
    """The Chest Imaging Platform's figures for ct-64 and ours, on its label map (9-11 left, 12-14 right thirds)."""
    folder = shared_data / "cip"
    with (folder / "GenerateParenchymaPhenotypes_Test_parenchymaPhenotypes.csv").open() as file:
        names, values = csv.reader(file)
    ct = canonical(sitk.ReadImage(str(folder / "ct-64.nrrd")))
    region = sitk.GetArrayFromImage(canonical(sitk.ReadImage(str(folder / "lm-64.nrrd")))) & 255
    labels = np.select([region == 0, region >= 12], [0, 1], 2).astype(np.uint8)
    found = measure_lungs(sitk.GetArrayFromImage(ct), labels, ct.GetSpacing()[::-1])
    ours = {**found.regions, **found.parts}
    return dict(zip(names, values, strict=False)), ours  # the data row ends with an empty field


@pytest.mark.parametrize("region", CIP_REGIONS)
def test_every_figure_equals_the_chest_imaging_platforms_to_the_digits_it_prints(cip, region) -> None:
    theirs, ours = cip
    for field, column in CIP_COLUMNS.items():
        printed = theirs[f"{CIP_REGIONS[region]} {column}"]
        assert f"{getattr(ours[region], field):.6g}" == printed, (region, field)


@pytest.mark.parametrize(
    ("field", "limit"), [("laa_950_percent", -950), ("laa_910_percent", -910), ("laa_856_percent", -856)]
)
@pytest.mark.parametrize("beside", [-300.0, -300.5], ids=["counted", "by value"])
def test_a_voxel_at_a_threshold_is_not_below_it(field: str, limit: int, beside: float) -> None:
    def share(hu: float) -> float:
        return float(getattr(measure(np.array([hu, beside]), 1.0), field))

    assert share(limit - 1) == 50
    assert share(limit) == share(limit + 1) == 0
    if beside % 1:  # one fraction, and no voxel is counted
        assert share(limit - 0.25) == 50
        assert share(limit + 0.25) == 0


@pytest.mark.parametrize("fraction", [0.0, 0.5], ids=["counted", "by value"])
def test_a_slice_whose_lung_is_at_the_threshold_has_nothing_below_it(fraction: float) -> None:
    hu = np.array([-951.0, -950.0, -949.0])[:, None, None] * np.ones((3, 2, 2))
    hu[2, 0, 0] += fraction
    found = measure_lungs(hu, np.ones((3, 2, 2), np.uint8), (1.0, 1.0, 1.0))
    assert found.below_950_by_slice.tolist() == [4, 0, 0]
    assert found.regions["whole"].laa_950_percent == pytest.approx(100 / 3)


@pytest.mark.parametrize(("field", "percent"), [("perc10_hu", 10), ("perc15_hu", 15), ("median_hu", 50)])
@given(st.lists(st.integers(-1024, 0), min_size=1, max_size=60))
def test_a_percentile_is_the_highest_whole_hu_at_or_below_which_no_larger_share_lies(
    field: str, percent: int, hu: list[int]
) -> None:
    values = np.repeat(np.array(hu, np.int16), LEAST_VOXELS)
    found = getattr(measure(values, 1.0), field)
    assert 100 * (values <= found).sum() <= percent * values.size  # whole numbers avoid rounding
    assert 100 * (values <= found + 1).sum() > percent * values.size


@pytest.mark.parametrize("fraction", [0.0, 0.5], ids=["counted", "by value"])
def test_a_region_of_fewer_than_1000_voxels_has_no_percentiles_but_all_other_figures(fraction: float) -> None:
    hu = np.linspace(-1000, -500, 1001)[1:].round() + fraction
    whole, few = measure(hu, 1.0), measure(hu[1:], 1.0)
    for field in dataclasses.fields(Densitometry):
        percentile = field.name in ("perc10_hu", "perc15_hu", "median_hu")
        assert math.isfinite(getattr(whole, field.name))
        assert math.isnan(getattr(few, field.name)) == percentile, field.name
    assert (whole.voxels, few.voxels) == (1000, 999)


@pytest.mark.parametrize("fraction", [0.0, 0.5], ids=["counted", "by value"])
def test_skewness_and_kurtosis_are_those_of_scipy(fraction: float) -> None:
    hu = np.random.default_rng(0).gamma(2, 60, 5000).round() - 980 + fraction
    found = measure(hu, 1.0)
    assert found.skewness == pytest.approx(stats.skew(hu), rel=1e-9)
    assert found.kurtosis == pytest.approx(stats.kurtosis(hu, fisher=False), rel=1e-9)


@pytest.mark.parametrize("hu", [-900.0, -900.5])
def test_lung_of_one_density_has_neither_skewness_nor_kurtosis(hu: float) -> None:
    found = measure(np.full(5, hu), 1.0)
    assert math.isnan(found.skewness)
    assert math.isnan(found.kurtosis)


@pytest.mark.parametrize("fraction", [0.0, 0.5], ids=["counted", "by value"])
def test_a_voxel_at_a_threshold_is_not_above_it(fraction: float) -> None:
    def shares(hu: float) -> list[float]:
        found = measure(np.array([hu, -900 + fraction]), 1.0)
        return [found.haa_700_percent, found.haa_600_percent, found.haa_500_percent, found.haa_250_percent]

    assert shares(-700) == [0, 0, 0, 0]
    assert shares(-600) == [50, 0, 0, 0]
    assert shares(-250) == [50, 50, 50, 0]
    assert shares(-249) == [50, 50, 50, 50]


def test_air_and_tissue_fill_the_volume() -> None:
    found = measure(np.array([-800.0, -600.0]), 1e6)
    assert found.air_volume_l == pytest.approx(1.4)
    assert found.air_volume_l + found.mass_g / 1000 == pytest.approx(found.volume_l)
    assert measure(np.array([-1010]), 1e6).air_volume_l == 1.0


def test_of_equally_common_densities_the_lowest_is_the_mode() -> None:
    assert measure(np.array([-900, -800, -800, -900, -700]), 1.0).mode_hu == -900


def test_a_histogram_counts_whole_hu_and_keeps_what_lies_beyond_its_ends() -> None:
    hu = np.array([-2000, -1100, -950, -950, 200, 3000], np.int16).reshape(1, 2, 3)
    for values in (hu, np.where(hu == -950, -949.5, hu)):
        counts = measure_lungs(values, np.ones(hu.shape, np.uint8), (1.0, 1.0, 1.0)).histograms["whole"]
        assert dict(zip(HISTOGRAM_HU[counts > 0].tolist(), counts[counts > 0].tolist(), strict=True)) == {
            -1100: 2,
            -950: 2,
            200: 2,
        }


def test_named_regions_are_measured_like_sets_of_voxels_and_others_are_not() -> None:
    random = np.random.default_rng(0)
    hu, labels = random.integers(-1024, -300, (7, 5, 6)), random.integers(0, 5, (7, 5, 6)).astype(np.uint8)
    for values in (hu, hu + 0.25):
        found = measure_named(values, labels, {4: "left_upper_lobe", 2: "tumour", 9: "absent"}, (1.0, 2.0, 3.0))
        assert list(found.regions) == ["left_upper_lobe", "tumour", "absent"]
        np.testing.assert_equal(found.regions["left_upper_lobe"], measure(values[labels == 4], 6.0))
        np.testing.assert_equal(found.regions["tumour"], measure(values[labels == 2], 6.0))
        assert found.regions["absent"].volume_l == 0
        assert found.histograms["tumour"].sum() == (labels == 2).sum()


def test_halves_and_zones_are_cut_like_thirds() -> None:
    labels = np.ones((12, 4, 4), np.uint8)
    labels[:, :, 2:] = 2
    hu = np.arange(-700, -820, -10, dtype=np.int16)[:, None, None] * np.ones((1, 4, 4), np.int16)
    parts = measure_lungs(hu, labels, (1.0, 1.0, 1.0)).parts
    assert parts["lower_half"].mean_hu == np.mean(np.arange(-700, -760, -10))
    assert parts["upper_half"].mean_hu == np.mean(np.arange(-760, -820, -10))
    assert parts["right_middle"] == parts["left_middle"]
    assert parts["left_upper"].mean_hu == np.mean(np.arange(-780, -820, -10))
    assert {parts[zone].voxels for zone in ZONES} == {4 * 8}


def test_whole_numbers_and_the_same_numbers_as_floats_give_the_same_figures() -> None:
    hu = np.random.default_rng(0).integers(-1024, -300, 5000).astype(np.int16)
    assert measure(hu, 2.0) == measure(hu.astype(np.float32), 2.0)


@pytest.mark.parametrize("odd_one", [-700, -700.5, 40_000], ids=["counted", "fraction", "beyond 16 bits"])
def test_values_that_can_be_counted_and_others_are_measured_alike(odd_one: float) -> None:
    hu = np.append(np.random.default_rng(0).integers(-1024, -300, 5000), odd_one).astype(np.float64)
    found = measure(hu, 2.0)
    figures = (found.laa_950_percent, found.laa_910_percent, found.laa_856_percent)
    figures = (*figures, found.perc15_hu, found.mean_hu, found.sd_hu)
    np.testing.assert_allclose(figures, plainly(hu), rtol=1e-12)


def test_mass_is_volume_times_mean_density() -> None:
    assert measure(np.array([-800.0, -600.0]), 1000.0).mass_g == pytest.approx(2 * 0.3)


@pytest.mark.parametrize(("mean", "mass"), [(-990, 0.02), (-1000, 0.0), (-1010, 0.0)])
@pytest.mark.parametrize("spread", [20, 20.5], ids=["counted", "by value"])
def test_no_mass_is_negative_where_noise_lies_around_air(mean: float, mass: float, spread: float) -> None:
    noisy_air = np.array([mean - spread, mean + spread])
    assert measure(noisy_air, 1000.0).mass_g == pytest.approx(mass, abs=1e-9)


def test_an_empty_region_has_no_volume_and_no_density() -> None:
    nothing = measure(np.empty(0, np.int16), 1.0)
    assert (nothing.volume_l, nothing.mass_g) == (0, 0)
    assert all(math.isnan(v) for v in (nothing.laa_950_percent, nothing.perc15_hu, nothing.mean_hu, nothing.sd_hu))


def test_a_patient_with_one_lung_has_an_empty_other_one() -> None:
    labels = np.zeros((6, 4, 4), np.uint8)
    labels[:, :, :2] = 1
    found = measure_lungs(np.full(labels.shape, -850, np.int16), labels, (1.0, 1.0, 1.0)).regions
    assert found["left"].volume_l == 0
    assert found["right"] == found["whole"]


def test_a_mask_without_lung_gives_empty_regions() -> None:
    shape = (3, 4, 4)
    found = measure_lungs(np.zeros(shape, np.int16), np.zeros(shape, np.uint8), (1.0, 1.0, 1.0)).regions
    assert {d.volume_l for d in found.values()} == {0.0}


def test_thirds_have_equal_volume_and_are_counted_from_the_base() -> None:
    labels = np.ones((9, 4, 4), np.uint8)
    hu = np.repeat(np.array([-700, -800, -900], np.int16), 3)[:, None, None] * np.ones((1, 4, 4), np.int16)
    found = measure_lungs(hu, labels, (2.0, 1.0, 1.0)).regions
    assert [found[name].mean_hu for name in ("lower", "middle", "upper")] == [-700, -800, -900]
    assert {found[name].volume_l for name in ("lower", "middle", "upper")} == {3 * 16 * 2 / 1e6}


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        measure_lungs(np.zeros((2, 2, 2)), np.zeros((2, 2, 3), np.uint8), (1.0, 1.0, 1.0))


def plainly(hu: np.ndarray) -> tuple[float, ...]:
    """LAA%-950, -910, -856, Perc15, mean and standard deviation, value by value."""
    if not hu.size:
        return (math.nan,) * 6
    values = np.sort(hu.astype(np.float64).ravel())
    shares = [100 * float((values < limit).sum()) / values.size for limit in (-950, -910, -856)]
    perc15 = math.ceil(values[int(0.15 * values.size)]) - 1 if values.size >= LEAST_VOXELS else math.nan
    return (*shares, perc15, float(values.mean()), float(values.std()))


SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5))


@settings(deadline=None)
@given(st.data(), SHAPES, st.sampled_from(["int16", "int32", "uint16", "float32", "float64"]), st.booleans())
def test_every_region_is_measured_as_value_by_value(data, shape, kind: str, fractions: bool) -> None:
    low = 0 if kind == "uint16" else -1100
    hu = data.draw(hnp.arrays(kind, shape, elements=st.integers(low, 40_000 if kind != "int16" else 3071)))
    if fractions and kind.startswith("float"):
        hu = hu + data.draw(hnp.arrays(kind, shape, elements=st.sampled_from([0, 0.25, 0.5])))
        edges = [-951, -950.25, -950, -949.75, -910, -909.75, -856, -855.75]
        at_edge = data.draw(hnp.arrays(bool, shape))
        hu = np.where(at_edge, data.draw(hnp.arrays(kind, shape, elements=st.sampled_from(edges))), hu).astype(kind)
    labels = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    measured = measure_lungs(hu, labels, (1.0, 2.0, 3.0))

    below = np.cumsum([(plane > 0).sum() for plane in labels]) - [(plane > 0).sum() / 2 for plane in labels]
    third = np.minimum(below * 3 // max((labels > 0).sum(), 1), 2)
    parts = {"whole": labels > 0, "right": labels == 1, "left": labels == 2}
    for number, name in enumerate(("lower", "middle", "upper")):
        parts[name] = (labels > 0) & (third == number)[:, None, None]
    for name, part in parts.items():
        found = measured.regions[name]
        figures = [getattr(found, field) for field in ("laa_950_percent", "laa_910_percent", "laa_856_percent")]
        figures += [found.perc15_hu, found.mean_hu, found.sd_hu]
        np.testing.assert_allclose(figures, plainly(hu[part]), rtol=1e-12, atol=1e-9)
        assert found.volume_l == pytest.approx(part.sum() * 6 / 1e6)
    assert measured.voxels_by_slice.tolist() == (labels > 0).sum((1, 2)).tolist()
    assert measured.below_950_by_slice.tolist() == ((hu < -950) & (labels > 0)).sum((1, 2)).tolist()
