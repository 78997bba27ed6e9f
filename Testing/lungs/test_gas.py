"""Gas below the diaphragm is no lung where its wall is thinner than a voxel; bullae are lung."""

from __future__ import annotations

import numpy as np
import pytest
import shapechest
from EmphysemaScannerLib.lungs.lungs import LEFT, find_lungs, segment_lungs
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


def with_pocket(share_walled: float) -> tuple[Hu, Mask]:
    """A pocket in a flat left diaphragm, full of gas, under a lung; a wall parts a share of its top from the lung."""
    hu = shapechest.chest()
    hu[:20, :, 62:][hu[:20, :, 62:] == LUNG] = shapechest.TISSUE
    gas = np.zeros(hu.shape, bool)
    gas[14:20, 43:57, 81:95] = True
    hu[gas] = GAS
    hu[20, 43:57, 81 : 81 + round(14 * share_walled)] = shapechest.TISSUE
    return hu, gas


@pytest.mark.parametrize(("share_walled", "is_lung"), [(0.35, True), (0.65, False)])
def test_gas_in_the_diaphragm_is_lung_unless_a_wall_parts_most_of_its_top_from_the_lung(
    share_walled: float, is_lung: bool
) -> None:
    hu, gas = with_pocket(share_walled)
    found = segment_lungs(shapechest.image(hu))
    assert (found[gas] > 0).mean() == pytest.approx(float(is_lung), abs=0.1)


def test_gas_that_is_open_at_a_side_is_no_lung_where_a_wall_parts_it_from_the_lung_above() -> None:
    hu, gas = with_pocket(0.7)
    hu[14:20, 43:57, 95:100] = LUNG
    found = segment_lungs(shapechest.image(hu))
    assert (found[gas] > 0).mean() < 0.1
    assert (found[15:19, 45:55, 98:100] == LEFT).all()


def test_emphysema_in_a_tongue_of_lung_under_the_heart_is_lung() -> None:
    hu = shapechest.chest()
    hu[20:45, :, 62:79] = shapechest.TISSUE
    hu[12:20, 40:60, 78:98] = LUNG
    tongue = (slice(12, 20), slice(40, 60), slice(70, 78))
    hu[tongue] = GAS
    found = segment_lungs(shapechest.image(hu))
    assert (found[tongue] == LEFT).mean() > 0.95


@pytest.mark.parametrize(
    "floor",
    [slice(18, 20), slice(0, 0)],
    ids=["on the diaphragm, open at the sides", "above lung, walled at the sides"],
)
def test_a_bulla_under_a_scar_is_lung(floor: slice) -> None:
    hu = shapechest.chest()
    bulla = np.zeros(hu.shape, bool)
    bulla[20:26, 43:57, 81:95] = True
    scarred = np.zeros(hu.shape, bool)
    scarred[26, 42:58, 80:96] = True
    if floor.stop:
        hu[: floor.stop, :, 62:][hu[: floor.stop, :, 62:] == LUNG] = shapechest.TISSUE
    else:
        scarred[20:26, 42:58, 80:96] = True
    hu[scarred] = shapechest.TISSUE
    hu[bulla] = GAS
    found = segment_lungs(shapechest.image(hu))
    assert (found[bulla] > 0).mean() > 0.95


def sealed(centre: tuple[int, int, int], radius: int) -> tuple[Hu, Mask]:
    """Gas whose wall, thinner than a voxel, is closed on all sides."""
    hu = shapechest.chest()
    hu[ellipsoid(hu.shape, centre, (radius + 1.5,) * 3) & (hu == LUNG)] = -600
    gas = ellipsoid(hu.shape, centre, (radius,) * 3)
    hu[gas] = GAS
    return hu, gas


def test_a_hernia_that_bulges_into_a_lung_is_no_lung_and_is_named() -> None:
    hu, gas = sealed((30, 60, 66), 7)
    found = find_lungs(shapechest.image(hu))
    assert (found.labels[gas] > 0).mean() < 0.05
    assert sum(found.left_out_ml) == pytest.approx(1000 * shapechest.litres(gas), rel=0.3)


@pytest.mark.parametrize(("radius", "is_lung"), [(13, False), (15, True)])
def test_sealed_gas_low_in_a_lung_is_lung_where_it_is_larger_than_a_hernia(radius: int, is_lung: bool) -> None:
    hu, gas = sealed((30, 50, 88), radius)
    assert (shapechest.litres(gas) > 0.3) == is_lung
    found = segment_lungs(shapechest.image(hu))
    assert (found[gas] > 0).mean() == pytest.approx(float(is_lung), abs=0.05)
