"""Many CTs into one CSV: found, scanned one by one, refused without an end, cancelled and continued without a loss."""

from __future__ import annotations

import csv
import locale
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import ModelFileError, NotAChestCTError, ScanCancelled, UnreadableInputError
from EmphysemaScannerLib.base.lock import lock_beside
from EmphysemaScannerLib.batch.batch import find_cts, find_masks, run_batch
from EmphysemaScannerLib.batch.row import COLUMNS, BatchError, BatchRow
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.commands.batch import batch
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.lungs.labelfiles import MaskFiles
from EmphysemaScannerLib.lungs.regions import LOBES
from EmphysemaScannerLib.models.modelheader import read_metadata
from EmphysemaScannerLib.report.outputfolder import FILE_LIST
from EmphysemaScannerLib.scan.call import Call
from EmphysemaScannerLib.scan.device import Device, Precision
from EmphysemaScannerLib.scan.result import ScanResult
from otherrun import holding
from phantom import phantom

LIBRARY = Path(cli.__file__).resolve().parents[2]


def write_dicom(folder: Path, series: str, modality: str = "CT", slices: int = 2) -> list[Path]:
    """A small DICOM series, one file a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    before = locale.setlocale(locale.LC_ALL)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(slices):
        image = sitk.Image(4, 4, 1, sitk.sitkInt16)
        tags = {
            "0008|0018": f"{series}.{k + 1}",
            "0008|0060": modality,
            "0020|000e": series,
            "0020|0032": f"0\\0\\{k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        paths.append(folder / f"{series}-{k}.dcm")
        writer.SetFileName(str(paths[-1]))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # writing positions to DICOM leaves the process in the locale C
    return paths


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def cts(tmp_path: Path) -> list[Path]:
    return [touch(tmp_path / "cts" / f"{name}.nrrd") for name in ("a", "b", "c")]


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch, make_result: Callable[..., ScanResult]) -> list[str]:
    """The CTs that were scanned; scans without the network's seconds, in which 'bad' is not a chest."""
    names: list[str] = []

    def scan_on(device: object, image: object, model: object, progress: Callable, source: str, **options: object):  # type: ignore[no-untyped-def]
        names.append(source)
        if source.startswith("bad"):
            raise NotAChestCTError("This is not a chest; choose a chest CT.")
        for k in range(4):
            progress(k / 4, f"slice {k + 1}")
        return make_result(source=source, warnings=("Slices are thick.", "Noise\nis high."))

    monkeypatch.setattr("EmphysemaScannerLib.batch.row.scan_on", scan_on)
    monkeypatch.setattr("EmphysemaScannerLib.batch.scanning.read_ct", lambda path: path)
    return names


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_image_files_and_dicom_series_are_found_at_any_depth(tmp_path: Path) -> None:
    top = tmp_path / "study"
    files = [touch(top / name) for name in ("b.nii.gz", "deep/er/a.nrrd", "deep/c.MHA")]
    for other in (
        "notes.txt",
        ".hidden.nrrd",
        ".cache/d.nrrd",
        "deep/c.raw",
        f"ours/{FILE_LIST}",
        "ours/evidence.nrrd",
    ):
        touch(top / other)
    write_dicom(top / "alone", "1.1")
    two = [write_dicom(top / "together", series)[0] for series in ("1.2", "1.3")]
    above = write_dicom(top / "above", "1.4")[0]
    write_dicom(top / "above" / "below", "1.5")
    write_dicom(top / "magnetic", "1.6", modality="MR")
    assert find_cts(top) == sorted([*files, top / "alone", *two, above, top / "above" / "below"])


def test_a_list_names_cts_from_its_own_folder_each_once(tmp_path: Path) -> None:
    listed = tmp_path / "lists" / "cohort.csv"
    listed.parent.mkdir()
    listed.write_text(f"volume,label\n../b.nrrd,1\n{tmp_path / 'a.nrrd'},0\n./../b.nrrd,1\n,\n")
    assert find_cts(listed) == [tmp_path / "b.nrrd", tmp_path / "a.nrrd"]


@pytest.mark.parametrize("name", ["list.csv", "LIST.CSV", "list.txt", "list.tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_a_list_is_read_however_it_was_saved(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_text("sep=;\r\nName;Volume \r\nx;é.nrrd\r\ny;b.nrrd\r\n", encoding=encoding)
    assert find_cts(tmp_path / name) == [tmp_path / "é.nrrd", tmp_path / "b.nrrd"]


def test_a_path_that_is_too_long_to_be_one_is_a_refused_ct(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"volume\n{'9' * 5000}\n")
    assert run_batch(find_cts(tmp_path / "list.csv"), tmp_path / "out.csv", model_path).refused == 1


def test_a_ct_has_one_name_through_whatever_folder_it_is_found(tmp_path: Path) -> None:
    touch(tmp_path / "cts" / "a.nrrd")
    (tmp_path / "other").mkdir()
    found = [tmp_path / "cts" / "a.nrrd"]
    assert find_cts(tmp_path / "cts") == found
    assert find_cts(tmp_path / "other" / ".." / "cts") == found
    assert find_cts(tmp_path / "other" / ".." / "cts" / "a.nrrd") == found
    touch(tmp_path / "far" / "b.nrrd")
    (tmp_path / "far" / "deep").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    assert find_cts(tmp_path / "link" / "..")[0].samefile(tmp_path / "far" / "b.nrrd")  # ".." of where the link leads


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("nothing", None, "no file or folder"),
        (".", None, "No CTs were found"),
        ("list.csv", "path\na.nrrd\n", "lacks the column volume"),
        ("list.csv", "volume\n\n", "lists no volumes"),
        ("list.csv", "volume,note\na.nrrd,x\n,y\n", "list.csv, line 3: the volume must not be empty"),
        ("list.csv", 'volume,note\na.nrrd,"open\nb.nrrd,x\n', "list.csv, line 2: this is not CSV"),
        ("list.csv", "\xff\0", "line 1: this is not text"),
    ],
)
def test_where_there_are_no_cts_one_sentence_says_so(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BatchError, match=says):
        find_cts(tmp_path / name)


def test_each_ct_gets_a_row_with_its_figures(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path, make_result: Callable[..., ScanResult]
) -> None:
    told: list[BatchRow] = []
    out = tmp_path / "new" / "out.csv"
    summary = run_batch(cts, out, model_path, on_row=told.append)
    rows = table(out)
    assert tuple(rows[0]) == COLUMNS
    assert [row["source"] for row in rows] == [str(path) for path in cts] == [row.source for row in told]
    result, row = make_result(), rows[1]
    assert float(row["probability"]) == result.probability
    assert (row["call"], row["call_reason"]) == (result.call.value, "")
    assert float(row["laa_950_percent"]) == result.densitometry["whole"].laa_950_percent
    assert float(row["operating_point"]) == 0.47
    assert row["warnings"] == "Slices are thick. | Noise is high."
    assert row["model"] == read_metadata(model_path)["sha256"]
    assert (summary.done, summary.refused, summary.kept) == (3, 0, 0)
    assert (summary.positive, summary.no_call) == (3 * (result.call is Call.POSITIVE), 0)
    assert str(summary).startswith("3 scanned")


def test_a_ct_without_a_call_says_why_and_is_counted(
    cts: list[Path],
    model_path: Path,
    tmp_path: Path,
    make_result: Callable[..., ScanResult],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = make_result(probability=0.1, coverage=Coverage(12.0, 0.0))
    monkeypatch.setattr("EmphysemaScannerLib.batch.row.scan_on", lambda *_, **__: cut)
    monkeypatch.setattr("EmphysemaScannerLib.batch.scanning.read_ct", lambda path: path)
    batch(tmp_path / "cts", tmp_path / "out.csv", model_path, Device.CPU, Precision.AUTO)
    row = table(tmp_path / "out.csv")[0]
    assert (row["call"], row["call_reason"]) == ("none", cut.call_reason)
    said = capsys.readouterr().out
    assert "a.nrrd: 10 %, no call" in said
    assert "3 scanned (0 positive, 3 without a call), 0 refused" in said


def test_a_ct_that_cannot_be_scanned_says_why_and_the_batch_goes_on(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    bad = touch(tmp_path / "cts" / "bad.nrrd")
    summary = run_batch([bad, *cts], tmp_path / "out.csv", model_path)
    first, *others = table(tmp_path / "out.csv")
    assert (first["status"], first["problem"]) == ("refused", "This is not a chest; choose a chest CT.")
    assert first["probability"] == first["call"] == first["call_reason"] == ""
    assert {row["status"] for row in others} == {"done"}
    assert (summary.done, summary.refused) == (3, 1)


@pytest.mark.parametrize("error", [RuntimeError("ITK ERROR:\n wrong"), MemoryError(), OSError(5, "disk")])
def test_not_even_an_error_of_a_library_ends_the_batch(
    cts: list[Path],
    scanned: list[str],
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def read(path: Path) -> Path:
        if path == cts[0]:
            raise error
        return path

    monkeypatch.setattr("EmphysemaScannerLib.batch.scanning.read_ct", read)
    assert run_batch(cts, tmp_path / "out.csv", model_path).refused == 1
    assert "could not be scanned" in table(tmp_path / "out.csv")[0]["problem"]


class Cancelled(Exception):
    """As the window's worker raises it out of ``progress``."""


@pytest.mark.parametrize(
    "wish", [Cancelled(), ScanCancelled("stop"), KeyboardInterrupt()], ids=lambda w: type(w).__name__
)
def test_cancelled_at_any_slice_only_the_running_ct_is_lost_and_the_next_run_goes_on_there(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path, wish: BaseException
) -> None:
    out = tmp_path / "out.csv"

    def cancel(fraction: float, stage: str) -> None:
        if "CT 2 of 3, b.nrrd: slice 3" in stage:
            raise wish

    with pytest.raises(type(wish)):
        run_batch(cts, out, model_path, progress=cancel)
    assert [row["source"] for row in table(out)] == [str(cts[0])]
    told: list[BatchRow] = []
    summary = run_batch(cts, out, model_path, on_row=told.append)
    assert scanned == ["a.nrrd", "b.nrrd", "b.nrrd", "c.nrrd"]
    assert [row.source for row in told] == [row["source"] for row in table(out)] == [str(path) for path in cts]
    assert summary.kept == 1
    assert "1 of them in an earlier run" in str(summary)


def test_after_a_kill_at_any_byte_every_ct_has_one_whole_row(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    run_batch(cts, tmp_path / "whole.csv", model_path)
    whole = (tmp_path / "whole.csv").read_bytes()
    header = whole.index(b"\n") + 1
    for size in [0, 5, header - 1, header, header + 7, len(whole) - 30, len(whole) - 1, len(whole)]:
        out = tmp_path / f"{size}.csv"
        out.write_bytes(whole[:size])
        run_batch(cts, out, model_path)
        rows = table(out)
        assert [row["source"] for row in rows] == [str(path) for path in cts]
        assert all(None not in row.values() and row["status"] == "done" for row in rows)


def test_rows_of_another_model_stay_and_its_cts_are_scanned_again(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    run_batch(cts[:1], out, model_path)
    monkeypatch.setattr("EmphysemaScannerLib.batch.batch.read_metadata", lambda path: {"sha256": "another"})
    summary = run_batch(cts[:1], out, model_path)
    assert summary.kept == 0
    assert [row["model"] for row in table(out)] == [read_metadata(model_path)["sha256"], "another"]


def replaced(path: Path) -> None:
    """Another file at the same path, later by more than any clock's step."""
    before = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(before, before + 10**9))


def test_a_ct_whose_file_changed_is_scanned_again_and_its_new_row_replaces_the_old_one(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    run_batch(cts, out, model_path)
    before = table(out)
    replaced(cts[1])
    summary = run_batch(cts, out, model_path)
    assert scanned[3:] == ["b.nrrd"]
    assert summary.kept == 2
    assert [row["source"] for row in table(out)] == [row["source"] for row in before]
    changed = [row for row, old in zip(table(out), before, strict=True) if row["input_state"] != old["input_state"]]
    assert [row["source"] for row in changed] == [str(cts[1])]
    assert run_batch(cts, out, model_path).kept == 3


def test_a_refused_ct_is_tried_again_when_its_file_changed_or_that_is_wanted(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, bad = tmp_path / "out.csv", touch(tmp_path / "cts" / "bad.nrrd")
    sources = [bad, *cts]
    run_batch(sources, out, model_path)
    assert run_batch(sources, out, model_path).refused_before == 1
    assert scanned.count("bad.nrrd") == 1
    summary = run_batch(sources, out, model_path, retry=True)
    assert (scanned.count("bad.nrrd"), len(scanned)) == (2, 5)
    assert (summary.kept, summary.refused, summary.refused_before) == (3, 1, 0)
    replaced(bad)
    run_batch(sources, out, model_path)
    assert (scanned.count("bad.nrrd"), len(scanned)) == (3, 6)
    assert [row["source"] for row in table(out)] == [str(path) for path in sources]


def test_a_ct_that_was_not_there_is_scanned_once_it_is_and_one_that_is_gone_keeps_its_answer(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> Path:
        if not path.exists():
            raise UnreadableInputError("There is no file.")
        return path

    monkeypatch.setattr("EmphysemaScannerLib.batch.scanning.read_ct", read)
    out, late = tmp_path / "out.csv", tmp_path / "cts" / "late.nrrd"
    assert run_batch([*cts, late], out, model_path).refused == 1
    touch(late)
    cts[0].unlink()
    summary = run_batch([*cts, late], out, model_path)
    assert (summary.done, summary.refused, summary.kept) == (4, 0, 3)
    assert len(table(out)) == 4


def test_rows_of_an_earlier_version_are_read_and_replaced_because_nobody_knows_of_which_file_they_are(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    model = read_metadata(model_path)["sha256"]
    out.write_text(
        "source,status,probability,operating_point,answer,laa_950_percent,perc15_hu,volume_l,warnings,problem,model,seconds\n"
        + "".join(f"{ct},done,0.9,0.47,positive,1.0,-900.0,4.0,,,{model},1.5\n" for ct in (*cts[:2], "/far/x.nrrd"))
    )
    summary = run_batch(cts, out, model_path)
    assert summary.kept == 0
    rows = table(out)
    assert tuple(rows[0]) == COLUMNS
    assert [row["source"] for row in rows] == [str(cts[0]), str(cts[1]), "/far/x.nrrd", str(cts[2])]
    assert (rows[2]["probability"], rows[2]["call"], rows[2]["input_state"]) == ("0.9", "positive", "")
    assert rows[0]["input_state"]
    assert run_batch(cts, out, model_path).kept == 3


def test_rows_that_a_killed_run_had_not_yet_replaced_are_removed_by_the_next_one(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    run_batch(cts, out, model_path)
    lines = out.read_text().splitlines()
    newer = lines[1].replace(",done,", ",refused,")
    out.write_text("\n".join([*lines, newer, ""]))
    assert run_batch(cts, out, model_path).refused_before == 1
    assert out.read_text() == "\n".join([lines[0], newer, *lines[2:], ""])


def test_a_cancelled_rescan_leaves_one_row_of_each_ct(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    run_batch(cts, out, model_path)
    for ct in cts:
        replaced(ct)

    def cancel(fraction: float, stage: str) -> None:
        if "CT 2 of 3" in stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        run_batch(cts, out, model_path, progress=cancel)
    assert sorted(row["source"] for row in table(out)) == [str(path) for path in cts]
    assert run_batch(cts, out, model_path).kept == 1


def test_a_table_that_another_run_writes_is_refused_and_nothing_is_scanned(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "out.csv")
    with holding(lock_beside(tmp_path / "real" / "out.csv")):
        for out in (tmp_path / "real" / "out.csv", tmp_path / "link.csv"):
            with pytest.raises(BatchError, match=f"Another run is writing '{out}'; wait until it ends"):
                run_batch(cts, out, model_path)
    assert scanned == []
    run_batch(cts, tmp_path / "link.csv", model_path)
    assert (tmp_path / "link.csv").is_symlink()
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["out.csv"]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "a thesis, without any rows", '"'])
def test_a_file_that_is_no_result_of_a_batch_is_left_alone(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path, text: str
) -> None:
    out = tmp_path / "out.csv"
    out.write_text(text)
    with pytest.raises(BatchError, match="not the result of a batch"):
        run_batch(cts, out, model_path)
    assert out.read_text() == text
    assert scanned == []


def test_where_nothing_can_be_written_nothing_is_scanned(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BatchError, match="cannot be written"):
        run_batch(cts, tmp_path / "file" / "out.csv", model_path)
    assert scanned == []


def test_a_model_that_cannot_scan_ends_the_batch_before_a_row_is_written(
    cts: list[Path], model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelFileError("Scanning needs a conv_lstm model.")

    monkeypatch.setattr("EmphysemaScannerLib.batch.row.scan_on", refuse)
    monkeypatch.setattr("EmphysemaScannerLib.batch.scanning.read_ct", lambda path: path)
    with pytest.raises(ModelFileError):
        run_batch(cts, tmp_path / "out.csv", model_path)
    assert table(tmp_path / "out.csv") == []


def test_progress_counts_over_the_whole_batch(
    cts: list[Path], scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    shares: list[float] = []
    run_batch(cts, tmp_path / "out.csv", model_path, progress=lambda fraction, stage: shares.append(fraction))
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx((2 + 3 / 4) / 3)


@pytest.fixture
def folder(tiny_chest: sitk.Image, tmp_path: Path) -> Path:
    (tmp_path / "cts").mkdir()
    sitk.WriteImage(tiny_chest, str(tmp_path / "cts" / "chest.nrrd"))
    (tmp_path / "cts" / "not a CT.nrrd").write_text("text")
    return tmp_path / "cts"


def test_the_command_scans_a_folder_and_says_what_came_out(
    folder: Path, model_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    command = ["batch", str(folder), "--out", str(out), "--model", str(model_path), "--device", "cpu"]
    for options in ([], [], ["--retry"]):
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, *options])
        assert ended.value.code == 0
    said = capfd.readouterr().out
    assert "1 scanned" in said
    assert "2 of them in an earlier run" in said
    assert said.count("Refused in an earlier run and unchanged since: 1; --retry scans them again.") == 1
    assert "1 of them in an earlier run" in said
    assert "Research use only" in said
    tiny_chest, text = table(out)
    assert 0 < float(tiny_chest["probability"]) < 1
    assert not math.isnan(float(tiny_chest["volume_l"]))
    assert "damaged" in text["problem"]


def test_the_window_can_import_it_without_torch_or_matplotlib() -> None:
    code = (
        "import sys\n"
        "import EmphysemaScannerLib.batch.batch\n"
        "heavy = {'torch', 'safetensors', 'matplotlib', 'sklearn', 'rich', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_each_file_is_read_once_and_several_processes_write_the_same_rows(
    cts: list[Path], model_path: Path, tmp_path: Path, processes: int
) -> None:
    """The files of this test are no CTs, which each process finds out by itself."""
    counts: list[str] = []
    out = tmp_path / "out.csv"
    summary = run_batch(cts, out, model_path, processes=processes, progress=lambda _, said: counts.append(said))
    assert (summary.done, summary.refused) == (0, len(cts))
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["source"] for row in rows) == sorted(map(str, cts))
    assert all("damaged" in row["problem"] for row in rows)
    assert counts
    assert run_batch(cts, out, model_path, processes=processes).kept == len(cts)


def test_a_cancelled_batch_of_processes_ends_and_goes_on_later(
    cts: list[Path], model_path: Path, tmp_path: Path
) -> None:
    def cancel(fraction: float, stage: str) -> None:
        if "are done" in stage:
            raise ScanCancelled

    with pytest.raises(ScanCancelled):
        run_batch(cts, tmp_path / "out.csv", model_path, processes=2, progress=cancel)
    assert run_batch(cts, tmp_path / "out.csv", model_path).refused == len(cts)


def test_a_list_names_label_files_from_its_own_folder(tmp_path: Path) -> None:
    for name in ("a", "b", "lungs", "lobes"):
        touch(tmp_path / f"{name}.nrrd")
    listed = tmp_path / "list.csv"
    listed.write_text("volume,lungs,Lobes,lobe_labels\na.nrrd,lungs.nrrd,lobes.nrrd,1=right_upper_lobe\nb.nrrd,,,\n")
    expected = MaskFiles(tmp_path / "lungs.nrrd", tmp_path / "lobes.nrrd", "", "1=right_upper_lobe")
    assert find_masks(listed) == {tmp_path / "a.nrrd": expected}
    assert find_masks(tmp_path) == find_masks(tmp_path / "a.nrrd") == {}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("a.nrrd,none.nrrd,", r"line 2: there is no label file 'none\.nrrd'"),
        ("a.nrrd,,1=right_lung", "line 2: .*belong to no file"),
        ("a.nrrd,a.nrrd,1=liver", "line 2: '1=liver' does not name a label"),
        ("a.nrrd,a.nrrd,\na.nrrd,,", "line 3: this CT is listed before with other label files"),
    ],
)
def test_a_list_with_wrong_label_files_is_refused_by_its_line(tmp_path: Path, rows: str, sentence: str) -> None:
    touch(tmp_path / "a.nrrd")
    (tmp_path / "list.csv").write_text(f"volume,lungs,lung_labels\n{rows}\n")
    with pytest.raises(BatchError, match=sentence):
        find_masks(tmp_path / "list.csv")


def test_a_batch_measures_lobes_and_scans_again_when_a_label_file_has_changed(
    tmp_path: Path, tiny_chest: sitk.Image, model_path: Path
) -> None:
    _, labels = phantom()
    k = np.arange(len(labels))[:, None, None]
    parts = np.where(
        labels == 1, np.select([k > 44, k > 31], [3, 4], 5), np.where(labels == 2, np.where(k > 37, 1, 2), 0)
    )
    image = sitk.GetImageFromArray(parts.astype(np.uint8))
    image.CopyInformation(tiny_chest)
    ct, lobes, out = (tmp_path / name for name in ("ct.nrrd", "lobes.nrrd", "out.csv"))
    sitk.WriteImage(tiny_chest, str(ct))
    sitk.WriteImage(image, str(lobes))
    masks = {ct: MaskFiles(lobes=lobes)}
    assert run_batch([ct], out, model_path, masks=masks).done == 1
    (row,) = table(out)
    assert (row["lung_mask"], row["lobe_mask"]) == ("file", "file")
    volumes = [float(row[f"{lobe.value}_volume_l"]) for lobe in LOBES]
    assert sum(volumes) == pytest.approx(float(row["volume_l"]))
    assert sum(float(row[f"{lobe.value}_evidence_share_percent"]) for lobe in LOBES) == pytest.approx(100, abs=0.1)
    rows: list[BatchRow] = []
    assert run_batch([ct], out, model_path, masks=masks, on_row=rows.append).kept == 1
    assert [rows[0].lobes[f"{lobe.value}_volume_l"] for lobe in LOBES] == pytest.approx(volumes)
    assert run_batch([ct], out, model_path).kept == 0  # without the label file it is another question
    assert table(out)[0]["right_upper_lobe_volume_l"] == ""
    lobes.write_bytes(b"no image")
    assert run_batch([ct], out, model_path, masks=masks).refused == 1
    assert "label file" in table(out)[0]["problem"]
