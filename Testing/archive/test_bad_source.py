"""A CT whose DICOM objects cannot be written gets one sentence, and the folder stays as it was."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path

import archivedct
import pydicom
import pytest
import SimpleITK as sitk
from dicomfiles import enhanced_dicom
from EmphysemaScannerLib.archive.kinds import ObjectKind
from EmphysemaScannerLib.archive.source import ArchiveError
from EmphysemaScannerLib.archive.writing import check_can_write, write_objects
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, MissingPackageError
from EmphysemaScannerLib.base.progress import Progress
from EmphysemaScannerLib.ct.reading import CT, read_ct
from EmphysemaScannerLib.report.outputfolder import OutputFolderError
from EmphysemaScannerLib.scan.result import ScanResult

MakeResult = Callable[..., ScanResult]
Rewrite = Callable[..., None]
SEG = frozenset({ObjectKind.SEGMENTATION})


@pytest.fixture
def ct(tmp_path: Path) -> CT:
    archivedct.write_series(tmp_path / "ct")
    return archivedct.read(tmp_path / "ct")


@pytest.fixture
def result(ct: CT, make_result: MakeResult) -> ScanResult:
    return archivedct.result_on(ct, make_result())


def rewrite(folder: Path, number: int | None = None, **changes: object) -> None:
    """Change attributes of one file of a series, or of all; None deletes."""
    for path in sorted(folder.iterdir())[slice(None) if number is None else slice(number, number + 1)]:
        file = pydicom.dcmread(path)
        for name, value in changes.items():
            if value is None:
                delattr(file, name)
            else:
                setattr(file, name, value)
        file.save_as(path)


def refused(ct: CT, result: ScanResult, out: Path, words: str) -> None:
    assert ct.volume
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(ArchiveError, match=words) as error:
        write_objects(result, ct.volume, out, SEG)
    assert str(error.value).endswith(".")
    assert sorted(out.parent.rglob("*")) == before  # no object, no working folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PatientID": "PID-9999"}, "they name another patient than when the CT was scanned"),
        ({"PatientName": "Other^Somebody"}, "another patient"),
        ({"StudyInstanceUID": "1.2.3.4"}, "they are of another study or series"),
        ({"SeriesInstanceUID": "1.2.3.5"}, "another study or series"),
    ],
)
def test_files_that_became_those_of_another_patient_or_study_are_refused(
    ct: CT, result: ScanResult, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    rewrite(tmp_path / "ct", **changes)
    refused(ct, result, tmp_path / "out", words)


def test_a_series_of_which_a_part_became_another_patients_is_refused(
    ct: CT, result: ScanResult, tmp_path: Path
) -> None:
    rewrite(tmp_path / "ct", 3, PatientID="PID-9999", PatientName="Other^Somebody")
    refused(ct, result, tmp_path / "out", "2 CTs of several patients")


def test_a_changed_voxel_is_noticed(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    path = sorted((tmp_path / "ct").iterdir())[5]
    file = pydicom.dcmread(path)
    pixels = bytearray(file.PixelData)
    pixels[100] ^= 1
    rewrite(tmp_path / "ct", 5, PixelData=bytes(pixels))
    refused(ct, result, tmp_path / "out", "the voxels are not those that were scanned")


def test_a_removed_slice_is_noticed(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    sorted((tmp_path / "ct").iterdir())[-1].unlink()
    refused(ct, result, tmp_path / "out", "not those that were scanned")


def test_a_moved_table_is_noticed(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    for path in (tmp_path / "ct").iterdir():
        file = pydicom.dcmread(path)
        file.ImagePositionPatient[2] += 3
        file.save_as(path)
    refused(ct, result, tmp_path / "out", "the slices lie elsewhere")


@pytest.mark.parametrize("name", ["FrameOfReferenceUID"])
def test_a_series_that_no_object_can_refer_to_is_refused(ct: CT, result: ScanResult, tmp_path: Path, name: str) -> None:
    rewrite(tmp_path / "ct", **{name: None})
    refused(ct, result, tmp_path / "out", f"state no single {name}")


def test_a_value_that_the_standard_forbids_is_refused(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    rewrite(tmp_path / "ct", PatientSex="WOMAN")
    refused(ct, result, tmp_path / "out", "hold values that break the standard .*WOMAN")


def test_a_result_of_an_earlier_version_is_refused(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    refused(ct, dataclasses.replace(result, run=None), tmp_path / "out", "earlier version")


def test_attributes_that_may_be_empty_may_be_missing(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    rewrite(tmp_path / "ct", PatientName=None, AccessionNumber=None, StudyID=None, ContentDate=None, ContentTime=None)
    ct = archivedct.read(tmp_path / "ct")
    assert ct.volume
    (path,) = write_objects(result, ct.volume, tmp_path / "out", SEG)
    found = pydicom.dcmread(path, stop_before_pixels=True)
    assert (str(found.PatientName), found.AccessionNumber, found.StudyID) == ("", "", "")
    assert (found.ContentDate, found.ContentTime) == ("20250102", "101112")  # the study's


def test_an_image_file_and_an_enhanced_ct_are_refused_before_the_scan(tmp_path: Path) -> None:
    sitk.WriteImage(archivedct.small_phantom(), str(tmp_path / "ct.nrrd"))
    with pytest.raises(ArchiveError, match="scan the DICOM series that this file was made from"):
        check_can_write(read_ct(tmp_path / "ct.nrrd").volume)
    enhanced_dicom(tmp_path / "enhanced/ct.dcm", sitk.Clamp(archivedct.small_phantom(), lowerBound=-1024))
    with pytest.raises(ArchiveError, match="enhanced CT"):
        check_can_write(read_ct(tmp_path / "enhanced").volume)


def test_without_highdicom_a_sentence_says_what_to_install(ct: CT, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "highdicom" else find(name))
    with pytest.raises(MissingPackageError, match="pip install highdicom"):
        check_can_write(ct.volume)


def stop_at(stage: str) -> Progress:
    def progress(_fraction: float, now: str) -> None:
        if now == stage:
            raise KeyboardInterrupt

    return progress


def test_a_run_that_is_stopped_leaves_the_objects_of_the_one_before(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    assert ct.volume
    out = tmp_path / "out"
    write_objects(result, ct.volume, out, SEG)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        write_objects(result, ct.volume, out, progress=stop_at(ObjectKind.MAPS.label()))
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_a_folder_with_files_of_others_is_not_touched(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    assert ct.volume
    (tmp_path / "out").mkdir()
    (tmp_path / "out/theirs.dcm").write_text("theirs")
    with pytest.raises(OutputFolderError):
        write_objects(result, ct.volume, tmp_path / "out", SEG)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs.dcm"]
    assert issubclass(OutputFolderError, EmphysemaScannerError)
