"""Low density at the CT's own resolution, on a network's grid; needs no PyTorch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ct.grid import Computed
from .preprocessing import Labels, View

LOW_HU = -950  # as in LAA%-950


def low_share(
    hu: NDArray[np.generic],
    labels: Labels,
    view: View,
    lung: NDArray[np.float32],
    within: tuple[slice, ...] = (slice(None),) * 3,
) -> NDArray[np.float32]:
    """The share of the lung in each voxel of a network's grid that is below -950 HU at the CT's own resolution.

    Args:
        hu: the canonical CT.
        labels: its lungs, on its voxels; not 0 inside.
        view: what the network reads.
        lung: how much of each voxel of the grid is lung, as ``view.share`` gives it.
        within: a box of the CT outside of which there is no lung.

    Returns:
        (slices, rows, columns), 0 to 1; 0 where there is no lung.
    """
    low = Computed(lambda plane, lungs: np.less(plane, LOW_HU) & (lungs > 0), (hu, labels))
    share: NDArray[np.float32] = np.zeros_like(lung)
    np.divide(view.share(low, within=within), lung, out=share, where=lung > 0)
    return share.clip(0, 1)
