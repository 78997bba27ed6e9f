"""How much of the lungs a disease map marks, by region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..lungs.densitometry import thirds
from ..models.preprocessing import View


def disease_extent(
    diseased: NDArray[np.bool_], labels: NDArray[np.uint8], voxels_by_slice: NDArray[np.int64], view: View
) -> dict[str, float]:
    """The share of the lung that lies in diseased places.

    Args:
        diseased: (slices, rows, columns) of the map, inferior to superior.
        labels: 1 right lung, 2 left, on the canonical CT's voxels.
        voxels_by_slice: lung voxels of each slice of the CT.
        view: the part of the CT that the map covers.

    Returns:
        Per cent by region: "whole", "right", "left", "upper", "middle", "lower"; NaN for one without lung.
    """
    right, left = (_by_place(labels == side, diseased.shape, view) for side in (1, 2))
    lung = right + left
    third = thirds(voxels_by_slice)
    regions = {"whole": lung, "right": right, "left": left}
    for number, name in ((2, "upper"), (1, "middle"), (0, "lower")):
        regions[name] = lung * _share_of_slices(voxels_by_slice, third == number, len(diseased), view.over[0])
    return {
        name: 100 * float(share[diseased].sum() / total) if (total := share.sum()) > 0 else float("nan")
        for name, share in regions.items()
    }


def _by_place(mask: NDArray[np.bool_], shape: tuple[int, ...], view: View) -> NDArray[np.float64]:
    slices, rows, columns = shape
    resized = View(view.over, view.grid.resized((slices, rows, columns)))
    return resized.share(mask).astype(np.float64)


def _share_of_slices(
    voxels_by_slice: NDArray[np.int64], chosen: NDArray[np.bool_], slices: int, over: tuple[float, float]
) -> NDArray[np.float64]:
    """(slices, 1, 1): of the lung in each slice of a map, the share that lies in chosen slices of the CT."""
    at = (np.arange(len(voxels_by_slice)) + 0.5 - over[0]) * slices // (over[1] - over[0])
    at = at.astype(int).clip(0, slices - 1)
    total = np.bincount(at, voxels_by_slice, slices)
    part = np.bincount(at, voxels_by_slice * chosen, slices)
    share: NDArray[np.float64] = np.divide(part, total, out=np.zeros(slices), where=total > 0)
    return share[:, None, None]
