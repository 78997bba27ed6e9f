#!/usr/bin/env python3
"""Everything that is to be known of the networks on one NVIDIA GPU, in one call of less than 10 minutes.

    .venv/bin/python scripts/gpu.py                 on a machine with a GPU; writes docs/gpu.md
    .venv/bin/python scripts/gpu.py --rehearse      on any machine: small networks on the CPU, only to see that it runs

Each part is measured by itself: one that fails is written down as failed, and the others go on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.progress import silent
from EmphysemaScannerLib.ct.reading import CT
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig, ConvLSTMNetwork
from EmphysemaScannerLib.models.modelfile import Model, load
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.models.networks import ARCHITECTURES, FastConvLSTM, build
from EmphysemaScannerLib.models.preprocessing import Needs
from EmphysemaScannerLib.scan.device import Precision, scan_on
from EmphysemaScannerLib.simulator.samples import real_chest_ct
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "Testing")]

import peers  # noqa: E402
from machine import describe  # noqa: E402
from page import table  # noqa: E402

LIMIT_S, COMPILE_LIMIT_S = 570, 150
CLOSE_ENOUGH = 1.1  # the simplest way within 10 % of the best is kept


@dataclass(frozen=True)
class Arithmetic:
    """How convolutions and products are calculated.

    Attributes:
        name: in words.
        tf32: whether 13 bits of float32 may be dropped.
        dtype: of the convolutions.
        apart: how far a logit may be from the CPU's in float32.
    """

    name: str
    tf32: bool
    dtype: torch.dtype
    apart: float

    @contextlib.contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Inside, networks calculate like this."""
        switches = torch.backends.cuda.matmul, torch.backends.cudnn
        before = [switch.allow_tf32 for switch in switches]
        try:
            for switch in switches:
                switch.allow_tf32 = self.tf32
            with torch.autocast(device.type, self.dtype, enabled=self.dtype is not torch.float32):
                yield
        finally:
            for switch, allowed in zip(switches, before, strict=True):
                switch.allow_tf32 = allowed


STRICT = Arithmetic("float32", False, torch.float32, 1e-4)
TF32 = Arithmetic("TF32", True, torch.float32, 2e-2)
BF16 = Arithmetic("bfloat16", True, torch.bfloat16, 1e-1)
ALL = (STRICT, TF32, BF16)


def section(title: str, about: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A part of the page with its heading and its table, whose first column is text; the others are figures."""
    return f"## {title}\n\n{about}\n\n{table(header, rows)}"


@dataclass
class Run:
    """One call of this script: the device, the sizes, and what the parts share.

    Attributes:
        device: a CUDA device, or the CPU for a rehearsal.
        began: when, on the monotonic clock.
        model, ct: of the whole scans.
    """

    device: torch.device
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.real = self.device.type == "cuda"
        self.config = ConvLSTMConfig() if self.real else ConvLSTMConfig(width=2, image_size=32)
        self.slices, self.rounds, self.scans = (35, 20, 6) if self.real else (16, 1, 2)
        shipped = load(default_model_path())
        narrow = replace(shipped.card, width=2, disease_map=None, class_weights=None)
        self.model = shipped if self.real else Model(build("conv_lstm", 2).eval(), narrow)
        self.ct = CT(real_chest_ct() if self.real else _phantom())

    def network(self, kind: type[ConvLSTMNetwork] = FastConvLSTM) -> ConvLSTMNetwork:
        """A network with the same random weights each time, on the CPU."""
        torch.manual_seed(0)
        return kind(self.config).eval()

    def volumes(self, count: int) -> Tensor:
        """The averaged CT, and copies of it that differ in brightness, on the CPU: (count, T, 1, H, W)."""
        one = self._one
        return torch.stack([(one * (1 - 0.3 * k / count)) for k in range(count)])

    @property
    def _one(self) -> Tensor:
        if not hasattr(self, "_averaged"):
            size = self.config.image_size
            volume, _ = self.model.card.preprocessing.apply(self.ct.image)
            grid = torch.from_numpy(volume)[None, None]
            self._averaged = functional.interpolate(grid, (self.slices, size, size), mode="area")[0, 0, :, None]
        return self._averaged

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.real:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], rounds: int | None = None) -> float:
        """Of one call, the median after three to warm up; fewer rounds when little time is left."""
        for _ in range(3 if self.real else 1):
            work()
        found = []
        for _ in range(rounds or self.rounds):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            found.append(time.perf_counter() - start)
            if sum(found) > 10:
                break
        return statistics.median(found)

    def peak_mib(self, work: Callable[[], object]) -> float:
        """The most that tensors needed during a call; 0 where torch does not count it."""
        if not self.real:
            work()
            return 0.0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        self.wait()
        return torch.cuda.max_memory_allocated() / 2**20


def _phantom() -> sitk.Image:
    from phantom import phantom_image

    return phantom_image()


class Moved(TorchDispatchMode):
    """Counts the bytes that convolutions read and write, their weights included, each once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.convolution.default, torch.ops.aten.conv2d.default):
            self.bytes += sum(t.numel() * t.element_size() for t in (*args[:2], out))
        return out


def floors(run: Run) -> str:
    """What the card can do, and how long a volume takes it at least."""
    network = run.network(ConvLSTMNetwork).to("meta")
    x = torch.empty(1, run.slices, 1, network.image_size, network.image_size, device="meta")
    with FlopCounterMode(display=False) as counter, Moved() as moved, torch.inference_mode():
        network(x)
    flop, bytes_ = counter.get_total_flops(), moved.bytes
    block = torch.empty((2**30 if run.real else 2**20) // 4, device=run.device)
    per_second = 2 * block.numel() * 4 / run.seconds(block.clone)
    size, rows = (8192 if run.real else 128), []
    for arithmetic in ALL:
        a = torch.rand(size, size, device=run.device, dtype=arithmetic.dtype)
        with arithmetic.on(run.device):
            peak = 2 * size**3 / run.seconds(lambda a=a: a @ a)
        moved_bytes = bytes_ * arithmetic.dtype.itemsize / 4
        by_operations, by_bytes = 1e3 * flop / peak, 1e3 * moved_bytes / per_second
        figures = (peak / 1e12, per_second / 1e9, by_operations, by_bytes)
        rows.append((arithmetic.name, *(f"{figure:,.2f}" for figure in figures)))
    about = (
        f"A volume needs {flop / 1e9:,.1f} GFLOP in direct convolutions, which move {bytes_ / 2**20:,.0f} MiB "
        "(float32) if all else is fused with them. Peak: a product of matrices; bandwidth: copying 1 GiB."
    )
    header = ("", "TFLOP/s", "GB/s", "ms a volume by operations", "ms a volume by bytes")
    return section("Floors", about, header, rows)


def equality(run: Run) -> str:
    """The logits of every architecture, and the gradient of the Conv-LSTM, beside the CPU's."""
    rows = []
    for name, architecture in ARCHITECTURES.items():
        torch.manual_seed(1)
        width = None if run.real else 2
        network = build(name, width, run.config.image_size, run.slices).eval()
        volume = torch.tensor([[12.0, -930.0], [1.0, -890.0]])
        x = volume if architecture.needs is Needs.DENSITOMETRY else run.volumes(2)
        with torch.inference_mode(), STRICT.on(torch.device("cpu")):
            truth = network(x).logit
        network.to(run.device)
        cells = []
        for arithmetic in ALL:
            with torch.inference_mode(), arithmetic.on(run.device):
                found = network(x.to(run.device)).logit.float().cpu()
            cells.append(_judged(float((found - truth).abs().max()), arithmetic.apart))
        rows.append((architecture.title, *cells))
    rows.append(("Conv-LSTM, gradient, relative", *_gradients(run)))
    limits = ", ".join(f"{a.name} {a.apart:g}" for a in ALL)
    about = f"Largest difference of a logit from the CPU's in float32, two volumes, random weights; allowed: {limits}."
    return section("Equality with the CPU", about, ("", *(a.name for a in ALL)), rows)


def _gradients(run: Run) -> list[str]:
    def gradient(device: torch.device, arithmetic: Arithmetic) -> Tensor:
        network = run.network().to(device).train()
        x = run.volumes(2).to(device)
        with arithmetic.on(device):
            logit = network(x).logit
        functional.binary_cross_entropy_with_logits(logit.float(), torch.tensor([0.0, 1.0], device=device)).backward()
        return torch.cat([p.grad.flatten().cpu() for p in network.parameters() if p.grad is not None])

    truth = gradient(torch.device("cpu"), STRICT)
    limits = {STRICT.name: 1e-3, TF32.name: 5e-2, BF16.name: 0.3}
    apart = [float((gradient(run.device, a) - truth).norm() / truth.norm()) for a in ALL]
    return [_judged(found, limits[a.name]) for found, a in zip(apart, ALL, strict=True)]


def _judged(apart: float, most: float) -> str:
    return f"{apart:.1e}" if apart <= most else f"**{apart:.1e}, more than {most:g}**"


def out_of_memory(run: Run) -> str:
    """A scan for which the card's memory does not suffice must be calculated on the CPU and state so."""
    model, cpu = run.model, torch.device("cpu")
    truth = scan_on(cpu, run.ct, model, silent, "CT")
    with _little_memory(run, model.network):
        found = scan_on(run.device, run.ct, model, silent, "CT")
    with STRICT.on(run.device):
        after = scan_on(run.device, run.ct, model, silent, "CT")
    warned = any("too little memory" in str(warning) for warning in found.warnings)
    again = any("too little memory" in str(warning) for warning in after.warnings)
    rows = [
        ("with 32 MiB", _judged(abs(found.logit - truth.logit), 1e-6), "yes" if warned else "**no**"),
        ("afterwards, with all", _judged(abs(after.logit - truth.logit), STRICT.apart), "**yes**" if again else "no"),
    ]
    about = "A whole scan with a limit on the card's memory (in a rehearsal, an error raised by hand)."
    return section("Out of memory", about, ("", "logit, from the CPU's", "warning"), rows)


@contextlib.contextmanager
def _little_memory(run: Run, network: nn.Module) -> Iterator[None]:
    if run.real:
        torch.cuda.empty_cache()
        room = torch.cuda.memory_reserved() + 32 * 2**20
        torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(run.device).total_memory)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return

    def fail(*_: object) -> None:
        del network.read  # the class's own is there again
        raise torch.OutOfMemoryError

    network.read = fail
    yield


def latency(run: Run) -> str:
    """A whole scan by stage."""
    truth = scan_on(torch.device("cpu"), run.ct, run.model, silent, "CT").logit
    found: dict[str, list[dict[str, float]]] = {}
    apart: list[str] = []
    for arithmetic in ALL:
        precision = Precision.BFLOAT16 if arithmetic is BF16 else Precision.FLOAT32
        with (TF32 if arithmetic is BF16 else arithmetic).on(run.device):  # the scan itself switches to bfloat16
            results = [scan_on(run.device, run.ct, run.model, silent, "CT", precision) for _ in range(run.scans)]
        found[arithmetic.name] = [dict(result.timings_s) for result in results]
        apart.append(_judged(abs(results[0].logit - truth), arithmetic.apart))
    rows = [
        (stage, *(f"{1e3 * statistics.median(t[stage] for t in rounds[1:]):,.0f}" for rounds in found.values()))
        for stage in found[STRICT.name][0]
    ]
    rows.append(("network, first scan", *(f"{1e3 * rounds[0]['network']:,.0f}" for rounds in found.values())))
    rows.append(("logit, from the CPU's", *apart))
    size = " x ".join(map(str, run.ct.image.GetSize()))
    about = f"Milliseconds by stage, CT of {size}, median of {run.scans - 1}. Torch itself has TF32 in convolutions."
    return section("A whole scan", about, ("", *found), rows)


def throughput(run: Run) -> str:
    """Volumes a second by batch size and arithmetic, with the memory that they need."""
    network = run.network().to(run.device)

    def figures(batch: int, arithmetic: Arithmetic) -> tuple[str, str]:
        try:
            x = run.volumes(batch).to(run.device)
            with torch.inference_mode(), arithmetic.on(run.device):
                took, peak = run.seconds(lambda: network(x)), run.peak_mib(lambda: network(x))
        except torch.OutOfMemoryError:
            return "out of memory", ""
        return f"{batch / took:,.1f}", f"{peak:,.0f}"

    batches = (1, 2, 4, 8, 16, 32, 64) if run.real else (1, 2)
    rows = [(str(batch), *(cell for a in ALL for cell in figures(batch, a))) for batch in batches]
    header = ["batch", *(title for a in ALL for title in (f"{a.name}, volumes/s", "MiB"))]
    return section("Reading by batch size", "The Conv-LSTM as it is used, volumes on the card already.", header, rows)


def ways(run: Run) -> str:
    """The recurrence of 4 x 35 dependent steps, eager, as a CUDA graph, and compiled."""
    rows = []
    for batch in (1, 8) if run.real else (1,):
        x = run.volumes(batch).to(run.device)
        for arithmetic in (TF32, BF16):
            with torch.inference_mode(), arithmetic.on(run.device):
                eager = _readers(run)
                found = {name: run.seconds(partial(read, x)) for name, read in eager.items()}
                found["ours, CUDA graph"] = run.seconds(_graph(run, eager["ours, eager"], x))
            found["plain, torch.compile"] = _compiled_elsewhere(run, batch, arithmetic)
            best = min(found.values())
            kept = next(name for name in SIMPLEST_FIRST if found.get(name, np.inf) <= CLOSE_ENOUGH * best)
            for name, took in found.items():
                mark = "kept" if name == kept else ""
                time_ = f"{1e3 * took / batch:,.2f}" if np.isfinite(took) else f"failed, or over {COMPILE_LIMIT_S} s"
                rows.append((f"batch {batch}, {arithmetic.name}: {name}", time_, f"{took / best:,.2f}", mark))
    about = "*Kept*: the simplest that takes at most 1.1 times the best one's time."
    return section("The recurrence", about, ("", "ms a volume", "of the best", ""), rows)


SIMPLEST_FIRST = ("ours, eager", "plain, eager", "naive, eager", "ours, CUDA graph", "plain, torch.compile")


def _readers(run: Run) -> dict[str, Callable[[Tensor], Tensor]]:
    ours, plain = run.network().to(run.device), run.network(ConvLSTMNetwork).to(run.device)
    naive = peers.naive(run.network(ConvLSTMNetwork)).eval().to(run.device)
    return {"ours, eager": lambda x: ours(x).logit, "plain, eager": lambda x: plain(x).logit, "naive, eager": naive}


def _graph(run: Run, read: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    """The pass as one CUDA graph that is replayed; on the CPU the pass itself."""
    if not run.real:
        return lambda: read(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            truth = read(x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = read(x)
    graph.replay()
    torch.cuda.synchronize()
    if not torch.allclose(out.float(), truth.float(), atol=1e-3):
        raise RuntimeError("the CUDA graph gives other logits")
    return graph.replay


def _compiled_elsewhere(run: Run, batch: int, arithmetic: Arithmetic) -> float:
    """Seconds a pass, from a process that can be stopped: compiling 140 steps may take longer than there is time."""
    left = LIMIT_S - 120 - (time.monotonic() - run.began)
    command = [sys.executable, __file__, "--compile", str(batch), arithmetic.name]
    command += [] if run.real else ["--rehearse"]
    try:
        ended = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=True, timeout=max(1.0, min(COMPILE_LIMIT_S, left))
        )
        return float(json.loads(ended.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, ValueError, IndexError):
        return float("inf")


def compile_alone(run: Run, batch: int, arithmetic: Arithmetic) -> float:
    """Seconds a pass of the plain network when torch compiles it."""
    network = run.network(ConvLSTMNetwork).to(run.device)
    how = {"mode": "reduce-overhead"} if run.real else {"backend": "eager"}
    read = torch.compile(lambda x: network(x).logit, **how)
    x = run.volumes(batch).to(run.device)
    with torch.inference_mode(), arithmetic.on(run.device):
        return run.seconds(lambda: read(x))


def training(run: Run) -> str:
    """A step with AdamW: ours, the naive network, and it at cuDNN-friendly settings."""
    rows = []
    for batch in (4, 16) if run.real else (2,):
        target = (torch.arange(batch) % 2).float().to(run.device)
        x = run.volumes(batch).to(run.device)
        for arithmetic in (TF32, BF16):
            reference = 0.0
            for name, make, tuned in (
                ("naive", lambda: peers.naive(run.network(ConvLSTMNetwork)), False),
                ("naive, channels last, cudnn.benchmark", lambda: peers.best_for_learning(run.network()), True),
                ("ours", run.network, False),
                ("ours, cudnn.benchmark", run.network, True),
            ):
                torch.backends.cudnn.benchmark = tuned
                network = make().to(run.device).train()
                optimiser = torch.optim.AdamW(network.parameters(), 1e-4)

                def step(network: nn.Module = network, optimiser: torch.optim.Optimizer = optimiser) -> None:
                    with arithmetic.on(run.device):  # noqa: B023  # called in this round
                        out = network(x)  # noqa: B023
                    logit = (out if isinstance(out, Tensor) else out.logit).float()
                    functional.binary_cross_entropy_with_logits(logit, target).backward()  # noqa: B023
                    optimiser.step()
                    optimiser.zero_grad()

                took, peak = run.seconds(step, 5 if run.real else 1), run.peak_mib(step)
                reference = reference or took
                figures = (f"{1e3 * took / batch:,.1f}", f"{reference / took:,.2f}", f"{peak:,.0f}")
                rows.append((f"batch {batch}, {arithmetic.name}: {name}", *figures))
        torch.backends.cudnn.benchmark = False
    header = ("", "ms a volume", "times as fast as naive", "MiB")
    return section("A step of training", "Forward, back, AdamW; volumes on the card already.", header, rows)


PARTS: tuple[Callable[[Run], str], ...] = (floors, equality, out_of_memory, latency, throughput, training, ways)


def card(run: Run) -> dict[str, str]:
    """What was measured on."""
    said = describe(torch.get_num_threads(), 0.0)
    if run.real:
        properties = torch.cuda.get_device_properties(run.device)
        query = ["nvidia-smi", "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            said["driver, power limit, clock"] = subprocess.run(  # noqa: S603
                query, capture_output=True, text=True, check=True, timeout=20
            ).stdout.splitlines()[0]
        said["card"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        said["CUDA, cuDNN"] = f"{torch.version.cuda}, {torch.backends.cudnn.version()}"
    return said


def _text(part: Callable[[Run], str], run: Run) -> str:
    """A part of the page; of one that fails the reason, so that the others are known all the same."""
    begun = time.monotonic()
    if begun - run.began > LIMIT_S - 30:
        return f"## {part.__name__}\n\nNot measured: no time was left.\n"
    try:
        return part(run)
    except Exception as error:
        traceback.print_exc()
        return f"## {part.__name__}\n\n**Failed:** {type(error).__name__}: {error}\n"
    finally:
        print(f"{part.__name__}: {time.monotonic() - begun:.0f} s", flush=True)


def page(run: Run) -> str:
    """All parts, as Markdown."""
    texts = [_text(part, run) for part in PARTS]
    machine = "\n".join(f"| {name} | {value} |" for name, value in card(run).items())
    head = "# The networks on a GPU\n\nMeasured by `scripts/gpu.py`.\n" if run.real else "# A rehearsal on the CPU\n"
    sizes = f"Conv-LSTM of width {run.config.width}, {run.config.image_size} x {run.config.image_size} x {run.slices}."
    return "\n".join([head, sizes, "", f"| | |\n| --- | --- |\n{machine}\n", *texts])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="small, on the CPU; the page is only printed")
    parser.add_argument("--compile", nargs=2, metavar=("BATCH", "ARITHMETIC"), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if not args.rehearse and not torch.cuda.is_available():
        parser.error("there is no NVIDIA GPU that torch can use; --rehearse runs on the CPU")
    run = Run(torch.device("cpu" if args.rehearse else "cuda"))
    if args.compile:
        batch, name = args.compile
        print(json.dumps(compile_alone(run, int(batch), next(a for a in ALL if a.name == name))))
        return
    text = page(run)
    if args.rehearse:
        print(text)
        return
    (ROOT / "docs" / "gpu.md").write_text(text)
    print(f"Written: {ROOT / 'docs' / 'gpu.md'}, {time.monotonic() - run.began:.0f} s")


if __name__ == "__main__":
    main()
