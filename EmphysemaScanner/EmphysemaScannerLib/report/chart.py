"""What the model gives for each slice, and density, against position, beside a coronal picture."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..scan.result import ScanResult, SliceMeasure
from .contents import Case
from .montage import AGAINST, LUNG_WINDOW_HU, TOWARDS, WIDTH_INCHES, Volume
from .wording import reading_order

HEIGHT_INCHES = 3.3
INK, QUIET, DENSITY, WEIGHT = "#1f2933", "#7b8794", "#5b6b7a", "#8250a8"


def slice_chart(case: Case) -> Figure:
    """Panels with one vertical axis in mm, superior at the top, so that a bar lies at its level of the chest."""
    result = case.result
    positions = result.slice_positions_mm
    step = abs(float(positions[0] - positions[1])) if len(positions) > 1 else 1.0
    volume = Volume(case)
    grid = result.lung_mask.grid
    bottom, top = float(positions.min()) - step / 2, float(positions.max()) + step / 2

    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), facecolor="white", layout="constrained")
    width_mm = (volume.box[2].stop - volume.box[2].start) * grid.spacing_mm[2]
    picture_width = width_mm / (top - bottom) * HEIGHT_INCHES / WIDTH_INCHES * 3.2
    drawings = [_DRAWINGS[measure] for measure in result.by_slice if measure in _DRAWINGS]
    ratios = [picture_width, *([1.0] * len(drawings)), 0.8 if drawings else 2.0]
    panels = figure.subplots(1, len(ratios), sharey=True, gridspec_kw={"width_ratios": ratios})
    picture, density = panels[0], panels[-1]

    middle = (volume.box[1].start + volume.box[1].stop) // 2
    plane = volume.hu[::-1, middle, volume.box[2]]
    low, high = LUNG_WINDOW_HU
    ct = grid.slice_positions_mm()
    half = float(ct[-1] - ct[0]) / max(len(ct) - 1, 1) / 2
    extent = (0, width_mm, float(ct[0]) - half, float(ct[-1]) + half)
    picture.imshow(plane, cmap="gray", vmin=low, vmax=high, extent=extent, aspect="auto")
    picture.set_xticks([])
    picture.set_xlabel("coronal CT", fontsize=7, color=QUIET)
    picture.set_ylabel("position S (mm)", fontsize=7)

    for axes, draw in zip(panels[1:-1], drawings, strict=True):
        draw(axes, result, step)

    laa = np.nan_to_num(result.laa_950_by_slice_percent)
    density.barh(positions, laa, height=0.85 * step, color=DENSITY)
    density.set_xlim(0, max(10.0, 1.1 * float(laa.max())))
    _title(density, "LAA%-950", "% of the lung in the slice")

    picture.set_ylim(bottom, top)
    for axes in panels:
        axes.tick_params(labelsize=6, length=2)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if axes is not picture:
            axes.grid(axis="both", color="#e4e7eb", linewidth=0.5)
            axes.set_axisbelow(True)
    return figure


def _evidence(axes: Axes, result: ScanResult, step: float) -> None:
    evidence = result.by_slice[SliceMeasure.EVIDENCE]
    colours = np.where(evidence >= 0, TOWARDS, AGAINST)
    axes.barh(result.slice_positions_mm, evidence, height=0.85 * step, color=colours)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    _title(axes, "Evidence of each slice", "against  ←  logit  →  towards")
    _arrow(axes, down=reading_order(result) == "superior to inferior")


def _running(axes: Axes, result: ScanResult, step: float) -> None:
    running = 100 * result.by_slice[SliceMeasure.RUNNING_PROBABILITY]
    point = result.model.operating_point.probability
    # A running value holds from the slice's far edge on, in reading order; drawn at the slice's centre.
    axes.plot(running, result.slice_positions_mm, color=INK, linewidth=1.2, marker="o", markersize=2)
    axes.axvline(100 * point, color="#c92a2a", linewidth=0.9, linestyle="--")
    axes.text(
        100 * point,
        1.0,
        " operating point",
        color="#c92a2a",
        fontsize=6,
        va="bottom",
        ha="center",
        transform=axes.get_xaxis_transform(),
    )
    axes.set_xlim(0, 100)
    _title(axes, "Running probability", "%")


def _weight(axes: Axes, result: ScanResult, step: float) -> None:
    weight = result.by_slice[SliceMeasure.WEIGHT]
    axes.barh(result.slice_positions_mm, weight, height=0.85 * step, color=WEIGHT)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    _title(axes, "Attention weight", "not evidence; sum 1")


def _probability(axes: Axes, result: ScanResult, step: float) -> None:
    probability = 100 * result.by_slice[SliceMeasure.PROBABILITY]
    axes.barh(result.slice_positions_mm, probability, height=0.85 * step, color=INK)
    axes.set_xlim(0, 100)
    _title(axes, "Slice probability", "%")


_DRAWINGS = {
    SliceMeasure.EVIDENCE: _evidence,
    SliceMeasure.RUNNING_PROBABILITY: _running,
    SliceMeasure.WEIGHT: _weight,
    SliceMeasure.PROBABILITY: _probability,
}
"""What draws the panel of a figure; LAA%-950 has one in every chart."""


def _arrow(axes: Axes, down: bool) -> None:
    """The order of reading."""
    axes.annotate(
        "",
        xy=(-0.04, 0.02 if down else 0.98),
        xytext=(-0.04, 0.98 if down else 0.02),
        xycoords="axes fraction",
        arrowprops={"arrowstyle": "->", "color": QUIET, "linewidth": 0.8},
        annotation_clip=False,
    )


def _title(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=8, color=INK, pad=10)
    axes.set_xlabel(unit, fontsize=7, color=QUIET)
