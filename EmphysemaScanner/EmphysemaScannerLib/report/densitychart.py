"""Plots of lung density: histogram with thresholds, LAA%-950 by height and by region, sizes of clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..lungs.densitometry import HISTOGRAM_HU
from ..scan.result import ScanResult
from . import wording
from .montage import WIDTH_INCHES

HEIGHT_INCHES = 2.6
SINGLE_INCHES = 3.6
INK, QUIET = "#1f2933", "#7b8794"
RIGHT, LEFT = "#0b5cad", "#c8531c"
_SIDES = (("right", RIGHT), ("left", LEFT))
_THRESHOLDS = (-950, -910, -856)
_SHOWN_HU = (-1024, -500)
_BIN_HU = 4
_LEAST_PERCENT = 5.0  # the end of an axis, at least: healthy lungs shouldn't look ill


def density_chart(result: ScanResult) -> Figure:
    """Three panels, or four where clusters were measured.

    Args:
        result: with histograms.
    """
    return _figure(result, tuple(_panels(result).values()), WIDTH_INCHES)


def density_charts(result: ScanResult) -> dict[str, Figure]:
    """Each panel as a figure of its own, by the name of its file without suffix; none without histograms."""
    panels = _panels(result) if result.measurements.histograms else {}
    return {name: _figure(result, (panel,), SINGLE_INCHES) for name, panel in panels.items()}


def _panels(result: ScanResult) -> dict[str, Callable[[Axes, ScanResult], None]]:
    panels: dict[str, Callable[[Axes, ScanResult], None]] = {
        "histogram": _histogram,
        "laa_by_height": _by_height,
        "laa_by_region": _by_region,
    }
    if result.measurements.clusters:
        panels["cluster_sizes"] = _cluster_sizes
    return panels


def _figure(result: ScanResult, panels: Sequence[Callable[[Axes, ScanResult], None]], width: float) -> Figure:
    figure = Figure(figsize=(width, HEIGHT_INCHES), facecolor="white", layout="constrained")
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        panel(axes, result)
        axes.tick_params(labelsize=6, length=2)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(color="#e4e7eb", linewidth=0.5)
        axes.set_axisbelow(True)
    return figure


def _histogram(axes: Axes, result: ScanResult) -> None:
    low, high = (int(np.searchsorted(HISTOGRAM_HU, hu)) for hu in _SHOWN_HU)
    bins = (high - low) // _BIN_HU
    for side, colour in _SIDES:
        counts = result.measurements.histograms[side]
        binned = counts[low : low + bins * _BIN_HU].reshape(bins, _BIN_HU).sum(1)
        share = 100 * binned / max(int(counts.sum()), 1)
        hu = HISTOGRAM_HU[low] + _BIN_HU * (np.arange(bins) + 0.5)
        axes.plot(hu, share, color=colour, linewidth=1, label=wording.REGION_NAMES[side])
    axes.set_xlim(*_SHOWN_HU)
    axes.set_ylim(bottom=0)
    for limit in _THRESHOLDS:
        axes.axvline(limit, color=QUIET, linewidth=0.7, linestyle="--")
        axes.text(limit, 1.0, f"{limit}", fontsize=5, color=QUIET, ha="center", va="bottom", rotation=90,
                  transform=axes.get_xaxis_transform())  # fmt: skip
    axes.legend(fontsize=6, frameon=False, handlelength=1)
    _title(axes, "Histogram", "HU", f"% of the lung per {_BIN_HU} HU")


def _by_height(axes: Axes, result: ScanResult) -> None:
    largest = 0.0
    for side, colour in _SIDES:
        laa = result.measurements.laa_950_by_height_percent.get(side)
        if laa is not None:
            axes.plot(laa, result.slice_positions_mm, color=colour, linewidth=1, label=wording.REGION_NAMES[side])
            largest = max(largest, float(np.nan_to_num(laa).max(initial=0)))
    axes.set_xlim(0, max(_LEAST_PERCENT, 1.08 * largest))
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=6, frameon=False, handlelength=1)
    _title(axes, "LAA%-950 by height", "% of each lung in the slice", "position S (mm)")


def _by_region(axes: Axes, result: ScanResult) -> None:
    regions = {name: region for name, region in result.densitometry.items() if np.isfinite(region.laa_950_percent)}
    names = [wording.REGION_NAMES.get(name, name) for name in regions]
    values = [region.laa_950_percent for region in regions.values()]
    colours = [dict(_SIDES).get(name, QUIET) for name in regions]
    places = np.arange(len(names))
    axes.barh(places, values, color=colours, height=0.7)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(_LEAST_PERCENT, 1.2 * max(values, default=0)))
    for place, value in zip(range(len(names)), values, strict=True):
        axes.text(value, place, f" {value:.1f}", fontsize=6, va="center", color=INK)
    _title(axes, "LAA%-950 by region", "%", "")


def _cluster_sizes(axes: Axes, result: ScanResult) -> None:
    for side, colour in _SIDES:
        found = result.measurements.clusters.get(side)
        if found is not None and found.count:
            name = wording.REGION_NAMES[side]
            label = f"{name}, D = {found.exponent:.2f}" if np.isfinite(found.exponent) else name
            axes.plot(found.areas_mm2, found.at_least, ".", color=colour, markersize=2.5, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=6, frameon=False, handlelength=0.6)
    _title(axes, "Areas below -950 HU", "size X (mm\N{SUPERSCRIPT TWO})", "areas of at least X")


def _title(axes: Axes, title: str, x_title: str, y_title: str) -> None:
    axes.set_title(title, fontsize=8, color=INK, pad=14)
    axes.set_xlabel(x_title, fontsize=6.5, color=QUIET)
    axes.set_ylabel(y_title, fontsize=6.5, color=QUIET)
