"""How a model's maps are shared out to the regions of the lungs: the diseased lung, and the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ..ct.grid import Computed
from ..lungs import RIGHT
from ..lungs.densitometry import thirds
from ..lungs.regions import LOBES
from ..models.preprocessing import View

Share = NDArray[np.float64]
"""(slices, rows, columns): how much of each place of a map a region's lung fills, or is diseased."""


def region_shares(
    labels: NDArray[np.uint8],
    lobes: NDArray[np.uint8] | None,
    lung: NDArray[np.float32],
    voxels_by_slice: NDArray[np.int64],
    view: View,
    within: tuple[slice, ...] = (slice(None),) * 3,
) -> Iterator[tuple[str, Share]]:
    """How much of each voxel of a network's grid the lung of each region fills, 0 to 1, one region after the other.

    Args:
        labels: 1 right lung, 2 left, on the canonical CT's voxels.
        lobes: the place in ``LOBES`` from 1, on the same voxels; None without lobes.
        lung: the share of lung in each voxel of the grid.
        voxels_by_slice: lung voxels of each slice of the CT.
        view: the part of the CT that the network read.
        within: a box of the CT outside of which there is no lung.

    Yields:
        Names and shares: "whole", "right", "left", "upper", "middle", "lower", and the lobes by their names.
    """
    whole = lung.astype(np.float64)
    yield "whole", whole
    right = _share(labels, RIGHT, view, within)
    yield "right", right
    yield "left", whole - right
    third = thirds(voxels_by_slice)
    for number, name in ((2, "upper"), (1, "middle"), (0, "lower")):
        yield name, whole * _share_of_slices(voxels_by_slice, third == number, view)
    for lobe in LOBES:
        if lobes is not None and any((plane == lobe.lobe).any() for plane in lobes[within]):
            yield lobe.value, _share(lobes, lobe.lobe, view, within)


def coarser(share: Share, shape: tuple[int, ...]) -> Share:
    """A share at the places of a map that a network pooled, of which each holds whole voxels of its grid.

    Args:
        share: in each voxel of the grid.
        shape: (slices, rows, columns) of the map.
    """
    slices, rows, columns = shape
    blocks = share.reshape(slices, -1, rows, share.shape[1] // rows, columns, share.shape[2] // columns)
    return np.asarray(blocks.mean((1, 3, 5)))


def diseased(probability: NDArray[np.float32], floor: float) -> Share:
    """How much of each place of a disease map is diseased.

    Args:
        probability: (slices, rows, columns) of the map, inferior to superior.
        floor: the probability from which a place is marked; others count as healthy.
    """
    return np.where(probability >= floor, probability, 0).astype(np.float64)


def disease_extent(disease: Share, share: Share) -> float:
    """The share of a region's lung that is diseased: the sum of the probabilities of marked places, by their lung.

    Args:
        disease: as ``diseased`` gives it.
        share: of the region at the map's places.

    Returns:
        Per cent; NaN for a region without lung.
    """
    return 100 * float((share * disease).sum() / total) if (total := share.sum()) > 1e-6 else float("nan")


def evidence_share(evidence: NDArray[np.floating], shares: Mapping[str, Share]) -> dict[str, float]:
    """How much of the evidence towards emphysema lies in each region.

    The evidence of a place belongs to the regions in it by their shares of its lung; that of places without lung, and
    that against emphysema, is in no region.

    Args:
        evidence: (slices, rows, columns), logit, inferior to superior.
        shares: of the regions, by name, at the evidence's places; with that of both lungs as "whole".

    Returns:
        Per cent of the evidence towards emphysema in both lungs, by region; NaN where there is none.
    """
    lung = shares["whole"]
    towards = np.where(lung > 0, np.maximum(evidence, 0), 0).astype(np.float64)
    density = np.divide(towards, lung, out=np.zeros(lung.shape), where=lung > 0)
    total = float(towards.sum())
    return {
        name: 100 * float((share * density).sum()) / total if total > 0 else float("nan")
        for name, share in shares.items()
    }


def _share(labels: NDArray[np.uint8], value: int, view: View, within: tuple[slice, ...]) -> Share:
    """How much of each voxel of the grid a label fills."""
    return view.share(Computed(lambda plane: plane == value, (labels,)), within=within).astype(np.float64)


def _share_of_slices(voxels_by_slice: NDArray[np.int64], chosen: NDArray[np.bool_], view: View) -> NDArray[np.float64]:
    """(slices, 1, 1): of the lung in each slice of a map, the share that lies in chosen slices of the CT."""
    slices, at = view.grid.shape[0], view.slice_of(len(voxels_by_slice))
    total = np.bincount(at, voxels_by_slice, slices)
    part = np.bincount(at, voxels_by_slice * chosen, slices)
    share: NDArray[np.float64] = np.divide(part, total, out=np.zeros(slices), where=total > 0)
    return share[:, None, None]
