"""The command ``report-model``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress
from ..cohort.manifest import CohortRow, check_volumes, read_manifest
from ..ct.reading import read_ct
from ..evaluation.compare import find_models, labelled_rows
from ..evaluation.modelreport import page
from ..evaluation.modelreport.changes import invariance
from ..evaluation.modelreport.real import RealScan, read_list, real
from ..evaluation.modelreport.section import Section, kept, key_of
from ..evaluation.modelreport.simulated import simulated
from ..evaluation.modelreport.where import where
from ..models import modelfile
from ..models.modelfolder import default_model_path
from .scancommand import progress_bar

QUICK_CASES = 10


def report_model(
    manifest: Path,
    out: Path,
    model: Path | None = None,
    also: Sequence[Path] = (),
    scans: Path | None = None,
    full: Path | None = None,
    predictions: Path | None = None,
    split: str = "test",
    where_cases: int = 6,
    changed_cases: int = 6,
    seed: int = 1,
    quick: bool = False,
) -> Path:
    """Measure a model and write its report; sections that were measured before with the same input are kept.

    Args:
        manifest: simulated cases, as ``simulate`` lists them.
        out: folder for the page, its tables and plots; ``measured/`` in it keeps each section.
        model: the model's file; None for the shipped one.
        also: models to compare it with.
        scans: CSV of real CTs (volume, name, kernel, what_is_known).
        full: manifest of cases that ``simulate --full`` made: their CTs are those that are changed.
        predictions: CSV of ``predict`` with all these models' answers on ``manifest``.
        split: of the manifest.
        where_cases, changed_cases: how many simulated cases these sections measure.
        seed: of the cases that are drawn, of noise and of random maps.
        quick: few cases everywhere, to see whether all works.

    Returns:
        The page's path.
    """
    paths = [model or default_model_path(), *(find_models(also) if also else ())]
    models = [modelfile.load(path) for path in paths]
    rows = labelled_rows(manifest, split)
    if quick:
        where_cases = changed_cases = 1
        rows = [row for label in (0, 1) for row in [row for row in rows if row.label == label][: QUICK_CASES // 2]]
    check_volumes(rows)
    sick = [row for row in rows if row.label and row.lesions]
    if not sick:
        raise EmphysemaScannerError(f"{manifest.name} has no cases with lesion maps; name a manifest of simulate.")
    listed = read_list(scans) if scans else []
    measured = out / "measured"
    sections: list[Section] = []

    def add(name: str, key: str, measure: Callable[[Progress], Section]) -> None:
        with progress_bar() as progress:
            sections.append(kept(measured / f"{name}.json", key, lambda: measure(progress)))
        page.write(out, models[0].card, sections)  # what there is, if the rest is stopped

    files = [*paths, manifest]
    add(
        "simulated",
        key_of([*files, predictions], split, quick),
        lambda progress: simulated(models, rows, manifest, predictions, progress),
    )
    if listed:
        there = [one.volume.exists() for one in listed]
        add("real", key_of([*paths, scans], there), lambda progress: real(models, listed, progress))
    cases = spread(sick, where_cases)
    add(
        "where",
        key_of([paths[0], manifest], split, seed, len(cases), quick),
        lambda progress: where(models[0], cases, seed, progress),
    )
    changed = [*_simulated_cts(full, changed_cases), *_real_cts(listed)]
    if changed:
        names = [name for _, name, _ in changed]
        add(
            "invariance",
            key_of([paths[0], full, scans], seed, names),
            lambda progress: invariance(models[0], changed, seed, progress),
        )
    return out / page.PAGE


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
