#!/usr/bin/env python3
"""Compare simulated patches of lung with real ones, class by class.

The real ones: EmphysemaPatches.mat of the Chest Imaging Platform, 1,337 labelled patches of 31 x 31 pixels in HU
(normal tissue NT, centrilobular CL1 mild to CL3 severe, panlobular PL, paraseptal PS). Their pixel size is not stated;
0.65 mm is assumed. Run it in the project's environment:

    .venv/bin/python scripts/compare_patches.py EmphysemaPatches.mat normal-ct.nrrd ... --out comparison

A simulated patch of a class lies where disease of its subtype was put, chosen by how much of it is destroyed, not by
its density, as the experts chose theirs by the look. It writes patches.json, patches.png and pictures of patches. The
numbers: LAA%-950 in the median; the Wasserstein distance of HU histograms (HU); the root mean square difference of the
radial power spectra (decibel); and how well a classifier tells real from simulated (AUC, 5-fold cross-validated; 0.5:
not at all).
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.io
from EmphysemaScannerLib.simulator.acquisition import Acquisition, Scan, acquire
from EmphysemaScannerLib.simulator.anatomy import Anatomy
from EmphysemaScannerLib.simulator.case import diseased
from EmphysemaScannerLib.simulator.disease import Disease, Subtype
from EmphysemaScannerLib.simulator.lungspace import LungSpace
from scipy import ndimage
from scipy.stats import wasserstein_distance

SIZE, PIXEL_MM = 31, 0.65
CLASSES = {  # subtype, extents in %, share of the patch's lung that is lesion, and that is vessel
    "NT": (None, (0, 0), (0.0, 0.0), 0.01),
    "CL1": (Subtype.CENTRILOBULAR, (2, 4), (0.02, 0.1), 0.04),
    "CL2": (Subtype.CENTRILOBULAR, (10, 20), (0.12, 0.65), 0.06),
    "CL3": (Subtype.CENTRILOBULAR, (35, 45), (0.5, 1.0), 0.03),
    "PL": (Subtype.PANLOBULAR, (30, 45), (0.97, 1.0), 0.005),
    "PS": (Subtype.PARASEPTAL, (6, 12), (0.05, 0.5), 0.1),
}
VESSEL_HU = -600
NORMAL_HU = -894  # the median of the real patches of normal tissue
SHOWN_HU = (-1050, -550)


def real_patches(path: Path) -> dict[str, np.ndarray]:
    stored = scipy.io.loadmat(path)
    pairs = zip(stored["EmphyPatch"][0], stored["classLabel"][0], strict=True)
    return {str(label[0]): np.moveaxis(patches, -1, 0).astype(np.float32) for patches, label in pairs}


def simulated_patches(anatomies: list[Anatomy], count: int) -> dict[str, np.ndarray]:
    out: dict[str, list[np.ndarray]] = {name: [] for name in CLASSES}
    for name, (subtype, extents, *shares) in CLASSES.items():
        rounds = [(anatomy, extent) for anatomy in anatomies for extent in extents]
        for number, (anatomy, extent) in enumerate(rounds):
            rng = np.random.default_rng([list(CLASSES).index(name), number])
            hu, lesions = made(anatomy, subtype, extent, rng)
            out[name] += cut(
                hu, lesions, anatomy, *shares, -(-count // len(rounds)), subtype is Subtype.PARASEPTAL, rng
            )
    return {name: np.stack(patches) for name, patches in out.items()}


def made(
    anatomy: Anatomy, subtype: Subtype | None, extent: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A chest with disease, scanned as COPD studies do: standard to slightly sharp kernel, full dose."""
    spacing = anatomy.grid.spacing_mm
    parenchyma = (NORMAL_HU + 1000) * float(np.exp(rng.normal(0, 0.12))) - 1000
    disease = Disease(subtype, extent) if subtype else None
    hu, lesions = diseased(anatomy.hu, LungSpace(anatomy.labels, spacing), disease, rng)
    breath = Acquisition(
        parenchyma_hu=parenchyma,
        noise_hu=float(np.exp(rng.normal(np.log(11), 0.35))),
        kernel=float(rng.uniform(0.1, 0.3)),
        streaks=float(rng.uniform(0.2, 0.6)),
    )
    return acquire(Scan(hu, anatomy.labels, lesions, anatomy.grid), breath, anatomy.hu, rng).hu, lesions


def cut(
    hu: np.ndarray,
    lesions: np.ndarray,
    anatomy: Anatomy,
    share: tuple[float, float],
    vessels: float,
    count: int,
    at_pleura: bool,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Patches in which lesions take such a share of the lung, at places drawn by chance."""
    lung = anatomy.labels > 0
    zoom = anatomy.grid.spacing_mm[1] / PIXEL_MM
    half = int(np.ceil(SIZE / zoom / 2)) + 2
    middles = np.argwhere(lesions if share[1] else lung)
    found: list[np.ndarray] = []
    for k, r, c in middles[rng.permutation(len(middles))[:20_000]]:
        part = (k, slice(max(r - half, 0), r + half + 1), slice(max(c - half, 0), c + half + 1))
        inside = lung[part]
        if inside.shape != (2 * half + 1, 2 * half + 1):
            continue
        filled = inside.mean()
        if not (0.25 < filled < 0.9 if at_pleura else filled > 0.9):
            continue
        if (anatomy.hu[part][inside] > VESSEL_HU).mean() > vessels:  # the experts kept away from large vessels
            continue
        diseased_share = lesions[part][inside].mean()
        if not share[0] <= diseased_share <= max(share[1], 0):
            continue
        offsets = (np.arange(SIZE) - SIZE // 2) / zoom + half
        grid = np.meshgrid(offsets, offsets, indexing="ij")
        found.append(ndimage.map_coordinates(hu[part], grid, order=3, mode="nearest").astype(np.float32))
        if len(found) == count:
            break
    return found


def spectra(patches: np.ndarray) -> np.ndarray:
    """Radial power spectra (patches, frequencies) of lung and vessels, walls and bones clipped."""
    window = np.hanning(SIZE)[:, None] * np.hanning(SIZE)
    clipped = np.clip(patches, -1100, -500)
    clipped = clipped - clipped.mean((1, 2), keepdims=True)
    power = np.abs(np.fft.fft2(clipped * window)) ** 2
    f = np.fft.fftfreq(SIZE)
    radius = np.hypot(f[:, None], f)
    edges = np.linspace(0.03, 0.5, 13)
    bands = [power[:, (radius >= a) & (radius < b)].mean(1) for a, b in pairwise(edges)]
    return np.stack(bands, 1)


def features(patches: np.ndarray) -> np.ndarray:
    """What a classifier sees: density percentiles, texture spectrum, holes, runs along rows and columns."""
    flat = patches.reshape(len(patches), -1)
    edges = (
        np.abs(np.diff(np.clip(patches, -1100, -500), axis=2)),
        np.abs(np.diff(np.clip(patches, -1100, -500), axis=1)),
    )
    return np.column_stack(
        [
            np.percentile(flat, [1, 5, 10, 25, 50, 75, 90, 95], axis=1).T,
            np.log(spectra(patches) + 1),
            (patches < -950).mean((1, 2)),
            (patches < -910).mean((1, 2)),
            *(np.median(edge, (1, 2)) for edge in edges),
        ]
    )


def laa(patches: np.ndarray) -> np.ndarray:
    return 100 * (patches < -950).mean((1, 2))


def telling_apart(real: np.ndarray, simulated: np.ndarray) -> float:
    """AUC of a classifier between the two."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    x = np.vstack([features(real), features(simulated)])
    y = np.repeat([0, 1], [len(real), len(simulated)])
    forest = RandomForestClassifier(200, min_samples_leaf=3, class_weight="balanced", random_state=0)
    order = np.random.default_rng(0).permutation(len(y))
    guess = cross_val_predict(forest, x[order], y[order], cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(y[order], guess))


def compared(real: np.ndarray, simulated: np.ndarray) -> dict[str, float]:
    ours, theirs = (10 * np.log10(np.median(spectra(p), 0)) for p in (simulated, real))
    return {
        "patches": len(simulated),
        "median LAA%-950, real": float(np.median(laa(real))),
        "median LAA%-950, simulated": float(np.median(laa(simulated))),
        "histogram distance, HU": float(wasserstein_distance(clipped(real), clipped(simulated))),
        "spectrum distance, dB": float(np.sqrt(np.mean((ours - theirs) ** 2))),
        "AUC real from simulated": telling_apart(real, simulated),
    }


def clipped(patches: np.ndarray) -> np.ndarray:
    return np.clip(patches, -1100, -500).ravel()


def draw(out: Path, real: dict[str, np.ndarray], simulated: dict[str, np.ndarray]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, len(CLASSES), figsize=(18, 8), layout="constrained")
    edges = np.linspace(0.03, 0.5, 13)
    everything = {"real": real, "simulated": simulated}
    for column, name in enumerate(CLASSES):
        for which, patches in everything.items():
            p = patches[name]
            axes[0, column].hist(clipped(p), np.arange(-1050, -590, 10), density=True, histtype="step", label=which)
            axes[1, column].ecdf(laa(p), label=which)
            axes[2, column].semilogy(edges[:-1] / PIXEL_MM, np.median(spectra(p), 0), label=which)
        axes[0, column].set_title(name)
        for row, x in enumerate(("HU", "LAA%-950 of a patch", f"1/mm at {PIXEL_MM} mm")):
            axes[row, column].set_xlabel(x)
    axes[0, 0].legend()
    figure.savefig(out / "patches.png", dpi=80)
    rng = np.random.default_rng(0)
    low, high = SHOWN_HU
    for which, patches in everything.items():
        rows = []
        for name in CLASSES:
            chosen = patches[name][rng.permutation(len(patches[name]))[:32]]
            for some in (chosen[:16], chosen[16:]):
                padded = np.full((16, SIZE + 2, SIZE + 2), high, np.float32)
                padded[: len(some), 1:-1, 1:-1] = some
                rows.append(np.hstack(padded))
        plt.imsave(
            out / f"patches-{which}.png", np.kron(np.vstack(rows), np.ones((2, 2))), vmin=low, vmax=high, cmap="gray"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patches", type=Path)
    parser.add_argument("cts", type=Path, nargs="+", help="normal chest CTs of full resolution")
    parser.add_argument("--out", type=Path, default=Path("comparison"))
    parser.add_argument("--count", type=int, default=180, help="simulated patches of each class")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    real = real_patches(options.patches)
    anatomies = [Anatomy.read(path, path.name, "train", in_plane=0) for path in options.cts]
    simulated = simulated_patches(anatomies, options.count)
    table = {name: compared(real[name], simulated[name]) for name in CLASSES}
    (options.out / "patches.json").write_text(json.dumps(table, indent=1) + "\n")
    for name, row in table.items():
        print(name.ljust(4), ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    draw(options.out, real, simulated)


if __name__ == "__main__":
    main()
