"""What ITK and GDCM warn of while they read a file, as text instead of lines on the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

_LONGEST = 200


class _Log(sitk.LoggerBase):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def DisplayWarningText(self, text: str) -> None:  # noqa: N802 (ITK's name)
        self.texts.append(text)

    def DisplayText(self, text: str) -> None:  # noqa: N802
        pass

    DisplayErrorText = DisplayGenericOutputText = DisplayDebugText = DisplayText


@contextmanager
def itk_warnings() -> Iterator[list[str]]:
    """Collects, in the list that it gives, what ITK warns of, each once and without ITK's own line numbers."""
    log, found = _Log(), list[str]()
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    before = log.SetAsGlobalITKLogger()
    sitk.ProcessObject.SetGlobalWarningDisplay(True)
    try:
        yield found
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        before.SetAsGlobalITKLogger()
        found += dict.fromkeys(_plain(text) for text in log.texts)


def _plain(text: str) -> str:
    """ITK writes "WARNING: In FILE, line N", a line break, "Class (0x...): " and then what is wrong."""
    said = re.sub(r"^\s*WARNING: In .*?, line \d+\s*", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"^\w+ \((0x)?[0-9a-fA-F]+\): ", "", said).split())[:_LONGEST]


def sentences(warned: Sequence[str], path: Path) -> list[str]:
    """Warnings of ITK as sentences, without the names of the file and its folder, which may be a patient's."""
    texts = [text.replace(str(path), "the file").replace(path.name, "the file").rstrip(".") for text in warned]
    return [f"ITK warned while reading: {text}." for text in dict.fromkeys(texts)]
