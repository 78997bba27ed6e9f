"""Trachea and main bronchi are found from the lungs and left out of them; what merely looks like a trachea is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapechest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import canonical
from EmphysemaScannerLib.lungs.lungs import find_lungs
from shapechest import CARINA, LUNG, MIDDLE

BRONCHI = (slice(CARINA, CARINA + 3), slice(44, 47), [51, 52, 53, 54, 66, 67, 68, 69])


def test_trachea_and_main_bronchi_are_no_lung() -> None:
    found = find_lungs(shapechest.image(shapechest.chest()))
    assert found.trachea_in_view
    assert not found.labels[CARINA:, 42:49, 56:65].any()
    assert not found.labels[BRONCHI].any()


def test_a_nose_taller_than_the_trachea_is_not_taken_for_it() -> None:
    hu = np.concatenate([shapechest.chest(), shapechest.body(160)])
    y, x = np.ogrid[:100, :120]
    hu[100:130, (y - 45) ** 2 + (x - MIDDLE) ** 2 <= 1] = shapechest.AIR  # through a narrow throat ...
    hu[130:230, (y - 30) ** 2 + (x - MIDDLE) ** 2 <= 16] = shapechest.AIR  # ... into nose and sinuses
    found = find_lungs(shapechest.image(hu))
    assert found.trachea_in_view
    assert not found.labels[BRONCHI].any()
    assert np.array_equal(found.labels[:95], find_lungs(shapechest.image(shapechest.chest())).labels[:95])


def test_a_ct_that_starts_below_the_carina_has_no_trachea_though_bowel_looks_like_one() -> None:
    hu = shapechest.chest()
    y, x = np.ogrid[:100, :120]
    bowel = np.concatenate([shapechest.body(30), hu[: CARINA - 2]])
    bowel[:60, (y - 40) ** 2 + (x - MIDDLE) ** 2 <= 9] = shapechest.AIR
    found = find_lungs(shapechest.image(bowel))
    assert not found.trachea_in_view
    assert not found.labels[:60, 36:45, 56:65].any()
    lungs = bowel == LUNG
    assert (found.labels[lungs] > 0).mean() > 0.999


@pytest.mark.parametrize(("slices", "expected"), [(65, True), (50, False)])
def test_a_bronchus_is_a_trachea_only_where_the_lungs_upper_third_is_in_the_ct(slices: int, expected: bool) -> None:
    hu = shapechest.chest(slices)
    y, x = np.ogrid[:100, :120]
    hu[slices - 15 :, (y - 45) ** 2 + (x - 64) ** 2 <= 4] = shapechest.AIR  # leads ...
    side = hu[slices - 15 : slices - 12, 44:47, 64:75]
    side[side == shapechest.TISSUE] = shapechest.AIR  # ... into the left lung
    found = find_lungs(shapechest.image(hu))
    assert not found.labels[slices - 10 :, 44:47, 63:66].any()
    assert found.trachea_in_view == expected


def test_a_trachea_beside_lung_behind_a_wall_thinner_than_a_voxel_does_not_leak_into_it() -> None:
    """Seeds must lie in the middle of the lumen: those in a tongue of lung beside it fill the upper lung first."""
    hu = shapechest.chest(88, bronchi=-900)
    upper = (hu == LUNG) & (np.arange(88)[:, None, None] >= 66) & (np.arange(120) < MIDDLE)
    hu[upper] = -930
    hu[76:80, 42:49, 36:56] = -930  # lung under ...
    hu[80:85, 42:49, 51:56] = -930  # ... a tongue of lung
    hu[80:85, 44:47, 56] = -450  # its wall
    assert 27e-6 * (hu == -930).sum() > 0.13  # more than airways may hold
    found = find_lungs(shapechest.image(hu))
    assert not found.labels[BRONCHI].any()
    assert (found.labels[hu == -930] > 0).mean() > 0.95


def test_light_lung_at_the_end_of_a_bronchus_is_not_taken_for_airway() -> None:
    """0.25 litres are more than trachea and bronchi hold."""
    hu = shapechest.chest(bronchi=-900)
    light = shapechest.ellipsoid(hu.shape, (CARINA + 1, 45, 39), (12, 16, 12)) & (hu == LUNG)
    hu[light] = -930
    assert 0.13 < shapechest.litres(light) < 0.35
    found = find_lungs(shapechest.image(hu))
    assert (found.labels[light] > 0).mean() > 0.95


def test_a_head_to_thigh_ct_has_the_lungs_of_the_chest_alone(shared_data: Path) -> None:
    whole, chest = (
        canonical(sitk.ReadImage(str(shared_data / f"anatomy/{name}.nrrd")))
        for name in ("r01-142-head-to-thigh", "r01-142")
    )
    litres = []
    for ct in (whole, chest):
        found = find_lungs(ct)
        assert found.trachea_in_view
        assert not found.left_out_ml
        litres.append((found.labels > 0).sum() * np.prod(ct.GetSpacing()) / 1e6)
    assert litres[0] == pytest.approx(litres[1], rel=0.03)
