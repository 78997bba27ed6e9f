"""The same CT as other programs store it, and a network whose maps show what lies where."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from dicomfiles import write_dicom
from EmphysemaScannerLib.models.conv_lstm import BATCH_NORM_EPS, ConvLSTMConfig
from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.models.networks import FastConvLSTM
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from phantom import phantom_image

ORDERS = list(itertools.permutations(range(3)))
FORMATS = ("nrrd", "nhdr", "nii", "nii.gz", "mha", "mhd", "dicom")


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """About an axis through the origin (Rodrigues' formula)."""
    length = np.linalg.norm(axis)
    if length < 1e-3:
        return np.eye(3)
    x, y, z = np.array(axis) / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def chest(turned: np.ndarray | None = None) -> sitk.Image:
    """The phantom, in values that DICOM can hold, turned about the origin."""
    image = sitk.Clamp(phantom_image(), lowerBound=-1024)
    if turned is not None:
        image.SetOrigin((turned @ np.array(image.GetOrigin())).tolist())
        image.SetDirection((turned @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    return image


MARKER = (5, 6, 6)
"""Slices, rows, columns; an even number of the latter, so that pooling by twos doesn't move its centre."""


def with_marker(image: sitk.Image, first: tuple[int, int, int], hu: int = 900) -> sitk.Image:
    """The same with a bright block whose first voxel has this (slice, row, column)."""
    array = sitk.GetArrayFromImage(image)
    array[tuple(slice(k, k + size) for k, size in zip(first, MARKER, strict=True))] = hu
    out = sitk.GetImageFromArray(array)
    out.CopyInformation(image)
    return out


def stored(image: sitk.Image, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> sitk.Image:
    """The same voxels at the same places with other axes: made with numpy, half of them left-handed."""
    array = sitk.GetArrayFromImage(image).transpose([2 - axis for axis in reversed(order)])
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin, signs = np.array(image.GetOrigin()), np.ones(3)
    for position, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        if flip:
            origin = origin + direction[:, axis] * spacing[axis] * (size[axis] - 1)
            array, signs[position] = np.flip(array, 2 - position), -1
    out = sitk.GetImageFromArray(np.ascontiguousarray(array))
    out.SetSpacing(spacing[list(order)].tolist())
    out.SetOrigin(origin.tolist())
    out.SetDirection((direction[:, order] * signs).ravel().tolist())
    return out


def finer(image: sitk.Image, times: tuple[int, int, int]) -> sitk.Image:
    """The same piecewise constant CT with every voxel cut into several along (column, row, slice)."""
    array = sitk.GetArrayFromImage(image)
    for axis, count in enumerate(reversed(times)):
        array = np.repeat(array, count, axis)
    out = sitk.GetImageFromArray(array)
    spacing = np.array(image.GetSpacing()) / times
    shift = np.array(image.GetDirection()).reshape(3, 3) @ ((spacing - image.GetSpacing()) / 2)
    out.SetSpacing(spacing.tolist())
    out.SetOrigin((np.array(image.GetOrigin()) + shift).tolist())
    out.SetDirection(image.GetDirection())
    return out


def written(image: sitk.Image, kind: str, folder: Path, seed: int) -> Path:
    """A file, or a DICOM folder whose files' names are shuffled and whose slices lie in either direction."""
    if kind != "dicom":
        sitk.WriteImage(image, str(folder / f"ct.{kind}"), useCompression=bool(seed % 2))
        return folder / f"ct.{kind}"
    names = [f"{k:04}.dcm" for k in range(image.GetDepth())]
    random.Random(seed).shuffle(names)
    write_dicom(folder / "ct", image, names)
    return folder / "ct"


def seeing_model() -> Model:
    """Weights by hand: the first unit's map is the brightness of the CT, and the evidence follows it."""
    network = FastConvLSTM(ConvLSTMConfig(width=1, image_size=64)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for unit in network.units:
            filters = unit.recurrence.filters
            for first in (0, 3):  # a convolution, its norm, ReLU; twice
                unit.slice_layers[first].weight[0, 0, 1, 1] = 1
                _plain(unit.slice_layers[first + 1])
            gates = unit.recurrence.input_conv
            gates.weight[2 * filters, 0, 1, 1] = 1  # the cell is the input, with all of it let in and nothing kept
            gates.bias[:filters], gates.bias[filters : 2 * filters], gates.bias[3 * filters :] = 20, -20, 20
            _plain(unit.state_norm)
        network.dense.weight.fill_(1)
    card = ModelCard(
        "sees", "conv_lstm", 1, 1, Preprocessing((35, 64, 64), -1024, 1000), OperatingPoint(0.5, "none"),
        "", "2026-01-01", "", "", True,
    )  # fmt: skip
    return Model(network, card)


def _plain(norm: torch.nn.BatchNorm2d) -> None:
    norm.weight.fill_(1)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - BATCH_NORM_EPS)
