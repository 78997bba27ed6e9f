"""Lists that users save as CSV with whatever program: each row is read, or one sentence names the line that is not.

Lists of CTs for a batch and manifests of cohorts are read here, both in the same way.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import EmphysemaScannerError, reason

SUFFIXES = (".csv", ".tsv", ".txt")

_MARKS = (  # UTF-32 first, because its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_SEPARATORS = (",", ";", "\t", "|")
_STATED_SEPARATOR = re.compile(r'"?sep=([^\w\s"]|\t)"?[\s,;]*', re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class ListRow:
    """One row of a list.

    Attributes:
        where: file and line, for messages, such as "list.csv, line 3".
        values: by column, without the blanks around them.
    """

    where: str
    values: dict[str, str]


@dataclass(frozen=True)
class UserList:
    """A list as its user wrote it.

    Attributes:
        columns: names in lower case, "" for a column without a name; no name twice.
        rows: those that are not empty, at least one.
    """

    columns: tuple[str, ...]
    rows: tuple[ListRow, ...]


def read_list(path: Path, required: Sequence[str], error: type[EmphysemaScannerError]) -> UserList:
    """Read a list.

    Text is UTF-8, UTF-16 or UTF-32 with a byte order mark, UTF-8 without, or else Windows-1252. Columns are separated
    by what a first line such as ``sep=;`` states, or else by the one of comma, semicolon, tab and vertical bar that
    separates the required columns' names. Lines end with LF, CRLF or CR; empty lines are passed over. Capitals in, and
    blanks around, the names of columns do not count. A quoted value ends on its line, because a quotation mark that was
    left open would otherwise hide the rows after it.

    Args:
        path: the list; its first line that is not empty names the columns.
        required: columns that must be there, in lower case, with a value in each row.
        error: raised, with one sentence, where the list cannot be read.

    Raises:
        EmphysemaScannerError: (``error``) the file cannot be read or is not text, a column is missing or occurs twice,
            a row is damaged or lacks a value, or there are no rows.
    """
    path = Path(path)
    lines = [(number, text) for number, text in enumerate(_LINE_END.split(_text(path, error)), 1) if text.strip()]
    separators: tuple[str, ...] = _SEPARATORS
    if lines and (stated := _STATED_SEPARATOR.fullmatch(lines[0][1].strip(" "))):
        separators, lines = (stated[1],), lines[1:]
    if not lines:
        raise error(f"{path.name} is empty; it must begin with a line that names the column {' and '.join(required)}.")
    first, header = lines[0]
    separator = max(separators, key=lambda mark: len({*required} & {*_names(header, mark)}))
    columns = tuple(name.lower() for name in _values(path, first, header, separator, error))
    _check_columns(path, first, columns, required, error)
    rows = []
    for number, text in lines[1:]:
        values = _values(path, number, text, separator, error)
        if any(values):
            rows.append(_row(f"{path.name}, line {number}", columns, values, required, error))
    if not rows:
        raise error(f"{path.name} lists no volumes; add a line for each.")
    return UserList(columns, tuple(rows))


def _text(path: Path, error: type[EmphysemaScannerError]) -> str:
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise error(f"The list '{path}' cannot be read ({problem.strerror}).") from problem
    mark, encoding = next((pair for pair in _MARKS if raw.startswith(pair[0])), (b"", "utf-8"))
    raw = raw[len(mark) :]
    try:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            # Characters of UTF-8 beside bytes that are none: which of the two is damaged, nobody can know.
            if mark or not raw.decode(encoding, "ignore").isascii():
                raise
            encoding = "cp1252"
            text = raw.decode(encoding)
    except UnicodeDecodeError as problem:
        line = _line_of(raw[: problem.start].decode(encoding, "ignore"))
        raise error(
            f"{path.name}, line {line}: these are characters of an unknown kind; save the file as CSV UTF-8."
        ) from problem
    if "\0" in text:
        line = _line_of(text[: text.index("\0")])
        raise error(f"{path.name}, line {line}: this is not text; save the file as CSV UTF-8.")
    return text


def _line_of(before: str) -> int:
    """The line that comes after some text."""
    return len(_LINE_END.split(before))


def _split(text: str, separator: str) -> list[str]:
    """The values of one line.

    Raises:
        csv.Error: a quotation mark is not closed, or closed in the middle of a value.
    """
    parsed = csv.reader([text], delimiter=separator, skipinitialspace=True, strict=True)
    return [value.strip() for value in next(parsed, [])]


def _names(header: str, separator: str) -> list[str]:
    """The columns' names, were this the separator."""
    try:
        return [name.lower() for name in _split(header, separator)]
    except csv.Error:
        return []


def _values(path: Path, number: int, text: str, separator: str, error: type[EmphysemaScannerError]) -> list[str]:
    try:
        return _split(text, separator)
    except csv.Error as problem:
        what = "a quotation mark is not closed on the line" if "end of data" in str(problem) else reason(problem)
        raise error(f"{path.name}, line {number}: this is not CSV ({what}); correct the line.") from problem


def _check_columns(
    path: Path, number: int, columns: Sequence[str], required: Sequence[str], error: type[EmphysemaScannerError]
) -> None:
    missing = [name for name in required if name not in columns]
    if missing:
        raise error(
            f"{path.name} lacks the column {' and '.join(missing)}; line {number} must name the columns, with commas, "
            "semicolons or tabs between them."
        )
    for name in columns:
        if name and columns.count(name) > 1:
            raise error(f"{path.name}, line {number}: the column {name} occurs twice; keep one.")


def _row(
    where: str,
    columns: Sequence[str],
    values: Sequence[str],
    required: Sequence[str],
    error: type[EmphysemaScannerError],
) -> ListRow:
    if [value.lower() for value in values] == [*columns]:
        raise error(f"{where}: the header is repeated; remove the line.")
    if len(values) != len(columns):
        raise error(
            f"{where}: expected {len(columns)} values, found {len(values)}; correct the line, with quotation marks "
            "around a value that holds the separator."
        )
    row = ListRow(where, dict(zip(columns, values, strict=True)))
    for name in required:
        if not row.values[name]:
            raise error(f"{where}: the {name} must not be empty.")
    return row
