"""Where a CT comes from: Slicer's DICOM module, a file, or a sample case; and which of the scene's volumes are CTs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import qt
import slicer

from ..i18n import tr as _
from ..report import wording
from ..scene.result import is_part_of_a_result
from . import samples, styles
from .dicomfiles import files_of, provenance_of


class CTPanel:
    """The menu that loads a CT.

    Args:
        ui: the window's widgets by name.
        attempt: does short work and says what the user can mend.
        loaded: told of a CT that was loaded.
    """

    def __init__(self, ui: Any, attempt: Callable[[Callable[[], Any]], None], loaded: Callable[[Any], None]) -> None:
        self._ui, self._attempt, self._loaded = ui, attempt, loaded
        styles.say(ui.seriesLabel, "")
        menu = qt.QMenu(ui.loadButton)
        self._loaders: dict[str, Callable[[], Any]] = {
            _("DICOM..."): lambda: slicer.util.selectModule("DICOM"),
            _("File..."): lambda: self._load(slicer.util.openAddVolumeDialog),
            **{name: partial(self._load, partial(samples.load, name)) for name in samples.names()},
        }
        for text in self._loaders:
            menu.addAction(text)
        menu.connect("triggered(QAction*)", self._on_action)
        ui.loadButton.setMenu(menu)

    def show_series(self, ct: Any) -> None:
        """Name the DICOM series of a CT, and state why another may be better.

        Args:
            ct: the CT; None for nothing, as where a result states the same.
        """
        known = provenance_of([] if ct is None else files_of(ct))
        if known.series is None:
            styles.say(self._ui.seriesLabel, "")
            return
        lines = [_("Series: {series}").format(series=wording.series_read(known.series)), *known.warnings]
        styles.say(self._ui.seriesLabel, "\n".join(lines), styles.WARNING if known.warnings else styles.NOTE)

    def _on_action(self, action: Any) -> None:
        self._attempt(self._loaders[action.text])

    def _load(self, load: Callable[[], Any]) -> None:
        before = set(cts())
        load()
        new = [ct for ct in cts() if ct not in before]
        if new:
            self._loaded(new[-1])


def cts() -> list[Any]:
    """The scene's scalar volumes that are not parts of a result, CTs from DICOM first."""
    found = [node for node in scalar_volumes() if not is_part_of_a_result(node)]
    return sorted(found, key=lambda node: not _is_ct(node))


def scalar_volumes() -> list[Any]:
    """The scene's volumes of numbers; label maps are none."""
    found = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in found if not node.IsA("vtkMRMLLabelMapVolumeNode")]


def _is_ct(node: Any) -> bool:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    return bool(item) and hierarchy.GetItemAttribute(item, "DICOM.Modality") == "CT"
