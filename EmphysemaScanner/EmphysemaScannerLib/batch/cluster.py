"""Worker processes on many machines, by dask.distributed: on this one, by SLURM, or wherever a scheduler has them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from ..base.errors import MissingPackageError, reason
from ..base.parallel import threads
from ..i18n import tr as _
from .engine import Answer, Engine, Task, ThisProcess, Work, environment, process_pool
from .row import BatchError

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

LOCAL, SLURM = "local", "slurm"

_ANSWERS_WITHIN_S, _REPLACE_EVERY_S = 20, 10
_OF_A_SCHEDULER_OF_OURS = {
    "distributed.scheduler.allowed-failures": 0,  # rows_of counts them
    "distributed.scheduler.worker-saturation": 1.0,  # a CT that waits in a worker would be lost with it
    "distributed.deploy.lost-worker-timeout": "60s",  # on a busy machine, starting again takes more than Dask's 15 s
}


class DaskEngine(Generic[Task, Answer]):
    """The workers of a Dask scheduler, each of whose threads does a task at a time.

    Args:
        client: of the scheduler.
        work: what a worker does.
        replace: called now and then; replaces workers that are gone.
    """

    shares_losses = False

    def __init__(self, client: Client, work: Work[Task, Answer], replace: Callable[[], None]) -> None:
        self._client, self._work, self._replace = client, work, replace
        self._executor = client.get_executor(pure=False)
        self._replaced_at = time.monotonic()

    def slots(self) -> int:
        """Threads of all workers that are there at this moment."""
        if time.monotonic() > self._replaced_at + _REPLACE_EVERY_S:
            self._replaced_at = time.monotonic()
            self._replace()
        try:
            return sum(self._client.nthreads().values())
        except (OSError, RuntimeError, CancelledError) as error:
            raise _scheduler_lost() from error

    def submit(self, task: Task) -> Future[Answer]:
        """Have a task done by the worker that has least to do."""
        future: Future[Answer] = self._executor.submit(self._work, task)
        return future

    def losses(self, error: BaseException) -> int:
        """How many workers the scheduler lost before it gave the task up.

        Raises:
            BatchError: the scheduler ended, or its workers cannot run this code.
        """
        from distributed.scheduler import KilledWorker

        if isinstance(error, CancelledError):
            raise _scheduler_lost() from error
        if isinstance(error, ImportError) or isinstance(error.__cause__, ImportError):
            raise BatchError(
                _("A worker of the cluster lacks a package ({why}); install EmphysemaScanner there too.").format(
                    why=reason(error.__cause__ or error)
                )
            ) from error
        return error.allowed_failures + 1 if isinstance(error, KilledWorker) else 0

    def close(self) -> None:
        """Cancel what is not finished."""
        self._executor.shutdown(wait=False)


def _scheduler_lost() -> BatchError:
    return BatchError(_("The cluster's scheduler ended; run the same command again, which resumes after the last row."))


def engine(work: Work[Task, Answer], processes: int, where: str) -> AbstractContextManager[Engine[Task, Answer]]:
    """What does the work while the block runs: this process, several of this machine, or a cluster.

    Args:
        work: what is done to each task.
        processes: how many do it at a time.
        where: "" for this machine; otherwise as for ``cluster``.
    """
    if where:
        return cluster(work, where, processes)
    return nullcontext(ThisProcess(work)) if processes == 1 else process_pool(work, processes)


@contextmanager
def cluster(work: Work[Task, Answer], where: str, workers: int) -> Iterator[Engine[Task, Answer]]:
    """Workers of a cluster while the block runs.

    Args:
        work: what each does; it is sent to them, so that EmphysemaScanner must be installed there.
        where: "local" for processes of this machine; "slurm" for jobs as dask-jobqueue's configuration describes them;
            or the address of a scheduler that runs, such as tcp://host:8786.
        workers: how many processes are started here or, at most, by SLURM.

    Raises:
        MissingPackageError: dask.distributed or dask-jobqueue is not installed.
        BatchError: there is no such cluster.
    """
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise _missing("dask.distributed") from error
    for name in ("distributed", "distributed.client"):  # what they would write, rows_of reports
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_OF_A_SCHEDULER_OF_OURS))
        if where in _STARTS:
            of = stack.enter_context(_started(where, workers))
            replace = partial(of.scale, workers)  # also starts those anew that ended
        elif "://" in where:
            of, replace = where, partial(int)
        else:
            raise BatchError(
                _(
                    "'{where}' is not a cluster; give local, slurm or a scheduler's address such as tcp://host:8786."
                ).format(where=reason(where))
            )
        try:
            client = stack.enter_context(Client(of, timeout=_ANSWERS_WITHIN_S, set_as_default=False))
        except (OSError, ValueError) as error:
            sentence = _("No Dask scheduler answers at '{where}' ({why}); check the address and that it runs.")
            raise BatchError(sentence.format(where=where, why=reason(error))) from error
        started = DaskEngine(client, work, replace)
        stack.callback(started.close)
        yield started


def _started(where: str, workers: int) -> SpecCluster:
    try:
        return _STARTS[where](workers)
    except (OSError, ValueError, RuntimeError) as error:
        sentence = _("The workers cannot be started by {where} ({why}); correct that, or run the same command again.")
        raise BatchError(sentence.format(where=where, why=reason(error))) from error


def _missing(package: str) -> MissingPackageError:
    sentence = _("Scanning on a cluster requires {package}; install it with: pip install 'emphysema-scanner[cluster]'.")
    return MissingPackageError(sentence.format(package=package))


def _on_this_machine(workers: int) -> SpecCluster:
    """Workers here, each with its share of the cores and a GPU of its own where there are several."""
    from distributed import Nanny, Scheduler, SpecCluster, Status

    class Numbered(SpecCluster):  # type: ignore[misc]
        def new_worker_spec(self) -> dict[int, dict[str, Any]]:
            ((number, spec),) = super().new_worker_spec().items()
            return {number: {**spec, "options": {**spec["options"], "env": environment(share, int(number))}}}

        def scale(self, n: int = 0) -> None:
            """As in SpecCluster, which does not start again a worker that ended before it had started."""
            for number, worker in list(self.workers.items()):
                if worker.status in (Status.failed, Status.closed):
                    del self.workers[number]
            super().scale(n)

    share = max(1, threads() // workers)
    options = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": logging.CRITICAL}
    cluster = Numbered(
        worker={"cls": Nanny, "options": options},
        scheduler={
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"},
        },
        silence_logs=logging.CRITICAL,
    )
    cluster.scale(workers)
    return cluster


def _by_slurm(workers: int) -> SpecCluster:
    """Jobs of SLURM, each with as many workers as Dask's configuration states."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise _missing("dask-jobqueue") from error
    jobs: SpecCluster = SLURMCluster(silence_logs=logging.CRITICAL)
    jobs.scale(workers)
    return jobs


_STARTS: dict[str, Callable[[int], SpecCluster]] = {LOCAL: _on_this_machine, SLURM: _by_slurm}
