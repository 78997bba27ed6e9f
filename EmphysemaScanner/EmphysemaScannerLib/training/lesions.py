"""A Conv-LSTM that also learns from lesion maps where the disease is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.conv_lstm import ConvLSTMNetwork, dense_terms
from .learner import Batch, Learner
from .plan import Aids, Plan

SURE, DOUBTFUL = 0.25, 0.05  # lesion share of a voxel from which it is disease; between the two it teaches nothing

MUCH = 10.0  # with a tenth of a place in lesions in one slice, evidence stops growing in proportion
LONG = 3.0  # slices full of disease at a place, which count as one in what has been read in all
STEADY_STEP = 0.03  # the same with evidence that does not slow down, whose steps are smaller
STEP = 0.1  # what one slice tells of a place is missed in proportion from here on; less, and its square counts


class LesionLearner(Learner):
    """A Conv-LSTM that is also shown where the disease is.

    The first three units learn, by heads that are scaffolding and no part of the model that is saved, where in a slice
    there is disease. The last one learns that its evidence is where disease was read: at every place, its terms of the
    logit grow with the disease there, slice by slice, from none in the empty state before the first slice: else the
    first slices would add what every chest adds. Its norm sees all these states, because the answer is asked for after
    each. In a crop, which lies anywhere, every place has the same weights in the dense layer, as
    ``aids.enlarge`` leaves them.
    """

    network: ConvLSTMNetwork

    def __init__(self, network: ConvLSTMNetwork, plan: Plan, total_steps: int) -> None:
        super().__init__(network, plan, total_steps)
        self.heads = nn.ModuleList([nn.Conv2d(unit.recurrence.filters, 1, 1) for unit in network.units[:-1]])
        self.evidence_scale, self.evidence_bias = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        if plan.crop is not None:
            with torch.no_grad():
                network.dense.weight.copy_(self._same_everywhere(network.dense.weight))
            network.dense.weight.register_hook(self._same_everywhere)  # type: ignore[no-untyped-call]

    def _same_everywhere(self, weights: Tensor) -> Tensor:
        """Of the dense layer, or their gradient: the mean over all places."""
        by_place = weights.view(1, -1, self.network.config.final_size**2)
        return by_place.mean(2, keepdim=True).expand_as(by_place).reshape(weights.shape)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the running logit, and of the lesions in every unit times their weight; a scalar.

        Args:
            batch: as ``Learner.loss`` has it, and lesion shares (B, T, h, w) from 0 to 255.
        """
        x, _, _, lesions = batch
        hidden = self.network.read(x)
        # The last unit reads from the top. Before it there is nothing: an empty state, and no disease has been read.
        states = functional.pad(hidden[-1], (0, 0, 0, 0, 0, 0, 0, 1))
        normalised = self.network.units[-1].normalised(states)
        terms = dense_terms(self.network.dense, normalised).float()  # (B, T + 1, h, w)
        running = terms.sum((2, 3)) + self.network.dense.bias  # (B, T + 1) logit before and after each slice
        share = lesions.float() / 255
        read = functional.pad(share, (0, 0, 0, 0, 0, 1))
        where = self._lesion_loss(hidden[:-1], share) + self._evidence_loss(terms, read)
        return self._running_loss(running, read) + self.plan.lesion_weight * where

    def validation_step(self, batch: Batch, number: int) -> None:
        """Of a crop, the label is whether it holds disease for certain."""
        x, label, numbers, lesions = batch
        if self.plan.crop is not None:
            label = (lesions.flatten(1).amax(1) >= SURE * 255).float()
        super().validation_step((x, label, numbers), number)

    def _running_loss(self, running: Tensor, share: Tensor) -> Tensor:
        """After every slice: has disease been read so far? Doubtful amounts are left out."""
        highest = share.flatten(2).amax(2)  # (B, T + 1) inferior to superior
        seen = highest.flip(1).cummax(1).values.flip(1)  # the last unit reads from the top
        weight = ((seen >= SURE) | (seen < DOUBTFUL)).float()
        weight[:, self.network.last_read_slice] *= running.shape[1] / 4  # the final answer matters most
        loss = functional.binary_cross_entropy_with_logits(running, (seen >= SURE).float(), weight, reduction="sum")
        return loss / weight.sum().clamp(min=1)

    def _lesion_loss(self, hidden: Sequence[Tensor], share: Tensor) -> Tensor:
        """At every place of the first units: is there disease here?"""
        losses = []
        for head, states in zip(self.heads, hidden, strict=True):
            stride = share.shape[-1] // states.shape[-1]
            target = (functional.max_pool2d(share, stride) / (2 * SURE)).clamp(max=1).flatten(0, 1)[:, None]
            logits = head(states.flatten(0, 1)).float()
            losses.append(
                functional.binary_cross_entropy_with_logits(
                    logits, target, pos_weight=torch.tensor(4.0, device=self.device)
                )
            )
        return torch.stack(losses).sum()

    def _evidence_loss(self, terms: Tensor, share: Tensor) -> Tensor:
        """At every place of the last unit: how much disease has been read here so far, and in this slice?

        Much more says little more: of all slices together, or, with the aids for the whole lung, within each slice
        alone, so that disease in the thirtieth slice is missed as much as in the first.
        """
        here = functional.avg_pool2d(share, share.shape[-1] // terms.shape[-1])
        told = self.evidence_scale.exp() * terms + self.evidence_bias
        if self.plan.aids is Aids.WHOLE_LUNG:
            steps = torch.log1p(MUCH * here) / math.log1p(MUCH)
            read = steps.flip(1).cumsum(1).flip(1)
            all_slices = _missed(told / LONG, read / LONG, STEP * LONG)
            return all_slices + _missed(-told.diff(dim=1), -read.diff(dim=1), STEADY_STEP)
        read = torch.log1p(MUCH * here.flip(1).cumsum(1).flip(1))
        return _missed(told, read, 1.0) + _missed(-told.diff(dim=1), -read.diff(dim=1), STEP)


def _missed(told: Tensor, read: Tensor, beta: float) -> Tensor:
    """How far off, on average; places where something was to be told count four times as much as others."""
    weight = torch.where(read > 0, 4.0, 1.0)
    return (weight * functional.smooth_l1_loss(told, read, reduction="none", beta=beta)).sum() / weight.sum()
