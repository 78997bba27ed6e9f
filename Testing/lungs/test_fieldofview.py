"""What lies outside the field of view is not air: lung at its edge stays lung, whatever the filling."""

from __future__ import annotations

import numpy as np
import pytest
import shapechest
import SimpleITK as sitk
from EmphysemaScannerLib.lungs.fieldofview import field_of_view
from EmphysemaScannerLib.lungs.lungs import find_lungs, segment_lungs
from numpy.typing import NDArray

SPACING = (2.8125, 2.8125, 5.0)


@pytest.fixture(scope="module")
def full(chest: sitk.Image) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """LIDC-IDRI-0001 in coarse voxels, air clipped at -1024 as scanners do, and its lungs."""
    small = sitk.Cast(sitk.Clamp(sitk.BinShrink(chest, [4, 4, 2]), lowerBound=-1024), sitk.sitkInt16)
    return sitk.GetArrayFromImage(small), segment_lungs(small)


def as_image(hu: NDArray[np.int16]) -> sitk.Image:
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(SPACING)
    return image


def beyond(labels: NDArray[np.uint8], wall_mm: float) -> NDArray[np.bool_]:
    """(rows, columns): outside of a circle around the lungs that leaves so much chest wall beside them."""
    flat = labels.any(0)
    rows, columns = np.flatnonzero(flat.any(1)), np.flatnonzero(flat.any(0))
    y, x = np.mgrid[: flat.shape[0], : flat.shape[1]]
    far = np.hypot(y - (rows[0] + rows[-1]) / 2, x - (columns[0] + columns[-1]) / 2) * SPACING[0]
    return np.asarray(far > far[flat].max() + wall_mm)


@pytest.mark.parametrize("filling", [-1024, -3024])
@pytest.mark.parametrize("wall_mm", [12, 8, 4, 2, 0, -20])
def test_a_narrow_round_view_loses_no_lung_that_it_shows(
    full: tuple[NDArray[np.int16], NDArray[np.uint8]], wall_mm: float, filling: int
) -> None:
    hu, labels = full
    outside = beyond(labels, wall_mm)
    found = segment_lungs(as_image(np.where(outside, filling, hu).astype(np.int16)))
    shown = (labels > 0) & ~outside
    assert not found[:, outside].any()
    assert ((found > 0) != shown).sum() < 0.02 * shown.sum()
    assert ((found != labels) & (found > 0) & shown).sum() < 0.005 * shown.sum()  # sides


def test_a_lung_that_the_images_side_cuts_is_kept(full: tuple[NDArray[np.int16], NDArray[np.uint8]]) -> None:
    hu, labels = full
    columns = np.flatnonzero(labels.any((0, 1)))
    part = slice(columns[0] + 6, columns[-1] - 5)
    found = segment_lungs(as_image(np.ascontiguousarray(hu[:, :, part])))
    assert ((found > 0) != (labels[:, :, part] > 0)).sum() < 0.02 * (found > 0).sum()


def test_room_air_and_table_in_a_narrow_view_are_no_lung(full: tuple[NDArray[np.int16], NDArray[np.uint8]]) -> None:
    hu, labels = full
    body = np.flatnonzero((hu > -400).any((0, 1)))
    outside = beyond(labels, 60)
    assert not outside[:, body[0] : body[-1]].all(1).any()  # air in front of the patient is in view
    found = segment_lungs(as_image(np.where(outside, -1024, hu).astype(np.int16)))
    assert np.array_equal(found, labels)


def test_padding_that_cuts_a_lung_askew_from_below_is_not_air(
    full: tuple[NDArray[np.int16], NDArray[np.uint8]],
) -> None:
    hu, labels = full
    slices, rows = np.ogrid[: hu.shape[0], : hu.shape[1]]
    askew = slices < 8 + rows / 10  # as a tilted CT is when it was resampled onto a straight grid
    image = as_image(np.where(askew[:, :, None], -1024, hu).astype(np.int16))
    found = segment_lungs(image)
    shown = (labels > 0) & ~askew[:, :, None]
    assert ((found > 0) != shown).sum() < 0.02 * shown.sum()


def test_dark_lung_at_the_edge_of_the_view_is_not_taken_for_its_filling() -> None:
    hu = shapechest.chest()
    y, x = np.mgrid[:100, :120]
    outside = np.hypot(y - 50, x - 60) > 44
    bulla = shapechest.ellipsoid(hu.shape, (45, 50, 17), (8, 8, 8)) & (hu == shapechest.LUNG)
    hu[bulla] = -1024
    hu[:, outside] = -1024
    assert (bulla & ~outside).sum() > 500
    found = segment_lungs(shapechest.image(hu))
    assert (found[bulla & ~outside] > 0).mean() > 0.95


@pytest.mark.parametrize("filling", [-1024, -2000, -3024, 0, 3071])
def test_the_view_is_found_to_a_voxel_whatever_fills_its_corners(filling: int) -> None:
    y, x = np.mgrid[:100, :120]
    inside = np.hypot(y - 48, x - 63) < 47
    hu = np.where(inside, np.random.default_rng(0).integers(-1010, 60, (3, 100, 120)), filling).astype(np.int16)
    view = field_of_view(hu)
    assert not view.is_whole
    for k in range(3):
        assert not (view.inside(k) & ~inside).any()
        assert (~view.inside(k) & inside).sum() < 0.01 * inside.sum()


def test_a_ct_without_filling_is_seen_whole() -> None:
    assert field_of_view(np.random.default_rng(0).integers(-1010, 60, (3, 40, 50))).is_whole


def test_lung_behind_a_thin_chest_wall_is_kept() -> None:
    hu = shapechest.chest()
    y, x = np.mgrid[:100, :120]
    distance = ((y - 50) / 42) ** 2 + ((x - shapechest.MIDDLE) / 55) ** 2
    hu[20:70, (abs(y - 50) < 4) & (x < 30) & (distance < 1)] = shapechest.LUNG
    hu[20:70, (abs(y - 50) < 4) & (x < 7) & (distance < 1)] = (
        shapechest.TISSUE
    )  # two voxels, as between the ribs of the lean
    assert (hu[45, 50, :9] == [-1000] * 6 + [40, -850, -850]).all()
    found = segment_lungs(shapechest.image(hu))
    assert shapechest.litres(found > 0) == pytest.approx(shapechest.litres(hu == shapechest.LUNG), rel=0.01)


def test_the_view_is_kept_with_the_lungs() -> None:
    hu = shapechest.chest()
    assert find_lungs(
        shapechest.image(hu + np.random.default_rng(0).integers(0, 9, hu.shape).astype(np.int16))
    ).view.is_whole
