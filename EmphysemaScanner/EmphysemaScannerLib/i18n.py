"""Translation of the texts that the window shows: Slicer's where Slicer runs, none elsewhere."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable


def _untranslated(text: str) -> str:
    return text


tr: Callable[[str], str] = _untranslated
"""Imported as ``_``; its argument is a plain string, values are put in afterwards with ``format``."""

if "slicer" in sys.modules:  # never imported from here: the command line does without Slicer's libraries
    with contextlib.suppress(ImportError):  # Slicer's core without the application has no translations
        # The function itself, not a wrapper: it finds the texts' context by the file that calls it.
        tr = importlib.import_module("slicer.i18n").tr
