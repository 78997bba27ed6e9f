"""The commands that measure models on labelled volumes: ``evaluate`` and ``compare``."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..evaluation import comparisonpage
from ..evaluation.compare import Comparison, compare, labelled_rows
from ..evaluation.comparisontables import interval, statement, tables
from ..evaluation.evaluation import Inference, column
from ..models import modelfile
from ..models.modelcard import Metric
from ..report.outputfolder import check_output_folder, whole_or_nothing
from ..scan.device import Device
from .scancommand import progress_bar

DENSITOMETRY = (("LAA%-950", "laa_950_percent", 1.0), ("Perc15", "perc15_hu", -1.0))


def evaluate_model(
    console: Console,
    file: Path,
    manifest: Path,
    split: str,
    data: str,
    record: bool,
    out: Path | None = None,
    predictions: Path | None = None,
    device: Device = Device.AUTO,
    batch_size: int = 1,
) -> None:
    """Measure a model on a split, beside densitometry where the manifest has it; ``record`` adds it to the card."""
    comparison = _measured([file], manifest, split, data, out, predictions, device, batch_size)
    (measured,) = comparison.models
    rows = labelled_rows(manifest, split)
    metrics: list[Metric] = [metric for metric in vars(measured.figures).values() if math.isfinite(metric.low)]
    metrics += [
        column(rows, name, sign).auc(f"AUC of {label} on the same", data)
        for label, name, sign in DENSITOMETRY
        if all(row.extra.get(name) for row in rows)
    ]
    table = Table(
        "measure", "value (95 % interval)", title=escape(f"{measured.card.name} on {len(rows)} volumes: {data}")
    )
    for metric in metrics:
        table.add_row(metric.name, interval(metric))
    console.print(table)
    _said(console, out)
    if record:
        model = modelfile.load(measured.path)
        kept = tuple(m for m in model.card.metrics if m.data != data)
        modelfile.save(measured.path, model.network, dataclasses.replace(model.card, metrics=(*kept, *metrics)))


def compare_models(
    console: Console,
    models: Sequence[Path],
    manifest: Path,
    split: str,
    data: str,
    out: Path | None,
    predictions: Path | None = None,
    device: Device = Device.AUTO,
    batch_size: int = 1,
) -> None:
    """Measure models on the same split, print the tables, and write page, tables and plots into a folder if named."""
    comparison = _measured(models, manifest, split, data, out, predictions, device, batch_size)
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
    _said(console, out)


def _measured(
    models: Sequence[Path],
    manifest: Path,
    split: str,
    data: str,
    out: Path | None,
    predictions: Path | None,
    device: Device,
    batch_size: int,
) -> Comparison:
    if out is not None:
        check_output_folder(out)
    with progress_bar() as progress:
        comparison = compare(
            models,
            manifest,
            split,
            data=data,
            progress=progress,
            predictions=predictions,
            inference=Inference(device, batch_size),
        )
    if out is not None:
        with whole_or_nothing(out) as folder:
            comparisonpage.write(comparison, folder)
    return comparison


def _narrow(cell: str) -> str:
    """A figure with its interval below it, in two digits, so that the table fits on a terminal."""
    found = re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", cell)
    return f"{found[1]}\n{float(found[2]):.2f}-{float(found[3]):.2f}" if found else cell


def _said(console: Console, out: Path | None) -> None:
    if out is not None:
        console.print(f"Written to {out}.", markup=False)
