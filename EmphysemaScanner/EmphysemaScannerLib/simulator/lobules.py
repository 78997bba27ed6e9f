"""Secondary pulmonary lobules: polyhedra of 10 to 25 mm that share the lung between them.

Webb, "Thin-section CT of the secondary pulmonary lobule" (Radiology 2006): lobules are irregular polyhedra of 10 to
25 mm, with the artery and bronchiole in the centre and septa of about 0.1 mm between them, of which CT shows a few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .lungspace import Floats, LungSpace


@dataclass(frozen=True)
class Cells:
    """Voronoi cells about sites: each point belongs to the nearest site.

    Attributes:
        sites: (M, 3), mm.
    """

    sites: Floats

    @classmethod
    def spread(cls, space: LungSpace, distance_mm: float, rng: np.random.Generator) -> Cells:
        """Cells of about a width over the lungs, of the unevenness of things that share a space.

        Args:
            space: the lungs.
            distance_mm: typical width of a cell.
            rng: chance.
        """
        volume = len(space.index) * float(np.prod(space.spacing_mm))
        count = max(2, round(volume / (0.7 * distance_mm**3)))
        sample = space.random_points(24 * count, rng)
        return cls(sample[:count]).relaxed(sample).relaxed(sample)

    @classmethod
    def of_lobules(cls, space: LungSpace, rng: np.random.Generator) -> Cells:
        """The lobules of a lung, of a size of its own between 12 and 18 mm in the mean."""
        return cls.spread(space, float(rng.uniform(12, 18)), rng)

    def drawn_to(self, points: NDArray[np.floating], within_mm: float) -> Cells:
        """Cells about the nearest of these points, as of arteries, where one is near; else about their own site."""
        if not len(points):
            return self
        distance, nearest = cKDTree(points).query(self.sites, distance_upper_bound=within_mm)
        near = np.isfinite(distance)
        sites = self.sites.copy()
        sites[near] = points[nearest[near]]
        return Cells(sites)

    def relaxed(self, points: NDArray[np.floating]) -> Cells:
        """Rounder cells (Lloyd): each site moved to the middle of its cell's points."""
        nearest = cKDTree(self.sites).query(points)[1]
        count = np.bincount(nearest, minlength=len(self.sites))[:, None]
        sums = np.stack([np.bincount(nearest, points[:, axis], len(self.sites)) for axis in range(3)], 1)
        return Cells(np.where(count > 0, sums / np.maximum(count, 1), self.sites).astype(np.float32))

    def of(self, points: NDArray[np.floating], round_mm: float = 0) -> tuple[NDArray[np.int64], Floats]:
        """The cell of each point, and its distance in mm to the wall with the next cell.

        Args:
            points: (N, 3), mm.
            round_mm: with it, distances blend where walls meet: what keeps a distance from them has round corners.
        """
        distance, nearest = cKDTree(self.sites).query(points, k=min(3 if round_mm else 2, len(self.sites)))
        own = self.sites[nearest[:, 0]]
        between = np.linalg.norm(self.sites[nearest[:, 1:]] - own[:, None], axis=2)
        to_walls = (distance[:, 1:] ** 2 - distance[:, :1] ** 2) / (2 * np.maximum(between, 1e-3))
        to_wall = to_walls[:, 0]
        if round_mm and to_walls.shape[1] > 1:
            to_wall = -round_mm * np.logaddexp(-to_wall / round_mm, -to_walls[:, 1] / round_mm)
        return nearest[:, 0].astype(np.int64), np.maximum(to_wall, 0).astype(np.float32)


def wall_share(to_wall_mm: Floats, thickness_mm: float, voxel_mm: float) -> Floats:
    """The share of a voxel that a wall between cells fills, from the distance of the voxel's centre to its middle.

    Args:
        to_wall_mm: distance of voxel centres to the wall's middle in mm, any shape.
        thickness_mm: of the wall.
        voxel_mm: width of a voxel.

    Returns:
        From 0 to 1, of the same shape.
    """
    overlap = np.minimum(to_wall_mm + voxel_mm / 2, thickness_mm / 2) - np.maximum(
        to_wall_mm - voxel_mm / 2, -thickness_mm / 2
    )
    share: Floats = np.clip(overlap / voxel_mm, 0, 1).astype(np.float32)
    return share
