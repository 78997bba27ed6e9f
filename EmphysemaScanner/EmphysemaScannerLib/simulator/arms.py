"""Arms beside the body, as of people who could not raise them: tissue that X-rays cross before they reach the lungs."""

from __future__ import annotations

import numpy as np

from .lungspace import Floats, Labels, Spacing

_MUSCLE_HU, _FAT_HU, _CORTEX_HU, _MARROW_HU = 55.0, -100.0, 1100.0, 150.0
_BODY_MM = 60.0  # a column of the picture that crosses less tissue is couch or clothes
_TISSUE_HU = -300.0


def lay_arms(hu: Floats, labels: Labels, spacing_mm: Spacing, radius_mm: float, rng: np.random.Generator) -> Floats:
    """The CT with an arm on each side: fat, muscle and the humerus; nothing between the lungs' sides is changed.

    Args:
        hu: canonical CT.
        labels: its lungs.
        spacing_mm: voxel size (slice, row, column).
        radius_mm: of an arm.
        rng: chance.
    """
    deep, high, wide = spacing_mm
    tissue = hu > _TISSUE_HU
    body = np.flatnonzero(np.median(tissue.sum(1), 0) * high > _BODY_MM)
    lung_rows, lung_columns = (np.flatnonzero(labels.any(axes)) for axes in ((0, 2), (0, 1)))
    middle = float(lung_rows.mean()) * high
    free = ~tissue
    free[:, :, lung_columns[0] : lung_columns[-1] + 1] = False
    out: Floats = hu.copy()
    along = (np.arange(hu.shape[0]) * deep)[:, None, None]
    row, column = (np.arange(n) * s for n, s in zip(hu.shape[1:], (high, wide), strict=True))
    for edge, away in ((min(body[0], lung_columns[0]), -1), (max(body[-1], lung_columns[-1]), 1)):
        gap, turn, lean = rng.uniform(0, 12), rng.uniform(-0.12, 0.12), rng.uniform(-0.1, 0.1)
        flat = rng.uniform(0.85, 1.2)
        y = row[None, :, None] - middle - rng.uniform(-10, 40) - turn * along
        x = column - edge * wide - away * (radius_mm + gap) - lean * along
        off = np.hypot(y * flat, x / flat)
        outside = radius_mm - off
        arm = np.select(
            [off < 0.14 * radius_mm, off < 0.25 * radius_mm, outside > 0.12 * radius_mm],
            [_MARROW_HU, _CORTEX_HU, _MUSCLE_HU],
            _FAT_HU,
        )
        share = np.clip(outside / wide + 0.5, 0, 1) * free
        out += (share * (arm - out)).astype(np.float32)
    return out
