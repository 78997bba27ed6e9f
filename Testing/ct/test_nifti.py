"""A NIfTI file lies where nifti1.h puts it, and a header that contradicts itself is warned of with the figures."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import small_ct
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, GeometryError, NotAChestCTError, UnreadableInputError
from EmphysemaScannerLib.ct.reading import read_ct

PIXDIM, UNITS, SLOPE, CODES, QUATERN, QOFFSET, SROW = 76, 123, 112, 252, 256, 268, 280
RAS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """As ITK writes it: qform and sform, both with code 1 or 2, that agree."""
    sitk.WriteImage(small_ct(), str(tmp_path / "a.nii"))
    return tmp_path / "a.nii"


def change(path: Path, at: int, kind: str, *values: float) -> None:
    raw = bytearray(path.read_bytes())
    struct.pack_into(f"<{kind}", raw, at, *values)
    path.write_bytes(raw)


def sform(path: Path, matrix: np.ndarray, offset: tuple[float, ...] = (10, 20, -300)) -> None:
    change(path, SROW, "12f", *np.hstack([matrix, np.array(offset)[:, None]]).ravel())


def assert_lies_as(image: sitk.Image, other: sitk.Image) -> None:
    np.testing.assert_allclose(image.GetSpacing(), other.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), other.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(image.GetDirection(), other.GetDirection(), atol=1e-5)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64, np.int64])
def test_voxels_and_place_are_those_that_itk_reads(tmp_path: Path, suffix: str, kind: type) -> None:
    a, b = math.radians(20), math.radians(10)
    turned = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    turned = turned @ np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    image = sitk.GetImageFromArray((sitk.GetArrayFromImage(small_ct()) + 1000).astype(kind))
    image.SetSpacing((0.8, 0.7, 5))
    image.SetOrigin((3, -4, 5))
    image.SetDirection(turned.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / f"a.{suffix}"))
    ct, itk = read_ct(tmp_path / f"a.{suffix}"), sitk.ReadImage(str(tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct.image), sitk.GetArrayFromImage(itk))
    assert_lies_as(ct.image, image)
    assert_lies_as(ct.image, itk)
    assert ct.provenance.warnings == ()


def test_a_left_handed_image_keeps_its_place(tmp_path: Path) -> None:
    image = small_ct()
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    ct = read_ct(tmp_path / "a.nii")
    assert_lies_as(ct.image, image)
    assert ct.provenance.warnings == ()


def test_the_sform_counts_where_pixdim_contradicts_it(path: Path) -> None:
    change(path, PIXDIM + 12, "f", 4.0)
    change(path, CODES, "2h", 0, 1)
    ct = read_ct(path)
    assert_lies_as(ct.image, small_ct())
    assert ct.provenance.warnings == (
        "The NIfTI header contradicts itself: voxels of 0.8 x 0.7 x 5 mm by its sform, which was used, and of "
        "0.8 x 0.7 x 4 mm by its pixdim.",
    )


@pytest.mark.parametrize(("share", "warned"), [(0.0005, False), (0.002, True), (0.25, True)])
def test_only_more_than_a_thousandth_is_warned_of(path: Path, share: float, warned: bool) -> None:
    change(path, PIXDIM + 12, "f", 5 * (1 + share))
    ct = read_ct(path)
    assert bool(ct.provenance.warnings) == warned
    assert ct.image.GetSpacing()[2] == pytest.approx(5)


@pytest.mark.parametrize(("degrees", "warned"), [(0.05, False), (0.2, True), (30, True)])
def test_a_qform_that_is_turned_against_the_sform_is_warned_of(path: Path, degrees: float, warned: bool) -> None:
    half = math.radians(degrees) / 2
    change(path, CODES, "2h", 1, 2)
    sform(path, np.diag([0.8, 0.7, 5.0]) @ np.eye(3))
    change(path, QUATERN, "3f", 0, 0, math.sin(half))
    ct = read_ct(path)
    assert bool(ct.provenance.warnings) == warned
    if warned:
        assert f"qform differ by {degrees:.1f} degrees" in ct.provenance.warnings[0]
    np.testing.assert_allclose(ct.image.GetDirection(), RAS.ravel(), atol=1e-6)


def test_the_qform_counts_where_there_is_no_sform(path: Path) -> None:
    change(path, CODES, "2h", 1, 0)
    sform(path, np.zeros((3, 3)))
    ct = read_ct(path)
    assert_lies_as(ct.image, small_ct())
    assert ct.provenance.warnings == ()


def test_pixdim_counts_where_there_is_neither(path: Path) -> None:
    change(path, CODES, "2h", 0, 0)
    ct = read_ct(path)
    np.testing.assert_allclose(ct.image.GetSpacing(), (0.8, 0.7, 5), rtol=1e-6)
    np.testing.assert_allclose(ct.image.GetOrigin(), (0, 0, 0))


@pytest.mark.parametrize(("unit", "mm"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (2 + 8, 1)])
def test_lengths_are_in_the_unit_that_is_stated(path: Path, unit: int, mm: float) -> None:
    change(path, UNITS, "b", unit)
    change(path, PIXDIM + 4, "3f", 0.8 / mm, 0.7 / mm, 5 / mm)
    sform(path, np.diag([-0.8, -0.7, 5.0]) / mm, (10 / mm, 20 / mm, -300 / mm))
    change(path, QOFFSET, "3f", 10 / mm, 20 / mm, -300 / mm)
    ct = read_ct(path)
    assert_lies_as(ct.image, small_ct())
    assert ct.provenance.warnings == ()


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [
        (0, 7, lambda hu: hu),
        (math.nan, 7, lambda hu: hu),
        (math.inf, 7, lambda hu: hu),
        (1, math.nan, lambda hu: hu),
        (1, 0, lambda hu: hu),
        (1, -24, lambda hu: hu - 24),
        (0.5, 10, lambda hu: hu / 2 + 10),
    ],
)
def test_values_are_rescaled_where_a_slope_is_stated(
    path: Path, slope: float, intercept: float, expected: object
) -> None:
    change(path, SLOPE, "2f", slope, intercept)
    hu = sitk.GetArrayFromImage(small_ct()).astype(float)
    np.testing.assert_allclose(sitk.GetArrayFromImage(read_ct(path).image), expected(hu))  # type: ignore[operator]


@pytest.mark.parametrize("dimensions", [(4, 4, 5, 24, 1), (5, 4, 5, 24, 1, 1), (7, 4, 5, 24, 1, 1, 1, 1)])
def test_a_time_series_of_one_volume_is_that_volume(path: Path, dimensions: tuple[int, ...]) -> None:
    change(path, 40, f"{len(dimensions)}h", *dimensions)
    assert read_ct(path).image.GetSize() == (4, 5, 24)


def test_a_time_series_of_one_volume_in_nrrd_is_that_volume(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.JoinSeries([small_ct()]), str(tmp_path / "a.nrrd"))
    assert_lies_as(read_ct(tmp_path / "a.nrrd").image, small_ct())


def test_big_endian_and_nifti_2_are_read(path: Path) -> None:
    raw = path.read_bytes()
    header = struct.unpack_from("<8h", raw, 40)
    big = bytearray(352) + np.frombuffer(raw, "<i2", offset=352).astype(">i2").tobytes()
    struct.pack_into(">i", big, 0, 348)
    struct.pack_into(">8h", big, 40, *header)
    struct.pack_into(">2h", big, 70, 4, 16)
    struct.pack_into(">8f", big, 76, *struct.unpack_from("<8f", raw, 76))
    struct.pack_into(">3f", big, 108, 352, 1, 0)
    struct.pack_into(">2h18f", big, 252, *struct.unpack_from("<2h18f", raw, 252))
    big[123], big[344:348] = 2, b"n+1\0"
    path.write_bytes(big)
    ct = read_ct(path)
    assert_lies_as(ct.image, small_ct())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct.image), sitk.GetArrayFromImage(small_ct()))

    two = bytearray(544)
    struct.pack_into("<i8s2h", two, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16)
    struct.pack_into("<8q", two, 16, *header)
    struct.pack_into("<8d", two, 104, *struct.unpack_from("<8f", raw, 76))
    struct.pack_into("<q2d", two, 168, 544, 1, 0)
    codes = struct.unpack_from("<2h18f", raw, 252)
    struct.pack_into("<2i18d", two, 344, *codes)
    struct.pack_into("<i", two, 500, 2)
    path.write_bytes(bytes(two) + raw[352:])
    ct = read_ct(path)
    assert_lies_as(ct.image, small_ct())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct.image), sitk.GetArrayFromImage(small_ct()))


def test_a_shear_is_refused_for_its_geometry_whatever_the_qform_is(path: Path) -> None:
    change(path, CODES, "2h", 1, 1)
    sform(path, np.array([[0.8, 0.4, 0], [0, 0.7, 0], [0, 0, 5]]))
    with pytest.raises(GeometryError, match="right angles"):
        read_ct(path)


def test_the_qform_counts_where_the_sform_is_empty_though_it_has_a_code(path: Path) -> None:
    change(path, CODES, "2h", 1, 1)
    sform(path, np.zeros((3, 3)))
    ct = read_ct(path)
    assert_lies_as(ct.image, small_ct())
    assert ct.provenance.warnings == ("The sform of the NIfTI header has no valid voxel size; its qform was used.",)


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_a_voxel_without_size_is_refused(path: Path, value: float) -> None:
    change(path, CODES, "2h", 0, 0)
    change(path, PIXDIM + 12, "f", value)
    with pytest.raises(GeometryError, match="no valid voxel size in its pixdim"):
        read_ct(path)


@pytest.mark.parametrize(
    ("at", "kind", "value", "error", "says"),
    [
        (40, "5h", (4, 4, 5, 12, 2), GeometryError, "4 dimensions"),
        (40, "6h", (5, 4, 5, 8, 1, 3), NotAChestCTError, "3 values per voxel"),
        (70, "h", (128,), NotAChestCTError, "3 values per voxel"),
        (70, "h", (32,), NotAChestCTError, "complex numbers"),
        (70, "h", (1,), UnreadableInputError, "damaged"),
        (40, "4h", (3, 4, 5, 25), UnreadableInputError, "damaged"),
        (40, "4h", (3, 4, -5, 24), UnreadableInputError, "damaged"),
        (344, "4s", (b"nope",), UnreadableInputError, "damaged"),
        (40, "4h", (3, 4000, 4000, 4000), EmphysemaScannerError, "damaged"),
    ],
)
def test_what_is_no_volume_of_numbers_is_refused(
    path: Path, at: int, kind: str, value: tuple, error: type[Exception], says: str
) -> None:
    change(path, at, kind, *value)
    with pytest.raises(error, match=says):
        read_ct(path)


def test_a_compressed_file_with_a_contradiction_is_the_same(path: Path) -> None:
    change(path, PIXDIM + 12, "f", 4.0)
    packed = path.with_suffix(".nii.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_ct(packed).provenance == read_ct(path).provenance
