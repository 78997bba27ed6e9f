"""A cohort of simulated cases from real CTs, in pairs: the same deformed anatomy, once healthy, once with emphysema."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..base.errors import EmphysemaScannerError
from ..base.wholefile import write_whole
from ..ct.grid import Grid, area_average
from ..lungs.densitometry import measure
from ..models.preprocessing import Preprocessing
from .anatomy import Anatomy
from .case import Case, Recipe, in_body, simulate_case
from .disease import Mix
from .lungspace import REGIONS

COLUMNS = (
    "volume", "label", "patient", "anatomy", "split", "kernel", "lesions", "subtype", "extent_percent",
    *(f"extent_{region}_percent" for region in REGIONS), "asked_percent", "negatives",
    "laa_950_percent", "perc15_hu", "mean_hu", "noise_hu", "slice_mm", "contrast_hu", "parenchyma_hu", "seed",
)  # fmt: skip


FULL_MANIFEST = "manifest-full.csv"


@dataclass(frozen=True)
class Plan:
    """How a cohort is simulated.

    Attributes:
        seed: the same seed gives the same cohort, bit by bit, however many processes make it.
        twins: both cases of a pair come from one scan with the same findings, so that they differ in the disease alone;
            otherwise findings and acquisition are drawn anew for each, and density alone does not tell them apart.
        full: also write CT and lesion mask at the simulated resolution.
        mix: which diseases and breaths there are.
    """

    seed: int = 1
    twins: bool = False
    full: bool = False
    mix: Mix = Mix.TO_SEVERE

    @property
    def tag(self) -> str:
        """What tells its cases from another plan's, in the manifest's column ``seed``."""
        return str(self.seed) if self.mix is Mix.TO_SEVERE else f"{self.seed}-{self.mix.value}"


def simulate_cohort(
    anatomies: Sequence[Anatomy],
    out: Path,
    pairs: int,
    plan: Plan,
    processes: int = 1,
    on_pair: Callable[[int, int], None] = lambda done, pairs: None,
) -> Path:
    """Simulate pairs of cases, each healthy and diseased, and write them on the network's grid with a manifest.

    Runs again where it stopped: a pair depends on the plan and its number alone, and those in the manifest are kept.

    Args:
        anatomies: chests without emphysema, taken in turn.
        out: folder; gets ``manifest.csv`` and ``volumes/``.
        pairs: number of pairs.
        plan: how.
        processes: how many pairs are made at once.
        on_pair: told (pairs done, pairs) after each.

    Returns:
        The manifest's path. With ``plan.full`` there is also ``manifest-full.csv``, whose volumes and lesion maps are
        those at the simulated resolution: what a model of the lungs' field learns from.
    """
    out = Path(out)
    (out / "volumes").mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.csv"
    rows = _done(manifest, plan)
    first = len(rows) // 2
    for number, made in enumerate(_pairs(anatomies, out, range(first, pairs), plan, processes), first + 1):
        rows += made
        _write_rows(manifest, rows)
        if plan.full:
            _write_rows(out / FULL_MANIFEST, [_full(row) for row in rows])
        on_pair(number, pairs)
    return manifest


def _write_rows(path: Path, rows: Sequence[dict[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def _full(row: dict[str, object]) -> dict[str, object]:
    """A row whose files are those at the simulated resolution."""
    name = str(row["volume"]).removesuffix(".nrrd")
    return {**row, "volume": f"{name}-ct.nrrd", "lesions": f"{name}-ct-lesions.nrrd"}


def _done(manifest: Path, plan: Plan) -> list[dict[str, object]]:
    """The rows that are there already."""
    if not manifest.exists():
        return []
    with manifest.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows: list[dict[str, object]] = list(reader)
    seeds = {str(row.get("seed")).split("/")[0] for row in rows}
    if tuple(reader.fieldnames or ()) != COLUMNS or seeds - {plan.tag}:
        raise EmphysemaScannerError(f"'{manifest}' is another cohort than the one asked for; choose another folder.")
    return rows


def _pairs(
    anatomies: Sequence[Anatomy], out: Path, numbers: range, plan: Plan, processes: int
) -> Iterator[list[dict[str, object]]]:
    """The rows of each pair, in order."""
    if processes == 1:
        for pair in numbers:
            yield _simulate_pair(anatomies[pair % len(anatomies)], out, plan, pair)
        return
    spawned = multiprocessing.get_context("spawn")  # PyTorch's threads do not survive a fork
    with ProcessPoolExecutor(processes, spawned, _start, (tuple(anatomies), out, plan)) as pool:
        yield from pool.map(_in_process, numbers)


_work: tuple[Sequence[Anatomy], Path, Plan]  # of a process of the pool


def _start(anatomies: Sequence[Anatomy], out: Path, plan: Plan) -> None:
    global _work
    import torch

    torch.set_num_threads(1)
    _work = anatomies, out, plan


def _in_process(pair: int) -> list[dict[str, object]]:
    anatomies, out, plan = _work
    return _simulate_pair(anatomies[pair % len(anatomies)], out, plan, pair)


def _simulate_pair(anatomy: Anatomy, out: Path, plan: Plan, pair: int) -> list[dict[str, object]]:
    body = None
    rows = []
    for label in (0, 1):
        recipe = Recipe.draw((plan.seed, pair), bool(label), None if plan.twins else label, plan.mix)
        body = body or in_body(anatomy, recipe)
        case = simulate_case(anatomy, recipe, body)
        name = f"{pair:05d}-{label}"
        _write_case(case, out / "volumes", name, plan.full)
        written = {"anatomy": anatomy.name, **asdict(recipe), "reached": case.region_percent}
        (out / "volumes" / f"{name}.json").write_text(json.dumps(written, indent=1, default=_plain) + "\n")
        rows.append(_row(anatomy, recipe, case, name, label, plan))
    return rows


def _row(anatomy: Anatomy, recipe: Recipe, case: Case, name: str, label: int, plan: Plan) -> dict[str, object]:
    measured = measure(np.rint(case.hu[case.labels > 0]).astype(np.int16), float(np.prod(case.grid.spacing_mm)))
    acquisition, disease = recipe.acquisition, recipe.disease
    return {
        "volume": f"volumes/{name}.nrrd",
        "label": label,
        "patient": f"{anatomy.name} {recipe.seed[0]}/{recipe.seed[1]}",  # bent anew, each pair is somebody else
        "anatomy": anatomy.name,
        "split": anatomy.split,
        "kernel": acquisition.kernel_name,
        "lesions": f"volumes/{name}-lesions.nrrd",
        "subtype": disease.subtype.value if disease else "",
        "extent_percent": round(case.extent_percent, 3),
        **{f"extent_{region}_percent": round(case.region_percent[region], 3) for region in REGIONS},
        "asked_percent": disease.extent_percent if disease else 0,
        "negatives": "; ".join(negative.value for negative in recipe.negatives),
        "laa_950_percent": round(measured.laa_950_percent, 3),
        "perc15_hu": round(measured.perc15_hu, 1),
        "mean_hu": round(measured.mean_hu, 1),
        "noise_hu": round(acquisition.noise_hu, 1),
        "slice_mm": round(case.grid.spacing_mm[0], 2),
        "contrast_hu": round(acquisition.contrast_hu),
        "parenchyma_hu": round(acquisition.parenchyma_hu),
        "seed": "/".join([plan.tag, *(str(number) for number in recipe.seed[1:])]),
    }


def _write_case(case: Case, folder: Path, name: str, full: bool) -> None:
    preprocessing = Preprocessing()
    grid: Grid = case.grid.resized(preprocessing.shape)
    _write(grid.to_image(np.rint(preprocessing.average(case.hu)).astype(np.int16)), folder / f"{name}.nrrd")
    share = np.rint(255 * area_average(case.lesions, preprocessing.shape)).astype(np.uint8)
    _write(grid.to_image(share), folder / f"{name}-lesions.nrrd")
    if full:
        _write(case.grid.to_image(np.rint(case.hu).astype(np.int16)), folder / f"{name}-ct.nrrd")
        _write(case.grid.to_image(255 * case.lesions.astype(np.uint8)), folder / f"{name}-ct-lesions.nrrd")


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} is no JSON")


def _write(image: sitk.Image, path: Path) -> None:
    partial = path.with_name(f"part-{path.name}")  # the writer goes by the ending
    sitk.WriteImage(image, str(partial), useCompression=True)
    os.replace(partial, path)
