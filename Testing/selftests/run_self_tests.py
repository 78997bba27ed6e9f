"""Run all self-tests and print one verdict line:

    Slicer --testing --additional-module-paths <repository>/EmphysemaScanner --python-script <this file>

The exit code says the same. An exception that Slicer swallows (in a window's set-up, in a button's handler) counts as a
failure, too.
"""

import sys
import traceback
import unittest
from pathlib import Path

import slicer

SUITES = ("EmphysemaScannerLogicTest", "EmphysemaScannerMasksTest", "EmphysemaScannerWindowTest")

swallowed = []


def remember(kind, error, trace) -> None:
    swallowed.append("".join(traceback.format_exception(kind, error, trace)))


def runSelfTests() -> bool:
    """Whether all passed; prints the verdict."""
    sys.path.insert(0, str(Path(__file__).parent))
    sys.excepthook = remember
    suite = unittest.TestLoader().loadTestsFromNames(SUITES)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    for text in swallowed:
        print("Swallowed by Slicer:", text)
    passed = result.wasSuccessful() and result.testsRun > 0 and not swallowed
    print(
        f"EMPHYSEMA SCANNER SELF-TESTS {'PASSED' if passed else 'FAILED'}:",
        f"{result.testsRun} run, {len(result.failures)} failed, {len(result.errors)} errors,",
        f"{len(result.skipped)} skipped, {len(swallowed)} swallowed exceptions",
        flush=True,
    )
    return passed


if __name__ == "__main__":
    slicer.util.exit(slicer.util.EXIT_SUCCESS if runSelfTests() else slicer.util.EXIT_FAILURE)
