"""The self-tests that Slicer runs, here: the same code on the stand-ins."""

from __future__ import annotations

import io
import sys
import unittest
from unittest import mock

import pytest
import slicer
from window.harness.driver import Driver


@pytest.mark.parametrize("suite", ["EmphysemaScannerLogicTest", "EmphysemaScannerWindowTest"])
def test_the_self_tests_pass(window: Driver, suite: str) -> None:
    said = io.StringIO()
    result = unittest.TextTestRunner(stream=said, verbosity=2).run(unittest.TestLoader().loadTestsFromName(suite))
    assert result.wasSuccessful(), said.getvalue()
    assert result.testsRun > 10


def test_the_modules_own_quick_test_passes(window: Driver) -> None:
    module = sys.modules["EmphysemaScanner"]
    with mock.patch.object(module, "default_model_path", return_value=window.model):
        case = module.EmphysemaScannerTest()
        case.runTest()
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []  # the last one has nothing to show
