"""The report as PDF on A4 pages: the blocks of the HTML page, typeset by Typst."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import matplotlib
import typst
from matplotlib.ft2font import FT2Font

from ..i18n import tr as _
from .blocks import Contents, Drawing
from .contents import Case, contents
from .pictures import Drawn, draw

_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")  # come with matplotlib: Latin, Greek, Cyrillic, Arabic and more
_FAMILY = "DejaVu Sans"
_TEMPLATE = "report.typ"
_MOST_NAMED = 8
_PPI = 150.0  # of pictures of pages
_INVISIBLE = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")  # categories of Unicode


def render_pdf(case: Case) -> bytes:
    """The report as a PDF document; the same case in the same minute gives the same bytes.

    Characters that DejaVu Sans lacks, such as Chinese ones, are shown in a font of the computer. Without one, boxes
    replace them and a sentence under the title names them.
    """
    return render_document(contents(case), draw(case))


def render_pages(case: Case) -> list[bytes]:
    """The pages of the same document as PNG pictures, 150 pixels an inch."""
    return render_pictures(contents(case), draw(case))


def render_document(report: Contents, drawn: Drawn) -> bytes:
    """Contents of any kind as a PDF document."""
    return _compiled(report, drawn, "pdf")[0]


def render_pictures(report: Contents, drawn: Drawn) -> list[bytes]:
    """The pages of the same document as PNG pictures, 150 pixels an inch."""
    return _compiled(report, drawn, "png")


def _compiled(report: Contents, drawn: Drawn, form: Literal["pdf", "png"]) -> list[bytes]:
    """The document, or each of its pages."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in _FONTS:  # alone: beside them lies a font of boxes for all characters, which would be taken for real
            shutil.copy(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, root)
        fonts = typst.Fonts(font_paths=[str(root)])
        files = {}
        for drawing, (kind, content) in drawn.items():
            files[drawing] = f"{drawing.value}.{kind}"
            (root / files[drawing]).write_bytes(content)
        values = {**_values(report, files), "missing_glyphs": _missing_glyphs(report, fonts)}
        (root / "report.json").write_text(json.dumps(values), encoding="utf-8")
        template = resources.files(__package__) / "templates" / _TEMPLATE
        with resources.as_file(template) as path:
            shutil.copy(path, root / _TEMPLATE)
        made = typst.compile(
            str(root / _TEMPLATE), root=str(root), font_paths=fonts, format=form, ppi=_PPI, timestamp=0
        )
    return [bytes(page) for page in (made if isinstance(made, list) else [made])]


def _values(part: Any, files: dict[Drawing, str]) -> Any:
    """Blocks as JSON: their fields and, as "kind", the name of their class; drawings as the names of their files."""
    if isinstance(part, Drawing):
        return files[part]
    if isinstance(part, Enum):
        return part.value
    if dataclasses.is_dataclass(part):
        fields = {field.name: _values(getattr(part, field.name), files) for field in dataclasses.fields(part)}
        return {"kind": type(part).__name__, **fields}
    if isinstance(part, tuple):
        return [_values(item, files) for item in part]
    return part


def _missing_glyphs(report: Contents, fonts: typst.Fonts) -> str:
    """A sentence that names the characters for which no font is at hand; empty where all can be shown."""
    written = {character for text in _texts(report) for character in text}
    missing = {ord(character) for character in written if unicodedata.category(character) not in _INVISIBLE}
    known = sorted(fonts.fonts(), key=lambda font: font.family != _FAMILY)
    for path in dict.fromkeys(font.path for font in known if font.path and not _shows_boxes(font)):
        if not missing:
            break
        with contextlib.suppress(OSError, RuntimeError):  # a damaged font shows nothing
            missing -= FT2Font(path).get_charmap().keys()
    if not missing:
        return ""
    codes = [f"U+{code:04X}" for code in sorted(missing)]
    named = ", ".join(codes[:_MOST_NAMED]) + (", ..." if len(codes) > _MOST_NAMED else "")
    return _(
        "Boxes replace characters that are missing from this computer's fonts: {codes}. The HTML report shows them"
        " where such a font is installed."
    ).format(codes=named)


def _shows_boxes(font: typst.FontInfo) -> bool:
    """Whether it is macOS' last resort, a font of boxes for all characters."""
    return font.family.replace(" ", "").lower().startswith((".lastresort", "lastresort"))


def _texts(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from _texts(item)
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            yield from _texts(getattr(part, field.name))
