"""Draws docs/gallery/kernel-pair.png: lung below -950 HU in a slice of one acquisition with two kernels.

python scripts/kernel_pair.py SHARP.nrrd SMOOTH.nrrd OUT.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from EmphysemaScannerLib.ct.grid import canonical_view
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.lungs.densitometry import measure_lungs
from EmphysemaScannerLib.lungs.lungs import find_lungs
from EmphysemaScannerLib.lungs.normalisation import normalise_kernel
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

HEIGHT = 0.5  # of the lungs, where the slice lies
LIMIT_HU = -950


def main(sharp: Path, smooth: Path, out: Path) -> None:
    """Three panels: the sharp CT as measured and as with a smooth kernel, and the smooth CT as measured."""
    figure = Figure(figsize=(9, 2.5), facecolor="white", layout="constrained")
    panels = iter(figure.subplots(1, 3))
    for path, name in ((sharp, "Sharp kernel"), (smooth, "Smooth kernel")):
        image = read_ct(path).image
        hu, grid = canonical_view(image)
        labels = find_lungs(image).labels
        _draw(next(panels), hu, labels, grid.spacing_mm, f"{name}, as measured")
        if path == sharp:
            normalised, _kernel = normalise_kernel(hu, labels, grid.spacing_mm)
            _draw(next(panels), normalised, labels, grid.spacing_mm, f"{name}, normalised")
    figure.savefig(out, dpi=100, metadata={"Software": None})


def _draw(
    axes: Axes, hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float], title: str
) -> None:
    lung = np.flatnonzero(labels.any((1, 2)))
    place = int(lung[0] + HEIGHT * (lung[-1] - lung[0]))
    rows, columns = (np.flatnonzero(labels.any(other)) for other in ((0, 2), (0, 1)))
    shown = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    plane = hu[place][shown]
    low = (labels[place][shown] > 0) & (plane < LIMIT_HU)
    aspect = spacing_mm[1] / spacing_mm[2]
    axes.imshow(plane, cmap="gray", vmin=-1350, vmax=150, aspect=aspect)
    axes.imshow(np.ma.masked_where(~low, low), cmap="autumn", alpha=0.9, aspect=aspect)
    whole = measure_lungs(hu, labels, spacing_mm).regions["whole"]
    axes.set_title(f"{title}: LAA%-950 {whole.laa_950_percent:.1f}", fontsize=8)
    axes.axis("off")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
