"""Logistic regression on one figure of classical densitometry: what a model without any neural network reaches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from .preprocessing import Needs


class Measure(Enum):
    """A figure of the whole lungs; the value is its column in what a ``DensityLogistic`` reads."""

    LAA_950 = 0
    PERC15 = 1


@dataclass(frozen=True)
class DensityOutput:
    """What a densitometry model answers.

    Attributes:
        logit: (B,)
    """

    logit: Tensor


class DensityLogistic(nn.Module):
    """logit = weight x figure + bias, in the figure's own unit (per % or per HU). Its weights are these two numbers.

    Args:
        measure: the figure that it reads.
    """

    needs = Needs.DENSITOMETRY

    def __init__(self, measure: Measure) -> None:
        super().__init__()
        self.measure = measure
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> DensityOutput:
        """Read (B, 2): LAA%-950 in % and Perc15 in HU of the whole lungs."""
        return DensityOutput(x[:, self.measure.value] * self.weight + self.bias)
