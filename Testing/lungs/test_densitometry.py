"""Densitometry is that of the Chest Imaging Platform, and agrees with hand-made lungs."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import canonical
from EmphysemaScannerLib.lungs.densitometry import Densitometry, measure, measure_lungs, measure_regions
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

CIP_COLUMNS = {
    "laa_950_percent": "%Below-950",
    "laa_910_percent": "%Below-910",
    "laa_856_percent": "%Below-856",
    "perc15_hu": "fifteenthPercentileHU",
    "volume_l": "volume (L)",
    "mass_g": "mass (g)",
    "mean_hu": "intensityMean",
    "sd_hu": "intensitySTD",
}
CIP_REGIONS = {
    "whole": "wholeLung",
    "right": "rightLung",
    "left": "leftLung",
    "upper": "utLung",
    "middle": "mtLung",
    "lower": "ltLung",
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
    ours = measure_regions(sitk.GetArrayFromImage(ct), labels, ct.GetSpacing()[::-1])
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


@given(st.lists(st.integers(-1024, 0), min_size=1, max_size=60))
def test_perc15_is_the_highest_whole_hu_at_or_below_which_at_most_15_percent_lie(hu: list[int]) -> None:
    values = np.array(hu, np.int16)
    found = measure(values, 1.0).perc15_hu
    # Fractions of 20 * count avoid rounding: 15 % is 3 / 20.
    assert 20 * (values <= found).sum() <= 3 * values.size
    assert 20 * (values <= found + 1).sum() > 3 * values.size


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
    found = measure_regions(np.full(labels.shape, -850, np.int16), labels, (1.0, 1.0, 1.0))
    assert found["left"].volume_l == 0
    assert found["right"] == found["whole"]


def test_a_mask_without_lung_gives_empty_regions() -> None:
    shape = (3, 4, 4)
    found = measure_regions(np.zeros(shape, np.int16), np.zeros(shape, np.uint8), (1.0, 1.0, 1.0))
    assert {d.volume_l for d in found.values()} == {0.0}


def test_thirds_have_equal_volume_and_are_counted_from_the_base() -> None:
    labels = np.ones((9, 4, 4), np.uint8)
    hu = np.repeat(np.array([-700, -800, -900], np.int16), 3)[:, None, None] * np.ones((1, 4, 4), np.int16)
    found = measure_regions(hu, labels, (2.0, 1.0, 1.0))
    assert [found[name].mean_hu for name in ("lower", "middle", "upper")] == [-700, -800, -900]
    assert {found[name].volume_l for name in ("lower", "middle", "upper")} == {3 * 16 * 2 / 1e6}


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        measure_regions(np.zeros((2, 2, 2)), np.zeros((2, 2, 3), np.uint8), (1.0, 1.0, 1.0))


def plainly(hu: np.ndarray) -> tuple[float, ...]:
    """LAA%-950, -910, -856, Perc15, mean and standard deviation, value by value."""
    if not hu.size:
        return (math.nan,) * 6
    values = np.sort(hu.astype(np.float64).ravel())
    shares = [100 * float((values < limit).sum()) / values.size for limit in (-950, -910, -856)]
    perc15 = math.ceil(values[int(0.15 * values.size)]) - 1
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
