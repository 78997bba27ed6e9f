"""A result as the rich text that Slicer's window shows. Qt draws only a small part of HTML: tables, colours, sizes."""

from __future__ import annotations

from html import escape
from itertools import pairwise

from ..core.call import Call
from ..core.result import ScanResult
from ..i18n import tr as _
from . import slicewords, wording

REACHED, NOT_REACHED, MARK = "#c8531c", "#c9d3dc", "#000000"
WITHHELD = "#8b959e"  # without a call, probability and bar are grey


def caution(result: ScanResult) -> str:
    """What must be known before the probability is read; a demonstration model is named first, in bold."""
    banner = f"<b>{_('DEMONSTRATION MODEL.')}</b> " if result.model.demonstration else ""
    return banner + escape(wording.caution(result.model))


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
    large = f'<span style="font-size:24pt; font-weight:600">{wording.percent(value)}</span>'
    sentence = _("{percent} probability of emphysema").format(percent=large)
    if result.call is Call.NONE:
        sentence = f'<span style="color:{WITHHELD}">{sentence}</span>'
    return f'<p>{sentence}</p><table width="100%" cellspacing="0" cellpadding="0"><tr>{"".join(cells)}</tr></table>'


def verdict(result: ScanResult) -> str:
    """On which side of the operating point the probability lies, and what the model can tell of single slices."""
    return "<br>".join(escape(line) for line in (wording.verdict(result), slicewords.story(result)) if line)


def warnings(result: ScanResult, most: int | None = None) -> str:
    """The warnings, one below the other; empty when there are none.

    Args:
        result: the answer.
        most: how many are shown, the most important; a link says how many more there are. None for all.
    """
    shown = result.warnings[:most]
    lines = [escape(warning) for warning in shown]
    hidden = len(result.warnings) - len(shown)
    if hidden:
        lines.append(f'<a href="all">{escape(_("{count} more...").format(count=hidden))}</a>')
    return "<br>".join(lines)


def densitometry(result: ScanResult) -> str:
    """A table: regions of the lungs down, classical measures across."""
    titles = ("", "LAA-950<br>%", "LAA-910<br>%", "Perc15<br>HU", _("Mean<br>HU"), _("Volume<br>L"))
    rows = ["".join(f'<th align="right">{title}</th>' for title in titles)]
    for region, measured in result.densitometry.items():
        figures = (
            wording.number(measured.laa_950_percent, 1),
            wording.number(measured.laa_910_percent, 1),
            wording.number(measured.perc15_hu, 0),
            wording.number(measured.mean_hu, 0),
            wording.number(measured.volume_l, 2),
        )
        cells = "".join(f'<td align="right">{figure}</td>' for figure in figures)
        rows.append(f"<td>{escape(wording.REGION_NAMES.get(region, region))}</td>{cells}")
    return f'<table cellpadding="3">{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'


def provenance(result: ScanResult) -> str:
    """What was scanned and what was left out, with which model, and what that model learned from and never saw."""
    card = result.model
    lines = {
        _("Scanned"): result.source,
        **{title: "; ".join(parts) for title, parts in wording.images(result.provenance)},
        _("Model"): f"{card.name} ({wording.architecture(card)}, {card.trained_on})",
        _("Trained on"): card.training_data,
        _("Limits"): card.limits,
    }
    return "<br>".join(f"<b>{title}:</b> {escape(text)}" for title, text in lines.items())
