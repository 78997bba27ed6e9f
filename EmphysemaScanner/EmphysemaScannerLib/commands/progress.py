"""What a terminal shows while a command works."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from ..base.progress import Progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on a terminal; elsewhere nothing, or a line for each percent if $EMPHYSEMA_SCANNER_PROGRESS is "lines"."""
    if os.environ.get("EMPHYSEMA_SCANNER_PROGRESS") == "lines":
        printed = -1

        def print_percent(fraction: float, stage: str) -> None:
            nonlocal printed
            if int(100 * fraction) != printed:
                printed = int(100 * fraction)
                print(f"{printed:3} % {stage}", file=sys.stderr, flush=True)

        yield print_percent
        return
    columns = (
        TextColumn("{task.description:34}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("Reading", total=1.0)

        def move_bar(fraction: float, stage: str) -> None:
            shown.update(task, completed=fraction, description=stage)

        yield move_bar


@contextmanager
def stage(text: str) -> Iterator[None]:
    """Show on a terminal what is being done."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        yield
