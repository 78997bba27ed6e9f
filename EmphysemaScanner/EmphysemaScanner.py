"""The module Emphysema Scanner of 3D Slicer: its window, and its logic for the Python console.

Loading this file needs no PyTorch. What needs it is imported where it is used.
"""
# ruff: noqa: PT009, PT027 (Slicer's self-tests are unittest's)

import importlib.util
import sys
import unittest
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import slicer
import vtk
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, NotAChestCTError
from EmphysemaScannerLib.base.progress import Progress
from EmphysemaScannerLib.jobs.worker import shared_worker
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.scan.device import Device, Precision
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.colours import ColourMap
from EmphysemaScannerLib.scene.overlays import Overlay
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if TYPE_CHECKING:
    from EmphysemaScannerLib.batch.batch import BatchSummary
    from EmphysemaScannerLib.batch.row import BatchRow
    from EmphysemaScannerLib.evaluation.compare import Comparison, ModelFigures
    from EmphysemaScannerLib.jobs.process import BackgroundProcess
    from EmphysemaScannerLib.report.saving import Kind
    from EmphysemaScannerLib.scan.attribution import Attribution
    from EmphysemaScannerLib.scan.result import ScanResult
    from EmphysemaScannerLib.scene.result import ResultNodes


class EmphysemaScanner(ScriptedLoadableModule):
    """What Slicer lists: title, category, help."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Emphysema Scanner")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Chest Imaging Platform")]
        self.parent.dependencies = []
        self.parent.contributors = ["The EmphysemaScanner contributors"]
        self.parent.helpText = _(
            "Reads a chest CT slice by slice with a convolutional LSTM network, says how probable emphysema is, and"
            " shows where in the lungs and at which slice the evidence came in, with lung densitometry beside it."
            "<p>Choose a chest CT and press <b>Scan</b>. From the Python console:"
            "<pre>logic = slicer.util.getModuleLogic('EmphysemaScanner')\n"
            "result = logic.scan(getNode('CT'))\n"
            "logic.show(result)</pre>"
            "Research use only. Not a medical device; not for diagnosis or treatment."
        )
        self.parent.acknowledgementText = _(
            "The network and its training follow N. Braman, D. Beymer, E. Dehghan, <i>Disease detection in weakly"
            " annotated volumetric medical images using a convolutional LSTM network</i> (2018)."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


@parameterNodeWrapper
class EmphysemaScannerParameterNode:
    """The user's choices; they are saved with the scene, so a renamed field breaks saved scenes."""

    inputVolume: vtkMRMLScalarVolumeNode
    modelPath: Path
    overlay: Overlay = Overlay.EVIDENCE
    overlayVisible: bool = True
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = 0.5
    overlayThreshold: Annotated[float, WithinRange(0, 1)] = 0.1
    overlayColours: ColourMap = ColourMap.STANDARD
    chart: Chart = Chart.PROBABILITY


class EmphysemaScannerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """What Slicer tells the window: set up, entered, left, scene closed, reloaded."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.window = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        from EmphysemaScannerLib.window.window import Window

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/EmphysemaScanner.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = EmphysemaScannerLogic()
        self.window = Window(self.ui, self.logic)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEnd)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEnd)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        if self.logic is not None:
            self.logic.close()
        if self.window is not None:
            self.window.close()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()
        self.window.enter()

    def exit(self) -> None:
        self.window.leave()
        self.setParameterNode(None)

    def onReload(self) -> None:
        self.logic.close()
        for name in [n for n in sys.modules if n.partition(".")[0] == "EmphysemaScannerLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        self.setParameterNode(None)
        self.window.scene_closes()

    def onSceneEnd(self, caller, event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Attach the scene's parameter node."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: EmphysemaScannerParameterNode | None) -> None:
        """Connect the window to another parameter node, or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        if self.window is not None and not self.window.work.closed:
            self.window.follow(parameterNode)

    def onParametersChanged(self, caller=None, event=None) -> None:
        self.window.on_parameters_changed()


class EmphysemaScannerLogic(ScriptedLoadableModuleLogic):
    """The same work for the window and for the Python console; to be called on the main thread.

    Whatever takes long waits while the window stays alive, reports to ``progress`` the share done (0 to 1) and the
    stage, can be ended by ``cancel`` (also from ``progress``), and raises

    - ``ScanCancelled``: it was cancelled, or Slicer is closing;
    - ``VolumeRemovedError``: the CT left the scene in the meantime;
    - ``PackagesMissingError``: PyTorch or another package is not installed;
    - another ``EmphysemaScannerError``: anything else that the user can do something about; the message says what.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._scanned = weakref.WeakValueDictionary()  # results by the ID of their CT's node, for show(result)

    def getParameterNode(self) -> EmphysemaScannerParameterNode:
        return EmphysemaScannerParameterNode(super().getParameterNode())

    def scan(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelPath: Path | str | None = None,
        device: Device = Device.AUTO,
        precision: Precision = Precision.AUTO,
        progress: Progress | None = None,
    ) -> "ScanResult":
        """Ask a model about a chest CT; changes nothing in the scene.

        Args:
            volumeNode: a CT in HU, in any orientation, under any transform.
            modelPath: a model file; the model that comes with the module if None.
            device: where the network runs.
            precision: with how many bits it calculates.
            progress: told the share done and the stage.
        """
        from EmphysemaScannerLib.window import longwork

        result = longwork.scan(volumeNode, self._model(modelPath), device, precision, progress)
        self._scanned[volumeNode.GetID()] = result
        return result

    def show(self, result: "ScanResult", volumeNode: vtkMRMLScalarVolumeNode | None = None) -> "ResultNodes":
        """Put a result into the scene beside its CT: overlays, lungs, tables and charts; whole or not at all.

        Args:
            result: what ``scan`` answered.
            volumeNode: its CT; the one that ``scan`` was given if None.
        """
        from EmphysemaScannerLib.scene.result import show_result

        if volumeNode is None:
            nodeId = next((key for key, known in self._scanned.items() if known is result), None)
            volumeNode = None if nodeId is None else slicer.mrmlScene.GetNodeByID(nodeId)
        if volumeNode is None:
            raise EmphysemaScannerError(_("It is not known which CT this result is of; name its volume node."))
        nodes = show_result(result, volumeNode, slicer.mrmlScene)
        self.setOverlay(volumeNode)
        return nodes

    def setOverlay(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        overlay: Overlay = Overlay.EVIDENCE,
        visible: bool = True,
        opacity: float = 0.5,
        threshold: float = 0.1,
        colours: ColourMap = ColourMap.STANDARD,
    ) -> "ResultNodes | None":
        """Show a scanned CT in all slice views, with an overlay or without; return its result, or None without one.

        Args:
            volumeNode: the CT.
            overlay: what lies over it; nothing where the result has no such overlay.
            visible, opacity: whether and how strongly it covers the CT (0 to 1).
            threshold: values below this share (0 to 1) of the colour range are not drawn.
            colours: of the overlay and its legend.
        """
        from EmphysemaScannerLib.scene import views

        nodes = self.find(volumeNode)
        if nodes is not None:
            there = overlay in nodes.overlays
            if there:
                views.style_overlay(nodes, overlay, threshold, colours)
            views.set_overlay(nodes, overlay if there and visible else None, opacity)
        return nodes

    def find(self, volumeNode: vtkMRMLScalarVolumeNode) -> "ResultNodes | None":
        """The nodes of a CT's result that is in the scene, e.g. after a saved scene was opened; needs no PyTorch."""
        from EmphysemaScannerLib.scene.result import find_result

        return find_result(volumeNode)

    def result(self, volumeNode: vtkMRMLScalarVolumeNode) -> "ScanResult | None":
        """A CT's result from the scene; None if it has none. Needs no PyTorch."""
        from EmphysemaScannerLib.scene.result import result_of

        nodes = self.find(volumeNode)
        return None if nodes is None else result_of(nodes)

    def attribute(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelPath: Path | str | None = None,
        device: Device = Device.AUTO,
        progress: Progress | None = None,
    ) -> "Attribution":
        """Which voxels moved a scanned CT's answer (integrated gradients), as one more overlay of its result.

        Args:
            volumeNode: a CT that was scanned and shown.
            modelPath, device, progress: as for ``scan``; the model must be the one that answered.
        """
        from EmphysemaScannerLib.window import longwork

        return longwork.attribute(volumeNode, self._model(modelPath), device, progress)

    def save(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        folder: Path | str,
        kinds: "set[Kind] | None" = None,
        scene: bool = False,
        progress: Progress | None = None,
        named: bool = False,
    ) -> list[Path]:
        """Write a CT's result from the scene into a folder; what is there already and not ours is never overwritten.

        Args:
            volumeNode: a CT whose result is in the scene.
            folder: a new or empty one, or one with results of this module, which are replaced.
            kinds: what to write; everything if None.
            scene: whether the whole scene is written too, as scene.mrb.
            progress: told the share done and the stage.
            named: whether reports call the CT by its node's name, which may name a patient. A scene always does.

        Returns:
            The files.
        """
        from EmphysemaScannerLib.window import longwork

        return longwork.save(volumeNode, Path(folder), kinds, scene, progress, named)

    def batch(
        self,
        source: Path | str,
        csvPath: Path | str,
        modelPath: Path | str | None = None,
        device: Device = Device.AUTO,
        precision: Precision = Precision.AUTO,
        progress: Progress | None = None,
        onRow: "Callable[[BatchRow], None] | None" = None,
        retry: bool = False,
    ) -> "BatchSummary":
        """Scan many CTs into one CSV, one row a CT as they finish; an unfinished CSV of the same model is continued.

        CTs whose files have changed since are scanned again.

        Args:
            source: a folder that is searched for CTs (files and DICOM series), or a CSV with a column ``volume``.
            csvPath: the result.
            modelPath, device, precision, progress: as for ``scan``.
            onRow: told each row, on the main thread.
            retry: scan refused CTs again, changed or not.
        """
        from EmphysemaScannerLib.window import longwork

        model = self._model(modelPath)
        return longwork.batch(Path(source), Path(csvPath), model, device, precision, progress, onRow, retry)

    def train(
        self,
        manifest: Path | str,
        folder: Path | str,
        epochs: int = 50,
        startModel: Path | str | None = None,
        progress: Progress | None = None,
        architecture: str = "conv_lstm",
    ) -> Path:
        """Train a model on a cohort in a background process, and wait for it.

        Args:
            manifest: CSV with the columns volume, label, patient, split.
            folder: checkpoints, log and the model; a run that was stopped there goes on.
            epochs: at most.
            startModel: a model to train further; None trains a new one, as published.
            progress: told the share done and the epoch; what it raises ends the training, resumably.
            architecture: of a new model: conv_lstm, mil_max, mil_mean, mil_product, mil_attention, cnn3d,
                laa950_logistic or perc15_logistic.

        Returns:
            The model file.
        """
        from EmphysemaScannerLib.window import commands

        process = self.startTraining(manifest, folder, epochs, startModel, architecture)
        return commands.train(process, Path(folder), epochs, progress)

    def startTraining(
        self,
        manifest: Path | str,
        folder: Path | str,
        epochs: int = 50,
        startModel: Path | str | None = None,
        architecture: str = "conv_lstm",
    ) -> "BackgroundProcess":
        """As ``train``, without waiting."""
        from EmphysemaScannerLib.window import commands, packages

        packages.ensure(packages.Need.LEARNING)
        start = None if startModel is None else Path(startModel)
        return commands.start_training(Path(manifest), Path(folder), epochs, start, architecture)

    def evaluate(
        self,
        model: Path | str,
        manifest: Path | str,
        split: str = "test",
        data: str = "",
        record: bool = False,
        progress: Progress | None = None,
    ) -> "ModelFigures":
        """Measure one model on labelled volumes; its answers are computed in a background process.

        Args:
            model: a model file, or a folder with a training.
            manifest: CSV with the columns volume, label, patient, split.
            split: the part of it to measure on.
            data: what the volumes are, in words; goes beside every figure.
            record: write the figures into the model's card.
            progress: told the share done and the volume; what it raises ends the work.

        Returns:
            Its probabilities, and AUC, sensitivity, specificity and the like with their 95 % intervals.
        """
        from EmphysemaScannerLib.window import longwork

        return longwork.compare([Path(model)], Path(manifest), split, data, record, progress).models[0]

    def compare(
        self,
        models: "Sequence[Path | str]",
        manifest: Path | str,
        split: str = "test",
        progress: Progress | None = None,
        data: str = "",
    ) -> "Comparison":
        """Measure models on the same labelled volumes, with DeLong's paired tests, as ``evaluate``.

        ``evaluation.comparisontables.markdown`` writes the paper's Table 1 of it, ``evaluation.comparisonpage.write``
        a page with plots.
        """
        from EmphysemaScannerLib.window import longwork

        return longwork.compare([Path(model) for model in models], Path(manifest), split, data, False, progress)

    def cancel(self) -> None:
        """Ask the running work to stop; it does at the next slice."""
        shared_worker().cancel()

    def close(self) -> None:
        """Cancel the running work and end the worker's thread, waiting a few seconds at most."""
        shared_worker().close()

    def showIn3D(self, nodes: "ResultNodes", overlay: Overlay = Overlay.EVIDENCE) -> None:
        """Show an overlay as a coloured volume rendering, with the lungs as a faint surface."""
        from EmphysemaScannerLib.scene import rendering

        rendering.show_in_3d(nodes, overlay, slicer.modules.volumerendering.logic())

    @staticmethod
    def _model(modelPath: Path | str | None) -> Path:
        return default_model_path() if modelPath is None else Path(modelPath)


def onStartupCompleted() -> None:
    """Offer the sample cases in Slicer's module Sample Data, and make the layouts known that saved scenes may have."""
    from EmphysemaScannerLib.scene.views import register_layouts
    from EmphysemaScannerLib.window import samples

    samples.register()
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None:  # Slicer with a main window
        register_layouts(layoutManager.layoutLogic().GetLayoutNode())


class EmphysemaScannerTest(ScriptedLoadableModuleTest):
    """Quick checks of an installed module on a made-up chest; the thorough ones are in the Testing folder."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.logic = EmphysemaScannerLogic()

    def runTest(self) -> None:
        for name in unittest.TestLoader().getTestCaseNames(type(self)):
            if name != "runTest":
                self.setUp()
                try:
                    getattr(self, name)()
                except unittest.SkipTest as skipped:  # Slicer itself would count it as an error
                    self.delayDisplay(f"{name} was skipped: {skipped}")

    def test_a_scan_answers_and_shows(self) -> None:
        if importlib.util.find_spec("torch") is None:
            self.skipTest("PyTorch is not installed, so nothing was scanned")
        volumeNode = phantomVolume()
        result = self.logic.scan(volumeNode)
        self.assertAlmostEqual(result.bias + float(result.slices.evidence.sum()), result.logit, places=3)
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.logic.show(result, volumeNode)
        self.assertGreater(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_no_volume_is_refused_with_a_sentence(self) -> None:
        with self.assertRaises(NotAChestCTError):
            self.logic.scan(None)


def phantomVolume() -> vtkMRMLScalarVolumeNode:
    """A made-up chest in the scene: a body with two lungs and a windpipe, 75 slices of 96 x 96, 4 mm, in HU."""
    s, a, r = np.meshgrid(*(4.0 * (np.arange(n) - (n - 1) / 2) for n in (75, 96, 96)), indexing="ij")
    hu = np.where((r / 160) ** 2 + (a / 110) ** 2 < 1, 40, -1024).astype(np.int16)
    for side in (-75, 75):
        hu[((r - side) / 55) ** 2 + (a / 80) ** 2 + (s / 120) ** 2 < 1] = -870
    hu[(np.hypot(r, a + 10) < 9) & (s > 20)] = -1000
    matrix = vtk.vtkMatrix4x4()
    for axis, count in enumerate((96, 96, 75)):
        matrix.SetElement(axis, axis, 4.0)
        matrix.SetElement(axis, 3, -4.0 * (count - 1) / 2)
    return slicer.util.addVolumeFromArray(hu, ijkToRAS=matrix, name="Phantom")
