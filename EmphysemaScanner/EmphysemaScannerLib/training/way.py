"""The published way to train: one label a volume and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow
from ..evaluation.statistics import Floats
from ..models.preprocessing import Preprocessing
from .learner import Learner
from .plan import Balance, Plan
from .volumes import Volumes


class PublishedWay:
    """How a network is prepared, taught and finished; what exceeds the paper overrides it in ``aids.AidedWay``.

    Args:
        plan: how to train.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def shown_size(self, image_size: int) -> int:
        """Rows and columns of the slices that the network is shown, of those of the grid."""
        return image_size

    def fitted(self, network: nn.Module) -> nn.Module:
        """A trained network for slices of the grid as one for the slices that it is shown."""
        return network

    def prepare(self, network: nn.Module, slices: int) -> None:
        """Change fresh weights before the first step, for volumes of so many slices."""

    def volumes(
        self,
        rows: Sequence[CohortRow],
        preprocessing: Preprocessing,
        cache: VolumeCache,
        augment: bool,
        in_memory: bool,
    ) -> Volumes:
        """A split of the cohort as the network sees it."""
        return Volumes(rows, preprocessing, self.plan, augment, cache, in_memory)

    def learner(self, network: nn.Module, total_steps: int, labels: Sequence[int]) -> Learner:
        """The network with its loss.

        Args:
            network: to be trained.
            total_steps: of the learning rate's whole schedule.
            labels: of the training split.
        """
        weights = (1.0, 1.0)
        if self.plan.balance is Balance.WEIGHT:  # their mean over the volumes is 1
            weights = (len(labels) / (2 * labels.count(0)), len(labels) / (2 * labels.count(1)))
        return Learner(network, self.plan, total_steps, weights)

    def finished(self, network: nn.Module, image_size: int) -> nn.Module:
        """The trained network for slices of the grid, of so many rows and columns."""
        return network

    def balanced(self, network: nn.Module, logits: Floats, labels: Sequence[int]) -> Floats:
        """The logits of the tuning split after the finished network was changed by what they show."""
        return logits

    def teaching(self) -> str:
        """What is learned from, for the model card's log."""
        return "volume labels"

    def balance(self) -> str:
        """What is done where one class is rarer, for the model card's log."""
        return {
            Balance.WEIGHT: "classes weighted equally",
            Balance.SAMPLE: "classes sampled equally often",
            Balance.NONE: "unweighted classes",
        }[self.plan.balance]
