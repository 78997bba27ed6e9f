"""The measured sections as a page: Markdown, a CSV a table, an SVG a plot."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ...base.rowfile import guarded
from ...base.wholefile import write_whole
from ...models.modelcard import ARCHITECTURE_TITLES, ModelCard
from ...report.wording import RESEARCH_USE
from ..comparisoncharts import COLOURS, DASHES, svg
from ..comparisontables import escaped
from .section import Plot, Section, Table

PAGE = "model-report.md"
_FIGURE = re.compile(r"-|-[\d.]+( \(-?[\d.]+ to -?[\d.]+\))?")  # begins like a formula and is none


def write(out: Path, cards: Sequence[ModelCard], sections: Sequence[Section]) -> Path:
    """Write the report into a folder; what it wrote there before is replaced.

    Args:
        out: the folder.
        cards: of the model, and of those beside it.
        sections: what was measured.

    Returns:
        The page's path.
    """
    out.mkdir(parents=True, exist_ok=True)
    card, *beside = cards
    text = [f"# Report on the model {escaped(card.name)}", "", RESEARCH_USE, ""]
    about = f"{card.parameters:,} parameters, {card.architecture}, of {card.trained_on}. {card.training_data}"
    text += [escaped(about), ""]
    if beside:
        text += ["Other models on the same CTs:", "", *(f"- {escaped(_in_a_line(other))}" for other in beside), ""]
    for section in sections:
        text += [f"## {section.title}", "", *(line for said in section.said for line in (said, ""))]
        for table in section.tables:
            write_whole(out / f"{table.name}.csv", _csv(table).encode())
            if table.in_page:
                text += [f"### {escaped(table.title)}", "", *_markdown(table), ""]
        for plot in section.plots:
            write_whole(out / f"{plot.name}.svg", svg(_figure(plot)).encode())
            text += [f"![{plot.title}]({plot.name}.svg)", ""]
    text += ["## What it does not know", "", escaped(card.limits), ""]
    text += [
        "Simulated disease is not disease: cases of one anatomy differ less than people do, and no interval here "
        "covers that. Real CTs without a reader's or a pathologist's answer are shown and not scored. A change of "
        "kernel or dose made by arithmetic on the image is not one made by the scanner.",
        "",
    ]
    write_whole(out / PAGE, "\n".join(text).encode())
    return out / PAGE


def _in_a_line(card: ModelCard) -> str:
    shape, title = " x ".join(map(str, card.preprocessing.shape)), ARCHITECTURE_TITLES[card.architecture]
    return f"{card.name}: {title}, {card.parameters:,} parameters, {shape} voxels; {card.training_data}"


def _markdown(table: Table) -> list[str]:
    rule = "| " + " | ".join(["---", *["---:"] * (len(table.columns) - 1)]) + " |"
    return [_line(table.columns), rule, *map(_line, table.rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def _csv(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([cell if _FIGURE.fullmatch(cell) else guarded(cell) for cell in row] for row in table.rows)
    return buffer.getvalue()


def _figure(plot: Plot) -> Figure:
    figure = Figure(figsize=(7.6, 3.8), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for k, (name, values) in enumerate(plot.curves.items()):
        style = DASHES[k // len(COLOURS) % len(DASHES)]
        axes.plot(plot.x, values, style, color=COLOURS[k % len(COLOURS)], marker="o", markersize=3, label=name)
    axes.set(title=plot.title, xlabel=plot.across, ylabel=plot.up)
    axes.set_xticks(list(plot.x))
    axes.grid(linewidth=0.4)
    figure.legend(loc="outside right center", fontsize=7, frameon=False)
    return figure
