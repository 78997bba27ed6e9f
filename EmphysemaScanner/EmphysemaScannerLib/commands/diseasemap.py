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
    """Add to a trained Conv-LSTM what shows where disease is: class weights, and where lesions are known, a map."""
    import dataclasses

    from ..cohort.manifest import check_volumes, read_manifest
    from ..models import modelfile
    from ..training.classweights import find_class_weights
    from ..training.diseasemap import DiseaseMapError, learn_disease_map

    if out.exists():
        raise DiseaseMapError(f"There is a file '{out}' already; name another one.")
    if out.suffix != ".safetensors":
        raise DiseaseMapError(f"A model file's name ends in .safetensors; '{out.name}' does not.")
    loaded, rows = modelfile.load(model), [row for manifest in manifests for row in read_manifest(manifest)]
    check_volumes(rows)
    card, said = loaded.card, "No lesion maps: no disease map was learned."
    with progress_bar() as progress:
        if any(row.lesions for row in rows):
            found = learn_disease_map(loaded, rows, data, progress)
            card = dataclasses.replace(card, disease_map=found)
            said = f"Places of at least {100 * found.floor:.0f} % are marked."
        card = dataclasses.replace(card, class_weights=find_class_weights(loaded, rows, progress))
    if card.class_weights is None:
        raise DiseaseMapError(
            "The cohort needs readable cases with and without emphysema in the split train, and the model must be a "
            "Conv-LSTM."
        )
    modelfile.save(out, loaded.network, card)
    print(f"{said}\nWritten to {out}.")
