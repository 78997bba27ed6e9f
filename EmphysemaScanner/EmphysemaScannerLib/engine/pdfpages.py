"""A4 pages drawn from top to bottom by matplotlib: paragraphs, boxes, tables and pictures that flow onto new pages."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.textpath import text_to_path

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 210.0, 297.0, 15.0, 13.0, 17.0  # mm
CONTENT = WIDTH - 2 * LEFT
MM_PER_POINT, MM_PER_INCH = 25.4 / 72, 25.4
LINE = 1.32  # times the size of the letters
INK, QUIET, RULE = "#1f2933", "#52606d", "#d9dee4"
PICTURE_DPI = 220


class Pages:
    """A document in the making; positions are mm from a page's upper left corner, ``y`` is where to go on."""

    def __init__(self) -> None:
        self._figures: list[Figure] = []
        self.new_page()

    def new_page(self) -> None:
        """Go on at the top of a new page."""
        self._figures.append(Figure(figsize=(WIDTH / MM_PER_INCH, HEIGHT / MM_PER_INCH), facecolor="white"))
        self.y = TOP

    @property
    def left_mm(self) -> float:
        """Height that is left on this page."""
        return HEIGHT - BOTTOM - self.y

    def need(self, height: float) -> None:
        """Go to a new page unless that height is left on this one."""
        if height > self.left_mm and self.y > TOP:
            self.new_page()

    def line(self, text: str, x: float, y: float, size: float, *, anchor: str = "left", **style: Any) -> None:
        """One line of text whose letters stand at ``y`` + their size."""
        self._figures[-1].text(
            x / WIDTH,
            1 - (y + size * MM_PER_POINT) / HEIGHT,
            text,
            fontsize=size,
            ha=anchor,
            va="baseline",
            parse_math=False,
            **{"color": INK, **style},
        )

    def paragraph(
        self,
        text: str,
        size: float = 9,
        *,
        x: float = LEFT,
        width: float = CONTENT,
        gap: float = 1.0,
        color: str = INK,
        weight: str = "normal",
    ) -> None:
        """A paragraph, its lines broken at spaces; ``gap`` mm follow it."""
        for part in wrap(text, size, width, weight):
            self.need(size * LINE * MM_PER_POINT)
            self.line(part, x, self.y, size, color=color, weight=weight)
            self.y += size * LINE * MM_PER_POINT
        self.y += gap

    def heading(self, text: str, needed: float = 25.0) -> None:
        """A section's title with a rule below it, on a page with ``needed`` mm of room for what follows."""
        self.y += 2.5
        self.need(needed)
        self.line(text, LEFT, self.y, 11, weight="bold")
        self.y += 5.6
        self.rule(LEFT, WIDTH - LEFT, self.y)
        self.y += 1.6

    def box(self, title: str, lines: Sequence[str], edge: str, back: str, size: float = 9, frame: bool = False) -> None:
        """A title in the edge's colour and lines below it, on a coloured ground."""
        inner = CONTENT - 9
        wrapped = [part for text in lines for part in wrap(text, size, inner, "normal")]
        height = (1.15 + len(wrapped)) * size * LINE * MM_PER_POINT + 4
        self.need(height)
        self.rectangle(LEFT, self.y, CONTENT, height, back)
        if frame:
            self._draw(Rectangle, LEFT, self.y, CONTENT, height, fill=False, edgecolor=edge, linewidth=1.2)
        self.rectangle(LEFT, self.y, 2.2, height, edge)
        self.line(title, LEFT + 6, self.y + 1.6, size * 1.1, color=edge, weight="bold")
        y = self.y + 1.6 + 1.15 * size * LINE * MM_PER_POINT
        for part in wrapped:
            self.line(part, LEFT + 6, y, size)
            y += size * LINE * MM_PER_POINT
        self.y += height + 2

    def picture(self, figure: Figure, caption: str, opacity: float = 1.0, smallest: float = 0.62) -> None:
        """Another figure as a picture over the whole width, or smaller where it then stays on this page."""
        below = len(wrap(caption, 8, CONTENT, "normal")) * 8 * LINE * MM_PER_POINT + 2
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(PICTURE_DPI)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        rows, columns = pixels.shape[:2]
        height = CONTENT * rows / columns
        scale = min(1.0, (self.left_mm - below) / height)
        if scale < smallest:
            self.new_page()
            scale = min(1.0, (self.left_mm - below) / height)
        width, height = scale * CONTENT, scale * height
        left = LEFT + (CONTENT - width) / 2
        axes = self._figures[-1].add_axes(
            (left / WIDTH, 1 - (self.y + height) / HEIGHT, width / WIDTH, height / HEIGHT)
        )
        axes.imshow(pixels, interpolation="none", aspect="auto", alpha=opacity)
        axes.set_axis_off()
        self.y += height + 1
        self.paragraph(caption, 8, color=QUIET)

    def table(
        self,
        rows: Sequence[Sequence[str]],
        ends: Sequence[float],
        size: float = 8.5,
        bold: Sequence[int] = (),
        header: int = 0,
    ) -> None:
        """Rows of short cells: the first starts at the left margin, the others end ``ends`` mm right of it.

        Args:
            bold: rows in bold.
            header: number of rows at the top that are titles.
        """
        height = size * 1.55 * MM_PER_POINT
        self.need(height * len(rows))
        for k, cells in enumerate(rows):
            color, weight = (QUIET, "bold") if k < header else (INK, "bold" if k in bold else "normal")
            self.line(cells[0], LEFT, self.y, size, color=color, weight=weight)
            for cell, end in zip(cells[1:], ends, strict=True):
                self.line(cell, LEFT + end, self.y, size, anchor="right", color=color, weight=weight)
            self.y += height
            if k + 1 >= header:
                self.rule(LEFT, LEFT + ends[-1], self.y - 0.5)
        self.y += 1

    def entry(self, title: str, text: str, size: float = 8.5, indent: float = 32.0) -> None:
        """A title at the left and a paragraph beside it."""
        lines = wrap(text, size, CONTENT - indent, "normal")
        self.need(len(lines) * size * LINE * MM_PER_POINT)
        self.line(title, LEFT, self.y, size, color=QUIET, weight="bold")
        self.paragraph(text, size, x=LEFT + indent, width=CONTENT - indent, gap=0.5)
        self.rule(LEFT, WIDTH - LEFT, self.y)
        self.y += 0.6

    def rule(self, start: float, end: float, y: float, color: str = RULE, linewidth: float = 0.6) -> None:
        """A line across."""
        self.stroke([(start, y), (end, y)], color, linewidth)

    def stroke(self, points: Sequence[tuple[float, float]], color: str, linewidth: float) -> None:
        """A line through points."""
        x, y = zip(*((x / WIDTH, 1 - y / HEIGHT) for x, y in points), strict=True)
        self._figures[-1].add_artist(Line2D(x, y, color=color, linewidth=linewidth))

    def rectangle(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """A coloured field."""
        self._draw(Rectangle, x, y, width, height, facecolor=color, linewidth=0)

    def triangle(self, points: Sequence[tuple[float, float]], color: str) -> None:
        """A coloured triangle."""
        corners = [(x / WIDTH, 1 - y / HEIGHT) for x, y in points]
        figure = self._figures[-1]
        figure.add_artist(Polygon(corners, facecolor=color, linewidth=0, transform=figure.transFigure))

    def _draw(
        self, kind: type[Rectangle], x: float, y: float, width: float, height: float, **style: str | float | bool
    ) -> None:
        figure = self._figures[-1]
        place = (x / WIDTH, 1 - (y + height) / HEIGHT)
        artist = kind(place, width / WIDTH, height / HEIGHT, transform=figure.transFigure, **style)  # type: ignore[arg-type]
        figure.add_artist(artist)

    def render(self, title: str, footer: str, footer_right: str) -> bytes:
        """The document as PDF, with a footer on every page; the same pages give the same bytes."""
        buffer = io.BytesIO()
        metadata = {"Title": title, "Creator": "EmphysemaScanner", "Producer": None, "CreationDate": None}
        with rc_context({"pdf.fonttype": 42}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # shown as a box, as everywhere
            with PdfPages(buffer, metadata=metadata) as document:
                for number, figure in enumerate(self._figures, start=1):
                    self._foot(figure, footer, f"{footer_right}   page {number} of {len(self._figures)}")
                    document.savefig(figure)
        return buffer.getvalue()

    def _foot(self, figure: Figure, left: str, right: str) -> None:
        y = (BOTTOM - 6) / HEIGHT
        x = (LEFT / WIDTH, 1 - LEFT / WIDTH)
        figure.add_artist(Line2D(x, (y + 0.012, y + 0.012), color=RULE, linewidth=0.6))
        figure.text(x[0], y, left, fontsize=8, weight="bold", color="#b42318", parse_math=False)
        figure.text(x[1], y, right, fontsize=7, ha="right", color=QUIET, parse_math=False)


def wrap(text: str, size: float, width: float, weight: str) -> list[str]:
    """Text as lines that are not wider than ``width`` mm, broken at spaces, or anywhere in a word that is too long."""
    lines: list[str] = []
    line = ""
    for word in text.replace(" %", "\N{NO-BREAK SPACE}%").replace("\n", " ").split(" "):
        longer = f"{line} {word}" if line else word
        if text_width(longer, size, weight) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while text_width(line, size, weight) > width and len(line) > 1:
            fits, used = 0, 0.0
            while used <= width and fits < len(line):
                used += text_width(line[fits], size, weight)
                fits += 1
            fits = max(fits - 1, 1)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line else lines


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text, mm."""
    words = text.split(" ")
    spaces = (len(words) - 1) * (_width_at_10("a a", weight) - _width_at_10("aa", weight))
    return (sum(_width_at_10(word, weight) for word in words) + spaces) * size / 10 * MM_PER_POINT


@functools.lru_cache(maxsize=10_000)
def _width_at_10(word: str, weight: str) -> float:
    """Width at 10 points, in points; measuring letters takes longer than all else on a page of text."""
    if not word:
        return 0.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        font = FontProperties(size=10, weight=weight)
        return float(text_to_path.get_text_width_height_descent(word, font, ismath=False)[0])
