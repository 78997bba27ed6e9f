"""A model of each architecture with random weights, small and quick, and a temperature that is not 1."""

from __future__ import annotations

import torch
from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.models.networks import ARCHITECTURES, build, keras_parameter_count
from EmphysemaScannerLib.models.preprocessing import Needs, Preprocessing

SHAPE = (35, 32, 32)
TEMPERATURE = 1.6
NAMES = sorted(ARCHITECTURES)


def model_of(architecture: str) -> Model:
    """Random weights, and BatchNorm statistics of noise, so that answers are neither all alike nor certain."""
    torch.manual_seed(5)
    network = build(architecture, 4, SHAPE[1], SHAPE[0])
    with torch.no_grad():
        if ARCHITECTURES[architecture].needs is Needs.DENSITOMETRY:
            network.weight.fill_(0.02)
            network.bias.fill_(0.3)
        else:
            for module in network.modules():
                if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
                    module.momentum = 1.0
            network(torch.rand(2, SHAPE[0], 1, *SHAPE[1:]))
            network.dense.weight.mul_(2)
            network.dense.bias.fill_(-3)  # or the product of 35 slices is certain
    card = ModelCard(
        name=f"random {architecture}",
        architecture=architecture,
        width=4,
        parameters=keras_parameter_count(network),
        preprocessing=Preprocessing(SHAPE),
        operating_point=OperatingPoint(0.5, "chosen for this test"),
        training_data="nothing; its weights are random.",
        trained_on="2026-08-01",
        intended_use="tests",
        limits="everything",
        demonstration=True,
        temperature=TEMPERATURE,
    )
    return Model(network.eval(), card)
