"""Pictures by Slicer's own slice views, drawn without a window, in the application and on slicer-core."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from ..base.errors import EmphysemaScannerError
from .overlays import legends_of
from .standalone import in_application, new_application_logic
from .views import announce_layers

OPENGL_VARIABLE = "VTK_DEFAULT_OPENGL_WINDOW"
DISPLAYABLE_MANAGERS = ("vtkMRMLColorLegendDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D")
TEXT_SIZE = 13
OSMESA = ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")  # draws without a display and without EGL


class RenderingUnavailableError(EmphysemaScannerError):
    """There is no OpenGL to draw with."""


class Orientation(Enum):
    """A slice view's plane, named as Slicer names it."""

    AXIAL = "Axial"
    CORONAL = "Coronal"
    SAGITTAL = "Sagittal"

    @property
    def axes(self) -> tuple[int, int, int]:
        """Which of R, A, S runs across, up and through the picture."""
        return {Orientation.AXIAL: (0, 1, 2), Orientation.CORONAL: (0, 2, 1), Orientation.SAGITTAL: (1, 2, 0)}[self]


@dataclass(frozen=True)
class Layers:
    """What is drawn: a CT, what lies over it, and a line of text.

    Attributes:
        background: the CT.
        foreground: a volume over it, with its colour legend if it has one; or None.
        opacity: of the foreground, 0 to 1.
        caption: at the lower left; may be empty.
    """

    background: slicer.vtkMRMLScalarVolumeNode
    foreground: slicer.vtkMRMLScalarVolumeNode | None = None
    opacity: float = 0.5
    caption: str = ""


def render_slice(
    layers: Layers,
    orientation: Orientation,
    centre_ras: NDArray[np.float64],
    field_of_view_mm: tuple[float, float],
    size: tuple[int, int] = (640, 640),
) -> NDArray[np.uint8]:
    """One picture of a slice, with colour legend, visible segmentations, orientation letters and caption.

    The scene is as before when it returns.

    Args:
        layers: what is drawn.
        orientation: of the slice.
        centre_ras: world RAS in mm of the picture's middle; the slice goes through it.
        field_of_view_mm: width and height of the picture.
        size: width and height in pixels.

    Returns:
        (height, width, 3), RGB, top row first.

    Raises:
        RenderingUnavailableError: there is no OpenGL here; says how to bring it.
    """
    with slice_view(layers.background.GetScene(), size) as view:
        return view.render(layers, orientation, centre_ras, field_of_view_mm)


@contextmanager
def slice_view(scene: slicer.vtkMRMLScene, size: tuple[int, int]) -> Iterator[OffscreenSliceView]:
    """A slice view for several pictures of one size; its nodes are out of the scene again at the end.

    Raises:
        RenderingUnavailableError: there is no OpenGL here; says how to bring it.
    """
    before = {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}
    view = OffscreenSliceView(scene, size)
    try:
        yield view
    finally:
        view.close()
        added = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
        for node in [n for n in added if n.GetID() not in before]:
            scene.RemoveNode(node)


class OffscreenSliceView:
    """Slicer's slice logic and displayable managers on a window that is never shown. Use ``slice_view``."""

    def __init__(self, scene: slicer.vtkMRMLScene, size: tuple[int, int]) -> None:
        self._window = _offscreen_window(size)
        self._size = size
        self._application_logic = slicer.app.applicationLogic() if in_application() else new_application_logic(scene)

        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(self._application_logic)
        self._logic.SetMRMLScene(scene)
        self._node = self._logic.AddSliceNode(scene.GenerateUniqueName("EmphysemaScannerOffscreen"))
        self._composite = self._logic.GetSliceCompositeNode()
        self._application_logic.GetSliceLogics().AddItem(self._logic)  # where colour legends look for their view

        # Every object stays a member: views whose parts die in an arbitrary order have crashed.
        self._renderer = vtk.vtkRenderer()
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.SetRenderer(self._renderer)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        if not in_application():
            factory.SetMRMLApplicationLogic(self._application_logic)
            for manager in DISPLAYABLE_MANAGERS:
                if not factory.IsDisplayableManagerRegistered(manager):
                    factory.RegisterDisplayableManager(manager)
        self._managers.Initialize(factory, self._renderer)
        self._managers.SetMRMLDisplayableNode(self._node)

        self._mapper = vtk.vtkImageMapper()  # the slice logic's picture is RGBA already: shown as it is
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._picture = vtk.vtkActor2D()
        self._picture.SetMapper(self._mapper)
        self._picture.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._picture)

        self._text_renderer = vtk.vtkRenderer()
        self._text_renderer.SetLayer(2)  # 0 the slice, 1 Slicer's colour legend
        self._window.SetNumberOfLayers(3)
        self._window.AddRenderer(self._text_renderer)
        self._texts = {place: _text() for place in ("left", "right", "top", "caption")}
        for text in self._texts.values():
            self._text_renderer.AddViewProp(text)

    def render(
        self,
        layers: Layers,
        orientation: Orientation,
        centre_ras: NDArray[np.float64],
        field_of_view_mm: tuple[float, float],
    ) -> NDArray[np.uint8]:
        """As ``render_slice``."""
        width, height = self._size
        self._node.SetOrientation(orientation.value)
        self._node.SetDimensions(width, height, 1)
        self._node.SetFieldOfView(*field_of_view_mm, 1.0)
        self._node.JumpSliceByCentering(*(float(v) for v in centre_ras))
        self._composite.SetBackgroundVolumeID(layers.background.GetID())
        self._composite.SetForegroundVolumeID(layers.foreground.GetID() if layers.foreground is not None else None)
        self._composite.SetForegroundOpacity(layers.opacity)
        legends = [] if layers.foreground is None else legends_of(layers.foreground)
        elsewhere = [legend for legend in legends if legend.GetNumberOfViewNodeIDs() > 0]
        for legend in elsewhere:  # in the window it is in one view alone
            legend.AddViewNodeID(self._node.GetID())
        announce_layers(self._composite)
        self._logic.UpdatePipeline()
        self._mapper.SetInputConnection(self._logic.GetImageDataConnection())
        self._write_texts(layers.caption)
        self._window.Render()
        for legend in elsewhere:
            legend.RemoveViewNodeID(self._node.GetID())
        return self._pixels()

    def close(self) -> None:
        """Let go of the scene, then of OpenGL; the other way round has crashed."""
        self._application_logic.GetSliceLogics().RemoveItem(self._logic)
        self._mapper.RemoveAllInputConnections(0)
        self._managers.SetMRMLDisplayableNode(None)
        self._managers.SetRenderer(None)
        self._logic.SetMRMLScene(None)
        if not in_application():
            slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(None)
            self._application_logic.SetMRMLScene(None)
        self._window.Finalize()

    def _write_texts(self, caption: str) -> None:
        width, height = self._size
        across, up = (slicer.util.arrayFromVTKMatrix(self._node.GetSliceToRAS())[:3, axis] for axis in (0, 1))
        for place, text, position, justify in (
            ("left", _letter(-across), (8, height // 2), "Left"),
            ("right", _letter(across), (width - 8, height // 2), "Right"),
            ("top", _letter(up), (width // 2, height - 8 - TEXT_SIZE), "Centered"),
            ("caption", caption, (8, 8), "Left"),
        ):
            self._texts[place].SetInput(text)
            self._texts[place].SetPosition(*position)
            getattr(self._texts[place].GetTextProperty(), f"SetJustificationTo{justify}")()

    def _pixels(self) -> NDArray[np.uint8]:
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.SetInputBufferTypeToRGB()
        grab.ReadFrontBufferOff()
        grab.ShouldRerenderOff()
        grab.Update()
        data = grab.GetOutput()
        width, height, _ = data.GetDimensions()
        flat = vtk_to_numpy(data.GetPointData().GetScalars())
        return np.ascontiguousarray(flat.reshape(height, width, 3)[::-1])


def _text() -> vtk.vtkTextActor:
    actor = vtk.vtkTextActor()
    look = actor.GetTextProperty()
    look.SetFontSize(TEXT_SIZE)
    look.SetFontFamilyToArial()
    look.SetColor(1.0, 1.0, 0.75)
    look.ShadowOn()
    return actor


def _letter(direction_ras: NDArray[np.float64]) -> str:
    """The side of the patient that a direction points to."""
    axis = int(np.abs(direction_ras).argmax())
    return ("LR", "PA", "IS")[axis][int(direction_ras[axis] > 0)]


def _offscreen_window(size: tuple[int, int]) -> vtk.vtkRenderWindow:
    unavailable = RenderingUnavailableError(
        "Pictures cannot be drawn because OpenGL is missing; install it with: apt-get install libegl1 libgl1"
    )
    # Asked before VTK does: without any OpenGL library it doesn't raise but ends the process.
    if sys.platform == "linux" and not in_application() and not _opengl_libraries():
        raise unavailable
    with _egl_where_there_is_no_display():
        window = vtk.vtkRenderWindow()
    if window.IsA("vtkOSOpenGLRenderWindow") and not _loads(*OSMESA):
        raise unavailable
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(0)  # the same picture on every machine
    window.SetSize(*size)
    return window


def _opengl_libraries() -> bool:
    return _loads(*OSMESA) or (
        _loads("libGL.so.1", "libOpenGL.so.0") and (bool(os.environ.get("DISPLAY")) or _loads("libEGL.so.1"))
    )


def _loads(*names: str) -> bool:
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


@contextmanager
def _egl_where_there_is_no_display() -> Iterator[None]:
    """VTK would try X first, and warn that it isn't there."""
    if (
        sys.platform != "linux"
        or os.environ.get("DISPLAY")
        or OPENGL_VARIABLE in os.environ
        or not _loads("libEGL.so.1")
    ):
        yield
        return
    os.environ[OPENGL_VARIABLE] = "vtkEGLRenderWindow"
    try:
        yield
    finally:
        del os.environ[OPENGL_VARIABLE]
