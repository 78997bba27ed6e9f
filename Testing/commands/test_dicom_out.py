"""``scan --dicom-out``: DICOM objects beside or instead of the results, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import archivedct
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.archive import writing
from EmphysemaScannerLib.archive.kinds import ObjectKind
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.ct.reading import CT
from EmphysemaScannerLib.scan.result import ScanResult
from phantom import phantom_image
from webarchive import web_archive

FILES = {"segmentation.dcm", "measurements.dcm"}


def run(*arguments: object) -> int:
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code if isinstance(ended.value.code, int) else 0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, make_result: Callable[..., ScanResult]) -> None:
    """A scan without the network's seconds, and objects without the report's pictures."""

    def scan_on(_device: object, ct: CT, *_arguments: object, **_options: object) -> ScanResult:
        return archivedct.result_on(ct, make_result())

    monkeypatch.setattr("EmphysemaScannerLib.scan.device.scan_on", scan_on)
    without_report = (frozenset({ObjectKind.SEGMENTATION, ObjectKind.MEASUREMENTS}),)
    monkeypatch.setattr(writing.write_objects, "__defaults__", without_report)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    archivedct.write_series(tmp_path / "ct")
    return tmp_path / "ct"


def test_dicom_objects_are_written_without_any_other_result(
    series: Path, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("scan", series, "--dicom-out", tmp_path / "objects", "--model", model_path) == 0
    assert {path.name for path in (tmp_path / "objects").glob("*.dcm")} == FILES
    assert "DICOM objects:" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"ct", "objects"}


def test_an_image_file_is_refused_before_anything_is_written(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sitk.WriteImage(phantom_image(), str(tmp_path / "ct.nrrd"))
    out = ("--out", tmp_path / "out", "--dicom-out", tmp_path / "objects", "--model", model_path)
    assert run("scan", tmp_path / "ct.nrrd", *out) == cli.FAILED
    said = capsys.readouterr().err
    assert "DICOM objects can be written only for a CT that was read from DICOM files" in said
    assert len(said.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nrrd"]


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ((), "Name a folder"),
        (("--out", "a", "--dicom-out", "a"), "must not be the same"),
        (("--out", "a", "--dicom-out", "a/b"), "must not be the same or lie in each other"),
        (("--out", "a/b", "--dicom-out", "a"), "must not be the same or lie in each other"),
    ],
)
def test_folders_that_do_not_go_together_are_refused(
    series: Path, folders: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("scan", series, *folders) == cli.FAILED
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_ct_of_an_archive_is_scanned_and_its_objects_are_sent_back(
    series: Path, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with web_archive() as archive:
        archive.add(series.iterdir())
        study = f"{archive.address}/studies/{archivedct.STUDY['StudyInstanceUID']}"
        back = ("--dicom-send", archive.address, "--model", model_path)
        assert run("scan", study, *back) == 0
        assert f"Sent 2 DICOM objects to 127.0.0.1:{archive.port}/web, which confirmed each" in capsys.readouterr().out
        assert len(archive.files) == 37
        assert run("scan", study, "--dicom-out", tmp_path / "objects", *back) == 0
        assert run("send", tmp_path / "objects", archive.address) == 0
        assert len(archive.files) == 37
        archive.status["store"] = 403
        capsys.readouterr()
        assert run("scan", study, *back) == cli.FAILED
        assert capsys.readouterr().err.startswith(f"The archive at 127.0.0.1:{archive.port}/web does not allow this")
