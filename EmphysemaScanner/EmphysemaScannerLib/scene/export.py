"""What Slicer adds to a scan's folder of results: pictures of the overlays, and a scene that opens showing them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
from numpy.typing import NDArray

from ..base.errors import EmphysemaScannerError
from ..scan.result import ScanResult
from .offscreen import Layers, Orientation, slice_view
from .overlays import Overlay
from .result import ResultNodes, show_result
from .segmentations import add_lesions
from .standalone import standalone_scene
from .views import (
    OPACITY,
    CTWindow,
    first_overlay,
    lung_bounds,
    set_overlay,
    show_charts,
    telling_point,
    telling_slices,
    use_window,
)
from .volumes import volume_node_from_image

SCENE_FILE = "scene.mrb"
MARGIN_MM = 22.0
LEGEND_MM = 34.0  # room at the right, so that the legend doesn't cover lung
PIXELS_PER_MM = 2.0
AXIAL_PICTURES = 3  # of the first overlay; of each other one


class SceneNotSavedError(EmphysemaScannerError):
    """The scene could not be written."""


def export_scan(
    image: sitk.Image, result: ScanResult, out_dir: Path, lesions: NDArray[np.generic] | None = None
) -> tuple[Path, ...]:
    """Write pictures of the overlays and ``scene.mrb``, by slicer-core, into a folder.

    Args:
        image: the CT that was scanned, any orientation.
        result: the answer on it.
        out_dir: an existing folder.
        lesions: where disease truly is, if known: not 0 in disease, on the canonical grid of ``result.lung_mask``.

    Returns:
        The files that were written, the scene first.

    Raises:
        SceneNotSavedError: the scene could not be written.
        RenderingUnavailableError: there is no OpenGL here; says how to bring it. The scene is written all the same.
    """
    with standalone_scene() as scene:
        name = result.source or "CT"
        ct = volume_node_from_image(image, name, scene)
        use_window(ct, CTWindow.LUNG)
        nodes = show_result(result, ct, scene)
        if lesions is not None:
            add_lesions(scene, lesions, result.lung_mask.grid, f"{name} lesions", ct)
        arrange_views(nodes)
        path = out_dir / SCENE_FILE
        save_scene(scene, path)  # first: it needs no OpenGL
        return (path, *render_pictures(nodes, out_dir))


def render_pictures(nodes: ResultNodes, out_dir: Path) -> tuple[Path, ...]:
    """Axial pictures, a coronal and a sagittal one of each overlay where there is most of the first, as PNG files.

    Args:
        nodes: a result in the scene; visible segmentations are outlined.
        out_dir: an existing folder; files are named ``<overlay>_<plane>.png``, several are numbered, the most telling
            first.

    Raises:
        RenderingUnavailableError: there is no OpenGL here; says how to bring it.
    """
    low, high = lung_bounds(nodes)
    places, first = _places(nodes), first_overlay(nodes)
    written: list[Path] = []
    for orientation in Orientation:
        across, up, through = orientation.axes
        field_of_view = (high - low)[[across, up]] + 2 * MARGIN_MM + np.array([LEGEND_MM, 0.0])
        centre = (low + high) / 2
        centre[across] -= LEGEND_MM / 2  # R and A run to the left in Slicer's views
        width, height = (int(v) for v in np.round(field_of_view * PIXELS_PER_MM))
        plane = orientation.value.lower()
        with slice_view(nodes.ct.GetScene(), (width, height)) as view:
            for overlay, node in nodes.overlays.items():
                positions = places[orientation][: AXIAL_PICTURES if overlay is first else 1]
                for number, position in enumerate(positions, start=1):
                    centre[through] = position
                    caption = f"Research use only   {node.GetName()}   {plane} {_place(through, position)}"
                    layers = Layers(nodes.ct, node, OPACITY, caption)
                    pixels = view.render(layers, orientation, centre, tuple(field_of_view))
                    suffix = f"_{number}" if len(positions) > 1 else ""
                    written.append(_write_png(pixels, out_dir / f"{overlay.value}_{plane}{suffix}.png"))
    return tuple(written)


def arrange_views(nodes: ResultNodes, overlay: Overlay | None = None) -> None:
    """Let a standalone scene open in Slicer with slice views and plot on a result, in one of Slicer's own layouts."""
    scene = nodes.ct.GetScene()
    layout_logic = slicer.vtkMRMLLayoutLogic()  # makes the view nodes of a layout
    layout_logic.SetMRMLScene(scene)
    layout_logic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
    point = telling_point(nodes)
    low, high = lung_bounds(nodes)
    largest = float((high - low).max()) + 2 * MARGIN_MM
    for tag in ("Red", "Green", "Yellow"):
        node = scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        logic = slicer.vtkMRMLSliceLogic()  # makes the composite node
        logic.SetMRMLScene(scene)
        logic.SetSliceNode(node)
        node.SetDimensions(512, 512, 1)
        node.SetFieldOfView(largest, largest, 1.0)
        node.JumpSliceByCentering(*(float(v) for v in point))
        logic.SetMRMLScene(None)
    overlay = overlay or first_overlay(nodes)
    set_overlay(nodes, overlay if overlay in nodes.overlays else None)
    show_charts(nodes)
    layout_logic.SetMRMLScene(None)


def save_scene(scene: slicer.vtkMRMLScene, path: Path) -> None:
    """Write a scene with all its data into one .mrb file.

    Raises:
        SceneNotSavedError: it could not be written; says where.
    """
    if not scene.WriteToMRB(str(path.absolute())) or not path.is_file():  # Slicer needs the whole path
        raise SceneNotSavedError(f"The scene could not be written to '{path}'; check the folder and its free space.")


def _places(nodes: ResultNodes) -> dict[Orientation, list[float]]:
    """Where pictures are taken, mm through the plane, the most telling first."""
    point = telling_point(nodes)
    return {
        Orientation.AXIAL: telling_slices(nodes, AXIAL_PICTURES),
        Orientation.CORONAL: [float(point[1])],
        Orientation.SAGITTAL: [float(point[0])],
    }


def _place(axis: int, position_mm: float) -> str:
    """A coordinate as the slice table has it: towards R, A and S is positive."""
    return f"{'RAS'[axis]} {position_mm:.0f} mm"


def _write_png(pixels: NDArray[np.uint8], path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(path))
    return path
