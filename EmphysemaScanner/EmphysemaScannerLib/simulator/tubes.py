"""Balls and tubes drawn into the lungs: cysts, nodules, bronchi."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .lobules import wall_share
from .lungspace import Floats, Grain, LungSpace


@dataclass(frozen=True)
class Shape:
    """Distances in mm from a point or a line, within a part of the lungs' box.

    Attributes:
        where: the part.
        distance: from the middle, divided by how wide the shape is there (1 where it is as wide as asked for).
        voxel_mm: over which edges are softened.
    """

    where: tuple[slice, ...]
    distance: Floats
    voxel_mm: float

    @classmethod
    def ball(
        cls, space: LungSpace, centre: Floats, reach_mm: float, rng: np.random.Generator, rough: float = 0.1
    ) -> Shape:
        """About a point.

        Args:
            space: the lungs.
            centre: (3,) in mm.
            reach_mm: the largest radius that is painted.
            rng: chance.
            rough: how far from round, as a share of the radius.
        """
        where, points = _around(space, centre[None], 1.5 * reach_mm)
        off = (points - centre) * rng.uniform(0.85, 1.15, 3)
        distance = np.linalg.norm(off, axis=-1)
        grain = Grain(max(1.5, 0.5 * reach_mm), rng).at(points.reshape(-1, 3)).reshape(distance.shape)
        return cls(where, (distance * (1 + rough * grain)).astype(np.float32), space.spacing_mm[2])

    @classmethod
    def tube(
        cls, space: LungSpace, path: Floats, reach_mm: float, taper: float, varicose: float, rng: np.random.Generator
    ) -> Shape:
        """Along a line.

        Args:
            space: the lungs.
            path: (points, 3) in mm, its middle line.
            reach_mm: the largest radius that is painted.
            taper: its width at the end, as a share of that at the start.
            varicose: how uneven it is, as a share of its width.
            rng: chance.
        """
        where, points = _around(space, path, reach_mm + space.spacing_mm[0])
        width = np.linspace(1, taper, len(path)) * (
            1 + varicose * np.sin(np.linspace(0, rng.uniform(10, 30), len(path)))
        )
        distance = np.full(points.shape[:3], np.inf, np.float32)
        for at, wide in zip(path, width, strict=True):
            part, near = _near(points, at, 1.3 * reach_mm, space)
            np.minimum(distance[part], np.linalg.norm(near - at, axis=-1) / wide, out=distance[part])
        return cls(where, distance, space.spacing_mm[2])

    def paint(self, hu: Floats, density: float, radius: float, only: NDArray[np.bool_], lighter: bool = True) -> None:
        """Fill the inside.

        Args:
            hu: the lungs' box, changed in place.
            density: in HU.
            radius: in mm.
            only: where it may be painted, of the box's shape.
            lighter: whether densities may be lowered, too.
        """
        share = np.clip((radius - self.distance) / self.voxel_mm + 0.5, 0, 1) * only[self.where]
        change = density - hu[self.where]
        hu[self.where] += share * (change if lighter else np.maximum(change, 0))

    def ring(self, hu: Floats, density: float, radius: float, thickness: float, only: NDArray[np.bool_]) -> None:
        """Draw a wall outside the radius; it only adds density.

        Args:
            hu: the lungs' box, changed in place.
            density: in HU.
            radius: of the wall's inside in mm.
            thickness: of the wall in mm.
            only: where it may be painted, of the box's shape.
        """
        off = np.minimum(np.abs(self.distance - radius - thickness / 2), 1e3)
        share = wall_share(off, thickness, self.voxel_mm) * only[self.where]
        hu[self.where] += share * np.maximum(density - hu[self.where], 0)


def bent(start: NDArray[np.floating], stop: NDArray[np.floating], bend: float, rng: np.random.Generator) -> Floats:
    """A smoothly bent line of points 1 mm apart.

    Args:
        start: (3,) in mm.
        stop: (3,) in mm.
        bend: how far it leaves the straight line, as a share of its length.
        rng: chance.

    Returns:
        (points, 3) in mm.
    """
    length = float(np.linalg.norm(stop - start))
    count = max(6, round(length))
    wander = ndimage.gaussian_filter1d(rng.normal(0, 1, (count, 3)), max(1.0, count / 6), axis=0, mode="reflect")
    wander *= bend * length / max(float(np.abs(wander).max()), 1e-6) * np.sin(np.linspace(0, np.pi, count))[:, None]
    path: Floats = (start + np.linspace(0, 1, count)[:, None] * (stop - start) + wander).astype(np.float32)
    return path


def neighbours(space: LungSpace, count: int, reach_mm: float, rng: np.random.Generator) -> Floats:
    """Points of the lungs around one of them.

    Args:
        space: the lungs.
        count: of points; some may be the same.
        reach_mm: how far they may be from that one.
        rng: chance.

    Returns:
        (points, 3) in mm.
    """
    points = space.random_points(4000, rng)
    near = points[np.linalg.norm(points - points[0], axis=1) < reach_mm]
    chosen: Floats = near[rng.integers(0, len(near), count)]
    return chosen


def _around(space: LungSpace, path: Floats, reach_mm: float) -> tuple[tuple[slice, ...], Floats]:
    """The part of the box around points, and the positions of its voxels (slices, rows, columns, 3)."""
    low = space.voxel_of(path.min(0) - reach_mm)
    high = space.voxel_of(path.max(0) + reach_mm) + 1
    where = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    axes = [(np.arange(a, b) + 0.5) * s for a, b, s in zip(low, high, space.spacing_mm, strict=True)]
    return where, np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)


def _near(points: Floats, at: Floats, reach_mm: float, space: LungSpace) -> tuple[tuple[slice, ...], Floats]:
    first = points[0, 0, 0]
    shape = np.array(points.shape[:3])
    low = np.clip(np.floor((at - reach_mm - first) / space.spacing_mm).astype(int), 0, shape - 1)
    high = np.clip(np.ceil((at + reach_mm - first) / space.spacing_mm).astype(int) + 1, 1, shape)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return part, points[part]
