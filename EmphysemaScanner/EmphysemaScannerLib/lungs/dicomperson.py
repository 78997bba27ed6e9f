"""Age, sex, height and weight as a DICOM header states them; nothing else of the patient is kept."""

from __future__ import annotations

import re
import warnings
from datetime import date
from pathlib import Path

import pydicom

from .reference import NOBODY, Person, Sex

_TAGS = [
    "SpecificCharacterSet", "PatientAge", "PatientBirthDate", "PatientSex", "PatientSize", "PatientWeight",
    "StudyDate", "AcquisitionDate",
]  # fmt: skip
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_OLDEST_YEARS = 120
_HEIGHTS_CM, _WEIGHTS_KG = (50.0, 250.0), (10.0, 400.0)  # as the command line allows


def person_in_file(path: Path) -> Person:
    """What one file of a series states; nobody's where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of every value that breaks the standard
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
    except Exception:  # of any kind, as pydicom reads a damaged header value by value
        return NOBODY
    return person_of(header)


def person_of(header: pydicom.Dataset) -> Person:
    """What a header states; what is missing, damaged or impossible is unknown.

    Args:
        header: with PatientAge (0010,1010) or else PatientBirthDate (0010,0030) and StudyDate (0008,0020) or
            AcquisitionDate (0008,0022); PatientSex (0010,0040), of which O is unknown; PatientSize (0010,1020) in m and
            PatientWeight (0010,1030) in kg.

    Returns:
        The age in whole years, from 1 to 120.
    """
    age = _stated_age(_text(header, "PatientAge")) or _age_between(header)
    sex = _text(header, "PatientSex").upper()
    return Person(
        sex=Sex(sex) if sex in {one.value for one in Sex} else None,
        age_years=age if age is not None and 0 < age <= _OLDEST_YEARS else None,
        height_cm=_within(_text(header, "PatientSize"), 100.0, _HEIGHTS_CM),
        weight_kg=_within(_text(header, "PatientWeight"), 1.0, _WEIGHTS_KG),
    )


def _stated_age(text: str) -> int | None:
    found = _AGE.fullmatch(text.upper())
    return None if found is None else int(int(found[1]) / _PER_YEAR[found[2]])


def _age_between(header: pydicom.Dataset) -> int | None:
    born = _date(_text(header, "PatientBirthDate"))
    scanned = _date(_text(header, "StudyDate")) or _date(_text(header, "AcquisitionDate"))
    if born is None or scanned is None:
        return None
    return scanned.year - born.year - ((scanned.month, scanned.day) < (born.month, born.day))


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) if len(text) == 8 else None
    except ValueError:
        return None


def _within(text: str, factor: float, limits: tuple[float, float]) -> float | None:
    try:
        value = float(text) * factor
    except ValueError:
        return None
    return round(value, 1) if limits[0] <= value <= limits[1] else None  # NaN is not


def _text(header: pydicom.Dataset, name: str) -> str:
    """An attribute's value; "" where it is missing, damaged or several."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = header.get(name)
    except Exception:  # of any kind, as above
        return ""
    return "" if value is None else str(value).strip()
