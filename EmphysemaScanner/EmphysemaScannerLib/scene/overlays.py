"""How the maps of a scan are drawn over the CT: interpolated, within the lungs, with a range read from them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import slicer
from numpy.typing import NDArray
from scipy import ndimage

from ..core.grid import Grid, area_average
from ..core.result import OverlayMap, ScanResult
from .colours import activation_colours, evidence_colours
from .volumes import add_volume

# The views interpolate between voxels, so an overlay fades out over one voxel beyond the lungs. The network's slices
# are about 9 mm apart, its pixels 3 mm: thirds of slices make the fringe equally thin in all directions.
PARTS_OF_A_SLICE = 3
HIDDEN_PERCENTILE = 50.0  # weaker activation than the lungs' median is not drawn
LEGEND_WIDTH_PER_CHARACTER = 0.0135  # of the view's width
FULL_PERCENTILE = 99.5  # the strongest voxels share the last colour, so that one of them doesn't set the scale


class Overlay(Enum):
    """What can be drawn over the CT: the evidence, or the activation of a unit."""

    EVIDENCE = "evidence"
    ASC1 = "asc1"
    DESC1 = "desc1"
    ASC2 = "asc2"
    DESC2 = "desc2"

    @property
    def label(self) -> str:
        """Its name in the scene and on legends."""
        if self is Overlay.EVIDENCE:
            return "evidence"
        return f"activation {self.value}"


@dataclass(frozen=True)
class DisplayMap:
    """A map as it is drawn.

    Attributes:
        values: float32 (slices, rows, columns), inferior to superior, 0 outside the lungs.
        grid: where the values lie.
        low, high: ends of the colours.
    """

    values: NDArray[np.float32]
    grid: Grid
    low: float
    high: float


def maps_of(result: ScanResult) -> dict[Overlay, OverlayMap]:
    """The result's maps by what they show."""
    return {Overlay.EVIDENCE: result.evidence, **{Overlay(name): m for name, m in result.activations.items()}}


def display_grid(result: ScanResult) -> Grid:
    """The grid that maps are drawn on: the network's input grid, its slices in thirds."""
    slices, rows, columns = result.lung_fraction.grid.shape
    return result.lung_fraction.grid.resized((slices * PARTS_OF_A_SLICE, rows, columns))


def display_lungs(result: ScanResult) -> NDArray[np.bool_]:
    """Voxels of ``display_grid`` of which at least half is lung."""
    return area_average(result.lung_mask.values > 0, display_grid(result).shape) >= 0.5


def display_map(overlay: Overlay, raw: OverlayMap, grid: Grid, lungs: NDArray[np.bool_]) -> DisplayMap:
    """A raw map as it is drawn: linear between its voxels' centres, constant beyond the outermost ones.

    Args:
        overlay: decides the range: evidence is symmetric about zero, activation starts at the lungs' median.
        raw: on any grid that covers the same box of space as ``grid``.
        lungs: on ``grid``; outside, the map is 0.
    """
    zoom = np.array(grid.shape) / np.array(raw.grid.shape)
    # grid_mode: box edges, not voxel centres, are what coincides
    fine = ndimage.zoom(raw.values.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True)
    inside = fine[lungs]
    values = np.where(lungs, fine, np.float32(0))
    if inside.size == 0:
        return DisplayMap(values, grid, -1.0 if overlay is Overlay.EVIDENCE else 0.0, 1.0)
    if overlay is Overlay.EVIDENCE:
        limit = _two_digits(float(np.percentile(np.abs(inside), FULL_PERCENTILE))) or 1.0
        return DisplayMap(values, grid, -limit, limit)
    low, high = (_two_digits(float(p)) for p in np.percentile(inside, (HIDDEN_PERCENTILE, FULL_PERCENTILE)))
    return DisplayMap(values, grid, low, high if high > low else low + 1.0)


def add_overlay(
    scene: slicer.vtkMRMLScene, overlay: Overlay, shown: DisplayMap, name: str, ct: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume node of an overlay with its colours and legend, in the CT's coordinate system."""
    node = add_volume(scene, shown.values, shown.grid.ijk_to_ras(), name, beside=ct)
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(shown.low, shown.high)
    display.InterpolateOn()
    if overlay is Overlay.EVIDENCE:
        display.SetAndObserveColorNodeID(evidence_colours(scene).GetID())
    else:
        display.SetAndObserveColorNodeID(activation_colours(scene).GetID())
        display.AutoThresholdOff()
        # Never at or below 0, which is what lies outside the lungs.
        display.SetThreshold(max(shown.low, np.finfo(np.float32).tiny), float(max(shown.values.max(), shown.high)))
        display.ApplyThresholdOn()
    _add_legend(scene, node, overlay, shown)
    return node


def _add_legend(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode, overlay: Overlay, shown: DisplayMap
) -> None:
    """A narrow colour legend at the right edge, with small text."""
    legend = scene.AddNewNodeByClass("vtkMRMLColorLegendDisplayNode")
    legend.SetName(f"{node.GetName()} legend")
    legend.SetAndObservePrimaryDisplayNode(node.GetDisplayNode())
    title = "Evidence\n(logit / cell)" if overlay is Overlay.EVIDENCE else f"Activation\n{overlay.value}"
    legend.SetTitleText(title)
    label_format = _label_format(shown)
    legend.SetLabelFormat(label_format)
    legend.SetNumberOfLabels(5)
    # Slicer ignores the font size: text is as large as the legend's width allows, and a narrow one keeps it small.
    longest = max(len(label_format % shown.low), len(label_format % shown.high))
    legend.SetSize(LEGEND_WIDTH_PER_CHARACTER * longest, 0.28)
    legend.SetPosition(0.98, 0.08)  # lower right: the side's letter is in the middle, the lungs end above
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontFamilyToArial()
        text.BoldOff()
        text.ItalicOff()
    node.AddAndObserveDisplayNodeID(legend.GetID())
    legend.Modified()  # as Slicer's own colour logic: the views don't notice the line above


def _label_format(shown: DisplayMap) -> str:
    """As many decimals as the range's ends need."""
    largest = max(abs(shown.low), abs(shown.high))
    decimals = int(np.clip(1 - np.floor(np.log10(largest)), 0, 6))
    return f"%.{decimals}f"


def _two_digits(value: float) -> float:
    """Rounded to two significant digits, so that legends are easily read."""
    return float(f"{value:.2g}")
