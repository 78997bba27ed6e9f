"""Work on CTs shared out to several processes, of which any may end at any moment: one answer a CT all the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from ..base.parallel import threads
from ..i18n import tr as _
from .row import BatchError

Task = TypeVar("Task")  # a CT, or a few of them
Task_contra = TypeVar("Task_contra", contravariant=True)
Answer = TypeVar("Answer")
Work = Callable[[Task], Answer]

MOST_LOSSES, MOST_SHARED_LOSSES = 3, 5  # of worker processes by one task; shared ones say less
_ASK_EVERY_S = 0.3


class Engine(Protocol[Task_contra, Answer]):
    """Worker processes, here or on other machines."""

    shares_losses: bool  # when one worker ends, so does the work of all, and nothing tells which task ended it

    def slots(self) -> int:
        """How many tasks can be done at this moment."""

    def submit(self, task: Task_contra) -> Future[Answer]:
        """Have a task done."""

    def losses(self, error: BaseException) -> int:
        """How many workers ended while they did a task whose future raised this error; 0 if it means another."""


def rows_of(
    tasks: Iterable[Task],
    engine: Engine[Task, Answer],
    refused: Callable[[Task, str], Answer],
    still_wanted: Callable[[int, int], None],
    apart: Callable[[Task], Sequence[Task]] = lambda task: (task,),
) -> Generator[Answer, None, None]:
    """One answer to each task, as they are finished; not more of them wait in the engine than it can do.

    A task whose worker ended is done again before the others, by itself where the engine cannot tell which task ended
    the worker; one that has lost ``MOST_LOSSES`` workers, or there ``MOST_SHARED_LOSSES``, is refused.

    Args:
        tasks: CTs, or parts of a cohort.
        engine: where they are done.
        refused: makes the answer to a task that was refused, from the reason.
        still_wanted: told a few times a second how many are done, and how many can be done at a time; what it raises
            ends the work.
        apart: what a task becomes whose worker ended, so that only the CT to blame is refused in the end.

    Raises:
        BatchError: the engine is lost.
    """
    waiting = deque((0, task) for task in tasks)  # with the workers that it lost
    running = dict[Future[Answer], tuple[int, Task]]()
    done, most = 0, MOST_SHARED_LOSSES if engine.shares_losses else MOST_LOSSES

    def may_start(lost: int) -> bool:
        if engine.shares_losses and (lost or any(other for other, _ in running.values())):
            return not running
        return len(running) < engine.slots()

    while waiting or running:
        while waiting and may_start(waiting[0][0]):
            lost, task = waiting.popleft()
            running[engine.submit(task)] = lost, task
        still_wanted(done, engine.slots())
        if not running:  # no worker yet, or none any more
            time.sleep(_ASK_EVERY_S)
        for future in wait(running, _ASK_EVERY_S, FIRST_COMPLETED).done:
            lost, task = running.pop(future)
            try:
                answer = future.result()
            except (Exception, CancelledError) as error:
                losses = engine.losses(error)
                if not losses:
                    raise
                lost += losses
                if lost < most:
                    waiting.extendleft((lost, part) for part in reversed(apart(task)))
                    continue
                said = _(
                    "{count} processes ended while they scanned it, perhaps for want of memory; scan it by itself."
                )
                answer = refused(task, said.format(count=lost))
            done += 1
            yield answer


class ThisProcess(Generic[Task, Answer]):
    """No other process: a task is done when it is submitted."""

    shares_losses = False

    def __init__(self, work: Work[Task, Answer]) -> None:
        self._work = work

    def slots(self) -> int:
        """One at a time."""
        return 1

    def submit(self, task: Task) -> Future[Answer]:
        """Do it; what the work raises ends all of it."""
        future: Future[Answer] = Future()
        future.set_result(self._work(task))
        return future

    def losses(self, error: BaseException) -> int:
        """None."""
        return 0


class ProcessPool(Generic[Task, Answer]):
    """Worker processes on this machine, which share the cores."""

    shares_losses = True

    def __init__(self, work: Work[Task, Answer], processes: int) -> None:
        self._work, self._processes = work, processes
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        share = max(1, threads() // self._processes)
        # A fork would inherit torch's threads half-way.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, mp_context=context, initializer=_start, initargs=(share,))

    def slots(self) -> int:
        """As many as there are processes, since those that end are replaced."""
        return self._processes

    def submit(self, task: Task) -> Future[Answer]:
        """Have a task done, by new processes if one of the old ones ended."""
        try:
            return self._pool.submit(self._work, task)
        except BrokenProcessPool:
            self.close()
            self._pool = self._started()
            return self._pool.submit(self._work, task)

    def losses(self, error: BaseException) -> int:
        """1 if a process ended."""
        return int(isinstance(error, BrokenProcessPool))

    def close(self) -> None:
        """End the processes, each after the task that it does."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def process_pool(work: Work[Task, Answer], processes: int) -> Iterator[Engine[Task, Answer]]:
    """Processes that work on this machine while the block runs.

    Raises:
        BatchError: they cannot be started.
    """
    try:
        pool = ProcessPool(work, processes)
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
