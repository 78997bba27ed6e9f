"""The statistics against figures that others published or printed, scikit-learn, and plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from EmphysemaScannerLib.evaluation.published import PUBLISHED
from EmphysemaScannerLib.evaluation.statistics import (
    TEMPERATURES,
    Predictions,
    balancing_shift,
    calibration,
    fit_temperature,
    measure,
    paired_delong,
    proportion,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, f1_score, log_loss, precision_score, recall_score, roc_auc_score

# WFNS grade, S100B and NDKA (ug/l) and outcome (1: poor) of 113 patients with subarachnoid haemorrhage: the data set
# aSAH of Turck et al. 2010 (doi:10.1007/s00134-009-1641-y), as in the R package pROC (Robin et al. 2011).
HAEMORRHAGE = """
1 0.13 3.01 0  1 0.14 8.54 0  1 0.1 8.09 0  1 0.04 10.42 0  3 0.13 17.4 1  2 0.1 12.75 1  5 0.47 6.0 0
4 0.16 13.2 1  1 0.18 15.54 0  2 0.1 6.01 0  5 0.12 15.96 1  2 0.1 17.86 0  5 0.44 5.18 1  5 0.71 8.9 1
1 0.04 13.41 0  2 0.08 20.75 0  5 0.49 11.6 1  2 0.04 16.11 0  2 0.07 32.37 1  5 0.33 54.82 1  2 0.09 32.41 1
1 0.09 49.94 0  1 0.07 40.34 1  1 0.11 9.47 0  1 0.07 6.29 0  2 0.17 12.53 0  1 0.07 6.54 0  2 0.11 6.3 0
1 0.13 80.3 0  1 0.19 12.8 0  3 0.05 9.8 0  4 0.16 9.81 0  2 0.41 9.85 1  1 0.14 18.21 0  4 0.34 5.03 0
5 0.35 14.04 1  4 0.48 21.93 1  1 0.09 8.02 0  4 0.96 7.42 1  2 0.25 8.38 1  5 0.5 6.59 0  5 0.46 9.63 0
1 0.16 13.12 0  1 0.07 7.96 0  2 0.43 14.34 0  4 0.45 41.43 0  1 0.11 7.63 0  1 0.08 7.06 0  2 0.09 12.59 0
5 0.86 13.56 1  5 0.52 3.87 1  2 0.08 9.44 0  1 0.06 7.66 0  2 0.13 12.98 0  5 2.07 419.19 1  1 0.1 27.19 0
2 0.14 22.27 0  2 0.15 9.95 0  2 0.07 21.22 1  1 0.06 11.73 0  5 0.77 10.4 1  1 0.05 58.83 0  1 0.09 6.39 0
2 0.3 11.09 1  5 0.03 12.22 1  2 0.09 13.67 1  1 0.04 17.21 0  4 0.23 22.63 1  5 0.7 12.9 1  2 0.09 9.7 0
4 0.27 21.57 1  4 0.71 8.23 1  1 0.08 72.57 1  4 0.26 15.54 1  1 0.08 10.51 0  2 0.16 10.6 0  1 0.09 14.57 0
4 0.13 5.19 1  2 0.1 9.63 1  1 0.08 4.61 0  2 0.11 21.48 1  3 0.33 17.3 0  2 0.11 12.71 0  4 0.28 9.44 0
2 0.07 11.07 0  1 0.1 19.46 0  4 0.32 10.83 0  5 0.22 5.37 1  1 0.07 11.97 0  1 0.05 7.75 0  5 0.24 9.83 0
4 0.38 10.55 0  2 0.1 28.49 0  2 0.15 8.53 0  1 0.08 12.57 0  1 0.14 12.9 0  1 0.1 46.83 0  3 0.07 11.68 0
1 0.04 12.67 0  2 0.19 9.01 0  5 0.56 9.57 1  2 0.14 34.06 1  2 0.58 11.72 1  5 0.32 14.26 1  5 0.82 47.61 1
5 0.74 11.67 1  2 0.15 24.58 0  4 0.47 10.33 0  4 0.17 13.87 0  5 0.44 15.89 1  1 0.15 22.43 0  1 0.5 6.79 0
1 0.48 13.45 0
"""
# What pROC 1.19 (github.com/xrobin/pROC, tests/testthat/test-roc.test.R, test-var.R, test-ci.auc.R) expects of its own
# DeLong test (Z, p, 95 % interval), variance and interval of these markers.
PROC_TESTS = {
    ("wfns", "s100b"): (2.20898359144091, 0.0271757822291882, 0.0104061769564846, 0.174214419249478),
    ("wfns", "ndka"): (2.79777591868904, 0.00514557970691098, 0.0634011709339876, 0.3600405634833566),
    ("ndka", "s100b"): (-1.39077002573558, 0.164295175223054, -0.2876917446341914, 0.0488706064228094),
}
PROC_VARIANCES = {"wfns": 0.00146991470882363, "ndka": 0.0031908105493913, "s100b": 0.00266868245717244}
PROC_NDKA_INTERVAL = (0.501244999271703, 0.611957994579946, 0.722670989888189)


@pytest.fixture(scope="module")
def markers() -> dict[str, Predictions]:
    wfns, s100b, ndka, outcome = np.array(HAEMORRHAGE.split(), float).reshape(-1, 4).T
    values = {"wfns": wfns, "s100b": s100b, "ndka": ndka}
    return {name: Predictions(outcome.astype(int), scores) for name, scores in values.items()}


@pytest.mark.parametrize("pair", PROC_TESTS)
def test_delongs_paired_test_gives_the_numbers_of_rs_proc(
    markers: dict[str, Predictions], pair: tuple[str, str]
) -> None:
    z, p, low, high = PROC_TESTS[pair]
    ours = paired_delong(*(markers[name] for name in pair))
    assert ours[1:] == pytest.approx((low, high, p), rel=1e-6)
    deviation = (ours[2] - ours[1]) / (2 * 1.959964)
    assert ours[0] / deviation == pytest.approx(z, rel=1e-9)


@pytest.mark.parametrize("name", PROC_VARIANCES)
def test_the_aucs_variance_is_procs(markers: dict[str, Predictions], name: str) -> None:
    auc = markers[name].auc("AUC", "")
    assert ((auc.high - auc.low) / (2 * 1.959964)) ** 2 == pytest.approx(PROC_VARIANCES[name], rel=1e-9)


def test_the_aucs_interval_is_procs(markers: dict[str, Predictions]) -> None:
    auc = markers["ndka"].auc("AUC", "")
    assert (auc.low, auc.value, auc.high) == pytest.approx(PROC_NDKA_INTERVAL, rel=1e-7)


def test_the_youden_point_is_procs(markers: dict[str, Predictions]) -> None:
    """Its test-coords.R expects the best threshold of S100B at 0.205."""
    assert markers["s100b"].youden_threshold() == pytest.approx(0.205)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombes_table(count: int, total: int, low: float, high: float) -> None:
    """Newcombe 1998 (Statistics in Medicine 17:857), Table I, score method without continuity correction."""
    share = proportion("share", count, total, "")
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_the_papers_f1_is_the_harmonic_mean_of_its_sensitivity_and_specificity(architecture: str) -> None:
    """For some values that round to the printed ones; of PPV and sensitivity it would be far off."""
    row = PUBLISHED[architecture]

    def mean(error: float) -> float:
        a, b = row.sensitivity + error, row.specificity + error
        return 2 * a * b / (a + b)

    assert mean(-0.005) <= row.f1 + 0.005
    assert mean(0.005) >= row.f1 - 0.005
    sick, well = 578, 1585
    positive = row.sensitivity * sick + (1 - row.specificity) * well
    assert 2 * row.sensitivity * sick / (positive + sick) < row.f1 - 0.1


def drawn(count: int, distance: float = 1.5, seed: int = 0, patients: tuple[str, ...] | None = None) -> Predictions:
    """Probabilities of volumes, every third of them sick."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3 == 0).astype(int)
    return Predictions(labels, expit(rng.normal(-1, 1, count) + distance * labels), patients)


@given(st.integers(0, 2**32 - 1), st.integers(12, 80), st.floats(0.05, 0.95))
@settings(max_examples=30, deadline=None)
def test_every_figure_is_scikit_learns_and_lies_in_its_interval(seed: int, count: int, threshold: float) -> None:
    predictions = drawn(count, seed=seed)
    figures = measure(predictions, threshold, "drawn")
    labels, called = predictions.labels, predictions.scores >= threshold
    assert figures.auc.value == roc_auc_score(labels, predictions.scores)
    assert figures.sensitivity.value == pytest.approx(recall_score(labels, called))
    assert figures.specificity.value == pytest.approx(recall_score(labels, called, pos_label=0))
    assert figures.f1.value == pytest.approx(f1_score(labels, called))
    assert figures.brier.value == pytest.approx(brier_score_loss(labels, predictions.scores))
    if called.any():
        assert figures.ppv.value == pytest.approx(precision_score(labels, called))
    if not called.all():
        assert figures.npv.value == pytest.approx(precision_score(labels, called, pos_label=0))
    assert np.isnan(figures.ppv.value) == (not called.any())
    for metric in vars(figures).values():
        assert np.isnan(metric.value) or metric.low <= metric.value + 1e-9
        assert np.isnan(metric.value) or metric.high >= metric.value - 1e-9


def test_the_bootstraps_interval_of_the_brier_score_is_that_of_a_mean() -> None:
    """Of many independent volumes it is the normal interval of the mean squared error."""
    predictions = drawn(1500)
    squares = (predictions.scores - predictions.labels) ** 2
    half = 1.959964 * squares.std() / np.sqrt(len(squares))
    brier = measure(predictions, 0.5, "").brier
    assert (brier.low, brier.high) == pytest.approx((squares.mean() - half, squares.mean() + half), abs=0.06 * half * 2)


def test_figures_are_the_same_each_time() -> None:
    assert measure(drawn(50), 0.4, "") == measure(drawn(50), 0.4, "")


def test_copies_of_a_patients_volume_make_nothing_more_certain() -> None:
    """Four identical volumes a patient: intervals and tests are those of one volume a patient."""
    once, other = drawn(90), drawn(90, seed=1)
    patients = tuple(f"{k:02}" for k in range(90)) * 4

    def copied(of: Predictions) -> Predictions:
        return Predictions(np.tile(of.labels, 4), np.tile(of.scores, 4), patients)

    one, four = measure(once, 0.4, ""), measure(copied(once), 0.4, "")
    for name in ("auc", "f1", "brier"):
        a, b = getattr(one, name), getattr(four, name)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    wilson, resampled = one.sensitivity, four.sensitivity
    assert resampled.high - resampled.low == pytest.approx(wilson.high - wilson.low, rel=0.2)
    assert paired_delong(copied(once), copied(other)) == pytest.approx(paired_delong(once, other))


def test_the_interval_holds_the_true_auc_about_95_times_in_100_also_when_patients_have_three_volumes() -> None:
    """Patients differ more than their volumes do; DeLong's own interval, which takes volumes as independent, misses."""
    truth, hits, naive = 0.7602, 0, 0  # Phi(1 / sqrt 2)
    patients = tuple(str(k) for k in range(60) for _ in range(3))
    labels = np.repeat(np.arange(60) % 2, 3)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        scores = np.repeat(rng.normal(0, np.sqrt(0.8), 60), 3) + rng.normal(0, np.sqrt(0.2), 180) + labels
        for of in (patients, None):
            auc = Predictions(labels, scores, of).auc("AUC", "")
            inside = auc.low <= truth <= auc.high
            hits, naive = hits + (inside and of is not None), naive + (inside and of is None)
    assert 0.90 * 300 <= hits <= 0.98 * 300
    assert naive < 0.85 * 300


def test_the_calibration_curve_counts_every_volume_and_follows_the_truth() -> None:
    rng = np.random.default_rng(3)
    probability = rng.uniform(0, 1, 5000)
    curve = calibration(Predictions((rng.random(5000) < probability).astype(int), probability))
    assert len(curve.predicted) == 10
    assert curve.predicted == pytest.approx(np.arange(0.05, 1, 0.1), abs=0.02)
    inside = (curve.low <= curve.predicted) & (curve.predicted <= curve.high)
    assert inside.sum() >= 8
    assert ((curve.low <= curve.observed) & (curve.observed <= curve.high)).all()


def test_a_model_that_answers_the_same_to_everything_has_one_group() -> None:
    curve = calibration(Predictions(np.array([0, 1] * 50), np.full(100, 0.3)))
    assert (curve.predicted.tolist(), curve.observed.tolist()) == (pytest.approx([0.3]), [0.5])


def test_the_temperature_undoes_overconfidence() -> None:
    """Logits four times too large."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, 4000)
    labels = (rng.random(4000) < expit(truth)).astype(int)
    assert fit_temperature(4 * truth, labels) == pytest.approx(4, rel=0.06)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_temperature_is_one_over_the_slope_of_scikit_learns_logistic_regression_without_intercept(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(200) % 2
    logits = rng.normal(0, 2, 200) + (2 * labels - 1)
    slope = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(logits[:, None], labels).coef_[0, 0]
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(1 / slope, rel=1e-3)
    assert log_loss(labels, expit(logits / temperature)) <= log_loss(labels, expit(logits)) + 1e-9


def test_a_model_that_tells_nothing_apart_keeps_its_temperature() -> None:
    assert fit_temperature([2.0, 1.0, -1.0, -2.0], [0, 1, 1, 0]) == 1.0
    assert fit_temperature([0.5, 0.5], [0, 1]) == 1.0


def test_logits_that_separate_the_labels_wholly_get_the_lowest_temperature() -> None:
    assert fit_temperature([-3.0, -1.0, 1.0, 3.0], [0, 0, 1, 1]) == pytest.approx(TEMPERATURES[0], rel=1e-3)


@pytest.mark.parametrize(
    ("logits", "labels", "says"),
    [([1.0, 2.0], [1, 1], "both labels"), ([1.0], [0, 1], "each label"), ([np.nan, 1.0], [0, 1], "finite")],
)
def test_a_temperature_is_not_fitted_to_nonsense(logits: list[float], labels: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_temperature(logits, labels)


def test_one_patient_gives_figures_but_no_interval_and_no_test() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 20)
    first, second = (Predictions(labels, expit(rng.normal(size=40) + labels), ("a",) * 40) for _ in range(2))
    figures = measure(first, 0.5, "one person's volumes")
    assert figures.auc.value == pytest.approx(roc_auc_score(labels, first.scores))
    for metric in vars(figures).values():
        assert np.isfinite(metric.value)
        assert np.isnan([metric.low, metric.high]).all()
    difference, *rest = paired_delong(first, second)
    assert difference == pytest.approx(figures.auc.value - roc_auc_score(labels, second.scores))
    assert np.isnan(rest).all()


def test_the_balancing_shift_puts_logit_0_between_the_classes_and_leaves_what_is_balanced() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 2_000)
    balanced = rng.normal(np.where(labels == 1, 1.0, -1.0), 1.0)  # its log odds are 2 * balanced
    assert balancing_shift(balanced, labels) == pytest.approx(0, abs=0.1)
    assert balancing_shift(balanced - 19, labels) == pytest.approx(19, abs=0.1)
    assert balancing_shift(10 * balanced - 190, labels) == pytest.approx(190, abs=1)
    assert balancing_shift(-balanced - 19, labels) == 0
