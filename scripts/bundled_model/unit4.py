"""A last unit whose cells add up what they read, and the dense layer, which learn from lesion maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import features
import numpy as np
import torch
from EmphysemaScannerLib.models import fast_learning
from EmphysemaScannerLib.models.conv_lstm import ConvLSTM, ConvLSTMNetwork, Direction
from features import Truth
from torch import Tensor, nn
from torch.nn import functional

CONTENTS = 4  # of a step; two looks each
_SURE, _DOUBTFUL = 0.25, 0.05
_MUCH = 10.0  # a place's share in lesions above a tenth says little more
_SEED = 1


def begin_adding(network: ConvLSTMNetwork) -> None:
    """A fresh recurrence for unit 4: it forgets little, so that a slice counts the same whenever it is read."""
    unit = network.units[3]
    filters = unit.recurrence.filters
    unit.recurrence = ConvLSTM(unit.recurrence.input_conv.in_channels, filters, Direction.DESCENDING)
    with torch.no_grad():
        unit.recurrence.state_conv.weight.zero_()
        unit.recurrence.input_conv.weight.mul_(0.5)
        bias = unit.recurrence.input_conv.bias
        assert bias is not None
        for gate, value in enumerate((-3.0, 6.0, 0.0, 2.0)):  # input, forget, cell, output
            bias[gate * filters : (gate + 1) * filters] = value
        norm = unit.state_norm
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.fill_(1.0)
        norm.bias.zero_()


@dataclass(frozen=True)
class Losses:
    """Scalars.

    Attributes:
        running: after every slice, has disease been read?
        where: how much disease has been read at each place so far, and in this slice?
        differs: by how much the answers to two looks at one content differ, squared.
    """

    running: Tensor
    where: Tensor
    differs: Tensor

    def total(self, alike: float) -> Tensor:
        """Alike: how much two looks at a content are held to one answer."""
        return 0.5 * self.running + self.where + alike * self.differs


class Evidence(nn.Module):
    """Losses on what unit 4 says place by place and slice by slice; the dense layer has the same weights everywhere."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(filters))
        self.bias = nn.Parameter(torch.tensor(-1.0))
        self.scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, unit: nn.Module, states: Tensor, truth: Truth) -> Losses:
        """The losses of hidden states (looks, 35, filters, h, w); looks at one content lie side by side."""
        norm = unit.state_norm
        states = functional.pad(states.float(), (0, 0, 0, 0, 0, 0, 0, 1))  # the empty state before the first slice
        gain = self.weight * norm.weight * (norm.running_var + norm.eps).rsqrt()
        terms = (states * gain[:, None, None]).sum(2)
        running = terms.sum((2, 3)) + self.bias
        final = 4 * torch.tanh(running / 4)
        differs = (final[::2] - final[1::2]).square().mean()
        return Losses(_running_loss(running, truth.highest), self._where(terms, truth.lesions), differs)

    def _where(self, terms: Tensor, lesions: Tensor) -> Tensor:
        """How much disease has been read at each place so far, and in this slice?"""
        told = self.scale.exp() * terms
        now = torch.log1p(_MUCH * lesions) / math.log1p(_MUCH)
        read = functional.pad(now, (0, 0, 0, 0, 0, 1)).flip(1).cumsum(1).flip(1)
        return _missed(told / 3, read / 3, 0.3) + _missed(-told.diff(dim=1), now, 0.03)

    def put_into(self, network: ConvLSTMNetwork) -> None:
        """The norm leaves 0 in the empty state."""
        with torch.no_grad():
            norm = network.units[3].state_norm
            norm.bias.copy_(norm.running_mean * norm.weight * (norm.running_var + norm.eps).rsqrt())
            places = network.config.final_size**2
            network.dense.weight.copy_(self.weight[:, None].expand(-1, places).reshape(1, -1))
            network.dense.bias.copy_(self.bias[None])


def _running_loss(running: Tensor, highest: Tensor) -> Tensor:
    """After every slice: has disease been read? The last answer counts most."""
    seen = functional.pad(highest, (0, 1)).flip(1).cummax(1).values.flip(1)  # read from the top
    weight = ((seen >= _SURE) | (seen < _DOUBTFUL)).float()
    weight[:, 0] *= running.shape[1] / 4
    target = (seen >= _SURE).float().clamp(0.02, 0.98)
    loss = functional.binary_cross_entropy_with_logits(running.clamp(max=12), target, weight, reduction="sum")
    return loss / weight.sum().clamp(min=1)


def _missed(told: Tensor, true: Tensor, beta: float) -> Tensor:
    weight = torch.where(true > 0, 4.0, 1.0)
    return (weight * functional.smooth_l1_loss(told, true, reduction="none", beta=beta)).sum() / weight.sum()


def learn(
    network: ConvLSTMNetwork,
    evidence: Evidence,
    paths: list[Path],
    epochs: float,
    rate: float,
    alike: float,
    say: Callable[[str], None] = print,
) -> None:
    """Teach unit 4 and the dense layer on features; a fifth of the contents is held back to watch the loss.

    Args:
        network: whose unit 4 learns; its dense layer gets the evidence's weights at the end.
        evidence: the dense layer as it is learned.
        paths: files of features.
        epochs: how often each content is presented.
        rate: the highest learning rate; it ends near 0.
        alike: how much the two looks at a content are held to one answer.
        say: told the losses every hundred steps.
    """
    unit = network.units[3].eval()
    held = [path for number, path in enumerate(paths) if number % 10 < 2]
    free = [path for number, path in enumerate(paths) if number % 10 >= 2]
    learned = [*unit.parameters(), *evidence.parameters()]
    steps = max(1, int(epochs * len(free) / CONTENTS))
    groups = [
        {"params": [*unit.parameters(), evidence.weight, evidence.scale]},
        {"params": [evidence.bias], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, 10 * rate], total_steps=steps + 1, pct_start=0.1)

    def loss_of(some: list[Path]) -> Tensor:
        seen = features.read(some)
        with torch.autocast("cpu", torch.bfloat16):
            states = fast_learning.hidden_states((unit,), seen.states)[0]
        losses: Losses = evidence(unit, states, seen.truth)
        return losses.total(alike)

    for step in range(steps):
        rng = np.random.default_rng([_SEED, step])
        loss = loss_of([free[k] for k in rng.choice(len(free), min(CONTENTS, len(free)), replace=False)])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            with torch.no_grad():
                watched = [float(loss_of(held[k : k + CONTENTS])) for k in range(0, len(held), CONTENTS)]
            say(f"{step + 1} of {steps} steps, loss {float(loss.detach()):.3f}, held back {np.mean(watched):.3f}")
    evidence.put_into(network)
