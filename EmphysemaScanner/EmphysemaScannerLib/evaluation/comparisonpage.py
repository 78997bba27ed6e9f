"""The page of a comparison: tables and plots in one HTML file, and everything that is written beside it."""

from __future__ import annotations

import base64
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from .. import __version__
from . import comparisontables
from .comparisoncharts import calibration_chart, roc_chart, svg

if TYPE_CHECKING:
    from .compare import Comparison

PAGE, MARKDOWN_FILE, CSV_FILE = "comparison.html", "comparison.md", "comparison.csv"
PAIRS_FILE, SUBGROUPS_FILE = "comparison-pairs.csv", "comparison-subgroups.csv"
ROC_FILE, CALIBRATION_FILE = "roc.svg", "calibration.svg"


def page(comparison: Comparison) -> str:
    """The page as HTML text: pictures as data URIs, no link that must be followed, every inserted text escaped."""
    return _page(comparison, svg(roc_chart(comparison)), svg(calibration_chart(comparison)))


def write(comparison: Comparison, folder: Path) -> None:
    """Write the page, the tables as Markdown and CSV, and the plots as SVG into an existing folder."""
    roc, calibration = svg(roc_chart(comparison)), svg(calibration_chart(comparison))
    pictures = (("ROC curves", ROC_FILE), ("Calibration", CALIBRATION_FILE))
    files = {
        PAGE: _page(comparison, roc, calibration),
        MARKDOWN_FILE: comparisontables.markdown(comparison, pictures),
        CSV_FILE: comparisontables.models_csv(comparison),
        PAIRS_FILE: comparisontables.pairs_csv(comparison),
        ROC_FILE: roc,
        CALIBRATION_FILE: calibration,
    }
    if comparison.subgroups:
        files[SUBGROUPS_FILE] = comparisontables.subgroups_csv(comparison)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _page(comparison: Comparison, roc: str, calibration: str) -> str:
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["cell"] = _cell
    first, *others = comparisontables.tables(comparison)
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        statement=comparisontables.statement(comparison),
        first=first,
        others=others,
        roc=_data_uri(roc),
        calibration=_data_uri(calibration),
        version=__version__,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _cell(text: str) -> Markup:
    """A cell whose interval stands small below its figure."""
    found = re.fullmatch(r"([+-]?[\d.]+) (\([^)]*\))", text)
    if not found:
        return escape(text)
    return Markup('{}<span class="interval">{}</span>').format(found[1], found[2][1:-1])


def _data_uri(picture: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode('ascii')}"
