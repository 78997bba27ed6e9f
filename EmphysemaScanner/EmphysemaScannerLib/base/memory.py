"""What the C library does with freed memory, for processes that do nothing but calculate."""

from __future__ import annotations

import ctypes
import os
import platform

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
