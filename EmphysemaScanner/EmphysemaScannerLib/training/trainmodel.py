"""A model file from a cohort: training, then temperature and operating point on the tuning split, and the card."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit

from ..base.errors import ModelFileError, shown
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow, check_patients, read_manifest, suspected_patients
from ..evaluation.evaluation import predict_logits, predictions_of, read_inputs
from ..evaluation.statistics import Floats, fit_temperature
from ..models import modelfile
from ..models.densitybaselines import DensityLogistic
from ..models.modelcard import ModelCard, OperatingPoint
from ..models.modelfile import Model
from ..models.networks import ARCHITECTURES, build
from ..models.preprocessing import Needs, Preprocessing
from ..scan.device import choose
from .aids import way_of
from .card import card_of, card_texts, log_before, statement
from .checkpoints import OnEpoch, Stop, Watch, ignore_epoch, stop_on_signals
from .classweights import find_class_weights
from .densities import fit_densities
from .likenessrange import range_of
from .plan import ONE_PROCESS, PUBLISHED, Hardware, NetworkChoice, Plan, TrainingError
from .training import MODEL_FILE, Outcome, Untrained, alone_in, is_first_process, train
from .way import PublishedWay


def train_model(
    manifests: Sequence[Path],
    out: Path,
    plan: Plan,
    choice: NetworkChoice = PUBLISHED,
    *,
    texts: Path | None = None,
    hardware: Hardware = ONE_PROCESS,
    cache: VolumeCache | None = None,
    on_epoch: OnEpoch = ignore_epoch,
) -> Path | None:
    """Train, choose temperature and operating point on the tuning split, and write ``model.safetensors`` with its card.

    SIGTERM and Ctrl-C end it after the step it is in; then, or after the process was killed, the same call goes on
    after the last whole epoch.

    Args:
        manifests: the cohort, in one file or several.
        out: folder for checkpoints and the model.
        plan: how to train.
        choice: which network.
        texts: JSON with fields of the card, those in ``CARD_FIELDS``; training_log precedes what is logged here.
        hardware: where to train.
        cache: of volumes; None for the user's.
        on_epoch: told of each whole epoch, in the first process.

    Returns:
        The model file; None in all processes but the first, which alone writes.

    Raises:
        TrainingStopped: by a signal.
        EmphysemaScannerError: (a kind of) the cohort, the plan, an option or a file cannot be used.
    """
    rows = _cohort(manifests)
    words = {} if texts is None else card_texts(texts)
    out, cache, way = Path(out), cache or VolumeCache(), way_of(plan)
    torch.manual_seed(plan.seed)
    untrained, before = _begin(choice, way)
    plan.check_architecture(untrained.architecture)
    with stop_on_signals() as stop, alone_in(out.absolute()):
        # A bar that draws over itself belongs on a terminal, not in a log.
        watch = Watch(sys.stderr.isatty(), on_epoch, stop)
        outcome = _fit(untrained, rows, plan, out, hardware, cache, watch)
        if outcome is None:
            return None
        network = way.finished(untrained.network, untrained.preprocessing.shape[1])
        card = card_of(dataclasses.replace(untrained, network=network), rows, out.name, before)
        card = dataclasses.replace(card, **words)
        log = (*card.training_log, *log_before(before), statement(outcome, plan, way, card.architecture))
        learned = None if _reads_densitometry(card) else range_of(rows, card.preprocessing, cache, stop.check)
        card = dataclasses.replace(card, training_range=learned, training_log=log)
        tune = [row for row in rows if row.split == "tune"]
        model = Model(network.eval().to(choose(hardware.device)), card)
        logits = _logits(model, tune, cache, plan.batch_size, stop)
        weights = find_class_weights(model, rows, lambda _share, _case: stop.check())
        card = dataclasses.replace(card, class_weights=weights)
        if weights is None and any(row.split == "train" and not row.volume.exists() for row in rows):
            print(
                "Warning: the model has no class weights, because too few CTs of the split train are here, only what "
                "the cache holds of them; download all and run 'emphysema-scanner disease-map'.",
                file=sys.stderr,
            )
    logits = way.balanced(network, logits, [row.label for row in tune])
    modelfile.save(out / MODEL_FILE, network, _calibrated(card, logits, tune))
    return out / MODEL_FILE


def _fit(
    untrained: Untrained,
    rows: Sequence[CohortRow],
    plan: Plan,
    out: Path,
    hardware: Hardware,
    cache: VolumeCache,
    watch: Watch,
) -> Outcome | None:
    """Give the network its best weights; None in all processes but the first, which alone goes on."""
    if not _reads_densitometry(untrained):
        outcome = train(untrained, rows, plan, out, hardware=hardware, cache=cache, watch=watch)
        return outcome if outcome.main else None
    if not is_first_process():
        return None
    return fit_densities(untrained, rows, plan, out, cache, watch)


def _reads_densitometry(model: Untrained | ModelCard) -> bool:
    return ARCHITECTURES[model.architecture].needs is Needs.DENSITOMETRY


def _cohort(manifests: Sequence[Path]) -> list[CohortRow]:
    rows = [row for manifest in manifests for row in read_manifest(manifest)]
    check_patients(rows)
    for sentence in suspected_patients(rows) if is_first_process() else ():
        print(f"Warning: {shown(sentence)}", file=sys.stderr)
    return rows


def _begin(choice: NetworkChoice, way: PublishedWay) -> tuple[Untrained, ModelCard | None]:
    """The network, and the card of the model that it goes on from, if any."""
    if choice.start is not None:
        model = modelfile.load(choice.start)
        preprocessing = _preprocessing_after(model.card, choice.start, choice)
        network = way.fitted(model.network).train()
        untrained = Untrained(network, model.card.architecture, preprocessing)
        return _without_width(untrained, choice), model.card
    architecture, preprocessing = choice.architecture or "conv_lstm", choice.preprocessing or Preprocessing()
    slices, rows, columns = preprocessing.shape
    if rows != columns:
        raise TrainingError(f"Slices must be square, not {rows} x {columns}.")
    network = build(architecture, choice.width, way.shown_size(rows), slices)
    return _without_width(Untrained(network, architecture, preprocessing), choice), None


def _preprocessing_after(card: ModelCard, start: Path, choice: NetworkChoice) -> Preprocessing:
    """The preprocessing of a training that goes on from a model; only the field may differ from the model's own."""
    if choice.architecture not in (None, card.architecture):
        raise ModelFileError(
            f"{start.name} is a {card.architecture} and not a {choice.architecture}; leave one of the two out."
        )
    preprocessing, own = choice.preprocessing or card.preprocessing, card.preprocessing
    of_start = dataclasses.replace(preprocessing, field=own.field, margin_mm=own.margin_mm, outside_hu=own.outside_hu)
    if choice.width not in (None, card.width) or of_start != own:
        raise ModelFileError(f"{start.name} has its own width, grid and window; leave these options out.")
    return preprocessing


def _without_width(untrained: Untrained, choice: NetworkChoice) -> Untrained:
    if isinstance(untrained.network, DensityLogistic) and choice.width is not None:
        raise TrainingError(f"A {untrained.architecture} has no width; leave it out.")
    return untrained


def _logits(model: Model, rows: Sequence[CohortRow], cache: VolumeCache, batch_size: int, stop: Stop) -> Floats:
    """The model's logits on volumes, before any temperature."""
    logits = []
    for first in range(0, len(rows), batch_size):
        stop.check()
        batch = rows[first : first + batch_size]
        logits.append(predict_logits([model], [read_inputs([model], row, cache) for row in batch])[0])
    return np.concatenate(logits)


def _calibrated(card: ModelCard, logits: Floats, tune: Sequence[CohortRow]) -> ModelCard:
    """The card with a temperature and an operating point that fit the logits of the tuning split."""
    temperature = fit_temperature(logits, [row.label for row in tune])
    answers = predictions_of(tune, expit(logits / temperature))
    source = f"Youden index, tuning split ({len(tune)} volumes; also used to calibrate)"
    point = OperatingPoint(answers.youden_threshold(), source)
    return dataclasses.replace(card, operating_point=point, temperature=temperature)
