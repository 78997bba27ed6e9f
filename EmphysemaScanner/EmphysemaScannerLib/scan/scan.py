"""One CT through one model: the whole way from an image to a ScanResult, and the only place that knows it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ..base.errors import ModelFileError, shown
from ..base.parallel import beside
from ..base.progress import Progress, part, silent
from ..ct.checks import check_image
from ..ct.grid import Grid, canonical_view, voxels_sha256
from ..ct.provenance import UNKNOWN, Provenance
from ..lungs.densitometry import Densitometry
from ..lungs.masks import lung_regions
from ..lungs.regions import NO_MASKS, Masks, RegionError
from ..lungs.scope import Scope
from ..models.likeness import unlike_training
from ..models.lowdensity import low_share
from ..models.modelcard import ModelCard
from ..models.modelfile import Model
from ..models.networks import ARCHITECTURES
from ..models.preprocessing import Needs, View
from .answers import Answer, Reading, answer
from .call import contradiction
from .manifest import run_manifest
from .measuring import Measured, by_height, measured_in, regional_figures
from .result import OverlayMap, ScanResult


def scan(
    image: sitk.Image,
    model: Model,
    *,
    progress: Progress = silent,
    source: str = "",
    provenance: Provenance = UNKNOWN,
    masks: Masks = NO_MASKS,
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
        masks: lung mask and lobes that the user gave; the lungs are found otherwise.
        dtype: what the units' convolutions are calculated in; the answer and the evidence are always float32.
        measure: how much is measured beside densitometry.

    Raises:
        NotAChestCTError: (or one of its kinds) the image cannot be scanned; the message says why.
        RegionError: what the user gave as lung mask or lobes cannot be used on this CT.
        ModelFileError: the model has no answer.
    """
    card, timings = model.card, dict[str, float]()

    progress(0.0, "Checking the image")
    with _timed(timings, "check"):
        check_image(image)
        hu, ct_grid = canonical_view(image)
        checksum = beside(_checksum, image, hu)

    progress(0.05, "Finding the lungs")
    with _timed(timings, "lung_mask"):
        regions = lung_regions(image, masks)
        labels = regions.lungs

    progress(0.4, "Measuring density")
    with _timed(timings, "densitometry"):
        measured = measured_in(image, regions, provenance, measure, part(progress, 0.4, 0.5))
        densitometry, warnings = measured.densitometry, measured.warnings

    progress(0.5, "Averaging onto the network's grid")
    with _timed(timings, "resampling"):
        view = card.preprocessing.view(ct_grid, labels)
        lung = view.share(labels, within=regions.box)
        x, unlike = _network_input(card, hu, view, densitometry)
        warnings += unlike

    with _timed(timings, "low_density"):
        low = low_share(hu, labels, view, lung, regions.box) if card.weighs_low_density else None
    with _timed(timings, "network"):
        answered = _ask(model, x, low, dtype, progress)
    with _timed(timings, "regions"):
        by_region = regional_figures(measured, view, lung, answered.terms, answered.disease, card)
    timings["total"] = sum(timings.values())

    probability = float(expit(answered.logit))
    device = next(model.network.parameters()).device
    grid, order = view.grid, np.array(answered.direction.order(view.grid.shape[0]))
    return ScanResult(
        probability=probability,
        logit=answered.logit,
        bias=answered.bias,
        slices=answered.slices,
        slice_positions_mm=grid.slice_positions_mm()[order],
        slice_indices=order,
        evidence=None if answered.terms is None else _overlay(answered.terms, grid),
        activations={name: _overlay(values, grid) for name, values in answered.activations.items()},
        class_activations={name: _overlay(values, grid) for name, values in answered.class_activations.items()},
        lung_mask=OverlayMap(labels, ct_grid),
        lung_fraction=OverlayMap(lung, grid),
        densitometry=densitometry,
        laa_950_by_slice_percent=by_region.laa_950_percent[order],
        coverage=measured.coverage,
        warnings=(*_contradictions(card, probability, measured), *warnings),
        model=card,
        timings_s=timings,
        source=shown(source),
        provenance=provenance,
        disease=None if answered.disease is None else _overlay(answered.disease, grid),
        disease_extent_percent=by_region.disease_extent_percent,
        evidence_share_percent=by_region.evidence_share_percent,
        low_density=None if low is None else _overlay(low, grid),
        lungs_from=regions.lungs_from,
        lobes_from=regions.lobes_from,
        lobe_mask=None if regions.lobes is None else OverlayMap(regions.lobes, ct_grid),
        measurements=by_height(measured, by_region, order),
        run=run_manifest(model.sha256, checksum.result(), str(device), str(dtype).removeprefix("torch.")),
    )


def _checksum(image: sitk.Image, hu: NDArray[np.generic]) -> str:
    """Of the voxels of an image, which lie in its memory; a scan that is cancelled may let go of it earlier."""
    return voxels_sha256(hu)


def _network_input(
    card: ModelCard, hu: NDArray[np.generic], view: View, regions: Mapping[str, Densitometry]
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """What the network reads, and a warning if that is unlike what it was trained on.

    Returns:
        Volumes (1, T, 1, H, W) or, for models that read it, densitometry (1, 2): LAA%-950 and Perc15 of both lungs.
    """
    if ARCHITECTURES[card.architecture].needs is Needs.DENSITOMETRY:
        whole = regions["whole"]
        if math.isnan(whole.perc15_hu):
            raise RegionError("The lung mask has too few voxels for this model; give a larger one.")
        return torch.tensor([[whole.laa_950_percent, whole.perc15_hu]], dtype=torch.float32), ()
    averaged = card.preprocessing.average(hu, view)
    x = torch.from_numpy(card.preprocessing.normalise(averaged))[None, :, None]
    return x, unlike_training(averaged, card.training_range)


def _ask(
    model: Model, x: torch.Tensor, low: NDArray[np.float32] | None, dtype: torch.dtype, progress: Progress
) -> Answer:
    """The network's answer, calculated where its weights are; ``low`` is for its disease map."""
    card, network = model.card, model.network
    device = next(network.parameters()).device
    reading = Reading(
        card.temperature,
        dtype,
        lambda share, stage: progress(0.6 + 0.4 * share, stage),
        card.disease_map,
        card.class_weights,
        None if low is None else torch.from_numpy(low)[None].to(device),
    )
    answered = answer(network, x.to(device), reading)
    if not np.isfinite(answered.logit):
        raise ModelFileError("The model's answer is not a number; choose another model.")
    return answered


def _contradictions(card: ModelCard, probability: float, measured: Measured) -> tuple[str, ...]:
    """Warnings where densitometry, if the model did not read it, says the opposite of the model."""
    if ARCHITECTURES[card.architecture].needs is not Needs.VOLUME:
        return ()
    whole = measured.densitometry.get("whole")
    return contradiction(probability, card.operating_point.probability, whole, measured.noisy)


def _overlay(values: NDArray[np.floating], grid: Grid) -> OverlayMap:
    """A map of a unit, on the network's input grid coarsened by the unit's pooling."""
    return OverlayMap(np.ascontiguousarray(values, np.float32), grid.resized(values.shape))


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - start
