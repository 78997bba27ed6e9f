"""Lung in more than two pieces is kept on its side; air in the chest that is no lung is named with its millilitres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import phantom
import pytest
from EmphysemaScannerLib.core.lungs import LEFT, RIGHT, find_lungs
from phantom import LUNG, Hu

Z, Y, X = np.ogrid[:100, :100, :120]


@pytest.mark.parametrize(
    "scar",
    [
        lambda: (abs(Z - 50) < 3) & (X < 60),
        lambda: (abs(Z - 22) < 3) & (X < 60),
        lambda: (abs(Z - 72) < 3) & (X > 60),
        lambda: (abs(Z - 45 + 0.8 * (Y - 50)) < 3) & (X > 60),
        lambda: (abs(X - 94) < 3) & (Z > 0),
        lambda: abs(Y - 50 + 0 * Z) < 3,
        lambda: abs(Z - 45) < 3,
    ],
    ids=["middle", "base", "apex", "fissure", "beside", "both in front and behind", "both above and below"],
)
def test_lung_that_scar_or_effusion_parts_stays_on_its_side(scar: Callable[[], np.ndarray]) -> None:
    hu = phantom.chest()
    hu[scar() & (hu == LUNG)] = 20
    found = find_lungs(phantom.image(hu)).labels
    lung = hu == LUNG
    assert (found[lung] > 0).mean() > 0.99
    assert (found[lung & (X < 60)] == RIGHT).mean() > 0.99
    assert (found[lung & (X > 60)] == LEFT).mean() > 0.99


def hernia(hu: Hu) -> np.ndarray:
    """Gas in a walled sac between the lungs."""
    sac = phantom.ellipsoid(hu.shape, (42, 66, phantom.MIDDLE), (8, 7, 6))
    hu[phantom.ellipsoid(hu.shape, (42, 66, phantom.MIDDLE), (10, 9, 8))] = phantom.TISSUE
    hu[sac] = phantom.GAS
    return sac


def test_a_hiatal_hernia_is_named_with_its_millilitres_and_is_no_lung() -> None:
    hu = phantom.chest()
    sac = hernia(hu)
    found = find_lungs(phantom.image(hu))
    assert not found.labels[sac].any()
    assert found.left_out_ml == (pytest.approx(1000 * phantom.litres(sac), rel=0.05),)


def test_a_walled_bulla_inside_a_lung_is_measured_with_it() -> None:
    hu = phantom.chest()
    hu[phantom.ellipsoid(hu.shape, (60, 50, 88), (11, 11, 11))] = phantom.TISSUE
    bulla = phantom.ellipsoid(hu.shape, (60, 50, 88), (8, 8, 8))
    hu[bulla] = phantom.GAS
    found = find_lungs(phantom.image(hu))
    assert (found.labels[bulla] > 0).all()
    assert not found.left_out_ml
    assert found.free_air_ml == pytest.approx(1000 * phantom.litres(bulla), rel=0.05)


def test_bowel_gas_below_the_lungs_is_not_named() -> None:
    hu = np.concatenate([phantom.body(40), phantom.chest()])
    hu[phantom.ellipsoid(hu.shape, (20, 40, 70), (12, 10, 15))] = phantom.GAS
    found = find_lungs(phantom.image(hu))
    assert not found.left_out_ml
    assert not found.labels[:40].any()


def test_air_under_an_arm_that_lies_against_the_chest_is_neither_lung_nor_named() -> None:
    hu = phantom.chest()
    hu[:, 40:60, 5:12] = phantom.TISSUE
    hu[30:70, 45:55, 7:10] = phantom.AIR
    found = find_lungs(phantom.image(hu))
    assert not found.labels[:, :, :11].any()
    assert not found.left_out_ml
