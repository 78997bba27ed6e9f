"""Where emphysema destroys tissue: subtype by subtype, to the extent asked for.

The extent is the share of the lungs' voxels that are lesions. A lesion is a voxel that may be destroyed (no vessel, no
wall) and has lost more than ``LESION_ABOVE`` of its tissue; it counts whole, however much it has lost beyond that. What
has lost less does not count: the faint rim of a hole, and in panlobular disease the wide zone over which it fades out.

``patterns`` says which places disease reaches above a threshold; the threshold is solved for the extent, thus met.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .disease import Disease, Subtype
from .lobules import Cells
from .lungspace import Floats, Grain, LungSpace
from .patterns import LESION_ABOVE, Centrilobular, Lobules, Panlobular, Paraseptal, Pattern

TOLERANCE = 0.05  # of the extent asked for; met unless the lungs hold too little tissue that can be destroyed
PSF_MM = 0.55  # standard deviation of a chest CT's in-plane blur, about 1.3 mm full width at half maximum
_ROUNDS = 10
_WALL_WEIGHS = 3.0  # a voxel of wall, in voxels of healthy lung: what a wall adds must not outweigh what is lost
_ARTERY_MM = 4.0  # from a lobule's middle to the artery that is taken for its own
_ARTERY_DEPTH_MM = 4.0  # nearer to the pleura the dense voxels are the chest wall's


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
        lost: NDArray[np.bool_] = self.share - _WALL_WEIGHS * self.walls > LESION_ABOVE
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
    vessels = space.mask & ~destroyable & (space.depth > _ARTERY_DEPTH_MM)
    cells = Cells.of_lobules(space, rng).drawn_to(space.to_mm(np.argwhere(vessels)), _ARTERY_MM)
    lobules = Lobules(space, cells, Grain(4.0, rng))
    solver = _Solver(space, destroyable, rng)
    match disease.subtype:
        case Subtype.CENTRILOBULAR:
            return solver.reach(Centrilobular(space, lobules, target, rng), target)
        case Subtype.PARASEPTAL:
            return solver.reach(Paraseptal(space, target, rng), target)
        case Subtype.PANLOBULAR:
            return solver.reach(Panlobular(space, lobules, target, rng), target)
        case Subtype.MIXED:
            first = target * rng.uniform(0.3, 0.7)
            holes = solver.reach(Centrilobular(space, lobules, first, rng), first)
            second = (
                Paraseptal(space, target - first, rng)
                if rng.random() < 0.5
                else Panlobular(space, lobules, target, rng)
            )
            return solver.reach(second, target, holes)


class _Solver:
    """Finds the threshold at which a pattern fills the lungs to an extent."""

    def __init__(self, space: LungSpace, destroyable: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.space, self.destroyable = space, destroyable
        self.at = tuple(space.index.T)
        self.free = destroyable[self.at]
        self.sigma = [0.0, *(max(PSF_MM / s, 0.35) for s in space.spacing_mm[1:])]

    def reach(self, pattern: Pattern, target: float, before: Destruction | None = None) -> Destruction:
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

    def _drawn(self, pattern: Pattern, threshold: float, before: Destruction | None) -> Destruction:
        chosen = np.flatnonzero(pattern.severity > threshold - pattern.margin)
        at = tuple(axis[chosen] for axis in self.at)
        out: list[Floats] = []
        for number, values in enumerate(pattern.shares(threshold, chosen)):
            field = np.zeros(self.space.mask.shape, np.float32)
            if values.any():
                field[at] = values
                field = ndimage.gaussian_filter(field, self.sigma, truncate=3)
            if before:
                earlier = (before.share, before.walls, before.vessels)[number]
                # holes open into walls that were there
                field = np.maximum(field, earlier) if number != 1 else np.maximum(field, earlier * (1 - out[0]))
            out.append(field * self.space.mask)
        return Destruction(*out)
