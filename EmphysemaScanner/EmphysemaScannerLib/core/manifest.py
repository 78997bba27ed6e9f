"""The manifest: one CSV that lists a cohort's volumes with their labels. Reading it checks every line."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from .errors import EmphysemaScannerError

SPLITS = ("train", "tune", "test")


class ManifestError(EmphysemaScannerError):
    """A manifest cannot be used; the message names the line."""


@dataclass(frozen=True)
class CohortRow:
    """One volume of a cohort.

    Attributes:
        volume: file or DICOM folder, absolute.
        label: 1 with emphysema, 0 without.
        patient: identifier that all volumes of one person share; splits never cut through a patient.
        split: "train", "tune" or "test"; "" when not assigned.
        lesions: a lesion map on the network's grid (share of each voxel, 0 to 255), simulated cohorts only.
        extra: the other columns, as text.
    """

    volume: Path
    label: int
    patient: str
    split: str
    lesions: Path | None
    extra: dict[str, str]


def read_manifest(path: Path) -> tuple[CohortRow, ...]:
    """The rows of a manifest; relative paths count from the manifest's folder.

    Raises:
        ManifestError: unreadable, a column is missing, a line is wrong, or a patient is in two splits.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            missing = {"volume", "label", "patient"} - columns
            if missing:
                raise ManifestError(f"{path.name} lacks the column {' and '.join(sorted(missing))}; add it.")
            rows = tuple(_row(path, reader.line_num, line) for line in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"The manifest {path} cannot be read ({error}).") from error
    if not rows:
        raise ManifestError(f"{path.name} lists no volumes.")
    home: dict[str, str] = {}
    for row in rows:
        if home.setdefault(row.patient, row.split) != row.split:
            raise ManifestError(
                f"Patient '{row.patient}' is in the splits '{home[row.patient]}' and '{row.split}' of {path.name}; "
                "put all volumes of a patient into one."
            )
    return rows


def _row(path: Path, number: int, line: dict[str, str]) -> CohortRow:
    where = f"{path.name}, line {number}: "
    values = {key: (value or "").strip() for key, value in line.items() if key is not None}
    if values["label"] not in ("0", "1"):
        raise ManifestError(f"{where}the label must be 0 or 1, not '{values['label']}'.")
    if not values["volume"] or not values["patient"]:
        raise ManifestError(f"{where}volume and patient must not be empty.")
    split = values.pop("split", "")
    if split and split not in SPLITS:
        raise ManifestError(f"{where}the split must be train, tune or test, not '{split}'.")
    volume, lesions = path.parent / values.pop("volume"), values.pop("lesions", "")
    return CohortRow(
        volume=volume,
        label=int(values.pop("label")),
        patient=values.pop("patient"),
        split=split,
        lesions=path.parent / lesions if lesions else None,
        extra=values,
    )
