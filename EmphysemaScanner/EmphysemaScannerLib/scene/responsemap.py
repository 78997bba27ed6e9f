"""The parametric response map of an expiratory CT, in the scene: classes in fixed colours, never interpolated."""

from __future__ import annotations

import numpy as np
import slicer

from ..i18n import tr as _
from ..lungs.expiration import Response
from ..lungs.morphology import box
from ..scan.result import ScanResult
from .colours import COLOURS_ATTRIBUTE
from .volumes import add_volume

_MARGIN = 2  # voxels around the lungs


def add_response(
    scene: slicer.vtkMRMLScene, result: ScanResult, name: str, ct: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The map on the CT's own voxels, cut to the box of the lungs; None where the result has none.

    Args:
        scene: gets the new nodes.
        result: whose map it is.
        name: of the volume.
        ct: what it is laid over.
    """
    pair = result.expiration
    if pair is None or pair.response is None:
        return None
    where = box(np.asarray(result.lung_mask.values, np.uint8), (_MARGIN, _MARGIN, _MARGIN))
    a, b, c = ((float(part.start), float(part.stop)) for part in where)
    slices, rows, columns = (part.stop - part.start for part in where)
    grid = result.lung_mask.grid.part((a, b, c), (slices, rows, columns))
    node = add_volume(scene, np.ascontiguousarray(pair.response[where]), grid.ijk_to_ras(), name, beside=ct)
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(-0.5, max(Response) + 0.5)  # one colour for each class
    display.SetInterpolate(False)
    display.AutoThresholdOff()
    display.SetThreshold(min(Response), max(Response))
    display.ApplyThresholdOn()
    display.SetAndObserveColorNodeID(_add_colours(scene, f"{name} colours").GetID())
    _add_legend(scene, node)
    return node


def _add_colours(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLColorTableNode:
    node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetTypeToUser()
    node.SetAttribute("Category", "Emphysema Scanner")
    node.SetAttribute(COLOURS_ATTRIBUTE, "1")
    node.SetNumberOfColors(len(Response) + 1)
    node.SetColor(0, " ", 0.0, 0.0, 0.0, 0.0)
    for response in Response:
        node.SetColor(response.value, _short(response), *response.colour, 1.0)
    node.SetAllColorsDefined()
    added = scene.AddNode(node)
    added.SetName(name)
    return added


def _add_legend(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode) -> None:
    legend = scene.AddNewNodeByClass("vtkMRMLColorLegendDisplayNode")
    legend.SetName(f"{node.GetName()} legend")
    legend.SetAndObservePrimaryDisplayNode(node.GetDisplayNode())
    legend.SetTitleText(_("Response map"))
    legend.SetUseColorNamesForLabels(True)
    legend.SetLabelFormat("%s")
    legend.SetNumberOfLabels(len(Response) + 1)
    legend.SetSize(0.15, 0.28)
    legend.SetPosition(0.98, 0.08)  # lower right, as the other legends
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontFamilyToArial()
        text.BoldOff()
        text.ItalicOff()
    node.AddAndObserveDisplayNodeID(legend.GetID())
    legend.Modified()


def _short(response: Response) -> str:
    return _("fSAD") if response is Response.SMALL_AIRWAYS else response.label()
