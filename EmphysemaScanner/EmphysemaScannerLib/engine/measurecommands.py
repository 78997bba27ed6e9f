"""The commands that measure models on labelled volumes: ``evaluate`` and ``compare``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from ..core import modelfile
from ..core.manifest import ManifestError, read_manifest
from ..core.modelcard import Metric
from .compare import compare
from .evaluation import Predictions, column, predict
from .outputfolder import check_output_folder, whole_or_nothing
from .scancommand import progress_bar


def evaluate_model(console: Console, file: Path, manifest: Path, split: str, data: str, record: bool) -> None:
    """Measure a model on a split, beside densitometry where the manifest has it; ``record`` adds it to the card."""
    model = modelfile.load(file)
    rows = [row for row in read_manifest(manifest) if row.split == split]
    if len({row.label for row in rows}) < 2:
        raise ManifestError(f"The split '{split}' of {manifest.name} needs volumes of both labels.")
    answers = predict(model, rows)
    metrics: list[Metric] = [answers.auc("AUC", data), *answers.at(model.card.operating_point.probability, data)]
    scored: list[tuple[str, Predictions]] = [
        (label, column(rows, name, sign))
        for label, name, sign in (("LAA%-950", "laa_950_percent", 1.0), ("Perc15", "perc15_hu", -1.0))
        if all(name in row.extra for row in rows)
    ]
    metrics += [scores.auc(f"AUC of {label} on the same", data) for label, scores in scored]
    table = Table("measure", "value", "95 % interval", title=f"{model.card.name} on {len(rows)} volumes: {data}")
    for metric in metrics:
        table.add_row(metric.name, f"{metric.value:.3f}", f"{metric.low:.3f} to {metric.high:.3f}")
    console.print(table)
    if record:
        kept = tuple(m for m in model.card.metrics if m.data != data)
        modelfile.save(file, model.network, dataclasses.replace(model.card, metrics=(*kept, *metrics)))


def compare_models(
    console: Console, models: Sequence[Path], manifest: Path, split: str, data: str, out: Path | None
) -> None:
    """Measure models on the same split, print the tables, and write them into a folder if one is named."""
    if out is not None:
        check_output_folder(out)
    with progress_bar() as progress:
        comparison = compare(models, manifest, split, data=data, progress=progress)
    console.print(Markdown(comparison.to_markdown()))
    if out is not None:
        with whole_or_nothing(out) as folder:
            comparison.write(folder)
        console.print(f"Written to {out}.", markup=False)
