"""What is refused before anything heavy runs; what is scanned with a warning is in ``doubts``."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..base.errors import GeometryError, NotAChestCTError
from .hounsfield import check_values

_FEWEST_SLICES = 20
_SHORTEST_MM = 120.0  # adult lungs are 180 to 300 mm high
_NARROWEST_MM = 200.0
_WIDEST_GAP_MM = 20.0
_COARSEST_MM = 6.0  # within a slice; such a voxel is as large as a secondary lobule and hides the disease


def check_image(image: sitk.Image) -> None:
    """Refuse what cannot be a chest CT in HU.

    Raises:
        GeometryError: not three-dimensional, sheared, too few or too widely spaced slices, too small a field of view.
        NotAChestCTError: in colour, NaN or infinite, constant, or not in HU.
    """
    _check_kind(image)
    _check_geometry(image)
    check_values(image)


def _check_kind(image: sitk.Image) -> None:
    if image.GetDimension() != 3:
        raise GeometryError(
            f"The image has {image.GetDimension()} dimensions (size {_times(image.GetSize())}); choose one CT volume, "
            "not a time series and not a single slice."
        )
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise NotAChestCTError(
            f"The image is a colour image ({image.GetNumberOfComponentsPerPixel()} values per voxel); choose the "
            "original CT in Hounsfield units."
        )


def _check_geometry(image: sitk.Image) -> None:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise GeometryError(
            "The image's axes are not at right angles (a tilted gantry, or a shear in its transform); resample it onto "
            "a straight grid first."
        )
    along = int(np.argmax(np.abs(direction[2])))  # the image axis nearest to the patient's head-foot axis
    sizes, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    extent = sizes * spacing
    missed = []
    if sizes[along] < _FEWEST_SLICES:
        slices = f"{sizes[along]} axial slice{'s' * int(sizes[along] != 1)}"
        missed.append(f"has {slices} (at least {_FEWEST_SLICES} are needed)")
    if extent[along] < _SHORTEST_MM:
        missed.append(f"covers {extent[along]:.0f} mm from bottom to top (at least {_SHORTEST_MM:.0f} mm are needed)")
    if missed:
        raise GeometryError(f"The image {' and '.join(missed)}; choose a CT of the whole chest.")
    if spacing[along] > _WIDEST_GAP_MM:
        raise GeometryError(
            f"The slices are {spacing[along]:.4g} mm apart; choose a CT with {_WIDEST_GAP_MM:.0f} mm or less, "
            "or correct its spacing."
        )
    within = [axis for axis in range(3) if axis != along]
    if extent[within].min() < _NARROWEST_MM:
        raise GeometryError(
            f"The field of view is {_times(extent[within].round().astype(int))} mm; choose a CT that shows both "
            f"lungs, at least {_NARROWEST_MM:.0f} mm wide."
        )
    if spacing[within].max() > _COARSEST_MM:
        raise GeometryError(
            f"The pixels are {spacing[within].max():.1f} mm wide; "
            f"choose a CT with pixels of {_COARSEST_MM:.0f} mm or less."
        )


def _times(sizes: object) -> str:
    return " x ".join(str(n) for n in sizes)  # type: ignore[attr-defined]
