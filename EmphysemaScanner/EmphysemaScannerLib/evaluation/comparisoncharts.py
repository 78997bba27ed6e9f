"""The plots of a comparison: ROC curves with operating points, and calibration."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import roc_curve

from .published import PUBLISHED
from .statistics import calibration

if TYPE_CHECKING:
    from .compare import Comparison

INK, QUIET, GRID = "#1f2933", "#52606d", "#e4e7eb"
# Okabe and Ito's colours, to be told apart by the colour-blind; black last.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000", "#000000")
DASHES = ("-", "--", ":", "-.")


def roc_chart(comparison: Comparison) -> Figure:
    """All models' ROC curves, their operating points, and the paper's on NLST."""
    figure = Figure(figsize=(7.6, 4.9), facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)))
    for k, (name, model) in enumerate(zip(comparison.names(), comparison.models, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        false_positive, true_positive, _ = roc_curve(model.predictions.labels, model.predictions.scores)
        label = f"{_short(name)}: {model.figures.auc.value:.3f}"
        style = DASHES[k // len(COLOURS) % len(DASHES)]
        axes.plot(false_positive, true_positive, color=colour, linewidth=1.5, linestyle=style, label=label)
        point = (1 - model.figures.specificity.value, model.figures.sensitivity.value)
        axes.plot(*point, marker="o", markersize=6, color=colour, markeredgecolor="white", zorder=4)
        if paper := PUBLISHED.get(model.card.architecture):
            place = (1 - paper.specificity, paper.sensitivity)
            axes.plot(*place, marker="D", markersize=5, color="none", markeredgecolor=colour, zorder=3)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("1 - specificity", fontsize=9, color=QUIET)
    axes.set_ylabel("sensitivity", fontsize=9, color=QUIET)
    _plain(axes)
    handles, _ = axes.get_legend_handles_labels()
    handles += [Line2D([], [], marker="o", color=QUIET, linestyle="", markersize=6, label="operating point")]
    if any(model.card.architecture in PUBLISHED for model in comparison.models):
        diamond = Line2D([], [], marker="D", color="none", markeredgecolor=QUIET, markersize=5, linestyle="")
        diamond.set_label("the paper's, on NLST")
        handles.append(diamond)
    legend = figure.legend(
        handles=handles, loc="outside right center", fontsize=8, frameon=False, title="AUC", title_fontsize=8
    )
    legend.set_alignment("left")
    return figure


def calibration_chart(comparison: Comparison) -> Figure:
    """A panel for each model: observed share against mean probability, with Wilson's 95 % intervals."""
    columns = min(4, len(comparison.models))
    rows = math.ceil(len(comparison.models) / columns)
    # A panel is as large alone as beside others.
    figure = Figure(
        figsize=(7.6 * max(columns, 2) / 4 + 0.5, 2.15 * rows + 0.4), facecolor="white", layout="constrained"
    )
    panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel())
    for k, axes in enumerate(panels):
        if k >= len(comparison.models):
            axes.set_visible(False)
            continue
        model, name, colour = comparison.models[k], comparison.names()[k], COLOURS[k % len(COLOURS)]
        curve = calibration(model.predictions)
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.vlines(curve.predicted, curve.low, curve.high, color=colour, linewidth=1, alpha=0.6)
        axes.plot(curve.predicted, curve.observed, color=colour, linewidth=1.1, marker="o", markersize=3.5)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.set_title(f"{_short(name, 26)}\nBrier {model.figures.brier.value:.3f}", fontsize=7.5, color=INK)
        axes.tick_params(labelbottom=k + columns >= len(comparison.models))
        _plain(axes)
    figure.supxlabel("mean probability of a group of volumes", fontsize=8, color=QUIET)
    figure.supylabel("share with emphysema", fontsize=8, color=QUIET)
    return figure


def svg(figure: Figure) -> str:
    """The figure as SVG; the same figure gives the same text."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "emphysema-scanner"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue().decode("utf-8")


def _short(name: str, length: int = 34) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=7.5, length=2, colors=QUIET)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#9aa5b1")
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
