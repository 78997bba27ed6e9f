"""Report, tables and words of what each architecture tells: each honest about what it is."""

from __future__ import annotations

import csv
import io
from html import unescape

import pypdf
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.commands.terminal import print_card, print_scan
from EmphysemaScannerLib.models.modelcard import SliceStory
from EmphysemaScannerLib.report import richtext as panel
from EmphysemaScannerLib.report import slicewords
from EmphysemaScannerLib.report.chart import slice_chart
from EmphysemaScannerLib.report.contents import Case
from EmphysemaScannerLib.report.pdfreport import render_pdf
from EmphysemaScannerLib.report.report import render_report
from EmphysemaScannerLib.report.tablefiles import slices_csv
from EmphysemaScannerLib.scan.result import ScanResult
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
        assert ("coloured cells" in text) is (results[name].evidence is not None)
        assert ("Where the evidence lies" in text) is (results[name].evidence is not None)
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
def test_the_table_of_slices_has_the_columns_of_the_story(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    rows = list(csv.DictReader(io.StringIO(slices_csv(result))))
    assert list(rows[0]) == ["read", "slice", "position_mm", *COLUMNS[name], "laa_950_percent"]
    assert len(rows) == 35
    assert [row["read"] for row in rows] == [str(n) for n in range(1, 36)]
    if result.slice_weight is not None:
        assert [float(row["attention_weight"]) for row in rows] == result.slice_weight.tolist()
    if result.slice_probability is not None:
        assert [float(row["slice_probability"]) for row in rows] == result.slice_probability.tolist()


@NAMES
def test_a_slice_is_put_into_words_as_what_it_is(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    said = slicewords.of_slice(result, 17)
    expected = {
        SliceStory.EVIDENCE: "evidence ",
        SliceStory.PROBABILITY: "slice probability ",
        SliceStory.WEIGHT: "attention weight ",
        SliceStory.NONE: "LAA%-950 ",
    }[result.story]
    assert said.startswith(expected)
    assert ("(not evidence)" in said) is (result.story is SliceStory.WEIGHT)
    assert all(len(texts) == 35 for texts in slicewords.columns(result).values())


@NAMES
def test_terminal_and_window_say_what_the_model_can_tell(results: dict[str, ScanResult], name: str, tmp_path) -> None:
    result = results[name]
    console = Console(file=io.StringIO(), width=200)
    print_scan(console, result, tmp_path)
    print_card(console, result.model)
    printed = " ".join(console.file.getvalue().split())
    story = slicewords.story(result)
    assert bool(story) is (result.story is not SliceStory.EVIDENCE)
    assert story in " ".join(printed.replace("│", " ").split())
    assert ("densitometry of both lungs" in printed) is (name == "laa950_logistic")
    assert panel.verdict(result).count("<br>") == bool(story)
