"""The chests that the bundled model's last unit learns from, cut to their lungs: twins, and chests as they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from EmphysemaScannerLib.cohort.lesionmaps import lesions_on
from EmphysemaScannerLib.cohort.manifest import CohortRow, read_manifest
from EmphysemaScannerLib.ct.grid import area_average, canonical, canonical_view
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from EmphysemaScannerLib.lungs.morphology import box
from EmphysemaScannerLib.models.field import Field
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from numpy.typing import NDArray

PREPROCESSING = Preprocessing((35, 128, 128), field=Field.LUNGS, margin_mm=5.0, outside_hu=0.0)
DARK_PERCENT = 4.0  # below -950 HU on the network's grid: healthy lungs darker than the real ones at hand teach nothing
_AROUND_MM = 15.0
_FINEST_IN_PLANE = 300


@dataclass(frozen=True)
class Chest:
    """A chest in the box of its lungs, slices inferior to superior.

    Attributes:
        hu: (slices, rows, columns).
        labels: 1 and 2 in the lungs, as ``segment_lungs`` finds them in this very CT.
        lesions: 0 or 1.
        spacing_mm: of the voxels (slice, row, column).
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    lesions: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]

    @property
    def parenchyma_hu(self) -> float:
        return float(np.median(self.hu[(self.labels > 0) & (self.hu < -600)]))

    @property
    def dark_percent(self) -> float:
        """How much of the lungs lies below -950 HU on the network's grid."""
        seen = self.seen()
        return float(100 * (seen[seen < -600] < -950).mean())

    def seen(self) -> NDArray[np.float32]:
        """The whole lungs on the network's grid, in HU."""
        hu = np.where(self.labels > 0, np.maximum(self.hu, PREPROCESSING.padding_hu), np.float32(0))
        margin = PREPROCESSING.margin_mm
        deep, high, wide = (
            (max(part.start - margin / step, 0.0), min(part.stop + margin / step, float(n)))
            for part, step, n in zip(box(self.labels), self.spacing_mm, hu.shape, strict=True)
        )
        return area_average(hu, PREPROCESSING.shape, over=(deep, high, wide))


@dataclass(frozen=True)
class Twins:
    """One chest without and with disease on the same voxels; a chest as it is has no twin with disease."""

    healthy: Chest
    diseased: Chest | None


def _chest(ct: Path, lesions: Path | None, within: tuple[slice, ...] | None) -> tuple[Chest, tuple[slice, ...]]:
    image = canonical(read_ct(ct).image)
    if image.GetSize()[0] > _FINEST_IN_PLANE:
        image = sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), (2, 2, 1))
    hu, grid = canonical_view(image)
    labels = segment_lungs(image)
    cut = within or tuple(
        slice(max(0, part.start - int(_AROUND_MM / step)), min(n, part.stop + int(_AROUND_MM / step)))
        for part, step, n in zip(box(labels), grid.spacing_mm, hu.shape, strict=True)
    )
    ill = np.zeros(hu.shape, np.uint8) if lesions is None else (lesions_on(lesions, grid) >= 128).astype(np.uint8)
    kept = np.rint(hu[cut]).astype(np.int16), np.ascontiguousarray(labels[cut]), np.ascontiguousarray(ill[cut])
    return Chest(*kept, grid.spacing_mm), cut


def _kept(path: Path) -> Twins:
    with np.load(path) as file:
        spacing = tuple(float(s) for s in file["spacing"])
        healthy, *diseased = (
            Chest(file[f"hu{k}"], file[f"labels{k}"], file[f"lesions{k}"], (spacing[0], spacing[1], spacing[2]))
            for k in range(int(file["count"]))
        )
    return Twins(healthy, diseased[0] if diseased else None)


def twins_of(cohort: list[CohortRow], kept: Path) -> list[Path]:
    """Files of the cohort's twins; rows come in pairs, without and with disease."""
    return [_keep(kept, without, with_) for without, with_ in zip(cohort[::2], cohort[1::2], strict=True)]


def as_they_are(cts: list[Path], kept: Path) -> list[Path]:
    """Files of chests without emphysema."""
    return [_keep(kept, CohortRow(ct, 0, ct.name), None) for ct in cts]


def _keep(kept: Path, without: CohortRow, with_: CohortRow | None) -> Path:
    name = hashlib.sha256(str(without.volume).encode()).hexdigest()[:12]
    path = kept / f"{name}.npz"
    if not path.exists():
        healthy, cut = _chest(without.volume, None, None)
        both = [healthy] if with_ is None else [healthy, _chest(with_.volume, with_.lesions, cut)[0]]
        arrays = {f"{key}{k}": getattr(one, key) for k, one in enumerate(both) for key in ("hu", "labels", "lesions")}
        kept.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            np.savez(file, count=len(both), spacing=healthy.spacing_mm, **arrays)
        path.with_suffix(".part").replace(path)
    return path


def chests(manifest: Path, cts: list[Path], kept: Path) -> tuple[list[Path], list[Path]]:
    """What presentations without and with disease are drawn from, some more than once.

    Args:
        manifest: ``manifest-full.csv`` of ``emphysema-scanner simulate --twins --full``.
        cts: the chests themselves.
        kept: folder for what is cut out of them.
    """
    twins, real = twins_of(list(read_manifest(manifest)), kept), as_they_are(cts, kept)
    light = [path for path in twins if _kept(path).healthy.dark_percent <= DARK_PERCENT]
    return light + 2 * real, 3 * twins + real


def read_twins(path: Path) -> Twins:
    return _kept(path)
