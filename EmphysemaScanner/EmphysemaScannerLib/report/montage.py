"""The CT in a lung window with disease map or evidence over it: axial and coronal pictures in one figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from ..ct.grid import area_average, canonical
from ..i18n import tr as _
from ..scan.result import OverlayMap, ScanResult, SliceEvidence
from .contents import Case
from .slicewords import slice_words

LUNG_WINDOW_HU = (-1350.0, 150.0)
TOWARDS, AGAINST, OUTLINE = "#ff7a00", "#1e90ff", "#3dff3d"
LUNG_OUTLINE = "#f0e442"  # yellow of Okabe and Ito, told from orange and blue by the colour-blind, too
COLUMNS, AXIAL_ROWS = 4, 2
PAIRED_ROWS = 2  # each picture beside the bare CT
MARGIN_MM = 25.0  # so wide that lung which the mask lacks is seen beside it
WIDTH_INCHES = 7.5

# Transparent at zero: where nothing was added, the CT is seen as it is.
EVIDENCE_COLOURS = LinearSegmentedColormap.from_list("evidence", [(0.0, AGAINST), (0.5, "#ffffff00"), (1.0, TOWARDS)])
# The same colours as they look over lung, for the colour bar.
BAR_COLOURS = LinearSegmentedColormap.from_list("evidence bar", [(0.0, AGAINST), (0.5, "#3a3a3a"), (1.0, TOWARDS)])


DISEASE_COLOURS = LinearSegmentedColormap.from_list("disease", ["#a32c61", "#f1731d", "#fdd049"])


@dataclass(frozen=True)
class Paint:
    """How a map is drawn over the CT.

    Attributes:
        overlay: the map; None for a model that reads no volume.
        colours: from ``low`` to ``high``.
        low, high: ends of the colours.
        floor: size of the values below which nothing is drawn.
        even: whether all that is drawn is equally opaque; otherwise small values are more transparent.
        below, above, unit: the words beside the colour bar, and what stands after its last number.
    """

    overlay: OverlayMap | None
    colours: LinearSegmentedColormap
    low: float
    high: float
    floor: float
    even: bool
    below: str
    above: str
    unit: str

    @classmethod
    def of(cls, result: ScanResult) -> Paint:
        """The disease map of a model that has one, else its finest class-weighted activation, else evidence by place.

        Evidence that depends on the slices read before is no map of places; it is in the chart.
        """
        known, weights = result.model.disease_map, result.model.class_weights
        if result.disease is not None and known is not None:
            words = (_("disease possible"), _("disease probable"), " %")
            return cls(result.disease, DISEASE_COLOURS, known.floor, 1.0, known.floor, True, *words)
        for unit in () if weights is None else weights.units:
            if (activation := result.class_activations.get(unit.unit)) is not None:
                words = (_("weak response"), _("strong response"), "")
                return cls(activation, DISEASE_COLOURS, unit.floor, 1.0, unit.floor, True, *words)
        by_place = None if isinstance(result.slices, SliceEvidence) else result.evidence
        full = evidence_scale(result)
        words = (_("against emphysema"), _("towards emphysema"), _(" logit per cell"))
        return cls(by_place, BAR_COLOURS, -full, full, 0.0, False, *words)

    def opacity(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """0 to 1 for each value."""
        size = np.abs(np.nan_to_num(values)).astype(np.float64)
        opacity: NDArray[np.float64] = 0.75 * np.sqrt(np.clip(size / self.high, 0, 1))
        return np.where(size >= self.floor, 0.6, 0.0) if self.even else opacity


@dataclass(frozen=True)
class Plane:
    """One picture: arrays (rows, columns) as shown, top left first, and the size of a pixel.

    Attributes:
        hu: the CT.
        overlay: the map that is drawn; NaN outside the lungs, and everywhere where the model has no map.
        lung: the lung mask.
        lesions: true lesions, or None.
        pixel_mm: (height, width).
    """

    hu: NDArray[np.float32]
    overlay: NDArray[np.float32]
    lung: NDArray[np.bool_]
    lesions: NDArray[np.uint8] | None
    pixel_mm: tuple[float, float]


class Volume:
    """A case's arrays on the CT's canonical grid, cropped to the lungs and a margin, from which planes are cut."""

    def __init__(self, case: Case) -> None:
        result = case.result
        self.result = result
        self.paint = Paint.of(result)
        self.spacing_mm = result.lung_mask.grid.spacing_mm
        self.shape = result.lung_mask.grid.shape
        self.mask = result.lung_mask.values > 0
        self._image = canonical(case.image)  # a SimpleITK view of its memory does not keep an image alive
        self.hu = sitk.GetArrayViewFromImage(self._image)
        self.lesions = case.lesions
        self.box = tuple(
            _extent(self.mask, axis, round(MARGIN_MM / step))
            for axis, step in zip(range(3), self.spacing_mm, strict=True)
        )

    def axial(self, index: int) -> Plane:
        """The picture of CT slice ``index``, seen from below as radiologists do: the patient's right is at the left."""
        return self._plane((slice(index, index + 1), self.box[1], self.box[2]), axis=0, flip=False)

    def coronal(self, index: int) -> Plane:
        """The picture of CT row ``index``, seen from the front, superior at the top."""
        return self._plane((self.box[0], slice(index, index + 1), self.box[2]), axis=1, flip=True)

    def _plane(self, where: tuple[slice, slice, slice], axis: int, flip: bool) -> Plane:
        overlay = np.where(self.mask[where], self._overlay(where), np.nan)
        height, width = (step for i, step in enumerate(self.spacing_mm) if i != axis)

        def shown(array: NDArray[Any]) -> NDArray[Any]:
            return array.squeeze(axis)[:: -1 if flip else 1]

        lesions = None if self.lesions is None else shown(self.lesions[where])
        hu = shown(self.hu[where]).astype(np.float32)
        return Plane(hu, shown(overlay).astype(np.float32), shown(self.mask[where]), lesions, (height, width))

    def _overlay(self, where: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        """The map interpolated at CT voxels; constant beyond its outermost voxels' centres."""
        if self.paint.overlay is None:
            return np.full([part.stop - part.start for part in where], np.nan, np.float32)
        values = self.paint.overlay.values
        over = self.paint.overlay.grid.box_in(self.result.lung_mask.grid)
        axes = [
            (np.arange(part.start, part.stop) + 0.5 - first) * coarse / (last - first) - 0.5
            for part, coarse, (first, last) in zip(where, values.shape, over, strict=True)
        ]
        interpolated: NDArray[np.float32] = ndimage.map_coordinates(
            values, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest"
        )
        return interpolated


def overlay_montage(case: Case) -> Figure:
    """Axial and coronal pictures through the lungs, their mask and the true lesions outlined.

    Eight axial and four coronal ones with evidence by place; with another map four and two, each beside the bare CT.
    """
    volume = Volume(case)
    paired = volume.paint.even
    count, axial_rows = (COLUMNS * AXIAL_ROWS, AXIAL_ROWS) if not paired else (COLUMNS // 2 * PAIRED_ROWS, PAIRED_ROWS)
    steps = axial_choice(case.result, count)
    axial = [volume.axial(_ct_slice(volume, case.result.slice_indices[step])) for step in steps]
    coronal = [volume.coronal(index) for index in spread(volume.box[1], COLUMNS // 2 if paired else COLUMNS)]

    cell = WIDTH_INCHES / COLUMNS
    axial_height, coronal_height = cell * aspect_of(axial[0]) + 0.02, cell * aspect_of(coronal[0]) + 0.02
    bar_height = 0.5 if volume.paint.overlay is not None else 0.0
    total = axial_rows * axial_height + coronal_height + bar_height
    figure = Figure(figsize=(WIDTH_INCHES, total), dpi=200, facecolor="white")
    strongest, words = strongest_step(case.result), slice_words(case.result)
    most = _("largest marked area")
    top = total
    tiles = [
        (n, plane, bare)
        for n, plane in enumerate([*axial, *coronal])
        for bare in ((True, False) if paired else (False,))
    ]
    for place, (number, plane, bare) in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        height = axial_height if row < axial_rows else coronal_height
        if column == 0:
            top -= height
        axes = figure.add_axes((column / COLUMNS, top / total, 0.995 / COLUMNS, (height - 0.02) / total))
        draw_plane(axes, plane, None if bare else volume.paint)
        if row < axial_rows:
            step = steps[number]
            if bare or not paired:
                mark = f"  {words.highest if not paired else most}" if step == strongest else ""
                label(axes, f"S {case.result.slice_positions_mm[step]:.0f} mm{mark}", "left", "top")
            if not bare:
                label(axes, words.short(step), "right", "top")
        elif column == 0:
            label(axes, _("coronal, anterior"), "left", "top")
        elif column == COLUMNS - (2 if paired else 1):
            label(axes, _("posterior"), "left", "top")
        if column == 0:
            label(axes, "R", "left", "bottom")
            label(axes, "L", "right", "bottom")
    if volume.paint.overlay is not None:
        _colour_bar(figure, volume.paint, bar_height / total)
    return figure


def draw_plane(axes: Axes, plane: Plane, paint: Paint | None) -> None:
    """The CT, the map over it, the outlines of lung mask and lesions; without paint the CT alone."""
    axes.set_axis_off()
    aspect = plane.pixel_mm[0] / plane.pixel_mm[1]
    low, high = LUNG_WINDOW_HU
    axes.imshow(plane.hu, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="antialiased")
    if paint is None:
        return
    axes.imshow(
        plane.overlay,
        cmap=paint.colours,
        vmin=paint.low,
        vmax=paint.high,
        alpha=paint.opacity(plane.overlay),
        aspect=aspect,
        interpolation="nearest",
    )
    if plane.lung.any():
        axes.contour(plane.lung, levels=[0.5], colors=[LUNG_OUTLINE], linewidths=0.35)
    if plane.lesions is not None and plane.lesions.any():
        axes.contour(plane.lesions > 0, levels=[0.5], colors=[OUTLINE], linewidths=0.5)


def strongest_step(result: ScanResult) -> int:
    """The place, in reading order, of the slice with most of what is coloured; else of the most influential one."""
    paint = Paint.of(result)
    if not paint.even or paint.overlay is None:
        return result.telling_slices(1)[0]
    lung = area_average(result.lung_fraction.values, paint.overlay.grid.shape)
    marked = np.where(paint.overlay.values >= paint.floor, lung, 0).sum((1, 2))
    return int(np.argmax(marked[result.slice_indices]))


def evidence_scale(result: ScanResult) -> float:
    """The evidence per cell at which the colours are full: the 99th percentile of its size."""
    if result.evidence is None:
        return 1.0
    return max(float(np.percentile(np.abs(result.evidence.values), 99)), 1e-9)


def axial_choice(result: ScanResult, number: int) -> list[int]:
    """Steps of the reading, in reading order, evenly through the lungs, the most telling one among them."""
    slice_has_lung = result.lung_fraction.values.max((1, 2)) > 0.05
    steps = np.flatnonzero(slice_has_lung[result.slice_indices])
    if not steps.size:
        steps = np.arange(len(result.slice_indices))
    chosen = [int(steps[i]) for i in np.linspace(0, len(steps) - 1, number + 2).round().astype(int)[1:-1]]
    strongest = strongest_step(result)
    if strongest in steps:
        chosen[int(np.argmin(np.abs(np.array(chosen) - strongest)))] = strongest
    return sorted(chosen)


def _ct_slice(volume: Volume, grid_slice: int) -> int:
    result = volume.result
    first, last = result.lung_fraction.grid.box_in(result.lung_mask.grid)[0]
    step = (last - first) / len(result.slice_indices)
    return min(int(first + (grid_slice + 0.5) * step), volume.shape[0] - 1)


def _extent(mask: NDArray[np.bool_], axis: int, margin: int) -> slice:
    used = np.flatnonzero(mask.any(tuple(i for i in range(3) if i != axis)))
    if not used.size:
        return slice(0, mask.shape[axis])
    return slice(max(int(used[0]) - margin, 0), min(int(used[-1]) + margin + 1, mask.shape[axis]))


def spread(part: slice, number: int) -> list[int]:
    """So many places, evenly inside a part of an axis."""
    return [int(v) for v in np.linspace(part.start, part.stop, number + 2)[1:-1]]


def aspect_of(plane: Plane) -> float:
    """Height over width."""
    rows, columns = plane.hu.shape
    return float(rows * plane.pixel_mm[0] / (columns * plane.pixel_mm[1]))


def label(axes: Axes, text: str, horizontal: str, vertical: str) -> None:
    """White words in a corner of a picture."""
    axes.text(
        0.02 if horizontal == "left" else 0.98,
        0.97 if vertical == "top" else 0.03,
        text,
        transform=axes.transAxes,
        color="white",
        fontsize=6,
        ha=horizontal,
        va=vertical,
        bbox={"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1},
    )


def _colour_bar(figure: Figure, paint: Paint, height: float) -> None:
    axes = figure.add_axes((0.36, height * 0.55, 0.28, height * 0.18))
    shown = ScalarMappable(Normalize(paint.low, paint.high), paint.colours)
    bar = figure.colorbar(shown, cax=axes, orientation="horizontal")
    if paint.even:
        factor = 100 if paint.unit else 1
        labels = [f"{factor * end:.{0 if paint.unit else 2}f}{paint.unit}" for end in (paint.low, paint.high)]
        bar.set_ticks([paint.low, paint.high], labels=labels)
    else:
        bar.set_ticks([paint.low, 0, paint.high], labels=[f"{paint.low:.2g}", "0", f"+{paint.high:.2g}{paint.unit}"])
    bar.ax.tick_params(labelsize=6, length=2)
    low_colour, high_colour = ("#7a1f48", "#7a5c00") if paint.even else ("#14629f", "#a34b00")
    figure.text(0.35, height * 0.62, paint.below, ha="right", va="center", fontsize=7, color=low_colour)
    figure.text(0.65, height * 0.62, paint.above, ha="left", va="center", fontsize=7, color=high_colour)
