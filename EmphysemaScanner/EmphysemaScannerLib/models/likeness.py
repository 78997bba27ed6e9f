"""How unlike the volumes that a model learned from a CT is, as the network sees it: averaged onto its grid.

A few figures of a volume are compared with their mean and covariance over the training volumes: the Mahalanobis
distance (Mahalanobis 1936), as a root mean square over the figures. The model card carries the summary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .modelcard import TrainingRange

MEASURES = (
    "lung_percent",
    "lung_median_hu",
    "air_percent",
    "tissue_median_hu",
    "bright_percent",
    "lung_upper_percent",
    "step_in_slice_hu",
    "step_between_slices_hu",
)
"""The figures' names, in order: shares of the grid, or of what is as light as lung, in %; densities and steps in HU."""

_IN_WORDS = (
    "the share of lung (%)",
    "the median density of lung (HU)",
    "the share of air (%)",
    "the median density of tissue (HU)",
    "the share of bone and contrast agent (%)",
    "the share of lung in the upper half (%)",
    "the density steps within slices (HU)",
    "the density steps between slices (HU)",
)  # of ``MEASURES``

FEWEST_VOLUMES = 2 * len(MEASURES)
_LUNG_HU, _TISSUE_HU = (-980.0, -600.0), (-200.0, 250.0)
_FARTHEST_PERCENT = 99.0  # of the training volumes lie nearer than the limit
_PARTS = 10
_SHRINK = 0.1  # covariances of few or of simulated volumes are singular

Floats = NDArray[np.float64]


def measures(grid_hu: NDArray[np.generic]) -> Floats:
    """The figures of a volume averaged onto a network's grid, (slices, rows, columns) in HU; (8,) as ``MEASURES``."""
    hu = np.asarray(grid_hu, np.float32)
    lung = (hu > _LUNG_HU[0]) & (hu < _LUNG_HU[1])
    tissue = (hu > _TISSUE_HU[0]) & (hu < _TISSUE_HU[1])
    across, along = np.abs(np.diff(hu, axis=2))[lung[:, :, 1:]], np.abs(np.diff(hu, axis=0))[lung[1:]]
    return np.array(
        [
            100 * lung.mean(),
            _median(hu[lung]),
            100 * (hu <= _LUNG_HU[0]).mean(),
            _median(hu[tissue]),
            100 * (hu >= _TISSUE_HU[1]).mean(),
            100 * np.count_nonzero(lung[len(lung) // 2 :]) / max(1, np.count_nonzero(lung)),
            _median(across),
            _median(along),
        ],
        np.float64,
    )


def training_range(volumes: Sequence[Floats]) -> TrainingRange | None:
    """The summary of a training set from the ``measures`` of its volumes; None of fewer than 16 of them."""
    if len(volumes) < FEWEST_VOLUMES:
        return None
    figures = np.array(volumes)
    found = _summary(figures)
    # How far a volume lies from a training set is told by volumes that took no part in the summary.
    away = [
        distance(one, _summary(np.delete(figures, slice(part, None, _PARTS), 0)))
        for part in range(_PARTS)
        for one in figures[part::_PARTS]
    ]
    return dataclasses.replace(found, limit=float(np.percentile(away, _FARTHEST_PERCENT)))


def _summary(figures: Floats) -> TrainingRange:
    mean, spread = figures.mean(0), np.maximum(figures.std(0), 1e-3)
    correlation = ((figures - mean) / spread).T @ ((figures - mean) / spread) / len(figures)
    correlation = (1 - _SHRINK) * correlation + _SHRINK * np.eye(len(MEASURES))
    return TrainingRange(
        MEASURES,
        tuple(mean.tolist()),
        tuple(spread.tolist()),
        tuple(np.linalg.inv(correlation).ravel().tolist()),
        0.0,
        len(figures),
    )


def distance(figures: Floats, trained: TrainingRange) -> float:
    """Root mean square distance from the training set's mean, in its standard deviations; about 1 within it."""
    away = (figures - np.array(trained.mean)) / np.array(trained.spread)
    precision = np.array(trained.precision).reshape(len(away), len(away))
    return math.sqrt(max(0.0, float(away @ precision @ away)) / len(away))


def unlike_training(grid_hu: NDArray[np.generic], trained: TrainingRange | None) -> tuple[str, ...]:
    """A sentence if a volume lies farther from the training set than nearly all of the training set itself.

    Args:
        grid_hu: the CT averaged onto the network's grid, HU.
        trained: from the model card; None in those that carry none, of which nothing is said.
    """
    if trained is None or trained.measures != MEASURES:
        return ()
    figures = measures(grid_hu)
    score = distance(figures, trained)
    if score <= trained.limit:
        return ()
    away = np.abs(figures - np.array(trained.mean)) / np.array(trained.spread)
    most = int(away.argmax())
    return (
        f"This CT differs from the {trained.volumes} volumes that the model was trained on (distance {score:.1f}; "
        f"{_FARTHEST_PERCENT:.0f} % of theirs are below {trained.limit:.1f}), most in {_IN_WORDS[most]}: "
        f"{figures[most]:.1f}, in training {trained.mean[most]:.1f} +- {trained.spread[most]:.1f}.",
    )


def _median(values: NDArray[np.float32]) -> float:
    return float(np.median(values)) if values.size else 0.0
