"""Run the logic's self-tests on slicer-core: a real MRML scene, and stand-ins for what only the application has.

Stand-ins are as small as the self-tests of the logic allow; whatever else is asked of them raises AttributeError.
"""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path

import slicer
import slicer.util

REPO = Path(__file__).parents[2]


class ScriptedLoadableModule:
    """Only to be derived from."""


class ScriptedLoadableModuleWidget:
    """Only to be derived from."""


class ScriptedLoadableModuleLogic:
    """Only to be derived from."""


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Only to be derived from."""


class Application:
    """``slicer.app`` with an event loop that has nothing to do."""

    def __init__(self, folder: Path) -> None:
        self.temporaryPath = str(folder)

    def processEvents(self) -> None:
        pass


class WithinRange:
    """As Slicer's validator."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


def module(name: str, **members: object) -> None:
    """A module that holds these members and nothing else."""
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made


def main(folder: Path) -> bool:
    """Whether the self-tests passed; ``folder`` is for files that they write."""
    module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    module("slicer.parameterNodeWrapper", parameterNodeWrapper=lambda wrapped: wrapped, WithinRange=WithinRange)
    bases = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    module("slicer.ScriptedLoadableModule", **{base.__name__: base for base in bases})
    slicer.app = Application(folder)
    slicer.util.mainWindow = lambda: None
    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.mrmlScene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    colours = slicer.vtkMRMLColorLogic()
    colours.SetMRMLScene(slicer.mrmlScene)
    sys.path[:0] = [str(REPO / "EmphysemaScanner"), str(REPO / "Testing/selftests")]
    suite = unittest.TestLoader().loadTestsFromName("EmphysemaScannerLogicTest")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    slicer.mrmlScene.Clear(True)
    colours.SetMRMLScene(None)
    return result.wasSuccessful() and result.testsRun > 10


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1])) else 1)
