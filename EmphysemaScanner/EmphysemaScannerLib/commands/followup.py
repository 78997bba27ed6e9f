"""The command ``followup``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..scan.device import Device
from .options import DeviceOption, ModelOption, OutOption
from .progress import progress_bar, stage

if TYPE_CHECKING:
    from ..followup.followup import FollowUp


def followup(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Two or more chest CTs of one patient: files, DICOM folders, dicomwebs://HOST/PATH/studies/UID.",
            show_default=False,
        ),
    ],
    out: OutOption,
    dates: Annotated[
        str,
        typer.Option(help="Dates in the order of the CTs, such as 2024-03-01,2026-03-02; else those of DICOM."),
    ] = "",
    model: ModelOption = None,
    device: DeviceOption = Device.AUTO,
    maps: Annotated[
        bool, typer.Option("--maps/--no-maps", help="Register the CTs and map where density changed.")
    ] = True,
    named: Annotated[
        bool,
        typer.Option(
            "--named", help="Call the CTs by their files' names or UIDs in the results, which may name someone."
        ),
    ] = False,
    series: Annotated[
        str, typer.Option(help="Which CT series of each DICOM folder or study to read: its number or description.")
    ] = "",
) -> None:
    """Compare two or more CTs of one patient over time: changes with their limits, plots and change maps."""
    import SimpleITK as sitk

    from ..followup.comparison import course
    from ..followup.followup import FollowUp
    from ..followup.saving import HTML_FILE, write_follow_up
    from ..followup.scanning import compared, followed, read_series
    from ..models.modelfile import load
    from ..models.modelfolder import default_model_path
    from ..report.outputfolder import check_output_folder, whole_or_nothing
    from ..scan.device import choose

    sitk.ProcessObject.GlobalWarningDisplayOff()  # ITK would write its own lines before our sentence
    check_output_folder(out)
    loaded, chosen = load(model or default_model_path()), choose(device)
    with progress_bar() as progress:
        cts = read_series(paths, dates, named, progress, series)
    with progress_bar() as progress:
        if maps:
            made = compared(cts, loaded, chosen, progress)
        else:
            made = FollowUp(course(followed(cts, loaded, chosen, progress)))
    with whole_or_nothing(out) as folder, stage("Writing the results"):
        write_follow_up(made, folder)
    _print(Console(), made, out / HTML_FILE)


def _print(console: Console, follow_up: FollowUp, report: Path) -> None:
    """What differs, the changes, how well the CTs came together, where the report is."""
    from ..followup import contents
    from ..report import wording

    card = follow_up.course.points[0].result.model
    parts: list[Text | Table] = [
        Text.assemble((wording.RESEARCH_USE, "bold red"), (f" {wording.caution(card)}", "red")),
        Text(),
    ]
    for box in contents.warnings(follow_up):
        parts += [Text(box.title, style="bold yellow"), *(Text(f"- {line}") for line in box.lines), Text()]
    for comparison in follow_up.course.comparisons:
        figures = contents.changes(follow_up.course, comparison)
        table = Table(box=None, padding=(0, 1, 0, 0))
        shown = [0, 1, 2, 3, 4, 6]  # all but the limits, which the report gives: a terminal has 80 columns
        for k in shown:
            words = k in (0, shown[-1])
            table.add_column(figures.titles[k], justify="left" if words else "right", no_wrap=not words)
        for row in figures.rows:
            table.add_row(*(Text(row[k]) for k in shown))
        parts += [table, Text()]
    for made in follow_up.maps:
        rows = contents.registration(made).rows
        parts += [Text.assemble((f"{title}: ", "bold"), line) for title, lines in rows for line in lines]
    parts.append(Text.assemble(("Results: ", "bold"), f"{report}"))
    title = f"[bold]{escape(contents.page(follow_up).title)}[/bold]"
    console.print(Panel(Group(*parts), title=title, title_align="left", padding=(1, 2)))
