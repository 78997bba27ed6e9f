"""The CTs of a batch shared out to several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.parallel import threads
from ..ct.reading import read_ct
from ..i18n import tr as _
from ..lungs.labelfiles import MaskFiles
from ..scan.device import Device, Precision, choose
from .row import BatchError, BatchRow, row_of

if TYPE_CHECKING:
    import torch

    from ..models.modelfile import Model

_ASK_EVERY_S = 0.3

_scanning: tuple[Model, str, torch.device, Precision]  # of this process, once it has started


def rows_from_processes(
    inputs: Mapping[Path, tuple[str, MaskFiles]],
    processes: int,
    model_path: Path,
    checksum: str,
    device: Device,
    precision: Precision,
    still_wanted: Callable[[int], None],
) -> Generator[BatchRow, None, None]:
    """The rows of CTs as processes finish them; each process reads, scans and keeps the model for itself.

    Args:
        inputs: the CTs' paths, with the state that their files are in, and label files.
        processes: how many; they share the cores.
        model_path, checksum: the model file, and what its rows name it by.
        device, precision: as for ``run_batch``.
        still_wanted: told a few times a second how many are done; what it raises ends the processes.

    Raises:
        BatchError: a process was ended from outside, as happens when memory runs out.
    """
    share = max(1, threads() // processes)
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would inherit torch's threads half-way
        initializer=_start,
        initargs=(model_path, checksum, device, precision, share),
    )
    try:
        running: set[Future[BatchRow]] = {pool.submit(_scan, ct, *of) for ct, of in inputs.items()}
        while running:
            still_wanted(len(inputs) - len(running))
            ended, running = wait(running, _ASK_EVERY_S, FIRST_COMPLETED)
            for future in ended:
                yield future.result()
    except BrokenProcessPool as error:
        raise BatchError(
            _("A process of the batch ended unexpectedly, perhaps for want of memory; use fewer processes.")
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start(model_path: Path, checksum: str, device: Device, precision: Precision, share: int) -> None:
    global _scanning
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it and ends this one
    os.environ["OMP_NUM_THREADS"] = str(share)
    import SimpleITK as sitk
    import torch

    from ..models.modelfile import load

    torch.set_num_threads(share)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(share)
    _scanning = load(model_path), checksum, choose(device), precision


def _scan(source: Path, input_state: str, files: MaskFiles) -> BatchRow:
    return row_of(source, input_state, lambda: (read_ct(source), files.read()), *_scanning)
