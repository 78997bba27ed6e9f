"""One CT scanned many times: ``python leaks.py COUNT [untrimmed]`` prints memory, threads and open files as JSON.

The growth is that of a line through the second half of the scans: the first half warms up allocators and caches.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
from EmphysemaScannerLib.jobs.worker import Worker
from EmphysemaScannerLib.report.richtext import provenance
from EmphysemaScannerLib.report.tablefiles import densitometry_csv, slices_csv
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json
from everymodel import model_of
from phantom import phantom_image


def resident_mib(trimmed: bool) -> float:
    """Memory of this process; ``trimmed``: what is freed and only kept by the allocator is given back before."""
    gc.collect()
    if trimmed:
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(count: int, trimmed: bool = True) -> dict[str, float]:
    """Scan on the worker's thread, as the window does, and write the small tables."""
    model, image, worker = model_of("conv_lstm"), phantom_image(), Worker("leaks")
    memory, threads, files = [], [], []
    for _ in range(count):
        result = worker.run(lambda report: scan(image, model, progress=report))
        record_to_json(result), provenance(result), slices_csv(result), densitometry_csv(result)
        del result
        memory.append(resident_mib(trimmed))
        threads.append(threading.active_count())
        files.append(len(list(Path("/proc/self/fd").iterdir())))
    half = memory[count // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0])
    return {
        "scans": count,
        "first_mib": memory[0],
        "middle_mib": half[0],
        "last_mib": half[-1],
        "mib_per_scan": slope,
        "threads_grew": threads[-1] - threads[count // 10],
        "files_grew": files[-1] - files[count // 10],
        "tasks": len(list(Path("/proc/self/task").iterdir())),
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), "untrimmed" not in sys.argv)))
