"""Work shared out to threads: numpy, scipy, zlib and file reading let go of Python's lock while they work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_MOST = 8  # memory is the bottleneck beyond

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def threads() -> int:
    """How many threads to use: the cores this process may use, or fewer where OMP_NUM_THREADS says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(limit) if limit.isdecimal() else _MOST, _MOST))


def in_threads(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """``[work(item) for item in items]``, several at a time; the first exception is raised when all have ended."""
    items = list(items)
    if len(items) < 2 or threads() == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads(), len(items))) as pool:
        return list(pool.map(work, items))


def pieces(count: int) -> list[range]:
    """``range(count)`` cut into contiguous pieces, a few for each thread so that uneven ones even out."""
    number = min(count, 4 * threads())
    return [range(count * i // number, count * (i + 1) // number) for i in range(number)]
