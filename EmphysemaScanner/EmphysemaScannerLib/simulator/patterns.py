"""What each subtype looks like: where in the lungs it comes first, and what it leaves of the tissue there.

Morphology and distribution after Lynch et al., "CT-definable subtypes of chronic obstructive pulmonary disease: a
statement of the Fleischner Society" (Radiology 2015). Centrilobular: small round holes without walls of their own about
the lobule's artery, upper lungs first; they grow together (confluent) until lobules are left with their septa alone
(advanced destructive). Paraseptal: one layer of air spaces with thin walls under the pleura and along fissures, few of
them bullae. Panlobular: a loss without holes or borders, greatest at the lungs' base, with fewer and thinner vessels.

Every hole or lobule has a *liability*. Disease of a severity reaches all places whose liability is above a threshold,
and the holes there have grown by how far it is above.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .lobules import Cells, wall_share
from .lungspace import Floats, Grain, LungSpace

LESION_ABOVE = 0.35  # share of a voxel's tissue destroyed from which it counts as lesion
_LARGEST_GROWTH = 2.4
_BEGUN = LESION_ABOVE / 0.7  # how much older a lobule that empties as a whole is when it is a lesion


@dataclass(frozen=True)
class Lobules:
    """The lobules of a pair of lungs, with septa that are no planes."""

    space: LungSpace
    cells: Cells
    bent: Grain

    @cached_property
    def of_voxels(self) -> tuple[NDArray[np.int64], Floats]:
        """Of every lung voxel the lobule, and the distance in mm to its septum."""
        points = self.space.points
        return self.cells.of(points + self.bent.at(points)[:, None])


class Pattern:
    """A subtype in one pair of lungs: the lung voxels' severity, and the shares at a threshold of it."""

    severity: Floats  # (N,) of the lung voxels; -inf where this pattern never comes
    margin = 0.0  # severity below the threshold from which some tissue is lost

    def shares(self, threshold: float, chosen: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Destroyed share, wall share and vessel thinning of the chosen lung voxels, each (M,) from 0 to 1.

        Args:
            threshold: of the severity; disease is where a voxel's severity exceeds it.
            chosen: (M,) numbers of lung voxels, in the order of ``severity``.
        """
        raise NotImplementedError


class Centrilobular(Pattern):
    """Round holes, each a centre, a radius and a liability; they grow with severity, and old lobules empty as a whole.

    A voxel belongs to the hole that reaches it first. Holes have no rim: their tissue thins out over ``edge`` mm.
    """

    def __init__(self, space: LungSpace, lobules: Lobules, target: float, rng: np.random.Generator) -> None:
        self.space, sites = space, lobules.cells.sites
        back = sites[:, 1] / space.size_mm[1]
        self.of_site = (
            rng.uniform(3.0, 5.5) * space.height(sites)
            + rng.uniform(0, 1) * back
            + 0.6 * space.patchiness(sites, rng)
            + 0.45 * rng.standard_normal(len(sites))
        ).astype(np.float32)
        count = 1 + rng.poisson(1.6 + 3 * target, len(sites))
        of = np.repeat(np.arange(len(sites)), count)
        self.centres = sites[of] + rng.normal(0, 2.2 + 2 * target, (len(of), 3)).astype(np.float32)
        typical = rng.uniform(1.1, 1.7) + 1.2 * min(target / 0.3, 1)
        self.radius = np.clip(typical * np.exp(rng.normal(0, 0.3, len(of))), 0.7, 4.5).astype(np.float32)
        self.liability = (self.of_site[of] + 0.3 * rng.standard_normal(len(of))).astype(np.float32)
        self.edge = rng.uniform(0.6, 2.4, len(of)).astype(np.float32)
        self.septum_mm = float(rng.uniform(0.5, 1.0))
        self.emptied = rng.uniform(0.7, 1.0, len(of)).astype(np.float32)
        self.leaves = rng.uniform(0.2, 1.0, len(sites)).astype(np.float32)  # how much of its septa a lobule keeps
        self.owner, self.nearness = self._nearest(Grain(1.6, rng))
        self.cell, self.to_wall = lobules.of_voxels
        self.confluent = 1.3 + 0.15 / target  # how old a lobule must be to empty as a whole
        whole = self.of_site[self.cell] - self.confluent - _BEGUN
        self.severity = np.maximum(self.nearness, whole).astype(np.float32)

    def _nearest(self, grain: Grain) -> tuple[NDArray[np.int32], Floats]:
        """Of each lung voxel the hole that reaches it first, and at which threshold."""
        space, spacing = self.space, np.array(self.space.spacing_mm)
        shape = space.mask.shape
        first = np.full(shape, -np.inf, np.float32)
        owner = np.zeros(shape, np.int32)
        for number, (centre, r) in enumerate(zip(self.centres, self.radius, strict=True)):
            reach = r * _LARGEST_GROWTH
            low = np.maximum(np.floor((centre - reach) / spacing).astype(int), 0)
            high = np.minimum(np.ceil((centre + reach) / spacing).astype(int) + 1, shape)
            if (low >= high).any():
                continue
            z, y, x = (
                ((np.arange(a, b) + 0.5) * s - c) ** 2 for a, b, c, s in zip(low, high, centre, spacing, strict=True)
            )
            distance = np.sqrt(z[:, None, None] + y[:, None] + x).astype(np.float32)
            came = self.liability[number] - distance / r
            came[distance > reach] = -np.inf
            part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            before, owns = first[part], owner[part]
            owns[came > before] = number
            np.maximum(before, came, out=before)
        at = tuple(space.index.T)
        nearness = first[at]
        within = np.isfinite(nearness)
        nearness[within] += 0.22 * grain.at(space.to_mm(space.index[within]))  # no hole is a ball
        return owner[at], nearness

    def _filled(self, threshold: float, chosen: NDArray[np.int64]) -> Floats:
        """The share of each voxel's slice thickness that its hole takes: holes may be smaller than slices are thick."""
        owner = self.owner[chosen]
        off = self.space.to_mm(self.space.index[chosen]) - self.centres[owner]
        ideal = self.liability[owner] - np.linalg.norm(off, axis=1) / self.radius[owner]
        radius = np.minimum(self.liability[owner] - threshold, _LARGEST_GROWTH)
        nearness = np.maximum(self.nearness[chosen], -1e3)
        radius = np.maximum((radius + nearness - ideal) * self.radius[owner], 0)
        half = np.sqrt(np.maximum(radius**2 - off[:, 1] ** 2 - off[:, 2] ** 2, 0))
        thick = self.space.spacing_mm[0]
        z = np.abs(off[:, 0])
        overlap = np.minimum(z + thick / 2, half) - np.maximum(z - thick / 2, -half)
        soft = np.clip(0.25 + (nearness - threshold) * self.radius[owner] / self.edge[owner], 0, 1)
        share: Floats = (np.clip(overlap / thick, 0, 1) * soft).astype(np.float32)
        return share

    def shares(self, threshold: float, chosen: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """As ``Pattern.shares``: a hole takes more the older it is, and old lobules empty but for their septa."""
        owner, cell = self.owner[chosen], self.cell[chosen]
        age = np.clip(self.liability[owner] - threshold, 0, 2)
        share = self._filled(threshold, chosen) * self.emptied[owner] * (0.65 + 0.35 * np.minimum(age, 1))
        whole = np.clip(0.7 * (self.of_site[cell] - threshold - self.confluent), 0, 1)
        share = share + whole * (1 - share)
        septa = wall_share(self.to_wall[chosen], self.septum_mm, self.space.spacing_mm[2]) * self.leaves[cell]
        share *= 1 - septa
        vessels = share * np.clip(age - 0.8, 0, 0.5)
        return share.astype(np.float32), np.zeros_like(share), vessels.astype(np.float32)


@dataclass(frozen=True)
class _Spaces:
    """Air spaces side by side under a surface: where each touches it, and its size and depth in mm.

    Attributes:
        sites: (M, 3), mm.
        radius: half the width, (M,).
        deep: how far it reaches into the lung at most, (M,).
        bulla: which are bullae, (M,).
        at_fissure: which lie along a fissure instead of the pleura, (M,).
    """

    sites: Floats
    radius: Floats
    deep: Floats
    bulla: NDArray[np.bool_]
    at_fissure: NDArray[np.bool_]

    @classmethod
    def under(cls, space: LungSpace, fissure: Floats, typical: float, rng: np.random.Generator) -> _Spaces:
        """As many as find room, the large ones first.

        Args:
            space: the lungs.
            fissure: distance of every lung voxel to a fissure in mm.
            typical: half a space's width in mm.
            rng: chance.
        """
        points, depth = space.points, space.depth[tuple(space.index.T)]
        skin = max(space.spacing_mm)
        surface = np.flatnonzero((depth < skin) | ((fissure < skin) & (rng.random(len(points)) < 0.25)))
        tried = surface[rng.integers(0, len(surface), round(3e5 / typical**2))]
        radius = np.clip(typical * np.exp(rng.normal(0, 0.35, len(tried))), 1.5, 10)
        bulla = rng.random(len(tried)) < rng.uniform(0, 0.004)
        radius = np.where(bulla, np.clip(radius * rng.uniform(2, 4, len(tried)), 6, 28), radius)
        neighbours = cKDTree(points[tried])
        taken = np.zeros(len(tried), bool)
        kept: list[int] = []
        for number in np.argsort(-radius, kind="stable"):
            if not taken[number]:
                kept.append(int(number))
                taken[neighbours.query_ball_point(points[tried[number]], 1.6 * radius[number])] = True
        deep = radius[kept] * np.clip(rng.normal(1.5, 0.3, len(kept)), 0.8, 2.2)
        chosen = tried[kept]
        return cls(
            points[chosen], radius[kept].astype(np.float32), deep.astype(np.float32), bulla[kept], depth[chosen] >= skin
        )

    def liability(self, space: LungSpace, rng: np.random.Generator) -> Floats:
        """Upper lungs and their back first, bullae before others, few along fissures and about the hilum."""
        z, x = (np.abs(self.sites[:, axis] - space.size_mm[axis] / 2) for axis in (0, 2))
        at_hilum = np.exp(-((z / 50) ** 2) - (x / 60) ** 2)  # the lungs' surface there is that of large vessels
        liability: Floats = (
            rng.uniform(3.5, 6) * space.height(self.sites)
            - rng.uniform(0, 1) * self.sites[:, 1] / space.size_mm[1]
            - 2.0 * at_hilum
            + 0.8 * space.patchiness(self.sites, rng, 7)
            + 0.3 * rng.standard_normal(len(self.sites))
            + 0.7 * self.bulla
            - 0.7 * self.at_fissure
        ).astype(np.float32)
        return liability


class Paraseptal(Pattern):
    """One layer of round air spaces under the pleura, as deep as they are wide or less, walls or some lung between."""

    def __init__(self, space: LungSpace, target: float, rng: np.random.Generator) -> None:
        self.space = space
        points, depth = space.points, space.depth[tuple(space.index.T)]
        fissure = space.fissure_distance(points, rng)
        spaces = _Spaces.under(space, fissure, rng.uniform(2.0, 3.5) + 3.5 * min(target / 0.3, 1), rng)
        self.liability = spaces.liability(space, rng)
        self.wall_mm = float(rng.uniform(0.1, 0.4))
        self.emptied = rng.uniform(0.85, 1.0, len(spaces.sites)).astype(np.float32)
        surface = np.minimum(depth, fissure) if spaces.at_fissure.any() else depth
        near = np.flatnonzero(surface < spaces.deep.max())
        warped = points[near] + 1.1 * Grain(3.5, rng).at(points[near])[:, None]
        cell, to_wall = Cells(spaces.sites).of(warped, round_mm=0.5)
        beneath = np.where(spaces.at_fissure[cell], fissure[near], depth[near])
        aside = np.clip(to_wall / (0.8 * spaces.radius[cell]), 0, 1)
        dome = spaces.deep[cell] * (0.2 + 0.8 * np.sqrt(aside * (2 - aside)))
        patchy = Grain(6.0, rng).at(points[near])
        needed = np.maximum(2 * beneath / dome - 1, 0) / 2  # spaces get deeper with severity
        severity = np.where(beneath < 1.1 * dome, self.liability[cell] - needed, -np.inf)
        self.severity = self._spread(near, severity, -np.inf)
        self.cell = self._spread(near, cell, 0).astype(np.int64)
        self.to_wall, self.beneath, self.dome, self.between = (
            self._spread(near, values, 0)
            for values in (to_wall, beneath, dome, np.clip(0.35 * patchy, 0, 1))  # mm of lung left on each side
        )
        self.firm = self._spread(near, np.clip(0.6 + 0.4 * patchy, 0, 1), 0)  # of a wall: some are hardly seen

    def _spread(self, near: NDArray[np.int64], values: NDArray[np.generic], other: float) -> Floats:
        """Values of some lung voxels as an array over all."""
        out = np.full(len(self.space.index), other, np.float32)
        out[near] = values
        return out

    def shares(self, threshold: float, chosen: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """As ``Pattern.shares``: spaces deepen with severity, and the walls between them stay."""
        cell, voxel = self.cell[chosen], self.space.spacing_mm[2]
        age = np.clip(self.liability[cell] - threshold, 0, 0.5)
        to_rim = self.dome[chosen] * (0.5 + age) - self.beneath[chosen]
        to_side = self.to_wall[chosen] - self.between[chosen] * (1 - age)
        filled = np.clip(np.minimum(to_rim, to_side) / voxel + 0.5, 0, 1)
        walls = self.firm[chosen] * np.maximum(
            wall_share(self.to_wall[chosen], self.wall_mm, voxel), wall_share(np.abs(to_rim), self.wall_mm, voxel)
        )
        share = filled * self.emptied[cell] * (1 - walls)
        return share.astype(np.float32), walls.astype(np.float32), np.minimum(1, 1.3 * filled).astype(np.float32)


class Panlobular(Pattern):
    """Loss that fades out upwards: no border, no holes; lobules differ a little, and few of their septa are seen."""

    def __init__(self, space: LungSpace, lobules: Lobules, target: float, rng: np.random.Generator) -> None:
        self.space, sites = space, lobules.cells.sites
        of_site = (
            -rng.uniform(2.5, 4.0) * (space.height(sites) - 0.3 * sites[:, 1] / space.size_mm[1])
            + 0.3 * space.patchiness(sites, rng)
            + 0.12 * rng.standard_normal(len(sites))
        )
        points = space.points
        self.cell, self.to_wall = lobules.of_voxels
        smooth = -rng.uniform(0.5, 1.0) * space.height(points) + 0.15 * Grain(6.0, rng).at(points)
        self.severity = (of_site[self.cell] + smooth).astype(np.float32)
        self.slope = float(rng.uniform(0.25, 0.45) + 0.5 * min(target / 0.3, 1))
        self.margin = LESION_ABOVE / self.slope
        self.emptied = float(rng.uniform(0.8, 1.0))
        self.grain = Grain(1.8, rng)
        self.leaves = rng.uniform(0, 0.6, len(sites)).astype(np.float32)

    def shares(self, threshold: float, chosen: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """As ``Pattern.shares``: loss rises linearly with severity, from a little below the threshold on."""
        share = self.emptied * np.clip(1.2 * LESION_ABOVE + self.slope * (self.severity[chosen] - threshold), 0, 1)
        share *= 1 + 0.025 * self.grain.at(self.space.to_mm(self.space.index[chosen]))
        septa = wall_share(self.to_wall[chosen], 0.5, self.space.spacing_mm[2]) * self.leaves[self.cell[chosen]]
        share = np.clip(share * (1 - septa), 0, 0.97).astype(np.float32)
        return share, np.zeros_like(share), 0.7 * share
