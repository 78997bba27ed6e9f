"""Batches shared out to processes that end at any moment, here and by dask.distributed: one row a CT all the same."""

from __future__ import annotations

import csv
import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import deadly
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import MissingPackageError
from EmphysemaScannerLib.batch.batch import run_batch
from EmphysemaScannerLib.batch.cluster import cluster
from EmphysemaScannerLib.batch.engine import Engine, process_pool, rows_of
from EmphysemaScannerLib.batch.parquet import write_parquet
from EmphysemaScannerLib.batch.row import DONE, REFUSED, BatchError, BatchRow
from EmphysemaScannerLib.batch.source import Source
from EmphysemaScannerLib.commands.batch import batch
from EmphysemaScannerLib.scan.device import Device, Precision

Started = AbstractContextManager[Engine[Source, BatchRow]]

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="dask.distributed is not installed (pip install 'emphysema-scanner[cluster]')",
)


def refused(source: Source, problem: str) -> BatchRow:
    return BatchRow(str(source.path), REFUSED, problem=problem)


def ignore(done: int, at_a_time: int) -> None:
    pass


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(lambda: process_pool(deadly.scan, 2), id="processes"),
        pytest.param(lambda: cluster(deadly.scan, "local", 2), id="dask", marks=needs_dask),
    ],
)
def test_whatever_ends_every_ct_has_one_row_and_only_the_one_to_blame_is_refused(
    start: Callable[[], Started], tmp_path: Path
) -> None:
    names = ["pair 1a", "pair 1b", *"ab", "unlucky", "deadly", *"cdef", "pair 2a", "pair 2b"]
    with start() as engine:
        rows = list(rows_of([Source(tmp_path / f"{name}.nrrd") for name in names], engine, refused, ignore))
    assert sorted(Path(row.source).stem for row in rows) == sorted(names)
    bad = [row for row in rows if row.status == REFUSED]
    assert [Path(row.source).stem for row in bad] == ["deadly"]
    assert bad[0].problem.endswith(
        "processes ended while they scanned it, perhaps for want of memory; scan it by itself."
    )
    gpu = {Path(row.source).stem: int(row.model or 0) % 2 for row in rows}  # as take_own_gpu has it
    assert gpu["pair 1a"] != gpu["pair 1b"]
    assert gpu["pair 2a"] != gpu["pair 2b"]  # by processes that replace others


class Counted:
    """An engine in which CTs are finished at once; remembers how many were in it together."""

    shares_losses = False

    def __init__(self, room: int) -> None:
        self.room, self.inside, self.most = room, 0, 0

    def slots(self) -> int:
        return self.room

    def submit(self, source: Source) -> Future[BatchRow]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        future: Future[BatchRow] = Future()
        future.set_result(BatchRow(str(source.path), DONE))
        return future

    def losses(self, error: BaseException) -> int:
        return 0


def test_no_more_cts_wait_in_the_engine_than_it_can_scan_and_new_workers_are_used() -> None:
    engine, counts = Counted(3), list[int]()

    def told(done: int, at_a_time: int) -> None:
        counts.append(done)
        engine.inside = 0  # all that were submitted are finished
        engine.room = 7 if done > 50 else 3

    rows = list(rows_of([Source(Path(f"{k}")) for k in range(200)], engine, refused, told))
    assert len(rows) == 200
    assert engine.most == 7
    assert counts[:3] == [0, 3, 6]


class Deadly(Counted):
    """An engine in which every CT ends its worker."""

    def submit(self, source: Source) -> Future[BatchRow]:
        future: Future[BatchRow] = Future()
        future.set_exception(RuntimeError("the worker ended"))
        return future

    def losses(self, error: BaseException) -> int:
        return 1


def test_a_ct_that_ends_its_workers_is_refused_under_its_own_name_and_tried_again_only_when_wanted(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("EmphysemaScannerLib.batch.cluster.process_pool", lambda *_: nullcontext(Deadly(2)))
    ct, out, rows = tmp_path / "a.nrrd", tmp_path / "out.csv", list[BatchRow]()
    ct.touch()
    assert run_batch([ct], out, model_path, processes=2, on_row=rows.append).refused == 1
    assert (rows[0].source, rows[0].operating_point) == (str(ct), 0.47)
    assert rows[0].input_state
    assert run_batch([ct], out, model_path, processes=2).kept == 1
    assert run_batch([ct], out, model_path, processes=2, retry=True).kept == 0
    assert len(rows_without_seconds(out)) == 1


def rows_without_seconds(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return sorted(rows, key=lambda row: row["source"])


@needs_dask
def test_a_batch_of_a_cluster_that_loses_a_worker_has_the_rows_of_one_process_to_the_bit(
    tiny_chest: sitk.Image, model_path: Path, tmp_path: Path
) -> None:
    sources = [tmp_path / "cts" / f"{k}.nrrd" for k in range(5)]
    sources[0].parent.mkdir()
    for k, source in enumerate(sources):
        sitk.WriteImage(sitk.Cast(tiny_chest + 5 * k, sitk.sitkInt16), str(source))
    sources.append(tmp_path / "cts" / "not there.nrrd")
    run_batch(sources, tmp_path / "one.csv", model_path)

    ended: list[int] = []

    def end_a_worker(row: BatchRow) -> None:
        if not ended:
            ended.append(next(pid for child in multiprocessing.active_children() if (pid := child.pid)))
            os.kill(ended[0], signal.SIGKILL)

    summary = run_batch(sources, tmp_path / "many.csv", model_path, processes=2, cluster="local", on_row=end_a_worker)
    assert ended
    assert (summary.done, summary.refused) == (5, 1)
    assert rows_without_seconds(tmp_path / "many.csv") == rows_without_seconds(tmp_path / "one.csv")
    again = run_batch(sources, tmp_path / "many.csv", model_path, processes=2, cluster="local")
    assert again.kept == 6


@needs_dask
@pytest.mark.parametrize(
    ("where", "says"), [("clutser", "'clutser' is not a cluster"), ("tcp://127.0.0.1:9", "No Dask")]
)
def test_where_there_is_no_cluster_one_sentence_says_so(where: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("EmphysemaScannerLib.batch.cluster._ANSWERS_WITHIN_S", 0.5)
    with pytest.raises(BatchError, match=says), cluster(deadly.scan, where, 1):
        pass


def test_without_the_extra_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    install = r"pip install 'emphysema-scanner\[cluster\]'"
    with pytest.raises(MissingPackageError, match=install), cluster(deadly.scan, "local", 1):
        pass


def test_the_same_rows_are_in_the_parquet(model_path: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    run_batch([tmp_path / "a.nrrd", tmp_path / "b\udcff.nrrd"], tmp_path / "results.csv", model_path)
    for _ in range(2):  # the second replaces the first
        assert write_parquet(tmp_path / "results.csv", tmp_path / "results.parquet")
    columns, files = "source, status, probability, operating_point", tmp_path / "results.parquet" / "*" / "*.parquet"
    found = duckdb.sql(f"SELECT {columns} FROM '{files}' ORDER BY source").fetchall()
    assert found == [(str(tmp_path / name), REFUSED, None, 0.47) for name in ("a.nrrd", "b?.nrrd")]
    assert [path.name for path in (tmp_path / "results.parquet").iterdir()] == ["status=refused"]


def test_a_folder_gets_the_table_and_the_parquet(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("duckdb")
    (tmp_path / "a.nrrd").touch()
    for _ in range(2):
        batch(tmp_path / "a.nrrd", tmp_path / "results", model_path, Device.CPU, Precision.AUTO)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["results.csv", "results.parquet"]
    assert "1 refused, 1 of them in an earlier run" in capsys.readouterr().out
