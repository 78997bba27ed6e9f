"""Trachea and large bronchi, looked for from the lungs: nose, throat and bowel hold round air spaces, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from .bodyair import WITHIN_SLICE
from .coarse import AIR_BELOW_HU, LOWEST_HU, Coarse, as_mask
from .gas import MARGIN, Walls
from .morphology import Mask, box, widened

_ABOVE_LUNGS_MM = 40.0  # the trachea's part in the neck
_TRACHEA_AREA_MM2 = (40.0, 900.0)
_TRACHEA_OFF_CENTRE_MM = 60.0
_AIRWAY_WITHIN_MM = 130.0  # of the middle; a space that reaches so far out is wider than a trachea
_LARGEST_AIRWAY_ML = 130.0  # a wide trachea with main and lobar bronchi; what is larger has leaked into a lung
_SHORTEST_MM, _SHORTEST_LUMEN_MM = 9.0, 20.0  # of the trachea
_LUMEN_HU = -900  # where the wall is too thin to part trachea and lung
_WALLED_SHARE = 0.6


@dataclass(frozen=True)
class Airways:
    """Trachea and large bronchi.

    Attributes:
        mask: on the working grid.
        found: whether there are any that lead into the lungs, or a trachea above them.
    """

    mask: Mask
    found: bool


@dataclass(frozen=True)
class _Stack:
    """Round air spaces of a trachea's size, one over the other, in a box of the working grid."""

    where: tuple[slice, ...]
    mask: Mask
    passes_apices: bool


def find_airways(air: Mask, lung_cores: Mask, coarse: Coarse) -> Airways:
    """Grow trachea and large bronchi from the trachea to the highest density that does not leak into the lungs.

    The trachea is the tallest stack of round air spaces that leads into the lungs.

    Args:
        air: inside the body.
        lung_cores: the inside of the lungs, which says where a trachea may be.
        coarse: the CT.
    """
    unconnected: Airways | None = None
    lumen = air & (coarse.hu < _LUMEN_HU)
    for spaces, shortest_mm, walled_share in ((air, _SHORTEST_MM, 0.0), (lumen, _SHORTEST_LUMEN_MM, _WALLED_SHARE)):
        for stack in _stacks(spaces, lung_cores, coarse, shortest_mm):
            trachea = np.zeros_like(air)
            trachea[stack.where] = stack.mask
            where = widened(stack.where, MARGIN)
            if Walls.of(trachea[where], where, coarse).around < walled_share:
                continue  # emphysema
            grown, leaked = _grown(trachea, air, coarse)
            if leaked:
                return Airways(grown, found=True)
            if stack.passes_apices and unconnected is None:
                unconnected = Airways(grown, found=True)  # its bronchi are closed
    return unconnected or Airways(np.zeros_like(air), found=False)


def _grown(trachea: Mask, air: Mask, coarse: Coarse) -> tuple[Mask, bool]:
    """The airways, and whether they are connected with something larger at a higher density still."""
    centre_of_lumen = trachea & (coarse.hu <= np.percentile(coarse.hu[trachea], 20))
    seeds = np.argwhere(centre_of_lumen)[:, ::-1].tolist()
    image = sitk.GetImageFromArray(np.where(air, coarse.hu, 0).astype(np.float32))
    grown: Mask = trachea
    for threshold in range(-960, AIR_BELOW_HU, 20):
        region = as_mask(sitk.ConnectedThreshold(image, seeds, lower=2.0 * LOWEST_HU, upper=float(threshold)))
        if coarse.volume_ml(region) > _LARGEST_AIRWAY_ML:
            return grown, True
        if threshold < AIR_BELOW_HU - 100:
            grown = region | trachea
    return grown, False


def _stacks(air: Mask, lung_cores: Mask, coarse: Coarse, shortest_mm: float) -> Iterator[_Stack]:
    """Stacks between the lungs' upper halves and little above them, tallest first."""
    if not lung_cores.any():
        return
    dz, dy, dx = coarse.spacing_mm
    levels, _, columns = box(lung_cores)
    middle = (columns.start + columns.stop) / 2
    near = round(_AIRWAY_WITHIN_MM / dx)
    where = (
        slice((levels.start + levels.stop) // 2, levels.stop + round(_ABOVE_LUNGS_MM / dz)),
        slice(None),
        slice(max(int(middle) - near, 0), int(middle) + near),
    )
    spaces, count = ndimage.label(air[where], WITHIN_SLICE)
    alike = _like_a_trachea(spaces, count, middle - where[2].start, (dy, dx))
    stacks, count = ndimage.label(alike[spaces])
    parts = ndimage.find_objects(stacks)
    heights = [part[0].stop - part[0].start for part in parts]
    for i in np.argsort(heights, kind="stable")[::-1].tolist():
        if heights[i] * dz < shortest_mm:
            return
        part = tuple(
            slice(s.start + (w.start or 0), s.stop + (w.start or 0)) for s, w in zip(parts[i], where, strict=True)
        )
        yield _Stack(part, stacks[parts[i]] == i + 1, levels.stop <= part[0].stop)


def _like_a_trachea(
    spaces: NDArray[np.int32], count: int, middle: float, pixel_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """Which of the spaces, each of one slice, have a trachea's size, shape and place: (count + 1,)."""
    dy, dx = pixel_mm
    areas = np.bincount(spaces.ravel(), minlength=count + 1) * dy * dx
    alike = np.zeros(count + 1, bool)
    for number, (_, rows, columns) in enumerate(ndimage.find_objects(spaces), 1):
        height, width = (rows.stop - rows.start) * dy, (columns.stop - columns.start) * dx
        alike[number] = (
            _TRACHEA_AREA_MM2[0] <= areas[number] <= _TRACHEA_AREA_MM2[1]
            and max(height, width) < 2.2 * min(height, width)
            and areas[number] > 0.5 * height * width
            and abs((columns.start + columns.stop) / 2 - middle) * dx < _TRACHEA_OFF_CENTRE_MM
        )
    return alike
