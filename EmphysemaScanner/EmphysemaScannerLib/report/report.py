"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

from .blocks import Contents
from .contents import Case, contents
from .pictures import Drawn, draw

_MIME = {"png": "image/png", "svg": "image/svg+xml"}


def render_report(case: Case) -> str:
    """The page of a case as HTML text."""
    return render_page(contents(case), draw(case))


def render_page(report: Contents, drawn: Drawn) -> str:
    """A page as HTML text: pictures as data URIs, no link that must be followed, every inserted text escaped."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template("report.html.j2").render(
        report=report,
        pictures={drawing: _data_uri(kind, content) for drawing, (kind, content) in drawn.items()},
    )


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{_MIME[kind]};base64,{base64.b64encode(content).decode('ascii')}"
