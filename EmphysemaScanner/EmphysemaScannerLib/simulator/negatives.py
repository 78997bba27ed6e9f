"""What looks like emphysema, or spoils a look at it, and is none: put into cases with and without disease alike.

Appearances after Hansell et al., "Fleischner Society: glossary of terms for thoracic imaging" (Radiology 2008).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import numpy as np
from scipy import ndimage

from ..lungs import LEFT
from . import tubes
from .anatomy import soft_tissue
from .lobules import Cells, wall_share
from .lungspace import Floats, Grain, LungSpace
from .tubes import Shape

AIR_HU = -1000.0


class Negative(Enum):
    """Findings that are no emphysema."""

    CYSTS = "cysts"
    BOWEL_GAS = "bowel gas"
    BRONCHIECTASIS = "bronchiectasis"
    FIBROSIS = "fibrosis"
    CONSOLIDATION = "consolidation"
    NODULES = "nodules"
    PNEUMOTHORAX = "pneumothorax"
    AIR_TRAPPING = "air trapping"


_HOW_OFTEN = {
    Negative.CYSTS: 0.10,
    Negative.BOWEL_GAS: 0.22,
    Negative.BRONCHIECTASIS: 0.12,
    Negative.FIBROSIS: 0.12,
    Negative.CONSOLIDATION: 0.10,
    Negative.NODULES: 0.15,
    Negative.PNEUMOTHORAX: 0.05,
    Negative.AIR_TRAPPING: 0.14,
}


def draw_negatives(rng: np.random.Generator) -> tuple[Negative, ...]:
    """The findings of a random chest; more than a third has none."""
    return tuple(negative for negative, share in _HOW_OFTEN.items() if rng.random() < share)


def add(hu: Floats, space: LungSpace, negatives: tuple[Negative, ...], seed: list[int]) -> Floats:
    """Put findings in.

    Args:
        hu: canonical CT of a chest.
        space: its lungs.
        negatives: which; each depends on the seed and itself alone, not on the others or on the disease.
        seed: of every random choice.
    """
    out: Floats = hu.copy()
    for negative in negatives:
        rng = np.random.default_rng([*seed, list(Negative).index(negative)])
        if negative is Negative.BOWEL_GAS:
            _bowel_gas(out, space, rng)
        else:
            _IN_LUNGS[negative](out[space.where], space, rng)
    return out


def _cysts(hu: Floats, space: LungSpace, rng: np.random.Generator) -> None:
    """One to six thin-walled cysts of 4 to 25 mm anywhere."""
    for centre in space.random_points(int(rng.integers(1, 7)), rng):
        radius = float(np.clip(4 * np.exp(rng.normal(0, 0.45)), 2, 12.5))
        ball = Shape.ball(space, centre, radius + 2, rng)
        ball.paint(hu, AIR_HU + rng.uniform(0, 40), radius, only=space.mask)
        ball.ring(hu, rng.uniform(-700, -450), radius, rng.uniform(0.7, 1.6), only=space.mask)


def _nodules(hu: Floats, space: LungSpace, rng: np.random.Generator) -> None:
    """One to ten solid or ground-glass nodules of 3 to 25 mm."""
    for centre in space.random_points(int(rng.integers(1, 11)), rng):
        radius = float(np.clip(3 * np.exp(rng.normal(0, 0.5)), 1.5, 12.5))
        density = rng.uniform(-680, -450) if rng.random() < 0.25 else rng.uniform(-60, 70)
        Shape.ball(space, centre, radius, rng, 0.25).paint(hu, density, radius, only=space.mask, lighter=False)


def _bronchiectasis(hu: Floats, space: LungSpace, rng: np.random.Generator) -> None:
    """Wide, thick-walled airways from the hilum to the periphery of a part of a lung, arteries beside them."""
    middle = space.size_mm / 2
    for towards in tubes.neighbours(space, int(rng.integers(4, 16)), 45.0, rng):
        side = np.array([0.0, 0.0, np.sign(towards[2] - middle[2]) * 0.18 * space.size_mm[2]])
        hilum = middle + side + rng.normal(0, 8, 3)
        radius = float(rng.uniform(1.8, 4.5))
        path = tubes.bent(hilum, hilum + (towards - hilum) * rng.uniform(0.7, 0.95), 0.12, rng)
        path = path[len(path) // 3 :]  # the first third is among the normal bronchi
        tube = Shape.tube(
            space, path, radius + 2.5, taper=rng.uniform(0.6, 1.0), varicose=rng.uniform(0, 0.25), rng=rng
        )
        tube.ring(hu, rng.uniform(-500, -200), radius, rng.uniform(0.8, 1.8), only=space.mask)
        tube.paint(hu, AIR_HU + rng.uniform(5, 50), radius, only=space.mask)
        beside = path + (rng.normal(0, 1, 3) * (radius + 1.5)).astype(np.float32)
        Shape.tube(space, beside, 0.6 * radius, taper=0.5, varicose=0, rng=rng).paint(
            hu, 20, 0.6 * radius, only=space.mask, lighter=False
        )


def _fibrosis(hu: Floats, space: LungSpace, rng: np.random.Generator) -> None:
    """Reticulation under the pleura at the bases and at the back; in some chests honeycombing."""
    points = space.points
    at = tuple(space.index.T)
    reach = rng.uniform(5, 16)
    back = points[:, 1] / space.size_mm[1]
    where = (
        2.0 * np.exp(-space.depth[at] / reach)
        - 1.2 * space.height(points)
        + 0.5 * back
        + 0.25 * space.patchiness(points, rng)
    )
    weight = np.clip((where - np.quantile(where, 1 - rng.uniform(0.06, 0.22))) * 2, 0, 1)
    chosen = np.flatnonzero(weight > 0)
    place = tuple(axis[chosen] for axis in at)
    honeycomb = rng.random() < 0.35
    mesh = rng.uniform(4, 7) if honeycomb else rng.uniform(6, 11)
    some = chosen[rng.integers(0, len(chosen), max(8, round(len(chosen) * np.prod(space.spacing_mm) / mesh**3)))]
    near = points[chosen]
    _, to_wall = Cells(points[some]).relaxed(near[::3]).of(near + 0.8 * Grain(4.0, rng).at(near)[:, None])
    uneven = np.clip(0.6 + 0.5 * Grain(8.0, rng).at(near), 0.1, 1) * weight[chosen]
    lines = wall_share(to_wall, float(rng.uniform(0.8, 1.8)), space.spacing_mm[2]) * uneven
    haze = weight[chosen] * rng.uniform(10, 90) * (1 + 0.3 * Grain(4.0, rng).at(near))
    values = hu[place] + haze
    if honeycomb:
        comb = np.clip(weight[chosen] * 2 - 1, 0, 1) * (space.depth[place] < 0.6 * reach)
        values += comb * (1 - lines) * np.minimum(AIR_HU + 40 - values, 0)
        lines = np.maximum(lines, wall_share(to_wall, 2.0, space.spacing_mm[2]) * comb)
    values += lines * np.maximum(rng.uniform(-550, -250) - values, 0)
    hu[place] = values


def _consolidation(hu: Floats, space: LungSpace, rng: np.random.Generator) -> None:
    """Airless lung in one or two patches, with air left in its bronchi and a hazy border."""
    points = space.points
    at = tuple(space.index.T)
    for centre in space.random_points(int(rng.integers(1, 3)), rng):
        size = rng.uniform(15, 45)
        off = np.linalg.norm((points - centre) * np.array([1, 0.8, 1]), axis=1) / size
        edge = 1 - off + 0.25 * Grain(9.0, rng).at(points) + 0.12 * Grain(3.0, rng).at(points)
        share = np.clip(edge * rng.uniform(1.5, 6), 0, 1) * np.where(hu[at] < -960, 0.2, 1)
        density = rng.uniform(-80, 60) if rng.random() < 0.7 else rng.uniform(-650, -450)
        hu[at] += (share * np.maximum(density + 25 * Grain(2.0, rng).at(points) - hu[at], 0)).astype(np.float32)


def _pneumothorax(hu: Floats, space: LungSpace, rng: np.random.Generator) -> None:
    """Air in front of one lung, up to a thin pleural line; no vessels in it."""
    side = space.labels[space.where] == int(rng.integers(1, 3))
    if not side.any():
        return
    columns, rows_used = np.flatnonzero(side.any((0, 1))), np.flatnonzero(side.any((0, 2)))
    x = (np.arange(side.shape[2]) - columns.mean()) / (0.5 * len(columns))
    z = np.linspace(-1, 1, side.shape[0])[:, None] - rng.uniform(-0.3, 0.5)
    reach = rng.uniform(8, 35) * np.sqrt(np.clip(1.1 - 0.6 * x[None] ** 2 - rng.uniform(0.3, 0.9) * z**2, 0, 1))
    cap = ndimage.gaussian_filter(reach, 2)
    border = rows_used[0] * space.spacing_mm[1] + cap  # air gathers in front, the patient lies on the back
    rows = (np.arange(side.shape[1]) + 0.5) * space.spacing_mm[1]
    beyond = (border[:, None, :] - rows[None, :, None]).astype(np.float32)
    air = np.clip(beyond / space.spacing_mm[1] + 0.5, 0, 1) * side * (cap > 1)[:, None, :]
    line = wall_share(np.abs(beyond), 0.9, space.spacing_mm[1]) * side * (cap > 1)[:, None, :]
    hu += air * (AIR_HU + rng.uniform(0, 12) + 8 * rng.standard_normal(hu.shape, dtype=np.float32) - hu)
    hu += line * np.maximum(-500 - hu, 0)


def _air_trapping(hu: Floats, space: LungSpace, rng: np.random.Generator) -> None:
    """A mosaic: lobules that did not empty are darker than their neighbours, by less than emphysema."""
    points = space.points
    at = tuple(space.index.T)
    lobules = Cells.spread(space, float(rng.uniform(12, 30)), rng)
    cell, to_wall = lobules.of(points)
    liability = space.patchiness(lobules.sites, rng) + 0.8 * rng.standard_normal(len(lobules.sites))
    trapped = liability > np.quantile(liability, 1 - rng.uniform(0.15, 0.5))
    edge = np.clip(to_wall / 1.5, 0, 1)
    darker = np.where(trapped, rng.uniform(0.58, 0.8), rng.uniform(1.0, 1.2))[cell]
    parenchyma = np.clip((-500 - hu[at]) / 200, 0, 1)
    hu[at] += (edge * parenchyma * (hu[at] - AIR_HU) * (darker - 1)).astype(np.float32)


def _bowel_gas(hu: Floats, space: LungSpace, rng: np.random.Generator) -> None:
    """A gas bubble under the left diaphragm, and loops of bowel, gas in front and fluid behind."""
    lung = space.labels > 0
    left = space.labels == LEFT
    if not left.any():
        return
    spacing = np.array(space.spacing_mm)
    for _ in range(int(rng.integers(1, 4))):
        slices = np.flatnonzero(left.any((1, 2)))
        k = int(slices[0] + rng.uniform(0, 0.25) * len(slices))
        organ = soft_tissue(hu[k]) & ~lung[k]
        columns = np.flatnonzero(left.any((0, 1)))
        organ[:, : columns[0]] = False
        organ[:, columns[-1] :] = False
        rows = np.flatnonzero(left.any((0, 2)))
        organ[: rows[0] + len(rows) // 8] = False
        organ[rows[0] + 5 * len(rows) // 8 :] = False
        inner = ndimage.distance_transform_edt(organ, sampling=spacing[1:])
        radius = float(min(rng.uniform(12, 35), 0.9 * inner.max()))
        candidates = np.argwhere(inner > 0.8 * inner.max())
        if radius < 6 or not len(candidates):
            continue
        y, x = candidates[rng.integers(len(candidates))]
        z0, y0, x0 = (
            (np.arange(n) - c) * s / (radius * f)
            for n, c, s, f in zip(hu.shape, (k, y, x), spacing, (0.9, 1.0, 1.25), strict=True)
        )
        near = [np.flatnonzero(np.abs(axis) < 1.2) for axis in (z0, y0, x0)]
        part = tuple(slice(int(n[0]), int(n[-1]) + 1) for n in near)
        rough = (
            0.05 * np.sin(2 * x0[part[2]] + rng.uniform(0, 6))
            + 0.04 * np.sin(3 * y0[part[1]] + rng.uniform(0, 6))[:, None]
        )
        ball = (
            1
            + rough
            - np.sqrt(z0[part[0], None, None] ** 2 + y0[None, part[1], None] ** 2 + x0[None, None, part[2]] ** 2)
        )
        inside = np.clip(ball * radius / spacing[1] + 0.5, 0, 1)
        level = np.clip((rng.uniform(0, 0.8) - y0[part[1]]) * radius / spacing[1] + 0.5, 0, 1)[None, :, None]
        filling = level * (AIR_HU + rng.uniform(5, 40)) + (1 - level) * rng.uniform(0, 30)
        filling = filling + 10 * rng.standard_normal(ball.shape)
        keep = ~lung[part] & (hu[part] > -300)
        hu[part] = np.where(keep, hu[part] + inside * (filling - hu[part]), hu[part])


_IN_LUNGS: dict[Negative, Callable[[Floats, LungSpace, np.random.Generator], None]] = {
    Negative.CYSTS: _cysts,
    Negative.BRONCHIECTASIS: _bronchiectasis,
    Negative.FIBROSIS: _fibrosis,
    Negative.CONSOLIDATION: _consolidation,
    Negative.NODULES: _nodules,
    Negative.PNEUMOTHORAX: _pneumothorax,
    Negative.AIR_TRAPPING: _air_trapping,
}
