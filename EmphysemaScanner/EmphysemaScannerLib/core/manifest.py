"""The manifest: one CSV that lists a cohort's volumes with their labels. Reading it checks every line."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import EmphysemaScannerError
from .wholefile import write_whole

SPLITS = ("train", "tune", "test")
REQUIRED = ("volume", "label", "patient")
OPTIONAL = ("split", "study", "series", "kernel", "lesions")
_NAMED_AT_MOST = 3


class ManifestError(EmphysemaScannerError):
    """A manifest cannot be used; the message names the line."""


@dataclass(frozen=True)
class CohortRow:
    """One volume of a cohort.

    Attributes:
        volume: image file, DICOM folder, or one file of a DICOM series; absolute.
        label: 1 with emphysema, 0 without.
        patient: identifier that all volumes of one person share; splits never cut through a patient.
        split: "train", "tune" or "test"; "" when not assigned.
        lesions: a lesion map on the network's grid (share of each voxel, 0 to 255), simulated cohorts only.
        extra: the other columns, as text.
        study: the exam's identifier, in DICOM the StudyInstanceUID; "" when not given, as are series and kernel.
        series: in DICOM the SeriesInstanceUID.
        kernel: reconstruction kernel, as the scanner's maker names it.
        where: manifest and line, for messages.
    """

    volume: Path
    label: int
    patient: str
    split: str = ""
    lesions: Path | None = None
    extra: dict[str, str] = field(default_factory=dict)
    study: str = ""
    series: str = ""
    kernel: str = ""
    where: str = field(default="", compare=False)


def read_manifest(path: Path) -> tuple[CohortRow, ...]:
    """The rows of a manifest; relative paths count from the manifest's folder.

    Volumes need not exist, so that a cohort can be split before it is downloaded; ``check_volumes`` looks.

    Raises:
        ManifestError: unreadable, a column is missing or repeated, a line is wrong, a volume is listed twice, or a
            patient is in two splits.
    """
    path = Path(path).absolute()
    reader = csv.reader(_text(path), strict=True)
    try:
        columns = _columns(path, next(reader, []))
        rows = [_row(path, reader.line_num, columns, values) for values in reader if any(v.strip() for v in values)]
    except csv.Error as error:
        raise ManifestError(
            f"{path.name}, line {reader.line_num}: this is not CSV ({error}); mend the line."
        ) from error
    if not rows:
        raise ManifestError(f"{path.name} lists no volumes.")
    _check_together(path, rows)
    return tuple(rows)


def check_volumes(rows: Iterable[CohortRow]) -> None:
    """Refuse rows whose volume or lesion map is not there.

    Raises:
        ManifestError: names the first few by manifest and line, and says how many there are.
    """
    missing = [
        f"{row.where}: '{path}'" for row in rows for path in (row.volume, row.lesions) if path and not path.exists()
    ]
    if missing:
        more = f" and {len(missing) - _NAMED_AT_MOST} more" if len(missing) > _NAMED_AT_MOST else ""
        raise ManifestError(
            f"{len(missing)} of the manifest's files do not exist ({'; '.join(missing[:_NAMED_AT_MOST])}{more}); "
            "download them or mend their paths."
        )


def write_manifest(path: Path, rows: Sequence[CohortRow]) -> None:
    """Write a manifest, whole or not at all; paths below its folder are written relative to it.

    Optional columns are written where a row has them; the columns of ``extra`` follow in the order they first appear.
    """
    path = Path(path).absolute()
    named = [name for name in OPTIONAL if any(getattr(row, name) for row in rows)]
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*REQUIRED, *named, *extra], restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values: dict[str, object] = {name: getattr(row, name) for name in (*REQUIRED, *named)}
        for name in {"volume", "lesions"} & values.keys():
            values[name] = _written(path.parent, getattr(row, name))
        writer.writerow({**row.extra, **values})
    write_whole(path, text.getvalue().encode())


def _written(folder: Path, path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return path.as_posix()


def _text(path: Path) -> io.StringIO:
    """The file with its line ends as they are, as ``csv`` wants them."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"The manifest {path} cannot be read ({error.strerror}).") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{path.name}, line {line}: this is not UTF-8; save the file as CSV UTF-8.") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ManifestError(f"{path.name}, line {line}: this is not text; save the file as CSV UTF-8.")
    return io.StringIO(text, newline="")


def _columns(path: Path, header: list[str]) -> list[str]:
    columns = [name.strip() for name in header]
    missing = [name for name in REQUIRED if name not in columns]
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        raise ManifestError(f"{path.name} does not have commas between its columns; save it with commas.")
    if missing:
        raise ManifestError(f"{path.name} lacks the column {' and '.join(missing)}; add it.")
    for name in columns:
        if not name:
            raise ManifestError(f"{path.name}, line 1: a column has no name; name it or remove it.")
        if columns.count(name) > 1:
            raise ManifestError(f"{path.name}, line 1: the column {name} is there twice; keep one.")
    return columns


def _row(path: Path, number: int, columns: list[str], line: list[str]) -> CohortRow:
    where = f"{path.name}, line {number}"
    if [value.strip() for value in line] == columns:
        raise ManifestError(f"{where}: the header is repeated; remove the line.")
    if len(line) != len(columns):
        raise ManifestError(f"{where}: {len(columns)} values are needed and {len(line)} are there; mend the line.")
    values = {name: value.strip() for name, value in zip(columns, line, strict=True)}
    for name in ("volume", "patient"):
        if not values[name]:
            raise ManifestError(f"{where}: the {name} must not be empty.")
    if values["label"] not in ("0", "1"):
        raise ManifestError(f"{where}: the label must be 0 or 1, not '{values['label']}'.")
    if values.get("split") and values["split"] not in SPLITS:
        raise ManifestError(f"{where}: the split must be train, tune or test, not '{values['split']}'.")
    lesions = values.get("lesions")
    return CohortRow(
        volume=path.parent / values["volume"],
        label=int(values["label"]),
        patient=values["patient"],
        split=values.get("split", ""),
        lesions=path.parent / lesions if lesions else None,
        extra={name: value for name, value in values.items() if name not in (*REQUIRED, *OPTIONAL)},
        study=values.get("study", ""),
        series=values.get("series", ""),
        kernel=values.get("kernel", ""),
        where=where,
    )


def _check_together(path: Path, rows: list[CohortRow]) -> None:
    first: dict[str, CohortRow] = {}
    home: dict[str, CohortRow] = {}
    for row in rows:
        earlier = first.setdefault(os.path.normpath(row.volume), row)
        if earlier is not row:
            raise ManifestError(
                f"{row.where}: the volume '{row.volume.name}' is listed already ({earlier.where}); keep one of the two."
            )
        earlier = home.setdefault(row.patient, row)
        if earlier.split != row.split:
            raise ManifestError(
                f"{row.where}: patient '{row.patient}' is in the splits '{earlier.split or 'none'}' "
                f"({earlier.where}) and '{row.split or 'none'}'; put all volumes of a patient into one."
            )
