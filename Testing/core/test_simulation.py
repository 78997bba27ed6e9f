"""Simulated emphysema: where it goes, how much there is, and that chance comes from the seed alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from EmphysemaScannerLib.core.simulation import (
    Disease,
    Subtype,
    Variation,
    acquire,
    add_emphysema,
    bend,
    simulate,
)
from phantom import SPACING_MM, phantom, phantom_image


def test_the_same_seed_gives_the_same_case_and_another_seed_another() -> None:
    _, labels = phantom()
    disease = Disease(Subtype.MIXED, 10)
    first, again, other = (simulate(phantom_image(), labels, disease, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.lesions, again.lesions)
    assert first.image.GetOrigin() == phantom_image().GetOrigin()
    assert not np.array_equal(first.lesions, other.lesions)


@pytest.mark.parametrize("subtype", list(Subtype))
@pytest.mark.parametrize("extent", [3.0, 15.0])
def test_lesions_lie_in_the_lungs_at_about_the_extent_asked_for(subtype: Subtype, extent: float) -> None:
    hu, labels = phantom()
    changed, lesions = add_emphysema(
        hu.astype(np.float32), labels, SPACING_MM, Disease(subtype, extent), np.random.default_rng(3)
    )
    assert not lesions[labels == 0].any()
    assert np.array_equal(changed[labels == 0], hu[labels == 0])
    assert 100 * lesions.sum() / (labels > 0).sum() == pytest.approx(extent, rel=0.5)
    assert changed[lesions > 0].mean() < hu[lesions > 0].mean() - 30


def test_emphysema_only_takes_tissue_away() -> None:
    hu, labels = phantom()
    changed, _ = add_emphysema(
        hu.astype(np.float32), labels, SPACING_MM, Disease(Subtype.CENTRILOBULAR, 20), np.random.default_rng(0)
    )
    assert (changed <= hu).all()


def test_centrilobular_prefers_the_upper_lungs_and_panlobular_the_lower() -> None:
    hu, labels = phantom()
    height = np.arange(hu.shape[0])

    def mean_height(subtype: Subtype) -> float:
        weights = sum(
            add_emphysema(hu.astype(np.float32), labels, SPACING_MM, Disease(subtype, 8), np.random.default_rng(s))[1]
            .sum((1, 2))
            .astype(float)
            for s in range(6)
        )
        return float((weights * height).sum() / np.sum(weights))

    assert mean_height(Subtype.CENTRILOBULAR) > mean_height(Subtype.PANLOBULAR) + 4


def test_paraseptal_lesions_lie_under_the_pleura() -> None:
    hu, labels = phantom()
    disease = Disease(Subtype.PARASEPTAL, 4)
    _, lesions = add_emphysema(hu.astype(np.float32), labels, SPACING_MM, disease, np.random.default_rng(0))
    inner = np.zeros_like(labels)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in hu.shape), indexing="ij")
    for side in (-1, 1):  # the middle of each lung, 40 % of its radius
        inner[((x - 0.42 * side) / 0.32) ** 2 + (y / 0.48) ** 2 + (z / 0.8) ** 2 < 0.4**2] = 1
    assert lesions.any()
    assert not lesions[inner > 0].any()


def test_a_mirrored_chest_has_its_right_lung_on_the_other_side() -> None:
    hu, labels = phantom()
    moved, moved_labels = bend(
        hu.astype(np.float32), labels, SPACING_MM, Variation(mirrored=True), np.random.default_rng(0)
    )
    assert np.array_equal(moved_labels, np.array([0, 2, 1])[labels[..., ::-1]])
    assert np.allclose(moved, hu[..., ::-1], atol=0.5)


def test_shrinking_the_body_shrinks_its_lungs_by_the_same_factor() -> None:
    hu, labels = phantom()
    _, small = bend(
        hu.astype(np.float32), labels, SPACING_MM, Variation(scale=(0.9, 0.9, 0.9)), np.random.default_rng(0)
    )
    assert (small > 0).sum() / (labels > 0).sum() == pytest.approx(0.9**3, rel=0.02)


def test_deep_inspiration_lowers_lung_density_and_nothing_else() -> None:
    hu, labels = phantom()
    breathed = acquire(hu.astype(np.float32), labels, SPACING_MM, Variation(aeration=0.8), np.random.default_rng(0))
    lung = labels > 0
    assert breathed[lung].mean() + 1000 == pytest.approx(0.8 * (hu[lung].mean() + 1000.0), rel=0.01)
    assert np.allclose(breathed[~lung], np.maximum(hu[~lung], -1024), atol=1e-3)


def test_noise_has_the_standard_deviation_asked_for() -> None:
    hu, labels = phantom()
    quiet = np.zeros_like(hu, np.float32)
    noisy = acquire(quiet, labels, SPACING_MM, Variation(noise_hu=30, noise_correlation=1.0), np.random.default_rng(0))
    assert noisy.std() == pytest.approx(30, rel=0.02)


def test_a_drawn_variation_is_plausible_and_differs_from_the_next() -> None:
    rng = np.random.default_rng(0)
    drawn = [Variation.draw(rng) for _ in range(50)]
    assert len({dataclasses.astuple(v) for v in drawn}) == 50
    assert all(0.5 < v.aeration < 2 and 0.75 < min(v.scale) < max(v.scale) < 1.25 for v in drawn)


def test_impossible_requests_are_refused() -> None:
    hu, labels = phantom()
    with pytest.raises(ValueError, match="extent"):
        Disease(Subtype.MIXED, 0)
    with pytest.raises(ValueError, match="no lung"):
        add_emphysema(
            hu.astype(np.float32),
            np.zeros_like(labels),
            SPACING_MM,
            Disease(Subtype.MIXED, 5),
            np.random.default_rng(0),
        )
