"""The whole scan: ours and the peer's in turn, in one process, several rounds; stages, memory, growth, cold start.

python benchmarks/scan.py                     ours and the peer on a CT of 512 x 512 x 300
python benchmarks/scan.py --part growth       35 to 300 slices
python benchmarks/scan.py --part cold         importing the package against importing torch
python benchmarks/scan.py --part cohort       CTs a minute with one and two processes
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "EmphysemaScanner"), str(ROOT / "benchmarks")]

FULL_SIZE = (512, 512, 300)  # columns, rows, slices


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="compare")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", choices=("ours", "peer"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        _print_memory(args.memory_of)
    else:
        PARTS[args.part](args.rounds)


def make_ct(size: tuple[int, int, int] = FULL_SIZE) -> Any:
    """LIDC-IDRI-0001 resampled to a size (columns, rows, slices), int16."""
    import numpy as np
    import SimpleITK as sitk
    from EmphysemaScannerLib.core.reading import read_ct
    from EmphysemaScannerLib.core.samples import CT_FILE

    ct = read_ct(CT_FILE)
    old, new = np.array(ct.GetSize()), np.array(size)
    grid = sitk.Image(size, sitk.sitkInt16)
    grid.SetSpacing((np.array(ct.GetSpacing()) * old / new).tolist())
    grid.SetDirection(ct.GetDirection())
    grid.SetOrigin(ct.TransformContinuousIndexToPhysicalPoint((old / new / 2 - 0.5).tolist()))
    return sitk.Resample(ct, grid, sitk.Transform(), sitk.sitkLinear, -1024, sitk.sitkInt16)


def scanners() -> tuple[Callable[[Any], Any], Callable[[Any], Any], Any, Any]:
    """Ours, the peer's, our model and the peer's network, with the same weights."""
    import peers
    from EmphysemaScannerLib.core.modelfile import load
    from EmphysemaScannerLib.core.scan import scan
    from EmphysemaScannerLib.core.shippedmodel import default_model_path
    from peer_scan import peer_scan

    model = load(default_model_path())
    naive = peers.naive(model.network).eval()
    return lambda ct: scan(ct, model), lambda ct: peer_scan(ct, naive, model.card.preprocessing), model, naive


def compare(rounds: int) -> None:
    """Ours and the peer's in turn; the naive network alone beside them."""
    import numpy as np
    import torch

    ours, peer, model, naive = scanners()
    ct = make_ct()
    x = torch.from_numpy(model.card.preprocessing.apply(ct)[0])[None, :, None]
    _check_equal(ours(ct), peer(ct), model, naive, x)
    took: dict[str, list[float]] = {"ours": [], "peer": [], "naive network alone": []}
    stages: dict[str, dict[str, list[float]]] = {"ours": {}, "peer": {}}
    for _ in range(rounds):
        for name, way in (("ours", ours), ("peer", peer)):
            result, seconds = _timed(lambda way=way: way(ct))  # type: ignore[misc]
            took[name].append(seconds)
            for stage, value in (result.timings_s if name == "ours" else result.seconds).items():
                stages[name].setdefault(stage, []).append(value)
        with torch.inference_mode():
            took["naive network alone"].append(_timed(lambda: naive(x))[1])
    print(f"{' x '.join(map(str, FULL_SIZE))}, int16, {torch.get_num_threads()} threads, {rounds} rounds")
    for name, seconds in took.items():
        print(f"{name:24}{_spread(seconds)}   {np.median(seconds) / np.median(took['ours']):6.2f} x ours")
    for name, by_stage in stages.items():
        for stage, seconds in by_stage.items():
            print(f"  {name:6}{stage:18}{_spread(seconds)}")
    memory()


def _check_equal(mine: Any, theirs: Any, model: Any, naive: Any, x: Any) -> None:
    """The peer's network, mask and figures agree with ours where they answer the same question."""
    import torch

    with torch.inference_mode():
        logit = float(naive(x)[0]) / model.card.temperature
    assert abs(logit - mine.logit) < 1e-3, (logit, mine.logit)
    a, b = mine.lung_mask.values > 0, theirs.labels > 0
    dice = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert dice > 0.95, dice
    print(f"logit: ours {mine.logit:.6f}, naive network on our input {logit:.6f}; Dice of the lung masks {dice:.3f}")


def memory(rounds: int = 1) -> None:
    """The highest memory of a scan beyond that of the process with torch, the model and the CT in it."""
    for name in ("ours", "peer"):
        said = [_in_new_process("--memory-of", name) for _ in range(rounds)]
        print(f"  {name:6}peak beyond the CT  {' '.join(said)} MiB")


def growth(rounds: int) -> None:
    """Time and memory with the number of slices."""
    ours, _, _, _ = scanners()
    for slices in (35, 75, 150, 225, 300):
        ct = make_ct((512, 512, slices))
        ours(ct)
        results = [_timed(lambda ct=ct: ours(ct)) for _ in range(rounds)]  # type: ignore[misc]
        network = statistics.median(result.timings_s["network"] for result, _ in results)
        print(f"{slices:4} slices  {_spread([s for _, s in results])}   network {network * 1e3:.0f} ms")


def cold(rounds: int) -> None:
    """Importing what a scan needs, and what Slicer's window imports, against importing torch; the first scan."""
    lib = "import sys; sys.path.insert(0, 'EmphysemaScanner');"
    ways = {
        "python alone": "pass",
        "torch": "import torch",
        "SimpleITK and numpy": "import SimpleITK, numpy",
        "what needs no torch": f"{lib} import EmphysemaScannerLib.core.lungs, EmphysemaScannerLib.core.reading",
        "all of a scan": f"{lib} import EmphysemaScannerLib.core.scan",
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, code in ways.items():
            command = [sys.executable, "-c", code]
            took[name].append(_timed(lambda c=command: subprocess.run(c, check=True, cwd=ROOT))[1])  # type: ignore[misc]  # noqa: S603
    for name, seconds in took.items():
        print(f"{name:22}{_spread(seconds)}")
    ours, _, _, _ = scanners()
    ct = make_ct()
    first, second = (_timed(lambda: ours(ct))[1] for _ in range(2))
    print(f"first scan {first:.3f} s, second {second:.3f} s")


def cohort(rounds: int, count: int = 8) -> None:
    """CTs a minute from files, by the batch command in as many processes."""
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        for k in range(count):
            sitk.WriteImage(make_ct(), f"{folder}/{k}.nrrd")
        for processes in (1, 2):
            took = []
            for number in range(rounds):
                out = f"{folder}/{processes}-{number}.csv"
                code = "from EmphysemaScannerLib.engine.cli import main; main()"
                options = [] if processes == 1 else ["--processes", str(processes)]
                command = [sys.executable, "-c", code, "batch", folder, "--out", out, *options]
                environment = {**os.environ, "PYTHONPATH": str(ROOT / "EmphysemaScanner")}
                run = lambda c=command, e=environment: subprocess.run(c, check=True, env=e, capture_output=True)  # noqa: E731, S603
                took.append(60 * count / _timed(run)[1])
            print(f"{processes} process(es): {statistics.median(took):.1f} CTs a minute")


PARTS: dict[str, Callable[[int], None]] = {
    "compare": compare,
    "memory": memory,
    "growth": growth,
    "cold": cold,
    "cohort": cohort,
}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _spread(seconds: list[float]) -> str:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"{middle * 1e3:7.0f} ms ({low * 1e3:.0f} to {high * 1e3:.0f})"


def _print_memory(name: str) -> None:
    """The highest resident memory of one scan less that before it, MiB, after a small scan that warms everything up."""
    import threading

    ours, peer, _, _ = scanners()
    way = ours if name == "ours" else peer
    way(make_ct((128, 128, 60)))
    ct = make_ct()
    before = _resident_mib()
    highest, ended = [before], threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            highest[0] = max(highest[0], _resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = way(ct)
    ended.set()
    watcher.join()
    del result
    print(f"{highest[0] - before:.0f}")


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _in_new_process(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]  # noqa: S603


if __name__ == "__main__":
    main()
