"""The command ``models``."""

from __future__ import annotations

from rich.console import Console


def models() -> None:
    """List the architectures with their parameter counts, and the shipped model."""
    from ..base.errors import ModelFileError
    from ..models.modelfolder import default_model_path
    from ..models.modelheader import read_card
    from ..models.networks import ARCHITECTURES, build, keras_parameter_count
    from .terminal import print_architectures, print_card

    console = Console()
    print_architectures(console, {name: keras_parameter_count(build(name)) for name in ARCHITECTURES})
    try:
        print_card(console, read_card(default_model_path()))
    except ModelFileError as error:
        console.print(str(error), markup=False)
