"""``scan --series``: which series of a DICOM folder is scanned, and what the answer says of those that were not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import SimpleITK as sitk
from dicomfiles import write_dicom
from EmphysemaScannerLib.commands.cli import main


@pytest.fixture
def study(tiny_chest: sitk.Image, tmp_path: Path) -> Path:
    """One patient's folder with an inspiratory CT and an expiratory one that is 40 HU denser."""
    for number, (name, denser) in enumerate((("inspiration", 0), ("expiration", 40)), 1):
        image = sitk.Cast(tiny_chest + denser, sitk.sitkInt16)
        write_dicom(
            tmp_path / "study" / name, image, SeriesDescription=name, SeriesNumber=number, PatientID="P1",
            PatientName="SECRET^ONE",
        )  # fmt: skip
    return tmp_path / "study"


def scan(study: Path, model: Path, out: Path, *more: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["scan", str(study), "--out", str(out), "--model", str(model), "--device", "cpu", "--no-pictures", *more])
    return int(ended.value.code or 0)


def test_two_equally_good_series_are_refused_with_what_tells_them_apart(
    study: Path, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(study, model_path, tmp_path / "out") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "inspiration" in error
    assert "expiration" in error
    assert "--series" in error
    assert "SECRET" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("chosen", ["2", "expiration", "EXPIR"])
def test_the_chosen_series_is_scanned_and_the_other_one_stated_as_left_out(
    study: Path, model_path: Path, tmp_path: Path, chosen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(study, model_path, tmp_path / "out", "--series", chosen) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["input"]["series"]["description"] == "expiration"
    (left,) = result["input"]["left_out"]
    assert "inspiration" in left["what"]
    assert "expiration" in " ".join(capsys.readouterr().out.split())


def test_a_series_that_is_not_there_is_refused_with_those_that_are(
    study: Path, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(study, model_path, tmp_path / "out", "--series", "contrast") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "no CT series 'contrast'" in error
    assert "inspiration" in error
    assert not (tmp_path / "out").exists()
