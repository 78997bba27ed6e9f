"""What the header of a DICOM file states: the slices that it holds, or what else it is."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber", "SeriesDescription",
    "PatientID", "PatientName", "PatientBirthDate", "Modality", "ImageType", "NumberOfFrames", "Rows", "Columns",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "PhotometricInterpretation",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "ConvolutionKernel", "AcquisitionNumber", "AcquisitionTime",
    "AcquisitionDateTime", "ContentTime", "InstanceNumber", "TemporalPositionIdentifier", "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase", "TriggerTime", "EchoNumbers", "KVP", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation",
]  # fmt: skip
_OF_FRAMES = ["FrameType", "FrameAcquisitionNumber", "FrameAcquisitionDateTime"]
_TAG = {name: Tag(name) for name in _TAGS + _OF_FRAMES}
_READ: list[BaseTag] = [_TAG[name] for name in _TAGS]

_DICOMDIR = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and .7.1 to .7.4, of several frames
_CT = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # and legacy converted
_REPRESENTATIONS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_LONGEST_FIRST_VALUE = 1024  # bytes; a file without a preamble begins with a short element

_PLAIN_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
_REMEMBERED = 1024
_PIXEL_DATA = b"\xe0\x7f\x10\0"

Point = NDArray[np.float64]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Patient:
    """Who was scanned, as far as is stated, to tell two patients apart; never shown."""

    identity: str
    name: str
    birth_date: str

    def is_other_than(self, other: Patient) -> bool:
        """Whether something that both state differs."""
        pairs = zip(
            (self.identity, self.name, self.birth_date),
            (other.identity, other.name, other.birth_date),
            strict=True,
        )
        return any(mine and theirs and mine != theirs for mine, theirs in pairs)

    @property
    def is_anonymous(self) -> bool:
        """Whether neither PatientID (0010,0020) nor PatientName (0010,0010) is stated."""
        return not (self.identity or self.name)


@dataclass(frozen=True, slots=True)
class SeriesHeader:
    """What a file states of the series that it belongs to; "" where it states nothing."""

    uid: str
    study: str
    patient: Patient
    number: str
    description: str
    modality: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What tells the acquisitions, phases and reconstructions of one series apart; "" where nothing is stated."""

    image_type: tuple[str, ...]
    kernel: str
    phase: str
    energy: str
    acquisition: str
    acquired_at: str
    made_at: str
    number: str


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """Where the 16-bit numbers of an uncompressed file lie.

    Attributes:
        offset: of the first frame, bytes.
        bits: how many of each number's 16 bits hold the value, the lowest ones.
        is_signed: whether the highest of them is the sign.
    """

    offset: int
    bits: int
    is_signed: bool


@dataclass(frozen=True, eq=False, slots=True)
class Slice:
    """One image of a series and where it lies.

    Attributes:
        path: its file.
        frame: its number in a file of several frames, from 0.
        instance: SOPInstanceUID.
        header: of its series.
        moment: which acquisition and reconstruction it is of.
        position: centre of its first pixel, LPS in mm.
        axes: (2, 3), unit vectors along a row and along a column.
        pixel_mm: distance of rows and of columns.
        size: number of rows and columns.
        thickness_mm: 0 where nothing is stated.
        slope, intercept: of the rescaling to HU; NaN where nothing is stated.
        units: RescaleType, upper case.
        photometric: PhotometricInterpretation.
        captured: whether it is a secondary capture, a picture made from a CT.
        stored: None where GDCM has to decode the pixels.
    """

    path: Path
    frame: int
    instance: str
    header: SeriesHeader
    moment: Moment
    position: Point
    axes: Point
    pixel_mm: tuple[float, ...]
    size: tuple[int, int]
    thickness_mm: float
    slope: float
    intercept: float
    units: str
    photometric: str
    captured: bool
    stored: StoredPixels | None

    @property
    def normal(self) -> Point:
        """Unit vector from slice to slice."""
        return np.cross(self.axes[0], self.axes[1])


@dataclass(frozen=True, slots=True)
class Other:
    """A file that is no slice of a CT.

    Attributes:
        path: the file.
        what: its kind, as a noun in the singular.
        reason: why it is not read, as a part of a sentence.
        series: SeriesInstanceUID, "" where it could not be read.
        instance: SOPInstanceUID, "" where it could not be read.
        is_damaged: whether it may be a slice that cannot be read.
    """

    path: Path
    what: str
    reason: str
    series: str = ""
    instance: str = ""
    is_damaged: bool = False


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, with a preamble or with its first element.

    Raises:
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        return True
    if len(head) < 132 or head[:2] not in (b"\2\0", b"\10\0"):
        return False
    length = int.from_bytes(head[4:8], "little")
    return head[4:6] in _REPRESENTATIONS or (length <= _LONGEST_FIRST_VALUE and length % 2 == 0)


class _WithoutWarnings:
    """No warnings as long as some thread is inside; ``warnings.catch_warnings`` is for one thread at a time."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_without_warnings = _WithoutWarnings()


def slices_in(path: Path) -> Sequence[Slice] | Other:
    """The slices that a DICOM file holds, of any modality, or what else it is."""
    with _without_warnings:  # pydicom warns of every value that breaks the standard, harmless here
        try:
            with path.open("rb") as file:
                header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_READ)
                stored = _stored_pixels(header, file)
            kind = _text(header, "SOPClassUID") or str(header.file_meta.get("MediaStorageSOPClassUID", ""))
        except Exception as error:  # of any kind, as pydicom reads a damaged header value by value
            return Other(path, "damaged file", f"damaged ({type(error).__name__})", is_damaged=True)
        try:
            return _slices(path, header, kind, stored)
        except Exception:  # of any kind, as above
            return _damaged(path, header, "its header is damaged")


def _slices(path: Path, header: pydicom.Dataset, kind: str, stored: StoredPixels | None) -> Sequence[Slice] | Other:
    series, instance = _text(header, "SeriesInstanceUID"), _text(header, "SOPInstanceUID")
    modality = _text(header, "Modality")
    if kind == _DICOMDIR:
        return Other(path, "DICOMDIR", "an index of files")
    if not (kind or modality or series):
        return _damaged(path, header, "its header is damaged or ends early")
    image_type = tuple(value.upper() for value in _texts(header, "ImageType"))
    if "LOCALIZER" in image_type:
        return Other(path, "localizer", "a localizer", series, instance)
    frames = int(header.get("NumberOfFrames") or 1)
    if kind in _ENHANCED_CT and "PerFrameFunctionalGroupsSequence" in header:
        return _frames(path, header, stored)
    if frames > 1:
        what = "movie" if kind.startswith(_SECONDARY_CAPTURE) else f"multi-frame {_kind_name(kind, modality)}"
        return Other(path, what, "several frames without positions", series, instance)
    if header.get("ImageOrientationPatient") is None or header.get("ImagePositionPatient") is None:
        if kind == _CT and "Rows" not in header:
            return _damaged(path, header, "its header ends early")
        return Other(path, _kind_name(kind, modality), "without a position in the patient", series, instance)
    slice_ = _slice(path, 0, [header], _series_header(header), kind.startswith(_SECONDARY_CAPTURE), stored)
    if 0 in slice_.size:
        return _damaged(path, header, "its header ends early")
    if not (np.isfinite(slice_.position).all() and np.isfinite(slice_.axes).all()):
        return _damaged(path, header, "its position or orientation is damaged")
    return [slice_]


def _frames(path: Path, header: pydicom.Dataset, stored: StoredPixels | None) -> list[Slice]:
    """The frames of an enhanced CT; each has functional groups of its own beside the shared ones.

    Source: DICOM PS3.3 C.7.6.16 (multi-frame functional groups) and C.8.15.3 (enhanced CT).
    """
    of_series = _series_header(header)
    shared = [group for item in header.get("SharedFunctionalGroupsSequence") or () for group in _groups(item)]
    return [
        _slice(path, frame, [*_groups(item), *shared, header], of_series, False, stored)
        for frame, item in enumerate(header.PerFrameFunctionalGroupsSequence)
    ]


def _groups(item: pydicom.Dataset) -> list[pydicom.Dataset]:
    return [element.value[0] for element in item if element.VR == "SQ" and element.value]


def _slice(
    path: Path,
    frame: int,
    places: Sequence[pydicom.Dataset],
    of_series: SeriesHeader,
    captured: bool,
    stored: StoredPixels | None,
) -> Slice:
    """A slice from the data sets in which its attributes are looked for, in this order."""

    def text(*names: str) -> str:
        return next((found for name in names for place in places if (found := _text(place, name))), "")

    def texts(*names: str) -> tuple[str, ...]:
        return next((found for name in names for place in places if (found := _texts(place, name))), ())

    def number(name: str, missing: float) -> float:
        stated = text(name)
        return float(stated) if stated else missing

    try:
        thickness = number("SliceThickness", 0.0)
    except ValueError:  # damaged; it only serves a warning
        thickness = 0.0
    return Slice(
        path=path,
        frame=frame,
        instance=text("SOPInstanceUID"),
        header=_one(of_series),
        moment=Moment(
            image_type=tuple(value.upper() for value in texts("FrameType", "ImageType")),
            kernel=" ".join(texts("ConvolutionKernel")),
            phase=" ".join(
                text(name)
                for name in (
                    "TemporalPositionIdentifier",
                    "TemporalPositionIndex",
                    "NominalPercentageOfCardiacPhase",
                    "TriggerTime",
                )
            ).strip(),
            energy=f"{text('EchoNumbers')} {text('KVP')}".strip(),
            acquisition=text("FrameAcquisitionNumber", "AcquisitionNumber"),
            acquired_at=text("FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime"),
            made_at=text("ContentTime"),
            number=text("InstanceNumber") if len(places) == 1 else str(frame),
        ),
        position=np.array(texts("ImagePositionPatient"), float).reshape(3),
        axes=_axes(texts("ImageOrientationPatient")),
        pixel_mm=_one(tuple(float(mm) for mm in texts("PixelSpacing"))),
        size=(int(_whole(places[-1], "Rows") or 0), int(_whole(places[-1], "Columns") or 0)),
        thickness_mm=thickness if math.isfinite(thickness) else 0.0,
        slope=number("RescaleSlope", math.nan),
        intercept=number("RescaleIntercept", math.nan),
        units=text("RescaleType").upper(),
        photometric=text("PhotometricInterpretation").upper(),
        captured=captured,
        stored=None if stored is None else _one(stored),
    )


@lru_cache(_REMEMBERED)
def _axes(cosines: tuple[str, ...]) -> Point:
    """(2, 3) unit vectors; slices of a series share them."""
    axes = np.array(cosines, float).reshape(2, 3)
    length = np.linalg.norm(axes, axis=1, keepdims=True)
    if length.min() < 0.9 or length.max() > 1.1:
        raise ValueError("direction cosines that are not of length 1")
    return np.asarray(axes / length)


@lru_cache(_REMEMBERED)
def _one(value: Value) -> Value:
    """The first of equal values, so that the slices of a batch share what they have in common."""
    return value


def _stored_pixels(header: pydicom.Dataset, file: BinaryIO) -> StoredPixels | None:
    """Where a file's pixels are, if they are plain; the file stands where its header ended, before the pixels' tag."""
    syntax = header.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    layout = [_whole(header, name) for name in ("SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit")]
    if syntax not in _PLAIN_SYNTAXES or layout[:2] != [1, 16] or not 0 < layout[2] <= 16 or layout[3] != layout[2] - 1:
        return None
    at, tag = file.tell(), file.read(12)
    if tag[:4] != _PIXEL_DATA:
        return None
    is_explicit = tag[4:6] in (b"OW", b"OB")
    return StoredPixels(at + (12 if is_explicit else 8), layout[2], _whole(header, "PixelRepresentation") == 1)


def patient_of(header: pydicom.Dataset) -> Patient:
    """Who a data set is of."""
    name = _text(header, "PatientName").partition("=")[0].replace("^", " ").casefold()
    return Patient(_text(header, "PatientID"), " ".join(name.split()), _text(header, "PatientBirthDate"))


def _series_header(header: pydicom.Dataset) -> SeriesHeader:
    return SeriesHeader(
        uid=_text(header, "SeriesInstanceUID"),
        study=_text(header, "StudyInstanceUID"),
        patient=patient_of(header),
        number=_text(header, "SeriesNumber"),
        description=_text(header, "SeriesDescription"),
        modality=_text(header, "Modality") or "CT",
    )


def _damaged(path: Path, header: pydicom.Dataset, reason: str) -> Other:
    series, instance = _text(header, "SeriesInstanceUID"), _text(header, "SOPInstanceUID")
    return Other(path, "damaged file", reason, series, instance, is_damaged=True)


def _kind_name(kind: str, modality: str) -> str:
    if kind.startswith(_SECONDARY_CAPTURE):
        return "key image or screen capture"
    name = UID(kind).name if kind else ""
    known = name.removesuffix(" Storage") if name and name != kind else ""
    return known or f"DICOM file of modality {modality or 'unknown'}"


def _texts(header: pydicom.Dataset, name: str) -> tuple[str, ...]:
    """The values of an attribute; none where it is missing, empty or damaged."""
    tag = _TAG[name]
    if tag not in header:
        return ()
    raw = header.get_item(tag)
    if isinstance(raw, RawDataElement) and _is_plain(raw.value):  # much faster than pydicom
        text = raw.value.decode("ascii").rstrip("\0")
        return _one(tuple(one.strip() for one in text.split("\\"))) if text.strip() else ()
    try:
        value = header.get(name)
    except Exception:  # of any kind, as pydicom reads a damaged value; what must be sound is checked by its reader
        return ()
    if value is None or value == "":
        return ()
    return tuple(str(one).strip() for one in (value if isinstance(value, MultiValue) else (value,)))


def _whole(header: pydicom.Dataset, name: str) -> Any:
    """The value of an attribute that is one whole number of 16 bits (US), or what there is instead."""
    raw = header.get_item(_TAG[name]) if _TAG[name] in header else None
    if isinstance(raw, RawDataElement) and raw.VR in (None, "US") and raw.value is not None and len(raw.value) == 2:
        return int.from_bytes(raw.value, "little" if raw.is_little_endian else "big")  # much faster than pydicom
    return header.get(name)


def _is_plain(value: bytes | None) -> bool:
    """Whether bytes are ASCII in any character set, without the escape sequences of some."""
    return value is not None and value.isascii() and b"\x1b" not in value


def _text(header: pydicom.Dataset, name: str) -> str:
    return " ".join(_texts(header, name))
