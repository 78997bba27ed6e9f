"""Waiting for work on the worker's thread while the window stays alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import slicer

from ..base.errors import EmphysemaScannerError, ScanCancelled
from ..i18n import tr as _
from ..jobs.worker import JobCancelledError, Report, shared_worker

if TYPE_CHECKING:
    from slicer import vtkMRMLScalarVolumeNode

T = TypeVar("T")


class VolumeRemovedError(EmphysemaScannerError):
    """The CT left the scene while it was being worked on."""


def wait_for(
    work: Callable[[Report], T], progress: Report | None = None, volume_node: vtkMRMLScalarVolumeNode | None = None
) -> T:
    """Run ``work(report)`` on the worker's thread; the window stays alive.

    Args:
        work: must not touch the scene or the window.
        progress: told the share done (0 to 1) and the stage, on the main thread.
        volume_node: the work is cancelled when this CT leaves its scene, and when Slicer is closing.

    Raises:
        ScanCancelled: it was cancelled.
        VolumeRemovedError: the CT left the scene.
        EmphysemaScannerError: other work is running, or what the work raised.
    """
    worker = shared_worker()
    if worker.busy:
        raise EmphysemaScannerError(_("Other work is still running; wait for it or cancel it first."))
    scene = None if volume_node is None else volume_node.GetScene()
    window = slicer.util.mainWindow()
    window_was_open = window is not None and window.visible

    def removed() -> bool:
        return volume_node is not None and volume_node.GetScene() is not scene

    def pump() -> None:
        slicer.app.processEvents()
        if removed() or (window_was_open and not window.visible):
            worker.cancel()

    try:
        result: T = worker.run(work, pump=pump, on_progress=progress or (lambda _fraction, _stage: None))
    except JobCancelledError:
        if removed():
            raise VolumeRemovedError(_("The CT was removed in the meantime; the result was discarded.")) from None
        raise ScanCancelled(_("Cancelled; nothing was changed.")) from None
    if removed():
        raise VolumeRemovedError(_("The CT was removed in the meantime; the result was discarded."))
    return result
