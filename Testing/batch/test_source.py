"""CTs at addresses: copied when it is asked for, scanned as if they were here, and removed."""

from __future__ import annotations

import http.server
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import MissingPackageError
from EmphysemaScannerLib.batch.batch import addresses_of, find_cts, run_batch
from EmphysemaScannerLib.batch.row import DONE, REFUSED, BatchError, BatchRow
from EmphysemaScannerLib.batch.source import Source
from EmphysemaScannerLib.commands.batch import batch

pytest.importorskip("aiohttp", reason="fsspec reads HTTP by aiohttp")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a server of this machine has it."""
    folder = tmp_path / "store"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def listed(folder: Path, *rows: tuple[str, str]) -> Path:
    path = folder / "list.csv"
    path.write_text("volume,url\n" + "".join(f"{volume},{url}\n" for volume, url in rows))
    return path


def test_a_ct_at_an_address_has_the_row_that_it_has_here(
    store: tuple[Path, str], tiny_chest: sitk.Image, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "passing"))
    folder, address = store
    sitk.WriteImage(tiny_chest, str(folder / "a.nrrd"))
    path = listed(tmp_path, ("a.nrrd", f"{address}/a.nrrd"), ("b.nrrd", f"{address}/b.nrrd"))
    rows: list[BatchRow] = []
    run_batch(find_cts(path), tmp_path / "far.csv", model_path, at=addresses_of(path), on_row=rows.append)
    here: list[BatchRow] = []
    run_batch([folder / "a.nrrd"], tmp_path / "near.csv", model_path, on_row=here.append)
    assert [(Path(row.source).name, row.status) for row in rows] == [("a.nrrd", DONE), ("b.nrrd", REFUSED)]
    assert rows[0].probability == here[0].probability
    assert f"'{address}/b.nrrd' cannot be read" in rows[1].problem
    assert list((tmp_path / "passing").iterdir()) == []
    again = run_batch(find_cts(path), tmp_path / "far.csv", model_path, at=addresses_of(path))
    assert again.kept == 2


def test_all_files_of_a_series_are_copied(store: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = store
    names = ["1.dcm", "2.dcm", "3.dcm"]
    (folder / "series").mkdir()
    for name in names:
        (folder / "series" / name).write_text(name)
    for pattern in ("series/", "series/*"):
        with Source(tmp_path / "CT_1.2", f"{address}/{pattern}").files() as files:
            assert sorted(file.read_text() for file in files.rglob("*.dcm")) == names
        assert not files.exists()


def test_nothing_is_copied_that_is_here(store: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").touch()
    with Source(tmp_path / "a.nrrd", f"{store[1]}/nothing.nrrd").files() as files:
        assert files == tmp_path / "a.nrrd"


def test_without_being_asked_nothing_is_copied(model_path: Path, tmp_path: Path) -> None:
    path = listed(tmp_path, ("a.nrrd", "http://127.0.0.1:9/a.nrrd"), ("b.nrrd", ""))
    with pytest.raises(BatchError, match="1 of 2 CTs are not here but have an address; --fetch copies them"):
        batch(path, tmp_path / "out.csv", model_path)
    assert not (tmp_path / "out.csv").exists()


def test_a_store_that_needs_another_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    needs, source = "s3://idc-open-data/x.*requires a further package", Source(tmp_path / "a", "s3://idc-open-data/x/*")
    with pytest.raises(MissingPackageError, match=needs), source.files():
        pass
