"""Self-tests of the window; they run inside Slicer and press real buttons."""
# ruff: noqa: PT009 (run by unittest: Slicer has no pytest)

import importlib.util
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import selftestdata
import SimpleITK as sitk
import slicer
from EmphysemaScannerLib.scan.device import Device
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.overlays import Drawing, Overlay
from EmphysemaScannerLib.scene.straighten import image_from_volume_node

from EmphysemaScanner import phantomVolume

try:
    from SampleData import SampleDataLogic
except ImportError:  # a Slicer that was built without it
    SampleDataLogic = None

needsTorch = unittest.skipUnless(importlib.util.find_spec("torch"), "PyTorch is not installed")


class EmphysemaScannerWindowTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        slicer.util.selectModule("EmphysemaScanner")
        self.widget = slicer.modules.EmphysemaScannerWidget
        self.ui, self.window = self.widget.ui, self.widget.window
        self.widget.enter()
        self.folder = Path(tempfile.mkdtemp(dir=slicer.app.temporaryPath))

    def chooseCt(self):
        volumeNode = phantomVolume()
        node = self.widget.logic.getParameterNode()
        node.inputVolume = volumeNode
        if importlib.util.find_spec("torch"):
            node.modelPath = selftestdata.modelPath()
        return volumeNode

    def test_slicer_lists_the_module(self) -> None:
        module = slicer.modules.emphysemascanner
        self.assertEqual(module.title, "Emphysema Scanner")
        self.assertIn("research use only", module.helpText.lower())
        self.assertIn("Braman", module.acknowledgementText)
        self.assertFalse(module.icon.isNull())

    def test_there_is_nothing_to_scan_without_a_ct(self) -> None:
        self.assertFalse(self.ui.scanButton.enabled)
        self.assertTrue(self.ui.answerFrame.isHidden())

    def test_a_ct_that_is_in_the_scene_is_chosen_on_entering(self) -> None:
        volumeNode = phantomVolume()
        self.widget.enter()
        self.assertIs(self.ui.inputSelector.currentNode(), volumeNode)

    def test_choices_in_the_window_are_kept_in_the_scene(self) -> None:
        self.ui.overlayOpacitySlider.value = 0.25
        self.ui.overlayComboBox.currentIndex = 1
        node = self.widget.logic.getParameterNode()
        self.assertAlmostEqual(node.overlayOpacity, 0.25)
        self.assertIs(node.overlay, list(Overlay)[1])

    def test_without_pytorch_its_installation_is_offered_and_the_rest_works(self) -> None:
        self.chooseCt()
        with mock.patch("importlib.util.find_spec", return_value=None):
            self.widget.onParametersChanged()
            self.assertFalse(self.ui.torchFrame.isHidden())
            self.assertFalse(self.ui.scanButton.enabled)
            self.assertGreater(self.ui.modelComboBox.count, 0)
        self.widget.onParametersChanged()
        self.assertEqual(self.ui.torchFrame.isHidden(), importlib.util.find_spec("torch") is not None)

    @needsTorch
    def test_scan_shows_probability_densitometry_and_overlay(self) -> None:
        self.chooseCt()
        self.ui.scanButton.click()
        self.assertTrue(self.ui.statusLabel.isHidden(), self.ui.statusLabel.text)
        self.assertFalse(self.ui.answerFrame.isHidden())
        self.assertIn("%", self.ui.probabilityLabel.text)
        self.assertIn("LAA%-950", self.ui.densitometryLabel.text)
        self.assertEqual(self.ui.scanButton.text, "Scan")

    @needsTorch
    def test_the_scan_button_cancels_a_running_scan(self) -> None:
        self.chooseCt()
        before = selftestdata.sceneState()
        seen = []

        def cancel() -> None:
            seen.append(self.ui.scanButton.text)
            self.ui.scanButton.click()

        qt.QTimer.singleShot(0, cancel)
        self.ui.scanButton.click()
        self.assertEqual(seen, ["Cancel"])
        self.assertIn("Cancelled", self.ui.statusLabel.text)
        self.assertTrue(self.ui.answerFrame.isHidden())
        self.assertEqual(selftestdata.sceneState(), before)
        self.assertTrue(self.ui.scanButton.enabled)

    @needsTorch
    def test_what_cannot_be_scanned_gets_one_sentence_and_no_result(self) -> None:
        volumeNode = self.chooseCt()
        slicer.util.updateVolumeFromArray(volumeNode, np.full((40, 64, 64), 100, np.int16))
        self.ui.scanButton.click()
        self.assertFalse(self.ui.statusLabel.isHidden())
        self.assertTrue(self.ui.statusLabel.text.endswith("."))
        self.assertTrue(self.ui.answerFrame.isHidden())

    @needsTorch
    def test_a_result_is_shown_only_while_its_ct_is_chosen(self) -> None:
        scanned = self.chooseCt()
        self.ui.scanButton.click()
        node = self.widget.logic.getParameterNode()
        node.inputVolume = phantomVolume()
        self.assertTrue(self.ui.answerFrame.isHidden())
        node.inputVolume = scanned
        self.assertFalse(self.ui.answerFrame.isHidden())

    @needsTorch
    def test_an_error_goes_and_the_result_comes_back_with_its_ct(self) -> None:
        scanned = self.chooseCt()
        self.ui.scanButton.click()
        offset = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceOffset()
        node = self.widget.logic.getParameterNode()
        node.inputVolume = slicer.util.addVolumeFromArray(np.full((40, 64, 64), 100, np.int16))
        self.ui.scanButton.click()
        self.assertFalse(self.ui.statusLabel.isHidden())
        node.inputVolume = scanned
        self.assertTrue(self.ui.statusLabel.isHidden())
        red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
        self.assertEqual(red.GetSliceCompositeNode().GetBackgroundVolumeID(), scanned.GetID())
        self.assertAlmostEqual(red.GetSliceOffset(), offset, delta=4)

    @needsTorch
    def test_closing_the_scene_removes_the_result_from_the_window(self) -> None:
        self.chooseCt()
        self.ui.scanButton.click()
        slicer.mrmlScene.Clear()
        self.assertTrue(self.ui.answerFrame.isHidden())
        self.assertFalse(self.ui.scanButton.enabled)

    def scan(self):
        volumeNode = self.chooseCt()
        self.ui.scanButton.click()
        self.assertTrue(self.ui.statusLabel.isHidden(), self.ui.statusLabel.text)
        return volumeNode

    def test_a_demonstration_model_is_named_before_anything_is_scanned(self) -> None:
        self.assertIn("Demonstration model", self.ui.researchUseLabel.text)
        self.assertIn("Trained on", self.ui.aboutModelLabel.text)

    def test_both_sample_cases_load_and_are_chosen(self) -> None:
        from EmphysemaScannerLib.window import samples

        actions = {action.text: action for action in self.ui.loadButton.menu().actions()}
        for name in samples.names():
            actions[name].trigger()
            chosen = self.ui.inputSelector.currentNode()
            self.assertIsNotNone(chosen)
            self.assertLess(slicer.util.arrayFromVolume(chosen).min(), -900)
            slicer.mrmlScene.Clear()

    @unittest.skipUnless(hasattr(SampleDataLogic, "downloadSample"), "Slicer's module Sample Data is not there")
    def test_both_sample_cases_load_by_name_through_sample_data(self) -> None:
        for source in slicer.modules.sampleDataSources["Emphysema Scanner"]:
            node = SampleDataLogic().downloadSample(source.sampleName)
            self.assertEqual(node.GetName(), source.sampleName)
            self.assertEqual(node.GetImageData().GetDimensions(), (224, 224, 67))

    @needsTorch
    def test_the_reading_layout_comes_with_a_result_and_goes_with_the_module(self) -> None:
        layoutNode = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.scan()
        self.assertNotEqual(layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        slicer.util.selectModule("Data")
        self.assertEqual(layoutNode.GetViewArrangement(), slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    @needsTorch
    def test_the_key_switches_the_overlay_off_and_on(self) -> None:
        self.scan()
        layers = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
        self.assertIsNotNone(layers.GetForegroundVolumeID())
        self.window.toggle_overlay()
        self.assertIsNone(layers.GetForegroundVolumeID())
        self.window.toggle_overlay()
        self.assertIsNotNone(layers.GetForegroundVolumeID())

    @needsTorch
    def test_the_answer_and_what_it_is_looked_at_with_are_in_sight_without_scrolling(self) -> None:
        slicer.util.mainWindow().resize(1280, 800)
        self.scan()
        self.wait(lambda: False, 0.5)
        viewport = self.ui.EmphysemaScanner.parent()
        while viewport is not None and viewport.name != "qt_scrollarea_viewport":
            viewport = viewport.parent()
        for widget in (self.ui.probabilityLabel, self.ui.overlayComboBox, self.ui.densitometryLabel):
            bottom = widget.mapTo(viewport, qt.QPoint(0, widget.height)).y()
            self.assertLessEqual(bottom, viewport.height, widget.name)

    @needsTorch
    def test_a_bar_of_the_plots_lies_at_the_level_of_its_slice_in_the_coronal_view(self) -> None:
        volumeNode = self.scan()
        if not slicer.app.layoutManager().plotWidget(0).visible:
            self.skipTest("No plot is drawn here")
        nodes = self.widget.logic.find(volumeNode)
        green = slicer.app.layoutManager().sliceWidget("Green").mrmlSliceNode()
        plot = slicer.app.layoutManager().plotWidget(0).plotView()
        position = -20.0

        def heights() -> tuple[float, float]:
            """Of a position, as shares of the coronal view's and the plot's heights."""
            fieldOfView = green.GetFieldOfView()[1]
            inView = 0.5 + (position - green.GetSliceToRAS().GetElement(2, 3)) / fieldOfView
            axis, (low, high) = plot.chart().GetAxis(0), nodes.charts[Chart.EVIDENCE].GetYAxisRange()
            bottom, top = axis.GetPoint1()[1], axis.GetPoint2()[1]
            inPlot = bottom + (position - low) / (high - low) * (top - bottom)
            return inView, inPlot / plot.renderWindow().GetSize()[1]

        self.assertTrue(self.wait(lambda: abs(heights()[0] - heights()[1]) < 0.01), heights())
        green.SetFieldOfView(*(1.3 * size for size in green.GetFieldOfView()[:2]), 1.0)
        self.assertTrue(self.wait(lambda: abs(heights()[0] - heights()[1]) < 0.01), heights())

    @needsTorch
    def test_an_outline_takes_the_place_of_the_filled_overlay(self) -> None:
        self.scan()
        layers = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
        self.widget.logic.getParameterNode().overlayDrawing = Drawing.OUTLINE
        self.assertIsNone(layers.GetForegroundVolumeID())
        self.assertIn("Outlined at", self.ui.overlayDescriptionLabel.text)

    @needsTorch
    def test_choosing_a_row_of_the_table_moves_the_axial_view_and_the_text_follows(self) -> None:
        volumeNode = self.scan()
        result = self.widget.logic.result(volumeNode)
        last = self.ui.tellingTable.rowCount - 1
        self.ui.tellingTable.setCurrentCell(last, 0)
        red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
        position = result.slice_positions_mm[result.telling_slices(last + 1)[last]]
        self.assertAlmostEqual(red.GetSliceOffset(), position, delta=1)
        red.SetSliceOffset(result.slice_positions_mm[3])
        self.assertIn(f"slice 4 of {len(result.slices.evidence)}", self.ui.positionLabel.text)

    @needsTorch
    def test_playing_reads_all_slices_and_ends_with_the_answer(self) -> None:
        self.scan()
        answer = self.ui.probabilityLabel.text
        self.ui.playButton.click()
        self.assertTrue(self.wait(lambda: "slices read so far" in self.ui.verdictLabel.text))
        self.assertTrue(self.wait(lambda: not self.ui.playButton.checked))
        self.assertEqual(self.ui.probabilityLabel.text, answer)

    @needsTorch
    def test_every_plot_can_be_chosen(self) -> None:
        self.scan()
        shown = set()
        plot = slicer.mrmlScene.GetSingletonNode("PlotView2", "vtkMRMLPlotViewNode")
        for chart in Chart:
            self.widget.logic.getParameterNode().chart = chart
            shown.add(plot.GetPlotChartNodeID())
        self.assertEqual(len(shown), 7)  # those that a Conv-LSTM has; another is shown for the rest

    @needsTorch
    def test_what_is_ticked_is_saved(self) -> None:
        self.scan()
        ui = self.ui
        ui.saveFolderPathLineEdit.currentPath = str(self.folder / "saved")
        ui.saveHtmlCheckBox.checked = ui.savePdfCheckBox.checked = False
        ui.saveCsvCheckBox.checked = ui.saveOverlaysCheckBox.checked = ui.saveSceneCheckBox.checked = True
        ui.saveButton.click()
        written = {path.suffix for path in (self.folder / "saved").iterdir()}
        self.assertLessEqual({".csv", ".nrrd", ".mrb"}, written, ui.statusLabel.text)

    @needsTorch
    def test_a_saved_scene_opens_with_its_answer(self) -> None:
        self.scan()
        answer = self.ui.probabilityLabel.text
        scenePath = str(self.folder / "scene.mrb")
        self.assertTrue(slicer.util.saveScene(scenePath))
        slicer.mrmlScene.Clear()
        self.assertTrue(self.ui.answerFrame.isHidden())
        with mock.patch("importlib.util.find_spec", return_value=None):  # as where PyTorch is not installed
            slicer.util.loadScene(scenePath)
            self.assertFalse(self.ui.answerFrame.isHidden())
            self.assertEqual(self.ui.probabilityLabel.text, answer)

    @needsTorch
    def test_a_result_that_somebody_removes_leaves_the_window(self) -> None:
        from EmphysemaScannerLib.scene.result import remove_result

        volumeNode = self.scan()
        remove_result(self.widget.logic.find(volumeNode))
        self.assertTrue(self.wait(lambda: self.ui.answerFrame.isHidden()))

    @needsTorch
    def test_a_result_that_the_console_shows_comes_into_the_window(self) -> None:
        volumeNode = self.chooseCt()
        self.widget.logic.show(self.widget.logic.scan(volumeNode, selftestdata.modelPath()))
        self.assertTrue(self.wait(lambda: not self.ui.answerFrame.isHidden()))

    @needsTorch
    def test_a_batch_fills_table_and_csv(self) -> None:
        for k in range(2):
            sitk.WriteImage(image_from_volume_node(phantomVolume()), str(self.folder / f"ct{k}.nrrd"))
        slicer.mrmlScene.Clear()
        self.widget.logic.getParameterNode().modelPath = selftestdata.modelPath()
        self.ui.batchSourcePathLineEdit.currentPath = str(self.folder)
        self.ui.batchOutputPathLineEdit.currentPath = str(self.folder / "batch.csv")
        self.ui.batchButton.click()
        self.assertEqual(self.ui.batchTable.rowCount, 2, self.ui.batchStatusLabel.text)
        self.assertEqual(len((self.folder / "batch.csv").read_text().splitlines()), 3)

    def test_a_batch_without_a_folder_asks_for_one(self) -> None:
        self.ui.batchSourcePathLineEdit.currentPath = ""
        self.ui.batchButton.click()
        self.assertIn("Choose a folder", self.ui.batchStatusLabel.text)

    def test_a_training_without_a_manifest_asks_for_one(self) -> None:
        self.ui.manifestPathLineEdit.currentPath = ""
        self.ui.trainButton.click()
        self.assertIn("manifest", self.ui.trainStatusLabel.text)
        self.assertFalse(self.window.training.running)

    def test_settings_are_remembered(self) -> None:
        before = self.ui.deviceComboBox.currentIndex
        try:
            self.ui.deviceComboBox.currentIndex = list(Device).index(Device.CPU)
            self.assertEqual(str(slicer.app.settings().value("EmphysemaScanner/Device")), "cpu")
        finally:
            self.ui.deviceComboBox.currentIndex = before

    def wait(self, condition, seconds: float = 30) -> bool:
        """Whether a condition comes true while the window goes on."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)
        return condition()

    def test_the_module_can_be_reloaded(self) -> None:
        self.widget.onReload()
        reloaded = slicer.modules.EmphysemaScannerWidget
        self.assertIsNot(reloaded, self.widget)
        self.assertFalse(reloaded.ui.scanButton.enabled)
