"""Every bit of a result but its timings, as a digest.

``python determinism.py MODEL THREADS [THREADS ...]`` prints those of scans with so many threads, and their logits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult


def digest(result: ScanResult) -> str:
    """SHA-256 over all fields but the timings."""
    found = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, OverlayMap):
            value = (value.grid, value.values)
        if isinstance(value, np.ndarray):
            found.update(f"{value.shape}{value.dtype}".encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, (tuple, list)):
            for one in value:
                add(one)
        elif isinstance(value, dict):
            for name, one in value.items():
                add((name, one))
        else:
            found.update(repr(value).encode())

    for field in dataclasses.fields(result):
        if field.name not in ("timings_s", "run"):  # the run has its time
            add((field.name, getattr(result, field.name)))
    return found.hexdigest()


if __name__ == "__main__":
    import SimpleITK as sitk
    import torch
    from EmphysemaScannerLib.models import modelfile
    from EmphysemaScannerLib.scan.scan import scan
    from phantom import phantom_image

    for threads in map(int, sys.argv[2:]):
        os.environ["OMP_NUM_THREADS"] = str(threads)  # asked by our own threads
        torch.set_num_threads(threads)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        scanned = scan(phantom_image(), modelfile.load(Path(sys.argv[1])))
        print(digest(scanned), repr(scanned.logit))
