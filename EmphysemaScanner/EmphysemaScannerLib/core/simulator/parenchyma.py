"""What destroyed tissue looks like: density taken away, noise and larger vessels kept, thin walls drawn.

The density that is left is set so that simulated patches match real ones (1,337 patches of 31 x 31 pixels of the Chest
Imaging Platform, labelled by experts): medians of -894 HU in normal tissue, -979 HU in panlobular emphysema; the
darkest twentieth of paraseptal patches lies at -1000 HU, of advanced centrilobular ones at -992 HU, noise included.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .lungspace import Floats, LungSpace
from .subtypes import Destruction

AIR_HU = -1000.0
_VESSEL_HU = (-780.0, -560.0)  # from all parenchyma to all vessel
_WALL_HU = -550.0  # of a thin wall that fills its voxel, blur included
_NOISE_MM = 1.4


def destroyable(hu: Floats) -> NDArray[np.bool_]:
    """Voxels that are parenchyma rather than vessel, bronchial wall, nodule or consolidation."""
    parenchyma: NDArray[np.bool_] = hu < sum(_VESSEL_HU) / 2
    return parenchyma


def empty(hu: Floats, space: LungSpace, done: Destruction, rng: np.random.Generator) -> Floats:
    """The CT after the destruction; voxels without destruction and walls stay bit by bit.

    Args:
        hu: canonical CT.
        space: its lungs.
        done: within the lungs' box.
        rng: chance.
    """
    out: Floats = hu.copy()
    inside = out[space.where]
    touched = (done.share > 0) | (done.walls > 0)
    low, high = _VESSEL_HU
    sigma = [0.0, *(_NOISE_MM / s for s in space.spacing_mm[1:])]
    flat = np.minimum(inside, low)  # without the vessels' edges
    grain = np.clip(flat - ndimage.gaussian_filter(flat, sigma, truncate=2), -40, 40)  # noise goes on in holes
    if done.vessels.any():
        thinned = ndimage.grey_erosion(inside, size=(1, 3, 3)) + 0.5 * grain
        inside = inside + done.vessels * np.where(inside > -800, 0.9, 0.35) * np.minimum(thinned - inside, 0)
    gone = np.clip(2 * done.vessels - 1, 0, 1)  # no vessel crosses an air space
    if gone.any():
        gone *= np.clip(0.5 * space.depth / space.spacing_mm[1] - 0.5, 0, 1)  # denser voxels there are chest wall
    vessel = np.clip((inside - low) / (high - low), 0, 1) * (1 - gone)
    left = rng.normal(-984, 5)
    emptied = np.minimum(left + 0.6 * grain, inside)
    changed = inside + done.share * (1 - vessel) * (emptied - inside)
    changed += done.walls * np.maximum(_WALL_HU - changed, 0)
    out[space.where] = np.where(touched & space.mask, changed, out[space.where])
    return out
