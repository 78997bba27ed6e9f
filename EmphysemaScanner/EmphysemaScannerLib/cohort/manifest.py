"""The manifest: one CSV that lists a cohort's volumes with their labels. Reading it checks every line."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..base.errors import EmphysemaScannerError
from ..base.lists import ListRow, read_list
from ..base.wholefile import write_whole
from ..lungs.labelfiles import MASK_COLUMNS, NO_FILES, MaskFiles
from ..lungs.regions import RegionError

SPLITS = ("train", "tune", "test")
REQUIRED = ("volume", "label", "patient")
OPTIONAL = ("split", "study", "series", "kernel", "lesions")
_KNOWN = (*REQUIRED, *OPTIONAL, *MASK_COLUMNS)
_PATHS = {"volume", "lesions", "lungs", "lobes"}
_NAMED_AT_MOST = 3
_CORRECT_NAMES = "write one patient in one way, and several so that they differ in more than zeros, capitals or blanks"


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
        extra: the other columns, as text, by names in lower case.
        study: the exam's identifier, in DICOM the StudyInstanceUID; "" when not given, as are series and kernel.
        series: in DICOM the SeriesInstanceUID.
        kernel: reconstruction kernel, as the scanner's maker names it.
        where: manifest and line, for messages.
        masks: label files of its lungs and lobes; where there are none, the lungs are found in it.
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
    masks: MaskFiles = NO_FILES


def read_manifest(path: Path) -> tuple[CohortRow, ...]:
    """The rows of a manifest, as ``lists.read_list`` reads them; relative paths count from the manifest's folder.

    Volumes need not exist, so that a cohort can be split before it is downloaded; ``check_volumes`` looks.

    Raises:
        ManifestError: as ``lists.read_list``, a column has no name, a label or split is none, a volume is listed twice,
            or a patient is in two splits.
    """
    path = Path(path).absolute()
    listed = read_list(path, REQUIRED, ManifestError)
    if "" in listed.columns:
        raise ManifestError(f"{path.name}: a column has no name; name it or remove it.")
    rows = [_row(path, row) for row in listed.rows]
    _check_volumes_differ(rows)
    check_patients(rows)
    return tuple(rows)


def check_volumes(rows: Iterable[CohortRow]) -> None:
    """Refuse rows whose volume, lesion map or label files are not there.

    Raises:
        ManifestError: names the first few by manifest and line, and says how many there are.
    """
    missing = [
        f"{row.where}: '{path}'"
        for row in rows
        for path in (row.volume, row.lesions, row.masks.lungs, row.masks.lobes)
        if path and not path.exists()
    ]
    if missing:
        more = f" and {len(missing) - _NAMED_AT_MOST} more" if len(missing) > _NAMED_AT_MOST else ""
        raise ManifestError(
            f"{len(missing)} of the manifest's files do not exist ({'; '.join(missing[:_NAMED_AT_MOST])}{more}); "
            "download them or correct their paths."
        )


def write_manifest(path: Path, rows: Sequence[CohortRow]) -> None:
    """Write a manifest, whole or not at all; paths below its folder are written relative to it.

    Optional columns are written where a row has them; the columns of ``extra`` follow in the order they first appear.
    """
    path = Path(path).absolute()
    named = [name for name in OPTIONAL if any(getattr(row, name) for row in rows)]
    of_masks = [name for name in MASK_COLUMNS if any(getattr(row.masks, name) for row in rows)]
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*REQUIRED, *named, *of_masks, *extra], restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values: dict[str, object] = {name: getattr(row, name) for name in (*REQUIRED, *named)}
        values |= {name: getattr(row.masks, name) for name in of_masks}
        for name in _PATHS & values.keys():
            values[name] = _written(path.parent, values[name])
        writer.writerow({**row.extra, **values})
    write_whole(path, text.getvalue().encode())


def _written(folder: Path, path: object) -> str:
    if not isinstance(path, Path):
        return ""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return path.as_posix()


def _row(path: Path, row: ListRow) -> CohortRow:
    where, values = row.where, row.values
    if values["label"] not in ("0", "1"):
        raise ManifestError(f"{where}: the label must be 0 or 1, not '{values['label']}'.")
    if values.get("split") and values["split"] not in SPLITS:
        raise ManifestError(f"{where}: the split must be train, tune or test, not '{values['split']}'.")
    lesions = values.get("lesions")
    try:
        masks = MaskFiles.of_columns(path.parent, values)
    except RegionError as error:
        raise ManifestError(f"{where}: {error}") from error
    return CohortRow(
        volume=path.parent / values["volume"],
        label=int(values["label"]),
        patient=values["patient"],
        split=values.get("split", ""),
        lesions=path.parent / lesions if lesions else None,
        extra={name: value for name, value in values.items() if name not in _KNOWN},
        study=values.get("study", ""),
        series=values.get("series", ""),
        kernel=values.get("kernel", ""),
        where=where,
        masks=masks,
    )


def _check_volumes_differ(rows: Iterable[CohortRow]) -> None:
    first: dict[str, CohortRow] = {}
    for row in rows:
        earlier = first.setdefault(os.path.normpath(row.volume), row)
        if earlier is not row:
            raise ManifestError(
                f"{row.where}: the volume '{row.volume.name}' is listed already ({earlier.where}); keep one of the two."
            )


def check_patients(rows: Iterable[CohortRow]) -> None:
    """Refuse a patient in two splits, in which also two names count as one that only ``bare_name`` makes equal.

    Raises:
        ManifestError: names both rows.
    """
    home: dict[str, CohortRow] = {}
    for row in rows:
        earlier = home.setdefault(bare_name(row.patient), row)
        if earlier.split == row.split:
            continue
        if earlier.patient == row.patient:
            raise ManifestError(
                f"{row.where}: patient '{row.patient}' is in the splits '{earlier.split or 'none'}' "
                f"({earlier.where}) and '{row.split or 'none'}'; put all volumes of a patient into one."
            )
        raise ManifestError(
            f"{row.where}: patient '{row.patient}' in the split '{row.split or 'none'}' is suspected to be "
            f"'{earlier.patient}' in '{earlier.split or 'none'}' ({earlier.where}); {_CORRECT_NAMES}."
        )


def suspected_patients(rows: Iterable[CohortRow]) -> list[str]:
    """A sentence for patients who are suspected to be one, because ``bare_name`` makes their names equal."""
    found: dict[str, dict[str, CohortRow]] = {}
    for row in rows:
        found.setdefault(bare_name(row.patient), {}).setdefault(row.patient, row)
    groups = [names.values() for names in found.values() if len(names) > 1]
    named = [" and ".join(f"'{row.patient}' ({row.where})" for row in group) for group in groups]
    return [f"The patients {names} are suspected to be one; {_CORRECT_NAMES}." for names in named]


def bare_name(patient: str) -> str:
    """A patient's name without what spreadsheets change: capitals, blanks around it, zeros before its number.

    Only zeros before the first digits are left out, so that two names of the same length stay two.
    """
    return re.sub(r"^(\D*)0+(?=\d)", r"\1", patient.strip().casefold())
