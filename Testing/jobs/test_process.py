"""A command in the background: what it prints, how it ends, and that nothing of it is left."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from EmphysemaScannerLib.jobs.process import BackgroundProcess, ProcessStartError

LONG_S = 30.0  # no test waits this long unless it fails


def python(code: str, tmp_path: Path, environment: dict[str, str] | None = None) -> BackgroundProcess:
    return BackgroundProcess([sys.executable, "-u", "-c", code], log=tmp_path / "log.txt", environment=environment)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which only waits for its parent, counts as one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not (status.exists() and "State:\tZ" in status.read_text() and os.getpid() != _parent(pid))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_lines_and_the_exit_code_are_those_of_the_command(tmp_path: Path) -> None:
    process = python(
        "import sys; print('one'); print('two', file=sys.stderr); print('three', end=''); sys.exit(3)", tmp_path
    )
    assert process.wait(LONG_S) == 3
    assert process.new_lines() == ["one", "two", "three"]
    assert process.new_lines() == []
    assert process.poll() == 3


def test_lines_come_while_the_command_runs_and_only_whole(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        "import pathlib, time\n"
        "print('first'); print('sec', end='')\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        "print('ond')\n"
    )
    process = python(code, tmp_path)
    seen: list[str] = []
    wait_for(lambda: bool(seen.extend(process.new_lines()) or seen))
    wait_for(lambda: (tmp_path / "log.txt").read_text().endswith("sec"))
    assert seen + process.new_lines() == ["first"]
    go.touch()
    process.wait(LONG_S)
    assert process.new_lines() == ["second"]


def test_of_a_progress_bar_the_last_picture_is_shown(tmp_path: Path) -> None:
    process = python("print('10 %\\r50 %\\r100 %\\r'); print('done')", tmp_path)
    process.wait(LONG_S)
    assert process.new_lines() == ["100 %", "done"]


def test_a_log_is_continued_and_only_the_new_part_is_shown(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("yesterday\n")
    process = python("print('today')", tmp_path)
    process.wait(LONG_S)
    assert process.new_lines() == ["today"]
    assert (tmp_path / "log.txt").read_text().splitlines() == ["yesterday", "today"]


def test_the_environment_is_the_one_that_was_given(tmp_path: Path) -> None:
    needed = {name: value for name, value in os.environ.items() if name in ("SYSTEMROOT", "PATH")}
    process = python("import os; print(os.environ['COHORT'])", tmp_path, {**needed, "COHORT": "simulated"})
    process.wait(LONG_S)
    assert process.new_lines() == ["simulated"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM between windows")
def test_a_cancelled_command_may_tidy_up(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def tidy(*_): print('tidied'); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, tidy)\n"
        "print('ready')\n"
        f"time.sleep({LONG_S})\n"
    )
    process = python(code, tmp_path)
    wait_for(lambda: "ready" in (tmp_path / "log.txt").read_text())
    process.cancel()
    process.cancel()  # a second click
    assert process.wait(LONG_S) == 7
    assert process.new_lines() == ["ready", "tidied"]


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes by POSIX means")
def test_a_command_that_will_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    stubborn = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep({LONG_S})"
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-u', '-c', {stubborn!r}])\n"
        "print('child', child.pid)\n" + stubborn
    )
    process = python(code, tmp_path)
    lines: list[str] = []
    wait_for(lambda: bool(lines.extend(process.new_lines()) or lines.count("up") == 2))
    child = int(next(line for line in lines if line.startswith("child")).split()[1])
    process.cancel(grace_s=0.1)
    assert process.wait(LONG_S) == -9
    wait_for(lambda: not alive(child))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_cancelled_command_that_nobody_asks_about_leaves_no_zombie(tmp_path: Path) -> None:
    process = python(f"import time; print('ready'); time.sleep({LONG_S})", tmp_path)
    wait_for(lambda: "ready" in (tmp_path / "log.txt").read_text())
    pid = process.pid
    process.cancel()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_cancelling_what_has_ended_changes_nothing(tmp_path: Path) -> None:
    process = python("pass", tmp_path)
    assert process.wait(LONG_S) == 0
    process.cancel()
    assert process.poll() == 0


@pytest.mark.parametrize(
    ("program", "log"), [("no-such-program", "log.txt"), (sys.executable, "no-such-folder/log.txt")]
)
def test_what_cannot_be_started_is_one_sentence(tmp_path: Path, program: str, log: str) -> None:
    with pytest.raises(ProcessStartError, match="could not be started") as raised:
        BackgroundProcess([program, "-c", "pass"], log=tmp_path / log)
    assert str(raised.value).endswith(".")
