"""The two colour tables of the overlays, made here because Slicer's file colour tables exist only in the application.

The slice views read a table's opacity as yes or no: a colour of opacity 0 is not drawn. That is how the middle of the
evidence colours lets the CT through; how strongly the rest covers it is the layer's opacity.
"""

from __future__ import annotations

import numpy as np
import slicer
from numpy.typing import NDArray

COLOURS_ATTRIBUTE = "EmphysemaScanner.Colours"
ENTRIES = 255  # odd: one entry is exactly in the middle
HIDDEN_SHARE = 0.1  # evidence below this share of the range, on either side of zero, is not drawn

# Against disease, nothing, towards disease. Blue and orange stay apart in all common colour blindness.
_EVIDENCE = ((0.0, (0.35, 0.80, 1.00)), (0.5, (0.04, 0.24, 0.60)), (0.5, (0.60, 0.16, 0.02)), (1.0, (1.00, 0.78, 0.25)))
# Weak to strong; brightness rises throughout, so that it also reads in grey.
_ACTIVATION = (
    (0.0, (0.16, 0.32, 0.42)),
    (0.35, (0.10, 0.55, 0.52)),
    (0.7, (0.45, 0.78, 0.30)),
    (1.0, (0.99, 0.95, 0.40)),
)


def evidence_colours(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """The scene's colours for signed evidence, made if it has none: blue against, orange towards, zero transparent."""
    position = np.linspace(0, 1, ENTRIES)
    opacity = np.where(np.abs(2 * position - 1) < HIDDEN_SHARE, 0.0, 1.0)
    return _shared(scene, "Emphysema evidence", _between(_EVIDENCE, position), opacity)


def activation_colours(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """The scene's colours for activation, made if it has none: weak is dark green, strong is yellow."""
    return _shared(scene, "Unit activation", _between(_ACTIVATION, np.linspace(0, 1, ENTRIES)), np.ones(ENTRIES))


def _between(
    stops: tuple[tuple[float, tuple[float, float, float]], ...], position: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n, 3) colours, linear between the stops."""
    where = np.array([at for at, _ in stops])
    colours = np.array([colour for _, colour in stops])
    return np.stack([np.interp(position, where, channel) for channel in colours.T], axis=1)


def _shared(
    scene: slicer.vtkMRMLScene, name: str, colours: NDArray[np.float64], opacity: NDArray[np.float64]
) -> slicer.vtkMRMLColorTableNode:
    """One node for all results in the scene."""
    for i in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(i, "vtkMRMLColorTableNode")
        if node.GetAttribute(COLOURS_ATTRIBUTE) == name:
            return node
    node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetTypeToUser()
    node.SetAttribute("Category", "Emphysema Scanner")
    node.SetAttribute(COLOURS_ATTRIBUTE, name)
    node.SetNumberOfColors(len(colours))
    for i, (rgb, alpha) in enumerate(zip(colours, opacity, strict=True)):
        node.SetColor(i, *rgb, alpha)
    node.SetNamesFromColors()
    node.SetAllColorsDefined()
    added = scene.AddNode(node)
    added.SetName(name)
    return added
