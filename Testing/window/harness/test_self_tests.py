"""The self-tests that Slicer runs, here: the same code on the stand-ins."""

from __future__ import annotations

import io
import sys
import unittest
from unittest import mock

import pytest
import slicer
from window.harness.driver import Driver


@pytest.mark.parametrize(
    ("suite", "fewest"),
    [("EmphysemaScannerLogicTest", 11), ("EmphysemaScannerMasksTest", 5), ("EmphysemaScannerWindowTest", 11)],
)
def test_the_self_tests_pass(window: Driver, suite: str, fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, suite, raising=False)  # it may hold the module as it was before a reload
    said = io.StringIO()
    result = unittest.TextTestRunner(stream=said, verbosity=2).run(unittest.TestLoader().loadTestsFromName(suite))
    assert result.wasSuccessful(), said.getvalue()
    assert result.testsRun >= fewest


def test_the_modules_own_quick_test_passes(window: Driver) -> None:
    module = sys.modules["EmphysemaScanner"]
    with mock.patch.object(window.module("window.logic"), "default_model_path", return_value=window.model):
        case = module.EmphysemaScannerTest()
        case.runTest()


def test_without_pytorch_the_modules_own_scan_counts_as_skipped(window: Driver) -> None:
    module = sys.modules["EmphysemaScanner"]
    without = mock.patch.object(module.importlib.util, "find_spec", return_value=None)
    with without, mock.patch.object(module.EmphysemaScannerTest, "delayDisplay") as displayed:
        suite = unittest.TestSuite([module.EmphysemaScannerTest("test_a_scan_answers_and_shows")])
        result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
        assert [why for _, why in result.skipped] == ["PyTorch is not installed, so nothing was scanned"]
        module.EmphysemaScannerTest().runTest()
    assert "was skipped: PyTorch is not installed" in displayed.call_args.args[0]
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []  # the last one has nothing to show
