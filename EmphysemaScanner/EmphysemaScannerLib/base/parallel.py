"""Threads for work that lets go of Python's lock (numpy, scipy, zlib, files), and what happens to freed memory."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that tensors free, for the next ones, and use huge pages for large tensors.

    By default glibc gives every large block back to the system, which fills it with zeros page by page at the next
    allocation; a volume through a network needs a hundred thousand such pages. Call it once, before torch is imported,
    in a process of one's own: not in Slicer, whose memory belongs to others too.

    Returns:
        Whether it was done; False where the C library is not glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch at its first tensor
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))


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


def beside(work: Callable[..., Answer], *arguments: object) -> Future[Answer]:
    """Begin ``work(*arguments)`` on a thread of its own, which keeps them alive; ``result()`` waits for it."""
    pool = ThreadPoolExecutor(1)
    begun = pool.submit(work, *arguments)
    pool.shutdown(wait=False)
    return begun


def pieces(count: int) -> list[range]:
    """``range(count)`` cut into contiguous pieces, a few for each thread so that uneven ones even out."""
    number = min(count, 4 * threads())
    return [range(count * i // number, count * (i + 1) // number) for i in range(number)]
