"""The CTs of a batch shared out to several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from ..base.parallel import threads
from ..ct.reading import read_ct
from ..i18n import tr as _
from ..scan.device import Device, Precision, choose
from .row import BatchError, BatchRow, Scanning, row_of

_ASK_EVERY_S = 0.3

_scanning: Scanning  # of this process, once it has started


def rows_from_processes(
    states: Mapping[Path, str],
    processes: int,
    model_path: Path,
    checksum: str,
    device: Device,
    precision: Precision,
    objects: Path | None,
    still_wanted: Callable[[int], None],
) -> Generator[BatchRow, None, None]:
    """The rows of CTs as processes finish them; each process reads, scans and keeps the model for itself.

    Args:
        states: the CTs' paths, with the state that their files are in.
        processes: how many; they share the cores.
        model_path: the model file.
        checksum: SHA-256 of the model file, by which its rows name it.
        device: as for ``run_batch``.
        precision: as for ``run_batch``.
        objects: as for ``run_batch``.
        still_wanted: told a few times a second how many are done; what it raises ends the processes.

    Raises:
        BatchError: a process was ended from outside, as happens when memory runs out.
    """
    share = max(1, threads() // processes)
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would inherit torch's threads half-way
        initializer=_start,
        initargs=(model_path, checksum, device, precision, objects, share),
    )
    try:
        running: set[Future[BatchRow]] = {pool.submit(_scan, *ct) for ct in states.items()}
        while running:
            still_wanted(len(states) - len(running))
            ended, running = wait(running, _ASK_EVERY_S, FIRST_COMPLETED)
            for future in ended:
                yield future.result()
    except BrokenProcessPool as error:
        raise BatchError(
            _("A process of the batch ended unexpectedly, possibly out of memory; use fewer processes.")
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start(
    model_path: Path, checksum: str, device: Device, precision: Precision, objects: Path | None, share: int
) -> None:
    global _scanning
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it and ends this one
    os.environ["OMP_NUM_THREADS"] = str(share)
    import SimpleITK as sitk
    import torch

    from ..models.modelfile import load

    torch.set_num_threads(share)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(share)
    _scanning = Scanning(load(model_path), checksum, choose(device), precision, objects)


def _scan(source: Path, input_state: str) -> BatchRow:
    return row_of(source, input_state, partial(read_ct, source), _scanning)
