"""Models that read densitometry: fitted at once, and kept as a run of one epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow
from ..models.densitybaselines import DensityLogistic
from . import runfolder
from .checkpoints import Watch
from .plan import Balance, Plan
from .training import Outcome, Untrained, keep_plan, model_plan, split_rows


def fit_densities(
    untrained: Untrained, rows: Sequence[CohortRow], plan: Plan, out: Path, cache: VolumeCache, watch: Watch
) -> Outcome:
    """Fit a model that reads densitometry; for who watches, that is a run of one epoch.

    Args:
        untrained: the model; its network is changed.
        rows: the cohort.
        plan: how to train; epochs and balance have no effect.
        out: the run's folder.
        cache: of densitometry.
        watch: who sees the epoch and may stop the run.

    Raises:
        TrainingError: a split is empty or holds one class only, or ``out`` holds another run.
        TrainingStopped: the stop of ``watch`` was wanted.
    """
    network = untrained.network
    assert isinstance(network, DensityLogistic)
    parts = split_rows(rows, cache)
    keep_plan(out, model_plan(untrained, rows, dataclasses.replace(plan, epochs=1, balance=Balance.NONE)))

    def read(row: CohortRow) -> Tensor:
        watch.stop.check()
        return cache.network_input(row, untrained.architecture, untrained.preprocessing)

    densities = [torch.stack([read(row) for row in part]) for part in parts]
    labels = [torch.tensor([row.label for row in part]) for part in parts]
    fit_logistic(network, densities[0], labels[0])
    with torch.no_grad():
        logits = [network(x).logit.double() for x in densities]
    losses = [float(log_loss(of, values.sigmoid())) for of, values in zip(labels, logits, strict=True)]
    auc = float(roc_auc_score(labels[1], logits[1]))
    runfolder.keep_epochs(out, 0)
    runfolder.add_epoch(out, 1, losses[0], losses[1], auc)
    watch.on_epoch(runfolder.read_training(out))
    return Outcome(1, 1, auc, "32-true", True)


def fit_logistic(network: DensityLogistic, densities: Tensor, labels: Tensor) -> None:
    """Logistic regression of labels (N,) on the network's figure among densities (N, 2), with scikit-learn's penalty.

    The penalty is on the standardised figure; it keeps the weight finite where the figure separates the classes.
    """
    figure = densities[:, [network.measure.value]].double().numpy()
    scale = StandardScaler().fit(figure)
    fitted = LogisticRegression(tol=1e-10).fit(scale.transform(figure), labels.numpy())
    weight = float(fitted.coef_[0, 0] / scale.scale_[0])
    with torch.no_grad():
        network.weight.fill_(weight)
        network.bias.fill_(float(fitted.intercept_[0] - weight * scale.mean_[0]))
