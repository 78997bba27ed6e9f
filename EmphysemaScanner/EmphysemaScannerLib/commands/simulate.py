"""The command ``simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..base.errors import EmphysemaScannerError
from ..simulator.disease import Mix


def simulate(  # noqa: PLR0913  # one parameter per option
    cts: Annotated[list[Path], typer.Argument(help="Chest CTs without emphysema.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the cohort; what is already there is kept.")],
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of cases, one healthy and one diseased.")] = 100,
    split: Annotated[str, typer.Option(help="train, tune or test; written into the manifest.")] = "train",
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 1,
    in_plane: Annotated[
        int, typer.Option(min=0, help="Rows and columns that larger CTs are averaged to; 0: each CT's own.")
    ] = 256,
    twins: Annotated[bool, typer.Option(help="Both cases of a pair differ in the disease alone.")] = False,
    full: Annotated[bool, typer.Option(help="Also write CT and lesions at the simulated resolution.")] = False,
    mix: Annotated[Mix, typer.Option(help="to-destroyed: also lungs destroyed throughout, dark or breathed out.")] = (
        Mix.TO_SEVERE
    ),
    processes: Annotated[int, typer.Option(min=1, help="Pairs simulated at once.")] = 1,
) -> None:
    """Make a cohort of simulated cases from chest CTs without emphysema (files or DICOM folders)."""
    from rich.progress import Progress

    from ..simulator.anatomy import Anatomy
    from ..simulator.simulate import Plan, simulate_cohort

    names = {path: path.resolve().name.split(".")[0] for path in cts}
    for name in names.values():
        if list(names.values()).count(name) > 1:
            raise EmphysemaScannerError(f"Two CTs are called '{name}'; give each patient a name of its own.")
    read = {path: Anatomy.read(path, name, split, in_plane) for path, name in names.items()}
    anatomies = [read[path] for path in cts]  # one that is given twice is used twice as often
    with Progress(transient=True) as bar:
        task = bar.add_task("Simulating pairs", total=pairs)
        manifest = simulate_cohort(
            anatomies,
            out,
            pairs,
            Plan(seed, twins, full, mix),
            processes,
            lambda done, _: bar.update(task, completed=done),
        )
    print(f"{2 * pairs} cases of {len(read)} anatomies: {manifest}")
