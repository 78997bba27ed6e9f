"""The commands ``cache show | clear | fill``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..models.field import Field
from .options import ManifestsArgument, MarginOption, OutsideOption, ShardOption

app = typer.Typer(
    help="Volumes on the network's grid, kept so that each CT is read once; nothing in them names a patient or a path.",
    no_args_is_help=True,
)


@app.command()
def show() -> None:
    """Say where the cache is and how much is in it."""
    from ..cohort.cache import ENVIRONMENT, VolumeCache

    cache = VolumeCache()
    files, size = cache.size()
    print(f"{cache.folder}\n{files} files, {size / 1e6:.1f} MB. {ENVIRONMENT} names another folder.")


@app.command()
def clear() -> None:
    """Remove all that is in the cache; it is made again when needed."""
    from ..cohort.cache import VolumeCache

    cache = VolumeCache()
    size = cache.size()[1]
    print(f"{cache.clear()} files, {size / 1e6:.1f} MB, were removed from {cache.folder}.")


@app.command()
def fill(
    manifests: ManifestsArgument,
    architecture: Annotated[str, typer.Option(help="Whose input; the same for all that read volumes.")] = "conv_lstm",
    image_size: Annotated[int, typer.Option(min=16, help="Rows and columns of the network's grid.")] = 128,
    slices: Annotated[int, typer.Option(min=1, help="Slices of the network's grid.")] = 35,
    field: Annotated[Field, typer.Option(help="What of a CT is read: all of it, or the lungs' box.")] = Field.WHOLE,
    margin: MarginOption = 0.0,
    outside: OutsideOption = None,
    shard: ShardOption = None,
) -> None:
    """Read all volumes of a cohort into the cache before a training, and say which cannot be read."""
    from ..base.errors import UnreadableInputError
    from ..cohort.cache import VolumeCache
    from ..cohort.manifest import read_manifest
    from ..evaluation.predict import Shard
    from ..models.preprocessing import Preprocessing

    part = Shard.parse(shard) if shard is not None else Shard.of_environment()
    rows = part.of([row for manifest in manifests for row in read_manifest(manifest)])
    shape, cache = (slices, image_size, image_size), VolumeCache()
    grid = Preprocessing(shape=shape, field=field, margin_mm=margin, outside_hu=outside)
    problems = 0
    for k, row in enumerate(rows, 1):
        problem = cache.problem(row, architecture, grid)
        problems += bool(problem)
        if problem or k % 100 == 0 or k == len(rows):
            print(f"{k} of {len(rows)}" + (f", {row.where}: {problem}" if problem else ""), flush=True)
    if problems:
        raise UnreadableInputError(
            f"{problems} of {len(rows)} volumes cannot be read; mend them or take them out of the manifest."
        )
