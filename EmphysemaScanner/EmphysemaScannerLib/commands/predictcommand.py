"""The command ``predict``: a cohort in, a CSV with every model's answers out, shared among processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ..base.progress import silent
from ..evaluation.compare import find_models
from ..evaluation.evaluation import Inference
from ..evaluation.predict import Shard, merge, predict_cohort
from ..scan.device import Device
from .scancommand import progress_bar


def predict_models(
    models: Sequence[Path],
    manifest: Path,
    out: Path,
    split: str,
    shard: str | None,
    device: Device,
    batch_size: int,
) -> None:
    """Predict a cohort, or this process's shard of it, and print a sentence on what came out.

    Raises:
        EmphysemaScannerError: (a kind of) what the user can mend.
    """
    part = Shard.of_environment() if shard is None else Shard.parse(shard)
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID"))
    if local is not None and torch.cuda.is_available():
        torch.cuda.set_device(int(local) % torch.cuda.device_count())
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


def merge_predictions(manifest: Path, out: Path, split: str) -> None:
    """Put the shards' files together."""
    print(f"{merge(manifest, out, split)} rows: '{out}'.")
