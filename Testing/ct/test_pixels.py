"""Values become HU as the header of each slice states, in every transfer syntax, or a sentence names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomfiles import enhanced_dicom, small_ct, write_dicom
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.ct.checks import check_image
from EmphysemaScannerLib.ct.dicomheader import Slice, slices_in
from EmphysemaScannerLib.ct.reading import ct_series, read_ct
from phantom import phantom_image
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

HU = sitk.GetArrayFromImage(small_ct())


def values(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(read_ct(path).image)


def sentence(path: Path) -> str:
    with pytest.raises(EmphysemaScannerError) as caught:
        check_image(read_ct(path).image)
    return str(caught.value)


def stored(change: Callable[[np.ndarray], np.ndarray], kind: str = "<u2", image: sitk.Image | None = None) -> Callable:
    """Pixel data of a slice from its HU."""
    hu = HU if image is None else sitk.GetArrayFromImage(image)
    return lambda k: change(hu[k].astype(np.int64)).astype(kind).tobytes()


SIGNED = {"PixelRepresentation": 1, "RescaleIntercept": 0, "PixelData": stored(lambda v: v, "<i2")}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SIGNED,
        {"BitsStored": 12, "HighBit": 11},
        {"BitsStored": 12, "HighBit": 11, "PixelData": stored(lambda v: (v + 1024) | 0xA000)},  # an overlay above
        {**SIGNED, "BitsStored": 12, "HighBit": 11, "PixelData": stored(lambda v: v & 0x0FFF)},
        {"RescaleSlope": 0.5, "PixelData": stored(lambda v: 2 * (v + 1024))},
        {"RescaleSlope": 2, "RescaleIntercept": -1024.5, "PixelData": stored(lambda v: v + 1024)},
        {"RescaleIntercept": -1024.25, "PixelPaddingValue": 63536},
        {"PixelData": stored(lambda v: v + 40000)},
    ],
)
def test_uncompressed_slices_have_the_values_that_gdcm_reads(tmp_path: Path, changes: dict) -> None:
    paths = write_dicom(tmp_path, small_ct(), **changes)
    (own,) = slices_in(paths[0])  # type: ignore[misc]
    assert isinstance(own, Slice)
    assert own.stored is not None
    np.testing.assert_allclose(values(tmp_path), sitk.GetArrayFromImage(sitk.ReadImage([str(p) for p in paths])))


def test_whole_hu_are_kept_in_two_bytes_and_others_exactly(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a", small_ct())
    assert values(tmp_path / "a").dtype == np.int16
    write_dicom(tmp_path / "b", small_ct(), PixelData=stored(lambda v: v + 40000))
    assert (values(tmp_path / "b").dtype, values(tmp_path / "b")[0, 0, 0]) == (np.int32, 37976)
    write_dicom(tmp_path / "c", small_ct(), RescaleSlope=0.5, PixelData=stored(lambda v: 2 * (v + 1024) + 1))
    np.testing.assert_array_equal(values(tmp_path / "c"), HU + 0.5)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_slices_are_the_same(tmp_path: Path, syntax: str) -> None:
    image = small_ct(rows=64, columns=64)
    for path in write_dicom(tmp_path, image):
        file = pydicom.dcmread(path)
        file.compress(syntax, generate_instance_uid=False)
        file.save_as(path)
    np.testing.assert_array_equal(values(tmp_path), sitk.GetArrayFromImage(image))


def test_each_slice_is_rescaled_by_its_own_slope_and_intercept(tmp_path: Path) -> None:
    """As PET is stored; the values go on from slice to slice."""
    slopes, intercepts = (lambda k: 0.5 if k % 3 else 1), (lambda k: -1024 + 10 * (k % 2))

    def numbers(k: int) -> bytes:
        return np.rint((HU[k] - intercepts(k)) / slopes(k)).astype("<u2").tobytes()

    write_dicom(tmp_path, small_ct(), RescaleSlope=slopes, RescaleIntercept=intercepts, PixelData=numbers)
    np.testing.assert_array_equal(values(tmp_path), HU)


@pytest.mark.parametrize(("odd", "place"), [(0, 1), (9, 10), (23, 24)])
@pytest.mark.parametrize("change", [{"RescaleIntercept": 0}, {"RescaleSlope": 3}])
def test_one_intercept_or_slope_that_contradicts_its_neighbours_is_named(
    tmp_path: Path, odd: int, place: int, change: dict
) -> None:
    ((name, value),) = change.items()
    usual = {"RescaleIntercept": -1024, "RescaleSlope": 1}[name]
    write_dicom(tmp_path, small_ct() + 500, **{name: lambda k: value if k == odd else usual})
    assert f"Slice {place} of 24 ('{odd:04}.dcm') has RescaleSlope and RescaleIntercept" in sentence(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "inverted grey scale .MONOCHROME1 in '0000.dcm'"),
        ({"RescaleSlope": -1}, "negative RescaleSlope .-1., which would turn air into bone"),
        ({"RescaleSlope": lambda k: -0.001 if k == 5 else 1}, "0005.dcm' has a negative RescaleSlope"),
        ({"RescaleSlope": 0}, "invalid RescaleSlope"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "lacks RescaleSlope or RescaleIntercept"),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, "lacks RescaleSlope or RescaleIntercept"),
        (
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8,
             "BitsStored": 8, "HighBit": 7, "PixelData": bytes(60)},
            "colour image",
        ),
    ],
)  # fmt: skip
def test_headers_from_which_hu_cannot_be_told_are_refused_with_the_reason(
    tmp_path: Path, changes: dict, says: str
) -> None:
    write_dicom(tmp_path, small_ct(), **changes)
    with pytest.raises(EmphysemaScannerError, match=says):
        read_ct(tmp_path)


@pytest.mark.parametrize(("slope", "says"), [(0.001, "range of a grey-scale picture"), (1e-9, "Every voxel")])
def test_a_small_positive_slope_is_left_to_the_check_of_values(tmp_path: Path, slope: float, says: str) -> None:
    write_dicom(tmp_path, phantom_image(), RescaleSlope=slope)
    assert says in sentence(tmp_path)


def test_hu_that_are_stored_as_they_are_need_no_rescaling(tmp_path: Path) -> None:
    write_dicom(tmp_path, small_ct(), **{**SIGNED, "RescaleSlope": None, "RescaleIntercept": None})
    np.testing.assert_array_equal(values(tmp_path), HU)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"RescaleIntercept": 0}, "stored 1024 too high .*subtract 1024"),
        (
            {"PixelRepresentation": 0, "RescaleIntercept": 0, "PixelData": stored(lambda v: v, "<i2", phantom_image())},
            "without their sign",
        ),
        ({"PixelData": stored(lambda v: 3095 - v, "<u2", phantom_image())}, "inverted"),
        (
            {
                "RescaleIntercept": 0,
                "PixelData": stored(lambda v: (v + 500 * (v > 70)).clip(0), "<u2", phantom_image()),
            },
            "below 0 was cut",
        ),
    ],
)
def test_values_of_a_chest_that_are_not_hu_are_refused_with_what_was_done_to_them(
    tmp_path: Path, changes: dict, says: str
) -> None:
    write_dicom(tmp_path, phantom_image(), **changes)
    with pytest.raises(EmphysemaScannerError, match=says):
        check_image(read_ct(tmp_path).image)


@pytest.mark.parametrize("order", [list(range(24)), list(range(24))[::-1], [(7 * k) % 24 for k in range(24)]])
@pytest.mark.parametrize("legacy", [False, True])
def test_an_enhanced_ct_in_one_file_is_read_with_its_frames_in_place(
    tmp_path: Path, order: list[int], legacy: bool
) -> None:
    path = enhanced_dicom(tmp_path / "ct" / "enhanced", small_ct(), order, legacy=legacy)
    for given in (tmp_path, path):
        ct = read_ct(given)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(ct.image), HU)
        np.testing.assert_allclose(ct.image.GetSpacing(), small_ct().GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(ct.image.GetOrigin(), small_ct().GetOrigin(), rtol=1e-6)
        assert ct.provenance.series is not None
        assert (ct.provenance.series.slices, ct.provenance.series.kernel) == (24, "B30f")
        assert ct.provenance.series.image_type == "ORIGINAL\\PRIMARY\\VOLUME\\NONE"
        assert ct.provenance.slice_thickness_mm == 5
    assert ct_series(tmp_path.rglob("*")) == [tmp_path / "ct"]


@pytest.mark.parametrize("syntax", ["", RLELossless, JPEG2000Lossless])
def test_each_frame_is_rescaled_by_its_own_functional_group(tmp_path: Path, syntax: str) -> None:
    image = small_ct(rows=64, columns=64)
    path = enhanced_dicom(tmp_path / "enhanced", image, intercepts=[-1024 + (k % 4) for k in range(24)], syntax=syntax)
    np.testing.assert_array_equal(values(path), sitk.GetArrayFromImage(image))


def test_an_enhanced_ct_over_several_files_is_one_ct(tmp_path: Path) -> None:
    image = small_ct()
    for k in range(3):
        enhanced_dicom(tmp_path / f"part{k}", image[:, :, 8 * k : 8 * k + 8], SeriesInstanceUID="1.5")
    np.testing.assert_array_equal(values(tmp_path), HU)
    np.testing.assert_array_equal(values(tmp_path / "part1"), HU)


def test_phases_in_one_enhanced_file_are_told_apart(tmp_path: Path) -> None:
    enhanced_dicom(tmp_path / "enhanced", small_ct(), second=small_ct() + 100)
    with pytest.raises(EmphysemaScannerError, match="2 equally good CT series"):
        read_ct(tmp_path)


def test_an_enhanced_file_that_is_cut_is_named(tmp_path: Path) -> None:
    path = enhanced_dicom(tmp_path / "enhanced", small_ct())
    path.write_bytes(path.read_bytes()[:-9])
    assert "enhanced' (24 slices) cannot be read: it is damaged, incomplete" in sentence(tmp_path)
