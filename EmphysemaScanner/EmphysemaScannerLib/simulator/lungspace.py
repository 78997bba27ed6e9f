"""The lungs as lists of voxels in mm, the geometry the simulator asks for, and fields of chance over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from ..lungs import LEFT, RIGHT
from ..lungs.densitometry import thirds
from ..lungs.morphology import box

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Spacing = tuple[float, float, float]
REGIONS = ("upper", "middle", "lower", "right", "left")


@dataclass(frozen=True)
class LungSpace:
    """The box about the lungs of one anatomy.

    Attributes:
        labels: lung labels of the whole CT, 0 outside, 1 right, 2 left.
        spacing_mm: voxel size (slice, row, column).
    """

    labels: Labels
    spacing_mm: Spacing

    def __post_init__(self) -> None:
        if not self.labels.any():
            raise ValueError("there is no lung to simulate in")

    @cached_property
    def where(self) -> tuple[slice, ...]:
        """The lungs' box in the CT."""
        return box(self.labels > 0)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Lungs within the box."""
        return self.labels[self.where] > 0

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """(N, 3) voxel indices of the lungs within the box."""
        return np.argwhere(self.mask)

    @property
    def points(self) -> Floats:
        """(N, 3) positions of the lung voxels in mm from the box's corner."""
        return self.to_mm(self.index)

    @cached_property
    def size_mm(self) -> NDArray[np.float64]:
        """Of the box."""
        return np.array(self.mask.shape) * self.spacing_mm

    @cached_property
    def depth(self) -> Floats:
        """Distance in mm to the lungs' surface, of every voxel in the box; 0 outside the lungs.

        The surface is taken with small gaps closed, so that vessels and the mask's own notches are no pleura.
        """
        padded = sitk.GetImageFromArray(np.pad(self.mask, 1).astype(np.uint8))
        padded.SetSpacing(self.spacing_mm[::-1])
        distance = sitk.SignedMaurerDistanceMap(
            padded, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
        )
        inner = sitk.GetArrayViewFromImage(distance)[1:-1, 1:-1, 1:-1]
        depth: Floats = np.maximum(inner, 0).astype(np.float32)
        return depth

    def to_mm(self, index: NDArray[np.int64]) -> Floats:
        """Positions in mm of voxel indices in the box."""
        points: Floats = ((index + 0.5) * self.spacing_mm).astype(np.float32)
        return points

    def voxel_of(self, points: NDArray[np.floating]) -> NDArray[np.int64]:
        """The voxels of the box that hold these points."""
        voxels = np.floor(points / self.spacing_mm).astype(np.int64)
        inside: NDArray[np.int64] = np.clip(voxels, 0, np.array(self.mask.shape) - 1)
        return inside

    def height(self, points: NDArray[np.floating]) -> Floats:
        """0 at the lungs' base, 1 at their apex."""
        share: Floats = (points[:, 0] / self.size_mm[0]).astype(np.float32)
        return share

    def random_points(self, count: int, rng: np.random.Generator) -> Floats:
        """Points evenly spread over the lungs by chance."""
        chosen = self.index[rng.integers(0, len(self.index), count)]
        points: Floats = ((chosen + rng.random((count, 3))) * self.spacing_mm).astype(np.float32)
        return points

    def patchiness(self, points: NDArray[np.floating], rng: np.random.Generator, nodes: int = 5) -> Floats:
        """A smooth random field over the lungs at these points, mean about 0, standard deviation about 1.

        Args:
            points: (N, 3) in mm, from the box's corner.
            rng: chance.
            nodes: of the field along each axis; more make finer patches.

        Returns:
            (N,)
        """
        values = rng.standard_normal((nodes, nodes, nodes))
        at = points / self.size_mm * (nodes - 1)
        field: Floats = ndimage.map_coordinates(values, at.T, order=3, mode="nearest").astype(np.float32)
        return field * 1.6  # interpolation smooths

    def fissure_distance(self, points: NDArray[np.floating], rng: np.random.Generator) -> Floats:
        """Distance in mm to where an oblique fissure may run: from the back, three quarters up, to the front, below.

        The lobes of the anatomy are not known; the surface is a gently curved plane of its own in each chest.
        """
        share = points / self.size_mm
        back, front = rng.uniform(0.65, 0.8), rng.uniform(0.05, 0.2)
        wave = 0.03 * np.sin(2 * np.pi * (share[:, 2] * rng.uniform(1, 2) + rng.random()))
        height = front + (back - front) * share[:, 1] + wave
        slope = (back - front) * self.size_mm[0] / self.size_mm[1]
        distance: Floats = (np.abs(share[:, 0] - height) * self.size_mm[0] / np.hypot(1, slope)).astype(np.float32)
        return distance

    def regions(self, mask: NDArray[np.bool_]) -> dict[str, float]:
        """The percentage of each region that a mask (of the whole CT) fills; the thirds hold equal lung volumes."""
        lung, part = self.labels[self.where], mask[self.where]
        per_slice = (lung > 0).sum((1, 2))
        third = thirds(per_slice)
        inside = (part & (lung > 0)).sum((1, 2))
        out = {}
        for number, name in enumerate(("lower", "middle", "upper")):
            out[name] = 100 * inside[third == number].sum() / max(per_slice[third == number].sum(), 1)
        for side, name in ((RIGHT, "right"), (LEFT, "left")):
            out[name] = 100 * np.count_nonzero(part & (lung == side)) / max(np.count_nonzero(lung == side), 1)
        return {name: float(out[name]) for name in REGIONS}


class Grain:
    """A smooth random texture in space: a periodic block of noise, read at points in mm.

    Args:
        correlation_mm: its correlation length (standard deviation of the smoothing).
        rng: chance.
    """

    _NODES = 32

    def __init__(self, correlation_mm: float, rng: np.random.Generator) -> None:
        self.step = correlation_mm / 1.5
        noise = rng.standard_normal((self._NODES,) * 3, dtype=np.float32)
        smooth = ndimage.gaussian_filter(noise, 1.5, mode="wrap")
        self.block: Floats = smooth / smooth.std()

    def at(self, points: NDArray[np.floating]) -> Floats:
        """Values at (N, 3) points: standard deviation 1."""
        value: Floats = ndimage.map_coordinates(self.block, (points / self.step).T, order=1, mode="grid-wrap")
        return value
