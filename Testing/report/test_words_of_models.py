"""Report, tables and words of what each architecture gives for slices: each honest about what it is."""

from __future__ import annotations

import csv
import io
from html import unescape

import numpy as np
import pypdf
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.commands.terminal import print_card, print_scan
from EmphysemaScannerLib.report import richtext as panel
from EmphysemaScannerLib.report.chart import slice_chart
from EmphysemaScannerLib.report.contents import Case
from EmphysemaScannerLib.report.pdfreport import render_pdf
from EmphysemaScannerLib.report.report import render_report
from EmphysemaScannerLib.report.slicewords import slice_words
from EmphysemaScannerLib.report.tablefiles import slices_csv
from EmphysemaScannerLib.scan.result import ScanResult, SliceEvidence
from EmphysemaScannerLib.scan.scan import scan
from everymodel import model_of
from rich.console import Console

PANELS = {
    "conv_lstm": ["", "Evidence of each slice", "Running probability", "LAA%-950"],
    "mil_product": ["", "Slice probability", "LAA%-950"],
    "mil_attention": ["", "Attention weight", "Slice probability", "LAA%-950"],
    "cnn3d": ["", "LAA%-950"],
    "laa950_logistic": ["", "LAA%-950"],
}
WORDS = {
    "conv_lstm": "Each bar is the change of the model's logit at that slice",
    "mil_product": "only the whole CT was labelled, not its slices",
    "mil_attention": "A weight is not evidence",
    "cnn3d": "reads the volume as a whole and has no output by slice",
    "laa950_logistic": "reads no image, only densitometry of both lungs (LAA%-950, logistic)",
}
COLUMNS = {
    "conv_lstm": ["evidence", "running_logit", "running_probability"],
    "mil_product": ["slice_probability"],
    "mil_attention": ["attention_weight", "slice_probability"],
    "cnn3d": [],
    "laa950_logistic": [],
}
SENTENCES = {
    "conv_lstm": "evidence ",
    "mil_product": "slice probability ",
    "mil_attention": "attention weight ",
    "cnn3d": "LAA%-950 ",
    "laa950_logistic": "LAA%-950 ",
}
NAMES = pytest.mark.parametrize("name", sorted(PANELS))


@pytest.fixture(scope="module")
def results(tiny_chest: sitk.Image) -> dict[str, ScanResult]:
    return {name: scan(tiny_chest, model_of(name), source="phantom") for name in PANELS}


@NAMES
def test_the_report_says_what_the_model_gives_for_each_slice(
    tiny_chest: sitk.Image, results: dict[str, ScanResult], name: str
) -> None:
    case = Case(tiny_chest, results[name])
    pages = pypdf.PdfReader(io.BytesIO(render_pdf(case))).pages
    printed = " ".join(page.extract_text() for page in pages)
    page, pdf = (" ".join(text.split()) for text in (unescape(render_report(case)), printed))
    for text in (page, pdf):
        assert WORDS[name] in text
        drawn = results[name].evidence is not None and not isinstance(results[name].slices, SliceEvidence)
        assert ("coloured cells" in text) is drawn
        assert ("Where the evidence lies" in text) is drawn
        assert ("independent of the model" in text) is (name != "laa950_logistic")
        assert ("voxels, window" in text) is (name != "laa950_logistic")
    others = [words for other, words in WORDS.items() if other != name]
    assert not any(words in page for words in others)


@NAMES
def test_the_chart_has_a_panel_for_what_is_known_and_no_other(
    tiny_chest: sitk.Image, results: dict[str, ScanResult], name: str
) -> None:
    figure = slice_chart(Case(tiny_chest, results[name]))
    assert [axes.get_title() for axes in figure.axes] == PANELS[name]


@NAMES
def test_the_table_of_slices_has_the_columns_that_the_model_gives(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    rows = list(csv.DictReader(io.StringIO(slices_csv(result))))
    assert list(rows[0]) == ["read", "slice", "position_mm", *COLUMNS[name], "laa_950_percent"]
    assert len(rows) == 35
    assert [row["read"] for row in rows] == [str(n) for n in range(1, 36)]
    for measure, figures in result.by_slice.items():
        np.testing.assert_array_equal([float(row[measure.column] or "nan") for row in rows], figures)


@NAMES
def test_a_slice_is_put_into_words_as_what_it_is(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    words = slice_words(result)
    sentence = words.of_slice(17)
    assert sentence.startswith(SENTENCES[name])
    assert ("(not evidence)" in sentence) is (name == "mil_attention")
    assert all(len(texts) == 35 for texts in words.table().values())


@NAMES
def test_terminal_and_window_say_what_the_model_gives_for_slices(
    results: dict[str, ScanResult], name: str, tmp_path
) -> None:
    result = results[name]
    console = Console(file=io.StringIO(), width=200)
    print_scan(console, result, tmp_path)
    print_card(console, result.model)
    printed = " ".join(console.file.getvalue().split())
    explanation = slice_words(result).explanation
    assert bool(explanation) is not isinstance(result.slices, SliceEvidence)
    assert explanation in " ".join(printed.replace("│", " ").split())
    assert ("densitometry of both lungs" in printed) is (name == "laa950_logistic")
    assert panel.verdict(result).count("<br>") == bool(explanation)
