"""The panels: where, which slice, save, settings, models, samples; batch and training have files of their own."""

from __future__ import annotations

import dataclasses
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import slicer
import vtk
from EmphysemaScannerLib.lungs.coverage import Coverage
from PySide6 import QtCore
from PySide6.QtTest import QTest
from window.harness.application import choose_file
from window.harness.driver import Driver, settle, wait_until, write
from window.harness.pythonqt import plain
from window.harness.qtmodules import QFileDialog

ABOUT_TAB = 2
IN_SIGHT = 475  # pixels of the panel's height that Slicer leaves at 1280 x 800 above an open data probe


@pytest.fixture
def scanned(window: Driver) -> Driver:
    """The window with a scanned CT."""
    window.add_ct()
    window.scan()
    return window


def axial() -> slicer.vtkMRMLSliceLogic:
    """The axial view."""
    return slicer.app.layoutManager().sliceWidget("Red").sliceLogic()


OWN = ("EVIDENCE", "ASC1", "DESC1", "ASC2", "DESC2")  # overlays of the model here, which has neither map nor weights


def indices(driver: Driver, *names: str) -> list[int]:
    """Places of overlays in the list."""
    overlays = list(driver.module("scene.overlays").Overlay)
    return [k for k, overlay in enumerate(overlays) if overlay.name in names]


def overlay_shown() -> str | None:
    """The volume over the CT in the axial view."""
    return axial().GetSliceCompositeNode().GetForegroundVolumeID()


# -- where ------------------------------------------------------------------------------------------------------------


def test_every_overlay_that_the_result_has_can_be_laid_over_the_ct(scanned: Driver) -> None:
    seen = set()
    for index in indices(scanned, *OWN, "GRADIENT"):
        scanned.ui.overlayComboBox.currentIndex = index
        settle()
        if not scanned.shown("attributeButton"):
            seen.add(overlay_shown())
    assert len(seen) == 5
    assert None not in seen


def test_the_key_and_the_box_hide_and_show_the_overlay(scanned: Driver) -> None:
    assert overlay_shown()
    scanned.ui.overlayVisibleCheckBox.click()
    settle()
    assert overlay_shown() is None
    scanned.panel.window.toggle_overlay()
    settle()
    assert overlay_shown()
    assert scanned.ui.overlayVisibleCheckBox.checked


def test_the_keys_work_while_the_module_is_shown_and_not_elsewhere(scanned: Driver) -> None:
    main = slicer.util.mainWindow()
    plain(main, "activateWindow")()
    QTest.keyClick(main, QtCore.Qt.Key.Key_O)
    settle()
    assert overlay_shown() is None
    QTest.keyClick(main, QtCore.Qt.Key.Key_O)
    settle()
    assert overlay_shown()
    slicer.util.selectModule("Data")
    QTest.keyClick(main, QtCore.Qt.Key.Key_O)
    settle()
    assert overlay_shown()


def test_opacity_threshold_and_colours_reach_the_views(scanned: Driver) -> None:
    scanned.ui.overlayOpacitySlider.value = 0.3
    settle()
    assert axial().GetSliceCompositeNode().GetForegroundOpacity() == pytest.approx(0.3)
    display = slicer.mrmlScene.GetNodeByID(overlay_shown()).GetDisplayNode()
    scanned.ui.overlayThresholdSlider.value = 0.6
    scanned.ui.overlayColoursComboBox.currentIndex = 1
    settle()
    before = display.GetColorNodeID(), display.GetColorNode().GetMTime()
    scanned.ui.overlayColoursComboBox.currentIndex = 2
    settle()
    assert (display.GetColorNodeID(), display.GetColorNode().GetMTime()) != before


def test_an_overlay_is_shown_in_3d_and_goes_again(scanned: Driver) -> None:
    before = len(scanned.node_ids())
    scanned.ui.overlay3DCheckBox.click()
    settle()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeRenderingDisplayNode") == 1
    scanned.ui.overlay3DCheckBox.click()
    settle()
    assert len(scanned.node_ids()) == before


def test_gradient_attribution_is_computed_when_it_is_asked_for(scanned: Driver) -> None:
    gradient = scanned.ui.overlayComboBox.count - 1
    scanned.ui.overlayComboBox.currentIndex = gradient
    settle()
    assert scanned.shown("attributeButton")
    scanned.press("attributeButton")
    assert not scanned.shown("attributeButton")
    assert "logit" in scanned.ui.statusLabel.text
    assert overlay_shown()


def test_a_cancelled_attribution_adds_nothing(scanned: Driver) -> None:
    def endless(_image: object, _model: object, *, progress: Callable[[float, str], None], **_given: object) -> None:
        while True:
            progress(0.5, "Attributing")
            time.sleep(0.01)

    scanned.ui.overlayComboBox.currentIndex = scanned.ui.overlayComboBox.count - 1
    settle()
    before = scanned.node_ids()
    with mock.patch.object(scanned.module("scan.attribution"), "attribute", endless):
        QtCore.QTimer.singleShot(100, lambda: scanned.ui.attributeButton.click())
        scanned.press("attributeButton")
    assert "ancelled" in scanned.ui.statusLabel.text
    assert scanned.node_ids() == before
    assert scanned.ui.attributeButton.enabled
    assert scanned.shown("attributeButton")


# -- which slice ------------------------------------------------------------------------------------------------------


def test_a_click_into_the_table_moves_the_views_and_the_text(scanned: Driver) -> None:
    table = scanned.ui.tellingTable
    texts = set()
    for row in range(3):
        plain(table, "cellClicked").emit(row, 0)
        settle()
        wanted = float(table.item(row, 0).text())
        assert axial().GetSliceOffset() == pytest.approx(wanted, abs=1.0)
        assert f"S {wanted:.0f} mm" in scanned.ui.positionLabel.text
        texts.add(scanned.ui.positionLabel.text)
    assert len(texts) == 3


def test_moving_the_axial_view_brings_the_text_along(scanned: Driver) -> None:
    axial().SetSliceOffset(40.0)
    settle()
    assert "S 40 mm" in scanned.ui.positionLabel.text


def click_into_plot(share: float) -> float:
    """Click at a share of the position axis; where the axial view is then."""
    view = slicer.app.layoutManager().plotWidget(0).plotView()
    axis = view.chart().GetAxis(vtk.vtkAxis.LEFT)
    bottom, top = axis.GetPoint1()[1], axis.GetPoint2()[1]
    assert top > bottom
    interactor = view.renderWindow().GetInteractor()
    interactor.SetEventInformation(100, round(bottom + share * (top - bottom)))
    interactor.InvokeEvent("LeftButtonPressEvent")
    interactor.InvokeEvent("LeftButtonReleaseEvent")
    settle()
    return axial().GetSliceOffset()


def test_a_click_into_a_plot_moves_the_axial_view(scanned: Driver) -> None:
    view = slicer.app.layoutManager().plotWidget(0).plotView()
    view.fitToContent()
    axis = view.chart().GetAxis(vtk.vtkAxis.LEFT)
    span = axis.GetUnscaledMaximum() - axis.GetUnscaledMinimum()
    assert click_into_plot(0.75) - click_into_plot(0.25) == pytest.approx(span / 2, abs=0.05 * span)


def test_plots_take_clicks_after_a_result_was_added_to(scanned: Driver) -> None:
    scanned.ui.overlayComboBox.currentIndex = scanned.ui.overlayComboBox.count - 1
    scanned.press("attributeButton")
    slicer.app.layoutManager().plotWidget(0).plotView().fitToContent()
    assert click_into_plot(0.75) > click_into_plot(0.25)


def test_dragging_in_a_plot_moves_nothing(scanned: Driver) -> None:
    view = slicer.app.layoutManager().plotWidget(0).plotView()
    view.fitToContent()
    interactor, before = view.renderWindow().GetInteractor(), axial().GetSliceOffset()
    interactor.SetEventInformation(120, 100)
    interactor.InvokeEvent("LeftButtonPressEvent")
    interactor.SetEventInformation(260, 100)
    interactor.InvokeEvent("LeftButtonReleaseEvent")
    settle()
    assert axial().GetSliceOffset() == before


def test_the_right_plot_is_the_chosen_one(scanned: Driver) -> None:
    seen = set()
    for index in range(scanned.ui.chartComboBox.count):
        scanned.ui.chartComboBox.currentIndex = index
        settle()
        seen.add(slicer.app.layoutManager().plotWidget(1).mrmlPlotViewNode().GetPlotChartNodeID())
    assert len(seen) == 7  # those that this model's result has


def test_playing_reads_the_scan_and_stops_where_it_began(scanned: Driver) -> None:
    answer, verdict = scanned.ui.probabilityLabel.text, scanned.ui.verdictLabel.text
    timer = scanned.panel.window.slices._timer
    timer.interval = 1
    scanned.press("playButton")
    wait_until(lambda: "Playing: " in scanned.ui.verdictLabel.text, "the first slice")
    scanned.press("playButton")
    assert (scanned.ui.probabilityLabel.text, scanned.ui.verdictLabel.text) == (answer, verdict)
    scanned.press("playButton")
    wait_until(lambda: not scanned.ui.playButton.checked, "the end of the scan")
    assert (scanned.ui.probabilityLabel.text, scanned.ui.verdictLabel.text) == (answer, verdict)


def test_playing_ends_when_another_ct_is_chosen(scanned: Driver) -> None:
    scanned.press("playButton")
    scanned.add_ct("Another")
    assert not scanned.ui.playButton.checked
    assert not scanned.ui.resultTabs.isTabEnabled(1)


# -- save -------------------------------------------------------------------------------------------------------------


def test_what_is_ticked_is_written_and_named(scanned: Driver, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    scanned.ui.saveFolderPathLineEdit.currentPath = str(folder)
    for box in (
        "saveHtmlCheckBox",
        "savePdfCheckBox",
        "saveCsvCheckBox",
        "savePlotsCheckBox",
        "saveOverlaysCheckBox",
        "saveSceneCheckBox",
    ):
        getattr(scanned.ui, box).checked = True
    scanned.press("saveButton")
    written = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert {"report.html", "report.pdf", "slices.csv", "densitometry.csv", "evidence.nrrd", "scene.mrb"} <= written
    assert {"histogram.png", "histogram.svg", "laa_by_region.png"} <= written
    told = scanned.ui.saveStatusLabel.text
    assert str(folder) in told
    assert "report.html" in told
    scanned.press("saveButton")  # again into the same folder
    assert scanned.ui.saveStatusLabel.text == told
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == written


@pytest.mark.parametrize("named", [False, True])
def test_a_report_names_the_ct_only_if_that_is_ticked(window: Driver, named: bool, tmp_path: Path) -> None:
    window.add_ct("Jane Doe")
    window.scan()
    window.ui.saveFolderPathLineEdit.currentPath = str(tmp_path / "results")
    for box in ("savePdfCheckBox", "saveSceneCheckBox"):
        getattr(window.ui, box).checked = False
    for box in ("saveHtmlCheckBox", "saveCsvCheckBox"):
        getattr(window.ui, box).checked = True
    assert not window.ui.saveNameCheckBox.checked
    window.ui.saveNameCheckBox.checked = named
    window.press("saveButton")
    written = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert any("Jane Doe" in f"{path.name} {path.read_text('utf-8', 'replace')}" for path in written) == named


def test_saving_nothing_or_nowhere_is_said(scanned: Driver, tmp_path: Path) -> None:
    scanned.ui.saveFolderPathLineEdit.currentPath = ""
    scanned.press("saveButton")
    assert "folder" in scanned.ui.saveStatusLabel.text
    scanned.ui.saveFolderPathLineEdit.currentPath = str(tmp_path / "results")
    for box in (
        "saveHtmlCheckBox",
        "savePdfCheckBox",
        "saveCsvCheckBox",
        "savePlotsCheckBox",
        "saveOverlaysCheckBox",
        "saveSceneCheckBox",
    ):
        getattr(scanned.ui, box).checked = False
    scanned.press("saveButton")
    assert scanned.ui.saveStatusLabel.text.endswith(".")
    assert not (tmp_path / "results").exists()


def test_a_folder_with_other_files_is_left_alone(scanned: Driver, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    scanned.ui.saveFolderPathLineEdit.currentPath = str(tmp_path)
    scanned.ui.saveHtmlCheckBox.checked = True
    scanned.press("saveButton")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert str(tmp_path) in scanned.ui.saveStatusLabel.text


# -- models and settings ----------------------------------------------------------------------------------------------


def test_a_model_that_is_gone_is_named_and_the_shipped_one_chosen(window: Driver, tmp_path: Path) -> None:
    window.parameters.modelPath = tmp_path / "gone.safetensors"
    window.panel.enter()
    assert "gone.safetensors" in window.ui.statusLabel.text
    assert window.parameters.modelPath == window.module("models.modelfolder").default_model_path()


def test_models_of_the_folder_are_listed_and_can_be_chosen(window: Driver, tmp_path: Path) -> None:
    window.add_ct()
    shutil.copyfile(window.model, tmp_path / "mine.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no model")
    window.ui.modelFolderPathLineEdit.currentPath = str(tmp_path)
    settle()
    texts = [window.ui.modelComboBox.itemText(i) for i in range(window.ui.modelComboBox.count)]
    assert any("broken.safetensors" in text for text in texts)
    tips = [window.ui.modelComboBox.itemData(i, 3) for i in range(window.ui.modelComboBox.count)]
    window.ui.modelComboBox.currentIndex = next(i for i, tip in enumerate(tips) if "mine.safetensors" in tip)
    settle()
    assert window.parameters.modelPath == tmp_path / "mine.safetensors"
    window.scan()
    assert window.shown("answerFrame")


def test_a_model_that_is_browsed_for_is_chosen(window: Driver) -> None:
    QFileDialog.answers.append(str(window.model))
    window.press("browseModelButton")
    assert window.parameters.modelPath == window.model
    QFileDialog.answers.append("")  # the user cancels
    window.press("browseModelButton")
    assert window.parameters.modelPath == window.model


def test_what_is_known_about_a_model_is_shown_when_asked(window: Driver) -> None:
    window.ui.resultTabs.currentIndex = ABOUT_TAB
    assert window.shown("aboutModelLabel")
    assert "Limits" in window.ui.aboutModelLabel.text
    window.add_ct()
    window.scan()
    assert not window.shown("aboutModelLabel")  # an answer comes to the front


def test_settings_outlive_the_window(window: Driver, tmp_path: Path) -> None:
    cpu = [window.ui.deviceComboBox.itemText(i) for i in range(window.ui.deviceComboBox.count)].index("CPU")
    window.ui.deviceComboBox.currentIndex = cpu
    window.ui.precisionComboBox.currentIndex = 1
    window.ui.measureComboBox.currentIndex = 1
    window.ui.modelFolderPathLineEdit.currentPath = str(tmp_path)
    window.panel.onReload()
    settle()
    assert window.ui.deviceComboBox.currentIndex == cpu
    assert window.ui.precisionComboBox.currentIndex == 1
    assert window.ui.measureComboBox.currentIndex == 1
    assert window.ui.modelFolderPathLineEdit.currentPath == str(tmp_path)


@pytest.mark.parametrize(
    "value", ["", "\0", "x" * 5000, "../..", "/dev/null", ["a", "b"], -3, True, "<b>", "\N{GRINNING FACE}"]
)
def test_settings_that_were_damaged_read_as_the_defaults(window: Driver, value: object) -> None:
    for key in ("Device", "Precision", "Measure", "ModelFolder"):
        slicer.app.settings().setValue(f"EmphysemaScanner/{key}", value)
    window.panel.onReload()
    settle()
    combos = (window.ui.deviceComboBox, window.ui.precisionComboBox, window.ui.measureComboBox)
    assert [combo.currentIndex for combo in combos] == [0, 0, 0]
    window.add_ct()
    window.scan()
    assert window.shown("answerFrame")


# -- getting a CT -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_loaded_is_chosen(window: Driver, tmp_path: Path) -> None:
    window.add_ct("First")
    path = tmp_path / "second.nrrd"
    write(window.ui.inputSelector.currentNode(), path)
    choose_file(path)
    window.load("File...")
    assert window.ui.inputSelector.currentNode().GetName() == "second"
    window.load("File...")  # the user cancels
    assert window.ui.inputSelector.currentNode().GetName() == "second"


def test_dicom_goes_to_slicers_dicom_module(window: Driver) -> None:
    window.load("DICOM...")
    assert slicer.util.selectedModule() == "DICOM"


def test_a_sample_case_is_loaded_chosen_and_can_be_scanned(window: Driver) -> None:
    window.load(window.module("window.samples").names()[0])
    assert window.ui.inputSelector.currentNode() is not None
    window.parameters.modelPath = window.model
    window.scan()
    assert window.shown("answerFrame")


def test_the_sample_cases_are_offered_in_slicers_sample_data(window: Driver) -> None:
    sources = slicer.modules.sampleDataSources["Emphysema Scanner"]
    assert len(sources) == 2
    for source in sources:
        assert Path(source.thumbnailFileName).is_file()
    node = sources[0].customDownloader(sources[0])
    settle()
    assert node.GetImageData() is not None


def test_slicer_finds_a_file_for_each_sample_case_that_is_loaded_by_its_name(window: Driver) -> None:
    import SampleData

    (to_local,) = SampleData.SampleDataLogic.rules.values()
    sizes = []
    for source in slicer.modules.sampleDataSources["Emphysema Scanner"]:
        assert source.nodeNames == [source.sampleName]
        (url,) = (to_local(uri) for uri in source.uris)
        with urllib.request.urlopen(url) as file:
            sizes.append(len(file.read()))
    assert min(sizes) > 1_000_000
    assert sizes[0] != sizes[1]
    assert to_local("https://example.org/ct.nrrd") == "https://example.org/ct.nrrd"


def test_warnings_are_in_one_line_until_they_are_asked_for(scanned: Driver) -> None:
    label, panel = scanned.ui.warningsLabel, scanned.panel.window.answer
    many = dataclasses.replace(panel.result, warnings=("One.", "Two.", "Three.", "Four."))
    panel.show(many)
    assert "(4)" in label.text
    assert "<br>" not in label.text
    plain(label, "linkActivated").emit("#")
    assert "Four." in label.text
    plain(label, "linkActivated").emit("#")
    assert "Four." not in label.text
    panel.show(dataclasses.replace(panel.result, warnings=()))
    assert not scanned.shown("warningsLabel")


def test_why_there_is_no_call_stands_with_the_probability(scanned: Driver) -> None:
    panel = scanned.panel.window.answer
    missing = Coverage(missing_top_percent=20.0, missing_bottom_percent=0.0)
    panel.show(dataclasses.replace(panel.result, probability=0.0, coverage=missing))
    assert scanned.ui.verdictLabel.text.startswith("No call: the apices are not in this CT")
    assert scanned.shown("verdictLabel")


def test_the_answer_and_what_it_is_looked_at_with_are_in_sight_without_scrolling(scanned: Driver) -> None:
    main = slicer.util.mainWindow()
    main.show()
    settle()
    panel = scanned.ui.EmphysemaScanner
    for name in ("probabilityLabel", "verdictLabel", "warningsLabel", "overlayComboBox", "densitometryLabel"):
        widget = getattr(scanned.ui, name)
        corner = plain(widget, "mapTo")(panel, QtCore.QPoint(0, plain(widget, "height")()))
        assert plain(widget, "isVisible")(), name
        assert corner.y() < IN_SIGHT, name


# -- the CT -----------------------------------------------------------------------------------------------------------


def test_the_window_of_the_ct_is_the_chosen_one(scanned: Driver) -> None:
    display = scanned.ui.inputSelector.currentNode().GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1500, -600)
    scanned.ui.ctWindowComboBox.currentIndex = 1
    settle()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-1000, -600)
    display.SetWindowLevel(300, 40)  # by hand
    scanned.ui.overlayOpacitySlider.value = 0.3
    settle()
    assert (display.GetWindow(), display.GetLevel()) == (300, 40)


def test_the_window_can_be_chosen_before_a_scan_and_another_ct_keeps_its_own(window: Driver) -> None:
    first = window.add_ct("First")
    window.ui.ctWindowComboBox.currentIndex = 1
    settle()
    assert first.GetDisplayNode().GetLevel() == -800
    second = window.add_ct("Second")
    assert second.GetDisplayNode().GetLevel() == -800
    second.GetDisplayNode().SetWindowLevel(300, 40)  # by hand
    window.choose(first)
    window.choose(second)
    assert second.GetDisplayNode().GetLevel() == 40


def test_the_bare_view_follows_the_axial_one_and_the_axial_one_it(scanned: Driver) -> None:
    manager = slicer.app.layoutManager()
    bare = manager.sliceWidget("EmphysemaScannerBare").sliceLogic()
    assert bare.GetSliceCompositeNode().GetForegroundVolumeID() is None
    axial().SetSliceOffset(20.0)
    settle()
    assert bare.GetSliceOffset() == pytest.approx(20.0)
    bare.SetSliceOffset(-15.0)
    settle()
    assert axial().GetSliceOffset() == pytest.approx(-15.0)
    assert "S -15 mm" in scanned.ui.positionLabel.text


def test_an_outline_takes_the_place_of_the_filled_overlay_and_leaves_with_it(scanned: Driver) -> None:
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    (scanned.ui.overlayComboBox.currentIndex,) = indices(scanned, "EVIDENCE")
    scanned.ui.overlayDrawingComboBox.currentIndex = 1
    settle()
    assert overlay_shown() is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count + 1
    assert "Outlined at" in scanned.ui.overlayDescriptionLabel.text
    scanned.ui.overlayVisibleCheckBox.click()
    settle()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count


def test_each_overlay_is_described_and_the_value_from_which_on_it_is_drawn_follows_the_threshold(
    scanned: Driver,
) -> None:
    texts = set()
    for index in indices(scanned, *OWN, "GRADIENT"):
        scanned.ui.overlayComboBox.currentIndex = index
        settle()
        texts.add(scanned.ui.overlayDescriptionLabel.text)
    assert len(texts) == len(OWN) + 1
    (scanned.ui.overlayComboBox.currentIndex,) = indices(scanned, "EVIDENCE")
    assert "of this CT alone" not in scanned.ui.overlayDescriptionLabel.text  # evidence has a fixed range
    for share, value in ((0.0, "0.2"), (0.5, "1")):  # the floor, and half of the range
        scanned.ui.overlayThresholdSlider.value = share
        settle()
        assert f"Drawn from {value} logit per slice." in scanned.ui.overlayDescriptionLabel.text
