"""A cohort's volumes at addresses: read into the cache where that is asked for, and found there without their files."""

from __future__ import annotations

import http.server
import shutil
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, UnreadableInputError
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import ManifestError, read_manifest
from EmphysemaScannerLib.commands.cache import fill
from EmphysemaScannerLib.evaluation.predict import predict_cohort
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.training.training import split_rows
from tinycohort import write_cohort

pytest.importorskip("aiohttp", reason="fsspec reads HTTP by aiohttp")

GRID = Preprocessing(shape=(4, 32, 32))


class Store(http.server.SimpleHTTPRequestHandler):
    """Counts what is copied, and ends some transfers too soon."""

    copied: list[str]
    broken: set[str]

    def log_message(self, *args: object) -> None:
        pass

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        super().end_headers()

    def do_GET(self) -> None:
        self.copied.append(self.path)
        super().do_GET()

    def copyfile(self, source: object, outputfile: object) -> None:
        content = source.read()
        outputfile.write(content[: len(content) // 2] if self.path in self.broken else content)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[type[Store], Path, str]]:
    folder = tmp_path / "store"
    handler = type("Handler", (Store,), {"copied": [], "broken": set()})
    write_cohort(folder, GRID.shape, train=2, tune=2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder)) as server:
        threading.Thread(target=partial(server.serve_forever, 0.02), daemon=True).start()
        yield handler, folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def passing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are while they are read; the cache is empty."""
    folder = tmp_path / "passing"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("EMPHYSEMA_SCANNER_CACHE", str(tmp_path / "cache"))
    return folder


def far(folder: Path, address: str, *names: str) -> Path:
    """A manifest of volumes that are only at addresses."""
    lines = [f"{n},{k % 2},patient{k},{'train' if k < 2 else 'tune'},{address}/{n}" for k, n in enumerate(names)]
    path = folder / "far.csv"
    path.write_text("\n".join(["volume,label,patient,split,url", *lines]))
    return path


ALL = ("0.nrrd", "1.nrrd", "2.nrrd", "3.nrrd")


def filled(manifest: Path, fetch: bool = True) -> None:
    fill([manifest], image_size=32, slices=4, processes=1, fetch=fetch)


def test_fetched_volumes_are_those_that_are_here_and_leave_no_copy(
    store: tuple[type[Store], Path, str], passing: Path, tmp_path: Path
) -> None:
    handler, folder, address = store
    manifest = far(tmp_path, address, *ALL)
    filled(manifest)
    assert list(passing.iterdir()) == []
    cache, near = VolumeCache(), VolumeCache(tmp_path / "other")
    for row in read_manifest(manifest):
        assert not row.volume.exists()
        assert np.array_equal(cache.grid_hu(row.volume, GRID), near.grid_hu(folder / row.volume.name, GRID))
    assert list(map(len, split_rows(read_manifest(manifest), cache))) == [2, 2]
    filled(manifest)
    filled(manifest, fetch=False)
    assert handler.copied == [f"/{name}" for name in ALL]  # each once


def test_a_changed_volume_is_fetched_again(store: tuple[type[Store], Path, str], passing: Path, tmp_path: Path) -> None:
    _handler, folder, address = store
    manifest = far(tmp_path, address, *ALL)
    filled(manifest)
    shutil.copy(folder / "1.nrrd", folder / "0.nrrd")
    filled(manifest)
    first, second = [VolumeCache().grid_hu(row.volume, GRID) for row in read_manifest(manifest)[:2]]
    assert np.array_equal(first, second)


def test_without_being_asked_nothing_is_fetched(
    store: tuple[type[Store], Path, str], model_path: Path, passing: Path, tmp_path: Path
) -> None:
    handler, _folder, address = store
    manifest = far(tmp_path, address, *ALL)
    for read in (
        lambda: filled(manifest, fetch=False),
        lambda: split_rows(read_manifest(manifest), VolumeCache()),
        lambda: predict_cohort([model_path], manifest, tmp_path / "answers.csv"),
    ):
        with pytest.raises(ManifestError, match=r"volumes are not here but have an address; .* fill --fetch"):
            read()
    assert handler.copied == []


def test_what_cannot_be_fetched_is_named_and_leaves_nothing(
    store: tuple[type[Store], Path, str], passing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, folder, address = store
    handler.broken.add("/1.nrrd")
    (folder / "2.nrrd").write_text("no CT")
    manifest = far(tmp_path, address, "0.nrrd", "1.nrrd", "2.nrrd", "missing.nrrd")
    with manifest.open("a") as file:
        file.write("\nunreachable.nrrd,1,p9,tune,http://127.0.0.1:9/unreachable.nrrd")
    with pytest.raises(UnreadableInputError, match="4 of 5 volumes cannot be read"):
        filled(manifest)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"far.csv, line {k}" for k in (3, 4, 5, 6)]
    assert all(f"'{address}/{n}" in line for line, n in zip(lines, ("1.nrrd", "2.nrrd", "missing.nrrd"), strict=False))
    assert list(passing.iterdir()) == []
    assert [VolumeCache().remembered(row.volume) is not None for row in read_manifest(manifest)] == [True] + [False] * 4
    handler.broken.clear()
    with pytest.raises(UnreadableInputError, match="3 of 5"):
        filled(manifest)
    assert VolumeCache().grid_hu(tmp_path / "1.nrrd", GRID).shape == GRID.shape


def test_predictions_are_those_of_volumes_that_are_here(
    store: tuple[type[Store], Path, str], model_path: Path, passing: Path, tmp_path: Path
) -> None:
    _handler, folder, address = store
    manifest = far(tmp_path, address, "0.nrrd", "1.nrrd")
    slices, size, _ = modelfile.load(model_path).card.preprocessing.shape
    fill([manifest], image_size=size, slices=slices, processes=1, fetch=True)
    answers = []
    for listed in (manifest, far(folder, address, "0.nrrd", "1.nrrd")):
        predict_cohort([model_path], listed, tmp_path / f"{len(answers)}.csv")
        answers.append((tmp_path / f"{len(answers)}.csv").read_text())
    assert answers[0] == answers[1]
    assert answers[0].count("done") == 2


def test_a_grid_that_was_not_filled_is_refused_with_what_to_do(
    store: tuple[type[Store], Path, str], passing: Path, tmp_path: Path
) -> None:
    manifest = far(tmp_path, store[2], *ALL)
    filled(manifest)
    with pytest.raises(EmphysemaScannerError, match=r"not here, and the cache does not hold it .* with the same grid"):
        VolumeCache().grid_hu(tmp_path / "0.nrrd", Preprocessing(shape=(3, 16, 16)))


def test_a_volume_that_comes_here_later_counts(
    store: tuple[type[Store], Path, str], passing: Path, tmp_path: Path
) -> None:
    manifest = far(tmp_path, store[2], *ALL)
    filled(manifest)
    sitk.WriteImage(sitk.GetImageFromArray(np.full(GRID.shape, -500, np.int16)), str(tmp_path / "0.nrrd"))
    assert np.all(VolumeCache().grid_hu(tmp_path / "0.nrrd", GRID) == -500)
