"""The field of view of a CT: the part of each slice that the scanner measured.

Reconstructions are round, images are square, and a resampled image may lie askew in its box. What lies outside is
filled with a constant that measures nothing: -1024, -2000, -3024 or any other. It is told from air by its place, since
-1024 is also what air is clipped at: a field of view is convex, and the filling reaches the slice's corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.parallel import in_threads, pieces
from .morphology import Bounds, Mask, convex

_CORNER = 40  # a corner is this part of a slice's side
_NOTHING_BELOW_HU = -1100  # no tissue, no air; a filling's border, where it was interpolated, included
_SAMPLED_ROWS = 64


@dataclass(frozen=True)
class FieldOfView:
    """Where each row of each slice was measured.

    Attributes:
        first: (slices, rows), the first column inside the field of view.
        stop: (slices, rows), the first column beyond it; equal to ``first`` where a row has nothing.
        columns: of the CT.
    """

    first: Bounds
    stop: Bounds
    columns: int

    @property
    def is_whole(self) -> bool:
        """Whether all voxels were measured."""
        return bool((self.first == 0).all() and (self.stop == self.columns).all())

    def inside(self, index: int, where: tuple[slice, slice] = (slice(None), slice(None))) -> Mask:
        """(rows, columns): what was measured in slice ``index``, or in a box of it."""
        column = np.arange(self.columns)[where[1]]
        first, stop = (bound[index, where[0], None] for bound in (self.first, self.stop))
        return np.asarray((column >= first) & (column < stop))

    def holds(self, index: int, where: tuple[slice, slice]) -> bool:
        """Whether the whole of a box of slice ``index`` was measured."""
        first, stop = (bound[index, where[0]] for bound in (self.first, self.stop))
        return bool(first.max() <= where[1].start and stop.min() >= where[1].stop)

    def coarse_outside(self, shape: tuple[int, ...]) -> Mask:
        """The cells of a coarser grid over the same box that hold a voxel outside the field of view.

        Args:
            shape: of the grid, (slices, rows, columns).
        """
        fine = (*self.first.shape, self.columns)
        first, stop = self.first, self.stop
        for axis in (0, 1):
            starts = np.arange(shape[axis]) * fine[axis] // shape[axis]
            first, stop = np.maximum.reduceat(first, starts, axis), np.minimum.reduceat(stop, starts, axis)
        edges = np.arange(shape[2] + 1) * fine[2] / shape[2]
        return np.asarray((edges[:-1] < first[..., None]) | (edges[1:] > stop[..., None]))


def field_of_view(hu: NDArray[np.generic]) -> FieldOfView:
    """Find what of a CT was measured.

    A slice's corner that holds one value alone is taken for filling. The field of view is the convex hull, in the
    slice, of all that has another value: dark lung or clipped air at its border is in it, whatever its value.

    Args:
        hu: (slices, rows, columns), canonical.
    """
    slices, rows, columns = hu.shape
    first, stop = np.zeros((slices, rows), np.int64), np.full((slices, rows), columns, np.int64)
    sampled = np.unique(np.linspace(0, rows - 1, min(_SAMPLED_ROWS, rows)).astype(int))

    def find(numbers: range) -> None:
        known: tuple[Bounds, tuple[Bounds, Bounds]] | None = None
        for k in numbers:
            extents = _extents(hu[k], sampled)
            if extents is None:
                continue
            if known is None or not np.array_equal(known[0], extents):
                at, low, high = extents
                known = extents, convex(at, low, high, rows)
            first[k], stop[k] = known[1]

    in_threads(find, pieces(slices))
    return FieldOfView(first, stop, columns)


def _extents(plane: NDArray[Any], sampled: Bounds) -> Bounds | None:
    """(3, rows): rows, the first and the last column in each that is not filling; None where no corner is filled."""
    fillings = _fillings(plane)
    if not fillings:
        return None
    found = _reach(plane, sampled, fillings)
    if not found.size:
        return found
    top, bottom = found[0, [0, -1]]  # what lies between them and the next sampled rows is looked for exactly
    above, below = sampled[max(np.searchsorted(sampled, top) - 1, 0)], [*sampled[sampled > bottom], bottom][0]
    between = np.concatenate([np.arange(above, top), np.arange(bottom + 1, below + 1)])
    if between.size:
        found = np.concatenate([found, _reach(plane, between, fillings)], axis=1)
        found = found[:, np.argsort(found[0])]
    return found


def _reach(plane: NDArray[Any], rows: Bounds, fillings: set[Any]) -> Bounds:
    """(3, rows): those of the rows that are not all filling, with their first and last column that is not."""
    part = plane[rows]
    measured = part > _NOTHING_BELOW_HU
    for value in fillings:
        if value > _NOTHING_BELOW_HU:
            measured &= part != value
    some = measured.any(1)
    last = measured.shape[1] - 1
    return np.stack([rows, measured.argmax(1), last - measured[:, ::-1].argmax(1)])[:, some]


def _fillings(plane: NDArray[Any]) -> set[Any]:
    """The values of those corners that hold one value alone."""
    rows, columns = (max(2, n // _CORNER) for n in plane.shape)
    found = set()
    for y in (slice(rows), slice(-rows, None)):
        for x in (slice(columns), slice(-columns, None)):
            corner = plane[y, x]
            value = corner[0, 0]
            if corner[-1, -1] == value and (corner == value).all():
                found.add(value)
    return found
