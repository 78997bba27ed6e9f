"""The blocks that a report is made of; the HTML page, the PDF, the terminal and the window render them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Tone(str, Enum):
    """What a box is for."""

    WARNING = "warning"
    NOTE = "note"


class Drawing(str, Enum):
    """A picture of a case; ``pictures`` draws it."""

    MAP = "map"
    CHART = "chart"
    DENSITY = "density"
    RESPONSE = "response"


@dataclass(frozen=True)
class Box:
    """Lines on a coloured ground under a title."""

    title: str
    lines: tuple[str, ...]
    tone: Tone


@dataclass(frozen=True)
class Entries:
    """Titles, each with one or several lines beside it."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Headline:
    """The answer.

    Attributes:
        title: what the value is.
        value: the probability as text.
        call: the call, and on which side of the operating point the probability lies.
        withheld: whether no call is made; the value is grey then.
        probability, operating_point: 0 to 1, for the gauge.
        mark: the text at the operating point.
        source: where the operating point comes from.
        beside_title: over the densitometry beside the answer.
        beside: measures of both lungs with their units.
    """

    title: str
    value: str
    call: str
    withheld: bool
    probability: float
    operating_point: float
    mark: str
    source: str
    beside_title: str
    beside: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Attributes:
        drawing: which one.
        description: what it shows, for readers who do not see it.
        caption: the text below it.
        highlight: the end of the caption, in the colour of what is outlined; may be empty.
        faded: whether it is drawn pale, as no call is made.
    """

    drawing: Drawing
    description: str
    caption: str
    highlight: str
    faded: bool


@dataclass(frozen=True)
class Numbered:
    """Numbered sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of figures, named in their first cell.

    Attributes:
        titles, units: of the columns; over the first one the name of the table or nothing.
        rows: cells as text.
        whole: the row of both lungs, which stands out; None without one.
    """

    titles: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    whole: int | None


@dataclass(frozen=True)
class Paragraph:
    """A quiet remark."""

    text: str


Block = Box | Entries | Headline | Picture | Numbered | Table | Paragraph


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Contents:
    """A report.

    Attributes:
        kicker: what document this is.
        title: what the CT is called.
        made: when, and by which version.
        use: what the software is for; first, and at the end of every page.
        caution: what kind of model was used, beside it.
        answer: the blocks that come next, which every reader should see.
        sections: the rest.
        closing: quiet lines at the end.
    """

    kicker: str
    title: str
    made: str
    use: str
    caution: str
    answer: tuple[Block, ...]
    sections: tuple[Section, ...]
    closing: tuple[str, ...]
