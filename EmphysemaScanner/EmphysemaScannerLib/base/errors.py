"""What can go wrong, as types. The message is one sentence for the user: what is wrong and what to do."""

from __future__ import annotations

from pathlib import Path
from unicodedata import category

_LONGEST_REASON, _LONGEST_SENTENCE = 200, 1500


def shown(text: str) -> str:
    """A text from a file, such as its name, on one line, without what a terminal obeys or no encoding can hold."""
    return " ".join("".join("\ufffd" if category(c) in ("Cc", "Cs") and not c.isspace() else c for c in text).split())


def reason(error: object) -> str:
    """An error of a library as a part of a sentence: short, and as ``shown``."""
    text = shown(str(error))
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


class EmphysemaScannerError(Exception):
    """Base of every error that EmphysemaScanner raises on purpose.

    As text it is one line, as ``shown`` makes it, whatever words of files it quotes.
    """

    def __str__(self) -> str:
        text = shown(super().__str__())
        return text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]}..."


class UnreadableInputError(EmphysemaScannerError):
    """The path or file cannot be read as an image."""


def damaged(path: Path) -> UnreadableInputError:
    """The error of a file that cannot be read."""
    return UnreadableInputError(
        f"'{path}' cannot be read: it is damaged, incomplete or of an unsupported kind; obtain a new copy."
    )


class NotAChestCTError(EmphysemaScannerError):
    """The image can be read, but it is not a chest CT in Hounsfield units that can be scanned."""


class GeometryError(NotAChestCTError):
    """The image's geometry cannot be brought to an axial grid: sheared, singular, one slice, missing slices."""


class LungsNotFoundError(NotAChestCTError):
    """No lungs, or only a part of them, were found in the image."""


class ModelFileError(EmphysemaScannerError):
    """A model file is damaged, is not one of ours, or holds another architecture than was asked for."""


class RecordError(EmphysemaScannerError):
    """The record of an earlier result is damaged, or was not written by EmphysemaScanner."""


class MissingPackageError(EmphysemaScannerError):
    """A Python package that only this piece of work needs is not installed."""


class ScanCancelled(EmphysemaScannerError):
    """The user cancelled; nothing was changed."""
