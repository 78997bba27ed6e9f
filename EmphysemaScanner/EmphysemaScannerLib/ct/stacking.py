"""Whether slices make one regular volume, and where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..base.errors import GeometryError
from .acquisitions import EVEN_WITHIN_MM, EVEN_WITHIN_SHARE, angle_degrees, positions_mm
from .dicomheader import Point, Slice
from .series import Volume

_SAME_DIRECTION_DEGREES = 0.25  # a millimetre at the edge of the field of view
_SAME_PIXELS_SHARE = 0.001  # half a pixel over 512
_EVEN_ENOUGH_SHARE = 0.2  # of the spacing: no slice is missing, and none is far from its place
_RIGHT_ANGLE_DEGREES = 0.1
_STRAIGHT_WITHIN_PIXELS = 0.5


@dataclass(frozen=True)
class Stack:
    """Where the pixels of a volume's slices lie; all are parallel and evenly spaced along their normal.

    Attributes:
        axes: (3, 3), unit vectors along rows, along columns and from slice to slice.
        spacing_mm: along these axes.
        positions: (slices, 3), centre of each slice's first pixel, LPS in mm.
        warning: what is doubtful about it, as a sentence.
    """

    axes: Point
    spacing_mm: tuple[float, float, float]
    positions: Point
    warning: str = ""

    @property
    def offsets_mm(self) -> Point:
        """(slices, 2): how far each slice lies beside the first one, along rows and along columns."""
        return np.asarray((self.positions - self.positions[0]) @ self.axes[:2].T)

    @property
    def is_straight(self) -> bool:
        """Whether the slices lie above one another, as a regular grid needs it; those of a tilted gantry do not."""
        return bool((np.ptp(self.offsets_mm, axis=0) <= _STRAIGHT_WITHIN_PIXELS * np.array(self.spacing_mm[:2])).all())


def stacked(volume: Volume, lost: str = "") -> Stack:
    """The stack that a volume's slices make.

    Args:
        volume: in the order of its slices' positions.
        lost: what may be where slices are missing, such as files that cannot be read; ends the error's sentence.

    Raises:
        GeometryError: there is no single regular stack; the message states the place.
    """
    slices, name = volume.slices, volume.name
    if len(slices) < 2:
        raise GeometryError(f"The {name}: it has one slice; choose a CT of the whole chest{lost}.")
    _check_likeness(slices, name)
    along = positions_mm(slices)
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    tolerance = max(EVEN_WITHIN_MM, EVEN_WITHIN_SHARE * usual)
    if gaps.min() < tolerance / 2:
        k = int(gaps.argmin())
        raise GeometryError(
            f"The {name}, holds several images of the same place (phases or reconstructions), such as "
            f"'{slices[k].path.name}' and '{slices[k + 1].path.name}'; export one of them."
        )
    spacing_mm = float(along[-1] - along[0]) / (len(slices) - 1)
    uneven_mm = float(np.abs(along - along[0] - spacing_mm * np.arange(len(along))).max())
    is_uneven = bool((np.abs(gaps - usual) > tolerance).any())
    if is_uneven and max(uneven_mm, float(np.abs(gaps - usual).max())) > _EVEN_ENOUGH_SHARE * usual:
        k = int(np.argmax(np.abs(gaps - usual)))
        raise GeometryError(
            f"Slices are missing or unevenly spaced in {name}: the usual distance is {usual:.2f} mm, after slice "
            f"{k + 1} of {len(slices)} it is {gaps[k]:.2f} mm ('{slices[k].path.name}'); export the series "
            f"completely{lost}."
        )
    first = slices[0]
    axes = np.stack([*first.axes, first.normal])
    rows_mm, columns_mm = first.pixel_mm
    warning = f"The slices are up to {uneven_mm:.2f} mm off their places; they were read as {spacing_mm:.2f} mm apart."
    return Stack(
        axes,
        (columns_mm, rows_mm, spacing_mm),
        np.array([s.position for s in slices]),
        warning if is_uneven else "",
    )


def _check_likeness(slices: tuple[Slice, ...], name: str) -> None:
    first = slices[0]
    for s in slices:
        if len(s.pixel_mm) != 2 or not 0 < min(s.pixel_mm) <= max(s.pixel_mm) < math.inf:
            raise GeometryError(f"'{s.path}' has no valid PixelSpacing; export the {name} again.")
        if s.size != first.size:
            raise GeometryError(
                f"'{s.path}' has {s.size[0]} x {s.size[1]} pixels and not {first.size[0]} x {first.size[1]} as the "
                f"other slices of the {name}; export one reconstruction."
            )
        if not np.allclose(s.pixel_mm, first.pixel_mm, rtol=_SAME_PIXELS_SHARE, atol=0):
            raise GeometryError(
                f"The pixel spacing changes within the {name}, from {first.pixel_mm[0]:g} to {s.pixel_mm[0]:g} mm in "
                f"'{s.path.name}'; export one reconstruction."
            )
        if (angle := angle_degrees(first, s)) > _SAME_DIRECTION_DEGREES:
            raise GeometryError(
                f"The direction of the slices changes by {angle:.1f} degrees within the {name}, in '{s.path.name}'; "
                "export one reconstruction."
            )
        if abs(math.degrees(math.asin(min(1.0, abs(float(s.axes[0] @ s.axes[1])))))) > _RIGHT_ANGLE_DEGREES:
            raise GeometryError(f"The rows and columns of '{s.path}' are not at right angles; export the {name} again.")
