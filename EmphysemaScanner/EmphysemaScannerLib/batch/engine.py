"""The CTs of a batch shared out to several processes, of which any may end at any moment: one row a CT all the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol

from ..base.parallel import threads
from ..i18n import tr as _
from .row import BatchError, BatchRow
from .source import Source

Scan = Callable[[Source], BatchRow]

MOST_LOSSES = 2  # of worker processes by one CT
_ASK_EVERY_S = 0.3


class Engine(Protocol):
    """Worker processes, here or on other machines."""

    shares_losses: bool  # when one worker ends, so does the work of all, and nothing tells which CT ended it

    def slots(self) -> int:
        """How many CTs can be scanned at this moment."""

    def submit(self, source: Source) -> Future[BatchRow]:
        """Have a CT scanned."""

    def losses(self, error: BaseException) -> int:
        """How many workers ended while they scanned a CT whose future raised this error; 0 if it means another."""


def rows_of(
    sources: Iterable[Source],
    engine: Engine,
    refused: Callable[[Source, str], BatchRow],
    still_wanted: Callable[[int, int], None],
) -> Generator[BatchRow, None, None]:
    """One row of each CT, as they are finished; not more of them wait in the engine than it can scan.

    A CT whose worker ended is scanned again before the others, by itself where the engine cannot tell which CT ended
    the worker; one that has lost ``MOST_LOSSES`` workers is refused.

    Args:
        sources: the CTs.
        engine: where they are scanned.
        refused: makes the row of a CT that was refused, from the reason.
        still_wanted: told a few times a second how many are done, and how many can be scanned at a time; what it raises
            ends the work.

    Raises:
        BatchError: the engine is lost.
    """
    waiting, running = deque(sources), dict[Future[BatchRow], Source]()
    lost, done = Counter[Source](), 0

    def may_start(source: Source) -> bool:
        if engine.shares_losses and (lost[source] or any(lost[other] for other in running.values())):
            return not running
        return len(running) < engine.slots()

    while waiting or running:
        while waiting and may_start(waiting[0]):
            source = waiting.popleft()
            running[engine.submit(source)] = source
        still_wanted(done, engine.slots())
        if not running:  # no worker yet, or none any more
            time.sleep(_ASK_EVERY_S)
        for future in wait(running, _ASK_EVERY_S, FIRST_COMPLETED).done:
            source = running.pop(future)
            try:
                row = future.result()
            except (Exception, CancelledError) as error:
                losses = engine.losses(error)
                if not losses:
                    raise
                lost[source] += losses
                if lost[source] < MOST_LOSSES:
                    waiting.appendleft(source)
                    continue
                said = _(
                    "{count} processes ended while they scanned it, perhaps for want of memory; scan it by itself."
                )
                row = refused(source, said.format(count=lost[source]))
            done += 1
            yield row


class ProcessPool:
    """Worker processes on this machine, which share the cores."""

    shares_losses = True

    def __init__(self, scan: Scan, processes: int) -> None:
        self._scan, self._processes = scan, processes
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        share = max(1, threads() // self._processes)
        # A fork would inherit torch's threads half-way.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, mp_context=context, initializer=_start, initargs=(share,))

    def slots(self) -> int:
        """As many as there are processes, since those that end are replaced."""
        return self._processes

    def submit(self, source: Source) -> Future[BatchRow]:
        """Have a CT scanned, by new processes if one of the old ones ended."""
        try:
            return self._pool.submit(self._scan, source)
        except BrokenProcessPool:
            self.close()
            self._pool = self._started()
            return self._pool.submit(self._scan, source)

    def losses(self, error: BaseException) -> int:
        """1 if a process ended."""
        return int(isinstance(error, BrokenProcessPool))

    def close(self) -> None:
        """End the processes, each after the CT that it scans."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def process_pool(scan: Scan, processes: int) -> Iterator[Engine]:
    """Processes that scan on this machine while the block runs.

    Raises:
        BatchError: they cannot be started.
    """
    try:
        pool = ProcessPool(scan, processes)
    except (OSError, ValueError) as error:
        raise BatchError(_("{count} processes cannot be started; use fewer.").format(count=processes)) from error
    try:
        yield pool
    finally:
        pool.close()


def environment(share: int, number: int) -> dict[str, str]:
    """What a worker process must find in its environment before it imports torch.

    Args:
        share: the threads it may use.
        number: of the process among those of this machine; ``take_own_gpu`` reads it.
    """
    limits = {name: str(share) for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")}
    return {**limits, "LOCAL_RANK": str(number)}


def _start(share: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it and ends this one
    os.environ.update(environment(share, int(multiprocessing.current_process().name.rpartition("-")[2])))
