"""Lung in more than two pieces is kept on its side; air in the chest that is no lung is named with its millilitres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import shapechest
from EmphysemaScannerLib.lungs.lungs import LEFT, RIGHT, find_lungs
from shapechest import LUNG, Hu

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
    hu = shapechest.chest()
    hu[scar() & (hu == LUNG)] = 20
    found = find_lungs(shapechest.image(hu)).labels
    lung = hu == LUNG
    assert (found[lung] > 0).mean() > 0.99
    assert (found[lung & (X < 60)] == RIGHT).mean() > 0.99
    assert (found[lung & (X > 60)] == LEFT).mean() > 0.99


def hernia(hu: Hu) -> np.ndarray:
    """Gas in a walled sac between the lungs."""
    sac = shapechest.ellipsoid(hu.shape, (42, 66, shapechest.MIDDLE), (8, 7, 6))
    hu[shapechest.ellipsoid(hu.shape, (42, 66, shapechest.MIDDLE), (10, 9, 8))] = shapechest.TISSUE
    hu[sac] = shapechest.GAS
    return sac


def test_a_hiatal_hernia_is_named_with_its_millilitres_and_is_no_lung() -> None:
    hu = shapechest.chest()
    sac = hernia(hu)
    found = find_lungs(shapechest.image(hu))
    assert not found.labels[sac].any()
    assert found.left_out_ml == (pytest.approx(1000 * shapechest.litres(sac), rel=0.05),)


def test_a_walled_bulla_inside_a_lung_is_measured_with_it() -> None:
    hu = shapechest.chest()
    hu[shapechest.ellipsoid(hu.shape, (60, 50, 88), (11, 11, 11))] = shapechest.TISSUE
    bulla = shapechest.ellipsoid(hu.shape, (60, 50, 88), (8, 8, 8))
    hu[bulla] = shapechest.GAS
    found = find_lungs(shapechest.image(hu))
    assert (found.labels[bulla] > 0).all()
    assert not found.left_out_ml
    assert found.free_air_ml == pytest.approx(1000 * shapechest.litres(bulla), rel=0.05)


@pytest.mark.parametrize(
    ("where", "size", "is_lung"),
    [
        ((30, 60, 54), (7, 7, 7), True),
        ((30, 60, 57), (7, 7, 7), False),
        ((32, 62, 54), (4, 3, 4), False),
        ((8, 46, 66), (7, 7, 7), False),
    ],
    ids=["9 ml 9 mm from a lung", "18 mm from it", "1 ml", "below most of the lungs"],
)
def test_a_small_piece_of_air_is_lung_only_beside_a_lung_in_the_chest(
    where: tuple[int, int, int], size: tuple[int, int, int], is_lung: bool
) -> None:
    hu = shapechest.chest()
    piece = tuple(slice(start, start + n) for start, n in zip(where, size, strict=True))
    around = tuple(slice(part.start - 2, part.stop + 2) for part in piece)
    assert (hu[around] == shapechest.TISSUE).all()
    hu[piece] = LUNG
    found = find_lungs(shapechest.image(hu))
    assert (found.labels[piece] > 0).mean() == is_lung
    assert not found.left_out_ml  # below 10 ml


def test_a_piece_half_filled_with_tissue_beside_a_lung_is_no_lung() -> None:
    hu = shapechest.chest()
    piece = (slice(30, 37), slice(60, 67), slice(54, 61))
    hu[piece] = -450
    assert not find_lungs(shapechest.image(hu)).labels[piece].any()


def test_bowel_gas_below_the_lungs_is_not_named() -> None:
    hu = np.concatenate([shapechest.body(40), shapechest.chest()])
    hu[shapechest.ellipsoid(hu.shape, (20, 40, 70), (12, 10, 15))] = shapechest.GAS
    found = find_lungs(shapechest.image(hu))
    assert not found.left_out_ml
    assert not found.labels[:40].any()


def test_air_under_an_arm_that_lies_against_the_chest_is_neither_lung_nor_named() -> None:
    hu = shapechest.chest()
    hu[:, 40:60, 5:12] = shapechest.TISSUE
    hu[30:70, 45:55, 7:10] = shapechest.AIR
    found = find_lungs(shapechest.image(hu))
    assert not found.labels[:, :, :11].any()
    assert not found.left_out_ml
