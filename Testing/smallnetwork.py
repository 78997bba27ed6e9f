"""A small Conv-LSTM with random weights whose normalisations are not the identity, and volumes for it."""

from __future__ import annotations

import torch
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig, ConvLSTMNetwork
from EmphysemaScannerLib.models.networks import FastConvLSTM
from torch import Tensor, nn


def network_of(dtype: torch.dtype = torch.float32) -> ConvLSTMNetwork:
    torch.manual_seed(5)
    network = FastConvLSTM(ConvLSTMConfig(width=4, image_size=32))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.2, 0.8)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return network.to(dtype).eval()


def volumes(batch: int, slices: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand((batch, slices, 1, 32, 32), generator=torch.Generator().manual_seed(6), dtype=dtype)
