"""Values of a grid on the slices of the CT's files, in the order and orientation in which these are stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ct.grid import Grid
from ..ct.series import Volume

_NOTHING = 1e-9  # voxels; rounding noise of direction cosines


def on_slices(values: NDArray[np.generic], grid: Grid, volume: Volume) -> NDArray[np.generic]:
    """The value of the voxel in which the centre of each pixel lies; zero outside the grid.

    Where the grid is that of the CT's own voxels, this is an exact permutation of the values. Where the CT was
    resampled (staggered slices) or the grid is coarser (a map), nothing is interpolated.

    Args:
        values: (slices, rows, columns) on the grid.
        grid: where they lie.
        volume: the CT's slices.

    Returns:
        (slices, rows, columns) as in the volume.
    """
    to_index = np.linalg.inv(np.array(grid.direction_lps) * np.array(grid.spacing_mm))
    rows, columns = volume.first.size
    down, across = np.arange(rows)[:, None], np.arange(columns)[None, :]
    out = np.zeros((len(volume.slices), rows, columns), values.dtype)
    for k, slice_ in enumerate(volume.slices):
        first = to_index @ (slice_.position - np.array(grid.origin_lps))
        # Axis 0 of a slice points along a row, from column to column, and axis 1 from row to row.
        by_row = to_index @ (slice_.axes[1] * slice_.pixel_mm[0])
        by_column = to_index @ (slice_.axes[0] * slice_.pixel_mm[1])
        index = [
            np.floor(start + _steps(down, row) + _steps(across, column) + 0.5).astype(int)
            for start, row, column in zip(first, by_row, by_column, strict=True)
        ]
        inside = [(at >= 0) & (at < size) for at, size in zip(index, grid.shape, strict=True)]
        safe = tuple(np.clip(at, 0, size - 1) for at, size in zip(index, grid.shape, strict=True))
        out[k] = np.where(inside[0] & inside[1] & inside[2], values[safe], 0)
    return out


def _steps(numbers: NDArray[np.int64], step: float) -> NDArray[np.floating] | float:
    """A step for each row or column; one number where the index doesn't depend on it, which keeps arrays small."""
    return 0.0 if abs(step) < _NOTHING else numbers * step
