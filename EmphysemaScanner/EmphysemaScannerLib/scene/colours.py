"""The colours of the overlays, made here because Slicer's file colour tables exist only in the application.

The slice views read a table's opacity as yes or no: a colour of opacity 0 is not drawn. That is how the middle of
signed colours lets the CT through; how strongly the rest covers it is the layer's opacity.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import slicer
from numpy.typing import NDArray

from ..i18n import tr as _

COLOURS_ATTRIBUTE = "EmphysemaScanner.OwnColours"  # marks tables that leave with their overlay
ENTRIES = 255  # odd: one entry is exactly in the middle

# Against disease, nothing, towards disease. Blue and orange stay apart in all common colour blindness.
_SIGNED = ((0.0, (0.35, 0.80, 1.00)), (0.5, (0.04, 0.24, 0.60)), (0.5, (0.60, 0.16, 0.02)), (1.0, (1.00, 0.78, 0.25)))
# Weak to strong; brightness rises throughout, so that it also reads in grey.
_RISING = ((0.0, (0.64, 0.17, 0.38)), (0.5, (0.95, 0.45, 0.11)), (1.0, (0.99, 0.82, 0.29)))
_GREY = ((0.0, (0.15, 0.15, 0.15)), (1.0, (1.0, 1.0, 1.0)))
# Equally spaced colours of the maps of S. van der Walt and N. Smith (2015), in the public domain.
_VIRIDIS = "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725"  # noqa: E501
_INFERNO = "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4"  # noqa: E501

Stops = tuple[tuple[float, tuple[float, float, float]], ...]


class ColourMap(Enum):
    """Which colours an overlay has; STANDARD is blue and orange for signed maps, purple to yellow for the others."""

    STANDARD = "standard"
    VIRIDIS = "viridis"
    INFERNO = "inferno"
    GREY = "grey"

    def label(self) -> str:
        """Its name in the window."""
        return {
            ColourMap.STANDARD: _("Standard"),
            ColourMap.VIRIDIS: _("Viridis"),
            ColourMap.INFERNO: _("Inferno"),
            ColourMap.GREY: _("Grey"),
        }[self]


def colours_of(colour_map: ColourMap, signed: bool) -> NDArray[np.float64]:
    """(ENTRIES, 3) colours, red, green, blue from 0 to 1, lowest value first.

    Args:
        colour_map: which colours.
        signed: whether the map has values on both sides of zero, which is then in the middle.
    """
    stops = {
        ColourMap.STANDARD: _SIGNED if signed else _RISING,
        ColourMap.VIRIDIS: _equally_spaced(_VIRIDIS),
        ColourMap.INFERNO: _equally_spaced(_INFERNO),
        ColourMap.GREY: _GREY,
    }[colour_map]
    where = np.array([at for at, _colour in stops])
    colours = np.array([colour for _at, colour in stops])
    return np.stack([np.interp(np.linspace(0, 1, ENTRIES), where, channel) for channel in colours.T], axis=1)


def add_colours(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLColorTableNode:
    """A new colour table, still grey and opaque."""
    node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetTypeToUser()
    node.SetAttribute("Category", "Emphysema Scanner")
    node.SetAttribute(COLOURS_ATTRIBUTE, "1")
    node.SetNumberOfColors(ENTRIES)
    for i, (red, green, blue) in enumerate(colours_of(ColourMap.GREY, signed=False)):
        node.SetColor(i, red, green, blue, 1.0)
    node.SetNamesFromColors()
    node.SetAllColorsDefined()
    added = scene.AddNode(node)
    added.SetName(name)
    return added


def set_colours(node: slicer.vtkMRMLColorTableNode, colours: NDArray[np.float64], drawn: NDArray[np.bool_]) -> None:
    """Give a table other colours, with one announcement.

    Args:
        node: the colour table.
        colours: (ENTRIES, 3), red, green, blue from 0 to 1.
        drawn: (ENTRIES,) which of them are drawn at all.
    """
    was_modifying = node.StartModify()
    for i, (red, green, blue) in enumerate(colours):
        node.SetColor(i, red, green, blue, float(drawn[i]))
    node.EndModify(was_modifying)


def _equally_spaced(hexadecimal: str) -> Stops:
    colours = [bytes.fromhex(colour) for colour in hexadecimal.split()]
    return tuple((i / (len(colours) - 1), (c[0] / 255, c[1] / 255, c[2] / 255)) for i, c in enumerate(colours))
