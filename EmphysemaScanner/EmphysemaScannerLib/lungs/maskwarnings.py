"""What makes a lung mask doubtful, each with the figure that was measured."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from ..base.parallel import in_threads
from ..ct.grid import Grid, canonical_view
from .fieldofview import FieldOfView
from .imagewarnings import Shadow
from .lungs import Lungs

_LUNGS_L = (2.0, 9.0)
_SMALLER_LUNG_PERCENT = 50.0
_CHEST_WALL_MM = 5.0  # no chest wall is thinner
_ON_EDGE_CM2 = 1.0
_CUT_PERCENT = 2.0  # of the largest slice's lung area
_JUMP_PERCENT = 15.0  # of a side's largest area; complete lungs end with up to 6 % in slices of 5 mm
_FREE_AIR_ML = 20.0  # none in fourteen chests, four of them with emphysema
_LOW_HU = -950
_BOTTOM_CM2 = 1.0  # smaller slices are noise
_BOTTOM_PERCENT = 80.0
_SIDES = ("right", "left")


def mask_warnings(image: sitk.Image, lungs: Lungs) -> tuple[str, ...]:
    """What makes the lung mask doubtful, as sentences with the figure that was measured, gravest first.

    Args:
        image: the CT in HU, any orientation.
        lungs: as from ``lungs.find_lungs``.
    """
    hu, grid = canonical_view(image)
    shadow = Shadow.of(lungs.labels)
    return (
        *_cut_ends(shadow),
        *_cut_by_view(lungs, shadow, grid),
        *_volumes(shadow, math.prod(grid.spacing_mm)),
        *_gaps(shadow, grid),
        *_jumps(shadow, grid),
        *_gas_at_bottom(hu, lungs.labels, shadow, grid),
        *_left_out(lungs),
    )


def _cut_ends(shadow: Shadow) -> list[str]:
    areas = shadow.by_slice.sum(0)
    ends = (("top", areas[-1], "apices"), ("bottom", areas[0], "bases"))
    return [
        f"The lungs reach the CT's {end} slice with {100 * area / areas.max():.0f} % of their largest area: the {part} "
        "are cut off."
        for end, area, part in ends
        if 100 * area > _CUT_PERCENT * areas.max()
    ]


def _cut_by_view(lungs: Lungs, shadow: Shadow, grid: Grid) -> list[str]:
    on_edge = _on_edge_cm2(lungs, shadow, grid)
    if on_edge >= _ON_EDGE_CM2:
        return [
            f"The field of view cuts the lungs: {on_edge:.0f} cm\N{SUPERSCRIPT TWO} of their surface lie on its edge; "
            "the lung beyond it is not measured."
        ]
    margins = []
    for used, size, mm in zip((shadow.rows, shadow.columns), shadow.shape[1:], grid.spacing_mm[1:], strict=True):
        margins += [used[0] * mm, (size - 1 - used[-1]) * mm]
    edge = min(margins)
    if edge >= _CHEST_WALL_MM and not _near_edge(lungs, shadow, grid):
        return []
    near = f"within {edge:.0f} mm (below {_CHEST_WALL_MM:.0f} mm)" if edge < _CHEST_WALL_MM else "within 5 mm"
    return [f"The lungs come {near} of the field of view's edge: they may be cut off at the side."]


def _on_edge_cm2(lungs: Lungs, shadow: Shadow, grid: Grid) -> float:
    """The faces of lung voxels beside what was not measured: sideways and, inside the CT, upwards and downwards."""
    dz, dy, dx = grid.spacing_mm
    rows, columns = (slice(max(used[0] - 1, 0), used[-1] + 2) for used in (shadow.rows, shadow.columns))

    def faces_mm2(k: int) -> float:
        lung = lungs.labels[k][rows, columns] > 0
        total = 0.0
        for beside in (k - 1, k + 1):
            if 0 <= beside < len(lungs.labels) and _is_near(lungs.view, rows, columns, beside):
                total += np.count_nonzero(lung & ~lungs.view.inside(beside, (rows, columns))) * dy * dx
        if _is_near(lungs.view, rows, columns, k):
            lung = np.pad(lung, 1)  # what lies beyond the image was not measured, either
            outside = np.pad(~lungs.view.inside(k, (rows, columns)), 1, constant_values=True)
            for axis, area in ((0, dz * dx), (1, dz * dy)):
                part, beyond = np.moveaxis(lung, axis, 0), np.moveaxis(outside, axis, 0)
                total += (np.count_nonzero(part[1:] & beyond[:-1]) + np.count_nonzero(part[:-1] & beyond[1:])) * area
        return total

    return sum(in_threads(faces_mm2, shadow.slices.tolist())) / 100


def _is_near(view: FieldOfView, rows: slice, columns: slice, k: int) -> bool:
    """Whether a box of slice k, which holds the lungs and a margin, reaches what was not measured."""
    low, high = columns.start, columns.stop
    return bool(
        low == 0
        or rows.start == 0
        or high > view.columns
        or rows.stop > view.first.shape[1]
        or view.first[k, rows].max() > low
        or view.stop[k, rows].min() < high
    )


def _near_edge(lungs: Lungs, shadow: Shadow, grid: Grid) -> bool:
    """Whether the edge of the field of view comes within a chest wall's thickness of a lung."""
    reach = [math.ceil(_CHEST_WALL_MM / mm) for mm in grid.spacing_mm[1:]]
    where = tuple(
        slice(max(0, used[0] - far), used[-1] + far + 1)
        for used, far in zip((shadow.rows, shadow.columns), reach, strict=True)
    )

    def touching(k: int) -> bool:
        outside = ~lungs.view.inside(k, (where[0], where[1]))
        if not outside.any():
            return False
        for axis, far in enumerate(reach):
            outside = ndimage.maximum_filter1d(outside, 2 * far - 1, axis)
        return bool(outside[lungs.labels[k][where] > 0].any())

    return any(in_threads(touching, shadow.slices[:: max(1, len(lungs.labels) // 32)].tolist()))


def _volumes(shadow: Shadow, voxel_mm3: float) -> list[str]:
    right, left = (voxels * voxel_mm3 / 1e6 for voxels in shadow.by_slice.sum(1).tolist())
    smallest, largest = _LUNGS_L
    found = []
    if right + left < smallest:
        found.append(
            f"Only {right + left:.1f} litres of lung were found (below {smallest:g}): incomplete inspiration, "
            "atelectasis or failed segmentation; check the lung mask."
        )
    if right + left > largest:
        found.append(f"{right + left:.1f} litres of lung were found (above {largest:g}); check the lung mask.")
    smaller = 100 * min(right, left) / max(right, left)
    if smaller < _SMALLER_LUNG_PERCENT:
        side, other = _SIDES if right < left else _SIDES[::-1]
        found.append(
            f"The {side} lung has only {smaller:.0f} % of the volume of the {other} (below "
            f"{_SMALLER_LUNG_PERCENT:.0f} %); check the lung mask."
        )
    return found


def _gaps(shadow: Shadow, grid: Grid) -> list[str]:
    between = shadow.slices[-1] - shadow.slices[0] + 1
    missing = between - len(shadow.slices)
    if not missing:
        return []
    empty = np.setdiff1d(np.arange(shadow.slices[0], shadow.slices[-1]), shadow.slices)
    return [
        f"{missing} of {between} slices between the lungs' lowest and highest point hold no lung (first at "
        f"{_level(grid, empty[0])}); check the lung mask."
    ]


def _jumps(shadow: Shadow, grid: Grid) -> list[str]:
    """Sides that end from one slice to the next, inside the CT."""
    found = []
    pixel_cm2 = grid.spacing_mm[1] * grid.spacing_mm[2] / 100
    for side, areas in zip(_SIDES, shadow.by_slice, strict=True):
        for where, step in (("below", -1), ("above", 1)):
            ends = (areas > 0) & (np.roll(areas, -step) == 0)
            ends[0 if step < 0 else -1] = False  # there the CT ends
            k = int(np.where(ends, areas, 0).argmax())
            if ends[k] and 100 * areas[k] > _JUMP_PERCENT * areas.max():
                found.append(
                    f"The {side} lung ends abruptly: {areas[k] * pixel_cm2:.0f} cm\N{SUPERSCRIPT TWO} at "
                    f"{_level(grid, k)}, none in the slice {where}; check the lung mask."
                )
    return found


def _gas_at_bottom(hu: NDArray[np.generic], labels: NDArray[np.uint8], shadow: Shadow, grid: Grid) -> list[str]:
    voxel_cm2 = grid.spacing_mm[1] * grid.spacing_mm[2] / 100
    large = np.flatnonzero(shadow.by_slice.sum(0) * voxel_cm2 >= _BOTTOM_CM2)
    if not large.size:
        return []
    k = int(large[0])
    light = 100 * float(np.mean(hu[k][labels[k] > 0] < _LOW_HU))
    if light <= _BOTTOM_PERCENT:
        return []
    return [
        f"In the lungs' lowest slice ({_level(grid, k)}) {light:.0f} % lie below {_LOW_HU} HU, as gas in the bowel "
        "does; check the lung mask."
    ]


def _left_out(lungs: Lungs) -> list[str]:
    found = []
    if lungs.left_out_ml:
        pieces = f" in {len(lungs.left_out_ml)} pieces" if len(lungs.left_out_ml) > 1 else ""
        found.append(
            f"{sum(lungs.left_out_ml):.0f} ml of air in the chest{pieces} are not in the lung mask: pneumothorax, "
            "hiatal hernia or a walled bulla; check the lung mask."
        )
    if lungs.free_air_ml >= _FREE_AIR_ML:
        found.append(
            f"{lungs.free_air_ml:.0f} ml of the lung mask are as light as free air, without any tissue: large bullae "
            "or pneumothorax; check the lung mask."
        )
    if not lungs.trachea_in_view:
        found.append("No trachea was found in this CT: main bronchi may be measured as lung.")
    return found


def _level(grid: Grid, k: int) -> str:
    return f"S {grid.slice_positions_mm()[k]:.0f} mm"
