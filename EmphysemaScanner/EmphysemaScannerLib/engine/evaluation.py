"""How well a model does on labelled volumes: predictions, AUC with its interval, the Youden operating point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata
from sklearn.metrics import roc_auc_score, roc_curve

from ..core.manifest import CohortRow
from ..core.modelcard import Metric
from ..core.modelfile import Model
from ..core.progress import Progress, silent
from ..core.reading import read_ct

Floats = NDArray[np.float64]
Z95 = 1.959964


@dataclass(frozen=True)
class Predictions:
    """Labels and scores of the same volumes; higher scores mean emphysema."""

    labels: NDArray[np.int64]
    scores: Floats

    def auc(self, name: str, data: str) -> Metric:
        """AUC with DeLong's 95 % interval (DeLong et al. 1988; from ranks, Sun and Xu 2014)."""
        above_well, below_sick = self.placements()
        auc = float(roc_auc_score(self.labels, self.scores))
        variance = above_well.var(ddof=1) / len(above_well) + below_sick.var(ddof=1) / len(below_sick)
        deviation = float(np.sqrt(variance))
        low, high = np.clip([auc - Z95 * deviation, auc + Z95 * deviation], 0, 1)
        return Metric(name, auc, float(low), float(high), data)

    def placements(self) -> tuple[Floats, Floats]:
        """DeLong's placement values, whose means are both the AUC; equal scores count half.

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
        """The score that maximises sensitivity + specificity - 1, halfway to the next lower score."""
        false_positive, true_positive, thresholds = roc_curve(self.labels, self.scores, drop_intermediate=False)
        best = float(
            thresholds[1:][np.argmax((true_positive - false_positive)[1:])]
        )  # the first, infinite, calls nobody
        below = self.scores[self.scores < best]
        return (best + float(below.max())) / 2 if len(below) else best

    def at(self, threshold: float, data: str) -> tuple[Metric, Metric]:
        """Sensitivity and specificity at a threshold, with Wilson's 95 % intervals."""
        called = self.scores >= threshold
        sick, well = self.labels == 1, self.labels == 0
        return (
            _proportion("Sensitivity", int((called & sick).sum()), int(sick.sum()), data),
            _proportion("Specificity", int((~called & well).sum()), int(well.sum()), data),
        )


def _proportion(name: str, count: int, total: int, data: str) -> Metric:
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return Metric(name, count / total, float(interval.low), float(interval.high), data)


def predict(model: Model, rows: Sequence[CohortRow], progress: Progress = silent) -> Predictions:
    """The model's probability for each volume of a cohort.

    Args:
        model: its network may lie on any device.
        rows: the volumes.
        progress: told the share done and the volume before each; what it raises ends the work.
    """
    return predict_all([model], rows, progress)[0]


def predict_all(models: Sequence[Model], rows: Sequence[CohortRow], progress: Progress = silent) -> list[Predictions]:
    """As ``predict``, for several models; every volume is read once."""
    labels = np.array([row.label for row in rows])
    probabilities = np.empty((len(models), len(rows)))
    for k, row in enumerate(rows):
        progress(k / len(rows), f"{row.volume.name} ({k + 1} of {len(rows)})")
        image = read_ct(row.volume)
        for m, model in enumerate(models):
            probabilities[m, k] = _probability(model, image)
    return [Predictions(labels, scores) for scores in probabilities]


def _probability(model: Model, image: sitk.Image) -> float:
    x, _ = model.card.preprocessing.apply(image)
    device = next(model.network.parameters()).device
    with torch.inference_mode():
        logit = model.network(torch.from_numpy(x).to(device)[None, :, None]).logit
        return float(torch.sigmoid(logit.double())[0])


def column(rows: Sequence[CohortRow], name: str, sign: float = 1.0) -> Predictions:
    """A manifest's own column as a score, such as ``laa_950_percent``."""
    return Predictions(np.array([row.label for row in rows]), np.array([sign * float(row.extra[name]) for row in rows]))
