"""How a CT was acquired and of whom, as far as its DICOM files state it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pydicom

from ..base.errors import shown
from ..ct.dicomheader import Patient
from ..ct.series import Volume

_TAGS = [
    "AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "StudyDate", "Manufacturer", "ManufacturerModelName",
    "Exposure", "ExposureTime", "XRayTubeCurrent", "CTDIvol", "KVP", "ContrastBolusAgent",
]  # fmt: skip
_SAMPLES = 9  # slices: the tube current changes along the body


@dataclass(frozen=True)
class Technique:
    """What DICOM states of an acquisition; "" and NaN where nothing is stated.

    Attributes:
        taken: day of the acquisition, or of the study; None where none is stated.
        patient: who was scanned, to tell two patients apart; None for a CT that is not DICOM.
        scanner: manufacturer and model.
        kernel: ConvolutionKernel (0018,1210).
        thickness_mm: SliceThickness (0018,0050).
        exposure_mas: Exposure (0018,1152), or tube current times exposure time; median over slices.
        ctdi_mgy: CTDIvol (0018,9345); median over slices.
        tube_kv: KVP (0018,0060).
        contrast_agent: ContrastBolusAgent (0018,0010).
    """

    taken: date | None = None
    patient: Patient | None = None
    scanner: str = ""
    kernel: str = ""
    thickness_mm: float = math.nan
    exposure_mas: float = math.nan
    ctdi_mgy: float = math.nan
    tube_kv: float = math.nan
    contrast_agent: str = ""


NOT_STATED = Technique()
"""Of a CT that is not DICOM."""


def technique_of(volume: Volume | None) -> Technique:
    """What the files of a series state of its acquisition.

    Args:
        volume: its slices, as ``ct.reading.read_ct`` gives them; None for another kind of file.
    """
    if volume is None:
        return NOT_STATED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of values that break the standard, which count as not stated
        return _technique(volume)


def _technique(volume: Volume) -> Technique:
    step = max(1, len(volume.slices) // _SAMPLES)
    paths = list(dict.fromkeys(s.path for s in volume.slices[::step]))
    headers = [_header(path) for path in paths]
    first, thickness = headers[0], volume.first.thickness_mm
    return Technique(
        taken=_day(first),
        patient=volume.first.header.patient,
        scanner=" ".join(filter(None, (_text(first, "Manufacturer"), _text(first, "ManufacturerModelName")))),
        kernel=volume.first.moment.kernel,
        thickness_mm=thickness if thickness > 0 else math.nan,
        exposure_mas=_median([_exposure(header) for header in headers]),
        ctdi_mgy=_median([_number(header, "CTDIvol") for header in headers]),
        tube_kv=_number(first, "KVP"),
        contrast_agent=_text(first, "ContrastBolusAgent"),
    )


def _header(path: object) -> pydicom.Dataset:
    return pydicom.dcmread(str(path), stop_before_pixels=True, force=True, specific_tags=list(_TAGS))


def _text(header: pydicom.Dataset, name: str) -> str:
    try:
        value = header.get(name)
    except Exception:  # of any kind, as pydicom reads a damaged value
        return ""
    return "" if value is None else shown(str(value))


def _number(header: pydicom.Dataset, name: str) -> float:
    try:
        value = float(_text(header, name))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) and value > 0 else math.nan


def _exposure(header: pydicom.Dataset) -> float:
    """In mAs; XRayTubeCurrent is in mA, ExposureTime in ms."""
    stated = _number(header, "Exposure")
    if math.isfinite(stated):
        return stated
    return _number(header, "XRayTubeCurrent") * _number(header, "ExposureTime") / 1000


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def _day(header: pydicom.Dataset) -> date | None:
    for name in ("AcquisitionDate", "AcquisitionDateTime", "StudyDate", "SeriesDate"):
        digits = _text(header, name).replace(".", "")[:8]  # before 1993 written with dots
        try:
            return datetime.strptime(digits, "%Y%m%d").date()  # noqa: DTZ007  # a day of the scanner's own clock
        except ValueError:
            continue
    return None
