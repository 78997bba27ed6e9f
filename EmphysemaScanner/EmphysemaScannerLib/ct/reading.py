"""A CT from a path: an image file, a DICOM folder, or one file of a DICOM series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..base.errors import EmphysemaScannerError, GeometryError, NotAChestCTError, UnreadableInputError
from .dicomfolder import Contents, contents, contents_beside, files_below
from .dicomheader import Other, Slice, is_dicom, slices_in
from .dicomvolume import kinds_of, read_volume
from .imagefiles import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from .imagefiles import read_image
from .provenance import UNKNOWN, Provenance
from .series import Choice, Volume, ambiguous, choose, ct_volumes, listed, matching, of_two_patients
from .stacking import stacked

_LISTED = 4  # volumes in a sentence


def provenance_of(files: Iterable[Path]) -> Provenance:
    """What the files of one volume state of its series.

    The user has chosen them, so nothing is refused: what the rule in ``series`` would leave out is a warning.

    Args:
        files: DICOM; those that are no slices of a CT, or not there any more, are passed over.
    """
    volumes = ct_volumes([s for path in files for s in _slices(path) if s.header.modality == "CT"])
    if not volumes:
        return UNKNOWN
    first, slices = volumes[0], sum(len(v.slices) for v in volumes)
    mixed: tuple[str, ...] = ()
    if len(volumes) > 1:
        names = [v.name for v in volumes[:_LISTED]]
        more = len(volumes) - len(names)
        listed = "; ".join(names + ([f"{more} more"] if more else []))
        mixed = (f"The CT mixes slices of {len(volumes)} volumes: {listed}. Load one of them by itself.",)
    return Provenance(
        series=replace(first.provenance, slices=slices, acquisition="" if mixed else first.acquisition),
        slice_thickness_mm=first.first.thickness_mm,
        warnings=(*mixed, *first.warnings),
    )


def staggered_mm(files: Iterable[Path]) -> float:
    """How far the slices of one volume lie beside the first one's normal at most, in mm; 0 where they lie straight.

    Args:
        files: DICOM; those that are no slices of a CT are passed over.
    """
    volumes = ct_volumes([s for path in files for s in _slices(path) if s.header.modality == "CT"])
    try:
        stack = stacked(volumes[0]) if volumes else None
    except GeometryError:  # they make no regular volume; what is known of the CT states that
        return 0.0
    if stack is None or stack.is_straight:
        return 0.0
    return float(np.linalg.norm(stack.offsets_mm, axis=1).max())


def _slices(path: Path) -> Iterable[Slice]:
    found = slices_in(path)
    return () if isinstance(found, Other) else found


def read_files(files: Iterable[Path]) -> CT:
    """The CT that some DICOM files make, all of them one volume.

    Raises:
        UnreadableInputError: they are not there, or hold several volumes, none, or CTs of several patients.
        GeometryError: as ``read_ct``.
    """
    found = contents(files)
    volume = _one_volume(found)
    return CT(*read_volume(volume, (), found), volume)


def volume_of(files: Iterable[Path]) -> Volume | None:
    """The slices of the CT that some DICOM files make, without their voxels; None without files.

    Raises:
        UnreadableInputError: as ``read_files``.
    """
    found = contents(files)
    return _one_volume(found) if found.slices or found.others else None


def _one_volume(found: Contents) -> Volume:
    volumes = ct_volumes([s for s in found.slices if s.header.modality == "CT"])
    if len(volumes) != 1:
        listed = "; ".join(v.name for v in volumes[:_LISTED])
        whose = " of several patients" if len(volumes) > 1 and of_two_patients(volumes) else ""
        holds = f"{len(volumes)} CTs{whose} ({listed})" if volumes else "no CT"
        raise UnreadableInputError(f"The DICOM files hold {holds}, not one; read the CT again.")
    return volumes[0]


_ARCHIVES = ((0, b"PK\3\4"), (0, b"Rar!"), (0, b"7z\xbc\xaf"), (0, b"\x1f\x8b"), (0, b"BZh"), (257, b"ustar"))


@dataclass(frozen=True)
class CT:
    """A CT as it was read.

    Attributes:
        image: HU where the file states how to get them, in the geometry that the file states.
        provenance: what else the file states.
        volume: the DICOM slices that were read; None for another kind of file.
    """

    image: sitk.Image
    provenance: Provenance = UNKNOWN
    volume: Volume | None = None


def read_ct(path: Path, series: str = "") -> CT:
    """Read a CT.

    Args:
        path: an NRRD, NIfTI, MHA or MHD file; a folder with DICOM files at any depth, whatever they are called, or its
            DICOMDIR; or one DICOM file, for the volume that it belongs to.
        series: which series of a folder to read: its number, SeriesInstanceUID or description; if "", the one that the
            rule in ``series`` gives.

    Returns:
        The image as stored, in the geometry that the file states; slices that are staggered are resampled onto a
        straight grid. Values are HU where the file states how to get them (DICOM rescale); whether it is a chest CT is
        checked by ``checks.check_image``.

    Raises:
        UnreadableInputError: nothing there, damaged, of an unknown kind, or several series that are equally good.
        NotAChestCTError: DICOM of another modality, or values that are not HU.
        GeometryError: DICOM slices that overlap or are missing.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableInputError(f"There is no file or folder '{path}'; check the path.")
    if path.is_dir():
        return _read_folder(path, series)
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        if series:
            raise UnreadableInputError(f"'{path}' is a single image; a series is chosen in a folder with DICOM files.")
        image, warnings = read_image(path)
        return CT(image, Provenance(warnings=tuple(warnings)))
    try:
        dicom, is_archive = is_dicom(path), _is_archive(path)
    except OSError as error:
        raise UnreadableInputError(f"'{path}' cannot be opened ({error.strerror}); check its permissions.") from error
    if dicom:
        return _read_folder(path.parent, series) if path.name.upper() == "DICOMDIR" else _read_one_of(path, series)
    if is_archive:
        raise UnreadableInputError(f"'{path}' is an archive or a compressed file; unpack it and choose the folder.")
    raise UnreadableInputError(
        f"'{path}' is not an image that can be read; give an NRRD, NIfTI, MHA or MHD file or a folder with DICOM files."
    )


def ct_series(paths: Iterable[Path]) -> list[Path]:
    """A path for ``read_ct`` to each CT among some files, a series over several folders counting once.

    Of each study these are the series that the rule in ``series`` leaves: the one that is read, or those that are
    equally good. The path is a folder where the series is alone in one, and otherwise the series' first file. A folder
    with files that may be DICOM, but are damaged, and without a CT is named, too: reading it will say so.
    """
    found = contents(paths)
    studies: dict[tuple[str, str, str], list[Volume]] = defaultdict(list)
    for v in ct_volumes([s for s in found.slices if s.header.modality == "CT"]):
        header = v.first.header
        studies[(header.patient.identity, header.patient.name, header.study)].append(v)
    best = [v for volumes in studies.values() for v in choose(volumes).best]
    broken = {o.path.parent for o in found.others if o.is_damaged}
    lost = [folder for folder in broken if not any(folder in v.folders for v in best)]
    return sorted([*lost, *(_path_of(v, best) for v in best)])


def _path_of(volume: Volume, among: Sequence[Volume]) -> Path:
    folder = volume.common_folder
    alone = all(v is volume or not any(f.is_relative_to(folder) for f in v.folders) for v in among)
    return folder if alone else volume.first_file


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(512)
    return any(head[at:].startswith(magic) for at, magic in _ARCHIVES)


def _read_folder(folder: Path, series: str) -> CT:
    found = contents(files_below(folder))
    volumes = ct_volumes([s for s in found.slices if s.header.modality == "CT"])
    if not volumes:
        raise _no_ct(folder, found)
    if series:
        chosen = matching(volumes, series)
        if len(chosen) != 1:
            what = "no CT series" if not chosen else f"{len(chosen)} CT series"
            raise UnreadableInputError(
                f"'{folder}' has {what} '{series}'; choose one of these: {listed(chosen or volumes, folder)}."
            )
        choice = Choice((chosen[0],), tuple((v, "another series was chosen") for v in volumes if v is not chosen[0]))
    else:
        choice = choose(volumes)
        whole = [v for v in volumes if v.can_be_chest] or volumes
        if of_two_patients(whole) is not None:
            raise ambiguous(whole, folder)
        if len(choice.best) > 1:
            raise ambiguous(choice.best, folder)
    return CT(*read_volume(choice.best[0], choice.others, found), choice.best[0])


def _read_one_of(path: Path, series: str) -> CT:
    own = slices_in(path)
    if isinstance(own, Other):
        if own.is_damaged:
            raise UnreadableInputError(f"'{path}' cannot be read: it is damaged or incomplete; obtain a new copy.")
        raise UnreadableInputError(
            f"'{path}' is DICOM but not a slice of a CT ({own.what}); give a file of the CT series."
        )
    if series:
        raise UnreadableInputError(f"'{path}' is one file, which chooses its series; give its folder with --series.")
    header = own[0].header
    if header.modality != "CT":
        raise NotAChestCTError(f"'{path}' is of modality {header.modality}; choose a chest CT.")
    found = contents_beside(path, header.uid)
    volumes = ct_volumes([s for s in found.slices if s.header.modality == "CT"])
    names = {path.absolute(), path.resolve()}
    here = [v for v in volumes if any(s.path.absolute() in names or s.path.resolve() in names for s in v.slices)]
    if not here:  # a copy, of which another file is kept
        here = [v for v in volumes if any(s.instance == own[0].instance for s in v.slices)]
    chosen = here[0]
    others = [(v, "another series than the file's") for v in volumes if v is not chosen]
    return CT(*read_volume(chosen, others, found), chosen)


def _no_ct(folder: Path, found: Contents) -> EmphysemaScannerError:
    if found.slices:
        modalities = ", ".join(sorted({s.header.modality for s in found.slices}))
        return NotAChestCTError(f"The DICOM files in '{folder}' are of modality {modalities}; choose a chest CT.")
    names = [p for p in files_below(folder) if _is_archive(p)] if folder.is_dir() else []
    if names:
        return UnreadableInputError(
            f"The folder '{folder}' holds no DICOM slices but {len(names)} archive{'s' * (len(names) != 1)} "
            f"('{names[0].name}'); unpack them and choose the folder."
        )
    others = kinds_of(found.others)
    there = "; ".join(f"{o.files} x {o.what}, {o.reason}" for o in others[:3])
    only = f" (only {there})" if there else ""
    return UnreadableInputError(
        f"The folder '{folder}' holds no DICOM slices of a CT{only}; give the folder that the CT was exported to."
    )
