"""One process writes at a time; the system lifts its lock however it ends."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import pytest
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.base.lock import held
from otherrun import holding

BUSY = EmphysemaScannerError("Another run is writing.")


def test_another_process_is_refused_until_the_first_ends_and_no_file_is_left(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with holding(lock), pytest.raises(EmphysemaScannerError, match="Another run"), held(lock, BUSY):
        pass
    assert not lock.exists()
    with held(lock, BUSY):
        assert lock.exists()
    assert not lock.exists()


def test_a_second_block_of_the_same_process_is_refused_by_whatever_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with held(tmp_path / ".lock", BUSY):
        for lock in (tmp_path / ".lock", tmp_path / "link" / ".lock"):
            with pytest.raises(EmphysemaScannerError, match="Another run"), held(lock, BUSY):
                pass
        with holding(tmp_path / ".other"):
            pass
    with held(tmp_path / ".lock", BUSY):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with holding(lock) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert lock.exists()  # the file, which locks nothing
    with held(lock, BUSY):
        pass
    assert not lock.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_fork_that_outlives_a_killed_process_does_not_keep_its_lock(tmp_path: Path) -> None:
    """As the processes that read volumes for a training do for some seconds."""
    lock, pid = tmp_path / ".lock", tmp_path / "pid"
    with holding(
        lock, f"child = os.fork(); child or time.sleep(600); Path({str(pid)!r}).write_text(str(child))"
    ) as process:
        try:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            with held(lock, BUSY):
                pass
        finally:
            os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="the lock of POSIX")
def test_a_lock_that_was_removed_while_it_was_waited_for_counts_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    lock, removed = tmp_path / ".lock", []
    lockf = fcntl.lockf

    def removed_first(file: object, how: int) -> None:
        if not removed:
            removed.append(True)
            lock.unlink()
        lockf(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "lockf", removed_first)
    with held(lock, BUSY):
        assert lock.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the lock of POSIX")
def test_where_the_file_system_has_no_locks_work_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with held(tmp_path / ".lock", BUSY):
        pass
    assert "has no locks" in caplog.text
