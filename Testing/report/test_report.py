"""The report and result.json say what the result says, safely."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.commands.terminal import print_scan
from EmphysemaScannerLib.ct.provenance import LeftOut, Provenance, Series
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.models.modelcard import ClassWeights, DiseaseMap, OperatingPoint, UnitWeights
from EmphysemaScannerLib.report import richtext as panel
from EmphysemaScannerLib.report import wording
from EmphysemaScannerLib.report.contents import Case
from EmphysemaScannerLib.report.montage import AXIAL_ROWS, COLUMNS, Volume, axial_choice
from EmphysemaScannerLib.report.report import render_report
from EmphysemaScannerLib.report.slicewords import undrawn_share
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult, SliceEvidence
from EmphysemaScannerLib.scan.serialise import result_to_dict, result_to_json
from PIL import Image
from rich.console import Console

MakeResult = Callable[..., ScanResult]
OUTLINE_RGB = (61, 255, 61)


class Page(HTMLParser):
    """What a browser would see: tags, addresses, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def picture(page: Page) -> np.ndarray:
    """The montage as RGB."""
    png = base64.b64decode(page.addresses[0].removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def page(make_result: MakeResult, tiny_chest: sitk.Image) -> Page:
    result = make_result(
        source="<script>alert(1)</script>.nrrd",
        warnings=("Slices are <b>thick</b>.",),
        model=dataclasses.replace(make_result().model, name="a & b", training_data="<img src=x>"),
    )
    return Page(render_report(Case(tiny_chest, result, credit="somebody's CT")))


def test_text_from_files_and_models_never_becomes_markup(page: Page) -> None:
    assert "script" not in page.tags
    assert page.tags.count("img") == 2
    for text in ("<script>alert(1)</script>.nrrd", "Slices are <b>thick</b>.", "<img src=x>", "a & b"):
        assert text in page.text


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    assert len(page.addresses) == 2
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "link" not in page.tags
    style = page.text[: page.text.index("EmphysemaScanner · chest CT report")]
    assert "url(" not in style
    assert "@import" not in style


def test_one_line_and_the_warnings_stand_before_the_answer_and_the_card_behind_all_else(page: Page) -> None:
    order = [
        wording.RESEARCH_USE,
        "Demonstration model",
        wording.WARNINGS,
        "Slices are",
        "Probability of emphysema",
        "How to read",
        "About the model",
        "<img src=x>",  # what the model was trained on
    ]
    places = [page.text.index(part) for part in order]
    assert places == sorted(places)


def test_a_validated_model_is_not_called_a_demonstration(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    model = dataclasses.replace(make_result().model, demonstration=False)
    page = Page(render_report(Case(tiny_chest, make_result(model=model))))
    assert "Demonstration" not in page.text
    assert "is not a diagnosis" in page.text
    assert wording.RESEARCH_USE in page.text


def test_the_report_names_the_figures_of_the_result(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    result = make_result()
    text = Page(render_report(Case(tiny_chest, result))).text
    assert wording.percent(result.probability) in text
    assert wording.verdict(result) in text
    assert f"{result.bias:+.2f}" in text
    assert f"{result.logit:+.2f}" in text
    for region in ("Both lungs", "Right lung", "Left lung", "Upper third", "Middle third", "Lower third"):
        assert region in text
    assert f"{result.densitometry['whole'].volume_l:.2f}" in text


def test_true_lesions_are_outlined_and_only_then(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    lesions = np.zeros(make_result().lung_mask.grid.shape, np.uint8)
    lesions[10:60, 24:40, 14:24] = 1

    def outlined(case: Case) -> int:
        return int((np.abs(picture(Page(render_report(case))) - OUTLINE_RGB).max(-1) < 40).sum())

    assert outlined(Case(tiny_chest, make_result())) == 0
    assert outlined(Case(tiny_chest, make_result(), lesions)) > 200


def test_the_overlay_is_drawn_inside_the_lungs_only(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    volume = Volume(Case(tiny_chest, make_result(slices=None)))
    for plane, mask in (
        (volume.axial(35), volume.mask[35, volume.box[1], volume.box[2]]),
        (volume.coronal(30), volume.mask[volume.box[0], 30, volume.box[2]][::-1]),
    ):
        assert mask.any()
        assert np.array_equal(np.isfinite(plane.overlay), mask)


def test_evidence_by_place_is_drawn_where_it_lies(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    evidence = np.zeros((35, 8, 8), np.float32)
    evidence[20, 4, 2] = 1.0  # above the middle, in the patient's right lung
    result = make_result(evidence=OverlayMap(evidence, make_result().evidence.grid), slices=None)
    drawn = np.nan_to_num(Volume(Case(tiny_chest, result)).axial(41).overlay)  # CT slices 40 and 41: grid slice 20
    assert drawn[:, : drawn.shape[1] // 2].max() > 0.4
    assert drawn[:, drawn.shape[1] // 2 :].max() < 0.05


def test_evidence_that_depends_on_the_order_of_reading_is_not_painted_over_the_lungs(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    case = Case(tiny_chest, make_result())
    assert Volume(case).paint.overlay is None
    text = Page(render_report(case)).text
    assert "does not say where disease is" in text
    assert "Orange" not in text


def test_without_a_disease_map_the_class_weighted_activation_is_drawn(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    plain = make_result()
    weights = ClassWeights((UnitWeights("asc1", (1.0,), 0.0, 0.4),), "invented cases")
    values = np.zeros((35, 64, 64), np.float32)
    values[20, :, :32] = 0.8
    result = dataclasses.replace(
        plain,
        model=dataclasses.replace(plain.model, class_weights=weights),
        class_activations={"asc1": OverlayMap(values, plain.lung_fraction.grid.resized(values.shape))},
    )
    case = Case(tiny_chest, result)
    drawn = np.nan_to_num(Volume(case).axial(41).overlay)
    assert drawn[:, : drawn.shape[1] // 2].max() > 0.5
    assert drawn[:, drawn.shape[1] // 2 + 2 :].max() < 0.05
    text = Page(render_report(case)).text
    assert "Found on invented cases" in text
    assert "from 0.40 on" in text


def test_the_strongest_slice_is_among_the_pictures_and_they_stay_in_reading_order(make_result: MakeResult) -> None:
    evidence = np.zeros(35)
    evidence[17] = -3.0
    chosen = axial_choice(make_result(slices=SliceEvidence(evidence, np.cumsum(evidence))), COLUMNS * AXIAL_ROWS)
    assert 17 in chosen
    assert chosen == sorted(set(chosen))
    assert len(chosen) == COLUMNS * AXIAL_ROWS


def test_evidence_that_no_picture_shows_is_counted(make_result: MakeResult) -> None:
    evidence = np.zeros((35, 8, 8), np.float32)
    evidence[17, 4, 2] = 3.0  # in the right lung
    evidence[17, 0, 0] = -1.0  # in a corner of the picture
    assert undrawn_share(make_result(evidence=OverlayMap(evidence, make_result().evidence.grid))) == pytest.approx(0.25)


def test_a_ct_stored_upside_down_gives_the_same_pictures(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    flipped = sitk.DICOMOrient(tiny_chest, "RAI")
    pages = [Page(render_report(Case(image, make_result()))) for image in (tiny_chest, flipped)]
    assert np.array_equal(picture(pages[0]), picture(pages[1]))


@pytest.mark.parametrize("probability", [0.0, 1e-6, 0.47, 0.99999, 1.0])
def test_words_never_claim_certainty(probability: float) -> None:
    assert wording.percent(probability) not in ("0 %", "100 %")


def test_a_probability_at_the_operating_point_is_called_positive(make_result: MakeResult) -> None:
    model = dataclasses.replace(make_result().model, operating_point=OperatingPoint(0.5, "test"))
    assert wording.verdict(make_result(model=model, probability=0.5)).startswith("Positive")
    assert wording.verdict(make_result(model=model, probability=0.4999)).startswith("Negative")


def test_a_probability_close_to_the_operating_point_is_not_said_to_be_below_itself(make_result: MakeResult) -> None:
    model = dataclasses.replace(make_result().model, operating_point=OperatingPoint(0.5241, "test"))
    assert "below the operating point (52.4 %)" in wording.verdict(make_result(model=model, probability=0.52)).lower()


def test_without_a_call_the_probability_is_grey_and_the_reason_stands_beside_it(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    called = make_result(probability=0.1)
    withheld = dataclasses.replace(called, coverage=Coverage(12.0, 0.0))
    html = render_report(Case(tiny_chest, withheld))
    assert '<section class="headline withheld">' in html
    assert html.count('class="faded"') == 2
    assert withheld.call_reason in unescape(html)
    assert "Negative for emphysema" not in html
    plain = render_report(Case(tiny_chest, called))
    assert "Negative for emphysema" in plain
    assert not {"withheld", "faded"} & set(re.findall(r"\w+", plain.split("<body")[1]))


def test_without_a_call_the_terminal_says_why_and_calls_nothing_negative(make_result: MakeResult) -> None:
    withheld = make_result(probability=0.1, coverage=Coverage(12.0, 0.0))
    console = Console(record=True, width=200, force_terminal=True, color_system="standard", file=io.StringIO())
    print_scan(console, withheld, Path("out"))
    said = console.export_text(styles=True)
    assert withheld.call_reason in said
    assert "Negative for emphysema" not in said
    assert "\x1b[1;90m10 %" in said  # bold and grey


READ = Provenance(
    Series("2", "Thorax <1 mm>", "B30f", "ORIGINAL\\PRIMARY\\AXIAL", 132),
    (
        LeftOut("series 3 'MinIP', kernel B30f, 133 slices", 133, "it is derived"),
        LeftOut("key image", 1, "it is not a CT image"),
    ),
)
READ_SENTENCES = (
    "2 'Thorax <1 mm>', kernel B30f, image type ORIGINAL\\PRIMARY\\AXIAL, 132 slices",
    "series 3 'MinIP', kernel B30f, 133 slices (133 files): it is derived",
    "key image (1 file): it is not a CT image",
)


def test_report_terminal_and_window_say_which_series_was_read_and_what_was_left_out(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    result = make_result(provenance=READ)
    console = Console(width=400, file=io.StringIO())
    print_scan(console, result, Path("out"))
    window = unescape(panel.provenance(result))
    for sentence in READ_SENTENCES:
        assert sentence in Page(render_report(Case(tiny_chest, result))).text
        assert sentence in console.file.getvalue()
        assert sentence in window


def test_of_a_series_only_what_dicom_states_is_said() -> None:
    assert wording.series_read(Series(slices=80)) == "without a number, 80 slices"
    assert wording.series_read(Series("4", acquisition="2", slices=80)) == "4, acquisition 2, 80 slices"


def test_of_a_ct_that_is_no_dicom_nothing_is_said_of_series(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    assert "Series read" not in render_report(Case(tiny_chest, make_result()))
    assert "Series read" not in panel.provenance(make_result())


def test_the_json_holds_what_was_promised_in_reading_order(make_result: MakeResult) -> None:
    result = make_result()
    values = json.loads(result_to_json(result))
    promised = {
        "call", "call_reason", "lung_coverage",
        "probability", "logit", "bias", "running_logit", "slice_evidence", "slice_positions_mm", "operating_point",
        "densitometry", "warnings", "model", "timings_s",
    }  # fmt: skip
    assert promised <= set(values)
    assert np.allclose(values["bias"] + np.cumsum(values["slice_evidence"]), values["running_logit"])
    assert values["running_logit"][-1] == pytest.approx(values["logit"])
    assert values["slice_positions_mm"][0] > values["slice_positions_mm"][-1]
    assert values["reading_order"] == "superior to inferior"
    assert values["densitometry"]["laa_950_percent"] == result.densitometry["whole"].laa_950_percent
    assert values["densitometry"]["regions"]["left"]["volume_l"] == result.densitometry["left"].volume_l
    assert values["operating_point"] == {"probability": 0.47, "source": "chosen for this test"}


def test_numbers_that_json_does_not_have_become_null(make_result: MakeResult) -> None:
    nothing = dataclasses.replace(make_result().densitometry["whole"], perc15_hu=float("nan"), mean_hu=float("inf"))
    result = make_result(densitometry={"whole": nothing})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    values = json.loads(result_to_json(result), parse_constant=refuse)
    assert values["densitometry"]["perc15_hu"] is None
    assert values["densitometry"]["mean_hu"] is None
    assert values["laa_950_by_slice_percent"][0] is None
    assert result_to_dict(result)["laa_950_by_slice_percent"][1] == pytest.approx(9 / 34)


def test_the_disease_map_is_drawn_and_said_to_be_learned_from_its_cases(
    make_result: MakeResult, tiny_chest: sitk.Image
) -> None:
    plain = make_result()
    known = DiseaseMap(("asc1",), (1.0,), 0.0, 0.4, "invented cases")
    disease = np.full((35, 64, 64), 0.9, np.float32)
    result = dataclasses.replace(
        plain,
        model=dataclasses.replace(plain.model, disease_map=known),
        disease=OverlayMap(disease, plain.lung_fraction.grid.resized((35, 64, 64))),
        disease_extent_percent=dict.fromkeys(plain.densitometry, 90.0),
    )
    text = Page(render_report(Case(tiny_chest, result))).text
    assert "Learned from invented cases" in text
    assert "at least 40 % probable" in text
    assert "90.0" in text
    without = Page(render_report(Case(tiny_chest, plain))).text
    assert "Disease map" not in without
    assert "Extent" not in without


def test_a_ct_without_a_measure_of_density_still_has_a_report(make_result: MakeResult, tiny_chest: sitk.Image) -> None:
    result = make_result(
        densitometry={},
        lung_fraction=OverlayMap(np.zeros((35, 128, 128), np.float32), make_result().lung_fraction.grid),
    )
    assert "About the model" in Page(render_report(Case(tiny_chest, result))).text
