"""Workers that are measured in turn, round by round."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")

Spec = dict[str, Any]
Measured = list[dict[str, Any]]  # a dictionary a round, as worker.py says them


class Worker:
    """A process of its own that waits until it is asked for one more round."""

    def __init__(self, spec: Spec) -> None:
        command = [sys.executable, str(WORKER), json.dumps(spec)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603
        self.label: str = spec["label"]
        self.first: dict[str, Any] = {}

    def answer(self) -> dict[str, Any]:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"The process that measures '{self.label}' ended early; what it said is above.")
        said: dict[str, Any] = json.loads(line)
        return said

    def again(self) -> dict[str, Any]:
        """One more round."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def started(specs: Iterable[Spec]) -> Iterator[list[Worker]]:
    """Workers that have worked once, without those whose packages are not installed."""
    with ExitStack() as stack:
        workers = []
        for spec in specs:
            worker = Worker(spec)
            stack.callback(worker.close)
            worker.first = worker.answer()
            if "missing" in worker.first:
                print(f"  left out: {worker.label} ({worker.first['missing']})", flush=True)
            else:
                workers.append(worker)
        yield workers


def in_turn(specs: Iterable[Spec], rounds: int) -> dict[str, Measured]:
    """What each way says in each round, by label; the first, which warmed up, as round 0."""
    with started(specs) as workers:
        found = {worker.label: [worker.first] for worker in workers}
        for _ in range(rounds):
            for worker in workers:
                found[worker.label].append(worker.again())
    for label, measured in found.items():
        print(f"  {label:44}{spread([m['wall'] for m in measured[1:]])}", flush=True)
    return found


def median(measured: Measured, name: str = "wall") -> float:
    """Of all rounds but the first."""
    return statistics.median(m[name] for m in measured[1:])


def spread(seconds: list[float]) -> str:
    """Median, least and most, in ms."""
    low, middle, high = (1e3 * v for v in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:,.0f} ({low:,.0f} to {high:,.0f})"
