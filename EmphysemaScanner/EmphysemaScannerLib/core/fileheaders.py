"""What must be known of a file before ITK reads it."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from .errors import NotAChestCTError, damaged

_FLOATS = (16, 64)  # the codes of float and double
_MOST_BYTES = 2**34
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


def check_nifti(path: Path) -> None:
    """Refuse a NIfTI file that lacks voxels or holds NaN; ITK silently makes both zero, which would be tissue.

    Raises:
        UnreadableInputError: damaged or not complete.
        NotAChestCTError: it holds NaN or infinite values.

    Source: the NIfTI-1 and NIfTI-2 header layouts (nifti.nimh.nih.gov): sizes, type, bits and offset of the voxels.
    """
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            header = file.read(540)
            for order in "<>":
                if struct.unpack_from(f"{order}i", header)[0] == 348:
                    dimensions = struct.unpack_from(f"{order}8h", header, 40)
                    kind, bits, offset = struct.unpack_from(f"{order}hh34xf", header, 70)
                    break
                if struct.unpack_from(f"{order}i", header)[0] == 540:
                    dimensions = struct.unpack_from(f"{order}8q", header, 16)
                    kind, bits, offset = struct.unpack_from(f"{order}hh152xq", header, 12)
                    break
            else:
                raise damaged(path)
            if not 1 <= dimensions[0] <= 7 or min(dimensions[1 : dimensions[0] + 1]) < 1:
                raise damaged(path)
            left = math.prod(dimensions[1 : dimensions[0] + 1]) * bits // 8
            if left >= _MOST_BYTES or not 0 <= offset < _MOST_BYTES:
                raise damaged(path)
            file.seek(int(offset))
            while left > 0 and (block := file.read(min(left, 1 << 22))):
                left -= len(block)
                if kind in _FLOATS:
                    whole = len(block) // (bits // 8) * (bits // 8)
                    values = np.frombuffer(block[:whole], f"{order}f{bits // 8}")
                    if not np.isfinite(values.min(initial=0) + values.max(initial=0)):
                        raise NotAChestCTError(
                            f"'{path}' holds NaN or infinite values; replace them by -1024 (air) and try again."
                        )
    except (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise damaged(path) from error
    if left > 0:
        raise damaged(path)
