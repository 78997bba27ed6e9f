"""The module Emphysema Scanner of 3D Slicer: its window, and its logic for the Python console.

Loading this file needs no PyTorch. What needs it is imported where it is used.
"""
# ruff: noqa: PT009, PT027 (Slicer's self-tests are unittest's)

import importlib.util
import sys
import unittest
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import slicer
import vtk
from EmphysemaScannerLib.core.errors import EmphysemaScannerError, ModelFileError, NotAChestCTError, ScanCancelled
from EmphysemaScannerLib.core.shippedmodel import default_model_path
from EmphysemaScannerLib.jobs.worker import JobCancelledError, shared_worker
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
    from EmphysemaScannerLib.core.result import ScanResult
    from EmphysemaScannerLib.scene.result import ResultNodes

REQUIREMENTS = ["safetensors>=0.4.5"]  # besides PyTorch and what Slicer itself brings

NOTE_STYLE = "QLabel { background-color: #e8eef4; color: #1c2b39; padding: 6px; border-radius: 3px; }"
ERROR_STYLE = "QLabel { background-color: #f8d0cc; color: #4a0f0a; padding: 6px; border-radius: 3px; }"


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
            "logic.show(result, getNode('CT'))</pre>"
            "Research use only. Not a medical device; not for diagnosis or treatment."
        )
        self.parent.acknowledgementText = _(
            "The network and its training follow N. Braman, D. Beymer, E. Dehghan, <i>Disease detection in weakly"
            " annotated volumetric medical images using a convolutional LSTM network</i> (2018)."
        )


class Device(Enum):
    """Where the network runs. Saved scenes hold the names."""

    AUTO = "auto"
    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"

    def label(self) -> str:
        """What the chooser shows."""
        return _("Automatic") if self is Device.AUTO else self.name


class Overlay(Enum):
    """What is shown over the CT. Saved scenes hold the names."""

    EVIDENCE = "evidence"
    ASC1 = "asc1"
    DESC1 = "desc1"
    ASC2 = "asc2"
    DESC2 = "desc2"

    def label(self) -> str:
        """What the chooser shows."""
        return {
            Overlay.EVIDENCE: _("Evidence"),
            Overlay.ASC1: _("Activation, unit 1 (ascending)"),
            Overlay.DESC1: _("Activation, unit 2 (descending)"),
            Overlay.ASC2: _("Activation, unit 3 (ascending)"),
            Overlay.DESC2: _("Activation, unit 4 (descending)"),
        }[self]


@parameterNodeWrapper
class EmphysemaScannerParameterNode:
    """The user's choices; they are saved with the scene, so a renamed field breaks saved scenes."""

    inputVolume: vtkMRMLScalarVolumeNode
    modelPath: Path
    device: Device = Device.AUTO
    overlay: Overlay = Overlay.EVIDENCE
    overlayVisible: bool = True
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = 0.5


class PackagesMissingError(EmphysemaScannerError):
    """A Python package that scanning needs is not installed."""


class VolumeRemovedError(EmphysemaScannerError):
    """The CT left the scene while it was being scanned."""


class EmphysemaScannerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The window."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._shownOverlay = None
        self._resultVolumeNode = None
        self._scanning = False
        self._cleanedUp = False

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/EmphysemaScanner.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = EmphysemaScannerLogic()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.ui.scanButton.connect("clicked(bool)", self.onScanButton)
        self.ui.torchButton.connect("clicked(bool)", self.onTorchButton)
        self._say("")
        self._setScanning(False)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        self._cleanedUp = True
        if self.logic is not None:
            self.logic.close()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()

    def exit(self) -> None:
        self.setParameterNode(None)

    def onReload(self) -> None:
        self.logic.close()
        for name in [n for n in sys.modules if n.partition(".")[0] == "EmphysemaScannerLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        self.setParameterNode(None)
        self._resultVolumeNode = None

    def onSceneEndClose(self, caller, event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Attach the scene's parameter node, with a CT and the shipped model chosen where nothing is."""
        node = self.logic.getParameterNode()
        if not node.inputVolume:
            node.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        if node.modelPath == Path():
            try:
                node.modelPath = default_model_path()
            except ModelFileError as error:
                self._say(str(error))
        self.setParameterNode(node)

    def setParameterNode(self, parameterNode: EmphysemaScannerParameterNode | None) -> None:
        """Connect the window to another parameter node, or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._shownOverlay = self._overlayChoice()  # entering the module leaves the views as they are
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
            self.onParametersChanged()

    def onParametersChanged(self, caller=None, event=None) -> None:
        """Bring the window, and the overlay if its choice has changed, to what is chosen now."""
        self._updateScanButton()
        if self._parameterNode is None:
            return
        volumeNode = self._parameterNode.inputVolume  # another CT's result would be taken for this one's
        self.ui.resultCollapsibleButton.visible = volumeNode is not None and volumeNode is self._resultVolumeNode
        choice = self._overlayChoice()
        if choice != self._shownOverlay:
            anotherCt = self._shownOverlay is None or choice[0] is not self._shownOverlay[0]
            self._shownOverlay = choice
            nodes = self.logic.setOverlay(*choice)
            if anotherCt:
                self._say("")  # it was about the last CT
                if nodes is not None:
                    self.logic.showInLayout(nodes)

    def onScanButton(self) -> None:
        """Scan, or cancel the scan that is running."""
        if self._scanning:
            self.logic.cancel()
            self.ui.scanButton.enabled = False
            self.ui.scanButton.text = _("Cancelling...")
            return
        node = self._parameterNode
        volumeNode, modelPath, device = node.inputVolume, node.modelPath, node.device
        self._setScanning(True)
        try:
            with slicer.util.tryWithErrorDisplay(_("The scan failed.")):
                sentence, style = self._scanAndShow(volumeNode, modelPath, device)
        finally:
            if not self._cleanedUp:
                self._setScanning(False)
        if not self._cleanedUp:
            self._say(sentence, style)

    def onTorchButton(self) -> None:
        """Offer to install PyTorch through its extension."""
        with slicer.util.tryWithErrorDisplay(_("PyTorch could not be installed.")):
            try:
                self.logic.installTorch()
            except EmphysemaScannerError as error:
                self._say(str(error), ERROR_STYLE)
        self._updateScanButton()

    def _scanAndShow(self, volumeNode, modelPath: Path, device: Device) -> tuple[str, str]:
        """The sentence to say afterwards, and its style."""
        try:
            result = self.logic.scan(volumeNode, modelPath, device, progress=self._onProgress)
            nodes = self.logic.show(result, volumeNode)
        except ScanCancelled as cancelled:
            return str(cancelled), NOTE_STYLE
        except EmphysemaScannerError as error:
            return str(error), ERROR_STYLE
        self._resultVolumeNode = volumeNode
        self._showResult(result)
        self.onParametersChanged()
        node = self.logic.getParameterNode()
        self.logic.setOverlay(volumeNode, node.overlay, node.overlayVisible, node.overlayOpacity)
        self.logic.showInLayout(nodes)
        return "", NOTE_STYLE

    def _overlayChoice(self) -> tuple:
        node = self._parameterNode
        return node.inputVolume, node.overlay, node.overlayVisible, node.overlayOpacity

    def _onProgress(self, fraction: float, stage: str) -> None:
        if not self._cleanedUp:
            self.ui.progressBar.value = round(1000 * fraction)
            self.ui.progressBar.format = f"{stage} (%p %)"

    def _setScanning(self, scanning: bool) -> None:
        self._scanning = scanning
        self.ui.progressBar.visible = scanning
        self.ui.progressBar.value = 0
        self.ui.inputsCollapsibleButton.enabled = not scanning
        if scanning:
            self._say("")
        self._updateScanButton()

    def _updateScanButton(self) -> None:
        torchMissing = importlib.util.find_spec("torch") is None
        self.ui.torchFrame.visible = torchMissing
        button = self.ui.scanButton
        if self._scanning:
            button.enabled, button.text, button.toolTip = True, _("Cancel"), _("Stop the scan; nothing is changed.")
            return
        button.text = _("Scan")
        chosen = self._parameterNode is not None and self._parameterNode.inputVolume is not None
        button.enabled = chosen and not torchMissing
        if torchMissing:
            button.toolTip = _("Install PyTorch first.")
        else:
            button.toolTip = _("Scan the chosen CT.") if chosen else _("Choose a chest CT first.")

    def _say(self, sentence: str, style: str = NOTE_STYLE) -> None:
        self.ui.statusLabel.text = sentence
        self.ui.statusLabel.styleSheet = style
        self.ui.statusLabel.visible = bool(sentence)

    def _showResult(self, result: "ScanResult") -> None:
        from EmphysemaScannerLib.engine import panel, wording

        self.ui.cautionLabel.text = panel.caution(result)
        self.ui.probabilityLabel.text = panel.probability(result)
        self.ui.verdictLabel.text = wording.verdict(result)
        self.ui.warningsLabel.text = panel.warnings(result)
        self.ui.warningsLabel.visible = bool(result.warnings)
        self.ui.densitometryLabel.text = panel.densitometry(result)
        self.ui.provenanceLabel.text = panel.provenance(result)


class EmphysemaScannerLogic(ScriptedLoadableModuleLogic):
    """Scanning and showing, for the window and for the Python console; to be called on the main thread."""

    def getParameterNode(self) -> EmphysemaScannerParameterNode:
        return EmphysemaScannerParameterNode(super().getParameterNode())

    def scan(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelPath: Path | str | None = None,
        device: Device = Device.AUTO,
        progress: Callable[[float, str], None] | None = None,
    ) -> "ScanResult":
        """Ask a model about a chest CT; waits while the window stays alive, and changes nothing in the scene.

        Args:
            volumeNode: a CT in HU, in any orientation, under any linear transform.
            modelPath: a model file; the model that comes with the module if None.
            device: where the network runs.
            progress: told the share done (0 to 1) and the stage, on the main thread. ``cancel`` may be called from it.

        Raises:
            ScanCancelled: ``cancel`` was called, or Slicer is closing.
            VolumeRemovedError: the CT left the scene in the meantime.
            PackagesMissingError: PyTorch or another package is not installed.
            EmphysemaScannerError: anything else that the user can do something about; the message says what.
        """
        if volumeNode is None or volumeNode.GetImageData() is None:
            raise NotAChestCTError(_("There is no image to scan; choose a chest CT."))
        if shared_worker().busy:
            raise EmphysemaScannerError(_("Another scan is still running; wait for it or cancel it first."))
        path = default_model_path() if modelPath is None else Path(modelPath)
        self.ensurePackages()
        from EmphysemaScannerLib.scene.volumes import image_from_volume_node

        image = image_from_volume_node(volumeNode)
        scene, name, mainWindow = volumeNode.GetScene(), volumeNode.GetName(), slicer.util.mainWindow()
        windowWasOpen = mainWindow is not None and mainWindow.visible

        def pump() -> None:
            slicer.app.processEvents()
            if volumeNode.GetScene() is not scene or (windowWasOpen and not mainWindow.visible):
                self.cancel()

        def work(report: Callable[[float, str], None]) -> "ScanResult":
            from EmphysemaScannerLib.core import modelfile
            from EmphysemaScannerLib.engine import device as devices

            report(0.0, "Loading the model")
            model = modelfile.load(path)
            return devices.scan_on(devices.choose(devices.Device(device.value)), image, model, report, name)

        try:
            result = shared_worker().run(work, pump=pump, on_progress=progress or (lambda fraction, stage: None))
        except JobCancelledError:
            result = None
        if volumeNode.GetScene() is not scene:
            raise VolumeRemovedError(_("The CT was removed during the scan; the result was discarded."))
        if result is None:
            raise ScanCancelled(_("The scan was cancelled; nothing was changed."))
        return result

    def cancel(self) -> None:
        """Ask a running scan to stop; it does at the next slice."""
        shared_worker().cancel()

    def close(self) -> None:
        """Cancel a running scan and end the worker's thread, waiting a few seconds at most."""
        shared_worker().close()

    def show(self, result: "ScanResult", volumeNode: vtkMRMLScalarVolumeNode) -> "ResultNodes":
        """Put a result into the scene beside its CT: overlays, lungs, tables and charts; whole or not at all."""
        from EmphysemaScannerLib.scene.result import show_result

        return show_result(result, volumeNode, slicer.mrmlScene)

    def setOverlay(
        self,
        volumeNode: vtkMRMLScalarVolumeNode | None,
        overlay: Overlay = Overlay.EVIDENCE,
        visible: bool = True,
        opacity: float = 0.5,
    ) -> "ResultNodes | None":
        """Show a scanned CT in all slice views, with an overlay or without; return its result, or None without one."""
        from EmphysemaScannerLib.scene import overlays, views
        from EmphysemaScannerLib.scene.result import find_result

        nodes = None if volumeNode is None else find_result(volumeNode)
        if nodes is not None:
            views.set_overlay(nodes, overlays.Overlay(overlay.value) if visible else None, opacity)
        return nodes

    def showInLayout(self, nodes: "ResultNodes") -> None:
        """Switch to slice views with plots below, at the place with the most evidence, in a lung window."""
        from EmphysemaScannerLib.scene import views

        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:  # Slicer without a main window
            return
        views.use_lung_window(nodes.ct)
        views.show_in_layout(nodes, layoutManager.layoutLogic().GetLayoutNode())
        slicer.util.resetSliceViews()
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *views.telling_point(nodes))

    def ensurePackages(self) -> None:
        """Have what scanning needs installed, asking the user first.

        Raises:
            PackagesMissingError: PyTorch is not there, or the user or the network refused the rest.
        """
        if importlib.util.find_spec("torch") is None:
            raise PackagesMissingError(_("PyTorch is not installed; press Install PyTorch in the module's window."))
        try:
            from slicer.packaging import pip_ensure
        except ImportError:  # Slicer 5.10
            if importlib.util.find_spec("safetensors") is None:
                slicer.util.pip_install(" ".join(REQUIREMENTS))
        else:
            try:
                pip_ensure(REQUIREMENTS, requester="Emphysema Scanner")
            except RuntimeError as refused:
                raise PackagesMissingError(_("Scanning needs a Python package that was not accepted.")) from refused
        if importlib.util.find_spec("safetensors") is None:
            raise PackagesMissingError(
                _("The Python package safetensors is not installed; press Scan again and accept.")
            )

    def installTorch(self) -> None:
        """Install PyTorch for this computer through the PyTorch extension, asking the user first.

        Raises:
            PackagesMissingError: the PyTorch extension is not there.
        """
        try:
            from PyTorchUtils import PyTorchUtilsLogic
        except ModuleNotFoundError as error:
            raise PackagesMissingError(
                _("The PyTorch extension is not installed; install it with the Extensions Manager and restart Slicer.")
            ) from error
        PyTorchUtilsLogic().installTorch(askConfirmation=True)


class EmphysemaScannerTest(ScriptedLoadableModuleTest):
    """Quick checks of an installed module on a made-up chest; the thorough ones are in the Testing folder."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.logic = EmphysemaScannerLogic()

    def runTest(self) -> None:
        for name in unittest.TestLoader().getTestCaseNames(type(self)):
            if name != "runTest":
                self.setUp()
                getattr(self, name)()

    def test_a_scan_answers_and_shows(self) -> None:
        if importlib.util.find_spec("torch") is None:
            self.delayDisplay("PyTorch is not installed: nothing was scanned.")
            return
        volumeNode = phantomVolume()
        result = self.logic.scan(volumeNode)
        self.assertAlmostEqual(result.bias + float(result.slice_evidence.sum()), result.logit, places=3)
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
