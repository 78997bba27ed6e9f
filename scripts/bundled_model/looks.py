"""Looks at a chest, as the bundled model learns from them.

What a chest is like is drawn first (``content``): healthy, its diseased twin, both blended along the axis or in spots,
or disease of random texture, depth and place; other density. Then two looks at it are drawn (``look``), which lack the
same parts of the lungs and lie a little beside each other, as another box of another mask would; voxels, kernel and
noise differ. The network is to give both the same answer.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from chests import PREPROCESSING, Chest, Twins
from EmphysemaScannerLib.ct.grid import area_average
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Rng = np.random.Generator

_FIELD_SIZE = 80
_EXTENTS = ((0.008, 0.05), (0.05, 0.2), (0.2, 0.45), (0.45, 0.95))


@dataclass(frozen=True)
class Content:
    """What a chest is like this time: HU, labels of the lungs and the share of each voxel in lesions."""

    hu: Floats
    labels: NDArray[np.uint8]
    lesions: Floats
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Framing:
    """What the looks at a content share.

    Attributes:
        missing: shares of the lungs' slices that are missing at the bottom and at the top.
        turned: upside down, and left to right.
        part: how much of the box's rows and columns is shown.
        at: where, 0 to 1.
        size: rows and columns of the look.
    """

    missing: tuple[float, float]
    turned: tuple[bool, bool]
    part: tuple[float, float]
    at: tuple[float, float]
    size: int


@dataclass(frozen=True)
class Kind:
    """How contents are shown.

    Attributes:
        size: rows and columns of a look.
        cut: chances that the top, the bottom and both ends of the lungs are missing.
        noisy: chance of much noise.
        part: how much of the box's rows and columns is shown, from and to.
        at: where, 0 to 1, from and to.
    """

    size: int
    cut: tuple[float, float, float]
    noisy: float
    part: tuple[float, float]
    at: tuple[float, float]


CROPS = Kind(PREPROCESSING.shape[1] // 2, (0.25, 0.2, 0.15), 0.1, (0.45, 0.75), (0, 1))
WHOLE = Kind(PREPROCESSING.shape[1], (0.27, 0.27, 0.16), 0.2, (1, 1), (0.5, 0.5))
CUT_CROPS = replace(CROPS, cut=WHOLE.cut, noisy=WHOLE.noisy)


@dataclass(frozen=True)
class Look:
    """The network's input (35, size, size), and the share of its voxels in lesions."""

    x: Floats
    lesions: Floats


def draw(rng: Rng, twins: Twins, diseased: bool, kind: Kind, looks: int = 2) -> list[Look]:
    """So many looks at one content."""
    drawn = _other_density(rng, content(rng, twins, diseased), not diseased)
    r = rng.random()
    top, bottom, both = np.cumsum(kind.cut)
    missing = (0.0, 0.0)
    if r < top:
        missing = (0.0, rng.uniform(0, 0.6))
    elif r < bottom:
        missing = (rng.uniform(0, 0.6), 0.0)
    elif r < both:
        missing = (rng.uniform(0, 0.35), rng.uniform(0, 0.35))
    turned = (bool(rng.random() < 0.5), bool(rng.random() < 0.5))
    framing = Framing(missing, turned, _two(rng, *kind.part), _two(rng, *kind.at), kind.size)
    return [look(rng, drawn, framing, kind.noisy) for _ in range(looks)]


def _two(rng: Rng, low: float, high: float) -> tuple[float, float]:
    return float(rng.uniform(low, high)), float(rng.uniform(low, high))


def content(rng: Rng, twins: Twins, diseased: bool) -> Content:
    """A chest without disease, or with disease from its twin, from a part of its twin, or of random texture."""
    well, ill = twins.healthy, twins.diseased
    hu, none = well.hu.astype(np.float32), np.zeros(well.hu.shape, np.float32)
    if not diseased:
        return Content(hu, well.labels, none, well.spacing_mm)
    kind = 1.0 if ill is None else rng.random()
    if ill is not None and kind < 0.3:
        drawn = Content(ill.hu.astype(np.float32), ill.labels, ill.lesions.astype(np.float32), ill.spacing_mm)
    elif ill is not None and kind < 0.6:
        share = _part(rng, well)
        drawn = Content(hu + share * (ill.hu - hu), well.labels, share * ill.lesions, well.spacing_mm)
    else:
        drawn = Content(hu, well.labels, none, well.spacing_mm)
    return _destroyed(rng, drawn, well.parenchyma_hu) if kind >= 0.6 or rng.random() < 0.15 else drawn


def _part(rng: Rng, chest: Chest) -> Floats:
    """Where the twin's disease is taken over: along a part of the axis, or in spots."""
    count = chest.hu.shape[0]
    if rng.random() < 0.6:
        used = np.flatnonzero(chest.labels.any((1, 2)))
        centre, half = rng.uniform(used[0], used[-1]), rng.uniform(0.06, 0.4) * len(used)
        along = (half - np.abs(np.arange(count) - centre)) / max(1.0, 0.05 * count) + 0.5
        return np.clip(along, 0, 1).astype(np.float32)[:, None, None]
    spots = rng.uniform(0.08, 0.5) - _field(rng, chest.hu.shape, chest.spacing_mm, rng.uniform(4, 9))
    return np.clip(spots / 0.04 + 0.5, 0, 1).astype(np.float32)


def _destroyed(rng: Rng, before: Content, parenchyma_hu: float) -> Content:
    """Disease of random texture, depth, softness and place, added to what there is."""
    hu, labels = before.hu, before.labels
    texture = _field(rng, hu.shape, before.spacing_mm, np.exp(rng.uniform(0, np.log(6))))
    band = rng.choice(4, p=[0.3, 0.3, 0.2, 0.2])
    extent = np.exp(rng.uniform(*np.log(_EXTENTS[band])))
    where = _place(rng, labels, small=band < 2)
    soft = rng.uniform(0.02, 0.3) if band > 1 else rng.uniform(0.01, 0.06) * np.clip(extent * 5, 0.3, 1)
    share = np.clip((extent * where - texture) / soft + (0.5 if band < 2 else 0.3), 0, 1) * (where > 0.02)
    share = (share * np.clip((-500 - hu) / 200, 0, 1) * (labels > 0)).astype(np.float32)
    drop = np.float32(min(rng.uniform(-1000, -945) - parenchyma_hu, -35.0))
    return Content(hu + share * drop, labels, np.maximum(before.lesions, share), before.spacing_mm)


def _place(rng: Rng, labels: NDArray[np.uint8], small: bool) -> Floats:
    """How much each place is liable to disease: anywhere along the axis, more towards one end, one lung more."""
    used, r = np.flatnonzero(labels.any((1, 2))), rng.random()
    z = (np.arange(labels.shape[0]) - used[0]) / max(1, len(used))
    where = np.ones((labels.shape[0], 1, 1), np.float32)
    if r < (0.7 if small else 0.3):
        where = np.exp(-0.5 * ((z - rng.uniform(-0.05, 1.05)) / rng.uniform(0.06, 0.5)) ** 2)[:, None, None]
    elif r < 0.55:
        where = (1 + rng.uniform(-0.9, 0.9) * (2 * z - 1))[:, None, None]
    if rng.random() < 0.25:
        where = where * np.where(labels == rng.integers(1, 3), 1, rng.uniform(0, 0.5))
    return where.astype(np.float32)


def _other_density(rng: Rng, drawn: Content, healthy: bool) -> Content:
    """Another breath or calibration, and density that varies over centimetres; healthy lungs stay above -930 HU."""
    hu = drawn.hu
    if rng.random() < 0.5:
        lung = np.clip((-500 - hu) / 200, 0, 1) * (drawn.labels > 0)
        drift = (_field(rng, hu.shape, drawn.spacing_mm, rng.uniform(5, 10)) - 0.5) * rng.uniform(0, 40)
        add = rng.uniform(-30, 40)
        if healthy:
            level = float(np.median(hu[(drawn.labels > 0) & (hu < -600)]))
            add = max(add, min(0.0, -930 - level))
            drift = np.abs(drift) if level + add < -915 else drift
        hu = hu + lung * (np.float32(add) + drift)
    return Content((hu + rng.normal(0, 4)).astype(np.float32), drawn.labels, drawn.lesions, drawn.spacing_mm)


def look(rng: Rng, drawn: Content, framing: Framing, noisy: float) -> Look:
    """One look.

    Args:
        rng: chance.
        drawn: what the chest is like.
        framing: what this look shares with others.
        noisy: how often there is much noise.
    """
    mask, over = _box(rng, drawn, framing)
    if rng.random() < 0.15:  # another mask
        other = (ndimage.binary_erosion if rng.random() < 0.7 else ndimage.binary_dilation)(mask)
        mask = other if other.any() else mask
    shape = (PREPROCESSING.shape[0], framing.size, framing.size)
    seen = np.where(mask, np.maximum(drawn.hu, PREPROCESSING.padding_hu), np.float32(0))  # as beyond the box
    if rng.random() < 0.5:  # voxels of another scan
        wanted = (rng.uniform(3, 5), *([rng.uniform(1, 4.5)] * 2))
        coarse = [
            max(12, round((last - first) * step / mm))
            for (first, last), step, mm in zip(over, drawn.spacing_mm, wanted, strict=True)
        ]
        few = (coarse[0], min(coarse[1], 2 * framing.size), min(coarse[2], 2 * framing.size))
        hu = area_average(area_average(seen, few, over=over), shape)
    else:
        hu = area_average(seen, shape, over=over)
    share = area_average(drawn.lesions * mask, shape, over=over).clip(0, 1)
    down, across = (slice(None, None, -1 if turned else 1) for turned in framing.turned)
    hu = _scanned(rng, hu[down, :, across], noisy)
    return Look(PREPROCESSING.normalise(hu), np.ascontiguousarray(share[down, :, across]))


def _box(rng: Rng, drawn: Content, framing: Framing) -> tuple[NDArray[np.bool_], tuple[tuple[float, float], ...]]:
    """The lungs that are left, and the box that is shown of them: its edges are moved, now and then far."""
    mask = drawn.labels > 0
    used = np.flatnonzero(mask.any((1, 2)))
    low, count = used[0], used[-1] + 1 - used[0]
    first, last = low + int(framing.missing[0] * count), low + count - int(framing.missing[1] * count)
    if last - first < 8 or not mask[first:last].any():
        first, last = low, low + count
    mask = mask.copy()
    mask[:first] = mask[last:] = False

    def edge(step: float, count: int, missing: bool) -> float:
        if rng.random() < 0.1:
            return float(rng.uniform(0, 0.2) * count)
        return float((rng.uniform(-3, 5) if missing else rng.uniform(-1, 11)) / step)  # the product's margin is 5 mm

    deep = drawn.spacing_mm[0]
    over = [
        (
            first - edge(deep, last - first, framing.missing[0] > 0),
            last + edge(deep, last - first, framing.missing[1] > 0),
        )
    ]
    for axis, part, at in zip((1, 2), framing.part, framing.at, strict=True):
        inside = np.flatnonzero(mask.any((0, 3 - axis)))
        step = drawn.spacing_mm[axis]
        a = inside[0] - edge(step, len(inside), False)
        b = inside[-1] + 1 + edge(step, len(inside), False)
        width = (b - a) * part * rng.uniform(0.97, 1.03)
        start = a + np.clip(at + rng.normal(0, 0.01), 0, 1) * (b - a - width)
        over.append((float(start), float(start + width)))
    return mask, tuple(over)


def _scanned(rng: Rng, hu: Floats, noisy: float) -> Floats:
    """Another kernel and another dose, on the network's grid."""
    lung, r = np.clip((-300 - hu) / 300, 0, 1), rng.random()
    if r < 0.25:
        hu = ndimage.gaussian_filter(hu, (0, *[rng.uniform(0.2, 0.7)] * 2))
    elif r < 0.4:
        hu = hu + rng.uniform(0.2, 0.7) * (hu - ndimage.gaussian_filter(hu, (0, 0.8, 0.8)))
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    if rng.random() < 0.4:
        noise = ndimage.gaussian_filter(noise, (0, *[rng.uniform(0.5, 1.0)] * 2))
        noise /= noise.std()
    strength = rng.uniform(12, 30) if rng.random() < noisy else abs(rng.normal(0, 9))
    scanned: Floats = (hu + strength * noise * lung).astype(np.float32)
    return scanned


@functools.lru_cache(1)
def _fields() -> list[Floats]:
    """Periodic random fields of several textures, ranked so that their values are uniform from 0 to 1."""
    rng, fields = np.random.default_rng(3), []
    for number in range(16):
        field: Floats = np.zeros([_FIELD_SIZE] * 3, np.float32)
        for width, weight in ((rng.uniform(1.2, 2.5), 1.0), (rng.uniform(4, 9), rng.uniform(0, 1.2))):
            smooth = ndimage.gaussian_filter(rng.standard_normal(field.shape).astype(np.float32), width, mode="wrap")
            field += weight * smooth / smooth.std()
        if number % 4 == 3:
            field = ndimage.uniform_filter(field, (1, 3, 3), mode="wrap")
        ranked = np.empty(field.size, np.float32)
        ranked[np.argsort(field, axis=None)] = np.linspace(0, 1, field.size, dtype=np.float32)
        fields.append(ranked.reshape(field.shape))
    return fields


def _field(rng: Rng, shape: tuple[int, ...], spacing_mm: tuple[float, ...], mm: float) -> Floats:
    """A random field from 0 to 1 over so many voxels; mm: the size of its grain."""
    field = _fields()[rng.integers(len(_fields()))]
    at = [
        ((np.arange(count) * step / mm + rng.uniform(0, _FIELD_SIZE)) % _FIELD_SIZE).astype(np.int64)
        for count, step in zip(shape, spacing_mm, strict=True)
    ]
    return field[np.ix_(*at)]
