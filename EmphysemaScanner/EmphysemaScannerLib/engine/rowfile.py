"""A CSV that grows by whole rows, so that work which was stopped at any moment goes on where it was."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import EmphysemaScannerError
from ..i18n import tr as _

_BYTES = "surrogateescape"  # names of files may be bytes that are no text


@dataclass(frozen=True)
class RowFile:
    """One such CSV.

    Attributes:
        path: the file; it may not be there yet.
        columns: its header.
        work: what writes it, such as "batch".
        error: raised, with one sentence, when the file is something else or cannot be written.
    """

    path: Path
    columns: tuple[str, ...]
    work: str
    error: type[EmphysemaScannerError]

    def rows(self) -> list[dict[str, str]]:
        """The whole rows that are there; none if there is no file.

        Raises:
            EmphysemaScannerError: (``error``) the file is something else.
        """
        if not self.path.exists():
            return []
        try:
            text = self.path.read_text(encoding="utf-8-sig", errors=_BYTES)
            if "\n" not in text and line(self.columns).startswith(text):
                return []
            # Line by line: no quote that was left open, as another program may, takes the lines after it.
            header, *rows = (next(csv.reader([row]), []) for row in text.split("\n")[:-1])
        except (OSError, UnicodeDecodeError, ValueError, csv.Error):
            header, rows = [], []
        if tuple(header) != self.columns:
            raise self.error(
                _("'{path}' is not the result of a {work}; name a new file.").format(path=self.path, work=self.work)
            )
        whole = (map(_unguarded, cells) for cells in rows if len(cells) == len(self.columns))
        return [dict(zip(self.columns, cells, strict=True)) for cells in whole]

    def open(self) -> io.TextIOWrapper:
        """The file, with its header, ready for ``write``; a last row that a kill left half-written is cut off.

        Raises:
            EmphysemaScannerError: (``error``) it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                file.seek(0)
                whole = file.read().rfind(b"\n") + 1
                file.truncate(whole)
                if not whole:
                    file.write(line(self.columns).encode())
            return self.path.open("a", newline="", encoding="utf-8", errors=_BYTES)
        except OSError as error:
            raise self.error(
                _("'{path}' cannot be written ({why}); name another file.").format(path=self.path, why=error.strerror)
            ) from error

    def write(self, file: io.TextIOWrapper, rows: Sequence[Sequence[object]]) -> None:
        """Append rows, and have them on the disk when this returns.

        Raises:
            EmphysemaScannerError: (``error``) they cannot be written.
        """
        try:
            file.write("".join(map(line, rows)))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise self.error(
                _("'{path}' cannot be written ({why}); the {work} stopped.").format(
                    path=self.path, why=error.strerror, work=self.work
                )
            ) from error


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]\d+(\.\d+)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def guarded(value: object) -> object:
    """A cell as a spreadsheet shows it and does not calculate it: what begins like a formula gets an apostrophe."""
    if not isinstance(value, (str, Path)) or not _FORMULA.match(str(value)) or _NUMBER.fullmatch(str(value)):
        return value
    return f"'{value}"


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def one_line(text: str) -> str:
    """A text as it comes back from a row."""
    return " ".join(text.splitlines())


def line(values: Sequence[object]) -> str:
    """A line of the CSV: no value reaches over the line's end, so that a half-written one can be told; NaN is empty."""
    buffer = io.StringIO()
    cells = (
        "" if isinstance(v, float) and math.isnan(v) else guarded(one_line(v) if isinstance(v, str) else v)
        for v in values
    )
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
