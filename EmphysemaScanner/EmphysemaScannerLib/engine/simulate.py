"""A cohort of simulated cases from real CTs, in pairs: the same deformed anatomy, once healthy, once with emphysema."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..core.densitometry import measure
from ..core.grid import Grid, area_average, canonical
from ..core.lungs import segment_lungs
from ..core.preprocessing import Preprocessing
from ..core.reading import read_ct
from ..core.simulation import Disease, Subtype, Variation, acquire, add_emphysema, bend

WORKING_SIZE = 256  # rows and columns at which cases are simulated; larger CTs are averaged down to it first
COLUMNS = (
    "volume", "label", "patient", "split", "lesions", "subtype", "extent_percent",
    "laa_950_percent", "perc15_hu", "mean_hu", "noise_hu", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Anatomy:
    """A real chest that cases are made from: HU and lung labels (canonical) on one grid."""

    name: str
    split: str
    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    grid: Grid

    @classmethod
    def read(cls, path: Path, name: str, split: str) -> Anatomy:
        """Read a CT without emphysema and find its lungs."""
        image = canonical(read_ct(path))
        labels = segment_lungs(image)
        grid = Grid.of_image(image)
        slices, rows, columns = grid.shape
        small = grid.resized((slices, min(rows, WORKING_SIZE), min(columns, WORKING_SIZE)))
        hu = area_average(np.maximum(sitk.GetArrayViewFromImage(image), -1024), small.shape)
        parts = [area_average(labels == side, small.shape) for side in (1, 2)]
        reduced = np.where(parts[0] + parts[1] >= 0.5, np.where(parts[0] >= parts[1], 1, 2), 0).astype(np.uint8)
        return cls(name, split, hu, reduced, small)


def draw_disease(rng: np.random.Generator) -> Disease:
    """A random disease: all subtypes; mild (1 to 5 %), moderate (5 to 20 %) and severe (20 to 45 %) extents."""
    low, high = [(1, 5), (5, 20), (20, 45)][rng.choice(3, p=[0.35, 0.4, 0.25])]
    subtype = list(Subtype)[rng.choice(4, p=[0.45, 0.15, 0.15, 0.25])]
    return Disease(subtype, float(np.exp(rng.uniform(np.log(low), np.log(high)))))


def simulate_cohort(
    anatomies: Sequence[Anatomy],
    out: Path,
    pairs: int,
    seed: int,
    on_pair: Callable[[int, int], None] = lambda done, pairs: None,
) -> Path:
    """Simulate pairs of cases, each healthy and diseased, and write them on the network's grid with a manifest.

    Runs again where it stopped: a pair depends on the seed and its number alone, and those in the manifest are kept.

    Args:
        anatomies: chests without emphysema, taken in turn.
        out: folder; gets ``manifest.csv`` and ``volumes/``.
        pairs: number of pairs.
        seed: the same seed gives the same cohort, bit by bit.
        on_pair: told (pairs done, pairs) after each.

    Returns:
        The manifest's path.
    """
    out = Path(out)
    (out / "volumes").mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.csv"
    rows: list[dict[str, object]] = []
    if manifest.exists():
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    for pair in range(len(rows) // 2, pairs):
        anatomy = anatomies[pair % len(anatomies)]
        rows += _simulate_pair(anatomy, out, seed, pair)
        partial = manifest.with_suffix(".part")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, manifest)
        on_pair(pair + 1, pairs)
    return manifest


def _simulate_pair(anatomy: Anatomy, out: Path, seed: int, pair: int) -> list[dict[str, object]]:
    rng = np.random.default_rng([seed, pair])
    shape = Variation.draw(rng)
    spacing = anatomy.grid.spacing_mm
    hu, labels = bend(anatomy.hu, anatomy.labels, spacing, shape, rng)
    preprocessing = Preprocessing()
    rows = []
    for label in (0, 1):
        case, lesions = hu, np.zeros_like(labels)
        disease = None
        if label:
            disease = draw_disease(rng)
            case, lesions = add_emphysema(hu, labels, spacing, disease, rng)
        density = Variation.draw_density(rng)  # drawn for each: density alone must not tell the two apart
        case = acquire(case, labels, spacing, density, rng)
        measured = measure(case[labels > 0], float(np.prod(spacing)))
        grid = anatomy.grid.resized(preprocessing.shape)
        name = f"{pair:05d}-{label}"
        _write(grid.to_image(np.rint(preprocessing.average(case)).astype(np.int16)), out / "volumes" / f"{name}.nrrd")
        share = np.rint(255 * area_average(lesions, preprocessing.shape)).astype(np.uint8)
        _write(grid.to_image(share), out / "volumes" / f"{name}-lesions.nrrd")
        rows.append(
            {
                "volume": f"volumes/{name}.nrrd",
                "label": label,
                "patient": anatomy.name,
                "split": anatomy.split,
                "lesions": f"volumes/{name}-lesions.nrrd",
                "subtype": disease.subtype.value if disease else "",
                "extent_percent": round(100 * np.count_nonzero(lesions) / max(np.count_nonzero(labels), 1), 3),
                "laa_950_percent": round(measured.laa_950_percent, 3),
                "perc15_hu": round(measured.perc15_hu, 1),
                "mean_hu": round(measured.mean_hu, 1),
                "noise_hu": round(density.noise_hu, 1),
                "seed": f"{seed}/{pair}",
            }
        )
    return rows


def _write(image: sitk.Image, path: Path) -> None:
    partial = path.with_name(f"part-{path.name}")  # the writer goes by the ending
    sitk.WriteImage(image, str(partial), useCompression=True)
    os.replace(partial, path)
