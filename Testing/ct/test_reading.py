"""A CT comes in from every kind of path, and a bad path or file gets one sentence."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import GeometryError, NotAChestCTError, UnreadableInputError
from EmphysemaScannerLib.ct.reading import read_ct
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, ROWS, COLUMNS = 6, 5, 4
SPACING = (0.8, 0.7, 2.5)  # column, row, slice
HU = np.arange(SLICES * ROWS * COLUMNS, dtype=np.int16).reshape(SLICES, ROWS, COLUMNS) - 1000


def write_series(folder: Path, prefix: str = "", series: str | None = None, **changes: object) -> list[Path]:
    """A DICOM series of HU, one file a slice; ``changes`` replace attributes, a callable gets the slice's index."""
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    paths = []
    for k in range(changes.pop("slices", SLICES)):  # type: ignore[call-overload]
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        image.SeriesInstanceUID, image.StudyInstanceUID = series, "1.2.3"
        image.Modality, image.SeriesDescription, image.ImageType = (
            "CT",
            prefix or "chest",
            ["ORIGINAL", "PRIMARY", "AXIAL"],
        )
        image.Rows, image.Columns = ROWS, COLUMNS
        image.PixelSpacing = [SPACING[1], SPACING[0]]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [-10, -20, -300 + k * SPACING[2]]
        image.InstanceNumber = k + 1
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        image.PixelData = (HU[k % SLICES] + 1024).astype("<u2").tobytes()
        for name, value in changes.items():
            setattr(image, name, value(k) if callable(value) else value)
        # File names in the opposite order of positions: order must come from the header.
        paths.append(folder / f"{prefix}{99 - k:02}.ima")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def volume() -> sitk.Image:
    image = sitk.GetImageFromArray(HU)
    image.SetSpacing(SPACING)
    image.SetOrigin((-10, -20, -300))
    return image


def assert_is_the_volume(image: sitk.Image) -> None:
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), HU)
    np.testing.assert_allclose(image.GetSpacing(), SPACING, rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), (-10, -20, -300), rtol=1e-6)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.nii", "a.nii.gz", "a.mha", "a.mhd", "A.NRRD"])
def test_an_image_file_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    sitk.WriteImage(volume(), str(tmp_path / name))
    assert_is_the_volume(read_ct(tmp_path / name).image)


def test_a_dicom_folder_is_read_in_hu_and_ordered_by_position_whatever_its_files_are_called(tmp_path: Path) -> None:
    write_series(tmp_path / "study" / "series")
    (tmp_path / "study" / "notes.txt").write_text("not an image")
    assert_is_the_volume(read_ct(tmp_path).image)


def test_one_file_of_a_series_stands_for_its_series(tmp_path: Path) -> None:
    write_series(tmp_path, "a", slices=20)
    wanted = write_series(tmp_path, "b")
    assert_is_the_volume(read_ct(wanted[3]).image)


def test_of_several_series_the_ct_with_the_most_slices_is_read(tmp_path: Path) -> None:
    write_series(tmp_path, "short", slices=3)
    write_series(tmp_path, "chest")
    write_series(tmp_path, "pet", slices=9, Modality="PT")
    assert_is_the_volume(read_ct(tmp_path).image)


def test_a_localizer_of_the_same_series_is_left_out(tmp_path: Path) -> None:
    series = generate_uid()
    write_series(tmp_path, "chest", series)
    write_series(tmp_path, "scout", series, slices=2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert_is_the_volume(read_ct(tmp_path).image)


def test_pictures_without_a_place_in_the_patient_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, "chest")
    for path in write_series(tmp_path, "dose", slices=9):
        image = pydicom.dcmread(path)
        del image.ImagePositionPatient, image.ImageOrientationPatient
        image.save_as(path)
    assert_is_the_volume(read_ct(tmp_path).image)


def test_a_file_exported_twice_counts_once(tmp_path: Path) -> None:
    first = write_series(tmp_path)[0]
    shutil.copy(first, tmp_path / "copy.ima")
    assert_is_the_volume(read_ct(tmp_path).image)


def test_slice_positions_rounded_in_the_headers_are_accepted(tmp_path: Path) -> None:
    write_series(tmp_path, ImagePositionPatient=lambda k: [-10, -20, round(-300 + k * 2.5 + 0.04 * (k % 2), 2)])
    assert read_ct(tmp_path).image.GetSize() == (COLUMNS, ROWS, SLICES)


@pytest.mark.parametrize(("jitter_mm", "warned"), [(0.05, False), (0.3, True)])
def test_slices_that_are_a_little_off_their_places_are_read(tmp_path: Path, jitter_mm: float, warned: bool) -> None:
    write_series(tmp_path, ImagePositionPatient=lambda k: [-10, -20, -300 + k * 2.5 + jitter_mm * (k == 2)])
    ct = read_ct(tmp_path)
    assert_is_the_volume(ct.image)
    said = (f"The slices are up to {jitter_mm:.2f} mm off their places; they were read as 2.50 mm apart.",)
    assert ct.provenance.warnings == (said if warned else ())


@pytest.mark.parametrize(
    "place", [lambda k: 2.5 * k + 0.6 * (k == 2), lambda k: 2.5 * k + 0.4 * max(0, k - 10), lambda k: 2.5 * k**1.1]
)
def test_slices_that_are_farther_off_are_refused(tmp_path: Path, place: Callable[[int], float]) -> None:
    write_series(tmp_path, slices=20, ImagePositionPatient=lambda k: [-10, -20, round(place(k), 4)])
    with pytest.raises(GeometryError, match="missing or unevenly spaced"):
        read_ct(tmp_path)


def test_two_series_of_equal_length_are_not_guessed_between(tmp_path: Path) -> None:
    write_series(tmp_path, "lung")
    write_series(tmp_path, "soft")
    with pytest.raises(UnreadableInputError, match=r"2 equally good CT series.* 'lung', 6 slices .* 'soft', 6 slices"):
        read_ct(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ImagePositionPatient": lambda k: [0, 0, 2.5 * (k + (k > 3))]}, "after slice 4 of 6 it is 5.00 mm"),
        ({"ImagePositionPatient": lambda k: [0, 0, 2.5 * (k // 2)]}, "several images of the same place"),
        ({"slices": 1}, "one slice"),
    ],
)
def test_slices_that_make_no_regular_volume_are_refused(tmp_path: Path, changes: dict, says: str) -> None:
    write_series(tmp_path, **changes)
    with pytest.raises(GeometryError, match=says):
        read_ct(tmp_path)


def test_another_modality_is_refused_by_name(tmp_path: Path) -> None:
    paths = write_series(tmp_path, Modality="MR")
    for path in (tmp_path, paths[0]):
        with pytest.raises(NotAChestCTError, match="modality MR"):
            read_ct(path)


def test_multi_frame_dicom_is_refused_by_name(tmp_path: Path) -> None:
    write_series(tmp_path, NumberOfFrames=2)
    with pytest.raises(UnreadableInputError, match="multi-frame"):
        read_ct(tmp_path)


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInputError, match="nowhere"):
        read_ct(tmp_path / "nowhere.nrrd")


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UnreadableInputError, match="no DICOM slices"):
        read_ct(tmp_path)


@pytest.mark.parametrize("name", ["report.pdf", "scan.dcm", "scan"])
def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 1000)
    with pytest.raises(UnreadableInputError, match="not an image that can be read"):
        read_ct(tmp_path / name)


@pytest.mark.parametrize("keep", [0, 0.2, 0.9])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nii", "a.nii.gz", "a.mha"])
def test_an_empty_or_truncated_file_is_refused(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    noise = sitk.GetImageFromArray(np.random.default_rng(0).integers(-1000, 500, (20, 30, 30)).astype(np.int16))
    sitk.WriteImage(noise, str(path), useCompression=name.endswith("nrrd"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UnreadableInputError, match="damaged, incomplete"):
        read_ct(path)


def test_a_truncated_dicom_slice_is_refused(tmp_path: Path) -> None:
    path = write_series(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableInputError, match="damaged, incomplete"):
        read_ct(tmp_path)


def test_itk_warns_again_after_reading(tmp_path: Path) -> None:
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.WriteImage(volume(), str(tmp_path / "a.nrrd"))
    read_ct(tmp_path / "a.nrrd")
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == before


def test_what_itk_warns_of_becomes_a_warning_without_the_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ITK's own reader of NIfTI warns of scales that disagree; it stands for any other warning."""
    path = tmp_path / "JOHN^DOE.nrrd"
    sitk.WriteImage(volume(), str(path))
    other = tmp_path / "JOHN^DOE.nii"
    sitk.WriteImage(volume(), str(other))
    raw = bytearray(other.read_bytes())
    raw[88:92], raw[252:256] = np.array([2.0], "<f4").tobytes(), np.array([0, 1], "<i2").tobytes()
    other.write_bytes(raw)
    read = sitk.ReadImage
    monkeypatch.setattr(sitk, "ReadImage", lambda name: read(name.replace("nrrd", "nii")))
    (warning,) = read_ct(path).provenance.warnings
    assert warning.startswith("ITK warned while reading: ")
    assert "unexpected scales in sform" in warning
    assert capfd.readouterr().err == ""


def test_four_dimensions_are_read_and_left_to_the_checks(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([4, 5, 6, 2], sitk.sitkInt16), str(tmp_path / "a.nrrd"))
    assert read_ct(tmp_path / "a.nrrd").image.GetDimension() == 4


def test_a_nifti_with_a_shear_is_refused_for_its_geometry(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    sitk.WriteImage(volume(), str(path))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[252:256] = np.array([0, 1], "<i2").tobytes()  # qform_code, sform_code: the sform alone counts
    raw[280:328] = np.array([[0.8, 0.4, 0, 10], [0, 0.7, 0, 20], [0, 0, 2.5, -300]], "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(GeometryError, match="right angles"):
        read_ct(path)


def test_real_dicom_equals_the_same_ct_as_nrrd(shared_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dicom, nrrd = (read_ct(shared_data / "cip" / name).image for name in ("ct-64Dicom", "ct-64.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(dicom), sitk.GetArrayViewFromImage(nrrd))
    np.testing.assert_allclose(dicom.GetSpacing(), nrrd.GetSpacing(), atol=1e-3)
    np.testing.assert_allclose(dicom.GetOrigin(), nrrd.GetOrigin(), atol=1e-3)
    assert capfd.readouterr().err == ""


def test_compressed_dicom_is_read_in_hu(shared_data: Path) -> None:
    image = read_ct(shared_data / "not-a-chest" / "lung-base-20-slices-jpeg2000").image
    assert image.GetSize() == (512, 512, 20)
    assert image.GetSpacing()[2] == pytest.approx(2.0)
    assert np.median(sitk.GetArrayViewFromImage(image)[:, :20]) == pytest.approx(-1000, abs=30)
