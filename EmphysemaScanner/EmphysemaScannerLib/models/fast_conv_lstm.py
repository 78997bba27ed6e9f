"""The Conv-LSTM as the product runs it: the network of ``conv_lstm``, read and learned from by its fast ways."""

from __future__ import annotations

import torch
from torch import Tensor

from . import fast_learning, fast_reading
from .conv_lstm import ConvLSTMNetwork, OnSlice, ignore_slice


class FastConvLSTM(ConvLSTMNetwork):
    """The same parameters and, but for rounding, the same answers and gradients as ``ConvLSTMNetwork``."""

    def read(self, x: Tensor, on_slice: OnSlice = ignore_slice) -> tuple[Tensor, ...]:
        """As ``ConvLSTMNetwork.read``; under ``torch.autocast`` cells have at least 32 bits."""
        if self.training or torch.is_grad_enabled():
            return fast_learning.hidden_states(self.units, x, on_slice)
        return fast_reading.hidden_states(self.units, x, on_slice)
