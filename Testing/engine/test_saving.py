"""What is saved of a result: the PDF says what the page says, the tables are the result, all or nothing is written."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.core.errors import ScanCancelled
from EmphysemaScannerLib.core.result import ScanResult
from EmphysemaScannerLib.engine import cli, saving, wording
from EmphysemaScannerLib.engine.case import Case
from EmphysemaScannerLib.engine.outputfolder import FILE_LIST, OutputFolderError
from EmphysemaScannerLib.engine.pdfpages import BOTTOM, CONTENT, HEIGHT, Pages, text_width, wrap
from EmphysemaScannerLib.engine.pdfreport import render_pdf
from EmphysemaScannerLib.engine.saving import Kind, save_case
from EmphysemaScannerLib.engine.tablefiles import densitometry_csv, slices_csv
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

MakeResult = Callable[..., ScanResult]
LIBRARY = Path(cli.__file__).resolve().parents[2]
MAPS = ["evidence.nrrd", *(f"activation_{unit}.nrrd" for unit in ("asc1", "desc1", "asc2", "desc2"))]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of each page that is drawn."""
    pages: list[list[str]] = []
    line = Pages.line

    def remember(self: Pages, text: str, *position: float, **style: str) -> None:
        while len(pages) < len(self._figures):
            pages.append([])
        pages[-1].append(text)
        assert position[1] + 3 < HEIGHT - BOTTOM, f"'{text}' lies below the page's end"
        line(self, text, *position, **style)

    monkeypatch.setattr(Pages, "line", remember)
    return pages


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures, for tests of the text around them."""
    for name in ("overlay_montage", "slice_chart"):
        monkeypatch.setattr(f"EmphysemaScannerLib.engine.pdfreport.{name}", lambda case: Figure((7.5, 4), dpi=20))


def said(pages: list[list[str]]) -> str:
    return re.sub(r"\s+", " ", " ".join(text for page in pages for text in page))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("quick_pictures")
def test_the_pdf_says_what_the_page_says_in_the_same_order(
    make_result: MakeResult, chest: sitk.Image, drawn: list[list[str]]
) -> None:
    result = make_result(source="somebody's chest.nrrd", warnings=("Slices are thick.",))
    document = render_pdf(Case(chest, result, note="It is made of numbers.", credit="nobody, CC0"))
    assert document.startswith(b"%PDF-")
    text = said(drawn)
    parts = [
        "somebody's chest.nrrd",
        "DEMONSTRATION MODEL",
        wording.caution(result.model),
        "Slices are thick.",
        "It is made of numbers.",
        "Probability of emphysema according to the model",
        wording.percent(result.probability),
        "Where the evidence lies",
        "The reading, slice by slice",
        "How to read the evidence",
        f"the bias ({result.bias:+.2f})",
        f"the logit ({result.logit:+.2f})",
        "Both lungs",
        "Lower third",
        result.model.name,
        "Intended use",
        "nobody, CC0",
    ]
    places = [text.find(part.replace("\N{NO-BREAK SPACE}", " ")) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)


@pytest.mark.usefixtures("quick_pictures")
def test_every_page_ends_with_the_research_use_line_and_its_number(
    make_result: MakeResult, chest: sitk.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    feet: list[tuple[str, str]] = []
    foot = Pages._foot

    def remember(self: Pages, figure: object, left: str, right: str) -> None:
        feet.append((left, right))
        foot(self, figure, left, right)  # type: ignore[arg-type]

    monkeypatch.setattr(Pages, "_foot", remember)
    document = render_pdf(Case(chest, make_result()))
    assert len(re.findall(rb"/Type /Page\b", document)) == len(feet) > 1
    assert {left for left, _ in feet} == {wording.RESEARCH_USE}
    assert [right.endswith(f"page {k} of {len(feet)}") for k, (_, right) in enumerate(feet, start=1)] == [True] * len(
        feet
    )


@pytest.mark.usefixtures("quick_pictures")
def test_texts_of_any_length_and_script_stay_on_the_pages(
    make_result: MakeResult, chest: sitk.Image, drawn: list[list[str]]
) -> None:
    long = "very " * 900 + "long"
    card = dataclasses.replace(make_result().model, limits=long, demonstration=False, citations=("$x^2", "肺気腫"))
    result = make_result(
        source="/".join(["folder"] * 60), model=card, warnings=(r"\alpha_{", "#" * 400), densitometry={}
    )
    assert render_pdf(Case(chest, result)).startswith(b"%PDF-")
    text = said(drawn)
    assert "DEMONSTRATION" not in text
    assert text.count("very") == 900
    for whole in ("$x^2", "肺気腫", r"\alpha_{"):
        assert whole in text
    assert text.count("#") == 400


@pytest.mark.usefixtures("quick_pictures")
def test_the_pdf_of_a_case_with_known_lesions_says_what_the_outline_is(
    make_result: MakeResult, chest: sitk.Image, drawn: list[list[str]]
) -> None:
    lesions = np.zeros(make_result().lung_mask.grid.shape, np.uint8)
    lesions[10:60, 24:40, 14:24] = 1
    render_pdf(Case(chest, make_result(), lesions))
    assert "Green outline: true lesions." in said(drawn)


def test_the_pdf_holds_the_pictures(make_result: MakeResult, chest: sitk.Image) -> None:
    document = render_pdf(Case(chest, make_result()))
    sizes = re.findall(rb"/Height (\d+).*?/Width (\d+)|/Width (\d+).*?/Height (\d+)", document)
    assert len(sizes) >= 2
    assert max(int(number) for size in sizes for number in size if number) > 1200
    assert len(document) < 8_000_000


def test_a_line_is_as_wide_as_matplotlib_draws_it() -> None:
    line = "Below the operating point (31 %): the model calls this CT negative for emphysema."
    box = text_to_path.get_text_width_height_descent(line, FontProperties(size=9, weight="bold"), ismath=False)
    assert text_width(line, 9, "bold") == pytest.approx(box[0] * 25.4 / 72, rel=0.02)


@pytest.mark.parametrize("text", ["a b c " * 60, "x" * 300, "", "one\ntwo", "85 % of it"])
def test_wrapped_lines_fit_and_lose_nothing(text: str) -> None:
    lines = wrap(text, 9, 60, "normal")
    assert all(text_width(line, 9) <= 60 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert not any(line.startswith("%") for line in lines)


def test_a_paragraph_goes_on_on_the_next_page() -> None:
    pages = Pages()
    pages.paragraph("word " * 4000, 9)
    assert len(pages._figures) > 1
    assert pages.y < HEIGHT - BOTTOM
    assert CONTENT == 180


def test_the_tables_hold_the_results_numbers(make_result: MakeResult) -> None:
    result = make_result()
    slices = list(csv.DictReader(io.StringIO(slices_csv(result))))
    assert [float(row["evidence"]) for row in slices] == result.slice_evidence.tolist()
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
    make_result: MakeResult, chest: sitk.Image, tmp_path: Path, kinds: set[Kind], expected: list[str]
) -> None:
    written = save_case(Case(chest, make_result()), tmp_path / "out", kinds)
    assert written == [tmp_path / "out" / name for name in expected]
    assert names(tmp_path / "out") == {*expected, FILE_LIST}
    assert all(path.stat().st_size for path in written)


def test_files_of_the_user_are_never_touched(make_result: MakeResult, chest: sitk.Image, tmp_path: Path) -> None:
    (tmp_path / "slices.csv").write_text("mine")
    with pytest.raises(OutputFolderError, match=r"slices\.csv"):
        save_case(Case(chest, make_result()), tmp_path, {Kind.CSV})
    assert (tmp_path / "slices.csv").read_text() == "mine"
    assert names(tmp_path) == {"slices.csv"}


def test_an_error_half_way_leaves_the_earlier_files(
    make_result: MakeResult, chest: sitk.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(chest, make_result())
    save_case(case, tmp_path / "out", {Kind.CSV})

    def fail(result: ScanResult) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "densitometry_csv", fail)
    with pytest.raises(OSError, match="No space"):
        save_case(case, tmp_path / "out", {Kind.OVERLAYS, Kind.CSV})
    assert names(tmp_path / "out") == {"slices.csv", "densitometry.csv", FILE_LIST}


@pytest.mark.parametrize("call", [0, 1, 2])
def test_saving_that_is_cancelled_leaves_the_earlier_files(
    make_result: MakeResult, chest: sitk.Image, tmp_path: Path, call: int
) -> None:
    case = Case(chest, make_result())
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
    make_result: MakeResult, chest: sitk.Image, tmp_path: Path
) -> None:
    case, out = Case(chest, make_result()), tmp_path / "out"
    (tmp_path / "scene.mrb").write_text("a scene")
    assert save_case(case, out, {Kind.CSV}, [tmp_path / "scene.mrb"])[-1] == out / "scene.mrb"
    assert (out / "scene.mrb").read_text() == "a scene"
    save_case(case, out, {Kind.OVERLAYS})
    assert names(out) == {*MAPS, FILE_LIST}


def test_the_window_can_import_it_without_torch_or_matplotlib() -> None:
    code = (
        "import sys\n"
        "import EmphysemaScannerLib.engine.saving\n"
        "heavy = {'torch', 'safetensors', 'matplotlib', 'jinja2', 'rich', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
