"""Nodes added to a scene whole or not at all, kept in a folder, and removed with all that belongs to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import slicer
import vtk

from .colours import COLOURS_ATTRIBUTE


@contextmanager
def all_or_nothing(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Nodes and folders that are added in the block are removed again if it raises."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes_before, folders_before = set(_node_ids(scene)), set(_folders(hierarchy))
    try:
        yield
    except BaseException:
        for folder in set(_folders(hierarchy)) - folders_before:
            remove_folder(scene, hierarchy, folder)
        for node_id in reversed([n for n in _node_ids(scene) if n not in nodes_before]):
            node = scene.GetNodeByID(node_id)
            if node is not None:  # removing one may have removed another
                scene.RemoveNode(node)
        raise


def remove_nodes(scene: slicer.vtkMRMLScene, nodes: Iterable[slicer.vtkMRMLNode]) -> None:
    """Remove nodes with their display and storage nodes and their items of the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)  # first: outside the application, items outlive their nodes
        # The legend, last, leaves before the display, and both before their volume: the other way round it is an error.
        displays, storages = list(reversed(_displays_of(node))), _storages_of(node)
        if node.IsA("vtkMRMLSegmentationNode"):  # but Slicer's 3D views crash over one that has lost its display
            scene.RemoveNode(node)
        remove_helpers(scene, displays)
        _remove(scene, [*storages, node])


def remove_helpers(scene: slicer.vtkMRMLScene, displays: Iterable[slicer.vtkMRMLDisplayNode]) -> None:
    """Remove display nodes and what belongs to them alone, which Slicer leaves behind."""
    for display in displays:
        helpers = [display]
        colours = display.GetColorNode()
        if colours is not None and colours.GetAttribute(COLOURS_ATTRIBUTE) is not None:
            helpers += [colours, *_storages_of(colours)]
        if display.IsA("vtkMRMLVolumeRenderingDisplayNode"):
            for helper in (display.GetVolumePropertyNode(), display.GetROINode()):
                if helper is not None:
                    helpers += [*_displays_of(helper), *_storages_of(helper), helper]
        _remove(scene, helpers)


def _displays_of(node: slicer.vtkMRMLNode) -> list[slicer.vtkMRMLDisplayNode]:
    count = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    return [d for d in (node.GetNthDisplayNode(i) for i in range(count)) if d is not None]


def _storages_of(node: slicer.vtkMRMLNode) -> list[slicer.vtkMRMLStorageNode]:
    count = node.GetNumberOfStorageNodes() if node.IsA("vtkMRMLStorableNode") else 0
    return [s for s in (node.GetNthStorageNode(i) for i in range(count)) if s is not None]


def _remove(scene: slicer.vtkMRMLScene, nodes: Iterable[slicer.vtkMRMLNode]) -> None:
    for node in nodes:
        if node.GetScene() is scene:
            scene.RemoveNode(node)


def put_into(scene: slicer.vtkMRMLScene, folder: int, nodes: Iterable[slicer.vtkMRMLNode]) -> None:
    """Put nodes into a folder of the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)  # the application has made one already
        if item:
            hierarchy.SetItemParent(item, folder)
        else:
            hierarchy.CreateItem(folder, node)


def folder_of(record: slicer.vtkMRMLTextNode) -> int:
    """The folder of the subject hierarchy that a node lies in."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(record.GetScene())
    return int(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(record)))


def remove_folder(scene: slicer.vtkMRMLScene, hierarchy: slicer.vtkMRMLSubjectHierarchyNode, folder: int) -> None:
    """Remove a folder, not what is in it."""
    display = hierarchy.GetItemDataNode(folder)  # the application gives a folder a display node once it is hidden
    hierarchy.RemoveItem(folder, False, True)
    if display is not None and display.GetScene() is scene:
        scene.RemoveNode(display)


def _node_ids(scene: slicer.vtkMRMLScene) -> list[str]:
    return [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]


def _folders(hierarchy: slicer.vtkMRMLSubjectHierarchyNode) -> list[int]:
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    ids = [items.GetId(i) for i in range(items.GetNumberOfIds())]
    return [i for i in ids if hierarchy.IsItemLevel(i, "Folder")]
