"""How much of the lungs a CT does not hold, estimated on complete chests that are cut by a known share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import Grid, canonical
from EmphysemaScannerLib.lungs.coverage import Coverage, lung_coverage
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
# The largest error in percentage points, by the percentage that was cut away.
CUTS = [(0, 1.5), (2, 2.5), (10, 4), (20, 8), (30, 12), (40, 15), (50, 12)]


def grid(labels: Labels, slice_mm: float) -> Grid:
    return Grid(labels.shape, (slice_mm, 3.0, 3.0), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


def cut(labels: Labels, top_percent: float, bottom_percent: float) -> Labels:
    """The labels of a complete chest without the given shares of the lungs' height, nothing around the lungs there."""
    used = np.flatnonzero(labels.any((1, 2)))
    height = used[-1] - used[0] + 1
    first = used[0] + round(height * bottom_percent / 100) if bottom_percent else None
    stop = used[-1] + 1 - round(height * top_percent / 100) if top_percent else None
    return labels[first:stop]


@pytest.fixture(scope="module")
def complete(chest: sitk.Image) -> Labels:
    return segment_lungs(sitk.BinShrink(chest, [4, 4, 1]))


@pytest.mark.parametrize(("percent", "error"), CUTS)
def test_the_missing_share_of_a_real_chest_is_estimated_at_either_end(
    complete: Labels, percent: int, error: float
) -> None:
    apices, bases = cut(complete, percent, 0), cut(complete, 0, percent)
    assert lung_coverage(apices, grid(apices, 2.5)) == Coverage(pytest.approx(percent, abs=error), 0.0)
    assert lung_coverage(bases, grid(bases, 2.5)) == Coverage(0.0, pytest.approx(percent, abs=error))


def test_both_ends_may_be_missing(complete: Labels) -> None:
    middle = cut(complete, 10, 20)
    found = lung_coverage(middle, grid(middle, 2.5))
    assert found.missing_top_percent == pytest.approx(10, abs=5)
    assert found.missing_bottom_percent == pytest.approx(20, abs=10)


def test_less_than_half_of_the_lungs_may_be_left(complete: Labels) -> None:
    middle = cut(complete, 30, 30)
    found = lung_coverage(middle, grid(middle, 2.5))
    assert found.missing_top_percent + found.missing_bottom_percent == pytest.approx(60, abs=12)


def test_lungs_that_touch_the_last_slice_with_their_tip_are_complete(complete: Labels) -> None:
    used = np.flatnonzero(complete.any((1, 2)))
    touching = complete[used[0] : used[-1] + 1]
    found = lung_coverage(touching, grid(touching, 2.5))
    assert found.missing_top_percent <= 1
    assert found.missing_bottom_percent <= 1.5


def test_a_ct_without_lungs_lacks_nothing() -> None:
    empty = np.zeros((5, 4, 4), np.uint8)
    assert lung_coverage(empty, grid(empty, 3)) == Coverage(0.0, 0.0)


@pytest.mark.parametrize(
    "file",
    [
        "anatomy/LIDC-IDRI-0002_half.nrrd",
        "anatomy/lidc-0003.nrrd",
        "anatomy/qin-lsc-0028.nrrd",
        "anatomy/qin-lsc-0049.nrrd",
        "anatomy/qin-lung-01-0007.nrrd",
        "anatomy/r01-142.nrrd",
        "cip/ct-64.nrrd",
        "emphysema/qin-lsc-0003.nrrd",
        "kernel-pair/A0001_kernelB_smooth.nrrd",
    ],
)
def test_five_percent_are_told_apart_in_every_chest_at_hand(shared_data: Path, file: str) -> None:
    ct = canonical(sitk.ReadImage(str(shared_data / file)))
    labels = segment_lungs(ct)
    for percent, error in CUTS:
        apices, bases = cut(labels, percent, 0), cut(labels, 0, percent)
        top = lung_coverage(apices, grid(apices, ct.GetSpacing()[2])).missing_top_percent
        bottom = lung_coverage(bases, grid(bases, ct.GetSpacing()[2])).missing_bottom_percent
        for found in (top, bottom):
            assert found == pytest.approx(percent, abs=error), (top, bottom)
            assert (found > 5) == (percent > 5), (top, bottom)
