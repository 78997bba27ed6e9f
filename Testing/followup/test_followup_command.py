"""``followup`` on DICOM series and image files: dates and patients are read, and what makes no follow-up is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import archivedct
import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.archive.source import ArchiveError
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.ct.reading import CT, read_ct
from EmphysemaScannerLib.followup.scanning import read_series
from EmphysemaScannerLib.followup.technique import technique_of
from EmphysemaScannerLib.followup.timepoint import FollowUpError
from EmphysemaScannerLib.lungs.registration import Registration, RegistrationQuality
from EmphysemaScannerLib.scan.result import ScanResult
from webarchive import WebArchive, web_archive


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


def test_one_of_several_series_is_chosen_in_each_folder_and_files_are_of_their_own(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    series = {"SeriesDescription": "lung", "SeriesInstanceUID": "1.2.4.1"}
    for name, day, denser in (("before", "20240105", 0), ("after", "20260105", 9)):
        write(f"{name}/lung", denser, StudyDate=day, **series)
        write(f"{name}/other", denser + 30, StudyDate=day, SeriesDescription="other", SeriesInstanceUID="1.2.4.2")
    before, after = tmp_path / "before", tmp_path / "after"
    with pytest.raises(EmphysemaScannerError, match="2 equally good CT series; choose one with --series"):
        read_series([str(before), str(after)], "", False)
    file = min((before / "other").iterdir())
    for places in ([before, after], [file, after]):
        first, second = read_series(list(map(str, places)), "", False, chosen="lung")
        for read, folder in ((first, "other" if places[0] == file else "lung"), (second, "lung")):
            assert {s.path.parent.name for s in read.ct.volume.slices} == {folder}


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


# -- registrations -------------------------------------------------------------------------------------------------


def test_a_registration_that_is_poor_is_warned_of_in_the_terminal_and_in_the_files(
    write: Callable[..., Path],
    model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def register(fixed: sitk.Image, *_others: object) -> Registration:
        """Both CTs lie where the phantom does, so nothing moves."""
        grid, poor = Grid.of_image(fixed), RegistrationQuality(0.85, 0.15, 2.5, 4.4)
        return Registration(sitk.Transform(3, sitk.sitkIdentity), grid, np.ones(grid.shape, np.float32), grid, poor)

    monkeypatch.setattr("EmphysemaScannerLib.followup.changemap.register", register)
    before, after, out = write("before", StudyDate="20240105"), write("after", 9), tmp_path / "out"
    assert run("followup", before, after, "--out", out, "--model", model_path) == 0
    told = " ".join(capsys.readouterr().out.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    page = (out / "followup.html").read_text()
    found = json.loads((out / "followup.json").read_text())["comparisons"][0]["map"]
    doubts = (
        "overlap poorly after registration (Dice 0.85)",
        "check that both CTs are of the same patient",
        "folds 2.5 % of the lungs",
        "differ by more than 4.4 mm",
    )
    for doubt, written in zip(doubts, found["registration"]["warnings"], strict=True):
        assert all(doubt in text for text in (told, page, written))
    assert all("Registration of 2024-01-05 and 2025-01-02" in text for text in (told, page))
    assert found["mean_change_g_per_l"] == pytest.approx(9, abs=0.5)  # a doubtful map is there all the same


# -- archives ------------------------------------------------------------------------------------------------------

EARLY, LATE = "1.2.826.0.1.3680043.2.1143.11", "1.2.826.0.1.3680043.2.1143.12"


@pytest.fixture
def archive(write: Callable[..., Path]) -> Iterator[WebArchive]:
    """Two studies of one patient."""
    with web_archive() as archive:
        for folder in (
            write("early", StudyInstanceUID=EARLY, StudyDate="20240105"),
            write("late", 9, StudyInstanceUID=LATE, StudyDate="20260107"),
        ):
            archive.add(folder.iterdir())
        yield archive


def studies(archive: WebArchive, *uids: str) -> list[str]:
    return [f"{archive.address}/studies/{uid}" for uid in uids]


def test_a_folder_is_compared_with_a_study_of_an_archive(archive: WebArchive, model_path: Path, tmp_path: Path) -> None:
    options = ("--no-maps", "--named", "--out", tmp_path / "out", "--model", model_path)
    assert run("followup", tmp_path / "early", *studies(archive, LATE), *options) == 0
    with (tmp_path / "out" / "values.csv").open(newline="") as file:
        rows = [(row["date"], row["ct"]) for row in csv.DictReader(file)]
    assert rows == [("2024-01-05", "early"), ("2026-01-07", LATE)]


def test_cts_are_read_from_an_archive_as_from_folders_and_no_copy_of_them_stays(
    archive: WebArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "passing"))
    told: list[float] = []
    there = read_series(studies(archive, EARLY, LATE), "", False, lambda share, _stage: told.append(share))
    here = read_series([str(tmp_path / "early"), str(tmp_path / "late")], "", False)
    assert list((tmp_path / "passing").iterdir()) == []
    for copied, original in zip(there, here, strict=True):
        assert sitk.Hash(copied.ct.image) == sitk.Hash(original.ct.image)
        assert (copied.taken, copied.name) == (original.taken, original.name)
        assert repr(copied.technique) == repr(original.technique)  # NaN where nothing is stated
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize(
    ("second", "status", "words"),
    [
        ("/studies/one", {}, "is no address of a study or a series in an archive"),
        ("", {}, "names an archive but no study"),
        ("/studies/1.2.9", {}, "holds no such study"),
        (f"/studies/{LATE}/series/1.2.9", {}, "holds no such series"),
        (f"/studies/{LATE}", {"retrieve": 401}, "wants a user and a password"),
        (f"/studies/{EARLY}", {}, f"'{EARLY}' and '{EARLY}' have the same date"),
    ],
    ids=["no address", "no study", "unknown study", "unknown series", "refused", "twice"],
)
def test_an_address_that_gives_no_follow_up_is_refused_in_a_sentence(
    archive: WebArchive, second: str, status: dict[str, int], words: str
) -> None:
    archive.status = status
    with pytest.raises(EmphysemaScannerError, match=re.escape(words)) as error:
        read_series([*studies(archive, EARLY), f"{archive.address}{second}"], "", False)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("more", "words"), [(["dicomweb://"], "'dicomweb://' is no address"), ([], "needs two or more CTs")]
)
def test_nothing_is_copied_where_an_address_is_wrong_or_there_is_one_only(
    archive: WebArchive,
    model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: str,
) -> None:
    places, out = (*studies(archive, EARLY), *more), tmp_path / "out"
    assert run("followup", *places, "--out", out, "--model", model_path) == cli.FAILED
    told = capsys.readouterr().err
    assert words in told
    assert len(told.splitlines()) == 1
    assert archive.requests == []
    assert not out.exists()


def test_another_patients_ct_and_a_copy_that_breaks_off_are_refused(
    archive: WebArchive, write: Callable[..., Path]
) -> None:
    archive.add(write("stranger", 5, StudyInstanceUID="1.2.8", StudyDate="20270101", PatientID="PID-9").iterdir())
    with pytest.raises(FollowUpError, match=f"'{EARLY}' and '1.2.8' are CTs of different patients"):
        read_series(studies(archive, EARLY, "1.2.8"), "", False)
    archive.sent = lambda k, content: None if k == 5 else content
    with pytest.raises(ArchiveError, match="sent 5 of the 35 slices"):
        read_series(studies(archive, EARLY, LATE), "", False)
