"""Dilation and erosion of masks by a ball, 64 voxels at a time, and the convex hull of a mask in a slice.

A mask is kept as bits, 64 columns to a word: a whole row is shifted or combined in a few machine words. The ball is
SimpleITK's (``sitk.sitkBall``), an ellipsoid of half-axes radius + 1/2, and so are the answers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Radius = tuple[int, int, int]
Bounds = NDArray[np.int64]
_Words = NDArray[np.uint64]


def dilated(mask: Mask, radius: Radius) -> Mask:
    """The mask grown by a ball.

    Args:
        mask: (slices, rows, columns).
        radius: of the ball, in voxels along (slices, rows, columns).
    """
    deep, high, wide = (r + 0.5 for r in radius)
    reach = {}
    for dz, dy in itertools.product(*(range(-r, r + 1) for r in radius[:2])):
        left = 1 - (dz / deep) ** 2 - (dy / high) ** 2
        if left >= 0:
            reach[dz, dy] = int(wide * math.sqrt(left))
    return _grown(mask, reach)


def grown(mask: Mask, reach_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """All voxels whose centre is at most so far from that of a voxel of a mask.

    Args:
        mask: (slices, rows, columns).
        reach_mm: the distance.
        spacing_mm: distance of voxel centres (slices, rows, columns), mm.
    """
    most = [math.ceil(reach_mm / mm) for mm in spacing_mm]
    z, y, x = (np.arange(-n, n + 1) * mm for n, mm in zip(most, spacing_mm, strict=True))
    near = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x[most[2] :] ** 2) <= reach_mm  # of columns to one side
    count = near.sum(2)
    reach = {
        (int(dz) - most[0], int(dy) - most[1]): int(count[dz, dy]) - 1 for dz, dy in np.argwhere(count > 0).tolist()
    }
    return _grown(mask, reach)


def _grown(mask: Mask, reach: Mapping[tuple[int, int], int]) -> Mask:
    """A mask grown by so many columns to either side, in rows so many slices and rows away."""
    runs = _widened(_packed(mask), max(reach.values()))
    out = np.zeros_like(runs[0])
    for (dz, dy), columns in reach.items():
        to_z, from_z = _shifted(dz)
        to_y, from_y = _shifted(dy)
        out[to_z, to_y] |= runs[columns][from_z, from_y]
    bits = np.unpackbits(out.view(np.uint8), axis=2, count=mask.shape[2], bitorder="little")
    return bits.view(np.bool_)


def eroded(mask: Mask, radius: Radius) -> Mask:
    """The mask shrunk by a ball; what lies beyond the array counts as part of it. Arguments as for ``dilated``."""
    return ~dilated(~mask, radius)


def box(mask: Mask | NDArray[np.uint8], margin: Radius = (0, 0, 0)) -> tuple[slice, ...]:
    """The box around a mask with a margin in voxels, inside the array; one voxel for an empty mask."""
    flat = np.bitwise_or.reduce(mask, axis=0)
    found = []
    for used, extra in zip((mask.any((1, 2)), flat.any(1), flat.any(0)), margin, strict=True):
        at = np.flatnonzero(used)
        found.append(slice(max(int(at[0]) - extra, 0), int(at[-1]) + 1 + extra) if at.size else slice(0, 1))
    return tuple(found)


def widened(where: tuple[slice, ...], margin: int) -> tuple[slice, ...]:
    """A box with a margin in voxels on all sides, which may reach beyond the array's end."""
    return tuple(slice(max(part.start - margin, 0), part.stop + margin) for part in where)


def convex(at: Bounds, low: Bounds, high: Bounds, rows: int) -> tuple[Bounds, Bounds]:
    """The convex hull of a mask in a slice.

    Args:
        at: the rows that hold some of the mask, ascending.
        low: the mask's first column in each of them.
        high: the mask's last column in each of them.
        rows: of the slice.

    Returns:
        The hull's first column in each row of the slice, and the first column beyond it; equal where it has nothing.
    """
    first, stop = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    if not at.size:
        return first, stop
    row = np.arange(at[0], at[-1] + 1)
    left, right = _lower_hull(at.tolist(), low.tolist()), _lower_hull(at.tolist(), (-high).tolist())
    first[row] = np.ceil(np.interp(row, at[left], low[left]))
    stop[row] = np.floor(np.interp(row, at[right], high[right])) + 1
    return first, stop


def _packed(mask: Mask) -> _Words:
    """(slices, rows, words): bit i of word j is column 64 j + i."""
    bits = np.packbits(mask, axis=2, bitorder="little")
    words = np.zeros((*bits.shape[:2], -(-bits.shape[2] // 8)), "<u8")
    words.view(np.uint8)[..., : bits.shape[2]] = bits
    return words


def _widened(words: _Words, most: int) -> list[_Words]:
    """The mask, and the mask grown along its rows by 1, 2, ... columns to either side."""
    out = [words]
    one, last = np.uint64(1), np.uint64(63)
    for _ in range(most):
        words = out[-1] | out[-1] << one | out[-1] >> one
        words[..., 1:] |= out[-1][..., :-1] >> last
        words[..., :-1] |= out[-1][..., 1:] << last
        out.append(words)
    return out


def _shifted(by: int) -> tuple[slice, slice]:
    """Where to and where from."""
    ahead, behind = slice(abs(by), None), slice(None, -abs(by) or None)
    return (ahead, behind) if by > 0 else (behind, ahead)


def _lower_hull(x: list[int], y: list[int]) -> list[int]:
    """Indices of the points that carry the convex hull from below (Andrew's monotone chain); x ascends."""
    kept: list[int] = []
    for i in range(len(x)):
        while len(kept) > 1:
            p, q = kept[-2:]
            if (x[q] - x[p]) * (y[i] - y[p]) > (y[q] - y[p]) * (x[i] - x[p]):
                break
            kept.pop()
        kept.append(i)
    return kept
