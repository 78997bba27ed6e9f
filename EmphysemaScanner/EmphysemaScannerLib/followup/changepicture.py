"""Both CTs and the change map side by side, at the same places of the lungs."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..ct.grid import canonical_view
from ..i18n import tr as _
from ..report.montage import LUNG_OUTLINE, LUNG_WINDOW_HU, WIDTH_INCHES
from .changemap import FLOOR_G_PER_L, FULL_G_PER_L, ChangeMap, on_grid

# Loss in orange, gain in blue, dark where they begin: apart in all common colour blindness.
COLOURS = LinearSegmentedColormap.from_list(
    "density change", [(0, "#ffc840"), (0.499, "#992905"), (0.5, "#0a3d99"), (1, "#59ccff")]
)
_MARGIN_MM = 15.0
_OPACITY = 0.6
_AXIAL = 2
_COLUMNS = 3
_GAP = 0.03  # inches between rows
_TITLE, _BAR = 0.22, 0.5  # inches


def change_picture(made: ChangeMap) -> Figure:
    """Two axial planes and a coronal one, those with most loss of density: both CTs, and the change over the earlier.

    Args:
        made: the map.
    """
    planes = _Planes(made)
    chosen = [*((0, k) for k in planes.with_most_loss(0, _AXIAL)), (1, planes.with_most_loss(1, 1)[0])]
    heights = [WIDTH_INCHES / _COLUMNS * planes.aspect(axis) + _GAP for axis, _place in chosen]
    total = _TITLE + sum(heights) + _BAR
    figure = Figure(figsize=(WIDTH_INCHES, total), dpi=200, facecolor="white")
    top = total - _TITLE
    moved = _("{day}, registered").format(day=made.comparison.later.taken.isoformat())
    for column, text in enumerate((made.comparison.earlier.taken.isoformat(), moved, _("change of density"))):
        figure.text((column + 0.5) / _COLUMNS, 1 - 0.6 * _TITLE / total, text, ha="center", va="center", fontsize=8)
    for (axis, place), height in zip(chosen, heights, strict=True):
        top -= height
        for column in range(_COLUMNS):
            axes = figure.add_axes((column / _COLUMNS, top / total, 0.993 / _COLUMNS, (height - _GAP) / total))
            planes.draw_ct(axes, axis, place, planes.later if column == 1 else planes.earlier)
            if column == _COLUMNS - 1:
                planes.draw_change(axes, axis, place)
    _colour_bar(figure, _BAR / total)
    return figure


class _Planes:
    """Cuts planes through both CTs and the change, cropped to the lungs and a margin."""

    def __init__(self, made: ChangeMap) -> None:
        self._image = made.comparison.earlier.image  # keeps the voxels that ``earlier`` is a view of
        self.earlier, grid = canonical_view(self._image)
        self.later, self.spacing_mm = made.moved_hu, grid.spacing_mm
        self.change = on_grid(made, grid)
        self.lungs = np.asarray(made.comparison.earlier.result.lung_mask.values, np.uint8) > 0
        self.box = [_extent(self.lungs, axis, round(_MARGIN_MM / self.spacing_mm[axis])) for axis in range(3)]

    def aspect(self, axis: int) -> float:
        """Height over width of the planes across an axis: 0 axial, 1 coronal."""
        rows = 1 if axis == 0 else 0
        height, width = ((self.box[side].stop - self.box[side].start) * self.spacing_mm[side] for side in (rows, 2))
        return float(height / width)

    def with_most_loss(self, axis: int, count: int) -> list[int]:
        """Planes with most loss, a quarter of the lungs apart; with most lung where nothing was lost."""
        others = tuple(a for a in range(3) if a != axis)
        loss = np.clip(-self.change - FLOOR_G_PER_L, 0, None).sum(others)
        lung = self.lungs.sum(others)
        apart = max(1, int(np.count_nonzero(lung)) // 4)
        chosen: list[int] = []
        for k in np.lexsort((-lung, -loss)).tolist():
            if len(chosen) < count and all(abs(k - other) >= apart for other in chosen):
                chosen.append(k)
        return sorted(chosen, reverse=True)

    def draw_ct(self, axes: Axes, axis: int, place: int, hu: NDArray[np.generic]) -> None:
        """A plane of a CT in a lung window."""
        axes.set_axis_off()
        low, high = LUNG_WINDOW_HU
        aspect = self.spacing_mm[1 if axis == 0 else 0] / self.spacing_mm[2]
        axes.imshow(self._cut(hu, axis, place), cmap="gray", vmin=low, vmax=high, aspect=aspect)

    def draw_change(self, axes: Axes, axis: int, place: int) -> None:
        """The change over a plane, and the lungs' outline."""
        change, lung = self._cut(self.change, axis, place), self._cut(self.lungs, axis, place)
        alpha = np.where((np.abs(change) >= FLOOR_G_PER_L) & lung, _OPACITY, 0.0)
        aspect = self.spacing_mm[1 if axis == 0 else 0] / self.spacing_mm[2]
        axes.imshow(change, cmap=COLOURS, vmin=-FULL_G_PER_L, vmax=FULL_G_PER_L, alpha=alpha, aspect=aspect)
        if lung.any():
            axes.contour(lung, levels=[0.5], colors=[LUNG_OUTLINE], linewidths=0.35)

    def _cut(self, volume: NDArray[Any], axis: int, place: int) -> NDArray[Any]:
        slices, rows, columns = self.box
        return np.asarray(volume[place, rows, columns] if axis == 0 else volume[slices, place, columns][::-1])


def _extent(mask: NDArray[np.bool_], axis: int, margin: int) -> slice:
    used = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis)))
    if not used.size:
        return slice(0, mask.shape[axis])
    return slice(max(int(used[0]) - margin, 0), min(int(used[-1]) + margin + 1, mask.shape[axis]))


def _colour_bar(figure: Figure, height: float) -> None:
    axes = figure.add_axes((0.34, height * 0.55, 0.32, height * 0.18))
    shown = ScalarMappable(Normalize(-FULL_G_PER_L, FULL_G_PER_L), COLOURS)
    bar = figure.colorbar(shown, cax=axes, orientation="horizontal")
    ends = [-FULL_G_PER_L, -FLOOR_G_PER_L, FLOOR_G_PER_L, FULL_G_PER_L]
    bar.set_ticks(ends, labels=[f"{ends[0]:+.0f}", f"{ends[1]:+.0f}", f"{ends[2]:+.0f}", f"{ends[3]:+.0f} g/L"])
    bar.ax.tick_params(labelsize=6, length=2)
    figure.text(0.33, height * 0.62, _("density lost"), ha="right", va="center", fontsize=7, color="#a34b00")
    figure.text(0.69, height * 0.62, _("density gained"), ha="left", va="center", fontsize=7, color="#14629f")
