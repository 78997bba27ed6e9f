"""The command ``evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..scan.device import Device
from .compare import measure_models, print_folder
from .options import (
    BatchSizeOption,
    DataOption,
    DeviceOption,
    ManifestArgument,
    ModelArgument,
    PageOption,
    PredictionsOption,
    SplitOption,
)

if TYPE_CHECKING:
    from ..evaluation.compare import ModelFigures
    from ..models.modelcard import Metric

DENSITOMETRY = (("LAA%-950", "laa_950_percent", 1.0), ("Perc15", "perc15_hu", -1.0))


def evaluate(  # noqa: PLR0913  # one parameter per option
    model: ModelArgument,
    manifest: ManifestArgument,
    data: DataOption,
    split: SplitOption = "test",
    record: Annotated[bool, typer.Option(help="Write the figures into the model's card.")] = False,
    out: PageOption = None,
    predictions: PredictionsOption = None,
    device: DeviceOption = Device.AUTO,
    batch_size: BatchSizeOption = 1,
) -> None:
    """Measure a model on labelled volumes: AUC, sensitivity, F1, Brier score and others with 95 % intervals."""
    import math

    from ..evaluation.compare import labelled_rows
    from ..evaluation.comparisontables import interval
    from ..evaluation.evaluation import Inference, column

    comparison = measure_models([model], manifest, split, data, out, predictions, Inference(device, batch_size))
    (measured,) = comparison.models
    rows = labelled_rows(manifest, split)
    metrics = [metric for metric in vars(measured.figures).values() if math.isfinite(metric.low)]
    metrics += [  # beside the model, where the manifest has it
        column(rows, name, sign).auc(f"AUC of {label} on the same", data)
        for label, name, sign in DENSITOMETRY
        if all(row.extra.get(name) for row in rows)
    ]
    table = Table(
        "measure", "value (95 % interval)", title=escape(f"{measured.card.name} on {len(rows)} volumes: {data}")
    )
    for metric in metrics:
        table.add_row(metric.name, interval(metric))
    console = Console()
    console.print(table)
    print_folder(console, out)
    if record:
        _record(measured, metrics, data)


def _record(measured: ModelFigures, metrics: list[Metric], data: str) -> None:
    import dataclasses

    from ..models import modelfile

    model = modelfile.load(measured.path)
    others = tuple(metric for metric in model.card.metrics if metric.data != data)
    modelfile.save(measured.path, model.network, dataclasses.replace(model.card, metrics=(*others, *metrics)))
