"""A scene without the Slicer application: what the application would have set up around it (PyPI's slicer-core)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import slicer
import vtk

from ..base.errors import UnreadableInputError


def in_application() -> bool:
    """Whether this runs inside the Slicer application, which has its own scene, views and logic."""
    return getattr(slicer, "app", None) is not None


@contextmanager
def standalone_scene() -> Iterator[slicer.vtkMRMLScene]:
    """A new, empty scene, also as ``slicer.mrmlScene`` while the block runs; it is emptied at the end.

    Raises:
        RuntimeError: called inside the application, whose scene is ``slicer.mrmlScene``.
    """
    if in_application():
        raise RuntimeError("inside the Slicer application the scene is slicer.mrmlScene")
    before = getattr(slicer, "mrmlScene", None)
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    application_logic = new_application_logic(scene)
    colour_logic = slicer.vtkMRMLColorLogic()  # makes the colour nodes that display nodes refer to
    colour_logic.SetMRMLScene(scene)
    try:
        yield scene
    finally:
        # In this order: logics that outlive their scene's nodes have crashed.
        scene.Clear(True)
        colour_logic.SetMRMLScene(None)
        application_logic.SetMRMLScene(None)
        slicer.mrmlScene = before


def open_scene(scene: slicer.vtkMRMLScene, path: Path) -> None:
    """Read a saved .mrb into a standalone scene, which must be empty.

    Raises:
        UnreadableInputError: it cannot be read.
    """
    with tempfile.TemporaryDirectory() as cache:  # where Slicer unpacks the bundle
        remote = slicer.vtkMRMLRemoteIOLogic()
        remote.SetMRMLScene(scene)
        remote.GetCacheManager().SetRemoteCacheDirectory(cache)
        remote.AddDataIOToScene()
        try:
            if not scene.ReadFromMRB(str(path.absolute())):
                raise UnreadableInputError(f"The scene '{path}' cannot be read; choose a .mrb file saved by Slicer.")
        finally:
            remote.RemoveDataIOFromScene()
            remote.SetMRMLScene(None)


def new_application_logic(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLApplicationLogic:
    """An application logic for a scene that has none."""
    logic = slicer.vtkMRMLApplicationLogic()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetMRMLScene(scene)
    return logic
