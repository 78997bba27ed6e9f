"""The panel Batch: many CTs into one table."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import slicer
from dicomfiles import write_dicom
from phantom import phantom_image
from window.harness.driver import Driver, bad_ct, settle, write
from window.harness.pythonqt import plain


@pytest.fixture
def cohort(window: Driver, tmp_path: Path) -> Path:
    """A folder with two CTs and a volume that is none."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    for name in ("one", "two"):
        write(window.add_ct(name), folder / f"{name}.nrrd")
    write(bad_ct("constant"), folder / "wrong.nrrd")
    slicer.mrmlScene.Clear(False)
    settle()
    window.parameters.modelPath = window.model
    return folder


def test_a_batch_fills_its_table_and_its_csv(window: Driver, cohort: Path, tmp_path: Path) -> None:
    window.ui.batchSourcePathLineEdit.currentPath = str(cohort)
    window.ui.batchOutputPathLineEdit.currentPath = str(tmp_path / "out.csv")
    window.press("batchButton")
    table = window.ui.batchTable
    assert table.rowCount == 3
    answers = {table.item(row, 0).text(): table.item(row, 2).text() for row in range(3)}
    assert answers["wrong.nrrd"] == "refused"
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 4
    assert window.shown("batchStatusLabel")
    assert not window.shown("batchProgressBar")
    row = next(row for row in range(3) if table.item(row, 0).text() == "one.nrrd")
    plain(table, "cellDoubleClicked").emit(row, 0)
    settle()
    assert window.ui.inputSelector.nodeCount() == 1


def test_ticked_dicom_objects_are_written_beside_the_table_or_the_reason_is_shown(
    window: Driver, cohort: Path, tmp_path: Path
) -> None:
    write_dicom(cohort / "series", phantom_image(), FrameOfReferenceUID="1.2.3.4", StudyDate="20250102")
    for name in ("two", "wrong"):
        (cohort / f"{name}.nrrd").unlink()
    window.ui.batchSourcePathLineEdit.currentPath = str(cohort)
    window.ui.batchOutputPathLineEdit.currentPath = str(tmp_path / "out.csv")
    window.ui.batchObjectsCheckBox.checked = True
    window.press("batchButton")
    (folder,) = (tmp_path / "out-dicom").iterdir()
    assert {"segmentation.dcm", "measurements.dcm"} <= {path.name for path in folder.iterdir()}
    assert "1 without DICOM objects" in window.ui.batchStatusLabel.text
    table = window.ui.batchTable
    tips = {table.item(row, 0).text(): table.item(row, 0).toolTip() for row in range(2)}
    assert "read from DICOM files" in tips["one.nrrd"]


def test_a_cancelled_batch_keeps_what_is_done_and_goes_on_there(window: Driver, cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    window.ui.batchSourcePathLineEdit.currentPath = str(cohort)
    window.ui.batchOutputPathLineEdit.currentPath = str(output)
    panel = window.panel.window.batch
    original = panel.add

    def add(row: object) -> None:
        original(row)
        window.ui.batchButton.click()

    with mock.patch.object(panel, "add", add):
        window.press("batchButton")
    kept = len(output.read_text().splitlines())
    assert 2 <= kept < 4
    assert "rows so far are kept" in window.ui.batchStatusLabel.text
    assert window.ui.batchButton.enabled
    window.press("batchButton")
    assert len(output.read_text().splitlines()) == 4


def test_refused_cts_are_scanned_again_if_that_is_ticked(window: Driver, cohort: Path, tmp_path: Path) -> None:
    window.ui.batchSourcePathLineEdit.currentPath = str(cohort)
    window.ui.batchOutputPathLineEdit.currentPath = str(tmp_path / "out.csv")
    window.press("batchButton")
    logic = window.panel.window.logic
    for ticked in (False, True):
        window.ui.batchRetryCheckBox.checked = ticked
        with mock.patch.object(logic, "batch", wraps=logic.batch) as batch:
            window.press("batchButton")
        assert batch.call_args.kwargs["retry"] is ticked
    window.ui.batchRetryCheckBox.checked = False


def test_a_batch_without_a_folder_asks_for_one(window: Driver) -> None:
    window.ui.batchSourcePathLineEdit.currentPath = ""
    window.press("batchButton")
    assert "folder" in window.ui.batchStatusLabel.text
