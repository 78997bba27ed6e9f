"""``followup`` on DICOM series and image files: dates and patients are read, and what makes no follow-up is refused."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import archivedct
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.ct.reading import CT, read_ct
from EmphysemaScannerLib.followup.technique import technique_of
from EmphysemaScannerLib.scan.result import ScanResult


def run(*arguments: object) -> int:
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code if isinstance(ended.value.code, int) else 0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, make_result: Callable[..., ScanResult]) -> None:
    """A scan without the network's seconds."""

    def scan_on(_d: object, ct: CT, _m: object, _p: object, source: str, _precision: object) -> ScanResult:
        return dataclasses.replace(archivedct.result_on(ct, make_result()), source=source)

    monkeypatch.setattr("EmphysemaScannerLib.scan.device.scan_on", scan_on)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A CT series of a day, denser by some HU than others."""

    def one(name: str, denser_hu: int = 0, **changes: object) -> Path:
        image = sitk.Cast(archivedct.small_phantom() + denser_hu, sitk.sitkInt16)
        archivedct.write_series(tmp_path / name, image, **changes)
        return tmp_path / name

    return one


def test_two_series_are_ordered_and_dated_by_their_files_and_named_by_nobody(
    write: Callable[..., Path], model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = write("before", StudyDate="20240105"), write("after", 9, AcquisitionDate="20260107")
    assert run("followup", after, before, "--no-maps", "--out", tmp_path / "out", "--model", model_path) == 0
    with (tmp_path / "out" / "values.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["date"] for row in rows] == ["2024-01-05", "2026-01-07"]
    assert rows[1]["days"] == "733"
    said = capsys.readouterr().out
    for text in (said, *(path.read_text(errors="ignore") for path in (tmp_path / "out").iterdir())):
        assert not [name for name in ("Müller", "PID-4711", "19640812", "ACC-0815") if name in text]
    assert "another order" in " ".join(said.split())


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"PatientID": "PID-1"}, (), "CTs of different patients"),
        ({}, (), "have the same date (2025-01-02)"),
        ({"StudyDate": None}, (), "The date of 'after' is not known; give the dates of all CTs with --dates"),
        ({}, ("--dates", "2024-01-05"), "There are 2 CTs but 1 dates"),
        ({}, ("--dates", "2024-01-05,2024-13-05"), "'2024-13-05' is not a date"),
    ],
    ids=["another patient", "one date", "no date", "too few dates", "no such date"],
)
def test_what_makes_no_follow_up_ends_with_a_sentence_before_any_scan(
    write: Callable[..., Path],
    model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    options: tuple[str, ...],
    said: str,
) -> None:
    before, after = write("before"), write("after", 9, **changes)
    out = tmp_path / "out"
    assert run("followup", before, after, "--out", out, "--model", model_path, *options) == cli.FAILED
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_ct_given_twice_is_recognised_by_its_voxels(
    write: Callable[..., Path], model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = write("one"), write("two", StudyDate="20260105")
    assert run("followup", *same, "--no-maps", "--out", tmp_path / "out", "--model", model_path) == cli.FAILED
    assert "are the same CT, voxel by voxel" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_technique_is_read_as_the_files_state_it_and_damaged_values_count_as_not_stated(
    write: Callable[..., Path],
) -> None:
    stated = {"ManufacturerModelName": "Seven", "ConvolutionKernel": "B30f", "CTDIvol": 3.5, "ContrastBolusAgent": "x"}
    current = {"XRayTubeCurrent": lambda k: str(100 + k), "ExposureTime": "500"}
    found = technique_of(read_ct(write("ct", **stated, **current)).volume)
    assert found.taken is not None
    assert (found.taken.isoformat(), found.scanner) == ("2025-01-02", "A maker of scanners Seven")
    assert (found.kernel, found.ctdi_mgy, found.contrast_agent, found.tube_kv) == ("B30f", 3.5, "x", 120.0)
    assert 50 < found.exposure_mas < 68
    other = write("other", KVP="0", Exposure="-3")
    for path in other.iterdir():
        path.write_bytes(path.read_bytes().replace(b"20250102", b"2025XX02"))
    damaged = technique_of(read_ct(other).volume)
    assert damaged.taken is None
    assert not damaged.tube_kv > 0
    assert not damaged.exposure_mas > 0
