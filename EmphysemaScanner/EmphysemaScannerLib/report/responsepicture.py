"""The parametric response map over the CT: axial and coronal pictures, each beside the bare CT."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..i18n import tr as _
from ..lungs.expiration import Response
from .contents import Case
from .montage import WIDTH_INCHES, Plane, Volume, aspect_of, draw_plane, label, spread

_PAIRS, _AXIAL_ROWS = 2, 2  # pictures beside each other, each with its bare CT
_LEGEND_INCHES = 0.35
_OPACITY = 0.8
_COLOURS = ListedColormap([(0.0, 0.0, 0.0, 0.0), *((*response.colour, _OPACITY) for response in Response)])


def response_picture(case: Case) -> Figure:
    """Four axial pictures from the apices to the bases, then two coronal ones, and the colours of the classes.

    Raises:
        ValueError: the result has no response map.
    """
    pair = case.result.expiration
    if pair is None or pair.response is None:
        raise ValueError("the result has no response map")
    volume, response = Volume(case), pair.response
    lungs = slice(*(int(k) for k in np.flatnonzero(volume.mask.any((1, 2)))[[0, -1]]))
    levels = spread(lungs, _PAIRS * _AXIAL_ROWS)[::-1]
    rows, columns = volume.box[1], volume.box[2]
    axial = [(volume.axial(k), response[k, rows, columns]) for k in levels]
    coronal = [(volume.coronal(k), response[volume.box[0], k, columns][::-1]) for k in spread(rows, _PAIRS)]
    cell = WIDTH_INCHES / (2 * _PAIRS)
    heights = [cell * aspect_of(axial[0][0])] * _AXIAL_ROWS + [cell * aspect_of(coronal[0][0])]
    total = sum(heights) + _LEGEND_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, total), dpi=200, facecolor="white")
    positions = case.result.lung_mask.grid.slice_positions_mm()
    top = total
    pictures = [*axial, *coronal]
    for row, height in enumerate(heights):
        top -= height
        for place in range(_PAIRS):
            number = row * _PAIRS + place
            for bare in (True, False):
                left = (2 * place + (not bare)) / (2 * _PAIRS)
                axes = figure.add_axes((left, top / total, 0.995 / (2 * _PAIRS), (height - 0.02) / total))
                _draw(axes, *pictures[number], bare)
                if bare:
                    known = row < _AXIAL_ROWS
                    label(axes, f"S {positions[levels[number]]:.0f} mm" if known else _("coronal"), "left", "top")
                    label(axes, "R", "left", "bottom")
                    label(axes, "L", "right", "bottom")
    patches = [Patch(facecolor=response.colour, label=response.label()) for response in reversed(Response)]
    figure.legend(handles=patches, loc="lower center", ncols=len(patches), fontsize=7, frameon=False)
    return figure


def _draw(axes: Axes, plane: Plane, classes: NDArray[np.uint8], bare: bool) -> None:
    draw_plane(axes, plane, None)
    if bare:
        return
    aspect = plane.pixel_mm[0] / plane.pixel_mm[1]
    axes.imshow(classes, cmap=_COLOURS, vmin=0, vmax=max(Response), aspect=aspect, interpolation="nearest")
    if plane.lung.any():
        axes.contour(plane.lung, levels=[0.5], colors=["white"], linewidths=0.35)
