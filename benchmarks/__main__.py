"""Ours and its peers on this machine, in turn, each in a process of its own; writes docs/performance.md.

make benchmark                       all of it; installs the peers into build/peers first
make benchmark-quick                 in less than 3 minutes: ratios to docs/performance.json; writes nothing there
python benchmarks --part scan        one part; --amount rehearsal: small and once, to see that it runs
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import ways

ways.find_packages()

from cts import write_ct  # noqa: E402
from figures import NAME, compared, write_figures  # noqa: E402
from machine import describe  # noqa: E402
from page import ALONE, BEST, OURS, write_page  # noqa: E402
from processes import Spec, in_turn, started  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
FULL_SIZE = (512, 512, 300)  # columns, rows, slices
AT_START = (  # by the module file, itself or through the scene layer; vtk and slicer are there before
    "numpy",
    *(
        f"EmphysemaScannerLib.{name}"
        for name in ("base.errors", "ct.grid", "scan.result", "models.modelfolder", "scan.device", "jobs.worker")
    ),
)


@dataclass(frozen=True)
class Settings:
    """What is the same for everything that one table compares.

    Attributes:
        label: in words.
        half: 16 bits instead of 32.
        keep: the process keeps what tensors free, as the command line does; Slicer, and other hosts, do not.
    """

    label: str
    half: bool
    keep: bool


class Amount(Enum):
    """How much is measured."""

    WHOLE = "whole"
    QUICK = "quick"
    REHEARSAL = "rehearsal"


SETTINGS = (
    Settings("float32, memory not kept", False, False),
    Settings("float32, memory kept", False, True),
    Settings("bfloat16, memory not kept", True, False),
    Settings("bfloat16, memory kept", True, True),
)
READERS = {  # label: way; see ways.py
    "naive PyTorch": "naive",
    BEST: "best",
    "Keras 3 on JAX": "keras",
    "ONNX Runtime": "onnxruntime",
    "OpenVINO": "openvino",
    "ours, plain (conv_lstm.py)": "plain",
    OURS: "ours",
}
LEARNERS = {
    "naive PyTorch": "naive",
    BEST: "best",
    "Keras 3 on JAX": "keras",
    "ours, plain (conv_lstm.py)": "plain",
    OURS: "ours",
}
SCANNERS = {"peer pipeline": "peer", OURS: "ours"}
IN_16_BITS = {"naive", "best", "plain", "openvino", "ours", "peer"}
WAYS = {Amount.QUICK: {BEST, OURS}, Amount.REHEARSAL: {BEST, OURS, "peer pipeline"}}  # the others have all
QUICK_PARTS = ("network", "scan", "reading", "cold")
Result = dict[str, Any]


class Benchmark:
    """All parts; each gives what goes into the results under its name."""

    def __init__(self, folder: Path, amount: Amount, threads: int) -> None:
        self.folder, self.amount, self.small = folder, amount, amount is Amount.REHEARSAL
        self.common: Spec = {"threads": threads, "width": 4 if self.small else 32, "slices": 5 if self.small else 35}
        self.ct_size = (96, 96, 60) if self.small else FULL_SIZE

    def _settings(self) -> tuple[Settings, ...]:
        return {Amount.WHOLE: SETTINGS, Amount.QUICK: SETTINGS[1:2], Amount.REHEARSAL: SETTINGS[:1]}[self.amount]

    def _specs(self, kind: str, settings: Settings, ways: dict[str, str], **more: Any) -> list[Spec]:
        """One a way, all with the same settings; without the ways that have no 16 bits, where these are set."""
        same = {**self.common, "kind": kind, "half": settings.half, "keep": settings.keep, **more}
        return [
            {**same, "label": label, "way": way}
            for label, way in ways.items()
            if label in WAYS.get(self.amount, ways) and (way in IN_16_BITS or not settings.half)
        ]

    def _rounds(self, number: int) -> int:
        return {Amount.WHOLE: number, Amount.QUICK: min(number, 3), Amount.REHEARSAL: 1}[self.amount]

    def limits(self) -> Result:
        """GFLOP/s of a product of matrices, which direct convolutions cannot exceed, and what a volume needs."""
        import peers
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        torch.set_num_threads(self.common["threads"])
        found: Result = {"gflops": {}, "gflop": {}}
        size = 512 if self.small else 3072
        for dtype in (torch.float32, torch.bfloat16):
            a = torch.rand(size, size).to(dtype)
            seconds = []
            for _ in range(self._rounds(9) + 1):
                start = time.perf_counter()
                a @ a
                seconds.append(time.perf_counter() - start)
            found["gflops"][str(dtype).removeprefix("torch.")] = 2e-9 * size**3 / min(seconds)
        for side in (64, 128):
            spec = {**self.common, "size": side, "width": 32, "slices": 35, "way": "naive"}
            naive = peers.naive(ways.network_of(spec)).eval().to("meta")
            with FlopCounterMode(display=False) as counter, torch.inference_mode():
                naive(torch.empty(1, 35, 1, side, side, device="meta"))
            found["gflop"][str(side)] = counter.get_total_flops() / 1e9
        print(f"  {found}", flush=True)
        return found

    def network(self) -> Result:
        """The network alone on 1 and 4 volumes; the logits of every way are compared with those of one in float32."""
        found: Result = {}
        for batch in (1, 4) if self.amount is Amount.WHOLE else (1,):
            found[str(batch)] = tables = {}
            for settings in self._settings():
                specs = self._specs("read", settings, READERS, batch=batch, size=32 if self.small else 128)
                tables[settings.label] = in_turn(specs, self._rounds(7 if batch == 1 else 5))
                truth = tables[self._settings()[0].label][BEST][0]["logits"]
                for label, measured in tables[settings.label].items():
                    apart = max(abs(a - b) for m in measured for a, b in zip(m["logits"], truth, strict=True))
                    measured[0]["apart"] = apart
                    _check(apart <= (0.1 if settings.half else 1e-5), f"{label}: logits differ by {apart}")
        return found

    def training(self) -> Result:
        """A step on 4 volumes, again and again from the same start: time, memory and the learning curve."""
        found: Result = {}
        for size, rounds in ((32, 2),) if self.small else ((64, 5), (128, 3)):
            found[str(size)] = tables = {}
            for settings in self._settings():
                learners = dict(LEARNERS)
                if size == 128 or settings != SETTINGS[0]:  # half a minute a step at 64
                    del learners["Keras 3 on JAX"]
                tables[settings.label] = in_turn(
                    self._specs("learn", settings, learners, batch=4, size=size), self._rounds(rounds)
                )
                truth = tables[self._settings()[0].label][BEST][0]["loss"]
                for label, measured in tables[settings.label].items():
                    if "Keras" in label:  # 3's TimeDistributed normalises each slice by itself while it learns
                        continue
                    apart = abs(measured[0]["loss"] - truth)
                    _check(apart <= (0.05 if settings.half else 1e-4), f"{label}: losses differ by {apart}")
        return found

    def scan(self) -> Result:
        """A whole scan of a CT in memory, beside the network alone on one volume."""
        ct = str(write_ct(self.folder / "ct.nrrd", self.ct_size))
        found: Result = {}
        for settings in self._settings():
            specs = self._specs("scan", settings, SCANNERS, ct=ct, reading=False)
            alone = {**specs[0], "width": 32, "slices": 35, "size": 128, "batch": 1, "kind": "read", "way": "best"}
            found[settings.label] = in_turn([*specs, {**alone, "label": ALONE}], self._rounds(7))
        first = next(iter(found.values()))
        if "peer pipeline" not in first:
            return found
        peer, ours = (first[label][0] for label in ("peer pipeline", OURS))
        _check(abs(peer["on_our_input"] - ours["logit"]) < 1e-3, "the naive network has another logit of our input")
        _check(self.small or peer["dice"] > 0.95, f"Dice of the lung masks is {peer['dice']}")
        return found

    def growth(self) -> Result:
        """Time and memory with the number of slices."""
        found = {}
        rows, columns, most = self.ct_size
        for slices in (most // 2, most) if self.small else (35, 75, 150, 225, 300):
            ct = str(write_ct(self.folder / f"{slices}.nrrd", (rows, columns, slices)))
            specs = self._specs("scan", SETTINGS[0], {OURS: "ours"}, ct=ct, reading=False)
            found[str(slices)] = in_turn(specs, self._rounds(5))[OURS]
        return found

    def reading(self) -> Result:
        """From files: an uncompressed NRRD and a DICOM folder."""
        found = {}
        for name in ("ct.nrrd", "dicom"):
            ct = str(write_ct(self.folder / name, self.ct_size))
            specs = self._specs("scan", SETTINGS[1], {OURS: "ours"}, ct=ct, reading=True)
            found[name] = in_turn(specs, self._rounds(5))[OURS]
        return found

    def many(self) -> Result:
        """Scans in one process, one after the other."""
        ct = str(write_ct(self.folder / "small.nrrd", self.ct_size if self.small else (256, 256, 150)))
        with started(self._specs("scan", SETTINGS[0], {OURS: "ours"}, ct=ct, reading=False)) as (worker,):
            return {"scans": [worker.again() for _ in range(3 if self.small else 1000)]}

    def cold(self) -> Result:
        """Seconds of imports, each in a new process."""
        lib = f"import sys; sys.path.insert(0, {str(ROOT / 'EmphysemaScanner')!r});"
        codes = {
            "python alone": "pass",
            "torch": "import torch",
            "what Slicer imports of ours at its start": f"{lib} import {', '.join(AT_START)}",
            "all of a scan": f"{lib} import EmphysemaScannerLib.scan.scan",
        }
        found: dict[str, list[float]] = {name: [] for name in codes}
        for _ in range(self._rounds(7) + 1):
            for name, code in codes.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
                found[name].append(time.perf_counter() - start)
        return {name: seconds[1:] for name, seconds in found.items()}  # the first reads them from disk

    def cohort(self) -> Result:
        """CTs a minute by the batch command, the start of its processes included."""
        count, folder = (2 if self.small else 16), self.folder / "cohort"
        folder.mkdir()
        ct = write_ct(folder / "0.nrrd", self.ct_size)
        for k in range(1, count):
            os.link(ct, folder / f"{k}.nrrd")
        found: dict[str, list[float]] = {"1": [], "2": []}
        for number in range(self._rounds(3)):
            for processes, per_minute in found.items():
                out = self.folder / f"{processes}-{number}.csv"
                options = [] if processes == "1" else ["--processes", processes]
                command = [
                    sys.executable,
                    "-m",
                    "EmphysemaScannerLib",
                    "batch",
                    str(folder),
                    "--out",
                    str(out),
                    *options,
                ]
                environment = {**os.environ, "PYTHONPATH": str(ROOT / "EmphysemaScanner")}
                start = time.perf_counter()
                subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
                per_minute.append(60 * count / (time.perf_counter() - start))
                _check(out.read_text().count("done") >= count, "a CT of the cohort was not scanned")
        print(f"  CTs a minute: {found}", flush=True)
        return {"count": count, "per_minute": found}


PARTS = ("limits", "network", "training", "scan", "growth", "reading", "many", "cold", "cohort")


def _check(well: bool, problem: str) -> None:
    if not well:
        raise SystemExit(f"The benchmark fails: {problem}.")


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, nargs="+", help="all if not given")
    parser.add_argument("--amount", type=Amount, choices=list(Amount), default=Amount.WHOLE)
    parser.add_argument("--threads", type=int, help="all cores if not given; in a rehearsal one")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder for performance.md and performance.svg")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "benchmark.json", help="kept between parts")
    args = parser.parse_args()
    quick = args.amount is Amount.QUICK
    threads = args.threads or (1 if args.amount is Amount.REHEARSAL else len(os.sched_getaffinity(0)))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    results: Result = json.loads(args.results.read_text()) if args.results.is_file() and not quick else {}
    for part in args.part or (QUICK_PARTS if quick else PARTS):
        start = time.perf_counter()
        print(part, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            load = os.getloadavg()[0]
            measured = getattr(Benchmark(Path(folder), args.amount, threads), part)()
        took = time.perf_counter() - start
        results[part] = {"measured": measured, "machine": describe(threads, load), "seconds": took}
        if not quick:
            args.results.parent.mkdir(exist_ok=True)
            args.results.write_text(json.dumps(results))
    parts = {name: part["measured"] for name, part in results.items()}
    print(compared(parts, ROOT / "docs" / NAME), flush=True)
    if quick:
        return
    write_page(results, args.out)
    write_figures(parts, describe(threads, 0.0), _revision(), args.out)
    print(f"Written: {args.out / 'performance.md'} and {NAME}")


def _revision() -> str:
    said = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)  # noqa: S607
    return said.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
