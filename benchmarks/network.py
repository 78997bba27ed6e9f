"""The network alone: ours and its peers in turn, in one process, several rounds.

python benchmarks/network.py                      reading, one and four volumes of 128 x 128 x 35
python benchmarks/network.py --train --size 64    a step of training: forward and back
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "EmphysemaScanner"), str(ROOT / "benchmarks")]

from EmphysemaScannerLib.core.memory import keep_freed_memory  # noqa: E402

SLICES = 35


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--size", type=int, default=128, help="rows and columns of a slice")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--train", action="store_true", help="forward and back, instead of reading")
    parser.add_argument("--keep-memory", action="store_true", help="as the command line does; helps the peers too")
    args = parser.parse_args()
    if args.keep_memory and not keep_freed_memory():
        parser.error("the C library is not glibc")

    import peers
    import torch
    from EmphysemaScannerLib.core.conv_lstm import ConvLSTMNetwork

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = ConvLSTMNetwork(image_size=args.size).train(args.train)
    naive, hoisted = (peer(network).train(args.train) for peer in (peers.naive, peers.hoisted))
    ours = lambda x: network(x).logit  # noqa: E731

    def way(read: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, half: bool) -> Callable[[], torch.Tensor]:
        def once() -> torch.Tensor:
            with torch.inference_mode(not args.train):
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    logit = read(x)
                if args.train:
                    logit.float().square().sum().backward()
                    network.zero_grad()
                    naive.zero_grad()
                return logit.detach().float()

        return once

    print(f"torch {torch.__version__}, {args.threads} threads, {'training' if args.train else 'reading'}")
    for batch in args.batch:
        x = torch.rand(batch, SLICES, 1, args.size, args.size)
        ways = {
            "naive": way(naive, x, False),
            "hoisted": way(hoisted, x, False),
            "ours": way(ours, x, False),
            "naive bf16": way(naive, x, True),
            "ours bf16": way(ours, x, True),
        }
        if not args.train:
            apart = float((ways["ours"]() - ways["naive"]()).abs().max())
            assert apart <= 1e-5, f"logits differ by {apart}"
        print(f"\nbatch {batch}, {args.size} x {args.size} x {SLICES}; load of the machine {os.getloadavg()[0]:.1f}")
        _report(ways, args.rounds, batch)


def _report(ways: dict[str, Callable[[], object]], rounds: int, batch: int) -> None:
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    faults = dict.fromkeys(ways, 0)
    for number in range(rounds + 1):
        for name, way in ways.items():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            start, start_cpu = time.perf_counter(), time.process_time()
            way()
            if number:  # the first round warms up
                wall[name].append((time.perf_counter() - start) / batch)
                cpu[name].append((time.process_time() - start_cpu) / batch)
                faults[name] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    header = f"{'seconds a volume':18}{'wall':>8}{'(min - max)':>18}{'x naive':>9}{'CPU':>8}{'x naive':>9}{'faults':>9}"
    print(header)
    wall_median, cpu_median = ({n: statistics.median(v) for n, v in times.items()} for times in (wall, cpu))
    for name in ways:
        spread = f"({min(wall[name]):.3f} - {max(wall[name]):.3f})"
        print(
            f"{name:18}{wall_median[name]:8.3f}{spread:>18}{wall_median['naive'] / wall_median[name]:9.2f}"
            f"{cpu_median[name]:8.3f}{cpu_median['naive'] / cpu_median[name]:9.2f}{faults[name]:9}"
        )


if __name__ == "__main__":
    main()
