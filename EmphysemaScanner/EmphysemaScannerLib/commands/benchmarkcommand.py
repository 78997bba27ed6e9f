"""The command ``benchmark``: what was measured, as a table."""

from __future__ import annotations

import platform

import torch
from rich.console import Console
from rich.table import Table

from ..scan.device import Device, choose
from .benchmark import run_benchmark
from .scancommand import progress_bar


def print_benchmark(console: Console, device: Device, quick: bool) -> None:
    """Measure, and print a row for each thing measured.

    Raises:
        EmphysemaScannerError: (a kind of) there is no such device here, or it gives other answers than the CPU.
    """
    chosen = choose(device)
    with progress_bar() as progress:
        measured = run_benchmark(device, quick, progress)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.processor() or platform.machine()
    title = f"{chosen.type} ({name}), torch {torch.__version__}, {torch.get_num_threads()} threads of the CPU"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("ms a volume", "from", "to", "logit, from the CPU's", "MiB on the device"):
        table.add_column(column, justify="right")
    for timing in measured:
        table.add_row(
            timing.what,
            *(f"{1e3 * seconds:,.1f}" for seconds in (timing.median, min(timing.seconds), max(timing.seconds))),
            "" if timing.difference is None else f"{timing.difference:.1e}",
            "" if timing.memory_mib is None else f"{timing.memory_mib:,.0f}",
        )
    console.print(table)
    if quick:
        console.print("A small network, once: this only shows that it runs.")
