"""Killed, out of disk, out of memory: no file is half-written, nothing is lost but the running item.

A killed training is in test_kill.py, cancelling at each stage in test_scan.py and test_batch.py.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import functools
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.batch.batch import run_batch
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import CohortRow, read_manifest, write_manifest
from EmphysemaScannerLib.ct.reading import CT
from EmphysemaScannerLib.evaluation.evaluation import Inference
from EmphysemaScannerLib.evaluation.predict import predict_cohort
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.report.contents import Case
from EmphysemaScannerLib.report.outputfolder import FILE_LIST, OutputFolderError, whole_or_nothing
from EmphysemaScannerLib.report.saving import Kind, save_case, write
from EmphysemaScannerLib.scan.device import Device, scan_on
from EmphysemaScannerLib.scan.result import ScanResult
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import result_to_json
from everymodel import model_of
from killpoints import forked
from phantom import phantom_image
from tinycohort import grids_through, write_cohort

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="only systems with fork can kill so often")


def write_results(folder: Path, probability: float) -> None:
    """Some files of one scan, all of which say which."""
    with whole_or_nothing(folder) as working:
        (working / "sub").mkdir()
        for name in ("a.txt", "b.txt", "sub/c.txt"):
            (working / name).write_text(str(probability))


def results_in(folder: Path) -> set[str]:
    """What the files of a folder say; empty if there are none. Whatever is there must be whole."""
    if not folder.exists():
        return set()
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {FILE_LIST, "a.txt", "b.txt", "sub/c.txt"}
    return {(folder / name).read_text() for name in names - {FILE_LIST}}


@posix
def test_a_folder_of_results_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    points = forked(lambda: write_results(tmp_path / "try" / "out", 0.1), tmp_path)
    assert points > 5
    for point in range(1, points + 1):
        out = tmp_path / str(point) / "out"
        assert forked(lambda out=out: write_results(out, 0.1), tmp_path, point) == -1
        assert results_in(out) in (set(), {"0.1"})
        write_results(out, 0.2)
        assert results_in(out) == {"0.2"}


@posix
def test_replaced_results_are_the_old_or_the_new_ones_or_set_aside_whenever_their_writer_is_killed(
    tmp_path: Path,
) -> None:
    write_results(tmp_path / "try" / "out", 0.1)
    points = forked(lambda: write_results(tmp_path / "try" / "out", 0.2), tmp_path)
    seen = set()
    for point in range(1, points + 1):
        out = tmp_path / str(point) / "out"
        write_results(out, 0.1)
        assert forked(lambda out=out: write_results(out, 0.2), tmp_path, point) == -1
        there = results_in(out)
        assert there in (set(), {"0.1"}, {"0.2"})
        if not there:  # between two renames: the old ones are beside it
            (aside,) = out.parent.glob(".out-*-before.part")
            assert results_in(aside) == {"0.1"}
        seen |= there
        write_results(out, 0.3)
        assert results_in(out) == {"0.3"}
    assert seen == {"0.1", "0.2"}


def test_results_that_cannot_be_moved_into_place_leave_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_results(out, 0.1)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if Path(target) == out and "before" not in path.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output"):
        write_results(out, 0.2)
    assert results_in(out) == {"0.1"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_results_in_a_folder_that_cannot_be_renamed_are_replaced_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_results(out, 0.1)
    rename = Path.rename

    def mounted(path: Path, target: Path) -> Path:
        if path == out:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", mounted)
    write_results(out, 0.2)
    assert results_in(out) == {"0.2"}


def test_what_a_killed_run_left_behind_is_removed_a_day_later(tmp_path: Path) -> None:
    for name, age_s in ((".out-123.part", 100_000), (".out-456.part", 60), (".other-1.part", 100_000)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    write_results(tmp_path / "out", 0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other-1.part", ".out-456.part", "out"]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    model = model_of("conv_lstm")
    modelfile.save(path, model.network, model.card)
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """CTs, one of which is none."""
    folder = tmp_path_factory.mktemp("cts")
    for k in range(5):
        image = phantom_image() + k
        image.CopyInformation(phantom_image())
        sitk.WriteImage(image, str(folder / f"{k}.nrrd"))
    (folder / "3.nrrd").write_text("no CT")
    return sorted(folder.iterdir())


WORKS = ("save_model", "write_manifest", "predict", "batch", "save_case")


def work_of(name: str, folder: Path, model: Path, cts: list[Path], old: bool = False) -> None:
    """One piece of work in a folder; ``old`` ones came before."""
    torch.set_num_threads(1)
    if name == "save_model":
        loaded = modelfile.load(model)
        modelfile.save(folder / "m.safetensors", loaded.network, dataclasses.replace(loaded.card, name=str(old)))
    elif name == "write_manifest":
        write_manifest(folder / "m.csv", [CohortRow(folder / f"{k}.nrrd", k % 2, f"{old}{k}") for k in range(50)])
    elif name == "predict":
        kept = Inference(cache=VolumeCache(folder / "cache"))
        predict_cohort([model], folder.parent / "cohort" / "manifest.csv", folder / "p.csv", inference=kept)
    elif name == "batch":
        run_batch(cts, folder / "b.csv", model, Device.CPU, on_row=lambda row: note(folder / "told", row.source))
    else:
        result = dataclasses.replace(scanned(), source="old" if old else "new")
        save_case(Case(phantom_image(), result), folder / "out", {Kind.CSV, Kind.OVERLAYS})


def note(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(f"{text}\n")


@functools.cache
def scanned() -> ScanResult:
    return scan(phantom_image(), model_of("conv_lstm"))


def check(name: str, folder: Path, model: Path, cts: list[Path]) -> None:
    """What is there is whole, and the same work ends well, with nothing done twice or lost."""
    if name == "save_model" and (folder / "m.safetensors").exists():
        modelfile.load(folder / "m.safetensors")
    if name == "write_manifest" and (folder / "m.csv").exists():
        assert len(read_manifest(folder / "m.csv")) == 50
    told = (folder / "told").read_text().splitlines() if (folder / "told").exists() else []
    if name == "batch" and told:
        with (folder / "b.csv").open(newline="") as file:
            kept = [row["source"] for row in csv.DictReader(file) if row["seconds"]]
        assert set(told) <= set(kept)  # what was told is on the disk
    work_of(name, folder, model, cts)
    if name == "batch":
        with (folder / "b.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert sorted(row["source"] for row in rows) == sorted(map(str, cts))
        assert [row["status"] for row in rows].count("done") == len(cts) - 1
    if name == "predict":
        with (folder / "p.csv").open(newline="") as file:
            assert [row["status"] for row in csv.DictReader(file)] == ["done"] * 4
    if name == "save_case":
        assert {path.name for path in (folder / "out").iterdir()} >= {"slices.csv", "densitometry.csv", "evidence.nrrd"}


def cohort_in(folder: Path) -> None:
    write_cohort(folder / "cohort", (4, 32, 32), train=2, tune=2)


@posix
@pytest.mark.parametrize("name", WORKS)
def test_work_that_is_killed_at_any_change_of_a_file_leaves_whole_files_and_goes_on(
    name: str, small_model: Path, many: list[Path], tmp_path: Path
) -> None:
    kill_everywhere(name, small_model, many, tmp_path, most=8)


@posix
@pytest.mark.soak
@pytest.mark.parametrize("name", WORKS)
def test_work_that_is_killed_at_every_change_of_a_file_leaves_whole_files_and_goes_on(
    name: str, small_model: Path, many: list[Path], tmp_path: Path
) -> None:
    kill_everywhere(name, small_model, many, tmp_path, most=10**6)


def kill_everywhere(name: str, model: Path, cts: list[Path], tmp_path: Path, most: int) -> None:
    torch.set_num_threads(1)
    scanned()  # the processes that branch off need not
    cohort_in(tmp_path)
    whole = tmp_path / "whole"
    whole.mkdir()
    points = forked(lambda: work_of(name, whole, model, cts), tmp_path)
    assert points >= 3
    chosen = sorted(random.Random(0).sample(range(1, points + 1), min(points, most)))
    for point in chosen:
        folder = tmp_path / f"at-{point}"
        folder.mkdir()
        if name in ("save_model", "write_manifest", "save_case"):
            work_of(name, folder, model, cts, old=True)
        assert forked(lambda folder=folder: work_of(name, folder, model, cts), tmp_path, point) == -1
        check(name, folder, model, cts)
        shutil.rmtree(folder)
    print(f"{name}: killed at {len(chosen)} of {points} changes of files")


def limited(work: Callable[[], None], most_bytes: int) -> None:
    """Run work in which no file may grow beyond a size, as on a full disk; what it may raise is an OSError's kin."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file size")
@pytest.mark.parametrize("name", WORKS)
def test_a_disk_that_is_full_at_any_moment_ends_work_in_a_sentence_and_leaves_whole_files(
    name: str, small_model: Path, many: list[Path], tmp_path: Path
) -> None:
    cohort_in(tmp_path)
    cts = [many[0], many[3]]
    work_of(name, (whole := tmp_path / "whole").mkdir() or whole, small_model, cts)
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    refused = 0
    for size in sorted({0, 10, largest // 7, largest // 2, largest - 1}):
        folder = tmp_path / f"up-to-{size}"
        folder.mkdir()
        if name in ("save_model", "write_manifest", "save_case"):
            work_of(name, folder, small_model, cts, old=True)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        try:
            limited(lambda folder=folder: work_of(name, folder, small_model, cts), size)
        except (OSError, EmphysemaScannerError, RuntimeError):  # RuntimeError is ITK's
            refused += 1
            if before:
                assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        if name in ("predict", "batch"):
            check(name, folder, small_model, cts)
    assert refused >= (2 if name in ("save_model", "write_manifest", "save_case") else 1)


def test_a_cache_on_a_full_disk_is_only_slower(tmp_path: Path) -> None:
    cohort_in(tmp_path)
    row = read_manifest(tmp_path / "cohort" / "manifest.csv")[0]
    grid = Preprocessing((4, 32, 32))
    sound = VolumeCache(tmp_path / "sound").grid_hu(row.volume, grid)
    for size in (0, 20, 1000):
        cache = VolumeCache(tmp_path / str(size))
        found: list[np.ndarray] = []
        limited(lambda cache=cache, found=found: found.append(cache.grid_hu(row.volume, grid)), size)
        np.testing.assert_array_equal(found[0], sound)
        np.testing.assert_array_equal(VolumeCache(tmp_path / str(size)).grid_hu(row.volume, grid), sound)


@pytest.mark.parametrize("name", ["save_model", "write_manifest", "batch", "predict", "save_case"])
def test_a_folder_that_cannot_be_written_is_one_sentence(
    name: str, small_model: Path, many: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the tests may be allowed everything, so the system's refusal is put in its place."""
    cohort_in(tmp_path)
    folder = tmp_path / "read-only"
    folder.mkdir()
    opened, made = Path.open, Path.mkdir

    def refuse(path: Path) -> None:
        if path.is_relative_to(tmp_path) and not path.is_relative_to(tmp_path / "cohort"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def open_(path: Path, mode: str = "r", *arguments: object, **named: object) -> object:
        if set(mode) & set("wax+"):
            refuse(path)
        return opened(path, mode, *arguments, **named)

    def mkdir(path: Path, *arguments: object, **named: object) -> None:
        if not path.is_dir():
            refuse(path)
        made(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises((EmphysemaScannerError, OSError), match="Permission denied"):
        work_of(name, folder, small_model, many[:1])
    assert list(folder.rglob("*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such ownership")
def test_results_beside_which_nothing_can_be_written_are_written_into_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mount" / "out"
    write_results(out, 0.1)
    made = Path.mkdir

    def mkdir(path: Path, *arguments: object, **named: object) -> None:
        if path.parent == out.parent:
            raise PermissionError(errno.EACCES, "Permission denied")
        made(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    write_results(out, 0.2)
    assert results_in(out) == {"0.2"}
    with pytest.raises(OutputFolderError, match="Nothing can be written"):
        write_results(tmp_path / "mount" / "new", 0.3)


def test_a_scan_that_a_gpu_has_too_little_memory_for_is_made_on_the_cpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The memory is used up after a few slices; the CPU's answer is the same as without a GPU."""
    model, image = model_of("conv_lstm"), phantom_image()
    expected = scan(image, model)
    moved, told = [], []
    monkeypatch.setattr(model.network, "to", lambda device: moved.append(str(device)))

    def progress(fraction: float, stage: str) -> None:
        told.append(fraction)
        if moved[-1] == "cuda" and fraction > 0.8:
            raise torch.OutOfMemoryError("CUDA out of memory")

    result = scan_on(torch.device("cuda"), CT(image), model, progress, "CT")
    assert moved == ["cuda", "cpu"]
    assert result.logit == expected.logit
    assert "too little memory" in result.warnings[-1]


def test_processes_share_a_cache_that_another_clears_all_the_time(tmp_path: Path) -> None:
    cohort_in(tmp_path)
    manifest = tmp_path / "cohort" / "manifest.csv"
    expected = grids_through(tmp_path / "own", manifest, 1)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        reading = [pool.apply_async(grids_through, (tmp_path / "shared", manifest, 10)) for _ in range(2)]
        cleared = 0
        deadline = time.monotonic() + 120
        while not all(one.ready() for one in reading) and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # another has just written into it
                cleared += VolumeCache(tmp_path / "shared").clear() > 0
            time.sleep(0.005)
        assert cleared
        for one in reading:
            assert one.get(timeout=120) == expected * 10


@posix
@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("batch", 5),
        pytest.param("batch", 150, marks=pytest.mark.soak),
        pytest.param("scan", 150, marks=pytest.mark.soak),
    ],
)
def test_work_that_is_killed_at_random_moments_loses_nothing_but_the_running_item(
    name: str, kills: int, small_model: Path, many: list[Path], tmp_path: Path
) -> None:
    """One piece of work is killed again and again until it is done, then the next one."""
    torch.set_num_threads(1)
    draw, done, killed = random.Random(kills), 0, 0
    begun = time.monotonic()
    run_scan_or_batch(name, tmp_path / "whole", small_model, many)
    whole_s = time.monotonic() - begun
    while killed < kills:
        folder = tmp_path / str(done)
        before = 0
        while killed < kills:
            work = functools.partial(run_scan_or_batch, name, folder, small_model, many)
            if forked(work, folder, after_s=draw.uniform(0, 1.2 * whole_s)) >= 0:
                break
            killed += 1
            if name == "batch":
                told = (folder / "told").read_text().splitlines() if (folder / "told").exists() else []
                rows = set(told)
                assert len(rows) >= before
                before = len(rows)
                if told:
                    with (folder / "b.csv").open(newline="") as file:
                        assert rows <= {row["source"] for row in csv.DictReader(file)}
            elif (folder / "out").exists():
                modelled = json.loads((folder / "out" / "result.json").read_text())
                assert modelled["probability"] == scanned().probability
                listed = (folder / "out" / FILE_LIST).read_text().splitlines()
                assert all((folder / "out" / file).is_file() for file in listed)
        run_scan_or_batch(name, folder, small_model, many)
        if name == "batch":
            with (folder / "b.csv").open(newline="") as file:
                assert sorted(row["source"] for row in csv.DictReader(file)) == sorted(map(str, many))
        done += 1
    print(f"{name}: killed {killed} times in {done} runs")


def run_scan_or_batch(name: str, folder: Path, model: Path, cts: list[Path]) -> None:
    folder.mkdir(exist_ok=True)
    if name == "batch":
        work_of("batch", folder, model, cts)
        return
    image = phantom_image()
    result = scan(image, modelfile.load(model))
    with whole_or_nothing(folder / "out") as working:
        (working / "result.json").write_text(result_to_json(result))
        for kind in (Kind.CSV, Kind.OVERLAYS):
            write(kind, Case(image, result), working)
