"""Models' answers on labelled volumes; the statistics of them are in ``statistics``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.special import expit

from ..base.progress import Progress, silent
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow
from ..models import networks
from ..models.modelfile import Model
from ..models.preprocessing import Needs, Preprocessing
from ..scan.device import Device, choose
from .statistics import Floats, Predictions


class InputSource(Protocol):
    """What gives a volume as a network reads it, as ``cache.VolumeCache`` does."""

    def network_input(self, row: CohortRow, architecture: str, preprocessing: Preprocessing) -> torch.Tensor:
        """One volume's input, without a batch axis."""
        ...


@dataclass(frozen=True)
class Inference:
    """How models are asked.

    Attributes:
        device: where the networks run.
        batch_size: volumes that go through a network at once.
        cache: gives the volumes as networks read them; None for the user's cache folder.
    """

    device: Device = Device.AUTO
    batch_size: int = 1
    cache: InputSource | None = None

    def place(self, models: Sequence[Model]) -> None:
        """Bring the networks to the device.

        Raises:
            DeviceError: there is no such device here.
        """
        device = choose(self.device)
        for model in models:
            model.network.to(device)


DEFAULT_INFERENCE = Inference()


def predict(
    model: Model, rows: Sequence[CohortRow], progress: Progress = silent, cache: InputSource | None = None
) -> Predictions:
    """The model's probability for each volume of a cohort.

    Args:
        model: its network may lie on any device.
        rows: the volumes.
        progress: told the share done and the volume before each; what it raises ends the work.
        cache: gives the volumes as networks read them; None for the user's cache folder.
    """
    return predict_all([model], rows, progress, cache)[0]


def predict_all(
    models: Sequence[Model],
    rows: Sequence[CohortRow],
    progress: Progress = silent,
    cache: InputSource | None = None,
    batch_size: int = 1,
) -> list[Predictions]:
    """As ``predict``, for several models; every volume is read once for all that read it alike.

    Args:
        models: the models.
        rows: the volumes.
        progress: called with the share done and the volume before each.
        cache: of volumes; None for the user's.
        batch_size: volumes that go through a network at once.

    Returns:
        One for each model, each with all volumes in the order of ``rows``.
    """
    logits = np.empty((len(models), len(rows)))
    source = cache or VolumeCache()
    for start in range(0, len(rows), batch_size):
        inputs = []
        for k in range(start, min(start + batch_size, len(rows))):
            progress(k / len(rows), f"{rows[k].volume.name} ({k + 1} of {len(rows)})")
            inputs.append(read_inputs(models, rows[k], source))
        logits[:, start : start + len(inputs)] = predict_logits(models, inputs)
    return [predictions_of(rows, expit(values)) for values in logits]


def predictions_of(rows: Sequence[CohortRow], scores: Floats) -> Predictions:
    """Scores with the labels and patients of the rows that they belong to."""
    return Predictions(np.array([row.label for row in rows]), scores, tuple(row.patient for row in rows))


def read_inputs(models: Sequence[Model], row: CohortRow, source: InputSource) -> list[torch.Tensor]:
    """A volume as each of the models reads it; those that read it alike share one tensor.

    Args:
        models: the models.
        row: the volume.
        source: reads it.

    Returns:
        One for each model, without a batch axis: (T, 1, H, W), or (2,) LAA%-950 and Perc15.

    Raises:
        EmphysemaScannerError: (a kind of) the volume cannot be read.
    """
    read: dict[tuple[Needs, Preprocessing], torch.Tensor] = {}
    inputs = []
    for model in models:
        architecture, preprocessing = model.card.architecture, model.card.preprocessing
        kind = (networks.ARCHITECTURES[architecture].needs, preprocessing)
        if kind not in read:
            read[kind] = source.network_input(row, architecture, preprocessing)
        inputs.append(read[kind])
    return inputs


def predict_logits(models: Sequence[Model], inputs: Sequence[Sequence[torch.Tensor]]) -> Floats:
    """The models' logits, divided by the temperature of their cards.

    Args:
        models: each on any device.
        inputs: for each volume what ``read_inputs`` gave.

    Returns:
        Shape (models, volumes).
    """
    answers = np.empty((len(models), len(inputs)))
    with torch.inference_mode():
        for m, model in enumerate(models):
            device = next(model.network.parameters()).device
            batch = torch.stack([of_volume[m] for of_volume in inputs]).to(device)
            answers[m] = networks.logits(model.network, model.card, batch).cpu().numpy()
    return answers


def column(rows: Sequence[CohortRow], name: str, sign: float = 1.0) -> Predictions:
    """A manifest's own column as a score, such as ``laa_950_percent``.

    Args:
        rows: the volumes, all with a number in the column.
        name: of the column.
        sign: -1 where lower values mean disease, as of ``perc15_hu``.
    """
    return predictions_of(rows, np.array([sign * float(row.extra[name]) for row in rows]))
