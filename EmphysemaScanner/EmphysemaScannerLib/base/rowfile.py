"""A CSV that grows by whole rows, so that work which was stopped at any moment goes on where it was.

One process writes it at a time. A row that replaces another is added below it, and of rows with the same key the last
one counts; the others are removed when the work ends or, after a kill, when it is next begun.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..i18n import tr as _
from .errors import EmphysemaScannerError
from .lock import held, lock_beside
from .wholefile import write_whole

_BYTES = "surrogateescape"  # names of files may be bytes that are no text

Cells = dict[str, str]


@dataclass(frozen=True)
class RowFile:
    """One such CSV.

    Attributes:
        path: the file; it may not be there yet.
        columns: its header.
        key: the columns that tell rows apart.
        work: what writes it, such as "batch".
        error: raised, with one sentence, when the file is something else or cannot be written.
        later: columns that earlier versions did not write; where the file lacks them, they are "".
        renamed: today's names of columns by the names that earlier versions gave them.
    """

    path: Path
    columns: tuple[str, ...]
    key: tuple[str, ...]
    work: str
    error: type[EmphysemaScannerError]
    later: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[Cells]:
        """The whole rows that are there; none if there is no file.

        Raises:
            EmphysemaScannerError: (``error``) the file is something else.
        """
        return self._read()[1]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A block during which nobody else may write the file.

        Raises:
            EmphysemaScannerError: (``error``) another run writes it, or it cannot be written.
        """
        path = self.path.resolve()  # a link to the file is the same file
        busy = _("Another run is writing '{path}'; wait until it ends or stop it, or name another file.")
        with ExitStack() as stack:
            with self._written():
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(lock_beside(path), self.error(busy.format(path=self.path))))
            yield

    @contextmanager
    def growing(self) -> Iterator[GrowingRows]:
        """The file, ready for more rows, in a block during which nobody else may write it.

        It is rewritten, whole or not at all, where it is not a header and one row of each key: rows of earlier
        versions get today's columns, and a row that a kill left half-written is left out.

        Raises:
            EmphysemaScannerError: (``error``) the file is something else, another run writes it, or it cannot be
                written.
        """
        with self.locked():
            with self._written():
                rows = self._tidy()
                file = self.path.open("a", newline="", encoding="utf-8", errors=_BYTES)
            try:
                yield GrowingRows(self, rows, file)
            finally:
                with suppress(OSError):  # every row is on the disk already
                    file.close()
                with self._written():
                    self._tidy()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            sentence = _("'{path}' cannot be written ({why}); name another file.")
            raise self.error(sentence.format(path=self.path, why=error.strerror)) from error

    def _read(self) -> tuple[bool, list[Cells]]:
        """Whether the file begins with today's header and ends with a whole row; and its whole rows."""
        if not self.path.exists():
            return False, []
        try:
            text = self.path.read_text(encoding="utf-8-sig", errors=_BYTES)
            if "\n" not in text and line(self.columns).startswith(text):
                return False, []
            # Line by line: no quote that was left open, as another program may, takes the lines after it.
            header, *rows = (next(csv.reader([row]), []) for row in text.split("\n")[:-1])
        except (OSError, UnicodeDecodeError, ValueError, csv.Error):
            text, header, rows = "", [], []
        named = [self.renamed.get(name, name) for name in header]
        lacking = {*self.columns} - {*named}
        if not lacking <= {*self.later} or named != [name for name in self.columns if name not in lacking]:
            raise self.error(
                _("'{path}' is not the result of a {work}; name a new file.").format(path=self.path, work=self.work)
            )
        whole = (map(_unguarded, cells) for cells in rows if len(cells) == len(header))
        empty = dict.fromkeys(self.columns, "")
        rows_there = [{**empty, **dict(zip(named, cells, strict=True))} for cells in whole]
        return text.endswith("\n") and tuple(header) == self.columns, rows_there

    def _tidy(self) -> list[Cells]:
        """One row of each key, the last; the file holds these when this returns."""
        sound, rows = self._read()
        last = {tuple(row[name] for name in self.key): row for row in rows}
        kept = list(last.values())
        if not sound or len(kept) < len(rows):
            text = "".join(map(line, (self.columns, *(list(row.values()) for row in kept))))
            write_whole(self.path.resolve(), text.encode(errors=_BYTES))
        return kept


@dataclass(frozen=True)
class GrowingRows:
    """A ``RowFile`` that is being written.

    Attributes:
        of: which.
        rows: those that were there before, one of each key.
        file: where the next ones go.
    """

    of: RowFile
    rows: Sequence[Cells]
    file: io.TextIOWrapper

    def add(self, rows: Sequence[Sequence[object]]) -> None:
        """Append rows, and have them on the disk when this returns.

        Raises:
            EmphysemaScannerError: (``RowFile.error``) they cannot be written.
        """
        try:
            self.file.write("".join(map(line, rows)))
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            sentence = _("'{path}' cannot be written ({why}); the {work} stopped.")
            raise self.of.error(sentence.format(path=self.of.path, why=error.strerror, work=self.of.work)) from error


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
