"""The command ``simulate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from ..base.errors import EmphysemaScannerError
from ..simulator.anatomy import Anatomy
from ..simulator.simulate import Plan, simulate_cohort


def simulate_cases(
    paths: Sequence[Path],
    out: Path,
    split: str,
    pairs: int,
    plan: Plan,
    in_plane: int = 256,
    processes: int = 1,
) -> None:
    """Simulate a cohort from CTs without emphysema.

    Args:
        paths: image files, DICOM folders or DICOM files; one that is given twice is used twice as often.
        out, pairs, plan, processes: as for ``simulate_cohort``.
        split: "train", "tune" or "test".
        in_plane: rows and columns at which cases are simulated; 0 for each CT's own.
    """
    names = {path: path.resolve().name.split(".")[0] for path in paths}
    for name in names.values():
        if list(names.values()).count(name) > 1:
            raise EmphysemaScannerError(f"Two CTs are called '{name}'; give each patient a name of its own.")
    read = {path: Anatomy.read(path, name, split, in_plane) for path, name in names.items()}
    anatomies = [read[path] for path in paths]
    with Progress(transient=True) as bar:
        task = bar.add_task("Simulating pairs", total=pairs)
        manifest = simulate_cohort(
            anatomies, out, pairs, plan, processes, lambda done, _: bar.update(task, completed=done)
        )
    print(f"{2 * pairs} cases of {len(read)} anatomies: {manifest}")
