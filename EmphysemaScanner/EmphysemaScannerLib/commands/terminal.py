"""What the terminal shows: a scan, a model card, the table of architectures."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..lungs.measures import PAIR_MEASURES
from ..models.modelcard import ModelCard, TrainingRange
from ..models.networks import ARCHITECTURES
from ..models.preprocessing import Field, Needs
from ..report import blocks, contents, measured, pairblocks, slicewords, wording
from ..scan.call import Call
from ..scan.result import ScanResult

GAUGE_CELLS = 50


def print_scan(
    console: Console,
    result: ScanResult,
    folder: Path | None,
    skipped: tuple[str, ...] = (),
    objects: Path | None = None,
) -> None:
    """One panel: what the model is, warnings, the answer, densitometry, what was read, where the results are."""
    card = result.model
    parts: list[Text | Table] = [
        Text.assemble((wording.RESEARCH_USE, "bold red"), (f" {wording.caution(card)}", "red")),
        Text(),
    ]
    for box in contents.warnings(result):
        parts += [Text(box.title, style="bold yellow"), *(Text(f"- {line}") for line in box.lines), Text()]
    parts += _headline(result)
    explanation = slicewords.slice_words(result).explanation
    parts += [Text(explanation, style="dim")] if explanation else []
    if result.densitometry:
        parts += [Text(), _table(contents.densitometry(result, contents.narrow_measures(result)))]
    parts += [Text(line) for box in measured.kernel_box(result) for line in box.lines]
    parts += _expiration(result)
    parts.append(Text())
    parts += [
        Text.assemble((f"{title}: ", "bold"), line)
        for entries in (contents.images(result), contents.masks(result))
        for title, lines in entries.rows
        for line in lines
    ]
    parts += [
        Text.assemble(("Model: ", "bold"), f"{card.name}, trained on: {card.training_data}"),
        *(Text.assemble(("Skipped: ", "bold yellow"), sentence) for sentence in skipped),
    ]
    parts += [Text.assemble(("Results: ", "bold"), f"{folder / 'report.html'}")] if folder else []
    parts += [Text.assemble(("DICOM objects: ", "bold"), f"{objects}")] if objects else []
    title = f"[bold]{escape(result.source or 'chest CT')}[/bold]"
    console.print(Panel(Group(*parts), title=title, title_align="left", padding=(1, 2)))


def print_card(console: Console, card: ModelCard) -> None:
    """Every field of a model card."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    low, high = card.preprocessing.window_low_hu, card.preprocessing.window_high_hu
    reads = f"{' x '.join(map(str, card.preprocessing.shape))} voxels, window {low:.0f} to {high:.0f} HU"
    if card.preprocessing.field is Field.LUNGS:
        reads += f"; of the CT, the box around the lungs with a margin of {card.preprocessing.margin_mm:g} mm"
        if card.preprocessing.outside_hu is not None:
            reads += f", what is not lung set to {card.preprocessing.outside_hu:g} HU"
    if ARCHITECTURES[card.architecture].needs is Needs.DENSITOMETRY:
        reads = "densitometry of both lungs"
    for title, lines in contents.about_model(card, reads).rows:
        table.add_row(title, Text("\n".join(lines)))
    if card.training_range:
        table.add_row("Compared with", Text(_training_range(card.training_range)))
    use = Text.assemble((wording.RESEARCH_USE, "bold red"), (f" {wording.caution(card)}", "red"))
    console.print(Panel(Group(use, Text(), table), title="Model card", title_align="left"))


def print_architectures(console: Console, counted: dict[str, int]) -> None:
    """A table of the architectures, each with its parameters as counted and as published."""
    title = "Architectures, at the published size (35 x 128 x 128); parameters as Keras counts them"
    table = Table(title=title, title_justify="left")
    table.add_column("In model cards", no_wrap=True)
    table.add_column("Name")
    table.add_column("Each slice", no_wrap=True)
    for column in ("Kernels", "Parameters", "Published"):
        table.add_column(column, justify="right")
    for name, count in counted.items():
        known = ARCHITECTURES[name]
        published = known.published_parameters
        style = "" if published in (count, None) else "bold red"
        width = "" if known.needs is Needs.DENSITOMETRY else str(known.published_width)
        table.add_row(
            name,
            known.title,
            known.each_slice,
            width,
            Text(f"{count:,}", style),
            "" if published is None else f"{published:,}",
        )
    console.print(table)


def _training_range(trained: TrainingRange) -> str:
    figures = zip(trained.measures, trained.mean, trained.spread, strict=True)
    within = ", ".join(f"{name.replace('_', ' ')} {mean:.1f} +- {spread:.1f}" for name, mean, spread in figures)
    return f"{trained.volumes} training volumes: {within}; a CT at a distance above {trained.limit:.2f} is flagged"


def _headline(result: ScanResult) -> list[Text | Table]:
    answer = contents.headline(result)
    colour = {Call.POSITIVE: "dark_orange", Call.NEGATIVE: "blue", Call.NONE: "bright_black"}[result.call]
    return [
        Text.assemble(f"{answer.title}  ", (answer.value, f"bold {colour}")),
        _gauge(answer.probability, answer.operating_point, colour),
        Text(answer.call, style="bold"),
    ]


def _gauge(probability: float, point: float, colour: str) -> Text:
    filled, mark = round(probability * GAUGE_CELLS), min(int(point * GAUGE_CELLS), GAUGE_CELLS - 1)
    gauge = Text("0 % ")
    for cell in range(GAUGE_CELLS):
        if cell == mark:
            gauge.append("|", "bold red")
        else:
            gauge.append("#" if cell < filled else ".", colour if cell < filled else "dim")
    return gauge.append(" 100 %").append("   | operating point", "red")


def _expiration(result: ScanResult) -> list[Text | Table]:
    """The figures of both lungs with an expiratory CT; nothing without one."""
    pair = result.expiration
    if pair is None:
        return []
    lines = [Text(), Text(pairblocks.TITLE, style="bold")]
    lines += [Text(f"- {line}", style="yellow") for line in pairblocks.notes(pair)]
    whole = pair.regions.get("whole")
    if whole is not None:
        measured_ones = [measure for measure in PAIR_MEASURES if math.isfinite(measure.of(whole))]
        lines += [Text(f"{m.meaning}: {m.text(whole)} {m.unit}".rstrip()) for m in measured_ones]
    if pair.quality is not None:
        lines.append(Text.assemble(("Registration: ", "bold"), pairblocks.registration(pair)))
    return list(lines)


def _table(figures: blocks.Table) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for k, (title, unit) in enumerate(zip(figures.titles, figures.units, strict=True)):
        table.add_column(f"{title}\n{unit}" if k else "Densitometry", justify="right" if k else "left")
    for row in figures.rows:
        table.add_row(*row)
    return table
