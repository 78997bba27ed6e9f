"""The worker: heavy work on one thread, everything else on the caller's."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from EmphysemaScannerLib.jobs.worker import JobCancelledError, Report, Worker, WorkerBusyError, shared_worker

Work = Callable[[Report], None]
LONG_S = 30.0  # no test waits this long unless it fails


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("test")
    yield made
    made.close()


def endless(report: Report) -> None:
    end = time.monotonic() + LONG_S
    while time.monotonic() < end:
        report(0.5, "waiting to be cancelled")
        time.sleep(0.001)


def test_the_result_of_the_work_comes_back(worker: Worker) -> None:
    assert worker.run(lambda report: 6 * 7) == 42


def test_all_jobs_run_on_one_thread_that_is_not_the_callers(worker: Worker) -> None:
    threads = {worker.run(lambda report: threading.get_ident()) for _ in range(3)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_the_thread_does_not_hold_up_the_end_of_the_process(worker: Worker) -> None:
    assert worker.run(lambda report: threading.current_thread().daemon)


def test_a_process_ends_while_a_job_is_still_running() -> None:
    script = (
        "from EmphysemaScannerLib.jobs.worker import Worker\n"
        "import time\n"
        "def stop(): raise SystemExit(7)\n"
        f"Worker('test').run(lambda report: time.sleep({LONG_S}), pump=stop)\n"
    )
    lib = Path(__file__).parents[2] / "EmphysemaScanner"
    ended = subprocess.run([sys.executable, "-c", script], cwd=lib, timeout=LONG_S / 2, check=False)
    assert ended.returncode == 7


def test_progress_is_delivered_in_order_on_the_callers_thread(worker: Worker) -> None:
    heard: list[tuple[float, str, int]] = []

    def work(report: Report) -> None:
        for k in range(5):
            report(k / 5, f"slice {k}")

    worker.run(work, on_progress=lambda fraction, stage: heard.append((fraction, stage, threading.get_ident())))
    assert heard == [(k / 5, f"slice {k}", threading.get_ident()) for k in range(5)]


def test_the_pump_runs_on_the_callers_thread_while_the_job_is_running(worker: Worker) -> None:
    pumped = threading.Event()
    pump_threads = set()

    def pump() -> None:
        pump_threads.add(threading.get_ident())
        pumped.set()

    assert worker.run(lambda report: pumped.wait(LONG_S), pump=pump)
    assert pump_threads == {threading.get_ident()}


def test_an_error_of_the_work_is_raised_again_where_it_was_asked_for(worker: Worker) -> None:
    def work(report: Report) -> None:
        raise LookupError("no lungs")

    with pytest.raises(LookupError, match="no lungs"):
        worker.run(work)
    assert worker.run(lambda report: "next") == "next"


def test_a_cancelled_job_stops_at_its_next_report(worker: Worker) -> None:
    with pytest.raises(JobCancelledError):
        worker.run(endless, pump=worker.cancel)
    assert not worker.busy


def test_a_cancel_that_comes_after_the_last_report_still_discards_the_result(worker: Worker) -> None:
    cancelled = threading.Event()

    def pump() -> None:
        worker.cancel()
        cancelled.set()

    with pytest.raises(JobCancelledError):
        worker.run(lambda report: cancelled.wait(LONG_S), pump=pump)


def test_a_cancel_without_a_job_does_not_cancel_the_next_one(worker: Worker) -> None:
    worker.cancel()
    assert worker.run(lambda report: 1) == 1
    worker.cancel()
    assert worker.run(lambda report: 2) == 2


def test_a_second_job_from_within_the_first_is_refused(worker: Worker) -> None:
    refused = threading.Event()

    def pump() -> None:
        assert worker.busy
        with pytest.raises(WorkerBusyError):
            worker.run(lambda report: None)
        refused.set()

    assert worker.run(lambda report: refused.wait(LONG_S), pump=pump)


def test_a_second_job_from_a_progress_callback_is_refused(worker: Worker) -> None:
    def on_progress(fraction: float, stage: str) -> None:
        with pytest.raises(WorkerBusyError):
            worker.run(lambda report: None)

    worker.run(lambda report: report(1.0, "done"), on_progress=on_progress)


def ending(work: Work, ended: threading.Event) -> Work:
    """The same work, which says when it was cancelled."""

    def watched(report: Report) -> None:
        try:
            work(report)
        except JobCancelledError:
            ended.set()
            raise

    return watched


def test_what_the_pump_raises_cancels_the_job(worker: Worker) -> None:
    def pump() -> None:
        raise KeyboardInterrupt

    cancelled = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        worker.run(ending(endless, cancelled), pump=pump)
    assert cancelled.wait(LONG_S / 2), "the job went on although nobody waits for it"


def test_what_the_progress_callback_raises_cancels_the_job(worker: Worker) -> None:
    def on_progress(fraction: float, stage: str) -> None:
        raise ZeroDivisionError

    cancelled = threading.Event()
    with pytest.raises(ZeroDivisionError):
        worker.run(ending(endless, cancelled), on_progress=on_progress)
    assert cancelled.wait(LONG_S / 2)


def test_no_job_starts_while_an_abandoned_one_is_still_running(worker: Worker) -> None:
    release = threading.Event()

    def pump() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(lambda report: release.wait(LONG_S), pump=pump)
    with pytest.raises(WorkerBusyError):
        worker.run(lambda report: None)
    release.set()
    assert worker.close(LONG_S)


def test_close_cancels_the_running_job_and_ends_the_thread(worker: Worker) -> None:
    thread = worker.run(lambda report: threading.current_thread())
    ended: list[bool] = []
    with pytest.raises(JobCancelledError):
        worker.run(endless, pump=lambda: ended.append(worker.close(LONG_S)))
    assert ended[0]
    assert not thread.is_alive()


def test_a_closed_worker_can_be_used_again(worker: Worker) -> None:
    before = worker.run(lambda report: threading.current_thread())
    assert worker.close(LONG_S)
    after = worker.run(lambda report: threading.current_thread())
    assert before is not after


def test_closing_a_worker_that_has_no_thread_is_harmless(worker: Worker) -> None:
    assert worker.close()
    assert worker.close()
    assert worker.run(lambda report: 1) == 1


def test_close_gives_up_after_its_time_when_the_job_does_not_report(worker: Worker) -> None:
    release = threading.Event()

    def pump() -> None:
        assert not worker.close(0.01)
        release.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(lambda report: release.wait(LONG_S), pump=pump)


def test_a_finished_job_leaves_no_result_in_memory(worker: Worker) -> None:
    class Volume:
        pass

    result = worker.run(lambda report: Volume())
    left = weakref.ref(result)
    del result
    end = time.monotonic() + LONG_S / 2
    while left() is not None and time.monotonic() < end:
        gc.collect()
        time.sleep(0.001)  # the worker's thread may not have put the job away yet
    assert left() is None


def test_the_process_has_one_shared_worker() -> None:
    assert shared_worker() is shared_worker()


def test_the_jobs_layer_needs_the_standard_library_only() -> None:
    script = (
        "import sys\n"
        "import EmphysemaScannerLib.jobs.process, EmphysemaScannerLib.jobs.worker\n"
        "third = {n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names) - {'EmphysemaScannerLib'}\n"
        "print(sorted(n for n in third if not n.startswith('__')))\n"
    )
    lib = Path(__file__).parents[2] / "EmphysemaScanner"
    printed = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=lib, capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"
