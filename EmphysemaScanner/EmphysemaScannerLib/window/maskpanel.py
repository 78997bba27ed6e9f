"""Panel of lung mask, lobes and second CT: segmentations in place of the mask that is found, and as regions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import qt
import slicer

from ..i18n import tr as _
from ..lungs.recognition import WANTED_LOBES, WANTED_LUNGS, Wanted, chosen_for, known_segments
from ..lungs.regions import LOBES, LUNGS, MaskKind, Region, RegionError, UnknownLabelsError
from ..report import wording
from ..scene.labelnodes import segments_of
from ..scene.result import ResultNodes, is_part_of_a_result, mask_is_edited
from . import styles
from .masknodes import MaskNodes

if TYPE_CHECKING:
    from .parameters import EmphysemaScannerParameterNode

_CLASSES = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")


class MaskPanel:
    """Which lung mask and lobes are used, and what their segments are.

    Args:
        ui: the window's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._unknown: set[str] = set()  # IDs of nodes whose segments the user is asked about
        self._named: dict[tuple[str, int], Region] = {}  # by node ID and segment
        self._rows: list[tuple[str, int]] = []
        styles.set_up_table(ui.segmentsTable, [_("Segment"), _("Is")])
        ui.segmentsTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.segmentsTable.visible = False
        styles.say(ui.masksHintLabel, "")
        styles.say(ui.masksStatusLabel, "")

    @staticmethod
    def tip() -> str:
        """Of the button, where there is something to measure."""
        return _(
            "Measure in the lung mask as it is in the scene now, after edits in Segment Editor, and by the chosen"
            " lobes. The network is not asked again."
        )

    def nodes(self, parameters: EmphysemaScannerParameterNode) -> MaskNodes:
        """What is chosen, with what the user has said of the segments."""
        lungs, lobes = parameters.lungsNode, parameters.lobesNode
        return MaskNodes(lungs, lobes, self._said_of(lungs), self._said_of(lobes))

    def with_edits(self, masks: MaskNodes, result: ResultNodes | None) -> MaskNodes:
        """What is chosen, but the result's own lung mask in place of it if that was edited."""
        if result is None or not mask_is_edited(result):
            return masks
        return dataclasses.replace(masks, lungs=result.lungs, lung_segments={}, lungs_kind=MaskKind.EDITED)

    def look_for_edits(self, result: ResultNodes | None) -> None:
        """Tell the user if the lung mask is another than that which was measured in."""
        if result is not None and mask_is_edited(result):
            sentence = _("The lung mask was edited: press Measure again (Lung mask, lobes) to renew all figures.")
            styles.say(self._ui.statusLabel, sentence, styles.WARNING)  # where it is seen without scrolling
            self._ui.masksCollapsibleButton.collapsed = False

    @contextmanager
    def asking(self, masks: MaskNodes) -> Iterator[None]:
        """Ask the user about the segments of a chosen node if the block finds them unknown."""
        try:
            yield
        except UnknownLabelsError as error:
            chosen = [node for node in (masks.lungs, masks.lobes) if node is not None]
            self._unknown.update(node.GetID() for node in chosen if f"'{node.GetName()}'" in str(error))
            self._ui.masksCollapsibleButton.collapsed = False
            raise

    def update(self, parameters: EmphysemaScannerParameterNode | None) -> None:
        """Show the segments that the user is asked about, and where lobes can be had from."""
        lungs, lobes = (None, None) if parameters is None else (parameters.lungsNode, parameters.lobesNode)
        hint = _where_lobes_are()
        if lobes is not None:
            hint = _("The lobes together are the lung mask.") if lungs is None else ""
        styles.say(self._ui.masksHintLabel, hint)
        self._ask([(lungs, WANTED_LUNGS), (lobes, WANTED_LOBES)])

    def _said_of(self, node: Any) -> dict[str, Region]:
        node_id = "" if node is None else node.GetID()
        return {str(value): region for (of, value), region in self._named.items() if of == node_id}

    def _ask(self, chosen: list[tuple[Any, Wanted]]) -> None:
        asked = [(node, wanted) for node, wanted in chosen if node is not None and self._is_unknown(node, wanted)]
        rows = [(node, wanted, segment) for node, wanted in asked for segment in segments_of(node)]
        table, now = self._ui.segmentsTable, [(node.GetID(), segment.value) for node, _wanted, segment in rows]
        table.visible = bool(rows)
        if now == self._rows:
            return
        self._rows = now
        table.setRowCount(0)  # takes the choices of other segments with it
        table.setRowCount(len(rows))
        for k, (node, wanted, segment) in enumerate(rows):
            item = qt.QTableWidgetItem(segment.name or str(segment.value))
            item.setToolTip(styles.tip(node.GetName()))
            table.setItem(k, 0, item)
            table.setCellWidget(k, 1, self._chooser((node.GetID(), segment.value), wanted))

    def _is_unknown(self, node: Any, wanted: Wanted) -> bool:
        if node.GetID() in self._unknown:
            return True
        if not node.IsA("vtkMRMLSegmentationNode"):
            return False  # its numbers are looked at when it is used, which takes a while
        segments = segments_of(node)
        try:
            found, _how = known_segments(segments, node.GetName())
            chosen_for(wanted, MaskKind.SEGMENTATION, found, segments, node.GetName())
        except RegionError:
            self._unknown.add(node.GetID())  # still asked about once some are named
            return True
        return False

    def _chooser(self, segment: tuple[str, int], wanted: Wanted) -> Any:
        regions = [region for region in (*LUNGS, *LOBES) if region in wanted.regions]
        box = qt.QComboBox()
        box.addItem(_("not used"))
        for region in regions:
            box.addItem(_region_name(region))
        if segment in self._named and self._named[segment] in regions:
            box.currentIndex = 1 + regions.index(self._named[segment])

        def changed(index: int) -> None:
            self._named.pop(segment, None)
            if index > 0:
                self._named[segment] = regions[index - 1]

        box.connect("currentIndexChanged(int)", changed)
        return box


def label_nodes() -> list[Any]:
    """The scene's segmentations and label maps."""
    return [node for kind in _CLASSES for node in slicer.util.getNodesByClass(kind)]


def _region_name(region: Region) -> str:
    names = {Region.RIGHT_LUNG: "right", Region.LEFT_LUNG: "left", Region.LUNGS: "whole"}
    return wording.REGION_NAMES[names.get(region, region.value)]


def _where_lobes_are() -> str:
    """Which segmentation of the scene has lobes, or else which extension makes them."""
    for node in label_nodes():
        if node.IsA("vtkMRMLSegmentationNode") and not is_part_of_a_result(node):
            found, _how = known_segments(segments_of(node), node.GetName())
            if set(LOBES) & set(found.values()):
                return _("'{name}' has lobes: choose it above to measure each of them.").format(name=node.GetName())
    return _(
        "No lobes are in the scene; the extensions TotalSegmentator and Lung CT Analyzer (Lung CT Segmenter) make them."
    )
