"""The card of a trained model: what was learned from, how, and the user's own words."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base.errors import ModelFileError, reason
from ..cohort.manifest import CohortRow
from ..models.modelcard import ModelCard, OperatingPoint
from ..models.networks import ARCHITECTURES, keras_parameter_count
from ..models.preprocessing import Needs
from .plan import Plan
from .training import Outcome, Untrained
from .way import PublishedWay

CARD_FIELDS = ("name", "training_data", "training_log", "intended_use", "limits", "citations", "demonstration")
_LISTS = ("training_log", "citations")


def card_of(trained: Untrained, rows: Sequence[CohortRow], name: str, before: ModelCard | None) -> ModelCard:
    """What is known of a model before its operating point is chosen.

    Args:
        trained: the network, as it will be saved.
        rows: the cohort.
        name: the model's.
        before: the card of the model that was fine-tuned, if one was.
    """
    learned = [row for row in rows if row.split == "train"]
    positive = sum(row.label for row in learned)
    people = len({row.patient for row in learned})
    fine_tuned = "" if before is None else f"; fine-tuned from {before.name}"
    return ModelCard(
        name=name,
        architecture=trained.architecture,
        width=getattr(trained.network, "width", 1),
        parameters=keras_parameter_count(trained.network),
        preprocessing=trained.preprocessing,
        operating_point=OperatingPoint(0.5, "not chosen yet"),
        training_data=f"{len(learned)} volumes ({positive} positive) of {people} patients or anatomies{fine_tuned}.",
        trained_on=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        intended_use="Research; not for clinical decisions.",
        limits="Not validated on patients other than those it was trained and tuned with.",
        demonstration=False,
    )


def statement(outcome: Outcome, plan: Plan, way: PublishedWay, architecture: str) -> str:
    """How a model was trained, for the card's log."""
    if ARCHITECTURES[architecture].needs is Needs.DENSITOMETRY:
        return f"Logistic regression; validation AUC {outcome.best_auc:.3f}."
    return (
        f"Trained on {way.teaching()}; best of {outcome.epochs} epochs: {outcome.best_epoch} (at most "
        f"{plan.epochs}), validation AUC {outcome.best_auc:.3f}. Batch size {plan.batch_size}, peak learning rate "
        f"{plan.learning_rate:g}, {way.balance()}, seed {plan.seed}, precision {outcome.precision}."
    )


def log_before(before: ModelCard | None) -> tuple[str, ...]:
    """The log of the model that was fine-tuned."""
    if before is None:
        return ()
    return (*before.training_log, f"Fine-tuned from {before.name}, which was trained on: {before.training_data}")


def card_texts(path: Path) -> dict[str, Any]:
    """The user's own words for a card: JSON with fields among ``CARD_FIELDS``.

    Raises:
        ModelFileError: the file cannot be read, or holds something else.
    """
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
