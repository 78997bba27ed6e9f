"""The same network as other people write it: the peers that ours is measured against.

Each peer takes our network and has its weights; it reads (B, T, 1, H, W) and gives the logit, shape (B,).
"""

from __future__ import annotations

import torch
from EmphysemaScannerLib.models.conv_lstm import ConvLSTM, ConvLSTMNetwork, Direction
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class NaiveCell(nn.Module):
    """One step: the slice and the hidden state are concatenated and convolved together."""

    def __init__(self, layer: ConvLSTM) -> None:
        super().__init__()
        self.filters = layer.filters
        self.conv = nn.Conv2d(layer.input_conv.in_channels + layer.filters, 4 * layer.filters, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.cat([layer.input_conv.weight, layer.state_conv.weight], 1))
            self.conv.bias.copy_(layer.input_conv.bias)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = torch.split(self.conv(torch.cat([x, hidden], dim=1)), self.filters, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


class NaiveLayer(nn.Module):
    """A cell that is stepped through the slices, as most published PyTorch ConvLSTMs do."""

    def __init__(self, layer: ConvLSTM) -> None:
        super().__init__()
        self.cell = NaiveCell(layer)
        self.descending = layer.direction is Direction.DESCENDING

    def forward(self, x: Tensor) -> Tensor:
        if self.descending:
            x = x.flip(1)
        hidden = cell = x.new_zeros(x.shape[0], self.cell.filters, *x.shape[3:])
        states = []
        for t in range(x.shape[1]):
            hidden, cell = self.cell(x[:, t], hidden, cell)
            states.append(hidden)
        out = torch.stack(states, dim=1)
        return out.flip(1) if self.descending else out


class TorchPeer(nn.Module):
    """The network in eager PyTorch; nothing folded, default memory layout."""

    def __init__(self, network: ConvLSTMNetwork) -> None:
        super().__init__()
        self.slice_layers = nn.ModuleList([nn.Sequential(*unit.slice_layers) for unit in network.units])
        self.recurrences = nn.ModuleList([NaiveLayer(unit.recurrence) for unit in network.units])
        self.norms = nn.ModuleList([unit.state_norm for unit in network.units])
        self.dense = network.dense
        self.last = network.last_read_slice

    def forward(self, x: Tensor) -> Tensor:
        states = x
        for number, (slices, recurrence) in enumerate(zip(self.slice_layers, self.recurrences, strict=True)):
            if number:
                x = self.norms[number - 1](states.flatten(0, 1)).unflatten(0, states.shape[:2])
            states = recurrence(slices(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        return self.dense(self.norms[-1](states[:, self.last]).flatten(1)).squeeze(1)


def naive(network: ConvLSTMNetwork) -> TorchPeer:
    """Concatenation of slice and state, one convolution a step (the ndrplz way)."""
    return TorchPeer(network)


class SettledCell(nn.Module):
    """The naive cell with its gates in place, for reading."""

    def __init__(self, cell: NaiveCell) -> None:
        super().__init__()
        self.filters, self.conv = cell.filters, cell.conv

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = torch.split(self.conv(torch.cat([x, hidden], dim=1)), self.filters, dim=1)
        cell = f.sigmoid_().mul_(cell).addcmul_(i.sigmoid_(), g.tanh_())
        return torch.tanh(cell).mul_(o.sigmoid_()), cell


def best_for_learning(network: ConvLSTMNetwork) -> TorchPeer:
    """The naive network for learning at its best settings: channels last."""
    return naive(network).to(memory_format=torch.channels_last)


def best_for_reading(network: ConvLSTMNetwork) -> TorchPeer:
    """The naive network for reading at its best settings: BatchNorm folded, channels last, gates in place."""
    peer = naive(network).eval()
    for layers in peer.slice_layers:
        folded = [fuse_conv_bn_eval(layers[k], layers[k + 1]) for k in (0, 3)]
        layers[0], layers[1], layers[3], layers[4] = folded[0], nn.Identity(), folded[1], nn.Identity()
    for recurrence in peer.recurrences:
        recurrence.cell = SettledCell(recurrence.cell)
    return peer.to(memory_format=torch.channels_last)
