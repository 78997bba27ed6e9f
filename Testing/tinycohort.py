"""Cohorts of tiny volumes: dark squares in noise are the disease."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import read_manifest
from EmphysemaScannerLib.models.preprocessing import Preprocessing

TINY = ("--image-size", "32", "--slices", "4")  # options of the command ``train`` for volumes of 4 x 32 x 32


def write_cohort(
    folder: Path, shape: tuple[int, int, int], train: int, tune: int, step_hu: int = -200, side: int = 16
) -> Path:
    """Volumes, lesion maps and ``manifest.csv`` in a folder; every other volume is diseased."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["volume,label,patient,split,lesions"]
    for k in range(train + tune):
        label, split = k % 2, "train" if k < train else "tune"
        hu = rng.normal(-800, 10, shape).astype(np.int16)
        lesions = np.zeros(shape, np.uint8)
        if label:
            y, x = ((n - side) // 2 for n in shape[1:])
            lesions[:, y : y + side, x : x + side] = 255
            hu[lesions > 0] += step_hu
        for name, array in ((f"{k}.nrrd", hu), (f"{k}-lesions.nrrd", lesions)):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / name))
        lines.append(f"{k}.nrrd,{label},patient{k},{split},{k}-lesions.nrrd")
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "manifest.csv"


def grids_through(cache: Path, manifest: Path, times: int) -> list[bytes]:
    """All volumes of a cohort of 4 x 32 x 32 through a cache, several times; for processes that share one."""
    grid, rows = Preprocessing((4, 32, 32)), read_manifest(manifest)
    return [VolumeCache(cache).grid_hu(row.volume, grid).tobytes() for _ in range(times) for row in rows]
