"""The command ``compare``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..scan.device import Device
from .options import (
    BatchSizeOption,
    DataOption,
    DevicesOption,
    ManifestArgument,
    ModelsArgument,
    PageOption,
    PredictionsOption,
    SplitOption,
)
from .progress import progress_bar

if TYPE_CHECKING:
    from ..evaluation.compare import Comparison
    from ..evaluation.evaluation import Inference


def compare(
    models: ModelsArgument,
    manifest: ManifestArgument,
    data: DataOption,
    split: SplitOption = "test",
    out: PageOption = None,
    predictions: PredictionsOption = None,
    device: DevicesOption = Device.AUTO,
    batch_size: BatchSizeOption = 1,
) -> None:
    """Measure models on the same volumes: the paper's Table 1 beside its rows, DeLong's paired test, plots."""
    from ..evaluation.comparisontables import statement, tables
    from ..evaluation.evaluation import Inference

    comparison = measure_models(models, manifest, split, data, out, predictions, Inference(device, batch_size))
    console = Console()
    for sentence in statement(comparison):
        console.print(sentence, markup=False, highlight=False)
    for part in tables(comparison):
        shown = Table(title=part.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for number, name in enumerate(part.columns):
            left = part.words or number == 0
            shown.add_column(name, justify="left" if left else "right", overflow="fold")
        for row in part.rows:
            shown.add_row(*(escape(cell if part.words else _narrow(cell)) for cell in row))
        console.print(shown)
        for note in part.notes:
            console.print(note, markup=False, highlight=False)
    print_folder(console, out)


def measure_models(
    models: Sequence[Path],
    manifest: Path,
    split: str,
    data: str,
    out: Path | None,
    predictions: Path | None,
    inference: Inference,
) -> Comparison:
    """Measure models on the same split, and write page, tables and plots into a folder if one is named."""
    from ..evaluation import comparisonpage
    from ..evaluation.compare import compare as compare_models
    from ..report.outputfolder import check_output_folder, whole_or_nothing

    if out is not None:
        check_output_folder(out)
    with progress_bar() as progress:
        comparison = compare_models(
            models, manifest, split, data=data, progress=progress, predictions=predictions, inference=inference
        )
    if out is not None:
        with whole_or_nothing(out) as folder:
            comparisonpage.write(comparison, folder)
    return comparison


def print_folder(console: Console, out: Path | None) -> None:
    """Print where the page was written, if it was."""
    if out is not None:
        console.print(f"Written to {out}.", markup=False)


def _narrow(cell: str) -> str:
    """A figure with its interval below it, in two digits, so that the table fits on a terminal."""
    found = re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", cell)
    return f"{found[1]}\n{float(found[2]):.2f}-{float(found[3]):.2f}" if found else cell
