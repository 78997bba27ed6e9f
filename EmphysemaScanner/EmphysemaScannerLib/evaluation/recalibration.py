"""A hospital's own temperature and operating point for a model, from labelled cases of its own; the weights stay.

How sure a fit of a few dozen cases is, is found by bootstrapping patients (Efron 1979): 95 % intervals of both, and
sensitivity and specificity on the patients that each resample left out, whom its operating point has not seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow
from ..models.modelcard import Metric, ModelCard, OperatingPoint
from ..models.modelfile import Model
from .evaluation import InputSource, predict_logits, read_inputs
from .statistics import Floats, Predictions, fit_temperature

FEWEST_PATIENTS = 10  # of each label
RESAMPLES, SEED = 1000, 1
OUT_OF_BAG = "{} on patients left out of each bootstrap resample"


class RecalibrationError(EmphysemaScannerError):
    """The cases cannot set a model's temperature and operating point."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} (95 % interval {self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Recalibration:
    """What labelled cases say of a model.

    Attributes:
        temperature: by which the network's logit is divided.
        point: the operating point, a probability after this temperature (Youden index).
        sensitivity, specificity: of patients whom the point was not chosen on, over the resamples.
        auc: on all the cases; neither temperature nor point change it.
        volumes, patients, diseased: numbers of cases; of patients; of volumes with emphysema.
    """

    temperature: Estimate
    point: Estimate
    sensitivity: Estimate
    specificity: Estimate
    auc: Metric
    volumes: int
    patients: int
    diseased: int

    def estimates(self) -> tuple[tuple[str, Estimate], ...]:
        """The figures with their names."""
        return (
            ("Temperature", self.temperature),
            ("Operating point", self.point),
            *self.out_of_bag(),
            ("AUC", Estimate(self.auc.value, self.auc.low, self.auc.high)),
        )

    def out_of_bag(self) -> tuple[tuple[str, Estimate], ...]:
        """Sensitivity and specificity with their names."""
        return (
            (OUT_OF_BAG.format("Sensitivity"), self.sensitivity),
            (OUT_OF_BAG.format("Specificity"), self.specificity),
        )


def recalibration(logits: Floats, cases: Predictions, resamples: int = RESAMPLES) -> Recalibration:
    """Temperature and operating point from labelled cases.

    Args:
        logits: (volumes,) of the network, before any temperature.
        cases: labels and patients of the same volumes; the scores are not looked at.
        resamples: of patients, for the intervals.

    Raises:
        RecalibrationError: fewer than ten patients of a label, or the model does not tell these cases apart.
    """
    labels, patients = cases.labels, cases.patient_indices()
    for label, words in ((1, "with"), (0, "without")):
        count = len(np.unique(patients[labels == label]))
        if count < FEWEST_PATIENTS:
            raise RecalibrationError(
                f"There are {count} patients {words} emphysema, and {FEWEST_PATIENTS} are the fewest for a temperature "
                "and an operating point; add cases."
            )
    auc = dataclasses.replace(cases, scores=logits).auc("AUC", "")
    if auc.value <= 0.5:
        raise RecalibrationError(
            f"The model does not tell these cases apart (AUC {auc.value:.2f}); check the labels, or use another model."
        )
    temperature, point = _fitted(logits, labels)
    found = np.array(
        [
            one
            for one in (_resampled(logits, labels, patients, number) for number in range(resamples))
            if one is not None
        ]
    )
    low, high = np.nanpercentile(found, [2.5, 97.5], axis=0)
    mean = np.nanmean(found, axis=0)
    in_order = (
        Estimate(float(value), float(a), float(b))
        for value, a, b in zip((temperature, point, mean[2], mean[3]), low, high, strict=True)
    )
    return Recalibration(
        temperature=next(in_order),
        point=next(in_order),
        sensitivity=next(in_order),
        specificity=next(in_order),
        auc=auc,
        volumes=len(labels),
        patients=int(patients.max()) + 1,
        diseased=int(labels.sum()),
    )


def _fitted(logits: Floats, labels: np.ndarray) -> tuple[float, float]:
    temperature = fit_temperature(logits, labels)
    return temperature, Predictions(labels, expit(logits / temperature)).youden_threshold()


def _resampled(
    logits: Floats, labels: np.ndarray, patients: np.ndarray, number: int
) -> tuple[float, float, float, float] | None:
    """Temperature and point of one resample of patients, and sensitivity and specificity of who was not drawn.

    None where the resample lacks a label; NaN where nobody of a label was left out.
    """
    count = int(patients.max()) + 1
    times = np.bincount(np.random.default_rng([SEED, number]).integers(0, count, count), minlength=count)[patients]
    drawn, left_out = np.repeat(np.arange(len(labels)), times), times == 0
    if len(set(labels[drawn].tolist())) < 2:
        return None
    temperature, point = _fitted(logits[drawn], labels[drawn])
    called = expit(logits / temperature) >= point
    sick, well = left_out & (labels == 1), left_out & (labels == 0)
    sensitivity = float(called[sick].mean()) if sick.any() else np.nan
    specificity = float((~called[well]).mean()) if well.any() else np.nan
    return temperature, point, sensitivity, specificity


def recalibrated(card: ModelCard, found: Recalibration, data: str) -> ModelCard:
    """The card of the model with another temperature and operating point.

    Figures of the earlier point or temperature no longer hold and are left out; AUCs do hold.
    """
    cases = (
        f"{found.volumes} volumes of {found.patients} patients, {found.diseased} of the volumes with emphysema ({data})"
    )
    point = OperatingPoint(
        found.point.value, f"recalibrated: Youden index on {cases}; 95 % interval {found.point.low:.3f} to "
        f"{found.point.high:.3f}"
    )  # fmt: skip
    added = (
        dataclasses.replace(found.auc, data=data),
        *(Metric(name, of.value, of.low, of.high, data) for name, of in found.out_of_bag()),
    )
    kept = tuple(metric for metric in card.metrics if metric.name.startswith("AUC") and metric.data != data)
    return dataclasses.replace(
        card,
        name=f"{card.name}, recalibrated",
        temperature=found.temperature.value,
        operating_point=point,
        metrics=(*kept, *added),
        training_log=(
            *card.training_log,
            f"Recalibrated on {cases}: temperature {found.temperature}, before {card.temperature:.3g}; the weights are "
            "unchanged.",
        ),
        limits=f"{card.limits} The temperature and the operating point hold for cases like those of the recalibration.",
    )


def raw_logits(
    model: Model, rows: Sequence[CohortRow], progress: Progress = silent, source: InputSource | None = None
) -> Floats:
    """The network's logits on volumes, before the card's temperature.

    Args:
        model: the model.
        rows: the volumes.
        progress: called with the share done and the volume before each.
        source: reads the volumes; None for the user's cache.

    Returns:
        (volumes,) in the order of ``rows``.
    """
    source = source or VolumeCache()
    found = np.empty(len(rows))
    for k, row in enumerate(rows):
        progress(k / len(rows), f"{row.volume.name} ({k + 1} of {len(rows)})")
        found[k] = predict_logits([model], [read_inputs([model], row, source)])[0, 0]
    return found * model.card.temperature
