"""Staggered slices come onto a straight grid, every voxel keeps its place in the patient, and a warning says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import write_dicom
from EmphysemaScannerLib.base.errors import GeometryError
from EmphysemaScannerLib.ct.reading import read_ct

ROWS, COLUMNS, SLICES = 60, 50, 40
PIXEL_MM, APART_MM = 3.0, 5.0
PADDING = -1024


def density(points: np.ndarray) -> np.ndarray:
    """A smooth field of HU at points (..., 3) in LPS mm, which no axis makes simple."""
    x, y, z = np.moveaxis(points, -1, 0)
    return -500 + 150 * np.sin(x / 25 + 0.3) + 120 * np.cos(y / 20) + 130 * np.sin(z / 30)


def slices_of(axes: np.ndarray, start: Callable[[int], np.ndarray]) -> tuple[sitk.Image, dict[str, object]]:
    """What a scanner stores of the field, with rows and columns along ``axes`` and its first pixels there."""
    i, j = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
    inside = j[..., None] * PIXEL_MM * axes[0] + i[..., None] * PIXEL_MM * axes[1]
    hu = np.stack([density(start(k) + inside) for k in range(SLICES)])
    image = sitk.GetImageFromArray(np.rint(hu).astype(np.int16))
    image.SetSpacing((PIXEL_MM, PIXEL_MM, APART_MM))
    return image, {
        "ImageOrientationPatient": [f"{c:.8f}" for c in axes.ravel()],
        "ImagePositionPatient": lambda k: [f"{mm:.5f}" for mm in start(k)],
    }


def tilted(degrees: float) -> tuple[sitk.Image, dict[str, object]]:
    """The table moves along z, the slices lean by an angle about the rows."""
    angle = math.radians(degrees)
    axes = np.array([[1, 0, 0], [0, math.cos(angle), math.sin(angle)]])
    return slices_of(axes, lambda k: np.array([-70.0, -80.0, -300 + APART_MM * k]))


def worst_error(image: sitk.Image) -> float:
    """The largest difference of the voxels that are no padding from the field where they lie."""
    values = sitk.GetArrayFromImage(image)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in image.GetSize()), indexing="ij"), -1)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    points = np.array(image.GetOrigin()) + (index * np.array(image.GetSpacing())) @ direction.T
    difference = np.abs(values - density(points).transpose(2, 1, 0))
    lowest = values.min()
    covered = values > lowest
    assert covered.mean() > 0.8
    return float(difference[covered].max())


@pytest.mark.parametrize("degrees", [-25, -3, 1, 12, 30])
def test_slices_of_a_tilted_gantry_become_axial(tmp_path: Path, degrees: float) -> None:
    image, changes = tilted(degrees)
    write_dicom(tmp_path, image, **changes)
    ct = read_ct(tmp_path)
    np.testing.assert_allclose(ct.image.GetDirection(), np.eye(3).ravel(), atol=1e-6)
    assert ct.image.GetSpacing()[2] == pytest.approx(APART_MM, rel=1e-4)
    assert worst_error(ct.image) < 3
    assert f"tilted by {abs(degrees):.1f} degrees" in ct.provenance.warnings[0]


def test_what_half_of_the_slices_cover_is_kept(tmp_path: Path) -> None:
    image, changes = tilted(20)
    write_dicom(tmp_path, image, **changes)
    ct = read_ct(tmp_path).image
    assert abs(ct.GetDepth() - SLICES) <= 1
    assert (ct.GetWidth(), ct.GetHeight()) == (COLUMNS, ROWS)


@pytest.mark.parametrize("way", [(0.0, 0.8), (-0.9, 0.0), (0.5, -0.4)])
def test_axial_slices_that_move_sideways_are_shifted_within_their_planes(
    tmp_path: Path, way: tuple[float, float]
) -> None:
    image, changes = slices_of(np.eye(3)[:2], lambda k: np.array([-70 + way[0] * k, -80 + way[1] * k, 5.0 * k]))
    write_dicom(tmp_path, image, **changes)
    ct = read_ct(tmp_path)
    np.testing.assert_allclose(ct.image.GetDirection(), np.eye(3).ravel(), atol=1e-6)
    assert worst_error(ct.image) < 3
    assert "staggered by up to" in ct.provenance.warnings[0]


def test_slices_that_are_staggered_at_random_are_shifted(tmp_path: Path) -> None:
    shifts = np.random.default_rng(1).uniform(-6, 6, (SLICES, 2))
    image, changes = slices_of(np.eye(3)[:2], lambda k: np.array([-70 + shifts[k, 0], -80 + shifts[k, 1], 5.0 * k]))
    write_dicom(tmp_path, image, **changes)
    ct = read_ct(tmp_path)
    assert worst_error(ct.image) < 3
    assert "staggered" in ct.provenance.warnings[0]


def test_a_tilt_about_both_axes_keeps_the_slices_and_their_places(tmp_path: Path) -> None:
    a, b = math.radians(10), math.radians(8)
    row = np.array([math.cos(b), 0, math.sin(b)])
    column = np.array([0, math.cos(a), math.sin(a)])
    column -= row * (row @ column)
    axes = np.stack([row, column / np.linalg.norm(column)])
    image, changes = slices_of(axes, lambda k: np.array([-70.0, -80.0, 5.0 * k]))
    write_dicom(tmp_path, image, **changes)
    ct = read_ct(tmp_path)
    direction = np.array(ct.image.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction[:, :2].T, axes, atol=1e-6)
    assert worst_error(ct.image) < 3


@pytest.mark.parametrize("shift_mm", [0.0, 0.03, 1.4])
def test_less_than_half_a_pixel_is_left_as_it_is(tmp_path: Path, shift_mm: float) -> None:
    image, changes = slices_of(np.eye(3)[:2], lambda k: np.array([-70.0, -80 + shift_mm * (k == 7), 5.0 * k]))
    write_dicom(tmp_path, image, **changes)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct.image), sitk.GetArrayFromImage(image))
    assert ct.provenance.warnings == ()


def test_more_than_half_a_pixel_is_not(tmp_path: Path) -> None:
    image, changes = slices_of(np.eye(3)[:2], lambda k: np.array([-70.0, -80 + 1.6 * (k == 7), 5.0 * k]))
    write_dicom(tmp_path, image, **changes)
    assert len(read_ct(tmp_path).provenance.warnings) == 1


def test_padding_stays_padding(tmp_path: Path) -> None:
    """Outside a round field of view is one value, in every slice at the same pixels: none is mixed with it."""
    image, changes = tilted(15)
    hu = sitk.GetArrayFromImage(image)
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    hu[:, x**2 + y**2 > 1] = -3024
    padded = sitk.GetImageFromArray(hu)
    padded.SetSpacing(image.GetSpacing())
    write_dicom(tmp_path, padded, **changes, PixelData=lambda k: (hu[k].astype(int) + 4000).astype("<u2").tobytes(),
                RescaleIntercept=-4000)  # fmt: skip
    values = sitk.GetArrayFromImage(read_ct(tmp_path).image)
    assert (values[:, 0, 0] == -3024).all()
    assert not ((values > -3024) & (values < -1150)).any()


@pytest.mark.parametrize("jitter", [1e-6, 1e-4, 3e-3])
def test_direction_cosines_that_differ_by_rounding_are_one_series(tmp_path: Path, jitter: float) -> None:
    """3e-3 is 0.17 degrees."""

    def turned(k: int) -> list[str]:
        c = math.cos(jitter * (k % 2))
        s = math.sin(jitter * (k % 2))
        return [f"{v:.8f}" for v in (c, s, 0, -s, c, 0)]

    image, changes = slices_of(np.eye(3)[:2], lambda k: np.array([-70.0, -80.0, 5.0 * k]))
    write_dicom(tmp_path, image, **{**changes, "ImageOrientationPatient": turned})
    ct = read_ct(tmp_path)
    assert ct.image.GetDepth() == SLICES
    assert ct.provenance.warnings == ()


@pytest.mark.parametrize("degrees", [0.3, 0.9, 5])
def test_slices_that_turn_within_a_series_are_refused(tmp_path: Path, degrees: float) -> None:
    angle = math.radians(degrees)

    def turned(k: int) -> list[float]:
        c, s = (math.cos(angle), math.sin(angle)) if k >= 30 else (1, 0)
        return [round(v, 8) for v in (c, s, 0, -s, c, 0)]

    image, changes = slices_of(np.eye(3)[:2], lambda k: np.array([-70.0, -80.0, 5.0 * k]))
    write_dicom(tmp_path, image, **{**changes, "ImageOrientationPatient": turned})
    with pytest.raises(GeometryError, match=f"direction of the slices changes by {degrees:.1f} degrees"):
        read_ct(tmp_path)


@pytest.mark.parametrize(("factor", "is_read"), [(1.0005, True), (1.002, False), (1.3, False)])
def test_pixels_of_another_size_within_a_series_are_refused(tmp_path: Path, factor: float, is_read: bool) -> None:
    image, changes = slices_of(np.eye(3)[:2], lambda k: np.array([-70.0, -80.0, 5.0 * k]))
    write_dicom(tmp_path, image, **changes, PixelSpacing=lambda k: [PIXEL_MM * (factor if k >= 30 else 1)] * 2)
    if is_read:
        assert read_ct(tmp_path).image.GetDepth() == SLICES
    else:
        with pytest.raises(GeometryError, match="pixel spacing changes"):
            read_ct(tmp_path)


def test_slices_of_another_size_within_a_series_are_refused(tmp_path: Path) -> None:
    image, changes = slices_of(np.eye(3)[:2], lambda k: np.array([-70.0, -80.0, 5.0 * k]))
    write_dicom(
        tmp_path, image, **changes, Rows=lambda k: 60 if k < 30 else 30, Columns=lambda k: 50 if k < 30 else 100
    )
    with pytest.raises(GeometryError, match="30 x 100 pixels and not 60 x 50"):
        read_ct(tmp_path)
