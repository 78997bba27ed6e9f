"""What is measured of a CT inside its lung mask, without any model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..ct.grid import Grid, canonical_view
from ..ct.provenance import Provenance
from ..lungs.coverage import Coverage, lung_coverage
from ..lungs.densitometry import Densitometry, LungDensities, measure, measure_lungs
from ..lungs.imagewarnings import image_warnings
from ..lungs.masks import LungRegions
from ..lungs.morphology import box
from ..lungs.regions import LOBES
from ..models.modelcard import ModelCard
from ..models.preprocessing import View
from .extent import coarser, disease_extent, evidence_share, region_shares

FEWEST_VOXELS = 1000
"""A region of fewer voxels has no percentiles."""


@dataclass(frozen=True)
class Measured:
    """A CT measured in its lung mask.

    Attributes:
        regions: the lung mask and the lobes.
        coverage: how much of the lungs is not in the CT.
        lungs: densitometry by slice.
        densitometry: by region: "whole", "right", "left", "upper", "middle", "lower", and the lobes, where they are
            known, by their names in ``regions.Region``.
        warnings: of the CT and of the mask, gravest first.
    """

    regions: LungRegions
    coverage: Coverage
    lungs: LungDensities
    densitometry: dict[str, Densitometry]
    warnings: tuple[str, ...]


def measured_in(image: sitk.Image, regions: LungRegions, provenance: Provenance) -> Measured:
    """Measure a CT in its lung mask.

    Args:
        image: a CT in HU, any orientation.
        regions: its lungs and lobes.
        provenance: what is known of the CT beside its voxels.
    """
    hu, grid = canonical_view(image)
    labels = regions.lungs
    columns = (slice(None), *box(labels)[1:])  # of voxels, with lung in them
    lungs = measure_lungs(hu[columns], labels[columns], grid.spacing_mm)
    figures = dict(lungs.regions)
    if regions.lobes is not None:
        figures |= _of_lobes(hu, regions.lobes, grid)
    voxel_l = math.prod(grid.spacing_mm) / 1e6
    return Measured(
        regions,
        lung_coverage(labels, grid),
        lungs,
        {name: _without_percentiles_of_few(region, voxel_l) for name, region in figures.items()},
        (*provenance.warnings, *regions.warnings, *image_warnings(image, labels, provenance.slice_thickness_mm)),
    )


@dataclass(frozen=True)
class RegionalFigures:
    """What a mask makes of a model's maps.

    Attributes:
        laa_950_percent: (slices,) of the network's grid, inferior to superior; NaN without lung.
        disease_extent_percent: by region; empty without a disease map.
        evidence_share_percent: by region; empty without evidence.
    """

    laa_950_percent: NDArray[np.float64]
    disease_extent_percent: dict[str, float]
    evidence_share_percent: dict[str, float]


def regional_figures(
    measured: Measured,
    view: View,
    lung: NDArray[np.float32],
    evidence: NDArray[np.floating] | None,
    disease: NDArray[np.float32] | None,
    card: ModelCard,
) -> RegionalFigures:
    """Share a model's maps out to the regions of a CT's lungs.

    Args:
        measured: the CT.
        view: the part of it that the network read.
        lung: (slices, rows, columns): the share of lung in each voxel of the network's grid, 0 to 1.
        evidence: by place, as ``ScanResult.evidence``; None for a network that reads no volume.
        disease: probability of disease by place; None without a disease map.
        card: of the model.
    """
    regions, lungs = measured.regions, measured.lungs
    extent: dict[str, float] = {}
    share: dict[str, float] = {}
    if evidence is not None:
        shares = region_shares(regions.lungs, regions.lobes, lung, lungs.voxels_by_slice, view)
        share = evidence_share(np.asarray(evidence, np.float32), coarser(shares, evidence.shape))
        if disease is not None and card.disease_map is not None:
            extent = disease_extent(disease, card.disease_map.floor, shares)
    return RegionalFigures(laa_by_slice(lungs, view), extent, share)


def laa_by_slice(lungs: LungDensities, view: View) -> NDArray[np.float64]:
    """LAA%-950 of the CT slices that fall into each slice of a network's grid, inferior to superior."""
    voxels, low = lungs.voxels_by_slice, lungs.below_950_by_slice
    slices, owner = view.grid.shape[0], view.slice_of(len(voxels))
    total = np.bincount(owner, voxels, slices)
    counts = np.bincount(owner, low, slices)
    share: NDArray[np.float64] = np.divide(counts, total, out=np.full(slices, np.nan), where=total > 0)
    return 100 * share


def _of_lobes(hu: NDArray[np.generic], lobes: NDArray[np.uint8], grid: Grid) -> dict[str, Densitometry]:
    """Those that have voxels; a lobe that was removed is not in the label map."""
    where = box(lobes)
    hu, lobes, voxel_mm3 = hu[where], lobes[where], math.prod(grid.spacing_mm)
    there = np.flatnonzero(np.bincount(lobes.ravel(), minlength=len(LOBES) + 1)[1:]) + 1
    return {LOBES[number - 1].value: measure(hu[lobes == number], voxel_mm3) for number in there.tolist()}


def _without_percentiles_of_few(region: Densitometry, voxel_l: float) -> Densitometry:
    if round(region.volume_l / voxel_l) >= FEWEST_VOXELS:
        return region
    percentiles = [field.name for field in dataclasses.fields(region) if field.name.startswith("perc")]
    return dataclasses.replace(region, **dict.fromkeys(percentiles, math.nan))
