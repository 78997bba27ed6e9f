"""How much the answer changes when the CT changes and the patient does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ...base.errors import EmphysemaScannerError
from ...base.progress import Progress, silent
from ...ct.grid import Grid, area_average, canonical
from ...models.modelfile import Model
from ...scan.scan import scan
from ..comparisontables import NONE, escaped
from .section import Section, Table

Change = Callable[[sitk.Image], sitk.Image]
NOISES_HU, SLICES_MM, SHIFT_MM, CROP_MM, KERNEL_MM, SHARPENING = (20.0, 50.0), (1.0, 2.0, 5.0, 8.0), 5.0, 20.0, 1.0, 1.0
AIR_HU = -1000


def changes(seed: int = 1) -> dict[str, Change]:
    """What a canonical CT is put through, by name."""
    return {
        "flipped left-right": flipped,
        f"shifted {SHIFT_MM:g} mm to the left": lambda image: shifted(image, 2),
        f"shifted {SHIFT_MM:g} mm backwards": lambda image: shifted(image, 1),
        f"field of view cropped by {CROP_MM:g} mm on four sides": cropped,
        **{f"noise of {sd:g} HU": lambda image, sd=sd: noisy(image, sd, seed) for sd in NOISES_HU},  # type: ignore[misc]
        **{f"slices {mm:g} mm apart": lambda image, mm=mm: resliced(image, mm) for mm in SLICES_MM},  # type: ignore[misc]
        "smoother kernel": lambda image: rekernelled(image, -1.0),
        "sharper kernel": lambda image: rekernelled(image, SHARPENING),
    }


def flipped(image: sitk.Image) -> sitk.Image:
    """Mirrored left to right in the same place."""
    return _with(image, sitk.GetArrayFromImage(image)[:, :, ::-1])


def shifted(image: sitk.Image, axis: int) -> sitk.Image:
    """Moved within its field of view by ``SHIFT_MM``, to the nearest voxel; air comes in at the edge."""
    array = sitk.GetArrayFromImage(image)
    by = max(1, round(SHIFT_MM / image.GetSpacing()[2 - axis]))
    moved = np.full_like(array, AIR_HU)
    to, source = [slice(None)] * 3, [slice(None)] * 3
    to[axis], source[axis] = slice(by, None), slice(None, -by)
    moved[tuple(to)] = array[tuple(source)]
    return _with(image, moved)


def cropped(image: sitk.Image) -> sitk.Image:
    """Less field of view, by ``CROP_MM`` at each of the four sides."""
    columns, rows, slices = image.GetSize()
    x, y = (max(1, round(CROP_MM / spacing)) for spacing in image.GetSpacing()[:2])
    return sitk.RegionOfInterest(image, (columns - 2 * x, rows - 2 * y, slices), (x, y, 0))


def noisy(image: sitk.Image, sd_hu: float, seed: int) -> sitk.Image:
    """With white Gaussian noise.

    Args:
        image: a CT in HU.
        sd_hu: standard deviation of the noise in HU.
        seed: of the noise.
    """
    array = sitk.GetArrayFromImage(image)
    return _with(image, array + np.random.default_rng(seed).normal(0, sd_hu, array.shape))


def resliced(image: sitk.Image, mm: float) -> sitk.Image:
    """Slices about ``mm`` apart over the same box: averaged where they become thicker."""
    grid, array = Grid.of_image(image), sitk.GetArrayFromImage(image)
    count = max(2, round(grid.shape[0] * grid.spacing_mm[0] / mm))
    shape = (count, *grid.shape[1:])
    return grid.resized(shape).to_image(_whole(area_average(array, shape)))


def rekernelled(image: sitk.Image, amount: float) -> sitk.Image:
    """Within the slices, plus ``amount`` times what a Gaussian of ``KERNEL_MM`` takes away; -1 is that Gaussian."""
    hu = sitk.Cast(image, sitk.sitkFloat32)
    soft = sitk.RecursiveGaussian(sitk.RecursiveGaussian(hu, KERNEL_MM, direction=0), KERNEL_MM, direction=1)
    return _with(image, sitk.GetArrayFromImage(hu + amount * (hu - soft)))


def invariance(
    model: Model, cases: Sequence[tuple[str, str, Callable[[], sitk.Image]]], seed: int = 1, progress: Progress = silent
) -> Section:
    """The probability of each CT after each change against that before it.

    Args:
        model: of any architecture.
        cases: kind ("simulated", "real"), name, and what reads the CT.
        seed: of the noise.
        progress: told the share done and the case.
    """
    puts = changes(seed)
    before: list[tuple[str, str, float]] = []
    after: dict[str, list[float]] = {name: [] for name in puts}
    refused = []
    for number, (kind, case, read) in enumerate(cases):
        progress(number / len(cases), case)
        image = canonical(read())
        probability, problem = _asked(image, model)
        if problem:
            refused.append(f"{case}: {problem}")
            continue
        before.append((kind, case, probability))
        for name, put in puts.items():
            probability, problem = _asked(put(image), model)
            after[name].append(probability)
            refused += [f"{case}, {name}: {problem}"] if problem else []
    return _section(model, before, after, refused)


def _asked(image: sitk.Image, model: Model) -> tuple[float, str]:
    """The probability, or NaN and why there is none."""
    try:
        return scan(image, model).probability, ""
    except EmphysemaScannerError as error:
        return np.nan, str(error)


def _section(
    model: Model, before: Sequence[tuple[str, str, float]], after: dict[str, list[float]], refused: Sequence[str]
) -> Section:
    kinds, point = np.array([kind for kind, _, _ in before]), model.card.operating_point.probability
    start, tables = np.array([probability for _, _, probability in before]), []
    for kind in dict.fromkeys(kinds):
        these = kinds == kind
        rows = [(name, *_figures(start[these], np.array(values)[these], point)) for name, values in after.items()]
        columns = ("change", "CTs", "median", "95th percentile", "largest", "calls changed")
        tables.append(Table(f"invariance-{kind}", f"|Change of probability|, {kind} CTs", columns, rows))
    cases = [
        (kind, case, f"{p:.4f}", *(f"{of[k]:.4f}" for of in after.values())) for k, (kind, case, p) in enumerate(before)
    ]
    tables.append(Table("invariance-cases", "", ("kind", "CT", "unchanged", *after), cases, in_page=False))
    said = [
        f"{len(before)} CTs. Shifts are to the nearest whole voxel. Noise is white and Gaussian, before the averaging "
        "onto the network's grid. Slices are averaged or repeated over the same box of space. The smoother kernel is a "
        f"Gaussian of {KERNEL_MM:g} mm within the slices; the sharper one adds what it takes away.",
        *([escaped(f"Refused: {'; '.join(refused)}")] if refused else []),
    ]
    return Section("What changes the answer", said, tables)


def _figures(before: NDArray[np.float64], after: NDArray[np.float64], point: float) -> tuple[str, ...]:
    there = np.isfinite(after)
    if not there.any():
        return ("0", *[NONE] * 4)
    moved = np.abs(after - before)[there]
    calls = ((after >= point) != (before >= point))[there]
    return (
        str(there.sum()),
        f"{np.median(moved):.3f}",
        f"{np.percentile(moved, 95):.3f}",
        f"{moved.max():.3f}",
        str(calls.sum()),
    )


def _with(image: sitk.Image, array: NDArray[np.generic]) -> sitk.Image:
    return Grid.of_image(image).to_image(_whole(array))


def _whole(array: NDArray[np.generic]) -> NDArray[np.int16]:
    whole: NDArray[np.int16] = np.rint(array).clip(-32000, 32000).astype(np.int16)
    return whole
