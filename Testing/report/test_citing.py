"""The methods sentences and the references: one wording for reports and README."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk
from EmphysemaScannerLib import __version__
from EmphysemaScannerLib.report import citing
from EmphysemaScannerLib.report.contents import Case, contents
from EmphysemaScannerLib.scan.manifest import run_manifest
from EmphysemaScannerLib.scan.result import ScanResult

REPO = Path(__file__).parents[2]


def test_the_readme_cites_what_reports_cite() -> None:
    words = " ".join((REPO / "README.md").read_text(encoding="utf-8").replace("\n> ", " ").split())
    assert citing.METHOD_REFERENCE in words
    cited = (REPO / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {__version__}" in cited
    assert "arXiv:1812.01087" in cited


def test_each_report_has_methods_with_version_model_and_checksum(
    make_result: Callable[..., ScanResult], tiny_chest: sitk.Image
) -> None:
    result = make_result(run=run_manifest("ab" * 32, "cd" * 32, "cpu", "float32"))
    (section,) = [s for s in contents(Case(tiny_chest, result)).sections if s.title == "For a publication"]
    text = str(section)
    for words in (__version__, "narrow random network", "ab" * 32, "cd" * 32, "Conv-LSTM (Braman et al. 2018)"):
        assert words in text
    assert "35 x 128 x 128 voxels" in text
    assert "0.470 or more were called positive" in text


def test_a_result_of_an_earlier_version_names_no_checksum(make_result: Callable[..., ScanResult]) -> None:
    assert "SHA-256" not in citing.methods(make_result())
