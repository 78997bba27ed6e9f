"""A whole scan as it is usually put together from SimpleITK, numpy and PyTorch: what ours is measured against."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from numpy.typing import NDArray
from torch import nn


@dataclass
class PeerResult:
    """What the peer finds: the logit, the lung mask (1 right, 2 left) and the figures of each region."""

    logit: float
    labels: NDArray[np.uint8]
    densitometry: dict[str, dict[str, float]]
    seconds: dict[str, float] = field(default_factory=dict)


def peer_scan(image: sitk.Image, network: nn.Module, preprocessing: Preprocessing) -> PeerResult:
    """Scan a CT.

    Args:
        image: in HU, any orientation.
        network: one of ``peers``.
        preprocessing: the grid and the window.
    """
    seconds, start = {}, time.perf_counter()
    image = sitk.DICOMOrient(image, "LPS")
    labels = lung_mask(image)
    seconds["lung mask"] = time.perf_counter() - start

    start = time.perf_counter()
    densitometry = measure(sitk.GetArrayViewFromImage(image), labels, image.GetSpacing())
    seconds["densitometry"] = time.perf_counter() - start

    start = time.perf_counter()
    small = sitk.GetArrayFromImage(resampled(image, preprocessing))  # a view would outlive its image
    x = torch.from_numpy(preprocessing.normalise(small))[None, :, None]
    seconds["resampling"] = time.perf_counter() - start

    start = time.perf_counter()
    with torch.inference_mode():
        logit = float(network(x)[0])
    seconds["network"] = time.perf_counter() - start
    return PeerResult(logit, labels, densitometry, seconds)


def resampled(image: sitk.Image, preprocessing: Preprocessing) -> sitk.Image:
    """Smoothed by a Gaussian of half the new spacing against aliasing, then interpolated linearly on the grid."""
    size = np.array(preprocessing.shape[::-1])
    old = np.array(image.GetSpacing())
    new = old * np.array(image.GetSize()) / size
    padded = sitk.Clamp(image, sitk.sitkFloat32, preprocessing.padding_hu)
    smooth = sitk.SmoothingRecursiveGaussian(padded, np.maximum(new / 2, old / 4).tolist())
    grid = sitk.Image(size.tolist(), sitk.sitkFloat32)
    grid.SetSpacing(new.tolist())
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint((new / old / 2 - 0.5).tolist()))
    return sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear, preprocessing.padding_hu)


def lung_mask(image: sitk.Image) -> NDArray[np.uint8]:
    """Air that touches no side of a slice, its two largest pieces, closed over the vessels; 1 right, 2 left."""
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(image < -400), minimumObjectSize=1000)
    numbers = sitk.GetArrayViewFromImage(pieces)
    outside = np.unique(np.concatenate([numbers[:, [0, -1]].ravel(), numbers[:, :, [0, -1]].ravel()]))
    inside = [n for n in range(1, int(numbers.max()) + 1) if n not in outside][:2]
    lungs = sitk.GetImageFromArray(np.isin(numbers, inside).astype(np.uint8))
    closed = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(lungs, [3, 3, 3]))
    right_half = np.arange(closed.shape[2]) < closed.shape[2] // 2
    return np.where(right_half, closed, 2 * closed).astype(np.uint8)


def measure(
    hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing: tuple[float, ...]
) -> dict[str, dict[str, float]]:
    """Densitometry of both lungs, each lung, and the thirds of the lungs' height."""
    used = np.flatnonzero((labels > 0).any((1, 2)))
    low, middle, high = np.array_split(used, 3)
    masks = {"whole": labels > 0, "right": labels == 1, "left": labels == 2}
    for name, third in (("lower", low), ("middle", middle), ("upper", high)):
        masks[name] = np.zeros(labels.shape, bool)
        masks[name][third] = labels[third] > 0
    found = {}
    for name, mask in masks.items():
        values = hu[mask]
        found[name] = {
            "laa_950_percent": 100 * float((values < -950).mean()),
            "laa_910_percent": 100 * float((values < -910).mean()),
            "laa_856_percent": 100 * float((values < -856).mean()),
            "perc15_hu": float(np.percentile(values, 15)),
            "mean_hu": float(values.mean()),
            "sd_hu": float(values.std()),
            "volume_l": values.size * float(np.prod(spacing)) / 1e6,
        }
    return found
