"""A CSV that grows by whole rows, so that work which was stopped at any moment goes on where it was.

One process writes it at a time. A row that replaces another is added below it, and of rows with the same key the last
one counts; the others are removed when the work ends or, after a kill, when it is next begun.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..i18n import tr as _
from .errors import EmphysemaScannerError
from .lock import held, lock_beside
from .wholefile import writing_whole

_BYTES = "surrogateescape"  # names of files may be bytes that are no text

Cells = dict[str, str]
Key = tuple[str, ...]


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

    def rows(self) -> Iterator[Cells]:
        """The whole rows that are there, each when it is asked for; none if there is no file.

        Raises:
            EmphysemaScannerError: (``error``) the file is something else.
        """
        with self._reading() as there:
            for _at, cells in there.rows():
                yield there.named(cells)

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
                starts = self._tidy()
                file = self.path.open("a", newline="", encoding="utf-8", errors=_BYTES)
            try:
                with self._reading() as there:
                    yield GrowingRows(self, starts, there, file)
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

    @contextmanager
    def _reading(self) -> Iterator[_Reading]:
        with self._understood():
            file = self.path.open("rb") if self.path.exists() else io.BytesIO()
        with file:
            yield _Reading(self, file)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, csv.Error) as error:
            sentence = _("'{path}' is not the result of a {work}; name a new file.")
            raise self.error(sentence.format(path=self.path, work=self.work)) from error

    def _tidy(self) -> dict[Key, int]:
        """Where the row of each key begins, of several the last one; the file holds these when this returns."""
        with self._reading() as there:
            starts, count = dict[Key, int](), 0
            for at, cells in there.rows():
                starts[there.key(cells)] = at
                count += 1
            if there.is_sound and len(starts) == count:
                return starts
        with writing_whole(self.path.resolve()) as new, self._reading() as there:
            new.write(line(self.columns).encode(errors=_BYTES))
            for key, at in starts.items():
                row = there.named(there.cells_at(at))
                starts[key] = new.tell()
                new.write(line([*row.values()]).encode(errors=_BYTES))
        return starts


class _Reading:
    """A ``RowFile`` that is read one row at a time, since it may be larger than the memory.

    Args:
        of: which.
        file: its bytes.

    Attributes:
        is_sound: whether what was read so far is a header of today and whole rows.
    """

    def __init__(self, of: RowFile, file: IO[bytes]) -> None:
        self._of, self._file = of, file
        self._lines = _lines(file)
        with of._understood():
            _start, raw = next(self._lines, (0, b""))
            raw = raw.removeprefix(codecs.BOM_UTF8)
            is_whole = _is_ended(raw)
            if not is_whole and line(of.columns).encode(errors=_BYTES).startswith(raw):
                header: list[str] = [*of.columns]
            else:
                header = _cells(raw) if is_whole else []
            self._names = [of.renamed.get(name, name) for name in header]
            lacking = {*of.columns} - {*self._names}
            if not lacking <= {*of.later} or self._names != [name for name in of.columns if name not in lacking]:
                raise ValueError(header)
        self.is_sound = is_whole and tuple(header) == of.columns
        self._key = [self._names.index(name) for name in of.key]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Where each whole row begins in the file, and its cells."""
        for at, raw in self._lines:
            if not _is_ended(raw):
                self.is_sound = False
                return
            with self._of._understood():
                cells = _cells(raw)
            if len(cells) == len(self._names):
                yield at, cells

    def cells_at(self, start: int) -> list[str]:
        """The cells of the row that begins there."""
        self._file.seek(start)
        return _cells(next(_lines(self._file))[1])

    def key(self, cells: Sequence[str]) -> Key:
        """What tells a row apart."""
        return tuple(_unguarded(cells[k]) for k in self._key)

    def named(self, cells: Sequence[str]) -> Cells:
        """A row's cells by today's columns."""
        found = dict.fromkeys(self._of.columns, "")
        found.update(zip(self._names, map(_unguarded, cells), strict=True))
        return found


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each line with its end (LF, CRLF or CR), and how many bytes come before it.

    Line by line: no quote that was left open, as another program may, takes the lines after it.
    """
    before = 0
    for some in file:
        for raw in some.splitlines(keepends=True):
            yield before, raw
            before += len(raw)


def _is_ended(raw: bytes) -> bool:
    return raw.endswith((b"\n", b"\r"))


def _cells(raw: bytes) -> list[str]:
    return next(csv.reader([raw.rstrip(b"\r\n").decode(errors=_BYTES)]), [])


@dataclass(frozen=True)
class GrowingRows:
    """A ``RowFile`` that is being written.

    Attributes:
        of: which.
        starts: where the rows that were there before begin, one of each key.
        there: those rows.
        file: where the next ones go.
    """

    of: RowFile
    starts: Mapping[Key, int]
    there: _Reading
    file: io.TextIOWrapper

    def before(self, *key: str) -> Cells | None:
        """The row with this key that was there before; None without one."""
        if key not in self.starts:
            return None
        return self.there.named(self.there.cells_at(self.starts[key]))

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
