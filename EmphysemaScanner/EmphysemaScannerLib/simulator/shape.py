"""How one body's shape differs from another's: size, rotation, mirror image and a smooth bend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .lungspace import Floats, Labels

_AIR_HU = -1000.0


@dataclass(frozen=True)
class Shape:
    """A deformation of an anatomy.

    Attributes:
        scale: body size relative to the anatomy (slice, row, column).
        rotation_deg: about the body's long axis.
        mirrored: right and left exchanged.
        bend_mm: standard deviation of a smooth random displacement.
    """

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rotation_deg: float = 0.0
    mirrored: bool = False
    bend_mm: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Shape:
        """A random but plausible one."""
        common = rng.uniform(0.88, 1.1)
        z, y, x = (float(common * s) for s in rng.uniform(0.93, 1.07, 3))
        return cls((z, y, x), float(rng.normal(0, 4)), bool(rng.random() < 0.5), float(rng.uniform(3, 9)))


def bend(
    hu: Floats,
    labels: Labels,
    spacing_mm: tuple[float, float, float],
    shape: Shape,
    rng: np.random.Generator,
) -> tuple[Floats, Labels]:
    """Deform an anatomy smoothly: size, rotation, mirror, random bend. Returns HU and lung labels of the same shape."""
    import torch  # here: disease is put into the sample case where there is no PyTorch
    from torch.nn import functional

    extent = np.array(hu.shape) * spacing_mm  # mm, (slice, row, column)
    angle = np.deg2rad(shape.rotation_deg)
    rotate = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    to_source = np.diag([1 / s for s in shape.scale]) @ rotate  # mm about the centre
    if shape.mirrored:
        to_source = to_source @ np.diag([1.0, 1.0, -1.0])
    unit = np.diag(2 / extent) @ to_source @ np.diag(extent / 2)  # torch's [-1, 1] coordinates
    affine = np.zeros((3, 4))
    affine[:, :3] = unit[::-1, ::-1]  # torch's order is column, row, slice
    grid = functional.affine_grid(
        torch.tensor(affine[None], dtype=torch.float32), [1, 1, *hu.shape], align_corners=False
    )
    nodes = rng.normal(0, shape.bend_mm, (1, 3, 5, 5, 5)).astype(np.float32)
    nodes *= (2 / extent[::-1]).astype(np.float32)[None, :, None, None, None]
    displacement = functional.interpolate(torch.from_numpy(nodes), size=hu.shape, mode="trilinear", align_corners=True)
    grid = grid + displacement[0].permute(1, 2, 3, 0)
    source = torch.from_numpy(np.ascontiguousarray(hu))[None, None]
    moved = functional.grid_sample(source - _AIR_HU, grid, mode="bilinear", align_corners=False)[0, 0] + _AIR_HU
    moved_labels = functional.grid_sample(
        torch.from_numpy(labels.astype(np.float32))[None, None], grid, mode="nearest", align_corners=False
    )[0, 0]
    out_labels = moved_labels.numpy().astype(np.uint8)
    if shape.mirrored:
        out_labels = np.array([0, 2, 1], np.uint8)[out_labels]
    return moved.numpy(), out_labels
