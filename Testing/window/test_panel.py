"""What the window says about a result, without Slicer."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.lungs.densitometry import Densitometry
from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.report import richtext as panel
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult, SliceEvidence

UI_FILE = Path(panel.__file__).parents[2] / "Resources/UI/EmphysemaScanner.ui"
GRID = Grid((1, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
EMPTY = OverlayMap(np.zeros((1, 1, 1), np.float32), GRID)


def result(probability: float = 0.63, point: float = 0.41, **changes: object) -> ScanResult:
    card = ModelCard(
        name="a model",
        architecture="conv_lstm",
        width=32,
        parameters=901_793,
        preprocessing=Preprocessing(),
        operating_point=OperatingPoint(point, "validation"),
        training_data="made-up cases",
        trained_on="2026-01-01",
        intended_use="tests",
        limits="never shown a patient",
        demonstration=True,
    )
    made = ScanResult(
        probability=probability,
        logit=0.5,
        bias=0.0,
        slices=SliceEvidence(evidence=np.array([0.5]), running_logit=np.array([0.5])),
        slice_positions_mm=np.array([0.0]),
        slice_indices=np.array([0]),
        evidence=EMPTY,
        activations={},
        lung_mask=EMPTY,
        lung_fraction=EMPTY,
        densitometry={"whole": Densitometry(2.57, 20.04, 60.0, -918.4, -835.2, 100.0, 3.694, 600.0)},
        laa_950_by_slice_percent=np.array([2.6]),
        coverage=Coverage(0.0, 0.0),
        warnings=(),
        model=card,
        source="CT <1>",
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def bar(text: str) -> list[tuple[int, str]]:
    """Width in per cent and colour of each cell of the bar, left to right."""
    return [(int(width), colour) for width, colour in re.findall(r'<td width="(\d+)%" bgcolor="(#\w+)">', text)]


def test_a_demonstration_model_is_named_before_its_probability_and_another_is_not() -> None:
    shown = result()
    assert panel.caution(shown.model) == (
        "<b>Research use only. Not for clinical decisions.</b> Demonstration model (Conv-LSTM), not for any patient."
    )
    assert "Demonstration" not in panel.caution(dataclasses.replace(shown.model, demonstration=False))


def test_the_probability_is_said_as_whole_per_cent() -> None:
    assert ">63 %</span> probability of emphysema" in panel.probability(result(0.63))


def test_another_probability_than_the_answer_can_be_shown_as_while_a_scan_is_played() -> None:
    text = panel.probability(result(0.63, 0.41), 0.2)
    assert ">20 %</span> probability of emphysema" in text
    assert bar(text) == bar(panel.probability(result(0.2, 0.41)))


def test_a_probability_above_the_operating_point_fills_the_bar_beyond_the_mark() -> None:
    cells = bar(panel.probability(result(0.63, 0.41)))
    assert cells == [(41, panel.REACHED), (1, panel.MARK), (22, panel.REACHED), (37, panel.NOT_REACHED)]


def test_a_probability_below_the_operating_point_ends_before_the_mark() -> None:
    cells = bar(panel.probability(result(0.20, 0.41)))
    assert cells == [(20, panel.REACHED), (21, panel.NOT_REACHED), (1, panel.MARK), (59, panel.NOT_REACHED)]


@pytest.mark.parametrize("probability", [0.0, 0.41, 1.0])
def test_the_bar_has_one_mark_at_the_extremes_too(probability: float) -> None:
    cells = bar(panel.probability(result(probability, 0.41)))
    assert [colour for _, colour in cells].count(panel.MARK) == 1


def test_without_a_call_probability_and_bar_are_grey_and_the_verdict_says_why() -> None:
    withheld = result(0.20, 0.41, coverage=Coverage(12.0, 0.0))
    assert f'<span style="color:{panel.WITHHELD}">' in panel.probability(withheld)
    assert panel.REACHED not in panel.probability(withheld)
    assert panel.verdict(withheld).startswith("No call: the apices are not in this CT (about 12 %")


def test_the_densitometry_table_has_a_row_for_each_region_and_the_digits_of_the_report() -> None:
    table = ET.fromstring(panel.densitometry(result()).replace("<br>", " "))
    header, row = table.findall("tr")
    assert len(header) == len(row)
    assert [cell.text for cell in row] == ["Both lungs", "2.6", "20.0", "-918", "-835", "3.69"]


def test_warnings_stand_one_below_the_other() -> None:
    both = result(warnings=("Thick slices.", "Noise > 60 HU."))
    assert panel.warnings(both) == "<b>Image quality warnings</b><br>Thick slices.<br>Noise &gt; 60 HU."
    assert panel.warnings(result()) == ""


def test_warnings_in_short_are_counted_and_the_first_one_begun() -> None:
    many = result(warnings=("The slices are 5.0 mm apart & thick: small lesions may be averaged away.", "Second."))
    short = panel.warnings_in_short(many)
    assert short.startswith("<b>Image quality warnings (2):</b> The slices are 5.0 mm")
    assert short.endswith(" ...")
    assert panel.warnings_in_short(result(warnings=("Noise > 60.",))).endswith("(1):</b> Noise &gt; 60.")
    assert panel.warnings_in_short(result()) == ""


def test_the_provenance_says_what_was_scanned_by_which_model() -> None:
    text = panel.provenance(result())
    assert "CT &lt;1&gt;" in text
    assert "a model (Conv-LSTM" in text


def test_the_card_says_what_the_model_was_trained_on_and_how() -> None:
    card = dataclasses.replace(result().model, training_log=("Trained <once>.", "Fine-tuned."))
    text = panel.about_model(card, "a.safetensors")
    for part in ("made-up cases", "Trained &lt;once&gt;.<br>Fine-tuned.", "never shown a patient", "a.safetensors"):
        assert part in text


def test_no_character_of_a_sentence_is_shown_as_its_code() -> None:
    """Qt takes text without a tag for plain text, unless the label's format is rich text."""
    ui = ET.parse(UI_FILE).getroot()
    labels = {widget.get("name"): widget for widget in ui.iter("widget") if widget.get("class") == "QLabel"}
    for name in ("researchUseLabel", "warningsLabel", "probabilityLabel", "verdictLabel", "provenanceLabel"):
        formats = [
            prop.findtext("enum") for prop in labels[name].findall("property") if prop.get("name") == "textFormat"
        ]
        assert formats == ["Qt::RichText"], name
