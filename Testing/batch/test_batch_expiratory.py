"""CTs in expiration beside those of a batch: in lists, in the table, and never a reason to lose a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.batch import row as rows
from EmphysemaScannerLib.batch.batch import find_expiratory
from EmphysemaScannerLib.batch.columns import COLUMNS
from EmphysemaScannerLib.batch.row import DONE, BatchError, BatchRow, Scanner, parsed, row_of
from EmphysemaScannerLib.batch.source import Source
from EmphysemaScannerLib.ct.reading import CT
from EmphysemaScannerLib.lungs.expiration import ExpiratoryPair, PairFigures
from EmphysemaScannerLib.lungs.regions import NO_MASKS
from EmphysemaScannerLib.models.modelfile import load
from EmphysemaScannerLib.scan.device import Precision
from EmphysemaScannerLib.scan.result import ScanResult


@pytest.fixture
def row(
    monkeypatch: pytest.MonkeyPatch, model_path: Path, tiny_chest: sitk.Image, make_result: Callable[..., ScanResult]
) -> Callable[[Path], BatchRow]:
    """The row of the small chest with a CT in expiration, without the network's seconds."""
    monkeypatch.setattr(rows, "scan_on", lambda *_arguments, **_options: make_result())
    scanner = Scanner(load(model_path), "c" * 64, torch.device("cpu"), Precision.AUTO)
    read = lambda: (CT(tiny_chest), NO_MASKS)  # noqa: E731
    return lambda second: row_of(Path("/cts/a.nrrd"), "state", read, scanner, expiratory=second)


def test_a_list_names_cts_in_expiration(tmp_path: Path) -> None:
    for name in ("a.nrrd", "b.nrrd", "a-exp.nrrd"):
        (tmp_path / name).touch()
    listed = tmp_path / "list.csv"
    listed.write_text("volume,expiratory\na.nrrd,a-exp.nrrd\nb.nrrd,\n")
    assert find_expiratory(listed) == {tmp_path / "a.nrrd": tmp_path / "a-exp.nrrd"}
    assert find_expiratory(tmp_path) == {}
    listed.write_text("volume,expiratory\na.nrrd,gone.nrrd\n")
    with pytest.raises(BatchError, match=r"there is no CT 'gone\.nrrd'; correct the column expiratory"):
        find_expiratory(listed)
    listed.write_text("volume,expiratory\na.nrrd,a-exp.nrrd\na.nrrd,b.nrrd\n")
    with pytest.raises(BatchError, match="another expiratory CT"):
        find_expiratory(listed)


def test_another_ct_in_expiration_is_another_state(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.nrrd", "b.nrrd", "c.nrrd")]
    for number, file in enumerate(files):
        file.write_bytes(bytes(number))
    states = {Source(files[0]).state(), *(Source(files[0], expiratory=second).state() for second in files[1:])}
    assert len(states) == 3


def test_the_row_has_the_figures_of_both_lungs(row, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = PairFigures(volume_ratio=0.6, air_trapping_percent=12.5, prm_emphysema_percent=3.0)
    pair = ExpiratoryPair({"whole": figures}, warnings=("One doubt.", "Another."))

    def with_pair(scan: Callable, _image: object, _second: object, report: Callable) -> ScanResult:
        return dataclasses.replace(scan(report), expiration=pair)

    monkeypatch.setattr(rows, "scan_pair", with_pair)
    found = row(Path("/cts/gone.nrrd"))
    assert (found.expiratory_ratio, found.air_trapping_percent, found.prm_emphysema_percent) == (0.6, 12.5, 3.0)
    assert np.isnan(found.prm_normal_percent)
    assert found.expiratory_problem == "One doubt. | Another."
    cells = {
        name: "" if str(value) == "nan" else str(value)
        for name, value in zip(rows.COLUMNS, found.cells(rows.COLUMNS), strict=True)
    }
    again = parsed(cells)
    assert again is not None
    assert again.air_trapping_percent == 12.5


def test_a_ct_in_expiration_that_cannot_be_read_leaves_the_row(row) -> None:
    found = row(Path("/cts/gone.nrrd"))
    assert found.status == DONE
    assert found.probability > 0
    assert found.expiratory_problem.startswith("The expiratory CT could not be used: There is no file")


def test_each_column_is_described() -> None:
    assert [column.name for column in COLUMNS] == list(rows.COLUMNS)
