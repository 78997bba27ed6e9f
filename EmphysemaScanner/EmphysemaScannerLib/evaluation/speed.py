"""How fast this machine reads, learns and scans, and whether a device says the same as the CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..models.conv_lstm import ConvLSTMConfig, ConvLSTMNetwork
from ..models.modelfile import load
from ..models.modelfolder import default_model_path
from ..models.networks import FastConvLSTM
from ..scan.device import Device, choose
from ..scan.scan import scan
from ..simulator.samples import real_chest_ct

LARGEST_DIFFERENCE = 1e-4  # of a logit in float32: sums in another order, not other arithmetic


class DifferentAnswerError(EmphysemaScannerError):
    """A device calculates something else than the CPU."""


@dataclass(frozen=True)
class Timing:
    """One thing measured.

    Attributes:
        what: in words.
        seconds: of every round, by volume.
        difference: largest difference of a logit from the CPU's in float32; None where there is none to compare.
        memory_mib: the most that the tensors of a CUDA device needed; None elsewhere.
    """

    what: str
    seconds: tuple[float, ...]
    difference: float | None = None
    memory_mib: float | None = None

    @property
    def median(self) -> float:
        """Seconds a volume."""
        return statistics.median(self.seconds)


def run_benchmark(device: Device, quick: bool = False, progress: Progress = silent) -> list[Timing]:
    """Measure reading, learning and a whole scan, each a few times after once to warm up.

    Args:
        device: where the networks run; the CPU gives the reference.
        quick: a small network and one round.
        progress: told what is measured; whatever it raises ends the measurement.

    Raises:
        DeviceError: there is no such device here.
        DifferentAnswerError: it gives other logits than the CPU.
    """
    chosen, rounds = choose(device), 1 if quick else 5
    torch.manual_seed(0)
    small = ConvLSTMConfig(width=4, image_size=32)
    network = FastConvLSTM(small if quick else ConvLSTMConfig())
    slices = 5 if quick else 35
    measured: list[Timing] = []
    with float32_kept():
        for batch in (1, 4):
            progress(0.4 * (batch > 1), f"Reading, batch {batch}")
            x = torch.rand(batch, slices, 1, network.image_size, network.image_size)
            measured += _reading(network, x, chosen, rounds)
        progress(0.6, "Learning")
        learner = FastConvLSTM(small if quick else ConvLSTMConfig(image_size=64))
        for dtype in (torch.float32, torch.bfloat16):
            measured.append(_learning(learner, slices, dtype, chosen, rounds))
        progress(0.8, "Scanning")
        measured.append(_scanning(chosen, rounds))
    progress(1.0, "Done")
    return measured


@contextmanager
def float32_kept() -> Iterator[None]:
    """Inside, convolutions in float32 keep all of its digits; by itself torch lets NVIDIA GPUs drop 13 bits (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _reading(network: ConvLSTMNetwork, x: Tensor, device: torch.device, rounds: int) -> list[Timing]:
    network.cpu().eval()
    with torch.inference_mode():
        truth = network(x).logit
        network.to(device)
        x = x.pin_memory() if device.type == "cuda" else x
        measured = []
        for words, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):

            def read(dtype: torch.dtype = dtype) -> Tensor:
                with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
                    hidden = network.read(x.to(device, non_blocking=True))
                return network.answer(hidden[-1].float()).cpu()

            difference = float((read() - truth).abs().max())
            if dtype is torch.float32:
                _check(difference, device)
            measured.append(_timed(f"reading, batch {len(x)}, {words}", read, len(x), rounds, device, difference))
    return measured


def _check(difference: float, device: torch.device) -> None:
    if not difference <= LARGEST_DIFFERENCE:  # also where it is not a number
        raise DifferentAnswerError(
            f"The device {device.type} gives another answer than the CPU (logits differ by {difference:.1e}); "
            "choose the device cpu, or update torch and the driver of the device."
        )


def _learning(
    network: ConvLSTMNetwork, slices: int, dtype: torch.dtype, device: torch.device, rounds: int, batch: int = 4
) -> Timing:
    network.to(device).train()
    x = torch.rand(batch, slices, 1, network.image_size, network.image_size, device=device)
    target = torch.arange(batch, device=device) % 2

    def learn() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            logit = network(x).logit
        functional.binary_cross_entropy_with_logits(logit.float(), target.float()).backward()  # type: ignore[no-untyped-call]
        network.zero_grad()

    learn()
    size, words = network.image_size, "float32" if dtype is torch.float32 else "bfloat16"
    return _timed(f"learning, batch {batch}, {size} x {size}, {words}", learn, batch, rounds, device)


def _scanning(device: torch.device, rounds: int) -> Timing:
    image, model = real_chest_ct(), load(default_model_path())
    truth = scan(image, model).logit
    model.network.to(device)
    difference = abs(scan(image, model).logit - truth)
    _check(difference, device)
    size = " x ".join(map(str, image.GetSize()))
    return _timed(f"whole scan, {size}", lambda: scan(image, model), 1, rounds, device, difference)


def _timed(
    what: str,
    work: Callable[[], object],
    volumes: int,
    rounds: int,
    device: torch.device,
    difference: float | None = None,
) -> Timing:
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        if on_cuda:
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        seconds.append((time.perf_counter() - start) / volumes)
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if on_cuda else None
    return Timing(what, tuple(seconds), difference, memory)
