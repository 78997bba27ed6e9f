"""The disease map: a linear readout of a Conv-LSTM's hidden states and of density; its weights lie in the card."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..base.errors import ModelFileError
from .conv_lstm import ConvLSTMNetwork
from .modelcard import DiseaseMap, ModelCard


def check_disease_map(network: nn.Module, card: ModelCard) -> None:
    """Refuse a card whose disease map is not one of its network.

    Raises:
        ModelFileError: it reads units that the network lacks, or another number of channels.
    """
    if card.disease_map is None:
        return
    if not (
        isinstance(network, ConvLSTMNetwork)
        and set(card.disease_map.units) <= set(network.unit_names)
        and sum(channels(network, card.disease_map)) == len(card.disease_map.weights)
    ):
        raise ModelFileError("The model's disease map does not fit its network; ask its author for a sound file.")


def channels(network: ConvLSTMNetwork, known: DiseaseMap) -> list[int]:
    """How many channels each of the units that are read has."""
    return [network.units[network.unit_names.index(name)].recurrence.filters for name in known.units]


def disease_logits(
    network: ConvLSTMNetwork, hidden: Sequence[Tensor], x: Tensor, low: Tensor | None, known: DiseaseMap
) -> Tensor:
    """The logit of disease in each voxel of the network's grid.

    Args:
        network: whose states they are.
        hidden: of all its units, each (B, T, F, H, W) with the unit's own F, H and W.
        x: what it read, (B, T, 1, H, W).
        low: as ``lowdensity.low_share`` gives it, (B, T, H, W); None counts as 0 everywhere.
        known: from the model's card.

    Returns:
        (B, T, H, W) float32.
    """
    states = [hidden[network.unit_names.index(name)] for name in known.units]
    weights = torch.tensor(known.weights, dtype=torch.float32, device=x.device)
    size = states[0].shape[-2:]
    logits = torch.full((*states[0].shape[:2], *size), known.bias, dtype=torch.float32, device=x.device)
    for unit, weight in zip(states, torch.split(weights, channels(network, known)), strict=True):
        logits += enlarged(torch.einsum("btfhw,f->bthw", unit.float(), weight), size)
    logits = enlarged(logits, x.shape[-2:]) + known.input_weight * x[:, :, 0].float()
    return logits if low is None else logits + known.low_weight * low


def enlarged(values: Tensor, size: torch.Size) -> Tensor:
    """(..., H, W) of another number of rows and columns, linear between the centres."""
    planes = values.reshape(1, -1, *values.shape[-2:])
    larger: Tensor = functional.interpolate(planes, size=tuple(size), mode="bilinear", align_corners=False)
    return larger.reshape(*values.shape[:-2], *size)
