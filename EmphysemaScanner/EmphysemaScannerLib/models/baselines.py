"""The networks to compare with: a 2D CNN for multiple instance learning (MIL), by pooling or attention, and a 3D CNN.

Braman, Beymer and Dehghan (2018); attention, beyond the paper: Ilse, Tomczak and Welling (2018). Parameters in Keras'
counting: MIL 1,011,393 at width 64, 3D CNN 958,213 at width 36.
Shapes as in ``conv_lstm``: B volumes, T slices inferior to superior, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn import functional

from .conv_lstm import BATCH_NORM_EPS, dense_terms
from .preprocessing import Needs


class Pooling(Enum):
    """How the probabilities of a volume's slices become the probability of the volume."""

    MAX = "max"
    MEAN = "mean"
    PRODUCT = "product"


@dataclass(frozen=True)
class MILOutput:
    """What one forward pass of the MIL network gives.

    Attributes:
        logit: (B,) log P - log(1 - P) of the pooled probability P.
        slice_logits: (B, T) of each slice by itself, inferior to superior.
    """

    logit: Tensor
    slice_logits: Tensor


@dataclass(frozen=True)
class AttentionOutput:
    """What one forward pass of the attention network gives.

    Attributes:
        logit: (B,) the sum over slices of weight x slice logit.
        slice_logits: (B, T) of each slice by itself, inferior to superior: what a volume of this slice alone would get.
        slice_weights: (B, T) attention weights, positive, of sum 1.
    """

    logit: Tensor
    slice_logits: Tensor
    slice_weights: Tensor


@dataclass(frozen=True)
class CNN3DOutput:
    """What one forward pass of the 3D CNN gives.

    Attributes:
        logit: (B,)
    """

    logit: Tensor


def pool(slice_logits: Tensor, pooling: Pooling) -> Tensor:
    """The logit of the pooled slice probabilities, computed without leaving log space.

    With p = sigmoid(slice_logits), the answer is the logit of max p, of mean p, or of 1 - prod(1 - p).

    Args:
        slice_logits: (B, T); half precision is computed in float32.
        pooling: which of the three.

    Returns:
        (B,) logits, finite with finite gradients for finite slice logits.
    """
    z = slice_logits if slice_logits.dtype is torch.float64 else slice_logits.float()
    if pooling is Pooling.MAX:
        return z.amax(dim=1)
    if pooling is Pooling.MEAN:
        return functional.logsigmoid(z).logsumexp(dim=1) - functional.logsigmoid(-z).logsumexp(dim=1)
    # -log(1 - P) is the sum of softplus(z), so that the logit is the inverse softplus of that sum.
    total = -functional.logsigmoid(-z).sum(dim=1)
    log_total = _log_softplus(z).logsumexp(dim=1)
    small = total < 0.01
    away_from_0 = torch.where(small, torch.ones_like(total), total)  # keeps the branch not taken free of NaN gradients
    near_0 = log_total + total / 2 + total.square() / 24
    return torch.where(small, near_0, away_from_0 + (-torch.expm1(-away_from_0)).log())


def _log_softplus(z: Tensor) -> Tensor:
    """log(softplus(z)), also where softplus(z) itself is too small for a floating point number."""
    small = z < -20
    moderate = torch.where(small, torch.zeros_like(z), z)
    return torch.where(small, z, (-functional.logsigmoid(-moderate)).log())


def _layers(conv: type[nn.Module], norm: type[nn.Module], in_channels: int, filters: int) -> list[nn.Module]:
    """[Convolution 3 "same" + BatchNorm + ReLU] x 3, the start of a unit of either baseline."""
    layers: list[nn.Module] = []
    for channels in (in_channels, filters, filters):
        layers += [
            conv(channels, filters, 3, padding=1),
            norm(filters, eps=BATCH_NORM_EPS),
            nn.ReLU(inplace=True),
        ]
    return layers


def _units(unit: Callable[[int, int], nn.Module], width: int) -> nn.Sequential:
    """Four units; the last two have twice the filters."""
    return nn.Sequential(unit(1, width), unit(width, width), unit(width, 2 * width), unit(2 * width, 2 * width))


def _slice_unit(in_channels: int, filters: int) -> nn.Module:
    """Three convolutions 3x3, max pooling 2x2 and a BatchNorm at the unit's end, as the Conv-LSTM's units have."""
    return nn.Sequential(
        *_layers(nn.Conv2d, nn.BatchNorm2d, in_channels, filters),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(filters, eps=BATCH_NORM_EPS),
    )


def _volume_unit(in_channels: int, filters: int) -> nn.Module:
    """Three convolutions 3x3x3 and max pooling 2x2x2."""
    return nn.Sequential(*_layers(nn.Conv3d, nn.BatchNorm3d, in_channels, filters), nn.MaxPool3d(2))


class MILNetwork(nn.Module):
    """A 2D CNN on each slice, one logit per slice, the slices' probabilities pooled.

    Args:
        pooling: how slices are pooled.
        width: filters of the first two units. The published network has 64.
        image_size: rows and columns of a slice, a multiple of 16. The published network has 128.
    """

    needs = Needs.VOLUME

    def __init__(self, pooling: Pooling, width: int = 64, image_size: int = 128) -> None:
        super().__init__()
        _check_size(width, image_size)
        self.pooling = pooling
        self.width, self.image_size = width, image_size
        self.units = _units(_slice_unit, width)
        self.dense = nn.Linear(2 * width * (image_size // 16) ** 2, 1)

    def forward(self, x: Tensor) -> MILOutput:
        """Read volumes (B, T, 1, H, W), values in [0, 1]; the order of the slices doesn't matter."""
        return self.answer(self.units(x.flatten(0, 1)).unflatten(0, x.shape[:2]))

    def answer(self, features: Tensor) -> MILOutput:
        """From the last unit's features of all slices, (B, T, C, 8, 8)."""
        slice_logits = self.dense(features.flatten(2)).squeeze(2)  # (B, T)
        return MILOutput(pool(slice_logits, self.pooling), slice_logits)

    def evidence(self, features: Tensor) -> Tensor:
        """The terms of the dense layer by place, (B, T, 8, 8): with its bias, a slice's sum to that slice's logit."""
        return dense_terms(self.dense, features)


class AttentionNetwork(nn.Module):
    """The same 2D CNN on each slice, and gated attention over the slices (Ilse, Tomczak and Welling 2018).

    A slice's feature vector h is the mean of the last unit's features over its 8 x 8 places. Its attention weight is
    softmax over slices of w . (tanh(V h) * sigmoid(U h)); the logit is the dense layer applied to the weighted mean of
    the feature vectors, which is the weighted mean of the slices' own logits. With 32 attention neurons at width 64:
    1,011,618 parameters in Keras' counting.

    Args:
        width: filters of the first two units, as in ``MILNetwork``; half as many attention neurons.
        image_size: rows and columns of a slice, a multiple of 16.
    """

    needs = Needs.VOLUME

    def __init__(self, width: int = 64, image_size: int = 128) -> None:
        super().__init__()
        _check_size(width, image_size)
        self.width, self.image_size = width, image_size
        self.units = _units(_slice_unit, width)
        neurons = max(width // 2, 1)
        self.attention_value = nn.Linear(2 * width, neurons)
        self.attention_gate = nn.Linear(2 * width, neurons)
        self.attention = nn.Linear(neurons, 1)
        self.dense = nn.Linear(2 * width, 1)

    def forward(self, x: Tensor) -> AttentionOutput:
        """Read volumes (B, T, 1, H, W), values in [0, 1]; the order of the slices doesn't matter."""
        return self.answer(self.units(x.flatten(0, 1)).unflatten(0, x.shape[:2]))

    def answer(self, features: Tensor) -> AttentionOutput:
        """From the last unit's features of all slices, (B, T, C, 8, 8)."""
        vectors = features.mean((3, 4))  # (B, T, C)
        gated = self.attention_value(vectors).tanh() * self.attention_gate(vectors).sigmoid()
        weights = self.attention(gated).squeeze(2).float().softmax(1)  # (B, T)
        slice_logits = self.dense(vectors).squeeze(2)  # (B, T)
        return AttentionOutput((weights * slice_logits).sum(1), slice_logits, weights)

    def evidence(self, features: Tensor) -> Tensor:
        """The terms of the logit by place, (B, T, 8, 8): with the dense layer's bias, all sum to the logit."""
        weights = self.answer(features).slice_weights[:, :, None, None]
        terms = torch.einsum("btchw,c->bthw", features, self.dense.weight[0]) / features[0, 0, 0].numel()
        return weights * terms


class CNN3DNetwork(nn.Module):
    """A 3D CNN on the whole volume.

    The paper's text has "no pooling action on the final convolutional layer", but its parameter count comes out only
    with 2x2x2 pooling after *each* of the four units: 35 slices -> 17 -> 8 -> 4 -> 2, 128 pixels -> 8, dense layer
    8 x 8 x 2 x 72 + 1 = 9,217. Without the last pooling the dense layer alone would have 16 x 16 x 4 x 72 + 1 = 73,729.

    Args:
        width: filters of the first two units. The published network has 36.
        image_size: rows and columns of a slice, a multiple of 16. The published network has 128.
        slices: of the volume, 16 or more. The published network has 35.
    """

    needs = Needs.VOLUME

    def __init__(self, width: int = 36, image_size: int = 128, slices: int = 35) -> None:
        super().__init__()
        _check_size(width, image_size)
        if slices < 16:
            raise ValueError(f"a 3D CNN halves the slices four times and needs 16 or more, not {slices}")
        self.width, self.image_size, self.slices = width, image_size, slices
        self.units = _units(_volume_unit, width)
        self.dense = nn.Linear(2 * width * (slices // 16) * (image_size // 16) ** 2, 1)

    def forward(self, x: Tensor) -> CNN3DOutput:
        """Read volumes (B, T, 1, H, W), values in [0, 1], slices inferior to superior."""
        return self.answer(self.units(x.transpose(1, 2)))

    def answer(self, features: Tensor) -> CNN3DOutput:
        """From the last unit's features, (B, C, 2, 8, 8)."""
        return CNN3DOutput(self.dense(features.flatten(1)).squeeze(1))

    def evidence(self, features: Tensor) -> Tensor:
        """The terms of the dense layer by place, (B, 2, 8, 8): with its bias, they sum to the logit."""
        return dense_terms(self.dense, features[:, None]).squeeze(1)


def _check_size(width: int, image_size: int) -> None:
    if width < 1 or image_size < 16 or image_size % 16:
        raise ValueError(f"width must be positive and image_size a multiple of 16, not {width} and {image_size}")
