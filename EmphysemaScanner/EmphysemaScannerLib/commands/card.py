"""The command ``card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def card(
    file: Annotated[
        Path | None, typer.Argument(help="A .safetensors model file; the shipped one if not given.")
    ] = None,
    training: Annotated[
        list[Path] | None,
        typer.Option(help="The cohort that the model learned from: its range is written into the card of FILE."),
    ] = None,
    chai: Annotated[
        Path | None,
        typer.Option(help="File for the card as XML in the schema of the Coalition for Health AI."),
    ] = None,
) -> None:
    """Print a model's card: what it is, what it learned from, how well it did."""
    from ..models.modelfolder import default_model_path
    from ..models.modelheader import read_card, read_metadata
    from .terminal import print_card

    if training:
        from ..training.likenessrange import write_range

        if file is None:
            raise typer.BadParameter("Name the model file that --training is written into.")
        write_range(file, training)
    path = file or default_model_path()
    if chai:
        from ..base.wholefile import write_whole
        from ..models.chaicard import chai_card

        write_whole(chai, chai_card(read_card(path), read_metadata(path)["sha256"]).encode())
    print_card(Console(), read_card(path))
