"""Words of strangers (names of files, cards, records) stay words: in pages, tables, tooltips, terminals and paths."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, RecordError, UnreadableInputError, shown
from EmphysemaScannerLib.base.rowfile import RowFile
from EmphysemaScannerLib.batch.batch import run_batch
from EmphysemaScannerLib.batch.row import COLUMNS, BatchError
from EmphysemaScannerLib.commands.cli import main
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.evaluation import comparisonpage, comparisontables
from EmphysemaScannerLib.evaluation.compare import Comparison, ModelFigures, Subgroup
from EmphysemaScannerLib.evaluation.statistics import Predictions, measure
from EmphysemaScannerLib.models.modelcard import Metric, ModelCard, OperatingPoint
from EmphysemaScannerLib.report import richtext as panel
from EmphysemaScannerLib.report.contents import Case
from EmphysemaScannerLib.report.outputfolder import FILE_LIST, whole_or_nothing
from EmphysemaScannerLib.report.pdfreport import render_pdf
from EmphysemaScannerLib.report.report import render_report
from EmphysemaScannerLib.scan.result import ScanResult
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json
from everymodel import model_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phantom import phantom_image

EVIL = (
    "<script>alert(1)</script><img src=http://x.example/y onerror=a()>\"'&{{7*7}}${7}$ [b](http://x.example) ![](y) `|`"
)


@pytest.fixture
def hostile(make_result: Callable[..., ScanResult], card: ModelCard) -> ScanResult:
    """A result in which every text is a stranger's."""
    words = {
        field.name: EVIL
        for field in dataclasses.fields(ModelCard)
        if field.type == "str" and field.name != "architecture"
    }
    card = dataclasses.replace(
        card,
        **words,
        operating_point=OperatingPoint(0.5, EVIL),
        metrics=(Metric(EVIL, 0.5, 0, 1, EVIL),),
        citations=(EVIL,),
    )
    return make_result(model=card, source=EVIL, warnings=(EVIL,))


class Markup(HTMLParser):
    """The tags and what they refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_shows_every_foreign_word_and_obeys_none(
    hostile: ScanResult, make_result: Callable[..., ScanResult], tiny_chest: sitk.Image
) -> None:
    plain, page = (
        Markup(render_report(Case(tiny_chest, result, note=words, credit=words)))
        for result, words in ((make_result(warnings=("Noise.",)), "A note."), (hostile, EVIL))
    )
    assert page.tags == plain.tags
    assert not page.handlers
    assert all(link.startswith("data:image/") for link in page.links)
    assert sum(EVIL in words for words in page.words) >= 10


def test_the_pdf_report_holds_no_link_script_or_form(hostile: ScanResult, tiny_chest: sitk.Image) -> None:
    pdf = render_pdf(Case(tiny_chest, hostile, note=EVIL, credit=EVIL))
    assert not any(mark in pdf for mark in (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"/OpenAction", b"/AcroForm"))


def test_the_window_shows_foreign_words_as_they_are(
    hostile: ScanResult, make_result: Callable[..., ScanResult]
) -> None:
    def caution(result: ScanResult) -> str:
        return panel.caution(result.model)

    def about_model(result: ScanResult) -> str:
        return panel.about_model(result.model, EVIL)

    shown = (
        caution,
        panel.warnings,
        panel.warnings_in_short,
        panel.verdict,
        panel.provenance,
        panel.densitometry,
        about_model,
    )
    for show in shown:
        plain, page = Markup(show(make_result(warnings=("Noise.",)))), Markup(show(hostile))
        assert page.tags == plain.tags
        assert not page.links
        assert not page.handlers
    assert EVIL in Markup(panel.provenance(hostile)).words[-1]


def comparison_of(card: ModelCard, words: str) -> Comparison:
    predictions = Predictions(np.array([0, 1] * 6), np.linspace(0.1, 0.9, 12), tuple(f"p{k}" for k in range(12)))
    figures = measure(predictions, 0.5, words)
    model = ModelFigures(Path(words), card, predictions, figures)
    group = Subgroup("kernel", words, 6, 6, (figures,))
    return Comparison((model,), (), (group,), words, words, words)


def test_a_comparison_shows_foreign_words_in_html_markdown_and_csv(hostile: ScanResult, tmp_path: Path) -> None:
    plain = Markup(comparisonpage.page(comparison_of(dataclasses.replace(hostile.model, name="a"), "words")))
    comparison = comparison_of(hostile.model, EVIL)
    page = Markup(comparisonpage.page(comparison))
    assert page.tags == plain.tags
    assert all(link.startswith("data:image/") for link in page.links)
    text = comparisontables.markdown(comparison)
    assert "<" not in text
    assert "](" not in text.replace(r"\](", "")
    comparisonpage.write(comparison_of(dataclasses.replace(hostile.model, name="=1+1"), "@SUM(A1)"), tmp_path)
    for file in tmp_path.glob("*.csv"):
        for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8"))):
            assert not any(cell.startswith(("=", "+", "@")) for cell in row)


def row_file(path: Path) -> RowFile:
    return RowFile(path, ("a", "b"), ("a", "b"), "test", BatchError)


texts = st.text(max_size=20) | st.sampled_from(["=1", "'=1", "''-x", "'", "-", "\udce9", "a\nb", "\x85"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
@example([("-INFINITY", "-1_0"), ("-1", "+2.5e3")])
def test_no_cell_of_a_table_that_grows_is_a_formula_and_every_cell_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    out = row_file(tmp_path_factory.mktemp("rows") / "out.csv")
    with out.growing() as table:
        table.add(rows)
    expected = [{"a": " ".join(a.splitlines()), "b": " ".join(b.splitlines())} for a, b in rows]
    assert list(out.rows()) == [row for k, row in enumerate(expected) if row not in expected[:k]]
    with out.path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.reader(file):
            words = [cell for cell in row if not re.fullmatch(r"[+-][0-9.]+(e[+-]?[0-9]+)?", cell, re.IGNORECASE)]
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in words)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names of files")
def test_a_batch_takes_files_whose_names_are_hostile_or_no_text(
    model_path: Path, tiny_chest: sitk.Image, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cts"
    folder.mkdir()
    names = [b"=cmd.nrrd", b"latin-\xe9.nrrd", b"two\nlines.nrrd", b"\x1b[2J[link=x].nrrd", "<b>ü.nrrd".encode()]
    sources = [folder / os.fsdecode(name) for name in names]
    for source in sources:
        source.write_text("no CT")
    out = tmp_path / "out.csv"
    assert run_batch(sources, out, model_path).refused == len(names)
    assert run_batch(sources, out, model_path).kept == len(names)
    with pytest.raises(SystemExit) as ended:
        main(["batch", str(folder), "--out", str(tmp_path / "2.csv"), "--model", str(model_path), "--device", "cpu"])
    assert ended.value.code == 0
    assert "\x1b" not in capfd.readouterr().out
    assert tuple(next(csv.reader(io.StringIO(out.read_text(errors="replace"))))) == COLUMNS


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names of files")
@pytest.mark.parametrize("of", ["file", "folder"])
def test_a_ct_whose_path_is_no_text_is_refused_before_itk_ends_the_process(
    tiny_chest: sitk.Image, tmp_path: Path, of: str
) -> None:
    odd = os.fsdecode(b"latin-\xe9")
    path = tmp_path / f"{odd}.nrrd" if of == "file" else tmp_path / odd / "chest.nrrd"
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(tiny_chest, str(tmp_path / "chest.nrrd"))
    (tmp_path / "chest.nrrd").rename(path)
    with pytest.raises(UnreadableInputError, match="rename"):
        read_ct(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names of files")
def test_a_ct_whose_name_a_terminal_would_obey_is_scanned_and_named(
    tiny_chest: sitk.Image, model_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "\x1b[2J[link=x]\n<b>.nrrd"
    sitk.WriteImage(tiny_chest, str(tmp_path / "chest.nrrd"))
    (tmp_path / "chest.nrrd").rename(path)
    options = ["--model", str(model_path), "--device", "cpu", "--no-pictures", "--named"]
    with pytest.raises(SystemExit) as ended:
        main(["scan", str(path), "--out", str(tmp_path / "out"), *options])
    said = capfd.readouterr()
    assert ended.value.code == 0, said.err
    assert "\x1b" not in said.out + said.err
    assert "[link=x]" in said.out
    named = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["source"]
    assert named == "\ufffd[2J[link=x] <b>.nrrd"


def test_a_file_that_is_not_there_is_named_without_what_a_terminal_obeys(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["scan", str(tmp_path / "\x1b[2Jno.nrrd"), "--out", str(tmp_path / "out")])
    assert "\x1b" not in capfd.readouterr().err


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters()))
def test_what_is_shown_is_one_line_that_every_encoding_of_unicode_holds(text: str) -> None:
    said = shown(text)
    said.encode()
    assert len(said.splitlines()) <= 1
    assert "\x1b" not in said
    assert shown(said) == said


@pytest.mark.parametrize("name", ["/../../../evil", "..\\evil", "a/b", "", "x" * 100, "a\0", "=1", "ä"])
@pytest.mark.parametrize("of", ["activations", "regions"])
def test_a_record_in_a_strangers_scene_cannot_name_files(name: str, of: str) -> None:
    """Maps of a record are written as activation_<name>.nrrd."""
    result = scan(phantom_image(), model_of("conv_lstm"))
    values = json.loads(record_to_json(result))
    part = values["maps"] if of == "activations" else values["densitometry"]
    part[of][name] = next(iter(part[of].values()))
    with pytest.raises(RecordError, match="scan the CT again"):
        result_from_json(json.dumps(values), result.lung_mask)


def test_a_strangers_list_of_files_cannot_have_others_removed(tmp_path: Path) -> None:
    victim, out = tmp_path / "victim.txt", tmp_path / "out"
    victim.write_text("mine")
    out.mkdir()
    (out / FILE_LIST).write_text(f"../victim.txt\n{victim}\nreport.html\n")
    (out / "report.html").write_text("old")
    with whole_or_nothing(out) as folder:
        (folder / "new.txt").write_text("new")
    assert victim.read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == [FILE_LIST, "new.txt"]


def test_a_folder_with_a_link_to_elsewhere_is_refused_or_left_alone(tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    out.mkdir()
    (out / "link").symlink_to(elsewhere)
    (out / FILE_LIST).write_text("link/mine.txt\nlink\n")
    try:
        with whole_or_nothing(out) as folder:
            (folder / "new.txt").write_text("new")
    except EmphysemaScannerError:
        pass
    assert (elsewhere / "mine.txt").read_text() == "mine"
