"""Weights of a Conv-LSTM that was trained in Keras, for our network.

Two kinds of file are read:

- ``.weights.h5`` of a functional or sequential Keras 3 model (``model.save_weights("x.weights.h5")``). Layers are found
  by the order and shape of their variables, not by name; ``TimeDistributed`` may wrap single layers, whole slice
  networks, all or some BatchNorms, or nothing.
- ``.npz`` of ``numpy.savez("x.npz", *model.get_weights())`` of Keras 2 or 3: the 78 arrays in the order of the layers.
  In every unit: kernel, bias, gamma, beta, moving mean and moving variance of the first and of the second convolution
  and its BatchNorm; kernel, recurrent kernel and bias of the ConvLSTM; gamma, beta, moving mean and moving variance of
  its BatchNorm. Last the dense layer's kernel and bias.

The file doesn't say which functions the model computes with. Ours are tanh, and the logistic sigmoid for the gates
(``recurrent_activation="sigmoid"``, the default of Keras 3). Keras 2 had "hard_sigmoid" as the default, another
function: a model trained with it gives other answers here.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..base.errors import ModelFileError
from .conv_lstm import ConvLSTMNetwork

Array = NDArray[np.float32]
Variables = list[Array]  # of one layer, in Keras' order

# What h5py and numpy raise for damaged files, beside their own types
UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError)
UNITS = 4
# Dimensions of a layer's variables, by kind of layer
CONVOLUTION, BATCH_NORM, CONV_LSTM, DENSE = (4, 1), (1, 1, 1, 1), (4, 4, 1), (2, 1)
UNIT_LAYERS = (CONVOLUTION, BATCH_NORM, CONVOLUTION, BATCH_NORM, CONV_LSTM, BATCH_NORM)
LAYERS = UNIT_LAYERS * UNITS + (DENSE,)


def load_keras_weights(path: Path, network: ConvLSTMNetwork) -> None:
    """Put the weights of a Keras model into our network, which stays as it was if they don't fit.

    Raises:
        ModelFileError: as ``read_keras_weights``, or the network has another width or image size.
    """
    state = read_keras_weights(path)
    own = network.state_dict()
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ModelFileError(
                f"{Path(path).name} is of another size: '{name}' is {tuple(tensor.shape)}, in the network "
                f"{tuple(own[name].shape)}; build the network with the width and image size of the Keras model."
            )
    network.load_state_dict(state, strict=False)


def read_keras_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a Keras file under our names and in our axis order, float32.

    Convolution kernels turn from (rows, columns, in, out) to (out, in, rows, columns), the dense kernel from
    (row, column, channel) order to (channel, row, column). The ConvLSTM's gates have the same order in both: input,
    forget, cell, output.

    Args:
        path: ``.weights.h5`` or ``.npz`` as described above.

    Raises:
        ModelFileError: missing, unreadable, not of such a network, or with values that are not finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"There is no file at {path}; choose Keras weights (.weights.h5 or .npz).")
    if path.suffix == ".h5":
        layers = _h5_layers(path)
    elif path.suffix == ".npz":
        layers = _npz_layers(path)
    else:
        raise ModelFileError(
            f"{path.name} is neither .weights.h5 nor .npz; save the weights in Keras with "
            "model.save_weights('model.weights.h5')."
        )
    try:
        state = _translated(layers)
    except ValueError as error:
        raise ModelFileError(
            f"{path.name} does not hold the published Conv-LSTM ({error}); choose the weights of such a network."
        ) from error
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ModelFileError(
                f"{path.name} holds weights that are not finite numbers ({name}); its training failed, choose another."
            )
    return state


def _translated(layers: list[Variables]) -> dict[str, Tensor]:
    """Keras' layers in the order of ``LAYERS`` as our state dictionary; ValueError says what doesn't fit."""
    state: dict[str, Tensor] = {}
    remaining = iter(layers)
    width = layers[0][0].shape[-1]
    filters_in = 1
    for unit, filters in enumerate((width, width, 2 * width, 2 * width)):
        prefix = f"units.{unit}"
        for position, channels in ((0, filters_in), (3, filters)):
            state |= _convolution(f"{prefix}.slice_layers.{position}", next(remaining), channels, filters)
            state |= _batch_norm(f"{prefix}.slice_layers.{position + 1}", next(remaining), filters)
        kernel, recurrent_kernel, bias = next(remaining)
        state |= _convolution(f"{prefix}.recurrence.input_conv", [kernel, bias], filters, 4 * filters)
        state[f"{prefix}.recurrence.state_conv.weight"] = _kernel(recurrent_kernel, filters, 4 * filters)
        state |= _batch_norm(f"{prefix}.state_norm", next(remaining), filters)
        filters_in = filters
    kernel, bias = next(remaining)
    side = math.isqrt(len(kernel) // filters)
    _expect("dense kernel", kernel, (side * side * filters, 1))
    _expect("dense bias", bias, (1,))
    by_place = kernel.reshape(side, side, filters).transpose(2, 0, 1)
    state["dense.weight"] = _tensor(by_place.reshape(1, -1))
    state["dense.bias"] = _tensor(bias)
    return state


def _convolution(name: str, variables: Variables, channels: int, filters: int) -> dict[str, Tensor]:
    kernel, bias = variables
    _expect(f"bias of {name}", bias, (filters,))
    return {f"{name}.weight": _kernel(kernel, channels, filters), f"{name}.bias": _tensor(bias)}


def _kernel(kernel: Array, channels: int, filters: int) -> Tensor:
    _expect("convolution kernel", kernel, (3, 3, channels, filters))
    return _tensor(kernel.transpose(3, 2, 0, 1))


def _batch_norm(name: str, variables: Variables, filters: int) -> dict[str, Tensor]:
    names = ("weight", "bias", "running_mean", "running_var")
    for variable in variables:
        _expect(f"BatchNorm {name}", variable, (filters,))
    return {f"{name}.{ours}": _tensor(variable) for ours, variable in zip(names, variables, strict=True)}


def _expect(what: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}, not {shape}")


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))


def _npz_layers(path: Path) -> list[Variables]:
    try:
        with path.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as file:
            names = [f"arr_{index}" for index in range(len(file.files))]
            flat = iter([_floats(file[name]) for name in names])
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        raise ModelFileError(
            f"{path.name} cannot be read ({error}); write it with numpy.savez('model.npz', *model.get_weights())."
        ) from error
    if len(names) != sum(map(len, LAYERS)):
        raise ModelFileError(
            f"{path.name} holds {len(names)} arrays where the published Conv-LSTM has {sum(map(len, LAYERS))}; "
            "choose the weights of such a network."
        )
    layers = [[next(flat) for _ in kind] for kind in LAYERS]
    for number, (variables, kind) in enumerate(zip(layers, LAYERS, strict=True), 1):
        if tuple(v.ndim for v in variables) != kind:
            raise ModelFileError(
                f"{path.name} does not hold the published Conv-LSTM (layer {number} of {len(LAYERS)} has other "
                "variables); write it with numpy.savez('model.npz', *model.get_weights())."
            )
    return layers


def _h5_layers(path: Path) -> list[Variables]:
    try:
        import h5py
    except ImportError as error:
        raise ModelFileError(
            f"Reading {path.name} needs the package h5py; install it, or save the weights from Keras as .npz."
        ) from error
    datasets: dict[str, Array] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and name.startswith("layers/") and "seed_generator" not in name:
            datasets[name] = _floats(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)  # doesn't follow links to other files
    except UNREADABLE as error:
        raise ModelFileError(f"{path.name} is not a readable HDF5 file ({error}); save or copy it again.") from error
    return _in_network_order(path, datasets)


def _in_network_order(path: Path, datasets: dict[str, Array]) -> list[Variables]:
    """The layers of a Keras 3 file, whose names are counters by class (``layers/time_distributed_7/layer/vars/0``)."""
    variables: dict[str, Variables] = {}
    for name in sorted(datasets, key=_counters):
        layer, _, _ = name.rpartition("/vars/")
        variables.setdefault(layer, []).append(datasets[name])
    if not variables:
        raise ModelFileError(
            f"{path.name} is not the weights file of a functional or sequential Keras 3 model; "
            "write it with numpy.savez('model.npz', *model.get_weights()) instead."
        )
    by_kind: dict[tuple[int, ...], dict[str, Variables]] = {}
    for layer, values in variables.items():
        by_kind.setdefault(tuple(v.ndim for v in values), {})[layer] = values
    counts = {kind: LAYERS.count(kind) for kind in LAYERS}
    if {kind: len(found) for kind, found in by_kind.items()} != counts:
        raise ModelFileError(
            f"{path.name} does not hold the published Conv-LSTM (8 convolutions, 12 BatchNorms, 4 ConvLSTMs and one "
            "dense layer); choose the weights of such a network."
        )
    queues = {kind: iter(found.values()) for kind, found in by_kind.items()}
    queues[BATCH_NORM] = _batch_norms_in_order(path, by_kind[BATCH_NORM])
    return [next(queues[kind]) for kind in LAYERS]


def _batch_norms_in_order(path: Path, found: dict[str, Variables]) -> Iterator[Variables]:
    """The twelve BatchNorms in network order when some are wrapped in TimeDistributed and some are not.

    Wrapped and plain layers are counted apart, so that the file doesn't say how they interleave. Only these mixtures
    are read: the last one apart (it follows a ConvLSTM that returns one state), or the four on the ConvLSTMs apart.
    """
    families: dict[str, list[Variables]] = {}
    for layer, values in found.items():
        families.setdefault(re.sub(r"_\d+$", "", layer.split("/")[1]), []).append(values)
    sizes = sorted(map(len, families.values()))
    apart = {(12,): (), (1, 11): (11,), (4, 8): (2, 5, 8, 11)}.get(tuple(sizes))
    if apart is None:
        raise ModelFileError(
            f"{path.name} does not tell the order of its BatchNorms; "
            "write it with numpy.savez('model.npz', *model.get_weights()) instead."
        )
    ordered = sorted(families.values(), key=len)
    few, many = iter(ordered[0]), iter(ordered[-1])
    return iter([next(few) if position in apart else next(many) for position in range(12)])


def _counters(name: str) -> list[tuple[str, int]]:
    """Sort key of a path in a Keras file: ``conv2d`` before ``conv2d_1`` before ``conv2d_10``, numbers by value."""
    parts = (re.fullmatch(r"(.*?)_?(\d*)", part) for part in name.split("/"))
    return [(part[1], int(part[2] or 0)) for part in parts if part]


def _floats(array: NDArray[np.generic]) -> Array:
    if not np.issubdtype(np.asarray(array).dtype, np.floating):
        raise ValueError("it contains data that are not floating-point numbers")
    return np.asarray(array, np.float32)
