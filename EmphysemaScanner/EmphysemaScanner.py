"""The module Emphysema Scanner as 3D Slicer loads it; its logic and its window are in ``EmphysemaScannerLib.window``.

Loading this file needs no PyTorch. What needs it is imported where it is used.
"""
# ruff: noqa: PT009, PT027 (Slicer's self-tests are unittest's)

import importlib.util
import sys
import unittest

import numpy as np
import slicer
import vtk
from EmphysemaScannerLib.base.errors import NotAChestCTError
from EmphysemaScannerLib.window.logic import EmphysemaScannerLogic
from EmphysemaScannerLib.window.parameters import EmphysemaScannerParameterNode
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class EmphysemaScanner(ScriptedLoadableModule):
    """What Slicer lists: title, category, help."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Emphysema Scanner")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Chest Imaging Platform")]
        self.parent.dependencies = []
        self.parent.contributors = ["The EmphysemaScanner contributors"]
        self.parent.helpText = _(
            "Reads a chest CT slice by slice with a convolutional LSTM network, estimates the"
            " probability of emphysema, and shows which slices and lung regions contributed, with lung densitometry."
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
        """Build the window once, and follow the scene as it is closed and loaded."""
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
        """End the running work and its processes, and take every observer off, before Slicer deletes the window."""
        if self.logic is not None:
            self.logic.close()
        if self.window is not None:
            self.window.close()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """The module is selected: attach the scene's parameter node, and take up keys and layout."""
        self.initializeParameterNode()
        self.window.enter()

    def exit(self) -> None:
        """Another module is selected: let keys, layout and the parameter node go."""
        self.window.leave()
        self.setParameterNode(None)

    def onReload(self) -> None:
        """Developer's *Reload*: forget the whole package, so that it is imported anew with the window."""
        self.logic.close()
        for name in [n for n in sys.modules if n.partition(".")[0] == "EmphysemaScannerLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        """Let go of the scene's nodes before they are deleted."""
        self.setParameterNode(None)
        self.window.scene_closes()

    def onSceneEnd(self, caller, event) -> None:
        """A scene was closed or loaded: attach its parameter node, if the module is on screen."""
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
        """A choice was made, by hand or by a loaded scene: draw the overlay and the buttons accordingly."""
        self.window.on_parameters_changed()


def onStartupCompleted() -> None:
    """Offer the sample cases in Slicer's module Sample Data, and make the layouts known that saved scenes may have."""
    from EmphysemaScannerLib.scene.layout import register_layouts
    from EmphysemaScannerLib.window import samples

    samples.register()
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None:  # Slicer with a main window
        register_layouts(layoutManager.layoutLogic().GetLayoutNode())


class EmphysemaScannerTest(ScriptedLoadableModuleTest):
    """Quick checks of an installed module on a made-up chest; the thorough ones are in the Testing folder."""

    def setUp(self) -> None:
        """An empty scene, and a logic with no window."""
        slicer.mrmlScene.Clear()
        self.logic = EmphysemaScannerLogic()

    def runTest(self) -> None:
        """Run every test method as Slicer's *Reload and Test* expects it: from this one method."""
        for name in unittest.TestLoader().getTestCaseNames(type(self)):
            if name != "runTest":
                self.setUp()
                try:
                    getattr(self, name)()
                except unittest.SkipTest as skipped:  # Slicer itself would count it as an error
                    self.delayDisplay(f"{name} was skipped: {skipped}")

    def test_a_scan_answers_and_shows(self) -> None:
        """Bias and evidence sum to the logit, and showing the result adds nodes to the scene."""
        if importlib.util.find_spec("torch") is None:
            self.skipTest("PyTorch is not installed, so nothing was scanned")
        volumeNode = phantomVolume()
        result = self.logic.scan(volumeNode)
        self.assertAlmostEqual(result.bias + float(result.slices.evidence.sum()), result.logit, places=3)
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.logic.show(result, volumeNode)
        self.assertGreater(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_no_volume_is_refused_with_a_sentence(self) -> None:
        """Without a volume there is a typed error instead of a traceback."""
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
