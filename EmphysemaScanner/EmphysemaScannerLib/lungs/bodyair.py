"""Air that the body encloses in each axial slice; the table and what lies around the patient are left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .coarse import GAS_BELOW_HU, Coarse, largest_piece
from .morphology import Mask, box, dilated, eroded

WITHIN_SLICE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3])
_THINNEST_MM = 2.0  # thing that may join table and body
_THIN_WALL_MM = 9.0  # how far from thicker parts a chest wall may be thinner than that
_GOES_ON = 0.5  # share of a space in a slice that must lie over a space of the next slice to belong to it

Numbers = NDArray[np.int32]


def air_inside_body(coarse: Coarse) -> Mask:
    """Find the air inside the body, a lung that the field of view cuts included.

    A space that reaches the edge of the field of view in a slice lies outside of the body, unless it carries on one
    that the body encloses in the next slice and is not as light as free air.
    """
    tissue = coarse.tissue
    rim = coarse.radius(_THINNEST_MM)
    # What was not measured is as solid as the body: a chest wall of which the view leaves a sliver stays closed.
    body = largest_piece(dilated(eroded(tissue, rim), rim) & ~coarse.outside)
    body |= tissue & dilated(body, coarse.radius(_THIN_WALL_MM))
    where = box(body, (1, 1, 1))
    spaces, count = ndimage.label(~(body | coarse.outside)[where], WITHIN_SLICE)
    is_open = np.zeros(count + 1, bool)
    at_edge = dilated(coarse.outside[where], (0, 1, 1)) if coarse.outside.any() else np.zeros_like(spaces, bool)
    at_edge[:, [0, -1]] = at_edge[:, :, [0, -1]] = True
    is_open[spaces[at_edge]] = True
    is_open[0] = False  # the body's own rim, which the opening may have rounded over some air
    air = np.zeros_like(tissue)
    air[where] = ~is_open[spaces] & ~tissue[where]
    cut = _cut_by_view(spaces, is_open, air[where], coarse.hu[where])
    if cut.any():
        air[where] |= cut[spaces] & ~tissue[where]
    return air


def _cut_by_view(spaces: Numbers, is_open: NDArray[np.bool_], air: Mask, hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the open spaces are cut by the field of view and belong to the body: (numbers of spaces,)."""
    sizes = np.bincount(spaces.ravel(), minlength=len(is_open))
    free_air = np.bincount(spaces[hu < GAS_BELOW_HU], minlength=len(is_open))
    wanted = is_open & (free_air < sizes / 2)
    wanted[0] = False
    found = np.zeros(len(is_open), bool)
    open_in = [np.unique(plane[wanted[plane]]) for plane in spaces]
    air = air.copy()
    pending = True
    while pending:
        pending = False
        for step in (1, -1):
            for k in range(len(spaces))[::step]:
                before = k - step
                if not 0 <= before < len(spaces) or not open_in[k].size or not air[before].any():
                    continue
                over = np.bincount(spaces[k][air[before]], minlength=len(is_open))[open_in[k]]
                joined = open_in[k][over >= _GOES_ON * sizes[open_in[k]]]
                if joined.size:
                    found[joined] = True
                    air[k] |= np.isin(spaces[k], joined)
                    open_in[k] = np.setdiff1d(open_in[k], joined)
                    pending = True
    return found
