"""How the window's boxes look: colours of their own for text and ground, so that they read in light and dark themes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BOX = "QLabel {{ background-color: {ground}; color: {text}; padding: 6px; border-radius: 3px; }}"
NOTE = _BOX.format(ground="#e8eef4", text="#1c2b39")
ROW_HEIGHT = 22  # of tables, pixels
ERROR = _BOX.format(ground="#f8d0cc", text="#4a0f0a")


def say(label: Any, sentence: str, style: str = NOTE) -> None:
    """Show a sentence in a label, or hide the label when there is nothing to say."""
    label.text = sentence
    label.styleSheet = style
    label.visible = bool(sentence)


def set_up_table(table: Any, titles: Sequence[str]) -> None:
    """Give a table its columns and low rows."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.verticalHeader().visible = False
    table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
