"""A CT from a path: an image file, a DICOM folder, or one file of a DICOM series."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.misc import is_dicom

from .errors import GeometryError, NotAChestCTError, UnreadableInputError, damaged
from .fileheaders import check_metaimage, check_nifti
from .provenance import UNKNOWN, Provenance

IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")

_HEADER = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "SliceThickness",
)

_MOST_VOXELS = 2 * 10**9  # 2048 x 2048 x 476
_EVEN_WITHIN_MM = 0.1  # positions are rounded in some headers
_EVEN_WITHIN_SHARE = 0.05  # of the spacing
_PARALLEL_COSINE = 0.9999  # 0.8 degrees between the slices' normal and the way from slice to slice


@dataclass(frozen=True)
class _Slice:
    """One DICOM image: its file, the series it belongs to, where it lies (LPS, mm), how thick it is said to be."""

    path: Path
    series: tuple[object, ...]
    description: str
    modality: str
    instance: str
    position: NDArray[np.float64]
    normal: NDArray[np.float64]
    pixel_mm: tuple[float, ...]
    thickness_mm: float


@dataclass(frozen=True)
class CT:
    """A CT as it was read.

    Attributes:
        image: HU where the file states how to get them, in the geometry that the file states.
        provenance: what else the file states.
    """

    image: sitk.Image
    provenance: Provenance = UNKNOWN


def read_ct(path: Path) -> CT:
    """Read a CT.

    Args:
        path: an NRRD, NIfTI, MHA or MHD file; a folder with DICOM files, in which the CT series with the most slices is
            read, whatever the files are called; or one DICOM file, for the series that it belongs to.

    Returns:
        The image as stored, in the geometry that the file states. Values are HU where the file states how to get them
        (DICOM rescale); whether it is a chest CT is checked by ``checks.check_image``.

    Raises:
        UnreadableInputError: nothing there, damaged, of an unknown kind, or without one clearly largest CT series.
        NotAChestCTError: DICOM of another modality.
        GeometryError: DICOM slices that overlap, are missing or are staggered (tilted gantry).
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableInputError(f"There is no file or folder '{path}'; check the path.")
    if path.is_dir():
        return _read_series(path, _main_series(path, _slices(path.rglob("*"))))
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        if path.name.lower().endswith((".nii", ".nii.gz")):
            check_nifti(path)
        if path.name.lower().endswith((".mha", ".mhd")):
            check_metaimage(path)
        return CT(_read(path, str(path)))
    if _is_dicom(path):
        return _read_series(path, _series_of(path))
    raise UnreadableInputError(
        f"'{path}' is not an image that can be read; give an NRRD, NIfTI, MHA or MHD file or a folder with DICOM files."
    )


def ct_series(paths: Iterable[Path]) -> list[Path]:
    """One file of each DICOM CT series among some files; ``read_ct`` reads the series that it belongs to.

    Raises:
        UnreadableInputError: a file cannot be opened, or is multi-frame.
    """
    ct = [s for s in _slices(paths) if s.modality == "CT"]
    return sorted(min(s.path for s in series) for series in _by_series(ct))


def _read(path: Path, names: str | list[str]) -> sitk.Image:
    try:
        "".join(names).encode()
    except UnicodeEncodeError as error:  # ITK would end the process
        raise UnreadableInputError(
            f"The name of '{path}' holds bytes that are not text; rename the file or folder."
        ) from error
    with _quiet():
        try:
            if isinstance(names, str):
                _check_size(names)
            return sitk.ReadImage(names)
        except RuntimeError as error:
            if "orthonormal" in str(error):
                raise GeometryError(
                    f"The axes of '{path}' are not at right angles; resample it onto a straight grid first."
                ) from error
            raise damaged(path) from error


def _check_size(name: str) -> None:
    """Refuse what would fill the memory, before it does."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    voxels = math.prod(reader.GetSize())
    if voxels > _MOST_VOXELS:
        raise NotAChestCTError(
            f"'{name}' says that it has {voxels:.3g} voxels, more than a chest CT; resample it to {_MOST_VOXELS:.0e} "
            "or less."
        )


def _slices(paths: Iterable[Path]) -> list[_Slice]:
    """The DICOM images among some files that lie somewhere in the patient; no localizers, pictures or reports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every value that breaks the standard, harmless here
        found = [_slice(path) for path in sorted(paths) if path.is_file() and _is_dicom(path)]
    return [s for s in found if s is not None]


def _slice(path: Path) -> _Slice | None:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))
        modality, frames = header.get("Modality"), int(header.get("NumberOfFrames") or 1)
        if modality == "CT" and frames > 1:
            raise UnreadableInputError(
                f"'{path}' is multi-frame DICOM, which is not supported; convert it to NRRD in 3D Slicer first."
            )
        if "ImageOrientationPatient" not in header or "ImagePositionPatient" not in header:
            return None
        orientation = np.array(header["ImageOrientationPatient"].value, float)
        position = np.array(header["ImagePositionPatient"].value, float)
        pixel_mm = tuple(float(mm) for mm in header.get("PixelSpacing") or ())
        slope, intercept = (float(header.get(f"Rescale{name}", 1)) for name in ("Slope", "Intercept"))
    except UnreadableInputError:
        raise
    except Exception as error:  # of any kind, as pydicom reads a damaged header value by value
        raise damaged(path) from error
    if "LOCALIZER" in (header.get("ImageType") or ()) or orientation.size != 6 or position.size != 3:
        return None
    if modality == "CT" and not (0 < slope < math.inf and math.isfinite(intercept)):
        raise NotAChestCTError(
            f"'{path}' says that its values times {slope:g} are Hounsfield units, which cannot be; export it again."
        )
    return _Slice(
        path=path,
        series=(
            header.get("SeriesInstanceUID"),
            *orientation.round(3).tolist(),
            header.get("Rows"),
            header.get("Columns"),
        ),
        description=str(header.get("SeriesDescription") or "without description"),
        modality=str(header.get("Modality") or "unknown"),
        instance=str(header.get("SOPInstanceUID") or path),
        position=position,
        normal=np.cross(orientation[:3], orientation[3:]),
        pixel_mm=pixel_mm,
        thickness_mm=_thickness_mm(header),
    )


def _thickness_mm(header: pydicom.Dataset) -> float:
    try:
        thickness = float(header.get("SliceThickness") or 0)
    except (TypeError, ValueError):  # damaged; it only serves a warning
        return 0.0
    return thickness if math.isfinite(thickness) else 0.0


def _main_series(folder: Path, slices: list[_Slice]) -> list[_Slice]:
    """The CT series with the most slices."""
    if not slices:
        raise UnreadableInputError(
            f"The folder '{folder}' holds no DICOM slices; give the folder that the CT was exported to."
        )
    ct = [s for s in slices if s.modality == "CT"]
    if not ct:
        modalities = ", ".join(sorted({s.modality for s in slices}))
        raise NotAChestCTError(f"The DICOM files in '{folder}' are of modality {modalities}; choose a chest CT.")
    first, *others = sorted(_by_series(ct), key=len, reverse=True)
    if others and len(others[0]) == len(first):
        raise UnreadableInputError(
            f"'{folder}' holds several CT series of {len(first)} slices ('{first[0].description}', "
            f"'{others[0][0].description}'); give one file of the series that is meant."
        )
    return first


def _series_of(path: Path) -> list[_Slice]:
    """The slices beside a DICOM file that belong to its series."""
    wanted = _slices([path])
    if not wanted:
        raise UnreadableInputError(f"'{path}' is DICOM but not a slice of a CT; give a file of the CT series.")
    if wanted[0].modality != "CT":
        raise NotAChestCTError(f"'{path}' is of modality {wanted[0].modality}; choose a chest CT.")
    return [s for s in _slices(path.parent.iterdir()) if s.series == wanted[0].series]


def _by_series(slices: list[_Slice]) -> list[list[_Slice]]:
    groups: dict[tuple[object, ...], dict[str, _Slice]] = defaultdict(dict)
    for s in slices:
        groups[s.series].setdefault(s.instance, s)  # the same image may have been exported twice
    return [list(group.values()) for group in groups.values()]


def _read_series(path: Path, slices: list[_Slice]) -> CT:
    """Slices in the order of their positions, read into one image."""
    unique = list({s.instance: s for s in slices}.values())
    ordered = sorted(unique, key=lambda s: float(s.position @ s.normal))
    _check_positions(ordered)
    image = _read(path, [str(s.path) for s in ordered])
    return CT(image, Provenance(slice_thickness_mm=ordered[0].thickness_mm))


def _check_positions(ordered: list[_Slice]) -> None:
    name = ordered[0].description
    if any(len(s.pixel_mm) != 2 or not 0 < min(s.pixel_mm) < math.inf for s in ordered):
        raise GeometryError(f"The series '{name}' doesn't say how wide its pixels are (PixelSpacing); export it again.")
    if np.ptp([s.pixel_mm for s in ordered], axis=0).max() > _EVEN_WITHIN_SHARE * min(ordered[0].pixel_mm):
        raise GeometryError(f"The pixel spacing changes within the series '{name}'; export one reconstruction.")
    if len(ordered) < 2:
        raise GeometryError(f"The series '{name}' has one slice; choose a CT of the whole chest.")
    steps = np.diff(np.array([s.position for s in ordered]), axis=0)
    gaps = steps @ ordered[0].normal
    usual = float(np.median(gaps))
    tolerance = max(_EVEN_WITHIN_MM, _EVEN_WITHIN_SHARE * usual)
    if gaps.min() < tolerance / 2:
        raise GeometryError(
            f"The series '{name}' holds several images of the same place (phases or "
            "reconstructions); export one of them."
        )
    uneven = np.abs(gaps - usual) > tolerance
    if uneven.any():
        k = int(np.argmax(np.abs(gaps - usual)))
        raise GeometryError(
            f"Slices are missing or unevenly spaced: the usual distance is {usual:.2f} mm, after slice {k + 1} of "
            f"{len(ordered)} it is {gaps[k]:.2f} mm; export the series completely."
        )
    way = steps.sum(0)
    if float(way @ ordered[0].normal) < _PARALLEL_COSINE * float(np.linalg.norm(way)):
        raise GeometryError(
            "The slices are staggered (the gantry was tilted); resample the CT onto a straight grid first, as 3D "
            "Slicer does on loading it."
        )


def _is_dicom(path: Path) -> bool:
    try:
        return bool(is_dicom(path))
    except OSError as error:
        raise UnreadableInputError(f"'{path}' cannot be opened ({error.strerror}); check its permissions.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ITK's warnings off the terminal; what matters in them is checked here."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
