"""The command ``disease-map``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ManifestsArgument, ModelArgument
from .progress import progress_bar


def disease_map(
    model: ModelArgument,
    manifests: ManifestsArgument,
    data: Annotated[str, typer.Option(help="What the cases are, in one sentence; goes into the new card.")],
    out: Annotated[Path, typer.Option(help="The new model file (.safetensors).")],
) -> None:
    """Learn from lesion maps how to show where disease is, from the hidden states of a trained Conv-LSTM."""
    import dataclasses

    from ..cohort.manifest import check_volumes, read_manifest
    from ..models import modelfile
    from ..training.diseasemap import DiseaseMapError, learn_disease_map

    if out.exists():
        raise DiseaseMapError(f"There is a file '{out}' already; name another one.")
    if out.suffix != ".safetensors":
        raise DiseaseMapError(f"A model file's name ends in .safetensors; '{out.name}' does not.")
    loaded, rows = modelfile.load(model), [row for manifest in manifests for row in read_manifest(manifest)]
    check_volumes(rows)
    with progress_bar() as progress:
        found = learn_disease_map(loaded, rows, data, progress)
    modelfile.save(out, loaded.network, dataclasses.replace(loaded.card, disease_map=found))
    print(f"Places of at least {100 * found.floor:.0f} % are marked.\nWritten to {out}.")
