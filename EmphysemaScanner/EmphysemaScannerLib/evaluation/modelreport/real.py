"""Real CTs: what the model says of each, beside densitometry and what is known of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...base.errors import EmphysemaScannerError, reason
from ...base.progress import Progress, silent
from ...ct.grid import canonical
from ...ct.reading import read_ct
from ...lungs.densitometry import measure_lungs
from ...models.modelfile import Model
from ...scan.scan import scan
from ..comparisontables import NONE
from .section import Section, Table

SMOOTHING_MM = 1.0


class RealScansError(EmphysemaScannerError):
    """The list of real CTs cannot be used."""


@dataclass(frozen=True)
class RealScan:
    """One line of the list: where the CT is, what it is called, and what is known of it."""

    volume: Path
    name: str
    kernel: str
    known: str


def read_list(path: Path) -> list[RealScan]:
    """The CTs of a CSV with the columns volume, name, kernel and what_is_known; paths count from its folder.

    Raises:
        RealScansError: it cannot be read, or has no column volume.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RealScansError(f"The list of CTs '{path.name}' cannot be read ({reason(error)}).") from error
    if not lines or "volume" not in lines[0]:
        raise RealScansError(f"'{path.name}' needs the columns volume, name and what_is_known, and a line for each CT.")
    return [
        RealScan(
            path.parent / (line["volume"] or ""),
            line.get("name") or Path(line["volume"] or "").name,
            line.get("kernel") or NONE,
            line.get("what_is_known") or NONE,
        )
        for line in lines
    ]


def real(models: Sequence[Model], listed: Sequence[RealScan], progress: Progress = silent) -> Section:
    """A line for each CT, as it comes out; one that is missing or refused gets a line that says so."""
    model, *others = models
    columns = ["CT", "known", "kernel", "probability", "call", "LAA%-950", "LAA%-950 smoothed", "Perc15 HU"]
    columns += [f"probability of {other.card.name}" for other in others]
    rows, warned, missing = [], [], 0
    for number, one in enumerate(listed):
        progress(number / len(listed), one.name)
        start = [one.name, one.known, one.kernel]
        if not one.volume.exists():
            missing += 1
            rows.append([*start, "missing", *[NONE] * (len(columns) - 4)])
            continue
        try:
            ct = read_ct(one.volume)
            image = ct.image
            result = scan(image, model, provenance=ct.provenance)
            smoothed = smoothed_laa(image, result.lung_mask.values)
            beside = [f"{scan(image, other).probability:.3f}" for other in others]
        except EmphysemaScannerError as error:
            rows.append([*start, f"refused: {error}", *[NONE] * (len(columns) - 4)])
            continue
        whole = result.densitometry["whole"]
        figures = [f"{whole.laa_950_percent:.2f}", f"{smoothed:.2f}", f"{whole.perc15_hu:.0f}"]
        rows.append([*start, f"{result.probability:.3f}", result.call.value, *figures, *beside])
        warned += [[one.name, warning] for warning in result.warnings]
    point = model.card.operating_point.probability
    said = [
        f"{len(listed)} real CTs{f', {missing} of them not at hand' if missing else ''}. Positive is a probability of "
        f"{point:.3f} and above. Smoothed: LAA%-950 after a Gaussian of {SMOOTHING_MM:g} mm standard deviation in the "
        "three directions, weighted by the lung mask so that chest wall and airways do not blur in; it suppresses the "
        "noise of sharp kernels, and small holes with it. A handful of CTs is an illustration and no validation.",
    ]
    tables = [Table("real", "Real CTs", columns, rows)]
    if warned:
        tables.append(Table("real-warnings", "What the scan warned of", ("CT", "warning"), warned))
    return Section("Real CTs", said, tables)


def smoothed_laa(image: sitk.Image, labels: np.ndarray, sigma_mm: float = SMOOTHING_MM) -> float:
    """LAA%-950 of a CT whose noise was smoothed within the lungs.

    Args:
        image: in HU, any orientation.
        labels: its lungs on the canonical image's voxels.
        sigma_mm: standard deviation of the Gaussian.
    """
    oriented = canonical(image)
    hu = sitk.Cast(oriented, sitk.sitkFloat32)
    lung = sitk.GetImageFromArray((labels > 0).astype(np.float32))
    lung.CopyInformation(hu)
    above = sitk.SmoothingRecursiveGaussian((hu + 1024.0) * lung, sigma_mm)
    weight = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(lung, sigma_mm))
    smooth = sitk.GetArrayFromImage(above) / np.maximum(weight, 1e-3) - 1024
    spacing = oriented.GetSpacing()[::-1]
    measured = measure_lungs(np.rint(smooth).clip(-1100, 3000).astype(np.int16), labels, spacing)
    return measured.regions["whole"].laa_950_percent
