"""One CT through one model: the whole way from an image to a ScanResult, and the only place that knows it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ..base.errors import ModelFileError, shown
from ..base.progress import Progress, silent
from ..ct.checks import check_image
from ..ct.grid import Grid, canonical_view
from ..ct.provenance import UNKNOWN, Provenance
from ..lungs.coverage import lung_coverage
from ..lungs.densitometry import measure_lungs
from ..lungs.further import measure_further
from ..lungs.imagewarnings import NoiseWarning, image_warnings
from ..lungs.lungs import find_lungs
from ..lungs.maskwarnings import mask_warnings
from ..lungs.morphology import box
from ..lungs.scope import Scope
from ..models.likeness import unlike_training
from ..models.modelfile import Model
from ..models.networks import ARCHITECTURES
from ..models.preprocessing import Needs, View
from .answers import Reading, answer
from .call import contradiction
from .extent import disease_extent
from .result import OverlayMap, ScanResult


def scan(
    image: sitk.Image,
    model: Model,
    *,
    progress: Progress = silent,
    source: str = "",
    provenance: Provenance = UNKNOWN,
    dtype: torch.dtype = torch.float32,
    measure: Scope = Scope.HISTOGRAM,
) -> ScanResult:
    """Ask a model about a chest CT.

    Args:
        image: a CT in HU, any orientation.
        model: as ``modelfile.load`` gives it; the scan runs on the device where its weights are.
        progress: called with each stage and slice; whatever it raises ends the scan.
        source: what the user calls this CT, kept in the result.
        provenance: what ``reading.read_ct`` knows of the CT beside its voxels.
        dtype: what the units' convolutions are calculated in; the answer and the evidence are always float32.
        measure: how much is measured beside densitometry.

    Raises:
        NotAChestCTError: (or one of its kinds) the image cannot be scanned; the message says why.
        ModelFileError: the model has no answer.
    """
    timings: dict[str, float] = {}

    progress(0.0, "Checking the image")
    with _timed(timings, "check"):
        check_image(image)
        hu, ct_grid = canonical_view(image)

    progress(0.05, "Finding the lungs")
    with _timed(timings, "lung_mask"):
        found = find_lungs(image)
        labels = found.labels
        coverage = lung_coverage(labels, ct_grid)
        where = box(labels)

    progress(0.4, "Measuring density")
    with _timed(timings, "densitometry"):
        columns = (slice(None), *where[1:])  # of voxels, with lung in them
        lungs = measure_lungs(hu[columns], labels[columns], ct_grid.spacing_mm)
        densitometry = lungs.regions
        warnings = (
            *provenance.warnings,
            *mask_warnings(image, found),
            *image_warnings(image, labels, provenance.slice_thickness_mm),
        )
        noisy = any(isinstance(warning, NoiseWarning) for warning in warnings)
    with _timed(timings, "measurements"):
        further = measure_further(
            hu[columns],
            labels[columns],
            ct_grid.spacing_mm,
            lungs,
            measure,
            sharp=noisy,
            progress=_part(progress, 0.4, 0.5),
        )

    progress(0.5, "Averaging onto the network's grid")
    card, network = model.card, model.network
    preprocessing, needs = card.preprocessing, ARCHITECTURES[card.architecture].needs
    device = next(network.parameters()).device
    with _timed(timings, "resampling"):
        view = preprocessing.view(ct_grid, labels)
        grid = view.grid
        lung_fraction = view.share(labels, within=where)
        laa_by_slice = _laa_by_slice(lungs.voxels_by_slice, lungs.below_950_by_slice, view)
        sides = zip(lungs.voxels_by_slice_and_side, lungs.below_950_by_slice_and_side, strict=True)
        laa_by_side = [_laa_by_slice(voxels, low, view) for voxels, low in sides]
        if needs is Needs.DENSITOMETRY:
            whole = densitometry["whole"]
            x = torch.tensor([[whole.laa_950_percent, whole.perc15_hu]], dtype=torch.float32)
        else:
            averaged = preprocessing.average(hu, view)
            x = torch.from_numpy(preprocessing.normalise(averaged))[None, :, None]  # (1, T, 1, H, W)
            warnings += unlike_training(averaged, card.training_range)

    with _timed(timings, "network"):
        reading = Reading(
            card.temperature, dtype, lambda share, stage: progress(0.6 + 0.4 * share, stage), card.disease_map
        )
        answered = answer(network, x.to(device), reading)
    with _timed(timings, "disease_map"):
        extent: dict[str, float] = {}
        if card.disease_map is not None and answered.disease is not None:
            floor = card.disease_map.floor
            extent = disease_extent(answered.disease, floor, labels, lungs.voxels_by_slice, view)
    timings["total"] = sum(timings.values())
    if not np.isfinite(answered.logit):
        raise ModelFileError("The model's answer is not a number; choose another model.")

    order = np.array(answered.direction.order(grid.shape[0]))
    probability = float(expit(answered.logit))
    if needs is Needs.VOLUME:
        opposed = contradiction(probability, card.operating_point.probability, densitometry.get("whole"), noisy)
        warnings = (*opposed, *warnings)
    return ScanResult(
        probability=probability,
        logit=answered.logit,
        bias=answered.bias,
        slices=answered.slices,
        slice_positions_mm=grid.slice_positions_mm()[order],
        slice_indices=order,
        evidence=None if answered.terms is None else _overlay(answered.terms, grid),
        activations={name: _overlay(values, grid) for name, values in answered.activations.items()},
        lung_mask=OverlayMap(labels, ct_grid),
        lung_fraction=OverlayMap(lung_fraction, grid),
        densitometry=densitometry,
        laa_950_by_slice_percent=laa_by_slice[order],
        coverage=coverage,
        warnings=warnings,
        model=card,
        timings_s=timings,
        source=shown(source),
        provenance=provenance,
        disease=None if answered.disease is None else _overlay(answered.disease, grid),
        disease_extent_percent=extent,
        measurements=dataclasses.replace(
            further,
            laa_950_by_height_percent={
                name: values[order] for name, values in zip(("right", "left"), laa_by_side, strict=True)
            },
        ),
    )


def _overlay(values: NDArray[np.floating], grid: Grid) -> OverlayMap:
    """A map of a unit, on the network's input grid coarsened by the unit's pooling."""
    return OverlayMap(np.ascontiguousarray(values, np.float32), grid.resized(values.shape))


def _laa_by_slice(voxels: NDArray[np.int64], low: NDArray[np.int64], view: View) -> NDArray[np.float64]:
    """LAA%-950 of the CT slices that fall into each slice of the grid, inferior to superior.

    Args:
        voxels, low: of each CT slice, lung voxels and those of them below -950 HU.
        view: of the CT on the grid.
    """
    slices, owner = view.grid.shape[0], view.slice_of(len(voxels))
    total = np.bincount(owner, voxels, slices)
    counts = np.bincount(owner, low, slices)
    share: NDArray[np.float64] = np.divide(counts, total, out=np.full(slices, np.nan), where=total > 0)
    return 100 * share


def _part(progress: Progress, low: float, high: float) -> Progress:
    """A part of the progress, from one share to another."""
    return lambda share, stage: progress(low + (high - low) * share, stage)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - start
