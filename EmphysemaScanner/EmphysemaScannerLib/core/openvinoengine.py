"""A Conv-LSTM read by OpenVINO, where that package is installed and wanted: the same hidden states on the CPU.

Each unit is one compiled model of one slice: slice, hidden state and cell in, hidden state and cell out. So every
hidden state is there for the overlays, any number of slices can be read, and each can be cancelled.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .conv_lstm import ConvLSTMNetwork, Unit, convolution_type
from .errors import MissingPackageError, ModelFileError
from .modelfile import Model
from .recurrence import OnSlice
from .slicewise import folded, scale_and_shift

_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


def on_openvino(model: Model) -> Model:
    """The same model, which OpenVINO reads from now on; it always runs on the CPU.

    Raises:
        MissingPackageError: OpenVINO is not installed.
        ModelFileError: the model is no Conv-LSTM.
    """
    if not isinstance(model.network, ConvLSTMNetwork):
        raise ModelFileError("OpenVINO reads Conv-LSTM models only; choose the engine torch for this one.")
    _openvino()
    return Model(OpenVINONetwork(model.network), model.card)


class OpenVINONetwork(ConvLSTMNetwork):
    """A Conv-LSTM whose readings without gradients are OpenVINO's; for gradients it is torch's.

    Units are compiled at the first reading of each size and precision, with the weights of that moment.
    """

    def __init__(self, network: ConvLSTMNetwork) -> None:
        super().__init__(network.width, network.image_size)
        self.load_state_dict(network.state_dict())
        self._compiled: dict[tuple[Any, ...], Any] = {}
        self.eval()

    def train(self, mode: bool = True) -> OpenVINONetwork:
        """As torch's; what was compiled is forgotten, since weights may change."""
        self._compiled = {}
        super().train(mode)
        return self

    def read(self, x: Tensor, on_slice: OnSlice = lambda: None) -> tuple[Tensor, ...]:
        """As ``ConvLSTMNetwork.read``."""
        dtype = convolution_type(x)
        if self.training or torch.is_grad_enabled() or dtype not in _PRECISIONS:
            return super().read(x, on_slice)
        slices = np.ascontiguousarray(x.transpose(0, 1).cpu().float().numpy())
        hidden = []
        for number, unit in enumerate(self.reading_units):
            slices = _read(unit, self._request(number, slices.shape[1:], dtype), slices, on_slice)
            hidden.append(torch.from_numpy(slices).transpose(0, 1).to(x.device))
        return tuple(hidden)

    def _request(self, number: int, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
        """What reads one slice (B, C, H, W) by a unit."""
        key = number, shape, dtype, torch.get_num_threads()
        if key not in self._compiled:
            units = self.reading_units
            graph = _graph(units[number], units[number - 1].state_norm if number else None, shape)
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": _PRECISIONS[dtype],  # by itself it takes 16 bits wherever the CPU has them
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "ENABLE_CPU_PINNING": False,  # several processes would sit on the same cores
            }
            self._compiled[key] = _core().compile_model(graph, "CPU", settings).create_infer_request()
        return self._compiled[key]


def _read(unit: Unit, request: Any, slices: NDArray[np.float32], on_slice: OnSlice) -> NDArray[np.float32]:
    """(T, B, C, H, W) -> hidden states (T, B, F, H/2, W/2), which OpenVINO writes in their place."""
    steps, batch, _, height, width = slices.shape
    shape = batch, unit.recurrence.filters, height // 2, width // 2
    states = np.empty((steps, *shape), np.float32)
    hidden, cell, next_cell = (np.zeros(shape, np.float32) for _ in range(3))
    for t in unit.recurrence.order(steps):
        on_slice()
        for number, array in enumerate((slices[t], hidden, cell)):
            request.set_input_tensor(number, _shared(array))
        for number, array in enumerate((states[t], next_cell)):
            request.set_output_tensor(number, _shared(array))
        request.infer()
        hidden, cell, next_cell = states[t], next_cell, cell
    return states


@cache
def _openvino() -> Any:
    """OpenVINO without its telemetry: by itself, importing it reports that to a server."""
    absent = "openvino_telemetry" not in sys.modules
    if absent:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # OpenVINO goes on without it
    try:
        import openvino
    except ImportError as error:
        raise MissingPackageError(
            "The engine openvino needs the Python package openvino; install it with: pip install openvino"
        ) from error
    finally:
        if absent:
            del sys.modules["openvino_telemetry"]
    return openvino


@cache
def _core() -> Any:
    """The one Core of this process, kept for good, whose CPU plugin was loaded in a thread that has ended.

    The plugin gives the thread that loads it an alternate stack for signals, and frees that with the last Core and
    model, whichever thread lets go of them: the next signal that Python handles there would end the process
    (OpenVINO 2026.4.1).
    """

    def load() -> Any:
        core = _openvino().Core()
        core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
        return core

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


def _shared(array: NDArray[np.float32]) -> Any:
    return _openvino().Tensor(array, shared_memory=True)


def _graph(unit: Unit, norm: nn.BatchNorm2d | None, shape: tuple[int, ...]) -> Any:
    """A unit on one slice: slice (B, C, H, W), hidden state and cell -> hidden state and cell (B, F, H/2, W/2).

    Args:
        norm: of the slice, if it holds the hidden states of a unit.
    """
    openvino = _openvino()
    from openvino import opset13 as op

    def constant(values: Tensor) -> Any:
        return op.constant(values.detach().cpu().float().contiguous().numpy())

    def by_channel(values: Tensor) -> Any:
        return constant(values[:, None, None])

    def convolved(y: Any, weight: Tensor, bias: Tensor) -> Any:
        ones = [1, 1]  # stride, padding at both ends, dilation
        return op.add(op.convolution(y, constant(weight), ones, ones, ones, ones), by_channel(bias))

    recurrence = unit.recurrence
    batch, _, height, width = shape
    x = op.parameter(list(shape), np.float32)
    hidden, cell = (op.parameter([batch, recurrence.filters, height // 2, width // 2], np.float32) for _ in range(2))
    y = x
    if norm is not None:
        scale, shift = scale_and_shift(norm)
        y = op.add(op.multiply(y, by_channel(scale)), by_channel(shift))
    for k in (0, 1):
        y = op.relu(convolved(y, *folded(*unit.convolution(k), torch.float32)))
    features = op.max_pool(y, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
    weight = torch.cat([recurrence.input_conv.weight, recurrence.state_conv.weight], dim=1)
    assert recurrence.input_conv.bias is not None
    gates = convolved(op.concat([features, hidden], 1), weight, recurrence.input_conv.bias)
    i, f, g, o = op.split(gates, op.constant(np.int64(1)), 4).outputs()
    new_cell = op.add(op.multiply(op.sigmoid(f), cell), op.multiply(op.sigmoid(i), op.tanh(g)))
    new_hidden = op.multiply(op.sigmoid(o), op.tanh(new_cell))
    return openvino.Model([new_hidden, new_cell], [x, hidden, cell])
