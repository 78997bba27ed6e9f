"""Gas in stomach and bowel, which a diaphragm thinner than a voxel may leave connected with a lung."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .coarse import GAS_BELOW_HU, Coarse, boxed_pieces, numbered
from .morphology import Mask, box, dilated, eroded

_LUNG_CORE_MM = 6.0  # inside of a lung; a trachea is not so thick
_SECOND_LUNG_SHARE = 0.1  # of the larger one
_CORE_HU = -950  # of gas, where its border is left out; scanners differ by 30 HU
_ALIKE_HU = 15.0
_SMALLEST_ML = 0.3
_WALL_HU = -650  # diaphragm and bowel wall, thinner than a voxel, between lung and gas
_WALL_CELLS = 2  # beyond the gas, in which its wall lies
MARGIN = _WALL_CELLS + 2  # around a piece of gas without its border, in which its walls lie
_BORDER_CELLS = 2  # around gas, which it may fill in part
_AROUND_CELLS = 4  # in which the border meets that of a lung
# Shares of the surface. In fourteen chests upwards 0.4 to 1 in bowel and stomach, on all sides 0.6 to 1; upwards up to
# 0.7 and on all sides up to 0.5 in emphysema, where there is lung on the lower side, too.
_WALLED_ABOVE_SHARE, _WALLED_SHARE, _SEALED_SHARE = 0.5, 0.6, 0.85
_LARGEST_SEALED_ML = 300.0  # a bulla that fills half of the chest is sealed as well
# Shares of the vertical lines through the gas.
_LUNG_ABOVE_MM, _LUNG_ABOVE_SHARE = 30.0, 0.3  # above the part of a lung that lies under the heart there is the heart
_LUNG_BELOW_SHARE = 0.1  # none below bowel gas
_GAS, _LUNG, _NEITHER = 1, 2, 3


@dataclass(frozen=True)
class Walls:
    """Shares of the surface of a piece of gas behind which a wall lies.

    Attributes:
        above: of what faces upwards.
        around: of all six sides.
    """

    above: float
    around: float

    @classmethod
    def of(cls, gas: Mask, where: tuple[slice, ...], coarse: Coarse) -> Walls:
        """Measure the walls of a piece of gas in a box of the working grid, which has ``MARGIN`` cells around it."""
        wall = coarse.outside[where] | (coarse.hu[where] > _WALL_HU)
        faces, walled = np.zeros(6), np.zeros(6)
        for i, (axis, step) in enumerate(itertools.product(range(3), (1, -1))):
            inner, solid = (mask.swapaxes(0, axis)[::step] for mask in (gas, wall))
            surface = inner[:-1] & ~inner[1:]
            behind = np.zeros_like(surface)
            for cells in range(1, _WALL_CELLS + 1):
                behind[: len(solid) - cells] |= solid[cells:]
            faces[i], walled[i] = np.count_nonzero(surface), np.count_nonzero(surface & behind)
        return cls(float(walled[0] / max(faces[0], 1)), float(walled.sum() / max(faces.sum(), 1)))


def lung_cores(air: Mask, coarse: Coarse) -> Mask:
    """The inside of what is large enough to be a lung."""
    where = box(air, coarse.radius(_LUNG_CORE_MM))
    core = eroded(air[where], coarse.radius(_LUNG_CORE_MM))
    pieces, sizes = numbered(core)
    out = np.zeros_like(air)
    if len(sizes) > 1:
        large = sizes >= _SECOND_LUNG_SHARE * sizes.max()
        large[0] = False
        gas = np.bincount(pieces[core & (coarse.hu[where] < GAS_BELOW_HU)], minlength=len(sizes))
        aerated = large & (gas <= sizes / 2)
        out[where] = (aerated if aerated.any() else large)[pieces]
    return out


def find_gas(air: Mask, cores: Mask, coarse: Coarse) -> Mask:
    """Find gas that is in no lung: as light as free air and behind walls.

    Below the diaphragm it has a wall and a lung above it and no lung below it. Elsewhere below the middle of the lungs,
    as in a hiatal hernia, it is walled on all sides: a bulla has no wall towards the lung that could be seen.

    Args:
        air: inside the body, without airways.
        cores: the inside of the lungs.
        coarse: the CT.
    """
    one = (1, 1, 1)
    gas = np.zeros_like(air)
    free, light = air & (coarse.hu < GAS_BELOW_HU), air & (coarse.hu < _CORE_HU)
    for seeds, limit in ((free, free), (eroded(light, one), light)):
        for where, core in boxed_pieces(seeds, seeds, _SMALLEST_ML / coarse.voxel_ml, MARGIN):
            piece = dilated(core, one) & limit[where]
            if _is_behind_walls(piece, where, cores, coarse):
                gas[where] |= piece
    return _with_border(_with_alike(gas, air, cores, coarse), air, cores, coarse) if gas.any() else gas


def _is_behind_walls(piece: Mask, where: tuple[slice, ...], cores: Mask, coarse: Coarse) -> bool:
    walls = Walls.of(piece, where, coarse)
    if walls.around >= _SEALED_SHARE and coarse.volume_ml(piece) <= _LARGEST_SEALED_ML:
        levels = box(cores)[0]
        if where[0].start + box(piece)[0].start < (levels.start + levels.stop) / 2:
            return True
    if walls.above < _WALLED_ABOVE_SHARE or walls.around < _WALLED_SHARE:
        return False
    rows, columns = np.nonzero(piece.any(0))
    lines, lung = piece[:, rows, columns], cores[:, where[1], where[2]][:, rows, columns]
    bottom, top = (where[0].start + level for level in (lines.argmax(0), len(lines) - 1 - lines[::-1].argmax(0)))
    level = np.arange(len(lung))[:, None]
    near = top + coarse.radius(_LUNG_ABOVE_MM)[0]
    above = (lung & (level > top) & (level <= near)).any(0)
    below = (lung & (level < bottom)).any(0)
    return bool(above.mean() >= _LUNG_ABOVE_SHARE and below.mean() <= _LUNG_BELOW_SHARE)


def _with_alike(gas: Mask, air: Mask, cores: Mask, coarse: Coarse) -> Mask:
    """The gas with what is connected with it and as light, where that is behind walls, too."""
    alike = gas | (air & (coarse.hu < np.median(coarse.hu[gas]) + _ALIKE_HU))
    grown: Mask = gas.copy()
    for where, piece in boxed_pieces(alike, gas, 1, MARGIN):
        if _is_behind_walls(piece, where, cores, coarse):
            grown[where] |= piece
    return grown


def _with_border(gas: Mask, air: Mask, cores: Mask, coarse: Coarse) -> Mask:
    """The gas with its border, which tissue or lung fills in part, as far as that of a lung."""
    where = box(gas, (_AROUND_CELLS,) * 3)
    part = dilated(gas[where], (_AROUND_CELLS,) * 3) & air[where]
    markers = np.where(part, _GAS * gas[where] + _LUNG * (cores[where] & ~gas[where]), _NEITHER).astype(np.uint8)
    density = sitk.GetImageFromArray(np.where(part, coarse.hu[where], 1000).astype(np.int16))
    flooded = sitk.MorphologicalWatershedFromMarkers(density, sitk.GetImageFromArray(markers), markWatershedLine=False)
    border = dilated(gas[where], (_BORDER_CELLS,) * 3) & part
    out: Mask = gas.copy()
    out[where] |= (sitk.GetArrayViewFromImage(flooded) == _GAS) & border
    return out
