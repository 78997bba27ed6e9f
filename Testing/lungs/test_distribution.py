"""Ratios of regions and the score of six zones."""

from __future__ import annotations

import math

import pytest
from EmphysemaScannerLib.lungs.densitometry import ZONES, Densitometry
from EmphysemaScannerLib.lungs.distribution import ratio, zone_class, zone_score


def region(laa: float) -> Densitometry:
    return Densitometry(laa, laa, laa, -900.0, -850.0, 100.0, 1.0, 150.0)


def test_a_ratio_is_that_of_laa_950() -> None:
    assert ratio({"upper": region(6), "lower": region(4)}, "upper", "lower") == 1.5


@pytest.mark.parametrize(
    "regions",
    [
        {},
        {"upper": region(6)},
        {"upper": region(6), "lower": region(0.09)},
        {"upper": region(6), "lower": region(math.nan)},
    ],
)
def test_there_is_no_ratio_to_a_region_that_is_missing_or_nearly_without_low_density(regions) -> None:
    assert math.isnan(ratio(regions, "upper", "lower"))


@pytest.mark.parametrize(
    ("laa", "expected"),
    [(0, 0), (4.9, 0), (5, 1), (24.9, 1), (25, 2), (49.9, 2), (50, 3), (74.9, 3), (75, 4), (100, 4)],
)
def test_a_zone_has_the_class_of_its_share(laa: float, expected: int) -> None:
    assert zone_class(laa) == expected


def test_the_score_is_the_sum_of_six_zones_and_needs_all_of_them() -> None:
    regions = dict(zip(ZONES, map(region, (0, 10, 30, 60, 80, 80)), strict=True))
    assert zone_score(regions) == 0 + 1 + 2 + 3 + 4 + 4
    assert math.isnan(zone_score({**regions, "left_lower": region(math.nan)}))
    del regions["left_lower"]
    assert math.isnan(zone_score(regions))
