"""What is saved of a result: the PDF says what the page says, the tables are the result, all or nothing is written."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
import re
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path

import matplotlib
import numpy as np
import pypdf
import pytest
import SimpleITK as sitk
import typst
from EmphysemaScannerLib.base.errors import ScanCancelled
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.ct.provenance import LeftOut, Provenance, Series
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.report import saving, wording
from EmphysemaScannerLib.report.contents import Case, contents
from EmphysemaScannerLib.report.outputfolder import FILE_LIST, OutputFolderError
from EmphysemaScannerLib.report.pdfreport import render_pdf
from EmphysemaScannerLib.report.report import render_report
from EmphysemaScannerLib.report.saving import Kind, save_case
from EmphysemaScannerLib.report.tablefiles import densitometry_csv, slices_csv
from EmphysemaScannerLib.scan.result import ScanResult
from matplotlib.figure import Figure

MakeResult = Callable[..., ScanResult]
READ = Provenance(Series("2", "Thorax", slices=132), (LeftOut("key image", 1, "it is not a CT image"),))
LIBRARY = Path(cli.__file__).resolve().parents[2]
MAPS = ["evidence.nrrd", *(f"activation_{unit}.nrrd" for unit in ("asc1", "desc1", "asc2", "desc2"))]


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures, for tests of the text around them."""
    for name in ("overlay_montage", "slice_chart"):
        monkeypatch.setattr(f"EmphysemaScannerLib.report.pictures.{name}", lambda case: Figure((7.5, 4), dpi=20))


def pages_of(document: bytes) -> list[str]:
    """The text of each page of a PDF."""
    pages = pypdf.PdfReader(io.BytesIO(document)).pages
    return [re.sub(r"\s+", " ", page.extract_text()) for page in pages]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("quick_pictures")
def test_the_pdf_says_what_the_page_says_in_the_same_order(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    card = dataclasses.replace(make_result().model, training_log=("Trained once.", "Fine-tuned later."))
    result = make_result(source="somebody's chest.nrrd", warnings=("Slices are thick.",), model=card, provenance=READ)
    case = Case(tiny_chest, result, note="It is made of numbers.", credit="nobody, CC0")
    page = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", render_report(case).split("<body>")[1])))
    pdf = " ".join(pages_of(render_pdf(case)))
    parts = [
        "somebody's chest.nrrd",
        wording.RESEARCH_USE,
        wording.caution(result.model),
        wording.WARNINGS,
        "Slices are thick.",
        "It is made of numbers.",
        "Probability of emphysema according to the model",
        wording.percent(result.probability),
        "The CT",
        "Evidence by slice",
        "How to read the evidence",
        f"Bias ({result.bias:+.2f})",
        f"the logit ({result.logit:+.2f})",
        "Both lungs",
        "Lower third",
        "Series read",
        "Left out",
        "About the model",
        result.model.name,
        "Trained once.",
        "Fine-tuned later.",
        "Intended use",
        "nobody, CC0",
    ]
    for text in (page, pdf):
        place = 0
        for part in parts:
            place = text.find(part, place)
            assert place >= 0, part


@pytest.mark.usefixtures("quick_pictures")
def test_every_page_ends_with_the_research_use_line_and_its_number(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    pages = pages_of(render_pdf(Case(tiny_chest, make_result())))
    assert len(pages) > 1
    for number, text in enumerate(pages, start=1):
        assert wording.RESEARCH_USE in text
        assert f"page {number} of {len(pages)}" in text


@pytest.mark.usefixtures("quick_pictures")
def test_texts_of_any_length_stay_on_the_pages_and_are_never_markup(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    long = "very " * 900 + "long"
    strange = ("$x^2", r"\alpha_{", "#set page(width: 1mm)", "*bold* _thin_ @label <label> = heading", "#" * 400)
    card = dataclasses.replace(make_result().model, limits=long, demonstration=False, citations=strange)
    result = make_result(source="/".join(["folder"] * 60), model=card, warnings=strange, densitometry={})
    document = render_pdf(Case(tiny_chest, result))
    reader = pypdf.PdfReader(io.BytesIO(document))
    assert {(round(page.mediabox.width), round(page.mediabox.height)) for page in reader.pages} == {(595, 842)}
    text = " ".join(pages_of(document))
    assert "Demonstration" not in text
    assert text.count("very") == 900
    for whole in strange[:4]:
        assert text.count(whole) == 2
    assert text.replace(" ", "").count("#" * 400) == 2


def shapes_of(text: str) -> int:
    """How many different shapes a text is drawn with."""
    source = b'#set text(font: "DejaVu Sans")\n#sys.inputs.text'
    fonts = [str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")]
    drawing = typst.compile(source, format="svg", font_paths=fonts, sys_inputs={"text": text})
    return len(set(re.findall(rb'<symbol id="([^"]+)"', drawing)))


@pytest.mark.usefixtures("quick_pictures")
def test_names_in_arabic_letters_are_joined(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    document = render_pdf(Case(tiny_chest, make_result(source="محمد علي")))
    assert pypdf.PdfReader(io.BytesIO(document)).metadata.title == "محمد علي"
    assert "this computer's fonts" not in pages_of(document)[0]
    assert shapes_of("م م") == 1
    assert shapes_of("ممم") == 3  # the letter at the beginning, in the middle and at the end of a word


@pytest.mark.usefixtures("quick_pictures")
def test_characters_that_no_font_holds_are_named(
    make_result: MakeResult, tiny_chest: sitk.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_the_computers = functools.partial(typst.Fonts, include_system_fonts=False)
    monkeypatch.setattr(typst, "Fonts", without_the_computers)
    document = render_pdf(Case(tiny_chest, make_result(source="王 Müller")))
    assert "missing from this computer's fonts: U+738B." in pages_of(document)[0]
    assert pypdf.PdfReader(io.BytesIO(document)).metadata.title == "王 Müller"
    assert "this computer's fonts" not in pages_of(render_pdf(Case(tiny_chest, make_result(source="Müller Ελένη"))))[0]


@pytest.mark.usefixtures("quick_pictures")
def test_a_name_in_chinese_is_drawn_in_a_font_of_the_computer(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    has_chinese = [font.path for font in typst.Fonts().fonts() if font.path and "CJK" in font.family]
    if not has_chinese:
        pytest.skip("no font with Chinese characters is installed here")
    text = pages_of(render_pdf(Case(tiny_chest, make_result(source="王小明"))))[0]
    assert "王小明" in text
    assert "this computer's fonts" not in text


@pytest.mark.usefixtures("quick_pictures")
def test_the_pdf_of_a_case_with_known_lesions_says_what_the_outline_is(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    lesions = np.zeros(make_result().lung_mask.grid.shape, np.uint8)
    lesions[10:60, 24:40, 14:24] = 1
    assert "Green outline: true lesions." in " ".join(pages_of(render_pdf(Case(tiny_chest, make_result(), lesions))))


@pytest.mark.usefixtures("quick_pictures")
def test_without_a_call_the_pdf_gives_the_reason_and_calls_nothing_negative(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    withheld = make_result(probability=0.1, coverage=Coverage(12.0, 0.0))
    text = " ".join(pages_of(render_pdf(Case(tiny_chest, withheld))))
    assert withheld.call_reason in text
    assert text.count("Shown pale because no call is made.") == 2
    assert "Negative" not in text


def test_the_pdf_holds_the_pictures(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    document = render_pdf(Case(tiny_chest, make_result()))
    widths = [image.image.width for page in pypdf.PdfReader(io.BytesIO(document)).pages for image in page.images]
    assert 1500 in widths  # the montage
    assert len(document) < 8_000_000


@pytest.mark.usefixtures("quick_pictures")
def test_the_same_case_gives_the_same_pdf(
    make_result: MakeResult, tiny_chest: sitk.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tiny_chest, make_result())
    report = contents(case)
    monkeypatch.setattr("EmphysemaScannerLib.report.pdfreport.contents", lambda case: report)
    assert render_pdf(case) == render_pdf(case)


def test_the_tables_hold_the_results_numbers(make_result: MakeResult) -> None:
    result = make_result()
    slices = list(csv.DictReader(io.StringIO(slices_csv(result))))
    assert [float(row["evidence"]) for row in slices] == result.slices.evidence.tolist()
    assert [float(row["position_mm"]) for row in slices] == result.slice_positions_mm.tolist()
    assert [int(row["read"]) for row in slices] == list(range(1, 36))
    assert float(slices[-1]["running_logit"]) == result.logit
    assert float(slices[-1]["running_probability"]) == pytest.approx(result.probability)
    assert slices[0]["laa_950_percent"] == ""  # NaN: no lung there
    regions = list(csv.DictReader(io.StringIO(densitometry_csv(result))))
    assert [row["region"] for row in regions] == list(result.densitometry)
    for row in regions:
        expected = dataclasses.asdict(result.densitometry[row["region"]])
        assert {name: float(row[name]) for name in expected} == expected
    nothing = dataclasses.replace(result.densitometry["whole"], perc15_hu=math.nan)
    assert "nan" not in densitometry_csv(make_result(densitometry={"whole": nothing}))


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ({Kind.CSV}, ["slices.csv", "densitometry.csv"]),
        ({Kind.OVERLAYS}, MAPS),
        (set(Kind), ["report.html", "report.pdf", "slices.csv", "densitometry.csv", *MAPS]),
    ],
    ids=["csv", "overlays", "all"],
)
def test_the_chosen_kinds_are_written_and_nothing_else(
    make_result: MakeResult, tiny_chest: sitk.Image, tmp_path: Path, kinds: set[Kind], expected: list[str]
) -> None:
    written = save_case(Case(tiny_chest, make_result()), tmp_path / "out", kinds)
    assert written == [tmp_path / "out" / name for name in expected]
    assert names(tmp_path / "out") == {*expected, FILE_LIST}
    assert all(path.stat().st_size for path in written)


def test_files_of_the_user_are_never_touched(make_result: MakeResult, tiny_chest: sitk.Image, tmp_path: Path) -> None:
    (tmp_path / "slices.csv").write_text("mine")
    with pytest.raises(OutputFolderError, match=r"slices\.csv"):
        save_case(Case(tiny_chest, make_result()), tmp_path, {Kind.CSV})
    assert (tmp_path / "slices.csv").read_text() == "mine"
    assert names(tmp_path) == {"slices.csv"}


def test_an_error_half_way_leaves_the_earlier_files(
    make_result: MakeResult, tiny_chest: sitk.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tiny_chest, make_result())
    save_case(case, tmp_path / "out", {Kind.CSV})

    def fail(result: ScanResult) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "densitometry_csv", fail)
    with pytest.raises(OSError, match="No space"):
        save_case(case, tmp_path / "out", {Kind.OVERLAYS, Kind.CSV})
    assert names(tmp_path / "out") == {"slices.csv", "densitometry.csv", FILE_LIST}


@pytest.mark.parametrize("call", [0, 1, 2])
def test_saving_that_is_cancelled_leaves_the_earlier_files(
    make_result: MakeResult, tiny_chest: sitk.Image, tmp_path: Path, call: int
) -> None:
    case = Case(tiny_chest, make_result())
    save_case(case, tmp_path / "out", {Kind.CSV})
    stages: list[str] = []

    def cancel(fraction: float, stage: str) -> None:
        stages.append(stage)
        if len(stages) > call:
            raise ScanCancelled("cancelled")

    with pytest.raises(ScanCancelled):
        save_case(case, tmp_path / "out", {Kind.OVERLAYS, Kind.CSV}, progress=cancel)
    assert len(stages) == call + 1
    assert names(tmp_path / "out") == {"slices.csv", "densitometry.csv", FILE_LIST}


def test_a_scene_made_elsewhere_goes_in_with_the_rest_and_is_replaced_with_it(
    make_result: MakeResult, tiny_chest: sitk.Image, tmp_path: Path
) -> None:
    case, out = Case(tiny_chest, make_result()), tmp_path / "out"
    (tmp_path / "scene.mrb").write_text("a scene")
    assert save_case(case, out, {Kind.CSV}, [tmp_path / "scene.mrb"])[-1] == out / "scene.mrb"
    assert (out / "scene.mrb").read_text() == "a scene"
    save_case(case, out, {Kind.OVERLAYS})
    assert names(out) == {*MAPS, FILE_LIST}


def test_the_window_can_import_it_without_torch_or_matplotlib() -> None:
    code = (
        "import sys\n"
        "import EmphysemaScannerLib.report.saving\n"
        "heavy = {'torch', 'safetensors', 'matplotlib', 'jinja2', 'typst', 'rich', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
