"""Where emphysema destroys tissue: subtype by subtype, to the extent asked for.

Morphology and distribution after Lynch et al., "CT-definable subtypes of chronic obstructive pulmonary disease: a
statement of the Fleischner Society" (Radiology 2015). Centrilobular: small round holes near the lobule's centre without
walls of their own, upper lungs first; they grow together (confluent) until lobules are left with their septa alone
(advanced destructive). Paraseptal: rows of sharply bounded holes of up to 10 mm with thin walls under the pleura and
along fissures; above 10 mm bullae. Panlobular: whole lobules of low density, lower lungs first, without holes.

Every hole or lobule has a *liability*. Disease of a severity reaches all places whose liability is above a threshold,
and the holes there have grown by how far it is above; the threshold is solved for the extent, which is thus met.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from .disease import Disease, Subtype
from .lobules import Cells, wall_share
from .lungspace import Floats, Grain, LungSpace

LESION_ABOVE = 0.35  # share of a voxel's tissue destroyed from which it counts as lesion
TOLERANCE = 0.05  # of the extent asked for; met unless the lungs hold too little tissue that can be destroyed
PSF_MM = 0.55  # standard deviation of a chest CT's in-plane blur, about 1.3 mm full width at half maximum
_ROUNDS = 10
_LARGEST_GROWTH = 2.4


@dataclass(frozen=True)
class Destruction:
    """What disease did to the lungs' box.

    Attributes:
        share: share of each voxel's tissue that is gone, 0 to 1, within ``LungSpace.where``.
        walls: share of each voxel filled by new thin walls (paraseptal holes, bullae), same shape.
        vessels: how far vessels are thinned, to 0.5, and from there to 1 gone, same shape.
    """

    share: Floats
    walls: Floats
    vessels: Floats

    @property
    def lesion(self) -> NDArray[np.bool_]:
        """Voxels that lost enough tissue to count as lesion."""
        lost: NDArray[np.bool_] = self.share - self.walls > LESION_ABOVE
        return lost


def destroy(
    space: LungSpace, destroyable: NDArray[np.bool_], disease: Disease, rng: np.random.Generator
) -> Destruction:
    """Destroy tissue to the extent asked for.

    Args:
        space: the lungs.
        destroyable: within the lungs' box, voxels that may become lesion: lung, and no vessel or wall.
        disease: subtype and extent.
        rng: chance.
    """
    target = disease.extent_percent / 100
    lobules = Cells.of_lobules(space, rng)
    solver = _Solver(space, destroyable, rng)
    match disease.subtype:
        case Subtype.CENTRILOBULAR:
            return solver.reach(_Centrilobular(space, lobules, target, rng), target)
        case Subtype.PARASEPTAL:
            return solver.reach(_Paraseptal(space, target, rng), target)
        case Subtype.PANLOBULAR:
            return solver.reach(_Panlobular(space, lobules, rng), target)
        case Subtype.MIXED:
            first = target * rng.uniform(0.3, 0.7)
            holes = solver.reach(_Centrilobular(space, lobules, first, rng), first)
            second = _Paraseptal(space, target - first, rng) if rng.random() < 0.5 else _Panlobular(space, lobules, rng)
            return solver.reach(second, target, holes)


class _Pattern:
    """A subtype in one pair of lungs: the lung voxels' severity, and the shares at a threshold of it."""

    severity: Floats  # (N,) of the lung voxels; -inf where this pattern never comes

    def shares(self, threshold: float, chosen: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Destroyed share, wall share and vessel thinning of the chosen lung voxels."""
        raise NotImplementedError


class _Solver:
    """Finds the threshold at which a pattern fills the lungs to an extent."""

    def __init__(self, space: LungSpace, destroyable: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.space, self.destroyable = space, destroyable
        self.at = tuple(space.index.T)
        self.free = destroyable[self.at]
        self.sigma = [0.0, *(max(PSF_MM / s, 0.35) for s in space.spacing_mm[1:])]

    def reach(self, pattern: _Pattern, target: float, before: Destruction | None = None) -> Destruction:
        wanted = target * len(self.free)
        had = np.count_nonzero(self._lesions(before)) if before else 0
        reachable = np.sort(pattern.severity[self.free & np.isfinite(pattern.severity)])[::-1]
        aim = wanted - had
        best, error = before, np.inf
        low, high = 0.0, float(len(reachable))
        for _ in range(_ROUNDS):  # blur, walls and thick slices make lesions larger or smaller than severity says
            threshold = float(reachable[min(max(int(aim), 0), len(reachable) - 1)])
            tried = self._drawn(pattern, threshold, before)
            reached = float(np.count_nonzero(self._lesions(tried)))
            if abs(reached - wanted) < error:
                best, error = tried, abs(reached - wanted)
            if error <= 0.4 * TOLERANCE * wanted:
                break
            if reached < wanted:
                low = max(low, aim)
            else:
                high = min(high, aim)
            proposed = aim * (wanted - had) / max(reached - had, 1.0)
            aim = proposed if low < proposed < high else (low + high) / 2
        assert best is not None
        return best

    def _lesions(self, done: Destruction) -> NDArray[np.bool_]:
        return done.lesion & self.destroyable

    def _drawn(self, pattern: _Pattern, threshold: float, before: Destruction | None) -> Destruction:
        chosen = np.flatnonzero(pattern.severity > threshold)
        at = tuple(axis[chosen] for axis in self.at)
        out: list[Floats] = []
        for number, values in enumerate(pattern.shares(threshold, chosen)):
            field = np.zeros(self.space.mask.shape, np.float32)
            field[at] = values
            field = ndimage.gaussian_filter(field, self.sigma, truncate=3)
            if before:
                earlier = (before.share, before.walls, before.vessels)[number]
                # holes open into walls that were there
                field = np.maximum(field, earlier) if number != 1 else np.maximum(field, earlier * (1 - out[0]))
            out.append(field * self.space.mask)
        return Destruction(*out)


class _Holes(_Pattern):
    """Round holes: each a centre, a radius and a liability.

    ``growth`` says how far beyond its radius a hole may grow with severity. Growing holes (centrilobular) take a voxel
    in the order in which they reach it; holes that do not grow share it like bubbles, and keep walls between them.
    """

    def __init__(
        self, space: LungSpace, centres: Floats, radius: Floats, liability: Floats, grain: Grain, growth: float
    ) -> None:
        self.space, self.centres, self.radius, self.liability, self.growth = space, centres, radius, liability, growth
        shape = space.mask.shape
        first = np.full(shape, -np.inf, np.float32)
        second = np.full(shape, -np.inf, np.float32)
        owner = np.zeros(shape, np.int32)
        spacing = np.array(space.spacing_mm)
        grows = growth > 1
        for number, (centre, r) in enumerate(zip(centres, radius, strict=True)):
            reach = r * growth
            low = np.maximum(np.floor((centre - reach) / spacing).astype(int), 0)
            high = np.minimum(np.ceil((centre + reach) / spacing).astype(int) + 1, shape)
            if (low >= high).any():
                continue
            z, y, x = (
                ((np.arange(a, b) + 0.5) * s - c) ** 2 for a, b, c, s in zip(low, high, centre, spacing, strict=True)
            )
            distance = np.sqrt(z[:, None, None] + y[:, None] + x).astype(np.float32)
            came = (liability[number] if grows else np.float32(0)) - distance / r
            came[distance > reach] = -np.inf
            part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            before, runner_up, owns = first[part], second[part], owner[part]
            np.maximum(runner_up, np.minimum(before, came), out=runner_up)
            owns[came > before] = number
            np.maximum(before, came, out=before)
        at = tuple(space.index.T)
        self.owner, nearness, self.second = owner[at], first[at], second[at]
        within = np.isfinite(nearness)
        nearness[within] += (0.22 if grows else 0.1) * grain.at(space.to_mm(space.index[within]))  # no hole is a ball
        self.nearness = nearness
        self.severity = nearness if grows else liability[self.owner] + np.where(within, 0.2 * nearness, -np.inf)
        self.severity = self.severity.astype(np.float32)

    def _filled(self, threshold: float, chosen: NDArray[np.int64]) -> Floats:
        """The share of each voxel's slice thickness that its hole takes: holes may be smaller than slices are thick."""
        owner = self.owner[chosen]
        off = self.space.to_mm(self.space.index[chosen]) - self.centres[owner]
        ideal, radius = -np.linalg.norm(off, axis=1) / self.radius[owner], np.ones(len(chosen), np.float32)
        if self.growth > 1:
            ideal += self.liability[owner]
            radius = np.minimum(self.liability[owner] - threshold, self.growth)
        radius = np.maximum((radius + self.nearness[chosen] - ideal) * self.radius[owner], 0)
        half = np.sqrt(np.maximum(radius**2 - off[:, 1] ** 2 - off[:, 2] ** 2, 0))
        thick = self.space.spacing_mm[0]
        z = np.abs(off[:, 0])
        overlap = np.minimum(z + thick / 2, half) - np.maximum(z - thick / 2, -half)
        share: Floats = np.clip(overlap / thick, 0, 1).astype(np.float32)
        return share


class _Centrilobular(_Holes):
    def __init__(self, space: LungSpace, lobules: Cells, target: float, rng: np.random.Generator) -> None:
        sites = lobules.sites
        upper = rng.uniform(2.5, 5.0)
        liability = (
            upper * space.height(sites)
            + 0.8 * space.patchiness(sites, rng)
            + 0.45 * rng.standard_normal(len(sites)).astype(np.float32)
        )
        count = 1 + rng.poisson(1.6 + 3 * target, len(sites))
        of = np.repeat(np.arange(len(sites)), count)
        centres = sites[of] + rng.normal(0, 2.2 + 2 * target, (len(of), 3)).astype(np.float32)
        typical = rng.uniform(1.1, 1.7) + 1.2 * min(target / 0.3, 1)
        radius = np.clip(typical * np.exp(rng.normal(0, 0.3, len(of))), 0.7, 4.5).astype(np.float32)
        each = (liability[of] + 0.3 * rng.standard_normal(len(of))).astype(np.float32)
        super().__init__(space, centres, radius, each, Grain(1.6, rng), _LARGEST_GROWTH)
        self.lobules = lobules
        self.septum_mm = float(rng.uniform(0.5, 1.0))
        self.emptied = rng.uniform(0.6, 1.0, len(of)).astype(np.float32)
        self.leaves = rng.uniform(0.4, 1.0, len(sites)).astype(np.float32)  # how much of its septa a lobule keeps

    def shares(self, threshold: float, chosen: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        owner = self.owner[chosen]
        age = np.clip(self.liability[owner] - threshold, 0, 2)
        share = self._filled(threshold, chosen) * self.emptied[owner] * (0.65 + 0.35 * np.minimum(age, 1))
        points = self.space.to_mm(self.space.index[chosen])
        cell, to_wall = self.lobules.of(points)
        septa = wall_share(to_wall, self.septum_mm, self.space.spacing_mm[2]) * self.leaves[cell]
        share *= 1 - septa
        vessels = share * np.clip(age - 0.8, 0, 0.5)
        return share, np.zeros_like(share), vessels


class _Paraseptal(_Holes):
    def __init__(self, space: LungSpace, target: float, rng: np.random.Generator) -> None:
        typical = rng.uniform(1.8, 3.4) + 5 * min(target / 0.2, 1.5)  # radius in mm
        points = space.points
        depth = space.depth[tuple(space.index.T)]
        fissure = space.fissure_distance(points, rng)
        at_pleura = (depth < typical) | ((fissure < 0.5 * typical) & (rng.random(len(points)) < 0.15))
        near = np.flatnonzero(at_pleura)
        tried = points[near[rng.integers(0, len(near), round(6e5 / typical**2))]]
        radius = np.clip(typical * np.exp(rng.normal(0, 0.35, len(tried))), 1.2, 25)
        bullous = rng.random(len(tried)) < rng.uniform(0, 0.01)
        radius = np.where(bullous, np.clip(radius * rng.uniform(2, 4, len(tried)), 6, 30), radius)
        neighbours = cKDTree(tried)
        taken = np.zeros(len(tried), bool)
        kept: list[int] = []
        for number in np.argsort(-radius):  # side by side, the large ones first
            if not taken[number]:
                kept.append(int(number))
                taken[neighbours.query_ball_point(tried[number], 1.35 * radius[number])] = True
        centres = tried[kept]
        liability = (
            rng.uniform(2.5, 5) * space.height(centres)
            + 1.0 * space.patchiness(centres, rng, 7)
            + 0.3 * rng.standard_normal(len(kept))
        )
        super().__init__(
            space, centres, radius[kept].astype(np.float32), liability.astype(np.float32), Grain(4.0, rng), 1.0
        )
        self.wall_mm = float(rng.uniform(0.6, 1.1))
        self.emptied = rng.uniform(0.88, 1.0, len(kept)).astype(np.float32)

    def shares(self, threshold: float, chosen: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        owner = self.owner[chosen]
        radius, voxel = self.radius[owner], self.space.spacing_mm[2]
        filled = self._filled(threshold, chosen)
        to_next = (self.nearness[chosen] - self.second[chosen]) * radius / 2
        to_rim = (1 + self.nearness[chosen]) * radius
        walls = np.maximum(
            wall_share(np.abs(to_next), self.wall_mm, voxel), wall_share(np.abs(to_rim), self.wall_mm, voxel)
        )
        return filled * self.emptied[owner] * (1 - 0.9 * walls), walls, np.minimum(1, 1.3 * filled)


class _Panlobular(_Pattern):
    def __init__(self, space: LungSpace, lobules: Cells, rng: np.random.Generator) -> None:
        self.space, sites = space, lobules.sites
        lower = rng.uniform(2.0, 4.0)
        of_site = (
            -lower * space.height(sites)
            + 1.0 * space.patchiness(sites, rng)
            + 0.25 * rng.standard_normal(len(sites)).astype(np.float32)
        )
        points = space.points
        self.cell, self.to_wall = lobules.of(points)
        inner = 0.1 * np.minimum(self.to_wall / 4, 1)
        self.severity = (of_site[self.cell] + inner + 0.3 * Grain(5.0, rng).at(points)).astype(np.float32)
        self.emptied = float(rng.uniform(0.8, 1.0))
        self.grain = Grain(1.8, rng)

    def shares(self, threshold: float, chosen: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        above = self.severity[chosen] - threshold
        share = self.emptied * np.clip(0.42 + 0.7 * above, 0, 1)
        share *= 1 + 0.025 * self.grain.at(self.space.to_mm(self.space.index[chosen]))
        septa = wall_share(self.to_wall[chosen], 0.5, self.space.spacing_mm[2])
        share = np.clip(share * (1 - 0.6 * septa), 0, 0.97).astype(np.float32)
        return share, np.zeros_like(share), 0.6 * share
