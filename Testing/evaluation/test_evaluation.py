"""Metrics against scikit-learn, published formulas and plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from EmphysemaScannerLib.evaluation.statistics import Predictions
from sklearn.metrics import roc_auc_score


def drawn(count: int, distance: float, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return Predictions(labels, rng.normal(0, 1, count) + distance * labels)


def test_the_auc_is_scikit_learns_and_its_interval_holds_it() -> None:
    predictions = drawn(200, 1.0)
    auc = predictions.auc("AUC", "drawn")
    assert auc.value == roc_auc_score(predictions.labels, predictions.scores)
    assert auc.low < auc.value < auc.high


def test_the_interval_holds_the_true_auc_about_95_times_in_100() -> None:
    truth = 0.7602  # Phi(1 / sqrt 2) for unit normals one standard deviation apart
    hits = sum(auc.low <= truth <= auc.high for auc in (drawn(120, 1.0, s).auc("AUC", "") for s in range(200)))
    assert 180 <= hits <= 199


def test_the_intervals_width_is_delongs_by_the_definition() -> None:
    """The variance of the placement values, each counted pair by pair."""
    predictions = drawn(60, 0.7)
    sick, well = (predictions.scores[predictions.labels == v] for v in (1, 0))
    wins = (sick[:, None] > well[None]) + 0.5 * (sick[:, None] == well[None])
    variance = wins.mean(1).var(ddof=1) / len(sick) + wins.mean(0).var(ddof=1) / len(well)
    auc = predictions.auc("AUC", "drawn")
    assert auc.high - auc.value == pytest.approx(1.959964 * np.sqrt(variance))
    assert wins.mean() == pytest.approx(auc.value)


def test_the_youden_threshold_separates_what_can_be_separated() -> None:
    predictions = Predictions(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.7, 0.9]))
    assert predictions.youden_threshold() == pytest.approx(0.5)
    sensitivity, specificity = predictions.at(0.5, "")
    assert (sensitivity.value, specificity.value) == (1.0, 1.0)


def test_a_score_that_is_worse_than_chance_still_has_a_threshold() -> None:
    predictions = Predictions(np.array([0, 1]), np.array([0.9, 0.1]))
    assert 0 < predictions.youden_threshold() < 1


def test_sensitivity_and_specificity_count_and_have_wilsons_interval() -> None:
    predictions = Predictions(np.array([0] * 10 + [1] * 20), np.array([0.0] * 7 + [1.0] * 3 + [1.0] * 15 + [0.0] * 5))
    sensitivity, specificity = predictions.at(0.5, "")
    assert (sensitivity.value, specificity.value) == (0.75, 0.7)
    n, z, p = 20, 1.959964, 0.75  # Wilson 1927
    middle, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    bounds = ((middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n))
    assert (sensitivity.low, sensitivity.high) == pytest.approx(bounds, abs=1e-6)
