"""Where a cohort's training volumes lie, for the model card: see ``models.likeness``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from ..base.errors import ModelFileError
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow, read_manifest
from ..models import modelfile
from ..models.likeness import FEWEST_VOLUMES, measures, training_range
from ..models.modelcard import TrainingRange
from ..models.networks import ARCHITECTURES
from ..models.preprocessing import Needs, Preprocessing

_MOST_VOLUMES = 1000  # mean and covariance of eight figures need no more


def _go_on() -> None:
    pass


def range_of(
    rows: Sequence[CohortRow],
    preprocessing: Preprocessing,
    cache: VolumeCache,
    before_each: Callable[[], None] = _go_on,
) -> TrainingRange | None:
    """The range of the training split, from at most 1,000 volumes evenly out of it; None of fewer than 16.

    Args:
        rows: the cohort.
        preprocessing: of the model.
        cache: of volumes.
        before_each: called before each volume.

    Raises:
        EmphysemaScannerError: (a kind of) a volume cannot be read, or what ``before_each`` raises.
    """
    learned = [row for row in rows if row.split == "train"]
    chosen = learned[:: -(-len(learned) // _MOST_VOLUMES) or 1]
    found = []
    for row in chosen:
        before_each()
        found.append(measures(cache.grid_hu(row.volume, preprocessing, row.masks)))
    return training_range(found)


def write_range(model_file: Path, manifests: Sequence[Path]) -> None:
    """Write the range of a cohort's training split into the card of a model that learned from it.

    Raises:
        ModelFileError: the file is no model, one that reads no volumes, or the split has fewer than 16 volumes.
        ManifestError: the cohort cannot be read.
    """
    model = modelfile.load(model_file)
    if ARCHITECTURES[model.card.architecture].needs is Needs.DENSITOMETRY:
        raise ModelFileError(f"A {model.card.architecture} reads no volumes; there is nothing to compare a CT with.")
    rows = [row for manifest in manifests for row in read_manifest(manifest)]
    found = range_of(rows, model.card.preprocessing, VolumeCache())
    if found is None:
        raise ModelFileError(f"The training split has fewer than {FEWEST_VOLUMES} volumes, too few for a range.")
    modelfile.save(model_file, model.network, dataclasses.replace(model.card, training_range=found))
