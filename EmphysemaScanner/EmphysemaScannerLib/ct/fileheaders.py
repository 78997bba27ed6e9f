"""What must be known of a file before ITK reads it."""

from __future__ import annotations

import re
from pathlib import Path

from ..base.errors import damaged

_META_HEADER_BYTES = 1 << 20


def check_metaimage(path: Path) -> None:
    """Refuse an MHA or MHD file whose header states dimensions for which ITK has no room; it would end the process.

    Raises:
        UnreadableInputError: that, or the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_META_HEADER_BYTES)
    except OSError as error:
        raise damaged(path) from error
    stated = re.findall(rb"NDims\s*[=:]?\s*([^\s]*)", header.partition(b"ElementDataFile")[0], re.IGNORECASE)
    if not stated or any(number not in (b"1", b"2", b"3", b"4", b"5") for number in stated):
        raise damaged(path)
