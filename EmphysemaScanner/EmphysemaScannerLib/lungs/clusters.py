"""Connected low-attenuation areas: how their sizes are distributed, the largest ones, and bullae."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..base.parallel import in_threads, pieces
from ..ct.grid import area_average
from .measurements import Clusters
from .morphology import Mask, box

CLUSTER_HU = -950
BULLA_HU = -960
BULLA_MM = 10.0
"""Diameter of the ball that fits into a bulla."""
BULLA_GRID_MM = 2.0
MOST_LARGEST = 10
LEAST_SIZES = 5
"""Fewer different sizes have no exponent."""

Spacing = tuple[float, float, float]
_Sizes = NDArray[np.int64]


def measure_clusters(
    hu: NDArray[np.generic], labels: NDArray[np.uint8], names: Mapping[int, str], spacing_mm: Spacing
) -> dict[str, Clusters]:
    """The clusters of named regions, such as lobes, and of all of them together under "whole".

    A cluster does not go on from one region into another.

    Args:
        hu: HU, (slices, rows, columns).
        labels: of the same shape.
        names: the region's name by its value in ``labels``; others are not measured.
        spacing_mm: distance of voxel centres (slices, rows, columns), mm.
    """
    low = in_lungs(hu, labels, CLUSTER_HU)
    bullae, cell_ml = find_bullae(hu, labels, spacing_mm)
    at = np.ix_(*((np.arange(n) + 0.5) * m // n for n, m in zip(bullae.shape, labels.shape, strict=True)))
    region_of_cell = labels[tuple(np.asarray(axis, np.intp) for axis in at)]
    areas, volumes, holes = {}, {}, {}
    for value, name in names.items():
        own = np.where(labels == value, low, False)
        where = box(own)
        areas[name] = areas_in_slices(own[where])
        volumes[name] = volumes_in_space(own[where])
        holes[name] = volumes_in_space(bullae & (region_of_cell == value))
    everything = {"whole": tuple(names.values()), **{name: (name,) for name in names.values()}}
    joined = {
        name: tuple(np.concatenate([found[part] for part in parts]) for found in (areas, volumes, holes))
        for name, parts in everything.items()
    }
    return {name: _clusters(*sizes, spacing_mm=spacing_mm, cell_ml=cell_ml) for name, sizes in joined.items()}


def in_lungs(hu: NDArray[np.generic], labels: NDArray[np.uint8], below_hu: float) -> Mask:
    """The labelled voxels strictly below a density."""
    low = np.empty(labels.shape, np.bool_)

    def mark(numbers: range) -> None:
        part = slice(numbers.start, numbers.stop)
        np.less(hu[part], below_hu, out=low[part])
        low[part] &= labels[part] > 0

    in_threads(mark, pieces(len(labels)))
    return low


def areas_in_slices(low: Mask) -> _Sizes:
    """Pixels of each connected area in each slice; pixels are connected by their sides."""

    def areas(k: int) -> _Sizes:
        if not low[k].any():
            return np.empty(0, np.int64)
        found, _ = ndimage.label(low[k])
        return np.bincount(found.ravel())[1:]

    return np.concatenate([np.empty(0, np.int64), *in_threads(areas, range(len(low)))])


def volumes_in_space(low: Mask) -> _Sizes:
    """Voxels of each connected cluster; voxels are connected by their faces."""
    found, _ = ndimage.label(low)
    return np.bincount(found[low])[1:]


def exponent(areas: _Sizes) -> tuple[float, _Sizes, _Sizes]:
    """The exponent D of Y = K X**-D, Y being the number of areas of at least the size X (Mishima et al. 1999).

    It is the slope of the least-squares line through (log X, log Y), one point for each size that occurs.

    Returns:
        D, or NaN with fewer than ``LEAST_SIZES`` sizes; the sizes, ascending; Y of each.
    """
    sizes, counts = np.unique(areas, return_counts=True)
    at_least = counts[::-1].cumsum()[::-1]
    if len(sizes) < LEAST_SIZES:
        return math.nan, sizes, at_least
    slope = float(np.polyfit(np.log(sizes), np.log(at_least), 1)[0])
    return -slope, sizes, at_least


def find_bullae(hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing_mm: Spacing) -> tuple[Mask, float]:
    """Where a ball of 1 cm fits into lung below -960 HU, on a grid of about 2 mm.

    The density of a cell is the mean of its lung voxels; a cell belongs to the lungs when at least half of it is lung,
    and the ball must fit into cells of which most of the 27 around are below -960 HU (a median filter), which takes out
    noise.

    Returns:
        The low cells in such balls or up to a cell beside them, and the volume of a cell, mL.
    """
    shape = tuple(max(1, round(n * mm / max(BULLA_GRID_MM, mm))) for n, mm in zip(hu.shape, spacing_mm, strict=True))
    cells = (shape[0], shape[1], shape[2])
    cell_mm = np.array(spacing_mm) * hu.shape / cells
    lung = labels > 0
    share = area_average(lung, cells)
    density = area_average(np.where(lung, hu, 0), cells)
    lung = share >= 0.5
    low = lung & (density < BULLA_HU * share)
    calm = lung & (ndimage.uniform_filter(low.astype(np.float32), 3) > 0.5)
    kept = np.zeros(cells, np.bool_)
    if np.count_nonzero(calm) * cell_mm.prod() >= math.pi / 6 * BULLA_MM**3:
        where = box(calm, (1, 1, 1))
        kept[where] = (calm | low)[where] & _near_balls(calm[where], cell_mm)
    return kept, float(cell_mm.prod()) / 1e3


def _near_balls(mask: Mask, cell_mm: NDArray[np.float64]) -> Mask:
    """What lies in balls of the diameter ``BULLA_MM`` that fit into a mask, or up to a cell beside them."""
    cell = float(cell_mm.mean())  # a mask ends half a cell beyond the centre of its last one
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), cell_mm)[1:-1, 1:-1, 1:-1]
    centres = depth - cell / 2 >= BULLA_MM / 2
    if not centres.any():
        return np.zeros_like(mask)
    return np.asarray(ndimage.distance_transform_edt(~centres, cell_mm) <= BULLA_MM / 2 + cell)


def _clusters(areas: _Sizes, volumes: _Sizes, holes: _Sizes, *, spacing_mm: Spacing, cell_ml: float) -> Clusters:
    slope, sizes, at_least = exponent(areas)
    voxel_ml = math.prod(spacing_mm) / 1e3
    return Clusters(
        exponent=slope,
        count=len(areas),
        largest_ml=tuple(float(n * voxel_ml) for n in np.sort(volumes)[: -MOST_LARGEST - 1 : -1]),
        bulla_volume_ml=float(holes.sum() * cell_ml),
        bulla_count=len(holes),
        areas_mm2=np.asarray(sizes * spacing_mm[1] * spacing_mm[2], np.float64),
        at_least=at_least,
    )
