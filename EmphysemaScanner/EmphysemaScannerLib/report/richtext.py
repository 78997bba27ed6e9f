"""A result as the rich text that Slicer's window shows. Qt draws only a small part of HTML: tables, colours, sizes."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import pairwise
from textwrap import shorten

from ..i18n import tr as _
from ..lungs.expiration import ExpiratoryPair
from ..models.modelcard import ModelCard
from ..scan.call import Call
from ..scan.result import ScanResult
from . import contents, measured, pairblocks, slicewords, wording
from .blocks import Paragraph, Table

REACHED, NOT_REACHED, MARK = "#c8531c", "#c9d3dc", "#000000"
_FEW_ROWS, _WIDEST = 3, 5
SHORT = 28  # characters of the first warning that fit beside the title
WITHHELD = "#8b959e"  # without a call, probability and bar are grey


def caution(card: ModelCard) -> str:
    """What the software is for, and what kind of model it is, in a line."""
    return f"<b>{escape(wording.RESEARCH_USE)}</b> {escape(wording.caution(card))}"


def probability(result: ScanResult, now: float | None = None) -> str:
    """The probability, large, and a bar from 0 to 1 with a black mark at the operating point; grey without a call.

    Args:
        result: the answer.
        now: another probability in its place, e.g. the running one while the scan is played.
    """
    value = result.probability if now is None else now
    point = result.model.operating_point.probability
    reached = WITHHELD if result.call is Call.NONE else REACHED
    cells = []
    for low, high in pairwise(sorted({0.0, value, point, 1.0})):
        colour = reached if high <= value else NOT_REACHED
        cells.append(f'<td width="{max(1, round(100 * (high - low)))}%" bgcolor="{colour}">&nbsp;</td>')
        if high == point:
            cells.append(f'<td width="1%" bgcolor="{MARK}">&nbsp;</td>')
    large = f'<span style="font-size:20pt; font-weight:600">{wording.percent(value)}</span>'
    sentence = _("{percent} probability of emphysema").format(percent=large)
    if result.call is Call.NONE:
        sentence = f'<span style="color:{WITHHELD}">{sentence}</span>'
    bar = f'<table width="100%" cellspacing="0" cellpadding="0"><tr>{"".join(cells)}</tr></table>'
    return f'{sentence}<div style="font-size:4pt">{bar}</div>'


def verdict(result: ScanResult) -> str:
    """The call, on which side of the operating point the probability lies, and what is known of single slices."""
    return "<br>".join(
        escape(line) for line in (wording.verdict(result), slicewords.slice_words(result).explanation) if line
    )


def warnings(result: ScanResult) -> str:
    """The image quality warnings, one below the other under their title; empty when there are none."""
    lines = []
    for box in contents.warnings(result):
        lines += [f"<b>{escape(box.title)}</b>", *(escape(line) for line in box.lines)]
    return "<br>".join(lines)


def warnings_in_short(result: ScanResult) -> str:
    """How many image quality warnings there are and how the first begins, in a line; empty when there are none."""
    if not result.warnings:
        return ""
    first = shorten(result.warnings[0], SHORT, placeholder=" ...")
    return f"<b>{escape(wording.WARNINGS)} ({len(result.warnings)}):</b> {escape(first)}"


def densitometry(result: ScanResult, link: str = "") -> str:
    """A table: regions of the lungs down, classical measures across; below it, which figures to trust.

    Args:
        result: whose lungs were measured.
        link: what the first cell, which is free, offers.
    """
    lines = [escape(line) for box in measured.kernel_box(result) for line in box.lines]
    lines += [escape(line) for line in measured.too_small(result)]
    lines += [_expiration(result.expiration)] if result.expiration is not None else []
    return "<br>".join([_table(contents.densitometry(result, contents.narrow_measures(result)), link), *lines])


def _expiration(pair: ExpiratoryPair) -> str:
    """What the expiratory CT tells: what is missing or doubtful, figures, and how well it was registered."""
    lines = [f"<b>{escape(pairblocks.TITLE)}</b>", *(escape(line) for line in pairblocks.notes(pair))]
    lines += [_table(_narrow(table)) for table in pairblocks.tables(pair)]
    if pair.quality is not None:
        lines.append(escape(_("Registration: {quality}").format(quality=pairblocks.registration(pair))))
    return "<br>".join(lines)


def all_measurements(result: ScanResult) -> str:
    """Everything else that was measured, as tables below one another; empty where nothing was."""
    return "<br>".join(
        _table(_narrow(block)) if isinstance(block, Table) else escape(block.text)
        for section in measured.all_measurements(result, ("whole", "right", "left"))
        for block in section.blocks
        if isinstance(block, (Table, Paragraph))
    )


def _narrow(table: Table) -> Table:
    """The table with its measures down, where it has few regions and would be wider than the panel."""
    if len(table.rows) > _FEW_ROWS or len(table.titles) <= _WIDEST:
        return table
    measures = [f"{title} ({unit})" if unit else title for title, unit in zip(table.titles, table.units, strict=True)]
    columns = list(zip(*table.rows, strict=True))
    titles = (table.titles[0], *columns[0])
    rows = tuple((measure, *cells) for measure, cells in zip(measures[1:], columns[1:], strict=True))
    return Table(titles, ("",) * len(titles), rows, None)


def _table(figures: Table, link: str = "") -> str:
    titles = [f"{escape(title)}<br>{unit}" for title, unit in zip(figures.titles, figures.units, strict=True)]
    rows = ["".join(f'<th align="right"><small>\N{NO-BREAK SPACE}{title}</small></th>' for title in titles)]
    if link:
        first = f'<td valign="bottom"><small><a href="#">{escape(link)}</a></small></td>'
        rows = [first + rows[0].partition("</th>")[2]]
    for region, *cells in figures.rows:
        rows.append(f"<td>{escape(region)}</td>" + "".join(f'<td align="right">{cell}</td>' for cell in cells))
    return f'<table cellspacing="3" cellpadding="0">{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'


def provenance(result: ScanResult) -> str:
    """What was scanned and what was left out, and by which model."""
    card = result.model
    rows = (
        (_("Scanned"), (result.source,)),
        *contents.images(result).rows,
        *contents.masks(result).rows,
        (_("Model"), (f"{card.name} ({wording.architecture(card)}, {card.trained_on})",)),
    )
    return _entries(rows)


def about_model(card: ModelCard, file: str) -> str:
    """A model card and the name of its file."""
    return _entries((*contents.about_model(card).rows, (_("File"), (file,))))


def _entries(rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    return "<br>".join(f"<b>{escape(title)}:</b> {'<br>'.join(map(escape, lines))}" for title, lines in rows)
