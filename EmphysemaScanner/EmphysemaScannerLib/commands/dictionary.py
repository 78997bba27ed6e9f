"""The command ``dictionary``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..lungs.scope import Scope
from .options import MeasureOption


def dictionary(
    out: Annotated[Path, typer.Option(help="CSV for the data dictionary, in REDCap's format.")],
    measure: MeasureOption = Scope.HISTOGRAM,
) -> None:
    """Write a data dictionary of the table that batch writes, for import into REDCap."""
    from ..base.wholefile import write_whole
    from ..batch.columns import redcap_dictionary

    write_whole(out, redcap_dictionary(measure).encode())
    print(f"Data dictionary: '{out}'.")
