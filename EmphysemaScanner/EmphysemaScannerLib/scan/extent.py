"""How much of the lungs is diseased by a disease map, by region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..lungs.densitometry import thirds
from ..lungs.morphology import box
from ..models.preprocessing import View


def disease_extent(
    probability: NDArray[np.float32],
    floor: float,
    labels: NDArray[np.uint8],
    lung: NDArray[np.float32],
    voxels_by_slice: NDArray[np.int64],
    view: View,
) -> dict[str, float]:
    """The share of the lung that is diseased: the sum of the probabilities of marked places, by their lung.

    Args:
        probability: (slices, rows, columns) of the map, inferior to superior, on the view's grid.
        floor: the probability from which a place is marked; others count as healthy.
        labels: 1 right lung, 2 left, on the canonical CT's voxels.
        lung: how much of each voxel of the view's grid is lung.
        voxels_by_slice: lung voxels of each slice of the CT.
        view: the part of the CT that the map covers.

    Returns:
        Per cent by region: "whole", "right", "left", "upper", "middle", "lower"; NaN for one without lung.
    """
    diseased = np.where(probability >= floor, probability, 0).astype(np.float64)
    whole, right = lung.astype(np.float64), _share(labels == 1, view)
    third = thirds(voxels_by_slice)
    regions = {"whole": whole, "right": right, "left": whole - right}
    for number, name in ((2, "upper"), (1, "middle"), (0, "lower")):
        regions[name] = whole * _share_of_slices(voxels_by_slice, third == number, view)
    return {
        name: 100 * float((share * diseased).sum() / total) if (total := share.sum()) > 1e-6 else float("nan")
        for name, share in regions.items()
    }


def _share(mask: NDArray[np.bool_], view: View) -> NDArray[np.float64]:
    """How much of each voxel of the grid a mask fills."""
    if not mask.any():
        return np.zeros(view.grid.shape)
    return view.share(mask, within=box(mask)).astype(np.float64)


def _share_of_slices(voxels_by_slice: NDArray[np.int64], chosen: NDArray[np.bool_], view: View) -> NDArray[np.float64]:
    """(slices, 1, 1): of the lung in each slice of a map, the share that lies in chosen slices of the CT."""
    slices, at = view.grid.shape[0], view.slice_of(len(voxels_by_slice))
    total = np.bincount(at, voxels_by_slice, slices)
    part = np.bincount(at, voxels_by_slice * chosen, slices)
    share: NDArray[np.float64] = np.divide(part, total, out=np.zeros(slices), where=total > 0)
    return share[:, None, None]
