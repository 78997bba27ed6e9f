"""Logistic regression on one figure of classical densitometry: what a model without any neural network reaches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn import functional


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

    def __init__(self, measure: Measure) -> None:
        super().__init__()
        self.measure = measure
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> DensityOutput:
        """Read (B, 2): LAA%-950 in % and Perc15 in HU of the whole lungs."""
        return DensityOutput(x[:, self.measure.value] * self.weight + self.bias)

    def fit(self, densities: Tensor, labels: Tensor) -> None:
        """Learn from a cohort at once; nothing is random, and no epochs are needed.

        The most likely weight and bias under a penalty of half the square of the weight of the standardised figure,
        which keeps them finite where the figure separates the classes (scikit-learn's ``LogisticRegression``).

        Args:
            densities: (N, 2) as in ``forward``.
            labels: (N,) 1 with disease, 0 without.
        """
        figure = densities[:, self.measure.value].detach().cpu().double()
        target = labels.detach().cpu().double()
        centre, spread = figure.mean(), figure.std(correction=0).clamp_min(1e-9)
        standardised = (figure - centre) / spread
        solution = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # weight, bias
        search = torch.optim.LBFGS([solution], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            logit = standardised * solution[0] + solution[1]
            total = functional.binary_cross_entropy_with_logits(logit, target, reduction="sum")
            penalised: Tensor = total + solution[0].square() / 2
            penalised.backward()  # type: ignore[no-untyped-call]
            return penalised

        search.step(loss)  # type: ignore[no-untyped-call]
        weight, bias = solution.detach()
        with torch.no_grad():
            self.weight.fill_(float(weight / spread))
            self.bias.fill_(float(bias - weight * centre / spread))
