"""Command lines run in this process, watched by an audit hook: no network, and no file written but where it may.

``python watched.py FOLDER [FOLDER ...] < commands.json`` prints what was done elsewhere as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

NETWORK = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "socket.bind",
    "urllib.Request",
    "http.client.connect",
)
_PROBES = (("::1", 0), ("127.0.0.1", 0))
"""urllib3, where it is imported, asks whether the machine has IPv6 by binding a free port of the machine itself."""
CHANGING = {
    "os.mkdir": 1,
    "os.rename": 2,
    "os.remove": 1,  # and, in the arguments after the paths, the folder that a relative path counts from, or -1
    "os.rmdir": 1,
    "os.truncate": 1,
    "os.symlink": 2,
    "os.link": 2,
}
"""Events with the number of paths among their arguments."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def watch(allowed: list[Path], strayed: list[str]) -> None:
    """Note what is sent to a network, and what is written outside some folders."""

    def outside(path: object, folder: object = -1) -> bool:
        if not isinstance(path, (str, bytes)) or os.fsdecode(path).startswith(("/dev/", "/proc/")):
            return False
        base = f"/proc/self/fd/{folder}" if isinstance(folder, int) and folder >= 0 else ""
        real = Path(os.path.realpath(Path(base, os.fsdecode(path))))
        return not any(real.is_relative_to(folder) for folder in allowed)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.bind" and arguments[1] in _PROBES:
            return
        if event in NETWORK:
            strayed.append(f"{event} {arguments}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING and outside(arguments[0]):
            strayed.append(f"open {arguments}")
        elif event in ("os.remove", "os.rmdir"):
            if outside(*arguments[:2]):
                strayed.append(f"{event} {arguments}")
        elif event in CHANGING and any(outside(path) for path in arguments[: CHANGING[event]]):
            strayed.append(f"{event} {arguments}")

    sys.addaudithook(hook)


if __name__ == "__main__":
    from EmphysemaScannerLib.commands.cli import main

    warnings.simplefilter("ignore", DeprecationWarning)
    strayed: list[str] = []
    ended: list[object] = []
    watch([Path(folder).resolve() for folder in sys.argv[1:]], strayed)
    commands = json.loads(sys.stdin.read())
    real_out = os.dup(1)
    os.dup2(2, 1)
    for command in commands:
        try:
            main(command)
        except SystemExit as error:
            ended.append(error.code)
        sys.stdout.flush()
    os.write(real_out, json.dumps({"strayed": strayed, "ended": ended}).encode())
