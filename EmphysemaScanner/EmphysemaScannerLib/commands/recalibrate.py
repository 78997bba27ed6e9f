"""The command ``recalibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ModelArgument
from .progress import progress_bar


def recalibrate(
    model: ModelArgument,
    cases: Annotated[Path, typer.Argument(help="CSV of own cases: volume, label, patient.", show_default=False)],
    data: Annotated[str, typer.Option(help="What the cases are, in words; goes into the new card.")],
    out: Annotated[Path, typer.Option(help="The new model file (.safetensors).")],
) -> None:
    """Give a model the temperature and the operating point of a hospital's own labelled cases, with intervals."""
    from ..cohort.manifest import check_volumes, read_manifest
    from ..evaluation.evaluation import predictions_of
    from ..evaluation.recalibration import RecalibrationError, raw_logits, recalibrated, recalibration
    from ..models import modelfile

    if out.exists():
        raise RecalibrationError(f"There is a file '{out}' already; name another one.")
    if out.suffix != ".safetensors":
        raise RecalibrationError(f"A model file's name ends in .safetensors; '{out.name}' does not.")
    loaded, rows = modelfile.load(model), read_manifest(cases)
    check_volumes(rows)
    with progress_bar() as progress:
        logits = raw_logits(loaded, rows, progress)
    found = recalibration(logits, predictions_of(rows, logits))
    modelfile.save(out, loaded.network, recalibrated(loaded.card, found, data))
    for name, value in found.estimates():
        print(f"{name}: {value}")
    print(f"Written to {out}.")
