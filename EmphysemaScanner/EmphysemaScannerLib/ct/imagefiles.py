"""A CT from an image file: NRRD, NIfTI, MHA or MHD."""

from __future__ import annotations

import math
from pathlib import Path

import SimpleITK as sitk

from ..base.errors import GeometryError, NotAChestCTError, UnreadableInputError, damaged
from .fileheaders import check_metaimage
from .itkwarnings import itk_warnings, sentences
from .nifti import read_nifti

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
