"""Connected low-attenuation areas: how their sizes are distributed, the largest ones, and bullae."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..ct.grid import area_average
from .measurements import Clusters
from .morphology import Mask, box, grown

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
    bullae, cell_ml = find_bullae(hu, labels, spacing_mm)
    areas, volumes, holes = {}, {}, {}
    for value, name in names.items():
        own = labels == value
        where = box(own)
        low = own[where] & np.less(hu[where], CLUSTER_HU)
        areas[name] = areas_in_slices(low)
        volumes[name] = volumes_in_space(low)
        holes[name] = _volumes_of(bullae, labels, value)
    everything = {"whole": tuple(names.values()), **{name: (name,) for name in names.values()}}
    joined = {
        name: tuple(np.concatenate([found[part] for part in parts]) for found in (areas, volumes, holes))
        for name, parts in everything.items()
    }
    return {name: _clusters(*sizes, spacing_mm=spacing_mm, cell_ml=cell_ml) for name, sizes in joined.items()}


def areas_in_slices(low: Mask) -> _Sizes:
    """Pixels of each connected area in each slice; pixels are connected by their sides."""
    return _Runs(low).sizes(("row",))


def volumes_in_space(low: Mask) -> _Sizes:
    """Voxels of each connected cluster; voxels are connected by their faces."""
    return _Runs(low).sizes(("row", "slice"))


class _Runs:
    """The runs of a mask along its rows, which are fewer than its voxels and quicker to connect.

    Args:
        mask: (slices, rows, columns).
    """

    def __init__(self, mask: Mask) -> None:
        slices, rows, columns = mask.shape
        self._step = {"row": columns + 1, "slice": (rows + 1) * (columns + 1)}
        flat = np.zeros(slices * self._step["slice"] + 1, np.bool_)  # nothing before each row and each slice
        flat[:-1].reshape(slices, rows + 1, columns + 1)[:, 1:, 1:] = mask
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        self._first, self._stop = edges[::2], edges[1::2]

    def sizes(self, to: tuple[str, ...]) -> _Sizes:
        """Voxels of what runs connect that overlap with one in the next row or slice."""
        from scipy import sparse  # here: most scans measure no clusters
        from scipy.sparse import csgraph

        pairs = np.concatenate([self._overlaps(self._step[name]) for name in to], axis=1)
        number = len(self._first)
        graph = sparse.coo_array((np.ones(pairs.shape[1], np.bool_), (pairs[0], pairs[1])), (number, number))
        count, whose = csgraph.connected_components(graph, directed=False)
        return np.bincount(whose, self._stop - self._first, count).astype(np.int64)

    def _overlaps(self, step: int) -> _Sizes:
        """(2, pairs) runs that overlap when the first is moved by so many places."""
        begin = np.searchsorted(self._stop, self._first + step, side="right")
        counts = np.maximum(np.searchsorted(self._first, self._stop + step, side="left") - begin, 0)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack(
            [np.repeat(np.arange(len(begin)), counts), np.repeat(begin, counts) + np.arange(len(before)) - before]
        )


def _volumes_of(bullae: Mask, labels: NDArray[np.uint8], value: int) -> _Sizes:
    """Cells of each connected bulla in a region; a cell belongs to the region of its middle."""
    if not bullae.any():
        return np.empty(0, np.int64)
    at = np.ix_(*((np.arange(n) + 0.5) * m // n for n, m in zip(bullae.shape, labels.shape, strict=True)))
    region_of_cell = labels[tuple(np.asarray(axis, np.intp) for axis in at)]
    own = bullae & (region_of_cell == value)
    return volumes_in_space(own[box(own)])


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
    deep, high, wide = (mm * n / m for mm, n, m in zip(spacing_mm, hu.shape, cells, strict=True))
    cell_mm = (deep, high, wide)
    where, inside = box(labels), labels > 0
    in_lungs = np.zeros_like(hu)
    np.copyto(in_lungs[where], hu[where], where=inside[where])
    share, density = (area_average(values, cells, within=where) for values in (inside, in_lungs))
    lung = share >= 0.5
    low = lung & (density < BULLA_HU * share)
    calm = lung & (_of_27(low) > 13)
    kept = np.zeros(cells, np.bool_)
    if np.count_nonzero(calm) * math.prod(cell_mm) >= math.pi / 6 * BULLA_MM**3:
        where = box(calm, (1, 1, 1))
        kept[where] = (calm | low)[where] & _near_balls(calm[where], cell_mm)
    return kept, math.prod(cell_mm) / 1e3


def _of_27(low: Mask) -> NDArray[np.uint8]:
    """How many of the 27 cells around each are low; beyond the end lie the cells at it once more."""
    counts = np.pad(low, 1, mode="symmetric").astype(np.uint8)
    for axis in range(3):
        n = counts.shape[axis] - 2
        first, middle, last = (counts.take(range(k, k + n), axis) for k in range(3))
        counts = first + middle + last
    return counts


def _near_balls(mask: Mask, cell_mm: Spacing) -> Mask:
    """What lies in balls of the diameter ``BULLA_MM`` that fit into a mask, or up to a cell beside them."""
    cell = sum(cell_mm) / 3  # a mask ends half a cell beyond the centre of its last one
    too_near = math.nextafter(BULLA_MM / 2 + cell / 2, 0)
    centres = ~grown(np.pad(~mask, 1, constant_values=True), too_near, cell_mm)[1:-1, 1:-1, 1:-1]
    return grown(centres, BULLA_MM / 2 + cell, cell_mm)


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
