"""Two hundred CTs by several processes that are killed (SIGKILL) at random: the rows of one process, to the bit.

``pytest Testing/batch/test_kills.py -m soak -s`` prints how many were killed.
"""

from __future__ import annotations

import csv
import importlib.util
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.batch.batch import run_batch
from EmphysemaScannerLib.batch.cluster import LOCAL
from EmphysemaScannerLib.cohort.manifest import CohortRow, write_manifest
from EmphysemaScannerLib.evaluation.predict import predict_cohort
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.scan.device import Device

COUNT = 200
OF_PREDICT = 60
WORKERS = 3
BETWEEN_S = 15.0, 45.0

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="dask.distributed is not installed (pip install 'emphysema-scanner[cluster]')",
)
engines = pytest.mark.parametrize("cluster", [pytest.param("", id="processes"), pytest.param(LOCAL, marks=needs_dask)])


@pytest.fixture(scope="module")
def cts(chest: sitk.Image, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """LIDC-IDRI-0001 on a coarser grid, each time with other noise; one of them is no CT."""
    folder = tmp_path_factory.mktemp("cts")
    small = sitk.Cast(sitk.Shrink(chest, [4, 4, 2]), sitk.sitkInt16)
    hu = sitk.GetArrayFromImage(small)
    for k in range(COUNT):
        noisy = sitk.GetImageFromArray((hu + np.random.default_rng(k).normal(0, 20, hu.shape)).astype(np.int16))
        noisy.CopyInformation(small)
        sitk.WriteImage(noisy, str(folder / f"{k:03}.nrrd"))
    (folder / "007.nrrd").write_text("no CT")
    return sorted(folder.iterdir())


@contextmanager
def workers_killed_at_random(seed: int) -> Iterator[list[int]]:
    """Kills one of this process's children every few seconds while the block runs; their numbers."""
    killed, ended, draw = list[int](), threading.Event(), random.Random(seed)

    def kill() -> None:
        while not ended.wait(draw.uniform(*BETWEEN_S)):
            alive = [pid for child in multiprocessing.active_children() if (pid := child.pid)]
            if alive:
                killed.append(draw.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        ended.set()
        killer.join()


def rows(path: Path) -> list[str]:
    """The rows of a table without the column ``seconds``."""
    with path.open(newline="", encoding="utf-8") as file:
        return sorted(str({**row, "seconds": ""}) for row in csv.DictReader(file))


@engines
@pytest.mark.soak
def test_a_batch_whose_workers_are_killed_has_the_rows_of_one_process(
    cts: list[Path], tmp_path: Path, cluster: str
) -> None:
    model, seconds = default_model_path(), [time.monotonic()]
    run_batch(cts, tmp_path / "one.csv", model, Device.CPU)
    seconds.append(time.monotonic())
    with workers_killed_at_random(1) as killed:
        summary = run_batch(cts, tmp_path / "many.csv", model, Device.CPU, processes=WORKERS, cluster=cluster)
    seconds.append(time.monotonic())
    alone, together = np.diff(seconds)
    print(f"\n{summary.done + summary.refused} CTs, {len(killed)} kills, {together:.0f} s; one process {alone:.0f} s")
    assert len(killed) >= 3
    assert (summary.done, summary.refused) == (COUNT - 1, 1)
    assert rows(tmp_path / "many.csv") == rows(tmp_path / "one.csv")


@engines
@pytest.mark.soak
def test_predictions_whose_workers_are_killed_are_those_of_one_process(
    cts: list[Path], tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, manifest = [default_model_path()], tmp_path / "manifest.csv"
    write_manifest(manifest, [CohortRow(ct, k % 2, str(k)) for k, ct in enumerate(cts[:OF_PREDICT])])
    monkeypatch.setenv("EMPHYSEMA_SCANNER_CACHE", str(tmp_path / "one"))
    predict_cohort(models, manifest, tmp_path / "one.csv")
    monkeypatch.setenv("EMPHYSEMA_SCANNER_CACHE", str(tmp_path / "many"))
    with workers_killed_at_random(2) as killed:
        summary = predict_cohort(models, manifest, tmp_path / "many.csv", processes=WORKERS, cluster=cluster)
    print(f"\n{summary.volumes} volumes, {len(killed)} kills")
    assert killed
    assert summary.refused == 1
    assert rows(tmp_path / "many.csv") == rows(tmp_path / "one.csv")
