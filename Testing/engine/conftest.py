"""The small chest made of numbers, a narrow network with random weights, and an answer without a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.core import modelfile, networks
from EmphysemaScannerLib.core.coverage import Coverage
from EmphysemaScannerLib.core.densitometry import measure_regions
from EmphysemaScannerLib.core.grid import Grid, area_average
from EmphysemaScannerLib.core.modelcard import Metric, ModelCard, OperatingPoint
from EmphysemaScannerLib.core.preprocessing import Preprocessing
from EmphysemaScannerLib.core.result import OverlayMap, ScanResult
from phantom import SPACING_MM, phantom, phantom_image


@pytest.fixture(scope="session")
def chest() -> sitk.Image:
    return phantom_image()


@pytest.fixture(scope="session")
def card() -> ModelCard:
    return ModelCard(
        name="narrow random network",
        architecture="conv_lstm",
        width=4,
        parameters=14_949,
        preprocessing=Preprocessing(),
        operating_point=OperatingPoint(0.47, "chosen for this test"),
        training_data="nothing; its weights are random.",
        trained_on="2026-08-01",
        intended_use="tests",
        limits="everything",
        demonstration=True,
        metrics=(Metric("AUC", 0.5, 0.4, 0.6, "no data"),),
        citations=("Braman et al. 2018",),
    )


@pytest.fixture(scope="session")
def model_path(card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = networks.build("conv_lstm", card.width, 128).eval()
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    modelfile.save(path, network, card)
    return path


@pytest.fixture(scope="session")
def make_result(chest: sitk.Image, card: ModelCard) -> Callable[..., ScanResult]:
    """A result on ``chest`` with any field replaced; evidence, running logit and logit agree as in a real one."""
    hu, labels = phantom()
    ct_grid = Grid.of_image(chest)
    grid = ct_grid.resized((35, 128, 128))
    evidence = np.random.default_rng(1).normal(0, 0.02, (35, 8, 8)).astype(np.float32)
    slice_evidence = evidence.astype(float).sum((1, 2))[::-1].copy()
    running = -0.3 + np.cumsum(slice_evidence)
    laa = np.linspace(0, 9, 35)
    laa[0] = np.nan
    result = ScanResult(
        probability=float(1 / (1 + np.exp(-running[-1]))),
        logit=float(running[-1]),
        bias=-0.3,
        running_logit=running,
        slice_evidence=slice_evidence,
        slice_positions_mm=grid.slice_positions_mm()[::-1].copy(),
        slice_indices=np.arange(35)[::-1].copy(),
        evidence=OverlayMap(evidence, grid.resized(evidence.shape)),
        activations={
            name: OverlayMap(np.abs(evidence), grid.resized(evidence.shape))
            for name in ("asc1", "desc1", "asc2", "desc2")
        },
        lung_mask=OverlayMap(labels, ct_grid),
        lung_fraction=OverlayMap(area_average(labels > 0, (35, 128, 128)), grid),
        densitometry=measure_regions(hu, labels, SPACING_MM),
        laa_950_by_slice_percent=laa,
        coverage=Coverage(0.0, 0.0),
        warnings=(),
        model=card,
        timings_s={"total": 1.5},
        source="phantom",
    )
    return lambda **changes: dataclasses.replace(result, **changes)
