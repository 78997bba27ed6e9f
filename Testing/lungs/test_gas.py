"""Gas below the diaphragm is no lung where its wall is thinner than a voxel; bullae are lung."""

from __future__ import annotations

import numpy as np
import pytest
import shapechest
from EmphysemaScannerLib.lungs.lungs import find_lungs, segment_lungs
from shapechest import GAS, LEFT_LUNG, LUNG, Hu, Mask, ellipsoid


def with_dome(hu: Hu) -> Hu:
    """The left diaphragm, a dome into the lung."""
    out = hu.copy()
    out[ellipsoid(hu.shape, (8, 50, 88), (24, 34, 24))] = shapechest.TISSUE
    return out


def bubble(hu: Hu) -> Mask:
    """Below that dome: a wall of 0.6 voxels away from the lung, gas above fluid."""
    gas = ellipsoid(hu.shape, (12, 50, 88), (19, 20, 18))
    gas[:, 54:] = False
    return gas


@pytest.fixture
def stomach() -> tuple[Hu, Mask]:
    hu = with_dome(shapechest.chest())
    gas = bubble(hu)
    hu[ellipsoid(hu.shape, (12, 50, 88), (19, 20, 18))] = 20
    hu[gas] = GAS
    wall = (hu == shapechest.TISSUE) & ellipsoid(hu.shape, (8, 50, 88), (24, 34, 24))
    above = wall & (np.roll(hu, -1, 0) == LUNG)
    hu[above & (np.roll(hu, 1, 0) == GAS)] = -600  # half a voxel of wall between lung and gas
    return hu, gas


def test_gas_over_fluid_under_a_thin_diaphragm_is_no_lung(stomach: tuple[Hu, Mask]) -> None:
    hu, gas = stomach
    assert (hu == -600).sum() > 30
    assert shapechest.litres(gas) > 0.1
    found = find_lungs(shapechest.image(hu))
    assert (found.labels[gas] > 0).mean() < 0.01
    assert (found.labels[hu == LUNG] > 0).mean() > 0.995
    assert not found.left_out_ml  # it is not in the chest


def test_gas_of_a_bowel_without_fluid_is_no_lung_on_either_side() -> None:
    hu = shapechest.chest()
    for column in (32, 88):
        hu[ellipsoid(hu.shape, (8, 50, column), (24, 34, 24))] = shapechest.TISSUE
        hu[ellipsoid(hu.shape, (13, 50, column), (17, 14, 16))] = GAS
        hu[29:32, 48:53, column - 2 : column + 3] = -550  # a wall thinner than a voxel
    found = segment_lungs(shapechest.image(hu))
    assert (found[hu == GAS] > 0).mean() < 0.01
    assert (found[hu == LUNG] > 0).mean() > 0.995


@pytest.mark.parametrize(
    ("centre", "radius"),
    [((14, 50, 88), 7), ((45, 30, 92), 9), ((75, 50, 88), 9), ((45, 50, 88), 17)],
    ids=["on the diaphragm", "under the chest wall", "in the apex", "half of the lung"],
)
def test_bullae_are_lung(centre: tuple[int, int, int], radius: int) -> None:
    hu = shapechest.chest()
    bulla = ellipsoid(hu.shape, centre, (radius,) * 3) & ellipsoid(hu.shape, *LEFT_LUNG)
    hu[bulla] = GAS
    found = find_lungs(shapechest.image(hu))
    assert (found.labels[bulla] > 0).mean() > 0.99
    assert found.free_air_ml == pytest.approx(1000 * shapechest.litres(bulla), rel=0.1)


def test_a_lung_full_of_emphysema_keeps_its_base_beside_bowel_gas(stomach: tuple[Hu, Mask]) -> None:
    hu, gas = stomach
    noise = np.random.default_rng(0).normal(0, 25, hu.shape)
    lung = hu == LUNG
    hu[lung] = (-950 + noise[lung]).astype(np.int16)
    found = segment_lungs(shapechest.image(hu))
    assert (found[gas] > 0).mean() < 0.02
    assert (found[lung] > 0).mean() > 0.99
