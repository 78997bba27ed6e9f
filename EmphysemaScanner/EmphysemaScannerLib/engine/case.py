"""What goes into one output folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..core.result import ScanResult


@dataclass(frozen=True)
class Case:
    """A CT with a model's answer on it.

    Attributes:
        image: the CT in HU, any orientation.
        result: the answer.
        lesions: where disease truly is, if known: 0 or 1 on the CT's canonical grid.
        note: what a reader must know about this CT before all else, e.g. that its disease is simulated; may be empty.
        credit: whose CT it is and its licence; may be empty.
    """

    image: sitk.Image
    result: ScanResult
    lesions: NDArray[np.uint8] | None = None
    note: str = ""
    credit: str = ""


def pseudonym(image: sitk.Image) -> str:
    """A name for a CT that says nothing of whose it is: the same for the same voxels, told only by who has them."""
    return f"CT {hashlib.sha256(sitk.GetArrayViewFromImage(image)).hexdigest()[:8]}"
