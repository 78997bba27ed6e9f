"""An overlay in 3D: coloured as in the slice views, inside the lungs as a faint surface."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
import vtk

from .colours import ENTRIES
from .membership import remove_helpers
from .overlays import Overlay
from .result import OVERLAY, ResultNodes, parts_of, records

LUNG_OPACITY = 0.15
STRONGEST_OPACITY = 0.35  # of a millimetre with the largest values
WEAKEST_OPACITY = 0.03  # of one with the smallest that are drawn
ONLY_IN_3D = "EmphysemaScanner.OnlyIn3D"
CAMERA_ROOM = 1.7  # how much more than the lungs' size the view takes in; it may be higher than wide


def show_in_3d(nodes: ResultNodes, overlay: Overlay, rendering_logic: slicer.vtkSlicerVolumeRenderingLogic) -> None:
    """Show an overlay of a result in the 3D views, instead of any other overlay; call again after changing its colours.

    Colours and threshold are those of the slice views. The cameras turn to the lungs, seen from the front, when no
    overlay was shown before.

    Args:
        nodes: the result.
        overlay: one that the result has.
        rendering_logic: of Slicer's module Volume Rendering.
    """
    scene, volume = nodes.ct.GetScene(), nodes.overlays[overlay]
    first = not _rendered(scene)
    for record in records(scene):
        others = {name: node for name, node in parts_of(record).items() if node not in (volume, nodes.lungs)}
        _hide(others)
    display = rendering_logic.GetFirstVolumeRenderingDisplayNode(volume)
    if display is None:
        display = rendering_logic.CreateDefaultVolumeRenderingNodes(volume)
        display.RemoveAllViewNodeIDs()  # in all 3D views, also in those that come later
        display.GetVolumePropertyNode().SetName(f"{volume.GetName()} 3D")
    _copy_colours(volume, overlay, display.GetVolumePropertyNode())
    display.SetVisibility(True)
    _show_lungs(nodes.lungs)
    if first:
        turn_cameras(nodes)


def hide_in_3d(nodes: ResultNodes) -> None:
    """Take a result's overlay and lungs out of the 3D views."""
    _hide(nodes.parts())


def hide_all_in_3d(scene: slicer.vtkMRMLScene) -> None:
    """Take every result out of the 3D views."""
    for record in records(scene):
        _hide(parts_of(record))


def is_shown_in_3d(nodes: ResultNodes) -> bool:
    """Whether one of the result's overlays is shown in 3D views."""
    return any(display.GetVisibility() for volume in nodes.overlays.values() for display in _renderings(volume))


def _hide(parts: Mapping[str, slicer.vtkMRMLNode]) -> None:
    for name, node in parts.items():
        if name.startswith(OVERLAY):
            for display in _renderings(node):
                remove_helpers(node.GetScene(), [display])
        elif name == "lungs":
            _hide_lungs(node)


def _renderings(volume: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLVolumeRenderingDisplayNode]:
    displays = [volume.GetNthDisplayNode(i) for i in range(volume.GetNumberOfDisplayNodes())]
    return [d for d in displays if d is not None and d.IsA("vtkMRMLVolumeRenderingDisplayNode")]


def _rendered(scene: slicer.vtkMRMLScene) -> bool:
    overlays = (
        node for record in records(scene) for name, node in parts_of(record).items() if name.startswith(OVERLAY)
    )
    return any(_renderings(node) for node in overlays)


def _copy_colours(
    volume: slicer.vtkMRMLScalarVolumeNode, overlay: Overlay, properties: slicer.vtkMRMLVolumePropertyNode
) -> None:
    """Colours as in the slice views; what is not drawn there is transparent, the rest the more opaque the stronger."""
    display = volume.GetDisplayNode()
    table = display.GetColorNode().GetLookupTable()
    values = np.linspace(display.GetWindowLevelMin(), display.GetWindowLevelMax(), ENTRIES)
    colours, opacity = vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
    strength = np.abs(values) if overlay.signed else values - values[0]
    strength = strength / (strength.max() or 1.0)
    if not overlay.signed:
        opacity.AddPoint(
            2 * values[0] - values[1], 0.0
        )  # below the colours, such as outside the lungs, nothing is drawn
    for i, value in enumerate(values):
        red, green, blue, drawn = table.GetTableValue(i)
        colours.AddRGBPoint(value, red, green, blue)
        share = WEAKEST_OPACITY + (STRONGEST_OPACITY - WEAKEST_OPACITY) * strength[i] ** 2
        opacity.AddPoint(value, share if drawn else 0.0)
    was_modifying = properties.StartModify()
    properties.SetColor(colours)
    properties.SetScalarOpacity(opacity)
    properties.GetVolumeProperty().ShadeOff()
    properties.GetVolumeProperty().SetInterpolationTypeToLinear()
    properties.EndModify(was_modifying)


def _show_lungs(lungs: slicer.vtkMRMLSegmentationNode) -> None:
    display = lungs.GetDisplayNode()
    lungs.CreateClosedSurfaceRepresentation()
    display.SetOpacity3D(LUNG_OPACITY)
    display.SetVisibility3D(True)
    if not display.GetVisibility():  # hidden in the slice views, and to stay so
        display.SetAttribute(ONLY_IN_3D, "1")
        display.SetOpacity2DOutline(0.0)  # Slicer complains where neither outline nor filling is visible
        display.SetVisibility(True)


def _hide_lungs(lungs: slicer.vtkMRMLSegmentationNode) -> None:
    display = lungs.GetDisplayNode()
    if display.GetAttribute(ONLY_IN_3D) is not None:
        display.RemoveAttribute(ONLY_IN_3D)
        display.SetVisibility(False)
        display.SetOpacity2DOutline(1.0)
    lungs.RemoveClosedSurfaceRepresentation()


def turn_cameras(nodes: ResultNodes) -> None:
    """Turn the 3D views to a result's lungs, seen from the front."""
    scene = nodes.ct.GetScene()
    bounds = np.zeros(6)
    nodes.lungs.GetRASBounds(bounds)
    low, high = bounds.reshape(3, 2).T
    right, anterior, superior = (low + high) / 2
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLCameraNode")):
        camera = scene.GetNthNodeByClass(i, "vtkMRMLCameraNode")
        half_angle = np.radians(camera.GetViewAngle() / 2)
        distance = CAMERA_ROOM * float((high - low).max()) / 2 / np.tan(half_angle)
        camera.SetFocalPoint(right, anterior, superior)
        camera.SetPosition(right, anterior + distance, superior)
        camera.SetViewUp(0.0, 0.0, 1.0)
        camera.ResetClippingRange()
