"""The chest of a case as a network reads it, and the places of its lungs, from which overlays are learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..cohort.manifest import CohortRow
from ..ct.grid import Grid, canonical, canonical_view
from ..ct.reading import read_ct
from ..lungs.masks import lungs_in
from ..models.lowdensity import low_share
from ..models.modelfile import Model
from ..models.preprocessing import Labels, View

LUNG_SHARE = 0.5  # a place is of the lung where lung fills this much of it
PLACES_PER_CASE = 1000
FINER = 0.9  # a CT tells more than the network's grid where its voxels are smaller than this share of the grid's


@dataclass(frozen=True)
class Chest:
    """A case on a network's grid.

    Attributes:
        x: what the network reads, (1, T, 1, H, W), on its device.
        low: (T, H, W) share of the lung in each voxel below -950 HU; 0 where the CT is no finer than the grid.
        labels: lungs, on the canonical CT's voxels.
        view: the part of the CT that is read.
    """

    x: torch.Tensor
    low: NDArray[np.float32]
    labels: Labels
    view: View

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """The grid of a map of so many slices, rows and columns."""
        slices, rows, columns = shape
        return self.view.grid.resized((slices, rows, columns))

    def lung(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """How much of each place of a map is lung, 0 to 1."""
        return View(self.view.over, self.grid(shape)).share(self.labels)

    def inside(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which places of a map are of the lung: half filled by it, or half as much as the fullest of a coarse map."""
        lung = self.lung(shape)
        inside: NDArray[np.bool_] = lung >= LUNG_SHARE * lung.max()
        return inside


def read_chest(model: Model, row: CohortRow) -> Chest:
    """Read a case as a model does.

    Raises:
        EmphysemaScannerError: (a kind of) its file cannot be read, or there are no lungs.
    """
    preprocessing = model.card.preprocessing
    image = canonical(read_ct(row.volume).image)
    hu, ct = canonical_view(image)
    labels = lungs_in(image, row.masks.for_lungs.read())
    view = preprocessing.view(ct, labels)
    x = torch.from_numpy(preprocessing.normalise(preprocessing.average(hu, view)))[None, :, None]
    x = x.to(next(model.network.parameters()).device)
    low = low_share(hu, labels, view, view.share(labels))
    if not any(step < FINER * of_grid for step, of_grid in zip(ct.spacing_mm, view.grid.spacing_mm, strict=True)):
        low = np.zeros_like(low)
    return Chest(x, low, labels, view)


def some(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Which of so many places stand for their case."""
    return random.choice(count, min(count, PLACES_PER_CASE), replace=False)
