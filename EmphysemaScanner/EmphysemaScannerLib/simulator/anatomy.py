"""A real chest that cases are made from, and how it differs from body to body."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import NotAChestCTError
from ..ct.checks import check_image
from ..ct.grid import Grid, area_average, canonical
from ..ct.reading import read_ct
from ..lungs import LEFT, RIGHT
from ..lungs.lungs import segment_lungs
from .arms import lay_arms
from .lungspace import Floats, Labels
from .shape import Shape, bend

_COARSEST_MM = 2.5  # within a slice: a hole of 3 mm must be seen
_COARSEST_SLICE_MM = 6.0
_AIR_HU = -1024.0


@dataclass(frozen=True)
class Anatomy:
    """A chest without emphysema: HU and lung labels (canonical) on one grid.

    Attributes:
        name: the patient's identifier in manifests.
        split: of all its cases.
        hu: float32, padding raised to -1024.
        labels: 0 outside, 1 right lung, 2 left lung.
        grid: where the voxels lie.
    """

    name: str
    split: str
    hu: Floats
    labels: Labels
    grid: Grid

    @classmethod
    def read(cls, path: Path, name: str, split: str, in_plane: int = 256) -> Anatomy:
        """Read a CT without emphysema and find its lungs.

        Args:
            path: image file, DICOM folder or DICOM file.
            name: the patient's identifier.
            split: "train", "tune" or "test".
            in_plane: a CT of more rows and columns is averaged down to so many; 0 keeps its own.

        Raises:
            EmphysemaScannerError: unreadable, no chest CT, no lungs, or too coarse for holes of a few millimetres.
        """
        image = canonical(read_ct(path).image)
        check_image(image)
        grid = Grid.of_image(image)
        if max(grid.spacing_mm[1:]) > _COARSEST_MM or grid.spacing_mm[0] > _COARSEST_SLICE_MM:
            size = " x ".join(f"{s:.1f}" for s in grid.spacing_mm[::-1])
            raise NotAChestCTError(
                f"'{path}' has voxels of {size} mm, too coarse for holes of a few millimetres; give the original CT."
            )
        labels = segment_lungs(image)
        slices, rows, columns = grid.shape
        limit = in_plane or max(rows, columns)
        small = grid.resized((slices, min(rows, limit), min(columns, limit)))
        hu = area_average(np.maximum(sitk.GetArrayViewFromImage(image), _AIR_HU), small.shape)
        return cls(name, split, hu, averaged_labels(labels, small.shape), small)


def averaged_labels(labels: Labels, shape: tuple[int, int, int]) -> Labels:
    """Lung labels on another grid over the same box: lung where at least half of the voxel is."""
    if labels.shape == shape:
        return labels
    right, left = (area_average(labels == side, shape) for side in (RIGHT, LEFT))
    return np.where(right + left >= 0.5, np.where(right >= left, RIGHT, LEFT), 0).astype(np.uint8)


@dataclass(frozen=True)
class Body:
    """How this body differs from the anatomy it is made from, and the field of view.

    Attributes:
        shape: size, rotation, mirror image and smooth bend.
        margin_mm: of the field of view beyond the lungs' larger side; it is square within slices.
        off_mm: of its centre from the lungs' centre (row, column).
        below_mm, above_mm: scanned beyond the lungs.
        arm_mm: radius of the arms at the body's sides; 0: they are raised, out of view.
    """

    shape: Shape
    margin_mm: float = 40.0
    off_mm: tuple[float, float] = (0.0, 0.0)
    below_mm: float = 20.0
    above_mm: float = 20.0
    arm_mm: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Body:
        """A random but plausible body and field of view."""
        margin = rng.uniform(5, 15) if rng.random() < 0.3 else rng.uniform(15, 80)
        off = rng.normal(0, 0.2 * margin, 2)
        below, above = (round(float(mm), 1) for mm in rng.uniform(3, 35, 2))
        row, column = (round(float(mm), 1) for mm in np.clip(off, -0.6 * margin, 0.6 * margin))
        shape = Shape.draw(rng)
        arm = round(float(rng.uniform(35, 55)), 1) if rng.random() < 0.15 else 0.0
        return cls(shape, round(float(margin), 1), (row, column), below, above, arm)


def embody(anatomy: Anatomy, body: Body, rng: np.random.Generator) -> Anatomy:
    """The anatomy as this body, in its field of view.

    Args:
        anatomy: a chest.
        body: its shape, field of view and arms.
        rng: chance; of the bends.
    """
    hu, labels = bend(anatomy.hu, anatomy.labels, anatomy.grid.spacing_mm, body.shape, rng)
    chest = framed(Anatomy(anatomy.name, anatomy.split, hu, labels, anatomy.grid), body)
    if not body.arm_mm:
        return chest
    return replace(chest, hu=lay_arms(chest.hu, chest.labels, chest.grid.spacing_mm, body.arm_mm, rng))


def framed(anatomy: Anatomy, body: Body) -> Anatomy:
    """The anatomy in the body's field of view; what lies beyond the CT is padding."""
    lung, (deep, high, wide) = anatomy.labels > 0, anatomy.grid.spacing_mm
    slices, rows, columns = (
        np.flatnonzero(lung.any(tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)
    )
    low = [max(0, int(slices[0] - body.below_mm / deep))]
    high_end = [min(len(lung), int(slices[1] + body.above_mm / deep) + 2)]
    side_mm = max(np.ptp(rows) * high, np.ptp(columns) * wide) + 2 * body.margin_mm
    for used, off, step in ((rows, body.off_mm[0], high), (columns, body.off_mm[1], wide)):
        low.append(round(float(used.mean() + off / step - side_mm / step / 2)))
        high_end.append(low[-1] + round(float(side_mm / step)))
    inside = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high_end, lung.shape, strict=True))
    pad = [(p.start - a, b - p.stop) for p, a, b in zip(inside, low, high_end, strict=True)]
    z, y, x = (b - a for a, b in zip(low, high_end, strict=True))
    left, back, up = (float(mm) for mm in anatomy.grid.position_lps(np.array(low, float)))
    grid = replace(anatomy.grid, shape=(z, y, x), origin_lps=(left, back, up))
    return Anatomy(
        anatomy.name,
        anatomy.split,
        np.pad(anatomy.hu[inside], pad, constant_values=_AIR_HU),
        np.pad(anatomy.labels[inside], pad),
        grid,
    )


def soft_tissue(hu: Floats) -> NDArray[np.bool_]:
    """Voxels of blood, muscle and organs."""
    tissue: NDArray[np.bool_] = (hu > -50) & (hu < 120)
    return tissue
