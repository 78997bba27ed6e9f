"""The command ``train``: training, temperature and operating point on the tuning split, model file and card."""

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
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from ..base.errors import ModelFileError, reason, shown
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow, check_patients, read_manifest, suspected_patients
from ..evaluation.evaluation import predict_logits, predictions_of, read_inputs
from ..evaluation.predict import Shard
from ..evaluation.statistics import Floats, balancing_shift, fit_temperature
from ..models import modelfile
from ..models.conv_lstm import ConvLSTMNetwork
from ..models.densitybaselines import DensityLogistic
from ..models.modelcard import ModelCard, OperatingPoint
from ..models.modelfile import Model
from ..models.modelheader import read_card
from ..models.networks import ARCHITECTURES, build, keras_parameter_count
from ..models.preprocessing import Preprocessing
from ..scan.device import choose
from ..training import runfolder as trainingwatch
from ..training.checkpoints import Stop, stop_on_signals
from ..training.likenessrange import range_of
from ..training.plan import ONE_PROCESS, Aids, Balance, Hardware, Plan, TrainingError
from ..training.runfolder import TrainingCurves
from ..training.training import (
    MODEL_FILE,
    Outcome,
    alone_in,
    enlarge,
    is_first_process,
    keep_plan,
    model_plan,
    split_rows,
    train,
)

CARD_FIELDS = ("name", "training_data", "training_log", "intended_use", "limits", "citations", "demonstration")
_LISTS = ("training_log", "citations")


def train_model(
    manifests: Sequence[Path],
    out: Path,
    plan: Plan,
    *,
    architecture: str | None = None,
    width: int | None = None,
    start: Path | None = None,
    texts: Path | None = None,
    preprocessing: Preprocessing | None = None,
    hardware: Hardware = ONE_PROCESS,
    cache: VolumeCache | None = None,
) -> Path | None:
    """Train, choose temperature and operating point on the tuning split, and write ``model.safetensors`` with its card.

    A line is printed an epoch. SIGTERM and Ctrl-C end it after the step it is in; then, or after the process was
    killed, the same call goes on after the last whole epoch.

    Args:
        manifests: the cohort, in one file or several.
        out: folder for checkpoints and the model.
        plan: how to train.
        architecture: a name in ``ARCHITECTURES``; None for that of ``start``, or conv_lstm.
        width: filters of the first unit; None for the published width, or that of ``start``.
        start: a model file to go on from.
        texts: JSON with fields of the card, those in ``CARD_FIELDS``; training_log precedes what is logged here.
        preprocessing: grid, window and field; None for the published ones, or those of ``start``, from which only the
            field may differ.
        hardware: where to train.
        cache: of volumes; None for the user's.

    Returns:
        The model file; None in all processes but the first, which alone writes.

    Raises:
        TrainingStopped: by a signal.
        EmphysemaScannerError: (a kind of) the cohort, the plan, an option or a file cannot be used.
    """
    rows = [row for manifest in manifests for row in read_manifest(manifest)]
    check_patients(rows)
    for sentence in suspected_patients(rows) if is_first_process() else ():
        print(f"Warning: {shown(sentence)}", file=sys.stderr)
    words = {} if texts is None else _card_texts(texts)
    before = None if start is None else read_card(start)
    cache = cache or VolumeCache()
    torch.manual_seed(plan.seed)
    if start is not None:
        network, architecture, preprocessing = _go_on_from(start, plan, architecture, width, preprocessing)
    else:
        architecture, preprocessing = architecture or "conv_lstm", preprocessing or Preprocessing()
        slices, rows_, columns = preprocessing.shape
        if rows_ != columns:
            raise TrainingError(f"Slices must be square, not {rows_} x {columns}.")
        network = build(architecture, width, plan.crop or rows_, slices)
    plan.check_architecture(architecture)
    with stop_on_signals() as stop, alone_in(Path(out).absolute()):
        if isinstance(network, DensityLogistic):
            if width is not None:
                raise TrainingError(f"A {architecture} has no width; leave it out.")
            if Shard.of_environment().number > 1:
                return None
            outcome = _fit_densities(network, architecture, preprocessing, rows, plan, Path(out), cache, stop)
        else:
            # A bar that draws over itself belongs on a terminal, not in a log.
            outcome = train(
                network, architecture, preprocessing, rows, plan, out,
                hardware=hardware, cache=cache, progress_bar=sys.stderr.isatty(), on_epoch=_print_epoch, stop=stop,
            )  # fmt: skip
        if not outcome.main:
            return None
        if plan.crop is not None:
            assert isinstance(network, ConvLSTMNetwork)
            network = enlarge(network, preprocessing.shape[1])
        card = _card(network, architecture, preprocessing, rows, Path(out).name, before)
        card = dataclasses.replace(card, **words)
        if not ARCHITECTURES[architecture].reads_densitometry:
            card = dataclasses.replace(card, training_range=range_of(rows, preprocessing, cache, stop.check))
        log = (*card.training_log, *_log_before(before), _statement(outcome, plan, architecture))
        card = dataclasses.replace(card, training_log=log)
        tune = [row for row in rows if row.split == "tune"]
        network.eval().to(choose(hardware.device))
        logits = _logits(Model(network, card), tune, cache, plan.batch_size, stop)
    if plan.crop is not None:  # whole slices have more places than a crop, and each adds what it adds to healthy lung
        assert isinstance(network, ConvLSTMNetwork)
        shift = balancing_shift(logits, [row.label for row in tune])
        logits = logits + shift
        with torch.no_grad():
            network.dense.bias.add_(shift)
    temperature = fit_temperature(logits, [row.label for row in tune])
    answers = predictions_of(tune, expit(logits / temperature))
    point = OperatingPoint(
        answers.youden_threshold(), f"Youden index, tuning split ({len(tune)} volumes; also used to calibrate)"
    )
    path = Path(out) / MODEL_FILE
    modelfile.save(path, network, dataclasses.replace(card, operating_point=point, temperature=temperature))
    return path


def _go_on_from(
    start: Path, plan: Plan, architecture: str | None, width: int | None, preprocessing: Preprocessing | None
) -> tuple[nn.Module, str, Preprocessing]:
    model = modelfile.load(start)
    card = model.card
    if architecture not in (None, card.architecture):
        raise ModelFileError(
            f"{start.name} is a {card.architecture} and not a {architecture}; leave one of the two out."
        )
    preprocessing = preprocessing or card.preprocessing
    own = card.preprocessing
    of_start = dataclasses.replace(preprocessing, field=own.field, margin_mm=own.margin_mm, outside_hu=own.outside_hu)
    if width not in (None, card.width) or of_start != own:
        raise ModelFileError(f"{start.name} has its own width, grid and window; leave these options out.")
    network: nn.Module = model.network
    if plan.crop is not None and isinstance(network, ConvLSTMNetwork):
        network = enlarge(network, plan.crop)
    return network.train(), card.architecture, preprocessing


def _fit_densities(
    network: DensityLogistic,
    architecture: str,
    preprocessing: Preprocessing,
    rows: Sequence[CohortRow],
    plan: Plan,
    out: Path,
    cache: VolumeCache,
    stop: Stop,
) -> Outcome:
    """A model that reads densitometry is fitted at once; for who watches, that is a run of one epoch."""
    parts = split_rows(rows)
    at_once = dataclasses.replace(plan, epochs=1, balance=Balance.NONE)
    keep_plan(out, model_plan(network, architecture, preprocessing, rows, at_once))

    def read(row: CohortRow) -> Tensor:
        stop.check()
        return cache.network_input(row, architecture, preprocessing)

    densities = [torch.stack([read(row) for row in part]) for part in parts]
    labels = [torch.tensor([row.label for row in part]) for part in parts]
    fit_logistic(network, densities[0], labels[0])
    with torch.no_grad():
        logits = [network(x).logit.double() for x in densities]
    losses = [float(log_loss(of, values.sigmoid())) for of, values in zip(labels, logits, strict=True)]
    auc = float(roc_auc_score(labels[1], logits[1]))
    trainingwatch.keep_epochs(out, 0)
    trainingwatch.add_epoch(out, 1, losses[0], losses[1], auc)
    _print_epoch(trainingwatch.read_training(out))
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


def _logits(model: Model, rows: Sequence[CohortRow], cache: VolumeCache, batch_size: int, stop: Stop) -> Floats:
    """The model's logits on volumes, before any temperature."""
    logits = []
    for first in range(0, len(rows), batch_size):
        stop.check()
        batch = rows[first : first + batch_size]
        logits.append(predict_logits([model], [read_inputs([model], row, cache) for row in batch])[0])
    return np.concatenate(logits)


def _card(
    network: nn.Module,
    architecture: str,
    preprocessing: Preprocessing,
    rows: Sequence[CohortRow],
    name: str,
    before: ModelCard | None,
) -> ModelCard:
    """What is known of a model before its operating point is chosen."""
    learned = [row for row in rows if row.split == "train"]
    positive = sum(row.label for row in learned)
    people = len({row.patient for row in learned})
    fine_tuned = "" if before is None else f"; fine-tuned from {before.name}"
    return ModelCard(
        name=name,
        architecture=architecture,
        width=getattr(network, "width", 1),
        parameters=keras_parameter_count(network),
        preprocessing=preprocessing,
        operating_point=OperatingPoint(0.5, "not chosen yet"),
        training_data=f"{len(learned)} volumes ({positive} positive) of {people} patients or anatomies{fine_tuned}.",
        trained_on=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        intended_use="Research; not for clinical decisions.",
        limits="Not validated on patients other than those it was trained and tuned with.",
        demonstration=False,
    )


def _statement(outcome: Outcome, plan: Plan, architecture: str) -> str:
    """How it was trained, for the card's log."""
    if ARCHITECTURES[architecture].reads_densitometry:
        return f"Logistic regression; validation AUC {outcome.best_auc:.3f}."
    balance = {
        Balance.WEIGHT: "classes weighted equally",
        Balance.SAMPLE: "classes sampled equally often",
        Balance.NONE: "unweighted classes",
    }[plan.balance]
    lesions = " and lesion maps" if plan.lesion_weight else ""
    aided = ", shown in parts, upside down and in other fields of view," if plan.aids is Aids.WHOLE_LUNG else ""
    return (
        f"Trained on volume labels{lesions}{aided}; best of {outcome.epochs} epochs: {outcome.best_epoch} (at most "
        f"{plan.epochs}), validation AUC {outcome.best_auc:.3f}. Batch size {plan.batch_size}, peak learning rate "
        f"{plan.learning_rate:g}, {balance if not lesions else 'unweighted classes'}, seed {plan.seed}, precision "
        f"{outcome.precision}."
    )


def _log_before(before: ModelCard | None) -> tuple[str, ...]:
    """The log of the model that was fine-tuned."""
    if before is None:
        return ()
    return (*before.training_log, f"Fine-tuned from {before.name}, which was trained on: {before.training_data}")


def _print_epoch(curves: TrainingCurves) -> None:
    print(
        f"Epoch {curves.epoch} of {curves.epochs}: training loss {curves.train_loss[-1]:.3f}, "
        f"validation loss {curves.val_loss[-1]:.3f}, validation AUC {curves.val_auc[-1]:.3f}",
        flush=True,
    )


def _card_texts(path: Path) -> dict[str, Any]:
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"The card's texts in {path} cannot be read ({reason(error)}).") from error
    if not isinstance(texts, dict) or set(texts) - set(CARD_FIELDS):
        raise ModelFileError(f"{path.name} may hold {', '.join(CARD_FIELDS)} and nothing else.")
    for name, value in texts.items():
        if name == "demonstration":
            fits, wanted = isinstance(value, bool), "true or false"
        elif name in _LISTS:
            fits = isinstance(value, list) and all(isinstance(text, str) for text in value)
            wanted = "a list of texts"
        else:
            fits, wanted = isinstance(value, str), "a text"
        if not fits:
            raise ModelFileError(f"In {path.name}, {name} must be {wanted}.")
    return {name: tuple(value) if name in _LISTS else value for name, value in texts.items()}
