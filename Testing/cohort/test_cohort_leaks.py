"""The commands split and check: what is written is separate, and whatever is not is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.cohort.leaks import find_leaks
from EmphysemaScannerLib.cohort.manifest import CohortRow, read_manifest
from EmphysemaScannerLib.commands import cli
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def write_dicom(folder: Path, patient: str, names: tuple[str, ...], density: int) -> Path:
    """A folder of slices, each with pixels of its own."""
    folder.mkdir()
    for k, name in enumerate(names):
        header = pydicom.FileMetaDataset()
        header.MediaStorageSOPClassUID, header.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        header.TransferSyntaxUID = ExplicitVRLittleEndian
        image = pydicom.Dataset()
        image.file_meta = header
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, header.MediaStorageSOPInstanceUID
        image.PatientID = patient
        image.Rows = image.Columns = 2
        image.BitsAllocated, image.SamplesPerPixel, image.PixelRepresentation = 16, 1, 1
        image.PixelData = bytes([density, k] * 4)
        image.save_as(folder / name, enforce_file_format=True)
    return folder


def test_one_scan_under_two_names_is_found_by_its_pixels(tmp_path: Path) -> None:
    first = write_dicom(tmp_path / "a", "Anna", ("1.dcm", "2.dcm"), 7)
    again = write_dicom(tmp_path / "b", "pseudonym 42", ("x", "y"), 7)
    (again / "y").rename(again / "a")  # in another order
    other = write_dicom(tmp_path / "c", "Otto", ("1.dcm", "2.dcm"), 8)
    rows = [CohortRow(first, 1, "p", "train"), CohortRow(again, 1, "q", "test"), CohortRow(other, 0, "r", "test")]
    (leak,) = find_leaks(rows)
    assert "'a' of patient 'p'" in leak
    assert "'b' of patient 'q'" in leak
    assert find_leaks(rows, contents=False) == []


def test_a_link_to_a_volume_is_the_same_volume(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(b"1")
    (tmp_path / "b.nrrd").symlink_to("a.nrrd")
    rows = [CohortRow(tmp_path / "a.nrrd", 1, "p"), CohortRow(tmp_path / "b.nrrd", 1, "q")]
    (leak,) = find_leaks(rows, contents=False)
    assert "2 volumes are the same file" in leak


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ({"patient": "p"}, {"patient": "p"}, "The patient 'p' is in 2 splits: 'train' (m.csv, line 2), 'test'"),
        ({"patient": "p", "study": "1.2"}, {"patient": "q", "study": "1.2"}, "The exam '1.2' is in 2 splits"),
        ({"patient": "p", "series": "1.3"}, {"patient": "q", "series": "1.3"}, "The series '1.3' is in 2 patients"),
    ],
)
def test_what_two_splits_share_is_named(first: dict[str, str], second: dict[str, str], says: str) -> None:
    rows = [
        CohortRow(Path("/a"), 1, split="train", where="m.csv, line 2", **first),
        CohortRow(Path("/b"), 1, split="test", where="n.csv, line 2", **second),
    ]
    assert any(leak.startswith(says) for leak in find_leaks(rows, contents=False))


def test_patients_who_may_be_one_are_named_in_whatever_splits_they_are() -> None:
    rows = [
        CohortRow(Path("/a"), 1, "00123", "train", where="m.csv, line 2"),
        CohortRow(Path("/b"), 1, "123", "train", where="n.csv, line 2"),
        CohortRow(Path("/c"), 0, "124", "test", where="n.csv, line 3"),
    ]
    (leak,) = find_leaks(rows, contents=False)
    assert leak.startswith("The patients '00123' (m.csv, line 2) and '123' (n.csv, line 2) are suspected to be one;")


def test_patients_who_may_be_one_are_not_split(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest.write_text(manifest.read_text().replace(",p3,", ",P03,", 1))
    assert run("cohort", "split", manifest, "--out", tmp_path / "split.csv") == 2
    assert "'P03' (hospital.csv, line 6) and 'p3' (hospital.csv, line 7) are suspected" in capsys.readouterr().err
    assert not (tmp_path / "split.csv").exists()
    assert run("cohort", "check", manifest) == 2
    assert "'P03' (hospital.csv, line 6) and 'p3'" in capsys.readouterr().err


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = ["volume,label,patient,kernel"]
    for patient in range(12):
        for exam in range(1 + patient % 2):
            name = f"{patient}-{exam}.nrrd"
            image = sitk.Image(2, 2, 2, sitk.sitkInt16) + patient * 10 + exam
            sitk.WriteImage(image, str(tmp_path / name))
            lines.append(f"{name},{patient // 6},p{patient},B30f")
    path = tmp_path / "hospital.csv"
    path.write_text("\n".join(lines))
    return path


def test_a_cohort_is_split_and_checked(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "split.csv"
    assert run("cohort", "split", manifest, "--out", out) == 0
    rows = read_manifest(out)
    assert {row.split for row in rows} == {"train", "tune", "test"}
    assert {row.kernel for row in rows} == {"B30f"}
    left_out = len(read_manifest(manifest)) - len(rows)
    assert left_out
    assert f"{left_out} further volumes of test patients are left out" in " ".join(capsys.readouterr().out.split())
    assert run("cohort", "check", out) == 0
    assert "No leak found." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "says"),
    [("hospital.csv", "exists already"), ("split.xlsx", "'split.csv'"), ("nowhere/split.csv", "There is no folder")],
)
def test_a_place_where_no_manifest_can_be_written_is_one_sentence(
    manifest: Path, tmp_path: Path, name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = manifest.read_bytes()
    assert run("cohort", "split", manifest, "--out", tmp_path / name) == 2
    assert says in capsys.readouterr().err
    assert manifest.read_bytes() == before
    assert not (tmp_path / "split.xlsx").exists()


def test_check_fails_on_a_missing_volume_and_on_a_copy_in_another_manifest(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(tmp_path / "3-0.nrrd", tmp_path / "elsewhere.nrrd")
    second = tmp_path / "second.csv"
    second.write_text("volume,label,patient,split\nelsewhere.nrrd,0,new,test\n")
    assert run("cohort", "check", manifest, second) == 2
    error = capsys.readouterr().err
    assert "'elsewhere.nrrd' of patient 'new' (second.csv, line 2)" in error
    assert error.strip().splitlines()[-1].startswith("1 leaks")
    (tmp_path / "elsewhere.nrrd").unlink()
    assert run("cohort", "check", manifest, second) == 2
    assert "second.csv, line 2" in capsys.readouterr().err


def test_simulated_people_of_one_chest_in_two_splits_are_a_leak(tmp_path: Path) -> None:
    rows = [
        CohortRow(tmp_path / f"{k}.nrrd", k % 2, f"p{k}", split, extra={"anatomy": anatomy})
        for k, (split, anatomy) in enumerate([("train", "A"), ("train", "A"), ("test", "B"), ("test", "A")])
    ]
    (leak,) = find_leaks(rows, contents=False)
    assert "anatomy 'A'" in leak
    assert find_leaks(rows[:3], contents=False) == []
