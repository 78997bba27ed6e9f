"""A batch writes each CT's DICOM objects into a folder of its own, and states why there are none."""

from __future__ import annotations

import csv
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import archivedct
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.archive import writing
from EmphysemaScannerLib.archive.kinds import ObjectKind
from EmphysemaScannerLib.batch import row
from EmphysemaScannerLib.batch.batch import find_cts, run_batch
from EmphysemaScannerLib.batch.scanning import Scanning
from EmphysemaScannerLib.batch.source import Source
from EmphysemaScannerLib.ct.reading import CT
from EmphysemaScannerLib.models.modelheader import read_metadata
from EmphysemaScannerLib.scan.device import Device, Precision
from EmphysemaScannerLib.scan.result import ScanResult
from webarchive import web_archive


@pytest.fixture(autouse=True)
def scanned(monkeypatch: pytest.MonkeyPatch, make_result: Callable[..., ScanResult]) -> list[str]:
    """A scan without the network's seconds, objects without the report's pictures; what was scanned."""
    names: list[str] = []

    def scan_on(_device: object, ct: CT, _model: object, _report: object, source: str, **_: object) -> ScanResult:
        names.append(source)
        return archivedct.result_on(ct, make_result())

    monkeypatch.setattr(row, "scan_on", scan_on)
    monkeypatch.setattr(writing.write_objects, "__defaults__", (frozenset({ObjectKind.SEGMENTATION}),))
    return names


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {Path(cells["source"]).name: cells for cells in csv.DictReader(file)}


def test_objects_are_written_for_dicom_and_refused_for_image_files_and_made_up_for_later(
    scanned: list[str], model_path: Path, tmp_path: Path
) -> None:
    archivedct.write_series(tmp_path / "cts/series")
    sitk.WriteImage(archivedct.small_phantom(), str(tmp_path / "cts/image.nrrd"))
    out, objects = tmp_path / "out.csv", tmp_path / "objects"
    cts = find_cts(tmp_path / "cts")
    run_batch(cts, out, model_path)
    assert {cells["dicom_objects"] + cells["dicom_problem"] for cells in table(out).values()} == {""}

    scanned.clear()
    summary = run_batch(cts, out, model_path, objects=objects)
    assert sorted(scanned) == ["image.nrrd", "series"]  # neither had objects
    assert (summary.done, summary.without_objects) == (2, 1)
    assert "1 without DICOM objects" in str(summary)
    rows = table(out)
    assert [path.name for path in Path(rows["series"]["dicom_objects"]).glob("*.dcm")] == ["segmentation.dcm"]
    assert Path(rows["series"]["dicom_objects"]).parent == objects
    assert "read from DICOM files" in rows["image.nrrd"]["dicom_problem"]
    assert rows["image.nrrd"]["status"] == "done"

    scanned.clear()
    assert run_batch(cts, out, model_path, objects=objects).kept == 2
    shutil.rmtree(rows["series"]["dicom_objects"])
    run_batch(cts, out, model_path, objects=objects)
    assert scanned == ["series"]


def test_objects_of_a_ct_that_was_copied_are_written_before_the_copy_goes(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "passing"))
    archivedct.write_series(tmp_path / "ct")
    objects, names = tmp_path / "objects", [tmp_path / "one", tmp_path / "two"]
    with web_archive() as archive:
        archive.add((tmp_path / "ct").iterdir())
        at = dict.fromkeys(names, f"{archive.address}/studies/{archivedct.STUDY['StudyInstanceUID']}")
        at[tmp_path / "gone"] = f"{archive.address}/studies/1.2.9"
        run_batch([*at], tmp_path / "out.csv", model_path, at=at, objects=objects)
        elsewhere = Scanning(model_path, read_metadata(model_path)["sha256"], Device.CPU, Precision.AUTO, objects)
        of_a_process = elsewhere(Source(names[0], at[names[0]]))
    rows = table(tmp_path / "out.csv")
    for folder in (rows["one"]["dicom_objects"], rows["two"]["dicom_objects"], of_a_process.dicom_objects):
        assert [path.name for path in Path(folder).glob("*.dcm")] == ["segmentation.dcm"]
    assert "holds no such study" in rows["gone"]["problem"]
    assert list((tmp_path / "passing").iterdir()) == []


def test_a_batch_that_is_ended_leaves_no_copy(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "passing"))
    archivedct.write_series(tmp_path / "ct")

    def end(_row: object) -> None:
        raise KeyboardInterrupt

    with web_archive() as archive:
        archive.add((tmp_path / "ct").iterdir())
        study = f"{archive.address}/studies/{archivedct.STUDY['StudyInstanceUID']}"
        at = {tmp_path / name: study for name in ("one", "two", "three")}
        with pytest.raises(KeyboardInterrupt):
            run_batch([*at], tmp_path / "out.csv", model_path, at=at, on_row=end)
        deadline = time.monotonic() + 30  # the CT that is being copied ahead is copied to its end
        while list((tmp_path / "passing").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert list((tmp_path / "passing").iterdir()) == []
