"""The lung mask and the lobes of a scan, as nodes of the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..lungs.recognition import WANTED_LOBES, WANTED_LUNGS
from ..lungs.regions import MaskKind, Masks, Region
from ..scene.labelnodes import prepare_regions

if TYPE_CHECKING:
    from slicer import vtkMRMLDisplayableNode

    from ..lungs.regions import GivenRegions


@dataclass(frozen=True)
class MaskNodes:
    """Segmentations or label maps to use.

    Attributes:
        lungs: as lung mask; None for the lobes together, or, without these, for the lungs that are found.
        lobes: as lobes; None without lobes.
        lung_segments, lobe_segments: regions by the names of segments, or the values of a label map, where these are
            not recognised.
        lungs_kind: how the result calls the lung mask.
    """

    lungs: vtkMRMLDisplayableNode | None = None
    lobes: vtkMRMLDisplayableNode | None = None
    lung_segments: Mapping[str, Region] = field(default_factory=dict)
    lobe_segments: Mapping[str, Region] = field(default_factory=dict)
    lungs_kind: MaskKind = MaskKind.SEGMENTATION

    def prepare(self) -> Callable[[], Masks]:
        """Read the scene; what comes back makes the masks on any thread.

        Raises:
            RegionError: a segment is unknown, missing or empty.
            GeometryError: a node has no straight grid.
        """
        lungs, lobes = (
            None if node is None else prepare_regions(node, wanted, dict(given), kind)
            for node, wanted, given, kind in (
                (self.lungs, WANTED_LUNGS, self.lung_segments, self.lungs_kind),
                (self.lobes, WANTED_LOBES, self.lobe_segments, MaskKind.SEGMENTATION),
            )
        )
        return lambda: Masks(_made(lungs), _made(lobes))


NO_NODES = MaskNodes()


def _made(make: Callable[[], GivenRegions] | None) -> GivenRegions | None:
    return None if make is None else make()
