"""Worker processes on many machines, by dask.distributed: on this one, by SLURM, or wherever a scheduler has them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import MissingPackageError, reason
from ..base.parallel import threads
from ..i18n import tr as _
from .engine import Engine, Scan, environment
from .row import BatchError, BatchRow

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

LOCAL, SLURM = "local", "slurm"

_ANSWERS_WITHIN_S = 20
_OF_A_SCHEDULER_OF_OURS = {
    "distributed.scheduler.allowed-failures": 0,  # rows_of counts them
    "distributed.scheduler.worker-saturation": 1.0,  # a CT that waits in a worker would be lost with it
}


class DaskEngine:
    """The workers of a Dask scheduler, each of whose threads scans a CT at a time.

    Args:
        client: of the scheduler.
        scan: what a worker does.
    """

    shares_losses = False

    def __init__(self, client: Client, scan: Scan) -> None:
        self._client, self._scan = client, scan
        self._executor = client.get_executor(pure=False)

    def slots(self) -> int:
        """Threads of all workers that are there at this moment."""
        try:
            return sum(self._client.nthreads().values())
        except (OSError, RuntimeError, CancelledError) as error:
            raise _scheduler_lost() from error

    def submit(self, source: Path) -> Future[BatchRow]:
        """Have a CT scanned by the worker that has least to do."""
        future: Future[BatchRow] = self._executor.submit(self._scan, source)
        return future

    def losses(self, error: BaseException) -> int:
        """How many workers the scheduler lost before it gave the CT up.

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


@contextmanager
def cluster(scan: Scan, where: str, workers: int) -> Iterator[Engine]:
    """Workers of a cluster while the block runs.

    Args:
        scan: what each does; it is sent to them, so that EmphysemaScanner must be installed there.
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
        start = _STARTS.get(where)
        if start is None and "://" not in where:
            raise BatchError(
                _("'{where}' is not a cluster; give local, slurm or a scheduler's address such as tcp://host:8786.")
                .format(where=reason(where))
            )  # fmt: skip
        try:
            of = where if start is None else stack.enter_context(start(workers))
            client = stack.enter_context(Client(of, timeout=_ANSWERS_WITHIN_S, set_as_default=False))
        except (OSError, ValueError, RuntimeError) as error:
            raise BatchError(
                _("There is no Dask cluster at '{where}' ({why}); check the address and that the scheduler runs.")
                .format(where=where, why=reason(error))
            ) from error  # fmt: skip
        engine = DaskEngine(client, scan)
        stack.callback(engine.close)
        yield engine


def _missing(package: str) -> MissingPackageError:
    sentence = _("Scanning on a cluster requires {package}; install it with: pip install 'emphysema-scanner[cluster]'.")
    return MissingPackageError(sentence.format(package=package))


def _on_this_machine(workers: int) -> SpecCluster:
    """Workers here, each with its share of the cores and a GPU of its own where there are several."""
    from distributed import Nanny, Scheduler, SpecCluster

    share = max(1, threads() // workers)
    options = [
        {"nthreads": 1, "memory_limit": 0, "dashboard": False, "env": environment(share, k)} for k in range(workers)
    ]
    return SpecCluster(
        workers={k: {"cls": Nanny, "options": of_worker} for k, of_worker in enumerate(options)},
        scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False}},
        silence_logs=logging.CRITICAL,
    )


def _by_slurm(workers: int) -> SpecCluster:
    """Jobs of SLURM, sent again when they end; each with as many workers as Dask's configuration states."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise _missing("dask-jobqueue") from error
    jobs: SpecCluster = SLURMCluster(silence_logs=logging.CRITICAL)
    jobs.adapt(minimum=workers, maximum=workers)
    return jobs


_STARTS: dict[str, Callable[[int], SpecCluster]] = {LOCAL: _on_this_machine, SLURM: _by_slurm}
