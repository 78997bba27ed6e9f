"""How well a map finds lesions: pointing game, average precision, rank correlation over slices; without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

Floats = NDArray[np.floating]
LESION_SHARE = 0.25  # a voxel of the network's grid is diseased where lesions fill this much of it
LUNG_SHARE = 0.5  # and is lung where lung fills this much


@dataclass(frozen=True)
class Found:
    """How a map agrees with lesions.

    Attributes:
        pointing: 1 where the highest voxel is diseased, 0 where not; the share of those that are equally high.
        precision: average precision over lung voxels (area under the precision-recall curve).
        chance: share of diseased lung voxels, the average precision of a map that knows nothing.
        slices: Spearman's rank correlation of the map's sum in the lungs of a slice with its lesion volume.
    """

    pointing: float
    precision: float
    chance: float
    slices: float


def found(values: Floats, lesions: Floats, lung: NDArray[np.bool_]) -> Found:
    """Compare a map with lesions.

    Args:
        values: (slices, rows, columns), higher is more suspicious.
        lesions: share of each voxel in lesions, 0 to 1, of the same shape.
        lung: which voxels are lung, of the same shape.

    Returns:
        NaN where there is nothing to find, or the map or the lesions are the same in all slices.
    """
    diseased = (lesions >= LESION_SHARE) & lung
    here, truth = values[lung], diseased[lung]
    if not truth.any():
        return Found(np.nan, np.nan, np.nan, np.nan)
    slices = lung.any((1, 2))
    sums, volumes = (np.where(lung, of, 0).sum((1, 2), dtype=float)[slices] for of in (values, lesions))
    varied = np.ptp(sums) > 0 and np.ptp(volumes) > 0
    return Found(
        pointing=float(truth[here == here.max()].mean()),
        precision=float(average_precision_score(truth, here)),
        chance=float(truth.mean()),
        slices=float(spearmanr(sums, volumes).statistic) if varied else np.nan,
    )


def enlarged(values: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A coarse map on the network's grid: each voxel has the value of the place that its centre lies in."""
    picked = np.ix_(*(((np.arange(n) + 0.5) * m // n).astype(int) for n, m in zip(shape, values.shape, strict=True)))
    enlarged_: NDArray[np.float64] = np.asarray(values, float)[picked]
    return enlarged_


def most_highlighted(
    values: Floats, lung: NDArray[np.bool_], percent: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """The ``percent`` of lung voxels where a map is highest; of equals, some by chance.

    Args:
        values: the map, (slices, rows, columns).
        lung: of the same shape.
        percent: of the lung voxels, 0 to 100.
        rng: chance.

    Returns:
        A mask of the same shape.
    """
    where = np.flatnonzero(lung)
    order = np.lexsort((rng.random(len(where)), -values[lung]))
    chosen = np.zeros(lung.size, bool)
    chosen[where[order[: max(1, round(percent / 100 * len(where)))]]] = True
    return chosen.reshape(lung.shape)
