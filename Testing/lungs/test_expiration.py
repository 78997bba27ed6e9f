"""An inspiratory and an expiratory CT: what each figure is, on arrays whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from EmphysemaScannerLib.lungs.densitometry import measure
from EmphysemaScannerLib.lungs.expiration import (
    PairFigures,
    Response,
    breath_doubts,
    density_figures,
    response_map,
    response_shares,
)


@pytest.mark.parametrize(
    ("inspiratory", "expiratory", "expected"),
    [
        (-951, -857, Response.EMPHYSEMA),
        (-951, -856, Response.UNCLASSIFIED),
        (-950, -857, Response.SMALL_AIRWAYS),
        (-950, -856, Response.NORMAL),
        (-500, -700, 0),
        (-501, -501, Response.NORMAL),
        (-870, -500, 0),
    ],
)
def test_a_voxel_has_the_class_of_galban(inspiratory: int, expiratory: int, expected: int) -> None:
    hu = np.array([[[inspiratory]]], np.int16), np.array([[[expiratory]]], np.float32)
    assert response_map(*hu, np.ones((1, 1, 1), bool)).item() == expected
    assert response_map(*hu, np.zeros((1, 1, 1), bool)).item() == 0


def test_shares_are_of_the_voxels_that_have_a_class() -> None:
    response = np.array([[[1, 1, 1, 3, 4], [1, 2, 3, 0, 0]]], np.uint8)
    lungs = np.array([[[1, 1, 1, 1, 1], [2, 2, 2, 2, 0]]], np.uint8)
    lobes = np.array([[[1, 1, 2, 2, 2], [4, 4, 4, 0, 0]]], np.uint8)
    found = response_shares(response, lungs, lobes)
    assert list(found) == ["whole", "right", "left", "right_upper_lobe", "right_middle_lobe", "left_upper_lobe"]
    assert found["whole"].prm_normal_percent == pytest.approx(50)
    assert found["right"].prm_normal_percent == pytest.approx(60)
    assert found["right"].prm_small_airways_percent == pytest.approx(20)
    assert found["right"].prm_emphysema_percent == pytest.approx(20)
    assert found["left"].prm_unclassified_percent == pytest.approx(100 / 3)
    assert found["left"].prm_voxels_percent == pytest.approx(75)
    assert found["right_upper_lobe"].prm_normal_percent == 100
    assert math.isnan(found["right"].air_trapping_percent)


def test_a_region_without_a_class_has_no_shares() -> None:
    found = response_shares(np.zeros((1, 1, 2), np.uint8), np.ones((1, 1, 2), np.uint8), None)
    assert math.isnan(found["whole"].prm_normal_percent)
    assert found["whole"].prm_voxels_percent == 0
    assert math.isnan(found["left"].prm_voxels_percent)


def test_density_figures_compare_the_two_cts() -> None:
    inspiratory = measure(np.array([-960, -900, -900, -800]), 1000.0)
    expiratory = measure(np.array([-960, -870, -700, -600]), 500.0)
    pair = density_figures(inspiratory, expiratory)
    assert pair.volume_ratio == pytest.approx(0.5)
    assert pair.mean_difference_hu == pytest.approx(-782.5 + 890)
    assert pair.mean_ratio == pytest.approx(782.5 / 890)
    assert pair.air_trapping_percent == pytest.approx(50)
    assert pair.volume_change_percent == pytest.approx(100 * (1 / 3 - 2 / 3))


def test_a_patient_who_hardly_breathed_out_is_doubted() -> None:
    hardly = PairFigures(inspiratory_volume_l=5.0, expiratory_volume_l=4.8, volume_ratio=0.96)
    (doubt,) = breath_doubts({"whole": hardly})
    assert "4.80 L in expiration and 5.00 L" in doubt
    assert not breath_doubts({"whole": PairFigures(volume_ratio=0.6)})
