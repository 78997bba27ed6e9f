"""What a training run's folder says at any moment: its plan, and its losses and AUC epoch by epoch.

Needs neither torch nor lightning: it is read by a window while another process trains.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.wholefile import write_whole
from ..i18n import tr as _

PLAN_FILE, METRICS_FILE = "plan.json", "metrics.csv"
COLUMNS = ("epoch", "train_loss", "val_loss", "val_auc")

LIGHT = {"ink": "#1f2933", "quiet": "#52606d", "line": "#d9dee4"}
DARK = {"ink": "#f0f2f4", "quiet": "#b0b8c0", "line": "#55606b"}
TRAINING, TUNING = "#3b8ede", "#e8710a"  # read well on white and on dark grey


@dataclass(frozen=True)
class TrainingCurves:
    """How far a training is.

    Attributes:
        epochs: planned; 0 when nothing is known yet.
        epoch: whole epochs done.
        train_loss: mean loss on the training split, one number an epoch.
        val_loss: binary cross-entropy on the tuning split, one number an epoch.
        val_auc: AUC on the tuning split, one number an epoch.
    """

    epochs: int = 0
    epoch: int = 0
    train_loss: tuple[float, ...] = ()
    val_loss: tuple[float, ...] = ()
    val_auc: tuple[float, ...] = ()


def read_training(out: Path) -> TrainingCurves:
    """The curves of the run in a folder.

    Args:
        out: the run's folder; it may be missing, empty or in the middle of being written to.
    """
    rows = read_epochs(out)
    columns = list(zip(*rows, strict=True))[1:] if rows else [(), (), ()]
    planned = read_plan(out).get("epochs", 0)
    return TrainingCurves(planned if isinstance(planned, int) else 0, len(rows), *columns)


def read_plan(out: Path) -> dict[str, Any]:
    """What a run was started with; empty when there is none that can be read."""
    try:
        plan = json.loads((Path(out) / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return plan if isinstance(plan, dict) else {}


def write_plan(out: Path, plan: dict[str, Any]) -> None:
    """Keep what a run is started with."""
    write_whole(Path(out) / PLAN_FILE, (json.dumps(plan, indent=2) + "\n").encode())


def read_epochs(out: Path) -> list[tuple[int, float, float, float]]:
    """(epoch from 1 on, train_loss, val_loss, val_auc) of whole epochs; a line that is being written is left out."""
    try:
        text = (Path(out) / METRICS_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    header, *lines = text.splitlines(keepends=True) or [""]
    if tuple(header.strip().split(",")) != COLUMNS:
        return []
    rows: list[tuple[int, float, float, float]] = []
    for line in lines:
        try:
            epoch, *values = next(csv.reader([line]))
            train_loss, val_loss, val_auc = map(float, values)
        except (ValueError, StopIteration, csv.Error):
            break
        if not line.endswith("\n") or epoch != str(len(rows) + 1):
            break
        rows.append((len(rows) + 1, train_loss, val_loss, val_auc))
    return rows


def keep_epochs(out: Path, count: int) -> None:
    """Begin the metrics file, or cut it to its first epochs: a run goes on after its last checkpoint.

    Epochs of which nothing was written down, because the run was killed just then, become NaN.
    """
    rows = read_epochs(out)[:count]
    rows += [(epoch, math.nan, math.nan, math.nan) for epoch in range(len(rows) + 1, count + 1)]
    lines = [",".join(COLUMNS), *(",".join(map(repr, row)) for row in rows)]
    write_whole(Path(out) / METRICS_FILE, "".join(f"{line}\n" for line in lines).encode())


def add_epoch(out: Path, epoch: int, train_loss: float, val_loss: float, val_auc: float) -> None:
    """Add a line to the metrics file.

    Args:
        out: the run's folder.
        epoch: from 1 on.
        train_loss: the mean over the epoch's steps.
        val_loss: of the tuning split after the epoch.
        val_auc: of the tuning split after the epoch.
    """
    with (Path(out) / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write(f"{epoch},{train_loss!r},{val_loss!r},{val_auc!r}\n")


def curves_png(curves: TrainingCurves, width_px: int, height_px: int, dark: bool) -> bytes:
    """The curves as a PNG with a transparent background: losses at the left, the AUC at the right.

    Args:
        curves: with any number of epochs, also none.
        width_px: width of the picture in pixels.
        height_px: height of the picture in pixels.
        dark: whether it is shown on a dark background.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    colours = DARK if dark else LIGHT
    dpi = 100
    figure = Figure(figsize=(width_px / dpi, height_px / dpi), dpi=dpi, layout="constrained")
    losses, auc = figure.subplots(1, 2)
    epochs = range(1, curves.epoch + 1)
    marker = "o" if curves.epoch < 15 else ""
    style: dict[str, Any] = {"linewidth": 1.4, "marker": marker, "markersize": 3}
    losses.plot(epochs, curves.train_loss, color=TRAINING, label=_("training"), **style)
    losses.plot(epochs, curves.val_loss, color=TUNING, label=_("validation"), **style)
    auc.plot(epochs, curves.val_auc, color=TUNING, **style)
    losses.set_title(_("Loss"), fontsize=8, color=colours["ink"])
    auc.set_title(_("Validation AUC"), fontsize=8, color=colours["ink"])
    auc.set_ylim(min([0.4, *filter(math.isfinite, curves.val_auc)]) - 0.02, 1.02)
    losses.legend(fontsize=7, frameon=False, labelcolor=colours["ink"])
    for axes in (losses, auc):
        axes.set_xlim(0.5, max(curves.epochs, curves.epoch, 2) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel(_("Epoch"), fontsize=7, color=colours["quiet"])
        axes.tick_params(labelsize=7, length=2, colors=colours["quiet"])
        axes.set_facecolor("none")
        axes.grid(color=colours["line"], linewidth=0.5)
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(colours["line"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return buffer.getvalue()
