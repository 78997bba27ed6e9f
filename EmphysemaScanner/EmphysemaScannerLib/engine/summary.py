"""What the terminal says: a scan, a model card, the table of architectures."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..core.call import Call
from ..core.field import Field
from ..core.modelcard import ModelCard, TrainingRange
from ..core.networks import ARCHITECTURES
from ..core.result import ScanResult
from . import slicewords, wording

GAUGE_CELLS = 50


def print_scan(console: Console, result: ScanResult, folder: Path, skipped: tuple[str, ...] = ()) -> None:
    """One panel: the answer, doubts, densitometry, what the model is, where the results are."""
    card = result.model
    colour = {Call.POSITIVE: "dark_orange", Call.NEGATIVE: "blue", Call.NONE: "bright_black"}[result.call]
    parts: list[Text | Table] = [
        Text.assemble("Probability of emphysema  ", (wording.percent(result.probability), f"bold {colour}")),
        _gauge(result.probability, card.operating_point.probability, colour),
        Text(wording.verdict(result), style="bold yellow" if result.call is Call.NONE else ""),
        *([Text(slicewords.story(result), style="dim")] if slicewords.story(result) else []),
        Text(),
    ]
    parts += [Text.assemble(("Doubt: ", "bold yellow"), warning) for warning in result.warnings]
    if "whole" in result.densitometry:
        parts += [_densitometry(result), Text()]
    parts += [
        Text.assemble((f"{title}: ", "bold"), line)
        for title, lines in wording.images(result.provenance)
        for line in lines
    ]
    parts += [
        Text.assemble(("Model: ", "bold"), f"{card.name}. {_caution(card)} Learned from: {card.training_data}"),
        *(Text.assemble(("Skipped: ", "bold yellow"), sentence) for sentence in skipped),
        Text.assemble(("Results: ", "bold"), f"{folder / 'report.html'}"),
        Text(wording.RESEARCH_USE, style="bold red"),
    ]
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
    if ARCHITECTURES[card.architecture].reads_densitometry:
        reads = "densitometry of both lungs"
    rows = [
        ("Name", card.name),
        ("Architecture", f"{wording.architecture(card)}, width {card.width}, {card.parameters:,} parameters"),
        ("Reads", reads),
        ("Operating point", f"{card.operating_point.probability:.3f}: {card.operating_point.source}"),
        ("Trained on", f"{card.training_data} ({card.trained_on})"),
        *([("Compared with", _training_range(card.training_range))] if card.training_range else []),
        ("Intended use", card.intended_use),
        ("Limits", card.limits),
        *(
            ("Measured", f"{m.name} {m.value:.2f} (95 % interval {m.low:.2f} to {m.high:.2f}; {m.data})")
            for m in card.metrics
        ),
        *(("Source", citation) for citation in card.citations),
    ]
    for name, value in rows:
        table.add_row(name, Text(value))
    console.print(Panel(Group(table, Text(_caution(card), style="bold red")), title="Model card", title_align="left"))


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
        width = "" if known.reads_densitometry else str(known.published_width)
        table.add_row(
            name,
            known.title,
            known.story.value,
            width,
            Text(f"{count:,}", style),
            "" if published is None else f"{published:,}",
        )
    console.print(table)


def _training_range(trained: TrainingRange) -> str:
    figures = zip(trained.measures, trained.mean, trained.spread, strict=True)
    within = ", ".join(f"{name.replace('_', ' ')} {mean:.1f} +- {spread:.1f}" for name, mean, spread in figures)
    return (
        f"{trained.volumes} training volumes: {within}; what is farther than {trained.limit:.2f} is called unlike them"
    )


def _caution(card: ModelCard) -> str:
    return f"{'DEMONSTRATION MODEL. ' if card.demonstration else ''}{wording.caution(card)}"


def _gauge(probability: float, point: float, colour: str) -> Text:
    filled, mark = round(probability * GAUGE_CELLS), min(int(point * GAUGE_CELLS), GAUGE_CELLS - 1)
    gauge = Text("0 % ")
    for cell in range(GAUGE_CELLS):
        if cell == mark:
            gauge.append("|", "bold red")
        else:
            gauge.append("#" if cell < filled else ".", colour if cell < filled else "dim")
    return gauge.append(" 100 %").append("   | operating point", "red")


def _densitometry(result: ScanResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("Densitometry")
    for column in ("LAA%-950", "LAA%-910", "Perc15 HU", "Mean HU", "Volume L"):
        table.add_column(column, justify="right")
    for name, heading in wording.REGION_NAMES.items():
        if name in result.densitometry:
            row = result.densitometry[name]
            figures = (
                wording.number(value, digits)
                for value, digits in (
                    (row.laa_950_percent, 1),
                    (row.laa_910_percent, 1),
                    (row.perc15_hu, 0),
                    (row.mean_hu, 0),
                    (row.volume_l, 2),
                )
            )
            table.add_row(heading, *figures)
    return table
