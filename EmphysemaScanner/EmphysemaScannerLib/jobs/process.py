"""A command in a process of its own, watched from an event loop: started, looked at, cancelled, never waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..base.errors import EmphysemaScannerError

GRACE_S = 30.0  # for a training to finish the step it is in


class ProcessStartError(EmphysemaScannerError):
    """The command could not be started."""


class BackgroundProcess:
    """A running command; what it prints goes into a file, so that it can never be held up by a reader.

    Args:
        args: the program and its arguments.
        cwd: the folder it runs in; this process's if None.
        environment: all its environment variables; this process's if None.
        log: the file that standard output and error are added to; its folder must exist.

    Raises:
        ProcessStartError: there is no such program, or the log cannot be written.
    """

    def __init__(
        self, args: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None, log: Path
    ) -> None:
        self._log = Path(log)
        self._unfinished = b""
        self._cancelled = False
        try:
            with self._log.open("ab") as output:
                self._read_up_to = self._log.stat().st_size
                self._process = subprocess.Popen(  # noqa: S603  # no shell; the arguments are the caller's
                    list(args),
                    cwd=cwd,
                    env=None if environment is None else dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=os.name == "posix",
                    creationflags=_windows_flags(),
                )
        except OSError as error:
            raise ProcessStartError(
                f"'{args[0]}' could not be started with its log at '{log}': {error.strerror or error}."
            ) from error

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """As ``poll``, after waiting for the end, but not longer than that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.poll()

    def new_lines(self) -> list[str]:
        """The lines that were printed since the last call; a line that is still being printed comes with a later call.

        Of a progress bar that draws over itself only the last picture is given.
        """
        ended = self.poll() is not None  # asked first: what is read after the end is all there is
        try:
            with self._log.open("rb") as file:
                file.seek(self._read_up_to)
                new = file.read()
        except OSError:  # removed by the user: nothing to show, and no reason to disturb the work
            new = b""
        self._read_up_to += len(new)
        *lines, self._unfinished = (self._unfinished + new).split(b"\n")
        if ended and self._unfinished:
            lines.append(self._unfinished)
            self._unfinished = b""
        return [line.rstrip(b"\r").split(b"\r")[-1].decode("utf-8", "replace") for line in lines]

    def cancel(self, grace_s: float = GRACE_S) -> None:
        """Ask the process and all that it started to end, and end them if they don't; returns at once.

        Args:
            grace_s: seconds between the one and the other.
        """
        if self._cancelled:
            return
        self._cancelled = True
        if self.poll() is None:
            self._ask_to_end()
        # A thread, because the caller may be a window; it also takes the exit code, so that no zombie is left.
        threading.Thread(target=self._end, args=(grace_s,), name="end of a process", daemon=True).start()

    def _end(self, grace_s: float) -> None:
        if self.wait(grace_s) is None or os.name == "posix":
            self._kill_group()
        self._process.wait()

    if sys.platform == "win32":

        def _ask_to_end(self) -> None:
            # Reaches a process that shares our console; without one (Slicer's window) it is ended without being asked.
            try:
                os.kill(self.pid, signal.CTRL_BREAK_EVENT)
            except OSError:
                self._kill_group()

        def _kill_group(self) -> None:
            system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32"
            subprocess.run(  # noqa: S603
                [str(system / "taskkill.exe"), "/T", "/F", "/PID", str(self.pid)],
                capture_output=True,
                check=False,
                creationflags=_windows_flags(),
            )

    else:

        def _ask_to_end(self) -> None:
            self._signal_group(signal.SIGTERM)

        def _kill_group(self) -> None:
            self._signal_group(signal.SIGKILL)

        def _signal_group(self, number: signal.Signals) -> None:
            # It leads its own group (start_new_session), whose number is its own; the group may outlive it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


def _windows_flags() -> int:
    """A group that can be signalled, and no console window."""
    if sys.platform == "win32":
        return subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    return 0
