"""What each column of a batch's table holds, and that as a data dictionary for REDCap."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ..lungs.measures import VOLUME_CHANGE
from ..lungs.regions import LOBES, MaskKind, Region
from ..lungs.scope import Scope
from ..scan.call import Call
from .figures import Figure
from .row import DONE, FURTHER_FIGURES, LOBE_FIGURES, REFUSED

_FORM = "emphysema_scanner"
# The header of a data dictionary as REDCap exports and imports it.
_REDCAP = (
    "Variable / Field Name", "Form Name", "Section Header", "Field Type", "Field Label",
    "Choices, Calculations, OR Slider Labels", "Field Note", "Text Validation Type OR Show Slider Number",
    "Text Validation Min", "Text Validation Max", "Identifier?", "Branching Logic (Show field only if...)",
    "Required Field?", "Custom Alignment", "Question Number (surveys only)", "Matrix Group Name", "Matrix Ranking?",
    "Field Annotation",
)  # fmt: skip


class Holds(Enum):
    """What the cells of a column are."""

    TEXT = "text"
    SENTENCES = "sentences"
    NUMBER = "number"
    CHOICE = "choice"


_FIELD_TYPES = {Holds.TEXT: "text", Holds.SENTENCES: "notes", Holds.NUMBER: "text", Holds.CHOICE: "radio"}


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        name: in the header.
        holds: what its cells are.
        meaning: in words.
        unit: of a number; "" without one.
        low, high: the range of a number; None where it has no end.
        choices: what a cell may be.
        may_identify: whether a cell may name a patient.
    """

    name: str
    holds: Holds
    meaning: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    may_identify: bool = False


def _of_lobe(lobe: Region, figure: str) -> Column:
    """The column of a lobe's figure."""
    meaning, unit, low, high = {
        "laa_950_percent": ("share of lung below -950 HU (LAA%-950)", "%", 0, 100),
        "perc15_hu": ("15th percentile of lung density (Perc15)", "HU", None, None),
        "volume_l": ("volume", "L", 0, None),
        "disease_extent_percent": ("extent by the disease map", "%", 0, 100),
        "evidence_share_percent": ("share of the evidence", "%", None, None),
    }[figure]
    return Column(f"{lobe.value}_{figure}", Holds.NUMBER, f"{str(lobe).capitalize()}: {meaning}", unit, low, high)


def _of_figure(figure: Figure) -> Column:
    """The column of a further figure."""
    measure = figure.measure
    low, high = (0, 100) if measure.unit == "%" and measure is not VOLUME_CHANGE else (None, None)
    return Column(figure.column, Holds.NUMBER, figure.meaning, measure.unit, low, high)


COLUMNS = (
    Column("source", Holds.TEXT, "The CT's file or folder", may_identify=True),
    Column("status", Holds.CHOICE, "Whether the CT was scanned", choices=(DONE, REFUSED)),
    Column("probability", Holds.NUMBER, "Probability of emphysema according to the model", "0 to 1", 0, 1),
    Column("operating_point", Holds.NUMBER, "Probability at and above which the call is positive", "0 to 1", 0, 1),
    Column("call", Holds.CHOICE, "Call at the operating point", choices=tuple(call.value for call in Call)),
    Column("call_reason", Holds.SENTENCES, "Why no call was made"),
    Column("laa_950_percent", Holds.NUMBER, "Share of lung below -950 HU (LAA%-950), both lungs", "%", 0, 100),
    Column("perc15_hu", Holds.NUMBER, "15th percentile of lung density (Perc15), both lungs", "HU"),
    Column("volume_l", Holds.NUMBER, "Lung volume, both lungs", "L", 0),
    Column("warnings", Holds.SENTENCES, "Image quality warnings, separated by a vertical bar"),
    Column("problem", Holds.SENTENCES, "Why the CT was refused", may_identify=True),
    Column("model", Holds.TEXT, "SHA-256 of the model"),
    Column("seconds", Holds.NUMBER, "Time of reading and scanning", "s", 0),
    Column("input_state", Holds.TEXT, "Checksum of names, sizes and times of modification of the CT's files"),
    Column("dicom_objects", Holds.TEXT, "Folder with the CT's DICOM objects", may_identify=True),
    Column("dicom_problem", Holds.SENTENCES, "Why no DICOM objects were written", may_identify=True),
    Column("lung_mask", Holds.CHOICE, "Whose lung mask was used", choices=tuple(kind.value for kind in MaskKind)),
    Column("lobe_mask", Holds.CHOICE, "Whose lobes were used", choices=tuple(kind.value for kind in MaskKind)),
    Column("expiratory_ratio", Holds.NUMBER, "Lung volume in expiration over that in inspiration", "0 to 1", 0),
    Column("air_trapping_percent", Holds.NUMBER, "Air trapping: expiratory lung below -856 HU", "%", 0, 100),
    Column("prm_emphysema_percent", Holds.NUMBER, "Parametric response map: emphysema", "%", 0, 100),
    Column("prm_small_airways_percent", Holds.NUMBER, "Parametric response map: small airways disease", "%", 0, 100),
    Column("prm_normal_percent", Holds.NUMBER, "Parametric response map: normal", "%", 0, 100),
    Column(
        "expiratory_problem", Holds.SENTENCES, "What is missing or doubtful of the expiratory CT", may_identify=True
    ),
    *(_of_lobe(lobe, figure) for lobe in LOBES for figure in LOBE_FIGURES),
)
"""In the order of the table."""
FURTHER_COLUMNS = (
    Column("measure", Holds.CHOICE, "How much was measured", choices=tuple(scope.value for scope in Scope)),
    *map(_of_figure, FURTHER_FIGURES),
)
"""Those behind them in a table for which everything is measured."""


def columns_of(measure: Scope) -> tuple[Column, ...]:
    """The columns of a table for what is measured, in its order."""
    return COLUMNS if measure is Scope.HISTOGRAM else (*COLUMNS, *FURTHER_COLUMNS)


def redcap_dictionary(measure: Scope = Scope.HISTOGRAM) -> str:
    """A data dictionary of the table (CSV) that REDCap imports: a field for each column, the first names the record."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_REDCAP)
    writer.writerows(_fields(columns_of(measure)))
    return buffer.getvalue()


def _fields(columns: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    for column in columns:
        choices = " | ".join(f"{choice}, {choice}" for choice in column.choices)
        is_number = column.holds is Holds.NUMBER
        yield (
            column.name,
            _FORM,
            "",
            _FIELD_TYPES[column.holds],
            column.meaning,
            choices,
            column.unit,
            "number" if is_number else "",
            "" if column.low is None else f"{column.low:g}",
            "" if column.high is None else f"{column.high:g}",
            "y" if column.may_identify else "",
            *("",) * 7,
        )
