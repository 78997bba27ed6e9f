"""One background thread for all heavy work, and a caller's thread that stays alive while it waits.

The thread is kept between jobs: a framework that ties memory pools or devices to a thread pays for them once. The
caller waits in short steps and calls a *pump* between them (Slicer's ``processEvents``; nothing without an event loop).
What the job reports is delivered on the caller's thread, the only one that may touch the window and the scene.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Report = Callable[[float, str], None]
"""Told the share done (0 to 1) and the stage."""

POLL_S = 0.03  # a tighter loop on the caller's thread would starve the job of the interpreter lock


class JobCancelledError(Exception):
    """The job was cancelled before it was done."""


class WorkerBusyError(Exception):
    """A job is still running; one runs at a time."""


def _nothing() -> None:
    pass


def _ignore(fraction: float, stage: str) -> None:
    pass


class Worker:
    """A thread that runs one job at a time; started by the first job, restarted by the next one after ``close``.

    Args:
        name: of the thread, for debuggers.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._current: _Job[Any] | None = None
        self._waiting = False

    @property
    def busy(self) -> bool:
        """Whether a job is running or its caller is still waiting for it."""
        job = self._current
        return self._waiting or (job is not None and not job.done.is_set())

    def run(
        self, work: Callable[[Report], T], *, pump: Callable[[], None] = _nothing, on_progress: Report = _ignore
    ) -> T:
        """Run ``work(report)`` on the thread and wait for its result.

        Args:
            work: called on the thread with a function to report progress to. After ``cancel`` that function raises
                ``JobCancelledError``; let it pass through.
            pump: called on the caller's thread about 30 times a second while waiting. What it raises cancels the job.
            on_progress: called on the caller's thread with everything that was reported, in order.

        Raises:
            JobCancelledError: ``cancel`` was called, however late: no result comes after it.
            WorkerBusyError: the job before is not finished, or the call came from ``pump`` or ``on_progress``.
            BaseException: whatever ``work``, ``pump`` or ``on_progress`` raised.
        """
        with self._lock:
            if self.busy:
                raise WorkerBusyError("Another job is still running; wait for it or cancel it first.")
            job = _Job(work)
            self._current, self._waiting = job, True
            self._start().put(job)
        try:
            return job.wait(pump, on_progress)
        finally:
            self._waiting = False
            if job.done.is_set():
                self._current = None

    def cancel(self) -> None:
        """Ask the running job, if there is one, to stop at its next report."""
        job = self._current
        if job is not None:
            job.cancel()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Cancel the running job and end the thread.

        Returns:
            Whether the thread ended in time. If not, it ends with its job; it never holds up the end of the process.
        """
        self.cancel()
        with self._lock:
            thread, self._thread = self._thread, None
            self._jobs.put(None)
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _start(self) -> queue.SimpleQueue[_Job[Any] | None]:
        if self._thread is None:
            self._jobs = queue.SimpleQueue()  # its own: the thread before may still be on its way to its end
            self._thread = threading.Thread(target=_serve, args=(self._jobs,), name=self._name, daemon=True)
            self._thread.start()
        return self._jobs


@functools.cache
def shared_worker() -> Worker:
    """The one worker of this process."""
    return Worker("EmphysemaScanner")


class _Job(Generic[T]):
    """One piece of work on its way from the caller's thread to the worker's and back."""

    def __init__(self, work: Callable[[Report], T]) -> None:
        self.done = threading.Event()
        self._work = work
        self._cancelled = threading.Event()
        self._reports: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        self._result: T
        self._error: BaseException | None = None

    def cancel(self) -> None:
        self._cancelled.set()

    def execute(self) -> None:
        """Called on the worker's thread."""
        try:
            self._result = self._work(self._report)
        except BaseException as error:  # raised again on the caller's thread
            self._error = error
        finally:
            self.done.set()

    def wait(self, pump: Callable[[], None], on_progress: Report) -> T:
        """Called on the caller's thread."""
        try:
            while not self.done.wait(POLL_S):
                self._deliver(on_progress)
                pump()
            self._deliver(on_progress)
        except BaseException:
            self.cancel()
            raise
        self._stop_if_cancelled()
        error, self._error = self._error, None  # its traceback holds the job's frames, and with them the volume
        if error is not None:
            raise error
        return self._result

    def _report(self, fraction: float, stage: str) -> None:
        self._stop_if_cancelled()
        self._reports.put((fraction, stage))

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise JobCancelledError("The job was cancelled.")

    def _deliver(self, on_progress: Report) -> None:
        while not self._reports.empty():
            on_progress(*self._reports.get())


def _serve(jobs: queue.SimpleQueue[_Job[Any] | None]) -> None:
    while (job := jobs.get()) is not None:
        job.execute()
        del job  # or the last result would stay in memory until the next job
