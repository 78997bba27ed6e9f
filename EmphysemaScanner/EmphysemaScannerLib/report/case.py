"""What goes into one output folder."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..scan.result import ScanResult

if TYPE_CHECKING:
    from .contents import Drawing


@dataclass(frozen=True)
class Case:
    """A CT with a model's answer on it.

    Attributes:
        image: the CT in HU, any orientation.
        result: the answer.
        lesions: the true lesions, if known: 0 or 1 on the CT's canonical grid.
        note: a remark that a reader must see first, e.g. that the disease is simulated; may be empty.
        credit: whose CT it is and its licence; may be empty.
    """

    image: sitk.Image
    result: ScanResult
    lesions: NDArray[np.uint8] | None = None
    note: str = ""
    credit: str = ""

    @functools.cached_property
    def drawings(self) -> dict[Drawing, tuple[str, bytes]]:
        """The pictures of a report as ``pictures.draw`` gives them, drawn once for HTML and PDF."""
        from .pictures import draw  # brings matplotlib

        return draw(self)


def pseudonym(image: sitk.Image) -> str:
    """An anonymous name for a CT, made from its voxels: the same voxels give the same name."""
    return f"CT {hashlib.sha256(sitk.GetArrayViewFromImage(image)).hexdigest()[:8]}"
