"""The command ``report-model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ModelOption, PredictionsOption, SplitOption
from .progress import progress_bar


def report_model(  # noqa: PLR0913  # one parameter per option
    manifest: Annotated[
        Path, typer.Argument(help="CSV of simulated cases, as simulate writes it.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for page, tables and plots; what was measured there is kept.")],
    model: ModelOption = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="Models to compare it with, or a folder with trainings.")
    ] = None,
    scans: Annotated[Path | None, typer.Option(help="CSV of real CTs: volume, name, kernel, what_is_known.")] = None,
    full: Annotated[
        Path | None, typer.Option(help="Manifest of simulate --full; these CTs are changed to see what it does.")
    ] = None,
    predictions: PredictionsOption = None,
    split: SplitOption = "test",
    where_cases: Annotated[
        int, typer.Option(min=1, help="Diseased cases on which overlays are measured; half as many healthy.")
    ] = 6,
    changed_cases: Annotated[int, typer.Option(min=1, help="Cases of --full that are changed.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of noise, random maps and ties.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Few cases everywhere.")] = False,
) -> None:
    """Write a report on a model: simulated and real CTs, what changes its answer, which overlay finds disease."""
    from ..evaluation.compare import find_models
    from ..evaluation.modelreport.report import QUICK, Amount, Material, write_report
    from ..models.modelfolder import default_model_path

    models = [model or default_model_path(), *(find_models(also) if also else ())]
    amount = QUICK if quick else Amount(where_cases, changed_cases)
    with progress_bar() as progress:
        print(write_report(models, Material(manifest, split, scans, full, predictions), out, amount, seed, progress))
