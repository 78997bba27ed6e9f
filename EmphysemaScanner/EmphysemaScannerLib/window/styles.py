"""How the window's boxes look: colours of their own for text and ground, so that they read in light and dark themes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import qt

_BOX = "QLabel {{ background-color: {ground}; color: {text}; padding: 6px; border-radius: 3px; }}"
NOTE = _BOX.format(ground="#e8eef4", text="#1c2b39")
WARNING = _BOX.format(ground="#ffe08a", text="#3b2f00")
ROW_HEIGHT = 22  # of tables, pixels
ERROR = _BOX.format(ground="#f8d0cc", text="#4a0f0a")


def say(label: Any, sentence: str, style: str = NOTE) -> None:
    """Show a sentence in a label, or hide the label when there is nothing to say."""
    label.textFormat = qt.Qt.PlainText  # names of files are not markup
    label.text = sentence
    label.styleSheet = style
    label.visible = bool(sentence)


def tip(*lines: str) -> str:
    """A tooltip of lines, empty ones left out, none of them read as markup."""
    return f"<qt>{'<br>'.join(escape(line) for line in lines if line)}</qt>"


def set_up_table(table: Any, titles: Sequence[str]) -> None:
    """Give a table its columns and low rows."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.verticalHeader().visible = False
    table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
