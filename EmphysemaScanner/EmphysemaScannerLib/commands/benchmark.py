"""The command ``benchmark``."""

from __future__ import annotations

import platform
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..scan.device import Device, choose
from .progress import progress_bar


def benchmark(
    device: Annotated[Device, typer.Option(help="Where the networks run; compared with the CPU.")] = Device.AUTO,
    quick: Annotated[bool, typer.Option("--quick", help="A small network, once: only whether it runs.")] = False,
) -> None:
    """Time reading, learning and a whole scan on this machine, and check that the device says what the CPU says."""
    import torch

    from ..evaluation.speed import run_benchmark

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
    console = Console()
    console.print(table)
    if quick:
        console.print("A small network, once: this only shows that it runs.")
