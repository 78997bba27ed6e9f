"""The report on a model: its sections measured one after the other, and written after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from ...base.errors import EmphysemaScannerError
from ...base.progress import Progress, silent
from ...cohort.manifest import CohortRow, check_volumes, read_manifest
from ...ct.reading import read_ct
from ...models import modelfile
from ...models.modelfile import Model
from ..compare import labelled_rows
from . import page
from .changes import invariance
from .cuts import cuts
from .real import RealScan, read_list, real
from .section import Section, kept, key_of
from .simulated import simulated
from .where import where

MEASURED = "measured"  # folder, beside the page, of the sections as they were measured


@dataclass(frozen=True)
class Material:
    """What a model is measured on.

    Attributes:
        manifest: simulated cases, as ``simulate`` lists them.
        split: of the manifest.
        scans: CSV of real CTs (volume, name, kernel, what_is_known).
        full: manifest of cases that ``simulate --full`` made: their CTs are those that are changed.
        predictions: CSV of ``predict`` with all the models' answers on ``manifest``.
    """

    manifest: Path
    split: str = "test"
    scans: Path | None = None
    full: Path | None = None
    predictions: Path | None = None


@dataclass(frozen=True)
class Amount:
    """How much is measured.

    Attributes:
        where_cases: diseased simulated cases on which overlays are measured, and half as many healthy ones.
        changed_cases: simulated CTs that are changed.
        cases_each: simulated cases with and without disease; None for all.
    """

    where_cases: int = 6
    changed_cases: int = 6
    cases_each: int | None = None


QUICK = Amount(where_cases=1, changed_cases=1, cases_each=5)  # to see whether all works


def write_report(
    models: Sequence[Path],
    material: Material,
    out: Path,
    amount: Amount = Amount(),
    seed: int = 1,
    progress: Progress = silent,
) -> Path:
    """Measure a model and write its report; sections that were measured before with the same input are kept.

    Args:
        models: the model's file, and those of models to compare it with.
        material: what it is measured on.
        out: folder for the page, its tables and plots; ``measured/`` in it keeps each section.
        amount: how much is measured.
        seed: of the cases that are drawn, of noise and of random maps.
        progress: told the share done of each section; what it raises ends the work.

    Returns:
        The page's path.

    Raises:
        EmphysemaScannerError: (a kind of) a file cannot be read, or there are no cases with lesion maps.
    """
    loaded = [modelfile.load(path) for path in models]
    sections: list[Section] = []
    for name, key, measure in _measurements(models, loaded, material, amount, seed):
        sections.append(kept(out / MEASURED / f"{name}.json", key, partial(measure, progress)))
        page.write(out, [model.card for model in loaded], sections)  # what there is, if the rest is stopped
    return out / page.PAGE


def _measurements(
    paths: Sequence[Path], models: Sequence[Model], material: Material, amount: Amount, seed: int
) -> Iterator[tuple[str, str, Callable[[Progress], Section]]]:
    """Each section's name, what it depends on, and how it is measured."""
    manifest, split, scans = material.manifest, material.split, material.scans
    quick = amount.cases_each is not None
    rows = _cases(material, amount)
    listed = read_list(scans) if scans else []
    diseased = [row for row in rows if row.label and row.lesions]
    if not diseased:
        raise EmphysemaScannerError(f"{manifest.name} has no cases with lesion maps; name a manifest of simulate.")
    key = key_of([*paths, manifest, material.predictions], split, quick)
    yield "simulated", key, partial(simulated, models, rows, manifest, material.predictions)
    yield "cuts", key_of([*paths, manifest], split, quick), partial(cuts, models, rows)
    if listed:
        key = key_of([*paths, scans], [one.volume.exists() for one in listed])
        yield "real", key, partial(real, models, listed)
    cases = spread(diseased, amount.where_cases)
    healthy = spread([row for row in rows if not row.label], max(1, amount.where_cases // 2))
    key = key_of([paths[0], manifest], split, seed, len(cases), len(healthy), quick)
    yield "where", key, partial(where, models[0], cases, healthy, seed)
    if changed := [*_simulated_cts(material.full, amount.changed_cases), *_real_cts(listed)]:
        key = key_of([paths[0], material.full, scans], seed, [name for _, name, _ in changed])
        yield "invariance", key, partial(invariance, models[0], changed, seed)


def _cases(material: Material, amount: Amount) -> list[CohortRow]:
    rows = labelled_rows(material.manifest, material.split)
    if amount.cases_each is not None:
        rows = [row for label in (0, 1) for row in [row for row in rows if row.label == label][: amount.cases_each]]
    check_volumes(rows)
    return rows


def spread(rows: Sequence[CohortRow], count: int) -> list[CohortRow]:
    """So many rows, evenly over the extents of disease."""
    ordered = sorted(rows, key=lambda row: float(row.extra.get("extent_percent") or 0))
    count = min(count, len(ordered))
    return [ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count)]


Read = Callable[[], sitk.Image]


def _image(path: Path) -> sitk.Image:
    return read_ct(path).image


def _simulated_cts(manifest: Path | None, count: int) -> list[tuple[str, str, Read]]:
    if manifest is None:
        return []
    rows = [row for row in read_manifest(manifest) if _ct(row).exists()][:count]
    if not rows:
        raise EmphysemaScannerError(
            f"{manifest.name} has no CTs at their own resolution; make it with simulate --full."
        )
    return [("simulated", row.volume.stem, partial(_image, _ct(row))) for row in rows]


def _ct(row: CohortRow) -> Path:
    return row.volume.with_name(f"{row.volume.stem}-ct.nrrd")


def _real_cts(listed: Sequence[RealScan]) -> list[tuple[str, str, Read]]:
    return [("real", one.name, partial(_image, one.volume)) for one in listed if one.volume.exists()]
