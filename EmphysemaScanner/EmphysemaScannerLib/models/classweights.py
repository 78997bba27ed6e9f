"""Class-weighted activations: hidden states summed over channels, each weighted by how it moves the model's logit.

As Grad-CAM (Selvaraju et al. 2017) on the hidden states of a unit, but with weights that are the same for every CT: the
gradient's mean over places, slices and cases. They lie in the model's card, so that a scan needs no backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..base.errors import ModelFileError
from .conv_lstm import ConvLSTMNetwork
from .modelcard import ClassWeights, ModelCard


def check_class_weights(network: nn.Module, card: ModelCard) -> None:
    """Refuse a card whose class weights are not those of its network.

    Raises:
        ModelFileError: they are of units that the network lacks, or another number of channels.
    """
    if card.class_weights is None:
        return
    filters = {}
    if isinstance(network, ConvLSTMNetwork):
        filters = {name: unit.recurrence.filters for name, unit in zip(network.unit_names, network.units, strict=True)}
    if any(len(of.weights) != filters.get(of.unit) for of in card.class_weights.units):
        raise ModelFileError("The model's class weights do not fit its network; ask its author for a sound file.")


def class_activations(network: ConvLSTMNetwork, hidden: Sequence[Tensor], known: ClassWeights) -> dict[str, Tensor]:
    """The class-weighted activation of each unit.

    Args:
        network: whose states they are.
        hidden: of all its units, each (B, T, F, H, W) with the unit's own F, H and W.
        known: from the model's card.

    Returns:
        By unit, (B, T, H, W) float32.
    """
    states = dict(zip(network.unit_names, weighed_states(network, hidden), strict=True))
    return {
        of.unit: of.bias
        + torch.einsum(
            "btfhw,f->bthw", states[of.unit].float(), torch.tensor(of.weights, device=states[of.unit].device)
        )
        for of in known.units
    }


def weighed_states(network: ConvLSTMNetwork, hidden: Sequence[Tensor]) -> list[Tensor]:
    """What is weighed of each unit: its states, of the last unit what each slice changed in them.

    The dense layer reads the last unit's state after the last slice alone; the states before it hold what was
    collected until then, not what is in their slice.

    Args:
        network: whose states they are.
        hidden: of all its units, each (B, T, F, H, W).
    """
    last = hidden[-1]
    order = list(network.units[-1].recurrence.direction.order(last.shape[1]))
    changed = torch.empty_like(last)
    changed[:, order] = torch.diff(last[:, order], dim=1, prepend=torch.zeros_like(last[:, :1]))
    return [*hidden[:-1], changed]


def logit_gradients(network: ConvLSTMNetwork, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The hidden states of all units and the gradient of the logit by each, for volumes (B, T, 1, H, W)."""
    with torch.no_grad():  # nothing before the first unit's states needs a gradient
        first = network.units[0](x)
    hidden = [first.requires_grad_()]
    with torch.enable_grad():
        for before, unit in zip(network.units, network.units[1:], strict=False):
            hidden.append(unit(before.normalised(hidden[-1])))
        gradients = torch.autograd.grad(network.answer(hidden[-1]).sum(), hidden)
    return [states.detach() for states in hidden], list(gradients)
