"""The command ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..base.progress import silent
from ..scan.device import Device, take_own_gpu
from .options import BatchSizeOption, DevicesOption, ManifestArgument, ModelsArgument, ShardOption
from .progress import progress_bar


def predict(
    models: ModelsArgument,
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option(help="CSV for the answers; one that was begun is continued.")],
    split: Annotated[str, typer.Option(help="train, tune or test; all volumes if not given.")] = "",
    shard: ShardOption = None,
    merge: Annotated[bool, typer.Option("--merge", help="Put the finished shards together; asks no model.")] = False,
    device: DevicesOption = Device.AUTO,
    batch_size: BatchSizeOption = 1,
) -> None:
    """Write the models' answers on a cohort into one CSV, a row a volume and model; several processes may share it."""
    from ..evaluation.compare import find_models
    from ..evaluation.evaluation import Inference
    from ..evaluation.predict import Shard, predict_cohort
    from ..evaluation.predict import merge as merge_shards

    if merge:
        print(f"{merge_shards(manifest, out, split)} rows: '{out}'.")
        return
    part = Shard.of_environment() if shard is None else Shard.parse(shard)
    take_own_gpu()
    with progress_bar() as bar:
        summary = predict_cohort(
            find_models(models),
            manifest,
            out,
            split,
            part,
            inference=Inference(device, batch_size),
            # Several bars would draw over one another.
            progress=bar if part.number == 1 else silent,
        )
    print(summary, flush=True)
