"""Slices that are staggered (a tilted gantry, a table that moved) resampled onto a straight grid.

Two cases, each with interpolation along one axis at a time by cubic splines, which keep noise and with it LAA%-950. A
*tilted gantry*: the slices lean against the way of the table; each row is shifted along that way, which makes axial
slices. Otherwise the slices stay as they are and are shifted within their planes. What fewer than half of the slices or
rows cover is left out, and what none covers is filled with the lowest value of the CT.

3D Slicer's acquisition geometry regularization and dcm2niix resample such series, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..base.parallel import in_threads, pieces
from .dicomheader import Point
from .stacking import Stack

_CROSSED_DEGREES = 0.2  # a way that leans to the side, too, is no tilted gantry's
_COVERED = 0.5
_PADDING_BELOW_HU, _AIR_HU = -1200, -1024  # scanners write -2000, -2048 or -3024 where they saw nothing
_ROUNDING = 1e-6  # of a voxel
_BEYOND = 12  # lines; a spline forgets a factor of 3.7 with each

Voxels = NDArray[np.generic]


@dataclass(frozen=True)
class Straight:
    """A straight volume, (slices, rows, columns).

    With the centre of its first voxel, its axes and spacing as in ``Stack``, and a sentence on what was done.
    """

    voxels: Voxels
    origin: Point
    axes: Point
    spacing_mm: tuple[float, float, float]
    warning: str


def straightened(voxels: Voxels, stack: Stack) -> Straight:
    """Resample a stack of slices onto a straight grid.

    Args:
        voxels: (slices, rows, columns).
        stack: where they lie.
    """
    way = stack.positions[-1] - stack.positions[0]
    way = way / np.linalg.norm(way)
    along_row, along_column, along_normal = stack.axes @ way
    angle = math.degrees(math.acos(min(1.0, float(along_normal))))
    is_even = np.ptp(stack.offsets_mm - np.linspace(0, 1, len(voxels))[:, None] * stack.offsets_mm[-1], axis=0)
    crossed = math.degrees(math.asin(min(1.0, abs(float(along_row))))) > _CROSSED_DEGREES
    if (
        abs(way[2]) > abs(stack.axes[2, 2])
        and not crossed
        and (is_even <= 0.5 * np.array(stack.spacing_mm[:2])).all()
        and angle < 45
    ):
        return _untilted(voxels, stack, way, float(along_column), angle)
    return _shifted(voxels, stack, angle)


def _untilted(voxels: Voxels, stack: Stack, way: Point, lean: float, angle: float) -> Straight:
    """Each row shifted along the way of the table; lean is the cosine between that way and the slices' columns."""
    slices, rows, _ = voxels.shape
    columns_mm, rows_mm, apart_mm = stack.spacing_mm
    step_mm = apart_mm / math.cos(math.radians(angle))
    ahead = np.arange(rows) * rows_mm * lean / step_mm  # of each row, in slices
    covered = [np.count_nonzero((k >= ahead) & (k <= ahead + slices - 1)) for k in _span(ahead, slices)]
    kept = _span(ahead, slices)[np.array(covered) >= _COVERED * rows]
    low, high = voxels.min(), voxels.max()
    out = np.empty((len(kept), *voxels.shape[1:]), voxels.dtype)

    def shift(numbers: range) -> None:
        for row in numbers:
            out[:, row] = _interpolated(voxels[:, row], kept - ahead[row], low, high)

    in_threads(shift, pieces(rows))
    across = np.cross(way, stack.axes[0])
    axes = np.stack([stack.axes[0], across / np.linalg.norm(across), way])
    spacing = (columns_mm, rows_mm * math.cos(math.radians(angle)), step_mm)
    return Straight(
        out,
        stack.positions[0] + way * step_mm * kept[0],
        axes,
        spacing,
        f"The gantry was tilted by {angle:.1f} degrees: the slices were resampled onto a straight grid, without the "
        f"{rows_mm * rows * abs(lean) / 2:.0f} mm at either end that less than half of a slice covers.",
    )


def _shifted(voxels: Voxels, stack: Stack, angle: float) -> Straight:
    """Each slice shifted within its plane."""
    pixel_mm = np.array(stack.spacing_mm[:2])
    offsets = stack.offsets_mm / pixel_mm  # of columns and of rows
    low, high = voxels.min(), voxels.max()
    kept = []
    for axis, size in ((0, voxels.shape[2]), (1, voxels.shape[1])):
        span = _span(offsets[:, axis], size)
        covered = [np.count_nonzero((k >= offsets[:, axis]) & (k <= offsets[:, axis] + size - 1)) for k in span]
        kept.append(span[np.array(covered) >= _COVERED * len(voxels)])
    columns, rows = kept
    out = np.empty((len(voxels), len(rows), len(columns)), voxels.dtype)

    def shift(k: int) -> None:
        plane = _interpolated(voxels[k], rows - offsets[k, 1], low, high)
        out[k] = _interpolated(plane.T, columns - offsets[k, 0], low, high).T

    in_threads(shift, range(len(voxels)))
    origin = stack.positions[0] + stack.axes[:2].T @ (np.array([columns[0], rows[0]]) * pixel_mm)
    furthest = float(np.linalg.norm(np.ptp(stack.offsets_mm, axis=0)))
    return Straight(
        out,
        origin,
        stack.axes,
        stack.spacing_mm,
        f"The slices were staggered by up to {furthest:.1f} mm ({angle:.1f} degrees from their normal): they were "
        "resampled onto a straight grid.",
    )


def _span(offsets: NDArray[np.floating], size: int) -> NDArray[np.int64]:
    """The whole numbers that lines of ``size`` pixels, moved by these offsets, cover together."""
    return np.arange(math.floor(offsets.min() + 1e-6), math.ceil(offsets.max() + size - 1 - 1e-6) + 1)


def _interpolated(lines: Voxels, at: NDArray[np.floating], low: np.generic, high: np.generic) -> Voxels:
    """Values between lines, by a cubic spline: (lines, n) at places along the first axis; the lowest value outside.

    Padding is not mixed with what lies beside it: a value that is nearest to padding is padding.
    """
    from scipy import ndimage  # here, as in grid.py

    count = len(lines)
    base = np.floor(at + _ROUNDING).astype(int)
    t = (at - base).astype(np.float32)
    weights = (
        (1 - t) ** 3,
        3 * t**3 - 6 * t**2 + 4,
        -3 * t**3 + 3 * t**2 + 3 * t + 1,
        t**3,
    )  # of a cubic B-spline, times 6
    source = lines.astype(np.float32)
    padding = source < _PADDING_BELOW_HU
    source[padding] = _AIR_HU
    beyond = np.pad(source, ((_BEYOND, _BEYOND), (0, 0)), "reflect", reflect_type="odd")  # keeps slopes at the ends
    spline = ndimage.spline_filter1d(beyond, axis=0, output=np.float32)
    out = np.zeros((len(at), lines.shape[1]), np.float32)
    for shift, weight in zip((-1, 0, 1, 2), weights, strict=True):
        out += (weight / 6)[:, None] * spline[np.clip(base + shift + _BEYOND, 0, len(spline) - 1)]
    np.clip(out, low, high, out=out)
    out[padding[np.clip(np.rint(at).astype(int), 0, count - 1)]] = low
    out[(at < -_ROUNDING) | (at > count - 1 + _ROUNDING)] = low
    return np.rint(out).astype(lines.dtype) if lines.dtype.kind in "iu" else out.astype(lines.dtype)
