"""A CT from an image file: NRRD, NIfTI, MHA or MHD."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from ..base.errors import GeometryError, NotAChestCTError, UnreadableInputError, damaged
from .nifti import read_nifti

_META_HEADER_BYTES = 1 << 20


def check_metaimage(path: Path) -> None:
    """Refuse an MHA or MHD file whose header states dimensions for which ITK has no room; it would end the process.

    Raises:
        UnreadableInputError: that, or the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_META_HEADER_BYTES)
    except OSError as error:
        raise damaged(path) from error
    stated = re.findall(rb"NDims\s*[=:]?\s*([^\s]*)", header.partition(b"ElementDataFile")[0], re.IGNORECASE)
    if not stated or any(number not in (b"1", b"2", b"3", b"4", b"5") for number in stated):
        raise damaged(path)


_LONGEST = 200


class _Log(sitk.LoggerBase):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def DisplayWarningText(self, text: str) -> None:  # noqa: N802 (ITK's name)
        self.texts.append(text)

    def DisplayText(self, text: str) -> None:  # noqa: N802
        pass

    DisplayErrorText = DisplayGenericOutputText = DisplayDebugText = DisplayText


@contextmanager
def itk_warnings() -> Iterator[list[str]]:
    """Collects, in the list that it gives, what ITK warns of, each once and without ITK's own line numbers."""
    log, found = _Log(), list[str]()
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    before = log.SetAsGlobalITKLogger()
    sitk.ProcessObject.SetGlobalWarningDisplay(True)
    try:
        yield found
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        before.SetAsGlobalITKLogger()
        found += dict.fromkeys(_plain(text) for text in log.texts)


def _plain(text: str) -> str:
    """ITK writes "WARNING: In FILE, line N", a line break, "Class (0x...): " and then what is wrong."""
    said = re.sub(r"^\s*WARNING: In .*?, line \d+\s*", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"^\w+ \((0x)?[0-9a-fA-F]+\): ", "", said).split())[:_LONGEST]


def sentences(warned: Sequence[str], path: Path) -> list[str]:
    """Warnings of ITK as sentences, without the names of the file and its folder, which may be a patient's."""
    texts = [text.replace(str(path), "the file").replace(path.name, "the file").rstrip(".") for text in warned]
    return [f"ITK warned while reading: {text}." for text in dict.fromkeys(texts)]


IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")

_MOST_VOXELS = 2 * 10**9  # 2048 x 2048 x 476


def read_image(path: Path) -> tuple[sitk.Image, list[str]]:
    """The image in a file, and warnings that arose from reading it.

    Raises:
        UnreadableInputError: damaged or of an unsupported kind.
        NotAChestCTError: more voxels than a chest CT has.
        GeometryError: axes that are not at right angles.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return read_nifti(path)
    if name.endswith((".mha", ".mhd")):
        check_metaimage(path)
    with itk_warnings() as warned:
        image = _one_volume(_read(path))
    return image, sentences(warned, path)


def check_name(path: Path) -> None:
    """Refuse a file whose name ITK cannot take; it would end the process.

    Raises:
        UnreadableInputError: the name holds bytes that are not text.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UnreadableInputError(
            f"The name of '{path}' holds bytes that are not text; rename the file or folder."
        ) from error


def _read(path: Path) -> sitk.Image:
    check_name(path)
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
