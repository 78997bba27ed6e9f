"""The sample cases that come with EmphysemaScanner: unpacked or made on this computer, never downloaded.

The real one is LIDC-IDRI-0001 at lower resolution (Armato et al. 2011, The Cancer Imaging Archive, CC BY 3.0;
``Resources/SampleData/README.txt``), the other the same chest with emphysema put in by ``simulator``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ..base.errors import UnreadableInputError
from ..ct.grid import canonical
from ..lungs.lungs import segment_lungs
from .case import put_in
from .disease import Disease, Subtype

PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = PACKAGE.parent / "Resources" / "SampleData"
CT_FILE = FOLDER / "LIDC-IDRI-0001-reduced.nrrd"
DISEASE = Disease(Subtype.CENTRILOBULAR, extent_percent=12.0)  # plainly visible, as in the demo
SEED = 1


@dataclass(frozen=True)
class Sample:
    """A sample case.

    Attributes:
        name: of the case, and of its volume.
        thumbnail: a picture of it, PNG.
        make: gives the CT in HU.
    """

    name: str
    thumbnail: Path
    make: Callable[[], sitk.Image]


def real_chest_ct() -> sitk.Image:
    """A real chest CT without visible emphysema, int16 HU, about 1.6 x 1.6 x 5 mm.

    Raises:
        UnreadableInputError: this installation lacks the file.
    """
    if not CT_FILE.is_file():
        raise UnreadableInputError(
            f"This installation lacks the sample CT {CT_FILE.name}; install the extension again."
        )
    return sitk.ReadImage(str(CT_FILE))


def simulated_emphysema_ct() -> sitk.Image:
    """The same chest with simulated centrilobular emphysema; the same bits every time.

    Raises:
        UnreadableInputError: as ``real_chest_ct``.
    """
    image = canonical(real_chest_ct())
    return put_in(image, segment_lungs(image), DISEASE, SEED).image


SAMPLES = (
    Sample("Chest CT (LIDC-IDRI-0001)", FOLDER / "chest-ct.png", real_chest_ct),
    Sample("Chest CT with simulated emphysema", FOLDER / "simulated-emphysema.png", simulated_emphysema_ct),
)
