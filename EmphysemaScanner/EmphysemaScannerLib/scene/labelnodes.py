"""Segmentations and label maps of the scene as lung masks and lobes; they are only read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from ..base.errors import GeometryError
from ..ct.grid import Grid, canonical
from ..lungs.labelfiles import label_map
from ..lungs.masks import resampled
from ..lungs.recognition import Wanted, by_name, chosen_for, known_segments, recognise
from ..lungs.regions import GivenRegions, LabelMap, MaskKind, Origin, Region, RegionError, Segment
from .volumes import RAS_TO_LPS, check_axes, ijk_to_world_ras, image_at, parent_to_world, perpendicular

_MOST_NAMED_VALUES = 256  # of a label map that the window lists


def segments_of(node: slicer.vtkMRMLDisplayableNode) -> tuple[Segment, ...]:
    """The segments of a segmentation, counted from 1, or the values of a label map; with names, where known."""
    if node.IsA("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        found = []
        for number in range(segmentation.GetNumberOfSegments()):
            segment = segmentation.GetNthSegment(number)
            found.append(Segment(number + 1, number, segment.GetName() or "", terminology_of(segment)))
        return tuple(found)
    values = np.unique(slicer.util.arrayFromVolume(node))
    return tuple(_value_segment(node, int(value)) for value in values[values > 0][:_MOST_NAMED_VALUES].tolist())


def terminology_of(segment: slicer.vtkSegment) -> str:
    """A segment's terminology entry, or ""."""
    tag = vtk.mutable("")
    return str(tag) if segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), tag) else ""


def prepare_regions(
    node: slicer.vtkMRMLDisplayableNode,
    wanted: Wanted,
    given: Mapping[str, Region] | None = None,
    kind: MaskKind = MaskKind.SEGMENTATION,
) -> Callable[[], GivenRegions]:
    """The regions of a segmentation or label map, in two parts.

    Args:
        node: in the scene, under any linear transform.
        wanted: what they are to be used for.
        given: regions by the names of segments, or the values of a label map; recognised if None.
        kind: how the result calls the node.

    Returns:
        What makes the regions, on any thread: it holds copies of the voxels and nothing of the scene.

    Raises:
        UnknownLabelsError: no segment is known.
        RegionError: a segment is missing or empty.
        GeometryError: the node lies under a transform that is not linear, or its axes are not perpendicular.
    """
    name, segments = node.GetName(), segments_of(node)
    if not node.IsA("vtkMRMLSegmentationNode"):
        image = _image(np.array(slicer.util.arrayFromVolume(node)), ijk_to_world_ras(node), name)
        named = {(0, segment.value): segment for segment in segments}

        def of_label_map() -> GivenRegions:
            straight = canonical(image)
            values = sitk.GetArrayFromImage(straight)
            return recognise(label_map((values,), Grid.of_image(straight), named, name), kind, wanted, given)

        return of_label_map
    found, how = known_segments(segments, name, given)
    chosen = chosen_for(wanted, kind, found, segments, name)
    parts = {segment: _segment_image(node, segment, region) for segment, region in chosen.items()}

    def of_segmentation() -> GivenRegions:
        layered = _layered({segment: canonical(part) for segment, part in parts.items()}, name)
        renumbered = {layer: chosen[segment] for layer, segment in zip(layered.segments, parts, strict=True)}
        return GivenRegions.of(layered, renumbered, Origin(kind, name, how))

    return of_segmentation


def _value_segment(node: slicer.vtkMRMLLabelMapVolumeNode, value: int) -> Segment:
    """A value with its name in the colour table, if that is a region's; Slicer's tables name any number something."""
    display = node.GetDisplayNode()
    colours = None if display is None else display.GetColorNode()
    text = colours.GetColorName(value) if colours is not None and value < colours.GetNumberOfColors() else ""
    return Segment(value, 0, text if by_name(text or "") else "")


def _segment_image(node: slicer.vtkMRMLSegmentationNode, segment: Segment, region: Region) -> sitk.Image:
    """A copy of a segment's voxels where they lie in the world.

    Raises:
        RegionError: there are none.
    """
    segment_id = node.GetSegmentation().GetNthSegmentID(segment.layer)
    mask = slicer.vtkOrientedImageData()
    there = node.GetBinaryLabelmapRepresentation(segment_id, mask) and mask.GetNumberOfPoints() > 0
    extent = mask.GetExtent()
    shape = tuple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0))
    values = (vtk_to_numpy(mask.GetPointData().GetScalars()).reshape(shape) != 0) if there else np.zeros(1, bool)
    if not values.any():
        raise RegionError(
            f"The segment '{segment.name}' of '{node.GetName()}', the {region}, is empty; fill it or leave it out."
        )
    matrix = vtk.vtkMatrix4x4()
    mask.GetImageToWorldMatrix(matrix)
    to_world = parent_to_world(node) @ np.asarray(slicer.util.arrayFromVTKMatrix(matrix), np.float64)
    to_world[:3, 3] = (to_world @ [extent[0], extent[2], extent[4], 1.0])[:3]
    return _image(values.astype(np.uint8), to_world, node.GetName())


def _image(values: NDArray[np.generic], ijk_to_ras: NDArray[np.float64], name: str) -> sitk.Image:
    lps = RAS_TO_LPS @ ijk_to_ras
    check_axes(lps, name)
    if not perpendicular(lps[:3, :3]):
        raise GeometryError(f"The axes of '{name}' are not perpendicular; harden its transform and try again.")
    return image_at(values, lps[:3, :3], lps[:3, 3])


def _layered(parts: Mapping[Segment, sitk.Image], name: str) -> LabelMap:
    """Masks of several extents as the layers of one label map, on the grid of the first."""
    images = list(parts.values())
    first = Grid.of_image(images[0])
    boxes = np.array([_box_in(Grid.of_image(image), first) for image in images])
    low, high = np.floor(boxes[:, :, 0].min(0) + 0.5), np.ceil(boxes[:, :, 1].max(0) - 0.5)
    over = tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
    shape = tuple(int(n) for n in high - low)
    grid = first.part((over[0], over[1], over[2]), (shape[0], shape[1], shape[2]))
    layers = tuple(resampled(sitk.GetArrayFromImage(image), Grid.of_image(image), grid) for image in images)
    segments = tuple(Segment(1, number, segment.name) for number, segment in enumerate(parts))
    return LabelMap(layers, grid, segments, name)


def _box_in(grid: Grid, other: Grid) -> NDArray[np.float64]:
    """(3, 2): the box around a grid's voxels in another's, from its first edge, whatever their directions."""
    corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in grid.shape))).reshape(3, -1).T
    offsets = grid.position_lps(corners) - np.array(other.origin_lps)
    at = offsets @ np.array(other.direction_lps) / np.array(other.spacing_mm) + 0.5
    return np.stack([at.min(0), at.max(0)], 1)
