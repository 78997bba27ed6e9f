"""An overlay as outlines: where its values reach the threshold, as a segmentation over the bare CT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
from numpy.typing import NDArray

from ..ct.grid import Grid
from ..i18n import tr as _
from .colours import ColourMap, colours_of
from .membership import folder_of, put_into, remove_nodes
from .overlays import Overlay, least_drawn
from .result import PART_ROLE, ResultNodes, parts_of
from .segmentations import add_outlines
from .volumes import grid_of, ijk_to_world_ras

OUTLINE = "outline"  # the part's name
FINER = 2  # outlines follow voxel edges; halved in the plane, they are hardly seen
WIDTH = 2  # pixels


def show_outline(
    nodes: ResultNodes, overlay: Overlay, threshold: float, colours: ColourMap, view_ids: Sequence[str]
) -> None:
    """Outline an overlay of a result, in the place of any other outline of it.

    Signed maps have two outlines, each in the last colour of its side.

    Args:
        nodes: the result.
        overlay: one that the result has.
        threshold: share (0 to 1) of the colour range that is reached within the outline.
        colours: of the overlay.
        view_ids: IDs of the views that show it.
    """
    hide_outline(nodes)
    volume, scene = nodes.overlays[overlay], nodes.ct.GetScene()
    least = least_drawn(volume, overlay, threshold)
    values, grid = _finer(volume)
    ends = colours_of(colours, overlay.signed)[[0, -1]]
    masks = {_("Towards emphysema") if overlay.signed else overlay.label(): (values >= max(least, 1e-9), ends[1])}
    if overlay.signed:
        masks[_("Against emphysema")] = (values <= -max(least, 1e-9), ends[0])
    node = add_outlines(
        scene,
        {name: mask for name, (mask, _colour) in masks.items() if mask.any()},
        grid,
        {name: (float(c[0]), float(c[1]), float(c[2])) for name, (_mask, c) in masks.items()},
        f"{volume.GetName()} outline",
        nodes.ct,
    )
    display = node.GetDisplayNode()
    display.SetSliceIntersectionThickness(WIDTH)
    display.SetVisibility3D(False)
    for view_id in view_ids:
        display.AddViewNodeID(view_id)
    put_into(scene, folder_of(nodes.record), [node])
    nodes.record.SetNodeReferenceID(PART_ROLE + OUTLINE, node.GetID())


def hide_outline(nodes: ResultNodes) -> None:
    """Take a result's outline out of the scene."""
    node = parts_of(nodes.record).get(OUTLINE)
    if node is not None:
        remove_nodes(nodes.ct.GetScene(), [node])


def _finer(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[NDArray[np.float32], Grid]:
    """An overlay's values, between its pixels as it is drawn filled, and where they lie in the world."""
    from scipy import ndimage

    values = slicer.util.arrayFromVolume(volume)
    grid = grid_of(ijk_to_world_ras(volume), values.shape, volume.GetName())
    slices, rows, columns = values.shape
    order = 1 if volume.GetDisplayNode().GetInterpolate() else 0
    finer = ndimage.zoom(values, (1, FINER, FINER), order=order, mode="nearest", grid_mode=True)
    return finer, grid.resized((slices, FINER * rows, FINER * columns))
