"""One case: what was drawn for it, and the CT that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..ct.grid import Grid, canonical
from .acquisition import Acquisition, Scan, acquire
from .anatomy import Anatomy, Body, embody
from .disease import Disease, Mix, Subtype
from .lungspace import Floats, Labels, LungSpace
from .negatives import Negative, add, draw_negatives
from .parenchyma import destroyable, empty
from .subtypes import destroy

_EXTENTS = ((0.5, 5.0), (5.0, 20.0), (20.0, 45.0), (45.0, 80.0))  # mild, moderate, severe, destroyed
_EXTENT_SHARES = {Mix.TO_SEVERE: (0.35, 0.4, 0.25, 0.0), Mix.TO_DESTROYED: (0.35, 0.33, 0.17, 0.15)}
_SUBTYPE_SHARES = {  # in the order of the subtypes
    Mix.TO_SEVERE: (0.45, 0.15, 0.15, 0.25),
    Mix.TO_DESTROYED: (0.4, 0.12, 0.23, 0.25),
}
_DESTROYED_SHARES = (0.25, 0.0, 0.45, 0.3)  # no lung is destroyed throughout by paraseptal disease
_DARK_HU, _BREATHED_OUT_HU = (-928.0, -908.0), (-850.0, -780.0)  # darker healthy lungs had LAA%-950 of 20 to 26
_DARK, _BREATHED_OUT = 0.2, 0.1  # shares
_BODY, _DISEASE, _NEGATIVES, _ACQUISITION, _BREATH = range(5)  # what chance is spent on, each with a seed of its own


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a case, besides the anatomy.

    Attributes:
        seed: of every random choice; the same recipe and anatomy give the same case, bit by bit.
        body: shape and field of view.
        disease: None for a healthy case.
        negatives: findings that are no emphysema.
        acquisition: breath and scan.
    """

    seed: tuple[int, ...]
    body: Body
    disease: Disease | None
    negatives: tuple[Negative, ...]
    acquisition: Acquisition

    @classmethod
    def draw(cls, seed: tuple[int, ...], diseased: bool, own: int | None = None, mix: Mix = Mix.TO_SEVERE) -> Recipe:
        """A random recipe.

        Args:
            seed: the same seed gives the same body and the same disease.
            diseased: whether there is a disease; nothing else depends on it.
            own: with a number, findings and acquisition are drawn anew for each number; None: from the seed alone.
            mix: which diseases and breaths there are.
        """
        body, disease = (np.random.default_rng([*seed, part]) for part in (_BODY, _DISEASE))
        more = [] if own is None else [own]
        negatives, acquisition = (np.random.default_rng([*seed, part, *more]) for part in (_NEGATIVES, _ACQUISITION))
        return cls(
            seed=(*seed, *more),
            body=Body.draw(body),
            disease=draw_disease(disease, mix) if diseased else None,
            negatives=draw_negatives(negatives),
            acquisition=_breathing(Acquisition.draw(acquisition), [*seed, _BREATH, *more], mix),
        )


@dataclass(frozen=True)
class Case:
    """A simulated CT.

    Attributes:
        hu: float32 HU, canonical.
        labels: lungs, 0, 1 right, 2 left.
        lesions: where tissue was destroyed; all False in a healthy case.
        grid: where the voxels lie.
        extent_percent: share of the lungs' volume in lesions.
        region_percent: the same of upper, middle, lower, right and left lung.
    """

    hu: Floats
    labels: Labels
    lesions: NDArray[np.bool_]
    grid: Grid
    extent_percent: float
    region_percent: dict[str, float]


def draw_disease(rng: np.random.Generator, mix: Mix = Mix.TO_SEVERE) -> Disease:
    """A random disease: all subtypes; mild (0.5 to 5 %), moderate (5 to 20 %), severe (20 to 45 %) extents or more."""
    band = int(rng.choice(4, p=_EXTENT_SHARES[mix]))
    low, high = _EXTENTS[band]
    shares = _DESTROYED_SHARES if band == len(_EXTENTS) - 1 else _SUBTYPE_SHARES[mix]
    subtype = list(Subtype)[rng.choice(4, p=shares)]
    return Disease(subtype, round(float(np.exp(rng.uniform(np.log(low), np.log(high)))), 3))


def _breathing(drawn: Acquisition, seed: list[int], mix: Mix) -> Acquisition:
    """A breath as the mix has it: whether there is disease plays no part."""
    if mix is Mix.TO_SEVERE:
        return drawn
    rng = np.random.default_rng(seed)
    kind = rng.random()
    if kind < _DARK:
        return replace(drawn, parenchyma_hu=round(float(rng.uniform(*_DARK_HU)), 1))
    if kind < _DARK + _BREATHED_OUT:
        return replace(drawn, parenchyma_hu=round(float(rng.uniform(*_BREATHED_OUT_HU)), 1))
    return drawn


def simulate_case(anatomy: Anatomy, recipe: Recipe, embodied: Anatomy | None = None) -> Case:
    """Simulate a case.

    Args:
        anatomy: a chest without emphysema.
        recipe: what to make of it.
        embodied: ``embodied(anatomy, recipe)`` if it is known already, as from a twin of the same body.
    """
    chest = embodied or in_body(anatomy, recipe)
    space = LungSpace(chest.labels, chest.grid.spacing_mm)
    seed = list(recipe.seed)
    hu, lesions = diseased(chest.hu, space, recipe.disease, np.random.default_rng([*seed, _DISEASE, 1]))
    healthy = add(chest.hu, space, recipe.negatives, [*seed, _NEGATIVES, 1])
    hu = healthy if recipe.disease is None else add(hu, space, recipe.negatives, [*seed, _NEGATIVES, 1])
    rng = np.random.default_rng([*seed, _ACQUISITION, 1])
    scan = acquire(Scan(hu, chest.labels, lesions, chest.grid), recipe.acquisition, healthy, rng)
    lung = scan.labels > 0
    found = scan.lesions & lung
    regions = LungSpace(scan.labels, scan.grid.spacing_mm).regions(found)
    extent = 100 * np.count_nonzero(found) / np.count_nonzero(lung)
    return Case(scan.hu, scan.labels, found, scan.grid, float(extent), regions)


def in_body(anatomy: Anatomy, recipe: Recipe) -> Anatomy:
    """The anatomy in the recipe's body and field of view; depends on the first two numbers of the seed alone."""
    return embody(anatomy, recipe.body, np.random.default_rng([*recipe.seed[:2], _BODY, 1]))


def diseased(
    hu: Floats, space: LungSpace, disease: Disease | None, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """The CT with a disease, and its lesions (of the CT's shape); bit by bit the same where nothing was destroyed.

    Args:
        hu: the CT, (slices, rows, columns) in HU.
        space: its lungs.
        disease: what is drawn; None for none.
        rng: chance.
    """
    lesions = np.zeros(hu.shape, bool)
    if disease is None:
        return hu, lesions
    free = destroyable(hu[space.where]) & space.mask
    done = destroy(space, free, disease, rng)
    lesions[space.where] = done.lesion & free
    return empty(hu, space, done, rng), lesions


@dataclass(frozen=True)
class DiseasedCT:
    """A CT that emphysema was put into.

    Attributes:
        image: canonical, int16 HU.
        lesions: (slices, rows, columns) on the image's voxels.
        extent_percent: share of the lungs' volume in lesions.
    """

    image: sitk.Image
    lesions: NDArray[np.bool_]
    extent_percent: float


def put_in(image: sitk.Image, labels: Labels, disease: Disease, seed: int) -> DiseasedCT:
    """Put emphysema into a CT at its own resolution, everything else unchanged; needs no PyTorch.

    Args:
        image: a chest CT in HU, any orientation.
        labels: its lungs on the canonical image's voxels (``lungs.segment_lungs``).
        disease: subtype and extent.
        seed: the same seed gives the same case, bit by bit.

    Raises:
        ValueError: the labels hold no lung.
    """
    oriented = canonical(image)
    grid = Grid.of_image(oriented)
    hu = sitk.GetArrayFromImage(oriented)
    space = LungSpace(labels, grid.spacing_mm)
    emptied, lesions = diseased(hu.astype(np.float32), space, disease, np.random.default_rng(seed))
    changed = np.rint(emptied).astype(np.int16)
    extent = 100 * np.count_nonzero(lesions) / np.count_nonzero(labels)
    return DiseasedCT(grid.to_image(changed), lesions, float(extent))
