"""A CT from a path: an image file, a DICOM folder, or one file of a DICOM series."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from .dicomfolder import Contents, contents, contents_beside, files_below, may_be_slices
from .dicomheader import Other, is_dicom, slices_in
from .errors import EmphysemaScannerError, GeometryError, NotAChestCTError, UnreadableInputError, damaged
from .fileheaders import check_metaimage
from .itkwarnings import itk_warnings
from .nifti import read_nifti
from .pixels import read_voxels
from .provenance import UNKNOWN, LeftOut, Provenance
from .regrid import Straight, straightened
from .series import Choice, Volume, ambiguous, choose, ct_volumes, left_out, listed, matching, of_two_patients
from .stacking import stacked

IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")

_MOST_VOXELS = 2 * 10**9  # 2048 x 2048 x 476
_ARCHIVES = ((0, b"PK\3\4"), (0, b"Rar!"), (0, b"7z\xbc\xaf"), (0, b"\x1f\x8b"), (0, b"BZh"), (257, b"ustar"))


@dataclass(frozen=True)
class CT:
    """A CT as it was read.

    Attributes:
        image: HU where the file states how to get them, in the geometry that the file states.
        provenance: what else the file states.
    """

    image: sitk.Image
    provenance: Provenance = UNKNOWN


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
        return _read_image(path)
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


def _read_image(path: Path) -> CT:
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        image, notes = read_nifti(path)
        return CT(image, Provenance(warnings=tuple(notes)))
    if name.endswith((".mha", ".mhd")):
        check_metaimage(path)
    with itk_warnings() as warned:
        image = _one_volume(_read(path))
    return CT(image, Provenance(warnings=tuple(f"ITK warned while reading the file: {text}" for text in warned)))


def _read(path: Path) -> sitk.Image:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # ITK would end the process
        raise UnreadableInputError(
            f"The name of '{path}' holds bytes that are not text; rename the file or folder."
        ) from error
    try:
        _check_size(str(path))
        return sitk.ReadImage(str(path))
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
            f"'{name}' states {voxels:.3g} voxels, too many for a chest CT; resample it to {_MOST_VOXELS:.0e} or less."
        )


def _one_volume(image: sitk.Image) -> sitk.Image:
    """The only volume of a time series of one."""
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        return image[:, :, :, 0]
    return image


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
    return _read_volume(choice.best[0], choice.others, found)


def _read_one_of(path: Path, series: str) -> CT:
    own = slices_in(path)
    if isinstance(own, Other):
        if own.is_damaged:
            raise UnreadableInputError(f"'{path}' cannot be read: it is damaged or incomplete; get a new copy of it.")
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
    return _read_volume(chosen, [(v, "another series than the file's") for v in volumes if v is not chosen], found)


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
    others = _others(found.others)
    there = ", ".join(f"{o.files} x {o.what}" for o in others[:4])
    only = f" (only {there})" if there else ""
    return UnreadableInputError(
        f"The folder '{folder}' holds no DICOM slices of a CT{only}; give the folder that the CT was exported to."
    )


def _read_volume(volume: Volume, others: Sequence[tuple[Volume, str]], found: Contents) -> CT:
    """A volume's image, and what is known of it."""
    suspects = may_be_slices(found.others, volume.slices)
    lost = f"; {_suspects(suspects)}" if suspects else ""
    certain = [o for o in suspects if o.series]
    if certain:
        raise UnreadableInputError(f"{_suspects(certain)} of the {volume.name}; get a new copy of the CT.")
    stack = stacked(volume, lost)
    voxels = read_voxels(volume)
    warnings = list(volume.warnings)
    if suspects:
        count = f"{len(suspects)} file{'s' * (len(suspects) != 1)}"
        warnings.append(f"{count} beside the series cannot be read: slices may be missing at its top or bottom.")
    if stack.is_straight:
        straight = Straight(voxels, stack.positions[0], stack.axes, stack.spacing_mm, "")
    else:
        straight = straightened(voxels, stack)
        warnings.append(straight.warning)
    image = sitk.GetImageFromArray(straight.voxels)
    image.SetOrigin(straight.origin.tolist())
    image.SetDirection(straight.axes.T.ravel().tolist())
    image.SetSpacing(straight.spacing_mm)
    modalities = defaultdict(list)
    for s in found.slices:
        if s.header.modality != "CT":
            modalities[s.header.modality].append(s)
    rest = [
        LeftOut(f"modality {name}", len({s.path for s in slices}), "another modality")
        for name, slices in modalities.items()
    ]
    out = sorted([*left_out(others), *rest, *_others(found.others)], key=lambda one: -one.files)
    return CT(image, Provenance(volume.provenance, tuple(out), volume.first.thickness_mm, tuple(warnings)))


def _suspects(suspects: Sequence[Other]) -> str:
    first = suspects[0]
    if len(suspects) == 1:
        return f"'{first.path.name}' cannot be read ({first.reason})"
    return f"{len(suspects)} files, such as '{first.path.name}', cannot be read ({first.reason})"


def _others(others: Sequence[Other]) -> list[LeftOut]:
    groups: dict[tuple[str, str], int] = defaultdict(int)
    for o in others:
        groups[(o.what, o.reason)] += 1
    found = [LeftOut(what, files, reason) for (what, reason), files in groups.items()]
    return sorted(found, key=lambda one: -one.files)
