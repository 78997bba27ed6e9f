"""How the maps of a scan are drawn over the CT: interpolated, within the lungs, in a colour range of their own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import slicer
from numpy.typing import NDArray

from ..ct.grid import Grid, area_average
from ..i18n import tr as _
from ..lungs.expiration import Response
from ..models.modelcard import ModelCard
from ..scan.result import OverlayMap, ScanResult, SliceEvidence
from .colours import COLOURS_ATTRIBUTE, ENTRIES, ColourMap, add_colours, colours_of, set_colours
from .volumes import add_volume, place, vtk_image

# The views interpolate between voxels, so an overlay fades out over one voxel beyond the lungs. The network's slices
# are about 9 mm apart, its pixels 3 mm: thirds of slices make the fringe equally thin in all directions.
PARTS_OF_A_SLICE = 3
HIDDEN_SHARE = 0.1  # of the colour range: what is weaker is not drawn, at first
FLOOR_ATTRIBUTE = "EmphysemaScanner.Floor"  # of an overlay: the size below which it is never drawn
FRAME_DISTANCE, FRAME_WIDTH = 2, 2  # pixels of the network's grid between the lungs and a frame, and of the frame
HIDDEN_PERCENTILE = 50.0  # weaker activation than the lungs' median is not drawn
LEGEND_WIDTH_PER_CHARACTER = 0.0135  # of the view's width
_CLASS = "class_"  # what the names of class-weighted activations begin with
FULL_PERCENTILE = 99.5  # the strongest voxels share the last colour, so that one of them doesn't set the scale


@dataclass(frozen=True)
class Scale:
    """A colour range that is the same for every CT, so that a healthy lung looks empty.

    Attributes:
        floor: size of the values below which nothing is drawn.
        full: size from which on all values share the last colour.
    """

    floor: float
    full: float


class Overlay(Enum):
    """What can be drawn over the CT; of those that a result has, the first in this order is shown first."""

    DISEASE = "disease"
    CLASS_ASC1 = "class_asc1"
    CLASS_DESC1 = "class_desc1"
    CLASS_ASC2 = "class_asc2"
    CLASS_DESC2 = "class_desc2"
    EVIDENCE = "evidence_slices"
    TERMS = "evidence"  # of every model, in scenes of earlier versions
    ASC1 = "asc1"
    DESC1 = "desc1"
    ASC2 = "asc2"
    DESC2 = "desc2"
    RESPONSE = "response"
    GRADIENT = "gradient"

    def label(self) -> str:
        """Its name in the window."""
        if self is Overlay.DISEASE:
            return _("Disease map")
        if self is Overlay.EVIDENCE:
            return _("Evidence by slice")
        if self is Overlay.TERMS:
            return _("Evidence by place")
        if self is Overlay.GRADIENT:
            return _("Gradient attribution")
        if self is Overlay.RESPONSE:
            return _("Parametric response map")
        if self.class_weighted:
            return _("Class-weighted {unit}").format(unit=self.of_unit)
        return _("Activation {unit}").format(unit=self.value)

    def description(self) -> str:
        """What it shows, in a sentence."""
        if self is Overlay.DISEASE:
            return _("The model's estimate of the probability of disease at each place.")
        if self.class_weighted:
            return _(
                "How strongly unit {unit} responds in the channels that raise the model's answer. 0: mean of healthy"
                " lungs; 1: strongest lung of its reference cases."
            ).format(unit=self.of_unit)
        if self is Overlay.EVIDENCE:
            return _(
                "When the answer arose: what each slice added to the model's logit, drawn beside the lungs. It does not"
                " show where disease is."
            )
        if self is Overlay.TERMS:
            return _("What each place added to the model's logit; it does not outline disease.")
        if self is Overlay.GRADIENT:
            return _("Which voxels moved the answer away from that for healthy lung density.")
        if self is Overlay.RESPONSE:
            return _(
                "Normal lung, emphysema and functional small airways disease (fSAD) by the densities of the inspiratory"
                " and the expiratory CT. Colours and limits are fixed; outlined, emphysema and fSAD together."
            )
        return _("How strongly the network's unit {unit} responds; a response is not disease.").format(unit=self.value)

    @property
    def class_weighted(self) -> bool:
        """Whether it is a class-weighted activation."""
        return self.value.startswith(_CLASS)

    @property
    def of_unit(self) -> str:
        """The network's unit that an activation is of."""
        return self.value.removeprefix(_CLASS)

    @property
    def unit(self) -> str:
        """The unit of its values; empty for a response without one."""
        return {
            Overlay.DISEASE: _("probability"),
            Overlay.EVIDENCE: _("logit per slice"),
            Overlay.TERMS: _("logit per cell"),
            Overlay.GRADIENT: _("logit per voxel"),
        }.get(self, "")

    @property
    def has_fixed_range(self) -> bool:
        """Whether its colours mean the same in every CT."""
        return self in (Overlay.DISEASE, Overlay.EVIDENCE, Overlay.TERMS) or self.class_weighted

    def scale(self, card: ModelCard) -> Scale | None:
        """Its fixed colour range; None where the range is read from each CT's own map.

        The floors of disease map and class-weighted activations are in the model's card.
        """
        if self is Overlay.DISEASE and card.disease_map is not None:
            return Scale(floor=card.disease_map.floor, full=1.0)
        if self.class_weighted and card.class_weights is not None:
            floors = {weights.unit: weights.floor for weights in card.class_weights.units}
            return Scale(floor=floors[self.of_unit], full=1.0) if self.of_unit in floors else None
        fixed = {Overlay.EVIDENCE: Scale(floor=0.2, full=2.0), Overlay.TERMS: Scale(floor=0.02, full=0.2)}
        return fixed.get(self)

    @property
    def node_name(self) -> str:
        """What follows the CT's name in the names of its nodes; saved with the scene, so never translated."""
        names = {
            Overlay.DISEASE: "disease map",
            Overlay.EVIDENCE: "evidence",
            Overlay.TERMS: "evidence by place",
            Overlay.GRADIENT: "gradient attribution",
            Overlay.RESPONSE: "response map",
        }
        if self.class_weighted:
            return f"class-weighted activation {self.of_unit}"
        return names.get(self, f"activation {self.value}")

    @property
    def signed(self) -> bool:
        """Whether its values lie on both sides of zero: against disease and towards it."""
        return self in (Overlay.EVIDENCE, Overlay.TERMS, Overlay.GRADIENT)


class Drawing(Enum):
    """How an overlay is drawn over the CT."""

    FILL = "fill"
    OUTLINE = "outline"

    def label(self) -> str:
        """Its name in the window."""
        return {Drawing.FILL: _("Filled"), Drawing.OUTLINE: _("Outlined")}[self]


@dataclass(frozen=True)
class DisplayMap:
    """A map as it is drawn.

    Attributes:
        values: float32 (slices, rows, columns), inferior to superior, 0 outside the lungs, of a frame in the lungs.
        grid: where the values lie.
        low, high: ends of the colours.
        floor: size of the values below which nothing is ever drawn.
    """

    values: NDArray[np.float32]
    grid: Grid
    low: float
    high: float
    floor: float = 0.0


def maps_of(result: ScanResult) -> dict[Overlay, OverlayMap]:
    """The result's maps by what they show, in the order of ``Overlay``; none for a model that reads no volume."""
    maps: dict[Overlay, OverlayMap | None]
    maps = {Overlay(_CLASS + name): raw for name, raw in result.class_activations.items()}
    maps |= {Overlay(name): raw for name, raw in result.activations.items()}
    evidence = Overlay.EVIDENCE if isinstance(result.slices, SliceEvidence) else Overlay.TERMS
    maps |= {Overlay.DISEASE: result.disease, evidence: result.evidence}
    return {overlay: raw for overlay in Overlay if (raw := maps.get(overlay)) is not None}


def display_grid(result: ScanResult) -> Grid:
    """The grid that maps are drawn on: the network's input grid, its slices in thirds."""
    slices, rows, columns = result.lung_fraction.grid.shape
    return result.lung_fraction.grid.resized((slices * PARTS_OF_A_SLICE, rows, columns))


def display_lungs(result: ScanResult) -> NDArray[np.bool_]:
    """Voxels of ``display_grid`` of which at least half is lung."""
    grid = display_grid(result)
    share = area_average(result.lung_mask.values > 0, grid.shape, over=grid.box_in(result.lung_mask.grid))
    inside: NDArray[np.bool_] = share >= 0.5
    return inside


def display_map(
    overlay: Overlay, raw: OverlayMap, grid: Grid, lungs: NDArray[np.bool_], scale: Scale | None = None
) -> DisplayMap:
    """A raw map as it is drawn: linear between its voxels' centres, constant beyond the outermost ones.

    Args:
        overlay: decides the range of a map without a fixed one: that of signed maps is symmetric about zero,
            activation starts at the lungs' median.
        raw: on any grid that covers the same box of space as ``grid``.
        grid: on which the map is drawn.
        lungs: on ``grid``; outside, the map is 0.
        scale: the fixed range, if it has one.
    """
    from scipy import ndimage

    zoom = np.array(grid.shape) / np.array(raw.grid.shape)
    # grid_mode: box edges, not voxel centres, are what coincides
    fine = ndimage.zoom(raw.values.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True)
    inside = fine[lungs]
    values = np.where(lungs, fine, np.float32(0))
    if scale is not None:
        floor, full = scale.floor, scale.full
        return DisplayMap(values, grid, -full if overlay.signed else floor, full, floor)
    if inside.size == 0:
        return DisplayMap(values, grid, -1.0 if overlay.signed else 0.0, 1.0)
    if overlay.signed:
        sizes = np.abs(inside[inside != 0])  # gradients are 0 in most of a healthy lung
        limit = _two_digits(float(np.percentile(sizes, FULL_PERCENTILE))) if sizes.size else 1.0
        return DisplayMap(values, grid, -limit, limit)
    low, high = (_two_digits(float(p)) for p in np.percentile(inside, (HIDDEN_PERCENTILE, FULL_PERCENTILE)))
    return DisplayMap(values, grid, low, high if high > low else low + 1.0)


def display_frame(raw: OverlayMap, grid: Grid, lungs: NDArray[np.bool_], scale: Scale) -> DisplayMap:
    """The sums of a map's slices as a frame around the lungs, which it leaves free as far as the grid has room.

    Args:
        raw: on any grid that covers the same box of space as ``grid``.
        grid: of the display.
        lungs: on ``grid``.
        scale: the fixed range.
    """
    rows, columns = (
        np.flatnonzero(lungs.any(axes)) if lungs.any() else np.arange(n)
        for axes, n in (((0, 2), grid.shape[1]), ((0, 1), grid.shape[2]))
    )
    frame = np.zeros(grid.shape[1:], bool)
    reach = FRAME_DISTANCE + FRAME_WIDTH
    edges = [
        (max(used[0] - reach, 0), min(used[-1] + 1 + reach, n))
        for used, n in zip((rows, columns), frame.shape, strict=True)
    ]
    (top, bottom), (first, last) = edges
    frame[top:bottom, first:last] = True
    frame[top + FRAME_WIDTH : bottom - FRAME_WIDTH, first + FRAME_WIDTH : last - FRAME_WIDTH] = False
    sums = raw.values.sum((1, 2), dtype=np.float64).repeat(grid.shape[0] // raw.grid.shape[0])
    values = np.where(frame, sums[:, None, None], 0).astype(np.float32)
    return DisplayMap(values, grid, -scale.full, scale.full, scale.floor)


def add_overlay(
    scene: slicer.vtkMRMLScene,
    overlay: Overlay,
    shown: DisplayMap,
    name: str,
    ct: slicer.vtkMRMLScalarVolumeNode,
    colours: slicer.vtkMRMLColorTableNode | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume node of an overlay with its colours and legend, in the CT's coordinate system.

    Args:
        scene: gets the new nodes.
        overlay: which map it is.
        shown: its values and colour range.
        name: of the volume.
        ct: what it is laid over.
        colours: the table of an overlay that this one replaces, left as it is until ``style`` is called.
    """
    node = add_volume(scene, shown.values, shown.grid.ijk_to_ras(), name, beside=ct)
    node.GetDisplayNode().SetAndObserveColorNodeID((colours or add_colours(scene, f"{name} colours")).GetID())
    _set_range(node, overlay, shown)
    if colours is None:
        style(node, overlay)
    _add_legend(scene, node, overlay, shown)
    return node


def redraw_overlay(
    node: slicer.vtkMRMLScalarVolumeNode,
    overlay: Overlay,
    shown: DisplayMap,
    name: str,
    ct: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Let the volume node of an overlay draw that of another result, without a node added or removed.

    Args:
        node: of the same overlay, of which ``can_redraw`` holds.
        overlay: which map it is.
        shown: its values and colour range.
        name: of the volume.
        ct: what it is laid over.
    """
    node.SetName(name)
    node.SetAndObserveTransformNodeID(None)
    node.SetAndObserveImageData(vtk_image(shown.values))
    place(node, shown.grid.ijk_to_ras(), ct)
    _set_range(node, overlay, shown)
    legend = legends_of(node)[0]
    legend.SetName(f"{name} legend")
    _set_labels(legend, shown)
    style(node, overlay)


def can_redraw(node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether an overlay is as it was made but for its colours: with its own table and legend, and not in 3D."""
    displays = [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    return own_colours(node) is not None and len(legends_of(node)) == 1 and len(displays) == 2


def _set_range(node: slicer.vtkMRMLScalarVolumeNode, overlay: Overlay, shown: DisplayMap) -> None:
    node.SetAttribute(FLOOR_ATTRIBUTE, f"{shown.floor:g}")
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(shown.low, shown.high)
    display.SetInterpolate(overlay is not Overlay.EVIDENCE)  # a slice's sum is that of the whole slice


def own_colours(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLColorTableNode | None:
    """The colour table that was made for an overlay, unless its user has chosen another."""
    display = node.GetDisplayNode()
    colours = None if display is None else display.GetColorNode()
    return None if colours is None or colours.GetAttribute(COLOURS_ATTRIBUTE) is None else colours


def style(
    node: slicer.vtkMRMLScalarVolumeNode,
    overlay: Overlay,
    threshold: float = HIDDEN_SHARE,
    colours: ColourMap = ColourMap.STANDARD,
) -> None:
    """Draw an overlay with other colours, and only its stronger values; its legend shows the same.

    Args:
        node: the overlay's volume.
        overlay: which one it is.
        threshold: share (0 to 1) of the colour range below which nothing is drawn; of signed maps, of the size of the
            values, on either side of zero.
        colours: of volume and legend.

    Raises:
        ValueError: the threshold is not from 0 to 1.
    """
    if overlay is Overlay.RESPONSE:  # classes, whose colours and limits are fixed
        return
    display, least = node.GetDisplayNode(), least_drawn(node, overlay, threshold)
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    values = np.linspace(low, high, ENTRIES)
    step = values[1] - values[0]
    if overlay.signed:
        # Zero, which is what lies outside the lungs, is never drawn. The ends always are: stronger values share them.
        drawn = np.abs(values) >= max(least - step / 2, 0.6 * step)
        display.ApplyThresholdOff()
    else:
        drawn = values >= least - step / 2
        strongest = float(slicer.util.arrayFromVolume(node).max())
        display.AutoThresholdOff()
        display.SetThreshold(max(least, float(np.finfo(np.float32).tiny)), max(strongest, high))
        display.ApplyThresholdOn()
    set_colours(display.GetColorNode(), colours_of(colours, overlay.signed), drawn)


def least_drawn(node: slicer.vtkMRMLScalarVolumeNode, overlay: Overlay, threshold: float) -> float:
    """The value from which on an overlay is drawn; of signed maps, the size of the values on either side of zero.

    Args:
        node: the overlay's volume.
        overlay: which one it is.
        threshold: share (0 to 1) of the colour range.

    Raises:
        ValueError: the threshold is not from 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"a threshold of {threshold} is not a share from 0 to 1")
    if overlay is Overlay.RESPONSE:
        return float(Response.SMALL_AIRWAYS)  # and emphysema
    display = node.GetDisplayNode()
    low, high = float(display.GetWindowLevelMin()), float(display.GetWindowLevelMax())
    floor = float(node.GetAttribute(FLOOR_ATTRIBUTE) or 0)
    from_zero = overlay.signed or overlay.has_fixed_range  # such a value is read as it stands
    return max(threshold * high if from_zero else low + threshold * (high - low), floor)


def legends_of(node: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLColorLegendDisplayNode]:
    """The colour legend of an overlay, where it has one."""
    displays = [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    return [display for display in displays if display is not None and display.IsA("vtkMRMLColorLegendDisplayNode")]


def _add_legend(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode, overlay: Overlay, shown: DisplayMap
) -> None:
    """A narrow colour legend at the right edge, with small text."""
    legend = scene.AddNewNodeByClass("vtkMRMLColorLegendDisplayNode")
    legend.SetName(f"{node.GetName()} legend")
    legend.SetAndObservePrimaryDisplayNode(node.GetDisplayNode())
    legend.SetTitleText(_legend_title(overlay))
    _set_labels(legend, shown)
    legend.SetNumberOfLabels(5)
    legend.SetPosition(0.98, 0.08)  # lower right: the side's letter is in the middle, the lungs end above
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontFamilyToArial()
        text.BoldOff()
        text.ItalicOff()
    node.AddAndObserveDisplayNodeID(legend.GetID())
    legend.Modified()  # as Slicer's own colour logic: the views don't notice the line above


def _set_labels(legend: slicer.vtkMRMLColorLegendDisplayNode, shown: DisplayMap) -> None:
    label_format = _label_format(shown)
    legend.SetLabelFormat(label_format)
    # Slicer ignores the font size: text is as large as the legend's width allows, and a narrow one keeps it small.
    longest = max(len(label_format % shown.low), len(label_format % shown.high))
    legend.SetSize(LEGEND_WIDTH_PER_CHARACTER * longest, 0.28)


def _legend_title(overlay: Overlay) -> str:
    if overlay is Overlay.DISEASE:
        return _("Disease\n(probability)")
    if overlay is Overlay.EVIDENCE:
        return _("Evidence: when\n(logit / slice)")
    if overlay is Overlay.TERMS:
        return _("Evidence\n(logit / cell)")
    if overlay is Overlay.GRADIENT:
        return _("Gradient\n(logit / voxel)")
    if overlay.class_weighted:
        return _("Class-weighted\n{unit} (0 healthy)").format(unit=overlay.of_unit)
    return _("Activation\n{unit}").format(unit=overlay.value)


def _label_format(shown: DisplayMap) -> str:
    """As many decimals as the range's ends need, or a power of ten where they would be many."""
    largest = max(abs(shown.low), abs(shown.high))
    if largest < 1e-3:
        return "%.1e"
    finest = min(largest, shown.high - shown.low)  # labels of a narrow range differ too
    decimals = int(np.clip(1 - np.floor(np.log10(finest)), 0, 6))
    return f"%.{decimals}f"


def _two_digits(value: float) -> float:
    """Rounded to two significant digits, so that legends are easily read."""
    return float(f"{value:.2g}")
