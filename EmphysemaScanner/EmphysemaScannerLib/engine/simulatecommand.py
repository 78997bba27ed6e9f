"""The command ``simulate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from .simulate import Anatomy, simulate_cohort


def simulate_cases(paths: Sequence[Path], out: Path, split: str, pairs: int, seed: int) -> None:
    """Simulate a cohort from CTs without emphysema."""
    anatomies = [Anatomy.read(path, path.name.split(".")[0], split) for path in paths]
    with Progress(transient=True) as bar:
        task = bar.add_task("Simulating pairs", total=pairs)
        manifest = simulate_cohort(anatomies, out, pairs, seed, lambda done, _: bar.update(task, completed=done))
    print(f"{2 * pairs} cases of {len(anatomies)} anatomies: {manifest}")
