"""The commands about models: ``models`` and ``card``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ..base.errors import ModelFileError
from ..models.modelfolder import default_model_path
from ..models.modelheader import read_card
from ..models.networks import ARCHITECTURES, build, keras_parameter_count
from .terminal import print_architectures, print_card


def list_models(console: Console) -> None:
    """Every architecture, built at its published size and counted, and the shipped model's card."""
    print_architectures(console, {name: keras_parameter_count(build(name)) for name in ARCHITECTURES})
    try:
        print_card(console, read_card(default_model_path()))
    except ModelFileError as error:
        console.print(str(error), markup=False)


def show_card(console: Console, file: Path | None) -> None:
    """The card of a model file, or of the shipped model."""
    print_card(console, read_card(file or default_model_path()))
