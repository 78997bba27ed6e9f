"""Made-up chests and scan results whose every number is known, so that the scene layer needs no model."""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import Grid, area_average, canonical
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.lungs.densitometry import Densitometry
from EmphysemaScannerLib.models.modelcard import ClassWeights, DiseaseMap, ModelCard, OperatingPoint, UnitWeights
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult, SliceEvidence
from numpy.typing import NDArray

SLICES, SIDE = 35, 128
UNITS = {"asc1": 64, "desc1": 32, "asc2": 16, "desc2": 8}


def chest(shape: tuple[int, int, int] = (70, 96, 96)) -> tuple[sitk.Image, NDArray[np.uint8]]:
    """A canonical CT of a body with two lungs, in HU, and its lung labels (1 right, 2 left)."""
    spacing = np.array([280.0, 300.0, 360.0]) / shape
    s, p, left = np.meshgrid(
        *(m * (np.arange(n) - (n - 1) / 2) for n, m in zip(shape, spacing, strict=True)), indexing="ij"
    )
    hu = np.where((left / 165) ** 2 + (p / 110) ** 2 < 1, 40, -1000).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    for label, side in ((1, -78), (2, 78)):
        labels[((left - side) / 55) ** 2 + (p / 82) ** 2 + (s / 122) ** 2 < 1] = label
    vessels = (labels > 0) & (np.hypot((left % 24) - 12, (p % 24) - 12) < 3)
    hu[labels > 0] = -870
    hu[vessels] = -300
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(spacing[::-1].tolist())
    image.SetOrigin([-178.0, -148.0, -278.0])
    return image, labels


def result_on(image: sitk.Image, labels: NDArray[np.uint8], seed: int = 0, source: str = "Chest") -> ScanResult:
    """A scan result on a CT: evidence towards disease in the upper right lung, against it in the lower left.

    Args:
        image: a CT in any orientation.
        labels: its lung mask on its canonical grid.
        seed: of the evidence's noise and of the activations.
    """
    rng = np.random.default_rng(seed)
    ct_grid = Grid.of_image(canonical(image))
    grid = ct_grid.resized((SLICES, SIDE, SIDE))
    k, y, x = np.meshgrid(np.arange(SLICES), np.arange(8), np.arange(8), indexing="ij")
    towards = 0.2 * np.exp(-(((k - 26) / 4) ** 2) - ((y - 3.0) / 2) ** 2 - ((x - 2) / 1.2) ** 2)
    against = 0.12 * np.exp(-(((k - 9) / 4) ** 2) - ((y - 4.0) / 2) ** 2 - ((x - 5.5) / 1.2) ** 2)
    evidence = (towards - against + rng.normal(0, 0.002, k.shape)).astype(np.float32)
    activations = {name: np.abs(rng.normal(0.3, 0.08, (SLICES, n, n))).astype(np.float32) for name, n in UNITS.items()}

    order = np.arange(SLICES)[::-1].copy()
    slice_evidence = evidence.sum((1, 2), dtype=np.float64)[order]
    bias = -0.3
    running = bias + np.cumsum(slice_evidence)
    whole = Densitometry(4.2, 21.5, 61.0, -921.0, -842.0, 96.0, 4.81, 610.0)
    return ScanResult(
        probability=float(1 / (1 + np.exp(-running[-1]))),
        logit=float(running[-1]),
        bias=bias,
        slices=SliceEvidence(slice_evidence, running),
        slice_positions_mm=grid.slice_positions_mm()[order],
        slice_indices=order,
        evidence=OverlayMap(evidence, grid.resized(evidence.shape)),
        activations={name: OverlayMap(a, grid.resized(a.shape)) for name, a in activations.items()},
        lung_mask=OverlayMap(labels, ct_grid),
        lung_fraction=OverlayMap(area_average(labels > 0, grid.shape), grid),
        densitometry=dict.fromkeys(("whole", "left", "right", "upper", "middle", "lower"), whole),
        laa_950_by_slice_percent=np.where(np.abs(order - 17) > 15, np.nan, 4.0),
        coverage=Coverage(0.0, 0.0),
        warnings=("Slices are thick.",),
        model=_card(),
        timings_s={"total": 1.0},
        source=source,
    )


def with_evidence(result: ScanResult, evidence: NDArray[np.float64]) -> ScanResult:
    """A result with other evidence by slice, in reading order; its sums are left as they are."""
    return dataclasses.replace(result, slices=dataclasses.replace(result.slices, evidence=evidence))


def _card() -> ModelCard:
    return ModelCard(
        name="made up for tests",
        architecture="conv_lstm",
        width=32,
        parameters=901_793,
        preprocessing=Preprocessing(),
        operating_point=OperatingPoint(0.4, "made up"),
        training_data="none",
        trained_on="2026-01-01",
        intended_use="tests",
        limits="knows nothing",
        demonstration=True,
    )


def with_disease_map(result: ScanResult) -> ScanResult:
    """The result as of a model that has a disease map: disease in the upper half of the right lung."""
    known = DiseaseMap(("asc1",), (1.0,), 0.0, 0.7, "invented cases")
    disease = np.full((SLICES, 64, 64), 0.2, np.float32)
    disease[SLICES // 2 :, :, :32] = 0.95
    return dataclasses.replace(
        result,
        model=dataclasses.replace(result.model, disease_map=known),
        disease=OverlayMap(disease, result.lung_fraction.grid.resized(disease.shape)),
        disease_extent_percent={"whole": 25.0, "right": 50.0, "left": 0.0},
    )


def with_class_weights(result: ScanResult) -> ScanResult:
    """The result as of a model that has class weights: 0.9 in the upper half of the right lung, 0 elsewhere."""
    units = tuple(UnitWeights(name, (1.0,), 0.0, 0.3) for name in UNITS)
    activations = {}
    for name, n in UNITS.items():
        values = np.zeros((SLICES, n, n), np.float32)
        values[SLICES // 2 :, :, : n // 2] = 0.9
        activations[name] = OverlayMap(values, result.lung_fraction.grid.resized(values.shape))
    card = dataclasses.replace(result.model, class_weights=ClassWeights(units, "invented cases"))
    return dataclasses.replace(result, model=card, class_activations=activations)
