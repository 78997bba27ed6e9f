"""The command ``train``: training, calibration on the tuning split, and the model file with its card."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from ..core import modelfile
from ..core.conv_lstm import ConvLSTMNetwork
from ..core.errors import ModelFileError
from ..core.manifest import CohortRow, read_manifest
from ..core.modelcard import ModelCard, OperatingPoint
from ..core.modelfile import Model
from ..core.networks import keras_parameter_count
from ..core.preprocessing import Preprocessing
from .evaluation import Predictions, predict
from .training import Plan, enlarge, stop_on_signals, train
from .trainingwatch import TrainingCurves

CARD_TEXTS = ("name", "training_data", "intended_use", "limits", "citations")


def train_model(
    manifests: Sequence[Path], out: Path, plan: Plan, width: int, start: Path | None, texts: Path | None
) -> Path:
    """Train, calibrate on the tuning split, and write ``model.safetensors`` with its card; a line is printed an epoch.

    SIGTERM and Ctrl-C end it after the step it is in; the same call then goes on after the last whole epoch.

    Args:
        manifests: the cohort, in one file or several.
        out: folder for checkpoints and the model.
        plan: how to train.
        width: filters of the first unit, when not started from a model.
        start: a model file to go on from.
        texts: JSON with the card's own words: name, training_data, intended_use, limits, citations.

    Raises:
        TrainingStopped: by a signal.
        EmphysemaScannerError: (a kind of) the cohort, the plan or a file cannot be used.
    """
    rows = [row for manifest in manifests for row in read_manifest(manifest)]
    preprocessing = Preprocessing()
    if start is not None:
        network = modelfile.load(start).network
        if not isinstance(network, ConvLSTMNetwork):
            raise ModelFileError(f"{start.name} is not a conv_lstm; training can only go on from one.")
        if plan.crop is not None:
            raise ModelFileError("A model for whole slices cannot go on with crops; leave one of the two out.")
    else:
        torch.manual_seed(plan.seed)
        network = ConvLSTMNetwork(width, plan.crop or preprocessing.shape[1])
    with stop_on_signals() as stop:
        # A bar that draws over itself belongs on a terminal, not in a log.
        bar = sys.stderr.isatty()
        train(network, preprocessing, rows, plan, out, progress_bar=bar, on_epoch=_print_epoch, stop=stop)
        if plan.crop is not None:
            network = enlarge(network, preprocessing.shape[1])
        card = _card(network, preprocessing, rows, out.name, texts)
        tune = [row for row in rows if row.split == "tune"]
        model = Model(network.eval(), card)
        calibrate(network, predict(model, tune, lambda *_: stop.check()))
        answers = predict(model, tune, lambda *_: stop.check())
    source = f"Youden index on the {len(tune)} volumes of the tuning split, on which the probability was calibrated too"
    card = dataclasses.replace(card, operating_point=OperatingPoint(answers.youden_threshold(), source))
    path = out / "model.safetensors"
    modelfile.save(path, network, card)
    return path


def _card(
    network: ConvLSTMNetwork, preprocessing: Preprocessing, rows: Sequence[CohortRow], name: str, texts: Path | None
) -> ModelCard:
    """What is known of a model before its operating point is chosen."""
    learned = [row for row in rows if row.split == "train"]
    sick = sum(row.label for row in learned)
    people = len({row.patient for row in learned})
    card = ModelCard(
        name=name,
        architecture=network.architecture,
        width=network.width,
        parameters=keras_parameter_count(network),
        preprocessing=preprocessing,
        operating_point=OperatingPoint(0.5, "not chosen yet"),
        training_data=f"{len(learned)} volumes ({sick} positive) of {people} people or anatomies.",
        trained_on=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        intended_use="Research; not for clinical decisions.",
        limits="Not validated on patients other than those it was trained and tuned with.",
        demonstration=True,
    )
    return card if texts is None else dataclasses.replace(card, **_card_texts(texts))


def _print_epoch(curves: TrainingCurves) -> None:
    print(
        f"Epoch {curves.epoch} of {curves.epochs}: training loss {curves.train_loss[-1]:.3f}, "
        f"validation loss {curves.val_loss[-1]:.3f}, validation AUC {curves.val_auc[-1]:.3f}",
        flush=True,
    )


def calibrate(network: ConvLSTMNetwork, answers: Predictions) -> None:
    """Platt scaling: the logit becomes a * logit + b, fitted on labelled volumes and folded into the dense layer.

    The order of volumes, and so the AUC, stays. Where a is not positive nothing is done: the model tells nothing apart.
    """
    logits = np.log(answers.scores) - np.log1p(-answers.scores)
    fit = LogisticRegression(C=np.inf).fit(logits[:, None], answers.labels)
    scale, shift = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if scale <= 0:
        return
    with torch.no_grad():
        network.dense.weight *= scale
        network.dense.bias.mul_(scale).add_(shift)


def _card_texts(path: Path) -> dict[str, Any]:
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"The card's texts in {path} cannot be read ({error}).") from error
    if not isinstance(texts, dict) or set(texts) - set(CARD_TEXTS):
        raise ModelFileError(f"{path.name} may hold {', '.join(CARD_TEXTS)} and nothing else.")
    return {key: tuple(value) if key == "citations" else value for key, value in texts.items()}
