"""What is measured of a CT inside its lung mask, without any model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.progress import Progress, silent
from ..ct.grid import canonical_view
from ..ct.provenance import Provenance
from ..lungs.coverage import Coverage, lung_coverage
from ..lungs.densitometry import Densitometry, LungDensities, measure_lungs, measure_named
from ..lungs.further import measure_further
from ..lungs.imagewarnings import NoiseWarning, image_warnings
from ..lungs.masks import LungRegions
from ..lungs.measurements import Measurements
from ..lungs.regions import LOBES, lobe_voxels
from ..lungs.scope import Scope
from ..models.modelcard import ModelCard
from ..models.preprocessing import View
from .extent import coarser, disease_extent, diseased, evidence_share, region_shares


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
        noisy: whether a warning names noise or a sharp kernel.
        further: what is measured beside densitometry.
    """

    regions: LungRegions
    coverage: Coverage
    lungs: LungDensities
    densitometry: dict[str, Densitometry]
    warnings: tuple[str, ...]
    noisy: bool
    further: Measurements


def measured_in(
    image: sitk.Image,
    regions: LungRegions,
    provenance: Provenance,
    scope: Scope = Scope.HISTOGRAM,
    progress: Progress = silent,
) -> Measured:
    """Measure a CT in its lung mask.

    Args:
        image: a CT in HU, any orientation.
        regions: its lungs and lobes.
        provenance: what is known of the CT beside its voxels.
        scope: how much is measured beside densitometry.
        progress: called with the share done and the stage; whatever it raises ends the work.
    """
    hu, grid = canonical_view(image)
    labels = regions.lungs
    columns = (slice(None), *regions.box[1:])  # of voxels, with lung in them
    lungs = measure_lungs(hu[columns], labels[columns], grid.spacing_mm)
    densitometry, lobes = dict(lungs.regions), None
    if regions.lobes is not None:
        lobes = regions.lobes[columns], _lobes_there(regions.lobes)
        densitometry |= measure_named(hu[columns], *lobes, grid.spacing_mm).regions
    warnings = (*provenance.warnings, *regions.warnings, *image_warnings(image, labels, provenance.slice_thickness_mm))
    noisy = any(isinstance(warning, NoiseWarning) for warning in warnings)
    further = measure_further(
        hu[columns], labels[columns], grid.spacing_mm, lungs, scope, sharp=noisy, lobes=lobes, progress=progress
    )
    return Measured(regions, lung_coverage(labels, grid), lungs, densitometry, warnings, noisy, further)


def _lobes_there(lobes: NDArray[np.uint8]) -> dict[int, str]:
    """The names of the lobes that have voxels, by their values; a lobe that was removed is not in the label map."""
    there = np.flatnonzero(lobe_voxels(lobes)[1:]) + 1
    return {number: LOBES[number - 1].value for number in there.tolist()}


@dataclass(frozen=True)
class RegionalFigures:
    """What a mask makes of a model's maps.

    Attributes:
        laa_950_percent: (slices,) of the network's grid, inferior to superior; NaN without lung.
        laa_950_percent_by_side: the same of the "right" and the "left" lung.
        disease_extent_percent: by region; empty without a disease map.
        evidence_share_percent: by region; empty without evidence.
    """

    laa_950_percent: NDArray[np.float64]
    laa_950_percent_by_side: dict[str, NDArray[np.float64]]
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
        known = None if disease is None or card.disease_map is None else diseased(disease, card.disease_map.floor)
        coarse = {}
        for name, fine in region_shares(regions.lungs, regions.lobes, lung, lungs.voxels_by_slice, view, regions.box):
            coarse[name] = coarser(fine, evidence.shape)
            if known is not None:
                extent[name] = disease_extent(known, fine)
        share = evidence_share(np.asarray(evidence, np.float32), coarse)
    sides = zip(lungs.voxels_by_slice_and_side, lungs.below_950_by_slice_and_side, strict=True)
    right, left = (laa_by_slice(voxels, low, view) for voxels, low in sides)
    laa = laa_by_slice(lungs.voxels_by_slice, lungs.below_950_by_slice, view)
    return RegionalFigures(laa, {"right": right, "left": left}, extent, share)


def laa_by_slice(voxels: NDArray[np.int64], low: NDArray[np.int64], view: View) -> NDArray[np.float64]:
    """LAA%-950 of the CT slices that fall into each slice of a network's grid, inferior to superior.

    Args:
        voxels: lung voxels of each CT slice.
        low: those of them below -950 HU.
        view: of the CT on the grid.
    """
    slices, owner = view.grid.shape[0], view.slice_of(len(voxels))
    total = np.bincount(owner, voxels, slices)
    counts = np.bincount(owner, low, slices)
    share: NDArray[np.float64] = np.divide(counts, total, out=np.full(slices, np.nan), where=total > 0)
    return 100 * share


def by_height(measured: Measured, figures: RegionalFigures, order: NDArray[np.int64]) -> Measurements:
    """What was measured beside densitometry, with LAA%-950 of each lung by slice in reading order."""
    sides = {name: values[order] for name, values in figures.laa_950_percent_by_side.items()}
    return dataclasses.replace(measured.further, laa_950_by_height_percent=sides)
