"""Lesion maps of simulated cases: bytes, the share of each voxel in lesions from 0 to 255, on any grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import EmphysemaScannerError, damaged
from ..ct.grid import Grid, area_average, canonical


class LesionMapError(EmphysemaScannerError):
    """A file is no lesion map."""


def lesions_on(path: Path, grid: Grid) -> NDArray[np.float32]:
    """A lesion map averaged onto a grid of the same patient, as much of it as lies there: 0 to 255.

    Raises:
        UnreadableInputError: the file cannot be read.
        LesionMapError: its values are not bytes.
    """
    try:
        stored = canonical(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise damaged(path) from error
    values: NDArray[np.generic] = sitk.GetArrayFromImage(stored)
    if values.dtype != np.uint8:
        raise LesionMapError(f"'{path.name}' is not a lesion map of bytes.")
    return area_average(values, grid.shape, over=grid.box_in(Grid.of_image(stored)))
