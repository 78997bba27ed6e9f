"""A model of each kind, chosen in the window's list and scanned with; every chart and overlay that is offered works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import slicer
from EmphysemaScannerLib.models import modelfile
from everymodel import model_of
from PySide6 import QtCore
from window.harness.driver import Driver, settle
from window.harness.pythonqt import plain

if TYPE_CHECKING:
    from pathlib import Path

EXPLANATIONS = {
    "mil_mean": "estimates a probability for each slice",
    "mil_attention": "gives each slice an attention weight",
    "cnn3d": "has no output by slice",
    "laa950_logistic": "has no output by slice",
}
CHARTS = {
    "mil_mean": ["slice_probability", "laa"],
    "mil_attention": ["weight", "slice_probability", "laa"],
    "cnn3d": ["laa"],
    "laa950_logistic": ["laa"],
}
NOT_BY_SLICE = ["laa_by_lung", "histogram", "regions"]  # measured in every CT
COLUMNS = {
    "mil_mean": ["S (mm)", "Slice probability", "LAA%-950 (%)"],
    "mil_attention": ["S (mm)", "Attention weight", "Slice probability", "LAA%-950 (%)"],
    "cnn3d": ["S (mm)", "LAA%-950 (%)"],
    "laa950_logistic": ["S (mm)", "LAA%-950 (%)"],
}
NAMES = pytest.mark.parametrize("name", sorted(EXPLANATIONS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    for name in EXPLANATIONS:
        model = model_of(name)
        modelfile.save(folder / f"{name}.safetensors", model.network, model.card)
    return folder


def choose_model(window: Driver, folder: Path, name: str) -> None:
    """Choose a model of the user's folder in the list."""
    ui = window.ui
    ui.modelFolderPathLineEdit.currentPath = str(folder)
    settle()
    texts = [ui.modelComboBox.itemText(index) for index in range(ui.modelComboBox.count)]
    ui.modelComboBox.currentIndex = texts.index(f"random {name}")
    settle()


def offered(combo: object) -> list[int]:
    """Places in a list that can be chosen."""
    model = plain(combo, "model")()
    return [k for k in range(model.rowCount()) if model.flags(model.index(k, 0)) & QtCore.Qt.ItemFlag.ItemIsEnabled]


@NAMES
def test_a_model_of_any_kind_answers_and_every_choice_that_is_offered_shows(
    window: Driver, folder: Path, name: str
) -> None:
    ct = window.add_ct()
    choose_model(window, folder, name)
    window.scan()
    ui, parameters = window.ui, window.parameters
    assert ui.statusLabel.text == ""
    assert f"random {name}" in ui.provenanceLabel.text
    assert EXPLANATIONS[name] in ui.verdictLabel.text
    assert window.ui.playButton.isHidden()
    titles = [ui.tellingTable.horizontalHeaderItem(k).text() for k in range(ui.tellingTable.columnCount)]
    assert titles == COLUMNS[name]
    chart, overlay = window.module("scene.charts").Chart, window.module("scene.overlays").Overlay
    charts, overlays = list(chart), list(overlay)
    assert [charts[k].value for k in offered(ui.chartComboBox)] == [*CHARTS[name], *NOT_BY_SLICE]
    nodes = window.panel.logic.find(ct)
    scene = slicer.mrmlScene
    assert parameters.chart in nodes.charts
    for k in offered(ui.chartComboBox):
        ui.chartComboBox.currentIndex = k
        settle()
        plots = [scene.GetSingletonNode(tag, "vtkMRMLPlotViewNode") for tag in ("PlotView1", "PlotView2")]
        assert plots[0].GetPlotChartNode() is nodes.charts[chart(CHARTS[name][0])]
        assert plots[1].GetPlotChartNode() is nodes.charts[charts[k]]
    if name == "laa950_logistic":
        assert not ui.overlayComboBox.enabled
        assert window.shown("attributeButton")
        assert not ui.attributeButton.enabled
        assert "nothing to attribute" in ui.attributeButton.toolTip
        return
    assert [overlays[k].value for k in offered(ui.overlayComboBox)] == ["evidence", "gradient"]
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetForegroundVolumeID() == nodes.overlays[overlay.TERMS].GetID()
    ui.overlayComboBox.currentIndex = overlays.index(overlay.GRADIENT)
    settle()
    window.press("attributeButton")
    assert "Gradient attribution" in ui.statusLabel.text
    assert red.GetForegroundVolumeID() == window.panel.logic.find(ct).overlays[overlay.GRADIENT].GetID()


def test_a_row_of_the_table_moves_the_views_and_the_sentence_says_what_the_number_is(
    window: Driver, folder: Path
) -> None:
    window.add_ct()
    choose_model(window, folder, "mil_attention")
    window.scan()
    window.ui.tellingTable.setCurrentCell(2, 0)
    settle()
    sentence = window.ui.positionLabel.text
    assert "attention weight" in sentence
    assert "(not evidence)" in sentence
    assert "slice probability" in sentence
    assert f"S {window.ui.tellingTable.item(2, 0).text()} mm" in sentence


def test_the_chart_and_the_play_button_come_back_with_a_model_that_reads_slice_after_slice(
    window: Driver, folder: Path
) -> None:
    window.add_ct()
    wanted = window.parameters.chart
    for name in ("laa950_logistic", "mil_mean"):
        choose_model(window, folder, name)
        window.scan()
        assert window.parameters.chart is not wanted
    before = window.node_ids()
    window.scan()
    assert len(window.node_ids()) == len(before)
    window.parameters.modelPath = window.model
    settle()
    window.scan()
    assert not window.ui.playButton.isHidden()
    assert window.parameters.chart is wanted
    assert "read as slice" in window.ui.positionLabel.text
