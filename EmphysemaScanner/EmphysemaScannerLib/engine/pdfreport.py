"""The report as PDF: what the HTML page says, in the same order, on A4 pages."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

from .. import __version__
from ..core.call import Call
from ..core.modelcard import ModelCard
from ..core.result import ScanResult
from . import slicewords, wording
from .case import Case
from .chart import slice_chart
from .montage import overlay_montage, undrawn_share
from .pdfpages import CONTENT, INK, LEFT, LINE, MM_PER_POINT, QUIET, WIDTH, Pages, text_width, wrap
from .report import REGIONS

ALERT, ALERT_BACK = "#b42318", "#fef3f2"
DOUBT, DOUBT_BACK = "#8a5a00", "#fff8e6"
NOTE, NOTE_BACK = "#0b5cad", "#eef5fc"
WITHHELD, FADED = "#8b959e", 0.45  # without a call, the probability is grey and the pictures fade
ANSWER_WIDTH = 104.0  # mm; densitometry stands at its right


def render_pdf(case: Case) -> bytes:
    """The report as a PDF document.

    It names the CT as ``result.source`` does and nothing else about the patient.
    """
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # or Slicer's log gets each step of embedding a font
    result = case.result
    pages = Pages()
    source = result.source or "Unnamed CT"
    _header(pages, source)
    _banner(pages, result.model)
    if result.warnings:
        doubts = [f"\N{BULLET} {warning}" for warning in result.warnings]
        pages.box("Doubts about this CT", doubts, DOUBT, DOUBT_BACK)
    if case.note:
        pages.box("About this CT", [case.note], NOTE, NOTE_BACK)
    _headline(pages, result)
    has_map = result.evidence is not None
    pages.heading("Where the evidence lies" if has_map else "The CT", needed=120)
    lesions = " Green outline: true lesions." if case.lesions is not None else ""
    opacity = FADED if result.call is Call.NONE else 1.0
    pages.picture(overlay_montage(case), slicewords.map_caption(result, undrawn_share(result)) + lesions, opacity)
    told = result.slice_story is not None
    pages.heading("The reading, slice by slice" if told else "Density, slice by slice", needed=70)
    pages.picture(slice_chart(case), slicewords.chart_caption(result), opacity)
    _how_to_read(pages, result)
    _densitometry(pages, result)
    _images(pages, result)
    _model(pages, result)
    pages.y += 2
    if case.credit:
        pages.paragraph(f"CT: {case.credit}", 8, color=QUIET)
    seconds = wording.number(result.timings_s.get("total", 0), 1)
    pages.paragraph(f"EmphysemaScanner {__version__}; scanned in {seconds} s.", 8, color=QUIET)
    return pages.render(f"EmphysemaScanner report: {source}", wording.RESEARCH_USE, _shortened(source, 7, 70))


def _header(pages: Pages, source: str) -> None:
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    pages.line(f"{made}, version {__version__}", WIDTH - LEFT, pages.y, 8, anchor="right", color=QUIET)
    pages.paragraph("EmphysemaScanner \N{MIDDLE DOT} chest CT report", 8, color=QUIET)
    pages.paragraph(source, 15, weight="bold", gap=2)


def _banner(pages: Pages, card: ModelCard) -> None:
    title = ("DEMONSTRATION MODEL \N{MIDDLE DOT} " if card.demonstration else "") + wording.RESEARCH_USE.upper()
    learned = f" It learned from: {card.training_data}" if card.demonstration else ""
    pages.box(title, [wording.caution(card) + learned], ALERT, ALERT_BACK, frame=True)


def _headline(pages: Pages, result: ScanResult) -> None:
    """The probability against the operating point; beside it what densitometry says of both lungs."""
    pages.need(48)
    top = pages.y
    pages.paragraph("Probability of emphysema according to the model", 8, color=QUIET, gap=1)
    ink = WITHHELD if result.call is Call.NONE else INK
    value, size = wording.percent(result.probability), 28.0
    pages.line(value, LEFT, pages.y, size, weight="bold", color=ink)
    beside = text_width(value, size, "bold") + 4
    lines = wrap(wording.verdict(result), 9, ANSWER_WIDTH - beside, "bold")
    line = 9 * LINE * MM_PER_POINT
    for k, part in enumerate(lines):
        pages.line(part, LEFT + beside, pages.y + 1 + k * line, 9, weight="bold")
    pages.y += max(size * MM_PER_POINT + 3, 2 + len(lines) * line)
    _gauge(pages, result.probability, result.model.operating_point.probability, ink)
    pages.paragraph(
        f"Operating point: {result.model.operating_point.source}", 8, width=ANSWER_WIDTH, color=QUIET, gap=0
    )
    bottom = pages.y
    if "whole" in result.densitometry:
        whole = result.densitometry["whole"]
        x, right, pages.y = LEFT + ANSWER_WIDTH + 10, WIDTH - LEFT, top
        pages.paragraph(slicewords.densitometry_title(result), 8, x=x, width=right - x, color=QUIET)
        for name, figure in (
            ("Below -950 HU (LAA%-950)", f"{wording.number(whole.laa_950_percent, 1)} %"),
            ("15th percentile (Perc15)", f"{wording.number(whole.perc15_hu, 0)} HU"),
            ("Mean density", f"{wording.number(whole.mean_hu, 0)} HU"),
            ("Lung volume", f"{wording.number(whole.volume_l, 2)} L"),
        ):
            pages.line(name, x, pages.y + 1, 8.5)
            pages.line(figure, right, pages.y + 1, 8.5, anchor="right", weight="bold")
            pages.y += 6.2
            pages.rule(x, right, pages.y - 0.6)
    pages.y = max(bottom, pages.y)


def _gauge(pages: Pages, probability: float, point: float, ink: str) -> None:
    width = ANSWER_WIDTH
    x, y = LEFT + width * probability, pages.y + 2.5
    mark = LEFT + width * point
    pages.rectangle(LEFT, y, mark - LEFT, 3.6, "#d7e3ee")
    pages.rectangle(mark, y, LEFT + width - mark, 3.6, "#f6cfae")
    pages.rectangle(LEFT, y + 1, x - LEFT, 1.6, ink)
    pages.triangle([(x, y - 0.1), (x - 1.4, y - 2.2), (x + 1.4, y - 2.2)], ink)
    pages.stroke([(mark, y - 1), (mark, y + 4.6)], ALERT, 1.6)
    anchor = "left" if point < 0.2 else ("right" if point > 0.8 else "center")
    pages.line(f"operating point {wording.percent(point)}", mark, y + 5, 7.5, anchor=anchor, color=ALERT)
    if point >= 0.35:
        pages.line("0 %", LEFT, y + 5, 7.5, color=QUIET)
    if point <= 0.65:
        pages.line("100 %", LEFT + width, y + 5, 7.5, anchor="right", color=QUIET)
    pages.y = y + 9.5


def _how_to_read(pages: Pages, result: ScanResult) -> None:
    pages.heading("How to read the evidence" if result.evidence is not None else "How to read the answer", needed=42)
    for number, text in enumerate(slicewords.how_to_read(result), start=1):
        pages.line(f"{number}.", LEFT, pages.y, 9)
        pages.paragraph(text, 9, x=LEFT + 6, width=CONTENT - 6, gap=0.6)


def _densitometry(pages: Pages, result: ScanResult) -> None:
    regions = [name for name in REGIONS if name in result.densitometry]
    titles = ("LAA%-950", "LAA%-910", "LAA%-856", "Perc15", "Mean", "SD", "Volume", "Mass")
    rows: list[tuple[str, ...]] = [("", *titles), ("", "%", "%", "%", "HU", "HU", "HU", "L", "g")]
    for name in regions:
        row = result.densitometry[name]
        figures = (
            (row.laa_950_percent, 1),
            (row.laa_910_percent, 1),
            (row.laa_856_percent, 1),
            (row.perc15_hu, 0),
            (row.mean_hu, 0),
            (row.sd_hu, 0),
            (row.volume_l, 2),
            (row.mass_g, 0),
        )
        rows.append((wording.REGION_NAMES[name], *(wording.number(value, digits) for value, digits in figures)))
    pages.heading("Densitometry", needed=55)
    ends = [45 + k * (CONTENT - 45) / (len(titles) - 1) for k in range(len(titles))]
    pages.table(rows, ends, bold=[2 + k for k, name in enumerate(regions) if name == "whole"], header=2)
    pages.paragraph(
        "LAA%: share of lung voxels below the threshold. Measured at the CT's own resolution inside the lung mask, "
        "airways excluded; the mass is the tissue's. Sharp kernels, thin slices, noise and the depth of inspiration "
        "change these figures.",
        8,
        color=QUIET,
    )


def _images(pages: Pages, result: ScanResult) -> None:
    known = wording.images(result.provenance)
    if known:
        pages.heading("The images", needed=25)
    for title, lines in known:
        for k, text in enumerate(lines):
            pages.entry("" if k else title, text)


def _model(pages: Pages, result: ScanResult) -> None:
    card = result.model
    pages.heading("The model", needed=40)
    pages.entry("Name", card.name)
    pages.entry(
        "Architecture",
        f"{wording.architecture(card)}, {card.parameters:,} parameters, reads {slicewords.reads(result)}",
    )
    pages.entry("Trained on", f"{card.training_data} ({card.trained_on})")
    pages.entry("Intended use", card.intended_use)
    pages.entry("Limits", card.limits)
    pages.entry("Operating point", f"{card.operating_point.probability:.3f}: {card.operating_point.source}")
    for k, metric in enumerate(card.metrics):
        interval = f"95 % interval {metric.low:.2f} to {metric.high:.2f}"
        pages.entry("" if k else "Measured", f"{metric.name} {metric.value:.2f} ({interval}; {metric.data})")
    for k, citation in enumerate(card.citations):
        pages.entry("" if k else "Sources", citation)


def _shortened(text: str, size: float, width: float) -> str:
    """Text on one line, its end cut off where it is too long."""
    first, *more = wrap(text, size, width, "normal") or [""]
    return f"{first}..." if more else first
