"""Air in the chest beside the two lungs: lung that scar, fissure or effusion parts from the rest, and other air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import LEFT, RIGHT
from .coarse import GAS_BELOW_HU, Coarse, Labels, boxed_pieces
from .morphology import Mask, convex, dilated

_DENSE_LUNG_HU = -500
_LIGHT_SHARE, _DENSE_SHARE = 0.5, 0.4  # of a piece of lung: as light as free air, half filled with tissue
_SURELY_LIGHT_SHARE, _SURELY_DENSE_SHARE = 0.35, 0.2
_SMALLEST_PIECE_ML, _LARGE_PIECE_ML = 2.0, 50.0
_NEAR_MM, _FAR_MM = 15.0, 30.0  # thickness of scar, of an effusion; a chest wall parts other air from the lungs
_CHEST_LEVEL_SHARE = 0.5  # of the lungs' largest area; at the level of bowel below the diaphragm up to 0.3
_LUNG_BELOW_SHARE = 0.3  # of the columns; none below bowel
_SHADOW_SHARE = 0.3
_NAMED_ML = 10.0
_BETWEEN_LUNGS_SHARE = 0.7


@dataclass(frozen=True)
class StrayAir:
    """The pieces of air beside the two lungs, sorted.

    Attributes:
        kept: labels of the pieces that are lung, by side.
        left_out: the pieces in the chest that are no lung, numbered from 1.
    """

    kept: Labels
    left_out: NDArray[np.int32]


def sort_stray_air(air: Mask, lungs: Labels, coarse: Coarse) -> StrayAir:
    """Sort what the two lungs leave of the air in the body; airways must have been taken out of it.

    Args:
        air: inside the body.
        lungs: 1 right, 2 left.
        coarse: the CT.
    """
    rest = air & (lungs == 0)
    kept, left_out = np.zeros_like(lungs), np.zeros(lungs.shape, np.int32)
    areas = np.count_nonzero(lungs, (1, 2))
    for where, piece in boxed_pieces(rest, rest, _SMALLEST_PIECE_ML / coarse.voxel_ml):
        hu, volume = coarse.hu[where][piece], coarse.volume_ml(piece)
        light, dense = np.mean(hu < GAS_BELOW_HU), np.mean(hu >= _DENSE_LUNG_HU)
        in_chest = np.median(areas[where[0]]) >= _CHEST_LEVEL_SHARE * areas.max()
        large = volume >= _LARGE_PIECE_ML
        alike = light <= _LIGHT_SHARE and dense <= _DENSE_SHARE
        surely = large and light <= _SURELY_LIGHT_SHARE and dense <= _SURELY_DENSE_SHARE
        side = 0
        if alike and (in_chest or surely or _over_lung(piece, where, lungs)):
            side = _side(piece, where, lungs, coarse, _FAR_MM if large else _NEAR_MM)
        if side:
            kept[where][piece] = side
        elif in_chest and volume >= _NAMED_ML and _between_lungs(piece, where, lungs):
            left_out[where][piece] = left_out.max() + 1
    return StrayAir(kept, left_out)


def _over_lung(piece: Mask, where: tuple[slice, ...], lungs: Labels) -> bool:
    """Whether lung lies below a good part of the piece."""
    lines = np.flatnonzero(piece.any(0))
    lowest_of_piece = where[0].start + piece.argmax(0).ravel()[lines]
    below = lungs[:, where[1], where[2]].reshape(len(lungs), -1)[:, lines] > 0
    return bool(np.mean(below.any(0) & (below.argmax(0) < lowest_of_piece)) >= _LUNG_BELOW_SHARE)


def _side(piece: Mask, where: tuple[slice, ...], lungs: Labels, coarse: Coarse, within_mm: float) -> int:
    """The side of the lung that lies above or below the piece, or else nearest; 0 where none lies so near."""
    margin = coarse.radius(max(within_mm, max(coarse.spacing_mm)))
    around = tuple(
        slice(max(part.start - m, 0), min(part.stop + m, n))
        for part, m, n in zip(where, margin, lungs.shape, strict=True)
    )
    inner = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(where, around, strict=True))
    grown = np.zeros([a.stop - a.start for a in around], bool)
    grown[inner] = piece
    near = np.bincount(lungs[around][dilated(grown, margin)], minlength=3)[1:]
    if not near.any():
        return 0
    shadow = np.count_nonzero(piece, 0)
    over = np.array([shadow[(lungs[:, where[1], where[2]] == side).any(0)].sum() for side in (RIGHT, LEFT)])
    return (RIGHT, LEFT)[np.argmax(over if over.sum() >= _SHADOW_SHARE * shadow.sum() else near)]


def _between_lungs(piece: Mask, where: tuple[slice, ...], lungs: Labels) -> bool:
    """Whether most of the piece lies inside the convex hull of both lungs in each slice."""
    between = np.zeros_like(piece)
    columns = np.arange(lungs.shape[2])[where[2]]
    for k, plane in enumerate(lungs[where[0]] > 0):
        at = np.flatnonzero(plane.any(1))
        used = plane[at]
        high = plane.shape[1] - 1 - used[:, ::-1].argmax(1)
        first, stop = (bound[where[1], None] for bound in convex(at, used.argmax(1), high, len(plane)))
        between[k] = (columns >= first) & (columns < stop)
    return bool(np.mean(between[piece]) >= _BETWEEN_LUNGS_SHARE)
