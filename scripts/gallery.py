#!/usr/bin/env python3
"""Pictures of what the simulator makes of a CT: diseases with lesions outlined, findings that are no emphysema, scans.

    .venv/bin/python scripts/gallery.py healthy-ct.nrrd --out gallery

writes three pictures, each case as a coronal and an axial slice in the lung window (-1000 to -400 HU).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from EmphysemaScannerLib.simulator.acquisition import Acquisition
from EmphysemaScannerLib.simulator.anatomy import Anatomy
from EmphysemaScannerLib.simulator.case import Case, Recipe, in_body, simulate_case
from EmphysemaScannerLib.simulator.disease import Disease, Subtype
from EmphysemaScannerLib.simulator.negatives import Negative
from matplotlib.figure import Figure

PLAIN = Acquisition()
EXTENTS = {"mild": 3.0, "moderate": 12.0, "severe": 35.0}
WINDOW_HU = (-1000, -400)
SCANS = {
    "as it is": PLAIN,
    "smooth": Acquisition(kernel=-0.5),
    "sharp": Acquisition(kernel=0.8),
    "noise 40 HU": Acquisition(noise_hu=40, streaks=0.3),
    "sharp, noise 80 HU": Acquisition(kernel=0.8, noise_hu=80),
    "slices 7 mm": Acquisition(slice_mm=7),
    "deep breath": Acquisition(parenchyma_hu=-925),
    "shallow breath": Acquisition(parenchyma_hu=-830),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path, help="a chest CT without emphysema")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-plane", type=int, default=256, help="rows and columns that the CT is averaged to")
    given = parser.parse_args()
    anatomy = Anatomy.read(given.ct, "gallery", "test", given.in_plane)
    start = Recipe.draw((given.seed, 0), diseased=False)
    body = in_body(anatomy, start)

    def case(
        disease: Disease | None = None, negatives: tuple[Negative, ...] = (), acquisition: Acquisition = PLAIN
    ) -> Case:
        return simulate_case(anatomy, Recipe(start.seed, start.body, disease, negatives, acquisition), body)

    given.out.mkdir(parents=True, exist_ok=True)
    draw(
        [
            (f"{subtype.value}, {name} ({extent:g} %)", case(Disease(subtype, extent)))
            for subtype in Subtype
            for name, extent in EXTENTS.items()
        ],
        len(EXTENTS),
        given.out / "diseases.png",
    )
    healthy = case()
    negatives = [("healthy", healthy)] + [(of.value, case(negatives=(of,))) for of in Negative]
    draw(negatives, 3, given.out / "negatives.png", healthy)
    draw([(name, case(acquisition=of)) for name, of in SCANS.items()], 4, given.out / "scans.png")


def draw(cases: Sequence[tuple[str, Case]], columns: int, path: Path, healthy: Case | None = None) -> None:
    """A case a field: coronal on the left, axial on the right, through most lesions, or most of what differs from a
    healthy case, or most lung."""
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(5.4 * columns, 2.9 * rows), facecolor="white", layout="constrained")
    panels = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for number, (name, case) in enumerate(cases):
        row, column = divmod(number, columns)
        coronal, axial = panels[row, 2 * column], panels[row, 2 * column + 1]
        changed = case.lesions if healthy is None else np.abs(case.hu - healthy.hu) > 50
        of = changed if changed.any() else case.labels > 0
        z, y = (int(of.sum(axes).argmax()) for axes in ((1, 2), (0, 2)))
        dz, dy, dx = case.grid.spacing_mm
        for axes, cut, aspect in ((coronal, np.s_[::-1, y], dz / dx), (axial, np.s_[z], dy / dx)):
            axes.imshow(case.hu[cut], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=aspect)
            if case.lesions[cut].any():
                axes.contour(case.lesions[cut], [0.5], colors="#00d0a0", linewidths=0.35)
        coronal.set_title(name, fontsize=9, loc="left")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
