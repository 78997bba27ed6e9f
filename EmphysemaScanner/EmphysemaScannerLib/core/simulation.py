"""Simulated emphysema in real anatomy: lesions with known place, subtype and extent, for teaching and for tests.

Two independent steps. What differs between healthy people and between scanners (:func:`bend`: shape; :func:`acquire`:
inspiration, gravity, noise, calibration) is applied to cases *with and without* disease. :func:`add_emphysema` puts the
disease in.
Morphology after Lynch et al., "CT-definable subtypes of COPD" (Fleischner Society, Radiology 2015): centrilobular holes
without walls around the lobule's centre, upper lungs first; paraseptal holes in rows under the pleura (walls left out);
panlobular diffuse low density, lower lungs first.

Arrays are canonical (slices, rows, columns): inferior to superior, anterior to posterior, right to left; HU; mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from .grid import Grid, canonical

Floats = NDArray[np.float32]

PARENCHYMA_BELOW_HU = -500  # denser voxels inside the lung mask are vessels, walls and nodules; they stay
AIR_HU = -1000.0
LESION_ABOVE = 0.35  # share of tissue destroyed from which a voxel counts as lesion


class Subtype(Enum):
    """Emphysema subtypes of the Fleischner Society."""

    CENTRILOBULAR = "centrilobular"
    PARASEPTAL = "paraseptal"
    PANLOBULAR = "panlobular"
    MIXED = "mixed"


@dataclass(frozen=True)
class Disease:
    """What to put in.

    Attributes:
        subtype: its morphology and distribution.
        extent_percent: share of the lungs' volume to be destroyed, 0.1 to 80.
    """

    subtype: Subtype
    extent_percent: float

    def __post_init__(self) -> None:
        if not 0.1 <= self.extent_percent <= 80:
            raise ValueError(f"the extent must be 0.1 to 80 % of the lungs, not {self.extent_percent}")


@dataclass(frozen=True)
class Variation:
    """What differs between people and scanners, whatever the label. Drawn by :meth:`draw`.

    Attributes:
        scale: body size relative to the anatomy (slice, row, column).
        rotation_deg: about the body's long axis.
        mirrored: right and left exchanged.
        bend_mm: standard deviation of a smooth random displacement.
        aeration: factor on lung tissue's density above air; below 1 is deeper inspiration.
        gravity_hu_per_mm: density gained per mm towards the back.
        noise_hu: standard deviation of the image noise, at the simulated resolution.
        noise_correlation: its correlation length in voxels; 0 is white (a sharp kernel).
        drift_hu: standard deviation of smooth density changes over centimetres.
        offset_hu: error of calibration.
    """

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rotation_deg: float = 0.0
    mirrored: bool = False
    bend_mm: float = 0.0
    aeration: float = 1.0
    gravity_hu_per_mm: float = 0.0
    noise_hu: float = 0.0
    noise_correlation: float = 0.0
    drift_hu: float = 0.0
    offset_hu: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Variation:
        """A random but plausible variation of shape and HU."""
        common = rng.uniform(0.88, 1.1)
        z, y, x = (float(common * s) for s in rng.uniform(0.93, 1.07, 3))
        rotation, mirrored, bend = float(rng.normal(0, 4)), bool(rng.random() < 0.5), float(rng.uniform(3, 9))
        return replace(cls.draw_density(rng), scale=(z, y, x), rotation_deg=rotation, mirrored=mirrored, bend_mm=bend)

    @classmethod
    def draw_density(cls, rng: np.random.Generator) -> Variation:
        """A random variation of HU alone: the shape stays."""
        return cls(
            aeration=float(np.exp(rng.normal(0, 0.17))),
            gravity_hu_per_mm=float(rng.normal(0.12, 0.15)),
            noise_hu=float(rng.choice([6, 14, 28, 45]) * rng.uniform(0.7, 1.3)),
            noise_correlation=float(rng.choice([0.0, 0.6, 1.2])),
            drift_hu=float(rng.uniform(0, 8)),
            offset_hu=float(rng.normal(0, 5)),
        )


def bend(
    hu: Floats,
    labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    v: Variation,
    rng: np.random.Generator,
) -> tuple[Floats, NDArray[np.uint8]]:
    """Deform an anatomy smoothly: size, rotation, mirror, random bend. Returns HU and lung labels of the same shape."""
    import torch  # here: disease is put into the sample case where there is no PyTorch
    from torch.nn import functional

    extent = np.array(hu.shape) * spacing_mm  # mm, (slice, row, column)
    angle = np.deg2rad(v.rotation_deg)
    rotate = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    to_source = np.diag([1 / s for s in v.scale]) @ rotate  # mm about the centre
    if v.mirrored:
        to_source = to_source @ np.diag([1.0, 1.0, -1.0])
    unit = np.diag(2 / extent) @ to_source @ np.diag(extent / 2)  # torch's [-1, 1] coordinates
    affine = np.zeros((3, 4))
    affine[:, :3] = unit[::-1, ::-1]  # torch's order is column, row, slice
    grid = functional.affine_grid(
        torch.tensor(affine[None], dtype=torch.float32), [1, 1, *hu.shape], align_corners=False
    )
    nodes = rng.normal(0, v.bend_mm, (1, 3, 5, 5, 5)).astype(np.float32)
    nodes *= (2 / extent[::-1]).astype(np.float32)[None, :, None, None, None]
    displacement = functional.interpolate(torch.from_numpy(nodes), size=hu.shape, mode="trilinear", align_corners=True)
    grid = grid + displacement[0].permute(1, 2, 3, 0)
    source = torch.from_numpy(np.ascontiguousarray(hu))[None, None]
    moved = functional.grid_sample(source - AIR_HU, grid, mode="bilinear", align_corners=False)[0, 0] + AIR_HU
    moved_labels = functional.grid_sample(
        torch.from_numpy(labels.astype(np.float32))[None, None], grid, mode="nearest", align_corners=False
    )[0, 0]
    out_labels = moved_labels.numpy().astype(np.uint8)
    if v.mirrored:
        out_labels = np.array([0, 2, 1], np.uint8)[out_labels]
    return moved.numpy(), out_labels


def acquire(
    hu: Floats,
    labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    v: Variation,
    rng: np.random.Generator,
) -> Floats:
    """Breathe and scan: aeration and gravity in the lungs, then noise, drift and calibration everywhere."""
    import torch
    from torch.nn import functional

    lung = (labels > 0) & (hu < PARENCHYMA_BELOW_HU)
    rows_mm = np.arange(hu.shape[1], dtype=np.float32) * spacing_mm[1]
    gradient = v.gravity_hu_per_mm * (rows_mm - rows_mm.mean())[None, :, None]
    tissue = hu - AIR_HU  # 0 in air, about 150 in healthy lung
    breathed = AIR_HU + tissue * v.aeration + gradient * np.clip(tissue / 150, 0, 1)
    out = np.where(lung, breathed, hu)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    if v.noise_correlation > 0:
        noise = ndimage.gaussian_filter(noise, (0, v.noise_correlation, v.noise_correlation))
        noise /= noise.std()
    coarse = rng.normal(0, v.drift_hu, (8, 8, 8)).astype(np.float32)
    drift = functional.interpolate(torch.from_numpy(coarse)[None, None], size=hu.shape, mode="trilinear")[0, 0].numpy()
    out = out + v.noise_hu * noise + drift + v.offset_hu
    floor: Floats = np.maximum(out, -1024).astype(np.float32)
    return floor


@dataclass(frozen=True)
class SimulatedCase:
    """A CT with simulated emphysema.

    Attributes:
        image: the CT, canonical, int16 HU.
        lesions: uint8 (slices, rows, columns) on the image's voxels, 1 in lesions.
        disease: what was asked for.
        extent_percent: share of the lungs that was reached.
    """

    image: sitk.Image
    lesions: NDArray[np.uint8]
    disease: Disease
    extent_percent: float


def simulate(image: sitk.Image, labels: NDArray[np.uint8], disease: Disease, seed: int) -> SimulatedCase:
    """Put emphysema into a CT at its own resolution, everything else unchanged.

    Args:
        image: a chest CT in HU, any orientation.
        labels: lung labels on the canonical image's voxels (``lungs.segment_lungs``).
        disease: subtype and extent.
        seed: the same seed gives the same case, bit by bit.
    """
    oriented = canonical(image)
    grid = Grid.of_image(oriented)
    hu = sitk.GetArrayFromImage(oriented).astype(np.float32)
    diseased, lesions = add_emphysema(hu, labels, grid.spacing_mm, disease, np.random.default_rng(seed))
    reached = 100 * np.count_nonzero(lesions) / np.count_nonzero(labels)
    return SimulatedCase(grid.to_image(np.rint(diseased).astype(np.int16)), lesions, disease, float(reached))


def add_emphysema(
    hu: Floats,
    labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    disease: Disease,
    rng: np.random.Generator,
) -> tuple[Floats, NDArray[np.uint8]]:
    """Destroy lung tissue.

    Args:
        hu: canonical CT, HU.
        labels: lung labels on the same voxels, 0 outside.
        spacing_mm: voxel size (slice, row, column).
        disease: subtype and extent.
        rng: the only source of chance; the same generator state gives the same case.

    Returns:
        The CT with emphysema, and the lesion mask (uint8, 1 in lesions).

    Raises:
        ValueError: the labels hold no lung.
    """
    if not labels.any():
        raise ValueError("there is no lung to put emphysema into")
    lungs = _Lungs(labels > 0, np.asarray(spacing_mm, float), rng)
    destroyed = np.zeros(hu.shape, np.float32)  # share of tissue gone, 0 to 1
    target = disease.extent_percent / 100
    match disease.subtype:
        case Subtype.CENTRILOBULAR:
            lungs.centrilobular(destroyed, target)
        case Subtype.PARASEPTAL:
            lungs.paraseptal(destroyed, target)
        case Subtype.PANLOBULAR:
            lungs.panlobular(destroyed, target)
        case Subtype.MIXED:
            share = rng.uniform(0.3, 0.7)
            lungs.centrilobular(destroyed, target * share)
            if rng.random() < 0.5:
                lungs.paraseptal(destroyed, target)
            else:
                lungs.panlobular(destroyed, target * (1 - share))
    destroyed *= (labels > 0) & (hu < PARENCHYMA_BELOW_HU)
    left_over = rng.normal(-975, 8) + 10 * rng.standard_normal(hu.shape, dtype=np.float32)
    emptied = np.minimum(hu, left_over)
    return hu + destroyed * (emptied - hu), (destroyed > LESION_ABOVE).astype(np.uint8)


class _Lungs:
    """Lung geometry that the subtypes need: height, distance to the pleura, smooth random patchiness."""

    def __init__(self, mask: NDArray[np.bool_], spacing: NDArray[np.float64], rng: np.random.Generator) -> None:
        self.mask, self.spacing, self.rng = mask, spacing, rng
        self.voxels = int(mask.sum())
        self.holes = 0
        used = [np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        self.low = np.array([u[0] for u in used])
        self.size = np.array([u[-1] - u[0] + 1 for u in used])

    def height(self, slices: NDArray[np.float64]) -> NDArray[np.float64]:
        """0 at the lungs' base, 1 at their apex."""
        share: NDArray[np.float64] = (slices - self.low[0]) / max(int(self.size[0]) - 1, 1)
        return share

    def patchiness(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        """A smooth random field, mean about 0, standard deviation about 1, at voxel indices (N, 3)."""
        nodes = self.rng.standard_normal((6, 6, 6))
        at = (points - self.low) / np.maximum(self.size - 1, 1) * 5
        field: NDArray[np.float64] = ndimage.map_coordinates(nodes, at.T, order=3, mode="nearest")
        return field

    def distance_to_pleura_mm(self) -> Floats:
        """Within the lungs' bounding box only; 0 outside the lungs."""
        box = tuple(slice(lo, lo + n) for lo, n in zip(self.low, self.size, strict=True))
        out = np.zeros(self.mask.shape, np.float32)
        out[box] = ndimage.distance_transform_edt(np.pad(self.mask[box], 1), self.spacing)[1:-1, 1:-1, 1:-1]
        return out

    def centrilobular(self, destroyed: Floats, target: float) -> None:
        """Round holes of 2 to 10 mm, one to four in a lobule, lobules 12 mm apart, upper lungs first."""
        step = 12.0 / self.spacing  # voxels between lobules
        axes = [np.arange(lo, lo + n, s) for lo, n, s in zip(self.low, self.size, step, strict=True)]
        centres = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        centres = centres + self.rng.uniform(-0.4, 0.4, centres.shape) * step
        index = np.clip(np.rint(centres).astype(int), 0, np.array(self.mask.shape) - 1)
        inside = self.mask[tuple(index.T)]
        centres, index = centres[inside], index[inside]
        upper = self.rng.uniform(0.5, 2.5)
        liability = (
            upper * self.height(centres[:, 0]) + self.patchiness(index) + 0.7 * self.rng.standard_normal(len(index))
        )
        typical = 1.2 + 1.8 * min(target / 0.3, 1) + self.rng.uniform(-0.3, 0.5)  # radius in mm: confluent when severe
        for centre in centres[np.argsort(-liability)]:
            for _ in range(self.rng.integers(1, 5)):
                radius = float(np.clip(typical * np.exp(self.rng.normal(0, 0.3)), 0.8, 5.5))
                self._hole(destroyed, centre + self.rng.normal(0, 3.0, 3) / self.spacing, radius)
            if self._reached(destroyed, target):
                return

    def paraseptal(self, destroyed: Floats, target: float) -> None:
        """Rows of holes of 4 to 14 mm under the pleura, upper lungs first."""
        depth = self.distance_to_pleura_mm()
        rim = np.argwhere((depth > 2) & (depth < 5 + self.spacing.max()))
        upper = self.rng.uniform(1, 3)
        liability = upper * self.height(rim[:, 0].astype(float)) + 1.5 * self.patchiness(rim)
        chance = np.exp(1.5 * (liability - liability.max()))
        order = self.rng.choice(len(rim), size=min(len(rim), 20_000), replace=False, p=chance / chance.sum())
        typical = self.rng.uniform(2.0, 5.0)
        for point in rim[order]:
            if destroyed[tuple(point)] > 0.5:
                continue
            self._hole(destroyed, point, float(np.clip(typical * np.exp(self.rng.normal(0, 0.35)), 1.5, 9)))
            if self._reached(destroyed, target):
                return

    def panlobular(self, destroyed: Floats, target: float) -> None:
        """Whole regions thinned, lower lungs first, without holes."""
        points = np.argwhere(self.mask)
        lower = self.rng.uniform(0.5, 2.0)
        liability = -lower * self.height(points[:, 0].astype(float)) + 1.2 * self.patchiness(points)
        threshold = np.quantile(liability, 1 - target)
        edge = max(float(liability.std()), 1e-6)
        thinned = self.rng.uniform(0.55, 0.9) * np.clip((liability - threshold) / edge + 0.5, 0, 1)
        at = tuple(points.T)
        destroyed[at] = np.maximum(destroyed[at], thinned)

    def _reached(self, destroyed: Floats, target: float) -> bool:
        self.holes += 1
        if self.holes % 20:  # counting voxels is dear
            return False
        return int(np.count_nonzero((destroyed > LESION_ABOVE) & self.mask)) >= target * self.voxels

    def _hole(self, destroyed: Floats, centre: NDArray[np.float64], radius_mm: float) -> None:
        """A soft-edged ball, joined to what is there."""
        reach = np.ceil((radius_mm + self.spacing) / self.spacing).astype(int)
        middle = np.rint(centre).astype(int)
        low = np.maximum(middle - reach, 0)
        high = np.minimum(middle + reach + 1, destroyed.shape)
        if (low >= high).any():
            return
        z, y, x = (
            ((np.arange(lo, hi) - c) * s) ** 2 for lo, hi, c, s in zip(low, high, centre, self.spacing, strict=True)
        )
        distance = np.sqrt(z[:, None, None] + y[:, None] + x)
        edge = float(self.spacing[1:].mean())
        ball = np.clip((radius_mm - distance) / edge + 0.5, 0, 1)
        # A slice thicker than the hole holds only a part of it.
        ball *= min(1.0, 2 * radius_mm / float(self.spacing[0]))
        box = destroyed[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        np.maximum(box, ball, out=box)
