"""The ways of reading and of learning that are measured: each makes a function from a spec.

A spec says: way, batch, size (rows and columns), slices, width, threads, half (16 bits).
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "Testing" / "golden" / "make_keras_golden.py"  # the published network, written in Keras

Read = Callable[[], "np.ndarray[Any, Any]"]  # -> logits (B,)


def network_of(spec: dict[str, Any]) -> Any:
    """Our network, plain if that is the way, with the same random weights for every way."""
    import torch
    from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig, ConvLSTMNetwork
    from EmphysemaScannerLib.models.networks import FastConvLSTM

    torch.manual_seed(0)
    kind = ConvLSTMNetwork if spec["way"] == "plain" else FastConvLSTM
    network = kind(ConvLSTMConfig(spec["width"], spec["size"]))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # so that folding it has something to do
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network


def volumes_of(spec: dict[str, Any]) -> np.ndarray[Any, Any]:
    """(B, T, 1, H, W) in [0, 1], the same for every way."""
    shape = spec["batch"], spec["slices"], 1, spec["size"], spec["size"]
    return np.random.default_rng(1).random(shape, np.float32)


def read_torch(spec: dict[str, Any]) -> Read:
    """The naive network in PyTorch, and that at its best settings."""
    import peers
    import torch

    made = {"naive": peers.naive, "best": peers.best_for_reading}
    x = torch.from_numpy(volumes_of(spec))
    peer = made[spec["way"]](network_of(spec)).eval()

    def read() -> np.ndarray[Any, Any]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=spec["half"]):
            return peer(x).float().numpy()

    return read


def read_ours(spec: dict[str, Any]) -> Read:
    """Ours, plain and fast, as a scan does it: the answer is always in 32 bits."""
    import torch

    network, x = network_of(spec).eval(), torch.from_numpy(volumes_of(spec))

    def read() -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            with torch.autocast("cpu", torch.bfloat16, enabled=spec["half"]):
                hidden = network.read(x)
            return network.answer(hidden[-1].float()).numpy()

    return read


def _onnx(spec: dict[str, Any]) -> bytes:
    """The naive network unrolled over the slices."""
    import warnings

    import peers
    import torch

    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.from_numpy(volumes_of(spec))
        torch.onnx.export(peers.naive(network_of(spec)).eval(), (x,), file, dynamo=False)
    return file.getvalue()


def read_onnxruntime(spec: dict[str, Any]) -> Read:
    """ONNX Runtime, which folds BatchNorm by itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec["threads"]
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(_onnx(spec), options, providers=["CPUExecutionProvider"])
    name, x = session.get_inputs()[0].name, volumes_of(spec)
    return lambda: session.run(None, {name: x})[0]


def read_openvino(spec: dict[str, Any]) -> Read:
    """OpenVINO on the whole unrolled network, which gives the logit and no hidden states."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # it would report to a server
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if spec["half"] else "f32",
        "INFERENCE_NUM_THREADS": spec["threads"],
    }
    model, x = core.compile_model(core.read_model(_onnx(spec)), "CPU", settings), volumes_of(spec)
    return lambda: model([x], share_inputs=True)[0]


def _keras(spec: dict[str, Any]) -> Any:
    """The published network in Keras 3 with our weights."""
    file = importlib.util.spec_from_file_location("keras_network", GOLDEN)
    assert file is not None
    assert file.loader is not None
    golden = importlib.util.module_from_spec(file)
    file.loader.exec_module(golden)  # chooses the backend JAX
    model = golden.conv_lstm(spec["width"], spec["size"], spec["slices"])
    network, weights = network_of(spec), []
    tensor = lambda values: values.detach().numpy()  # noqa: E731
    kernel = lambda values: tensor(values).transpose(2, 3, 1, 0)  # noqa: E731
    norm = lambda n: [tensor(v) for v in (n.weight, n.bias, n.running_mean, n.running_var)]  # noqa: E731
    for unit in network.units:
        for first in (0, 3):  # a convolution, its norm, ReLU; twice
            convolution, its_norm = unit.slice_layers[first], unit.slice_layers[first + 1]
            weights += [kernel(convolution.weight), tensor(convolution.bias), *norm(its_norm)]
        recurrence = unit.recurrence
        weights += [kernel(recurrence.input_conv.weight), kernel(recurrence.state_conv.weight)]
        weights += [tensor(recurrence.input_conv.bias), *norm(unit.state_norm)]
    side = network.config.final_size
    dense = tensor(network.dense.weight).reshape(-1, side, side).transpose(1, 2, 0).reshape(-1, 1)
    model.set_weights([*weights, dense, tensor(network.dense.bias)])
    return model


def read_keras(spec: dict[str, Any]) -> Read:
    """Keras 3's ConvLSTM2D, compiled by JAX."""
    _jax_threads(spec["threads"])
    model = _keras(spec)
    import jax

    x = np.ascontiguousarray(volumes_of(spec).transpose(0, 1, 3, 4, 2))
    weights = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
    call = jax.jit(lambda trainable, rest, x: model.stateless_call(trainable, rest, x, training=False)[0][0])
    return lambda: np.asarray(call(*weights, x))[:, 0]


def _jax_threads(count: int) -> None:
    if count == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def learn_torch(spec: dict[str, Any]) -> Callable[[], float]:
    """A step of training in PyTorch with Adam; -> the loss before it."""
    import peers
    import torch

    made = {"naive": peers.naive, "best": peers.best_for_learning}
    network, x = network_of(spec).train(), torch.from_numpy(volumes_of(spec))
    peer = made[spec["way"]](network).train() if spec["way"] in made else None
    target = torch.arange(spec["batch"]) % 2
    learner = torch.optim.Adam((peer or network).parameters(), lr=1e-3)

    def learn() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=spec["half"]):
            logit = network(x).logit if peer is None else peer(x)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit.float(), target.float())
        learner.zero_grad()
        loss.backward()
        learner.step()
        return float(loss.detach())

    return learn


def learn_keras(spec: dict[str, Any]) -> Callable[[], float]:
    """A step of training in Keras 3, compiled by JAX."""
    _jax_threads(spec["threads"])
    model = _keras(spec)
    import keras

    model = keras.Model(model.inputs, model.outputs[0])
    model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-8), keras.losses.BinaryCrossentropy(from_logits=True))
    x = np.ascontiguousarray(volumes_of(spec).transpose(0, 1, 3, 4, 2))
    target = (np.arange(spec["batch"]) % 2).astype(np.float32)[:, None]
    return lambda: float(model.train_on_batch(x, target))


READERS: dict[str, Callable[[dict[str, Any]], Read]] = {
    "naive": read_torch,
    "best": read_torch,
    "plain": read_ours,
    "ours": read_ours,
    "onnxruntime": read_onnxruntime,
    "openvino": read_openvino,
    "keras": read_keras,
}
LEARNERS: dict[str, Callable[[dict[str, Any]], Callable[[], float]]] = {
    "naive": learn_torch,
    "best": learn_torch,
    "plain": learn_torch,
    "ours": learn_torch,
    "keras": learn_keras,
}


def find_packages() -> None:
    """Let this process import ours and the peers' packages."""
    sys.path[:0] = [str(ROOT / "EmphysemaScanner"), str(ROOT / "benchmarks")]
    sys.path.append(str(ROOT / "build" / "peers"))
