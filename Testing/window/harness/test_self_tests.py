"""The self-tests that Slicer runs, here: the same code on the stand-ins."""

from __future__ import annotations

import io
import unittest

import pytest
from window.harness.driver import Driver


@pytest.mark.parametrize("suite", ["EmphysemaScannerLogicTest", "EmphysemaScannerWindowTest"])
def test_the_self_tests_pass(window: Driver, suite: str) -> None:
    said = io.StringIO()
    result = unittest.TextTestRunner(stream=said, verbosity=2).run(unittest.TestLoader().loadTestsFromName(suite))
    assert result.wasSuccessful(), said.getvalue()
    assert result.testsRun > 10


def test_the_modules_own_quick_test_passes(window: Driver) -> None:
    import sys

    case = sys.modules["EmphysemaScanner"].EmphysemaScannerTest()
    case.runTest()
    assert case.logic is not None
