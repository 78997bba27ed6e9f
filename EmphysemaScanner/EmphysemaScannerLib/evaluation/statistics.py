"""The statistics of labelled volumes: AUC, operating point, sensitivity and its kin, calibration, DeLong's test.

``docs/evaluation.md`` gives each figure's formula and source. Without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm, rankdata
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from ..models.modelcard import Metric

Floats = NDArray[np.float64]
Z95 = 1.959964
RESAMPLES, SEED = 2000, 1
TEMPERATURES = (0.05, 20.0)
SMALL_GROUP = 10
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Predictions:
    """Labels and scores of the same volumes; higher scores mean emphysema.

    Attributes:
        labels: 1 with emphysema, 0 without.
        scores: probabilities, or any other score where only the AUC is asked for.
        patients: whose volume each is; None when every volume is of another patient.
    """

    labels: NDArray[np.int64]
    scores: Floats
    patients: tuple[str, ...] | None = None

    @property
    def clustered(self) -> bool:
        """Whether some patient has several volumes, so that volumes aren't independent of one another."""
        return self.patients is not None and len(set(self.patients)) < len(self.patients)

    def patient_indices(self) -> NDArray[np.int64]:
        """For each volume the number of its patient, from 0."""
        if self.patients is None:
            return np.arange(len(self.labels))
        return np.asarray(np.unique(self.patients, return_inverse=True)[1], dtype=np.int64)

    def of(self, chosen: NDArray[np.bool_]) -> Predictions:
        """Those of some of the volumes."""
        patients = None if self.patients is None else tuple(np.array(self.patients, dtype=object)[chosen])
        return Predictions(self.labels[chosen], self.scores[chosen], patients)

    def auc(self, name: str, data: str) -> Metric:
        """AUC with DeLong's 95 % interval (DeLong et al. 1988; for patients with several volumes Obuchowski 1997)."""
        auc = float(roc_auc_score(self.labels, self.scores))
        deviation = _deviation(*self.placements(), self)
        low, high = np.clip([auc - Z95 * deviation, auc + Z95 * deviation], 0, 1)
        return Metric(name, auc, float(low), float(high), data)

    def placements(self) -> tuple[Floats, Floats]:
        """DeLong's placement values, whose means are both the AUC; equal scores count half (ranks: Sun and Xu 2014).

        Returns:
            For each sick volume the share of the well ones with a lower score; for each well one the share of the sick
            ones with a higher score.
        """
        sick, well = self.scores[self.labels == 1], self.scores[self.labels == 0]
        ranks = rankdata(np.concatenate([sick, well]))
        above_well = (ranks[: len(sick)] - rankdata(sick)) / len(well)
        below_sick = 1 - (ranks[len(sick) :] - rankdata(well)) / len(sick)
        return above_well, below_sick

    def youden_threshold(self) -> float:
        """The score that maximises sensitivity + specificity - 1 (Youden 1950), halfway to the next lower score."""
        false_positive, true_positive, thresholds = roc_curve(self.labels, self.scores, drop_intermediate=False)
        # The first threshold is infinite and calls nobody.
        best = float(thresholds[1:][np.argmax((true_positive - false_positive)[1:])])
        below = self.scores[self.scores < best]
        return (best + float(below.max())) / 2 if len(below) else best

    def at(self, threshold: float, data: str) -> tuple[Metric, Metric]:
        """Sensitivity and specificity at a threshold, with 95 % intervals as in ``figures``."""
        figures = measure(self, threshold, data)
        return figures.sensitivity, figures.specificity


@dataclass(frozen=True)
class Figures:
    """How well scores separate volumes, each with its 95 % interval.

    NaN where there was nothing to measure; an interval also where all volumes of a label are of one patient.

    Attributes:
        auc: area under the ROC curve.
        sensitivity, specificity, ppv, npv: at the operating point; PPV and NPV at these volumes' prevalence.
        f1: harmonic mean of PPV and sensitivity.
        harmonic_mean: of sensitivity and specificity, what the paper's Table 1 prints as F1.
        brier: mean squared difference of probability and label.
    """

    auc: Metric
    sensitivity: Metric
    specificity: Metric
    f1: Metric
    harmonic_mean: Metric
    ppv: Metric
    npv: Metric
    brier: Metric


@dataclass(frozen=True)
class Calibration:
    """Predicted against observed, in groups of equally many volumes ordered by probability.

    Attributes:
        predicted: mean probability of each group.
        observed: share with emphysema.
        low, high: its 95 % interval (Wilson; volumes counted as independent).
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats


def measure(predictions: Predictions, threshold: float, data: str) -> Figures:
    """All figures of probabilities at an operating point.

    Sensitivity, specificity, PPV and NPV have Wilson's intervals, the others those of a bootstrap over patients; where
    a patient has several volumes, all but the AUC's are bootstrapped.

    Args:
        predictions: of volumes of both labels.
        threshold: at and above which a volume is called positive.
        data: what the volumes are, in words.
    """
    labels, called = predictions.labels == 1, predictions.scores >= threshold
    per_volume = np.stack(
        [
            labels & called,
            ~labels & called,
            labels & ~called,
            ~labels & ~called,
            (predictions.scores - predictions.labels) ** 2,
        ]
    ).astype(float)
    patients = predictions.patient_indices()
    per_patient = np.stack([np.bincount(patients, row) for row in per_volume], axis=1)
    value, resampled = _ratios(per_patient.sum(0)), _ratios(_draws(len(per_patient)) @ per_patient)
    tp, fp, fn, tn = (int(row.sum()) for row in per_volume[:4])
    counts = {"Sensitivity": (tp, tp + fn), "Specificity": (tn, tn + fp), "PPV": (tp, tp + fp), "NPV": (tn, tn + fn)}

    def figure(name: str) -> Metric:
        if name in counts and not predictions.clustered:
            return proportion(name, *counts[name], data)
        low, high = (np.nan, np.nan) if len(per_patient) < 2 else _percentiles(resampled[name])
        return Metric(name, float(value[name]), low, high, data)

    return Figures(
        auc=predictions.auc("AUC", data),
        sensitivity=figure("Sensitivity"),
        specificity=figure("Specificity"),
        f1=figure("F1"),
        harmonic_mean=figure("Harmonic mean of sensitivity and specificity"),
        ppv=figure("PPV"),
        npv=figure("NPV"),
        brier=figure("Brier score"),
    )


def proportion(name: str, count: int, total: int, data: str) -> Metric:
    """A share with Wilson's 95 % interval (Wilson 1927); NaN of nothing.

    Args:
        name: of the figure.
        count: how many of them.
        total: of how many.
        data: what the volumes are, in words.
    """
    if total == 0:
        return Metric(name, np.nan, np.nan, np.nan, data)
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return Metric(name, count / total, float(interval.low), float(interval.high), data)


def paired_delong(first: Predictions, second: Predictions) -> tuple[float, float, float, float]:
    """DeLong's test of two AUCs on the same volumes (DeLong et al. 1988; several volumes a patient: Obuchowski 1997).

    Args:
        first: of one model.
        second: of the other, with the same labels and patients in the same order.

    Returns:
        The difference of the AUCs, its 95 % interval (low, high), and the two-sided p; the last three are NaN where all
        volumes of a label are of one patient.

    Raises:
        ValueError: the labels or patients differ.
    """
    if not np.array_equal(first.labels, second.labels) or first.patients != second.patients:
        raise ValueError("the two predictions are not of the same volumes")
    sick, well = (a - b for a, b in zip(first.placements(), second.placements(), strict=True))
    difference, deviation = float(sick.mean()), _deviation(sick, well, first)
    if np.isnan(deviation):
        return difference, np.nan, np.nan, np.nan
    # Placement values are exact multiples of half a volume; what is below this is rounding.
    if not deviation > _ROUNDING:
        return difference, difference, difference, 1.0 if abs(difference) < _ROUNDING else 0.0
    p = float(2 * norm.sf(abs(difference) / deviation))
    return difference, difference - Z95 * deviation, difference + Z95 * deviation, p


def calibration(predictions: Predictions) -> Calibration:
    """The calibration curve of probabilities: at most ten groups of equally many volumes, of about ten at least."""
    groups = max(1, min(10, len(predictions.labels) // 10))
    observed, predicted = calibration_curve(
        predictions.labels, predictions.scores, n_bins=groups, strategy="quantile", pos_label=1
    )
    # scikit-learn doesn't say how many volumes are in a group: counted over its edges.
    edges = np.percentile(predictions.scores, np.linspace(0, 100, groups + 1))[1:-1]
    counts = np.bincount(np.searchsorted(edges, predictions.scores), minlength=groups)
    counts = counts[counts > 0]
    shares = [proportion("", round(share * n), int(n), "") for share, n in zip(observed, counts, strict=True)]
    return Calibration(
        predicted, observed, np.array([share.low for share in shares]), np.array([share.high for share in shares])
    )


def balancing_shift(logits: Floats | Sequence[float], labels: NDArray[np.int64] | Sequence[int]) -> float:
    """What is added to logits so that 0 is where a logistic regression on them (Platt 1999) says 0.5.

    Args:
        logits: one a volume of the tuning split.
        labels: 1 with emphysema, 0 without; both are there.

    Returns:
        0 where the logits fall with the label: no shift helps them.
    """
    z = np.asarray(logits, dtype=np.float64)
    spread = float(z.std()) or 1.0
    fitted = LogisticRegression(C=1e6).fit(z[:, None] / spread, np.asarray(labels))
    slope = float(fitted.coef_[0, 0])
    return float(fitted.intercept_[0]) / slope * spread if slope > 0 else 0.0


def fit_temperature(logits: Floats | Sequence[float], labels: NDArray[np.int64] | Sequence[int]) -> float:
    """The temperature by which logits are divided so that labelled volumes are most likely (Guo et al. 2017).

    The order of volumes, and so the AUC, stays; a logit of 0 stays 0.

    Args:
        logits: before any temperature, one a volume of the tuning split.
        labels: 1 with emphysema, 0 without.

    Returns:
        Within ``TEMPERATURES``, at their lower end where the logits separate the labels wholly. 1 where no temperature
        is better than the answer 0.5 to everything: the model tells nothing apart, and flattening it would hide that.

    Raises:
        ValueError: the two differ in length, a logit is not finite, or only one label is there.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if z.shape != y.shape or z.ndim != 1 or not np.isfinite(z).all():
        raise ValueError("one finite logit is needed for each label")
    if set(y.tolist()) != {0, 1}:
        raise ValueError("volumes of both labels are needed to fit a temperature")
    if z @ (2 * y - 1) <= 0:  # the slope of the likelihood at infinite temperature
        return 1.0
    # log(1 + exp(-s z)) with s = 1 for the sick and -1 for the well; in log T, since its best value spans decades
    signed = np.where(y == 1, z, -z)
    found = minimize_scalar(
        lambda log_t: float(np.logaddexp(0, -signed * np.exp(-log_t)).mean()),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def _ratios(sums: Floats) -> dict[str, Floats]:
    """The figures from sums of (tp, fp, fn, tn, squared error) over volumes; (..., 5) to (...) each."""
    tp, fp, fn, tn, error = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        return {
            "Sensitivity": sensitivity,
            "Specificity": specificity,
            "PPV": tp / (tp + fp),
            "NPV": tn / (tn + fn),
            "F1": 2 * tp / (2 * tp + fp + fn),
            "Harmonic mean of sensitivity and specificity": 2
            * sensitivity
            * specificity
            / np.maximum(sensitivity + specificity, _ROUNDING),
            "Brier score": error / (tp + fp + fn + tn),
        }


@lru_cache(maxsize=1)
def _draws(patients: int) -> Floats:
    """How often each patient is drawn in each resample, (resamples, patients); the same for all models on them."""
    drawn = np.random.default_rng(SEED).multinomial(patients, np.full(patients, 1 / patients), size=RESAMPLES)
    return drawn.astype(np.float64)


def _percentiles(values: Floats) -> tuple[float, float]:
    """The middle 95 % of what could be measured."""
    there = values[np.isfinite(values)]
    low, high = np.percentile(there, [2.5, 97.5]) if len(there) else (np.nan, np.nan)
    return float(low), float(high)


def _deviation(sick: Floats, well: Floats, predictions: Predictions) -> float:
    """Standard deviation of an AUC, or of a difference of two, from placement values (or their differences).

    Obuchowski's sums over patients; with one volume a patient they are DeLong's variances.
    """
    patients = predictions.patient_indices()
    total = int(patients.max()) + 1
    of_sick, of_well = patients[predictions.labels == 1], patients[predictions.labels == 0]
    sick_sums = np.bincount(of_sick, sick - sick.mean(), total)
    well_sums = np.bincount(of_well, well - well.mean(), total)
    with_sick, with_well = len(np.unique(of_sick)), len(np.unique(of_well))
    if min(with_sick, with_well) < 2:
        return np.nan  # how people differ is not to be had from one
    variance = (
        with_sick / max(with_sick - 1, 1) * (sick_sums @ sick_sums) / len(sick) ** 2
        + with_well / max(with_well - 1, 1) * (well_sums @ well_sums) / len(well) ** 2
        + 2 * total / max(total - 1, 1) * (sick_sums @ well_sums) / (len(sick) * len(well))
    )
    return float(np.sqrt(max(float(variance), 0.0)))
