"""Core and rind: the inner and the outer half of each lung."""

from __future__ import annotations

import numpy as np
import pytest
from EmphysemaScannerLib.lungs.depth import CORE, RIND, core_and_rind


def ball_mm(spacing: tuple[float, float, float], radius: float = 30) -> tuple[np.ndarray, np.ndarray]:
    shape = tuple(round(80 / mm) for mm in spacing)
    place = np.meshgrid(*((np.arange(n) + 0.5) * mm - 40 for n, mm in zip(shape, spacing, strict=True)), indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in place))
    return (distance < radius).astype(np.uint8), distance


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (1.0, 0.8, 0.8), (5.0, 4.0, 4.0)])
def test_in_a_ball_the_core_is_the_ball_of_half_the_volume(spacing) -> None:
    lung, distance = ball_mm(spacing)
    parts = core_and_rind(lung, spacing)
    assert set(np.unique(parts[lung > 0])) == {CORE, RIND}
    assert not parts[lung == 0].any()
    assert (parts == CORE).sum() / lung.sum() == pytest.approx(0.5, abs=0.08)
    border = 30 * 0.5 ** (1 / 3)
    slack = max(3.0, *spacing)
    assert (parts[distance < border - slack] == CORE).all()
    assert (parts[(distance > border + slack) & (lung > 0)] == RIND).all()


def test_vessels_and_airways_in_the_lung_are_no_surface() -> None:
    lung, _ = ball_mm((2.0, 1.0, 1.0))
    holed = lung.copy()
    holed[20, 38:42, 38:42] = 0
    assert (
        core_and_rind(holed, (2.0, 1.0, 1.0)) == np.where(holed, core_and_rind(lung, (2.0, 1.0, 1.0)), 0)
    ).mean() > 0.999


def test_each_lung_has_a_core_of_its_own() -> None:
    one, _ = ball_mm((2.0, 2.0, 2.0))
    both = np.concatenate([one, 2 * one], axis=2)
    parts = core_and_rind(both, (2.0, 2.0, 2.0))
    assert (parts[:, :, :40] == parts[:, :, 40:]).all()


def test_a_patient_without_lungs_has_neither() -> None:
    assert not core_and_rind(np.zeros((3, 4, 5), np.uint8), (1.0, 1.0, 1.0)).any()
