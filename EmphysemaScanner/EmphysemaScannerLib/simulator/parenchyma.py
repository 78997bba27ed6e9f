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

_DENSE_HU = -670.0  # vessel or wall rather than parenchyma
_TISSUE_HU = 40.0  # vessels, walls and the chest wall, where they fill a voxel
_TEXTURE_HU = 100.0  # how much denser than usual a voxel without vessels may be
_NOISE_MM = 1.4


def destroyable(hu: Floats) -> NDArray[np.bool_]:
    """Voxels that are parenchyma rather than vessel, bronchial wall, nodule or consolidation."""
    parenchyma: NDArray[np.bool_] = hu < _DENSE_HU
    return parenchyma


def parenchyma_hu(hu: Floats) -> float:
    """Usual density between the vessels, of a chest's lung voxels in HU."""
    return float(np.percentile(hu, 35))


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
    usual = parenchyma_hu(inside[space.mask])
    within = np.clip(0.5 * space.depth / space.spacing_mm[1] - 0.5, 0, 1)  # what is denser at the pleura is chest wall
    most = usual + _TEXTURE_HU * within  # of parenchyma
    sigma = [0.0, *(_NOISE_MM / s for s in space.spacing_mm[1:])]
    flat = np.minimum(inside, usual + _TEXTURE_HU)  # without the vessels' edges
    grain = np.clip(flat - ndimage.gaussian_filter(flat, sigma, truncate=2), -40, 40)  # noise goes on in holes
    if done.vessels.any():
        vessels = done.vessels * within
        thinned = ndimage.grey_erosion(inside, size=(1, 3, 3)) + 0.5 * grain
        inside = inside + vessels * np.where(inside > most, 0.9, 0.35) * np.minimum(thinned - inside, 0)
        gone = np.clip(2 * vessels - 1, 0, 1)  # no vessel crosses an air space
        inside = inside + gone * np.minimum(usual + grain - inside, 0)
    lung = np.minimum(inside, most)
    dense = np.clip((inside - most) / (_TISSUE_HU - most), 0, 1)  # vessel's or chest wall's share of a voxel
    emptied = np.minimum(rng.normal(-984, 5) + 0.6 * grain, lung)
    changed = inside + done.share * (1 - dense) * (emptied - lung)
    changed += done.walls * np.maximum(_TISSUE_HU - changed, 0)
    out[space.where] = np.where(touched & space.mask, changed, out[space.where])
    return out
