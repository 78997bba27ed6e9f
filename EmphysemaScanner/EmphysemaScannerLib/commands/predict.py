"""The command ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..scan.device import Device
from .options import (
    BatchSizeOption,
    ClusterOption,
    DevicesOption,
    ManifestArgument,
    ModelsArgument,
    ProcessesOption,
    number_of,
)
from .progress import progress_bar


def predict(
    models: ModelsArgument,
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option(help="CSV for the answers; one that was begun is continued.")],
    split: Annotated[str, typer.Option(help="train, tune or test; all volumes if not given.")] = "",
    device: DevicesOption = Device.AUTO,
    batch_size: BatchSizeOption = 1,
    processes: ProcessesOption = None,
    cluster: ClusterOption = "",
) -> None:
    """Write the models' answers on a cohort into one CSV, a row a volume and model."""
    from ..evaluation.compare import find_models
    from ..evaluation.evaluation import Inference
    from ..evaluation.predict import predict_cohort

    number, chosen = number_of(processes, cluster), find_models(models)
    with progress_bar() as bar:
        summary = predict_cohort(
            chosen,
            manifest,
            out,
            split,
            inference=Inference(device, batch_size),
            processes=number,
            cluster=cluster,
            progress=bar,
        )
    print(summary, flush=True)
