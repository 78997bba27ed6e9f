"""What can be chosen of a result: the overlays and charts that it has, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt

from ..i18n import tr as _
from ..scene import views
from ..scene.charts import Chart
from ..scene.overlays import Drawing, Overlay, least_drawn
from ..scene.result import ResultNodes

if TYPE_CHECKING:
    from .parameters import EmphysemaScannerParameterNode

_FLAGS = -1  # below qt.Qt.UserRole: where the items of a combo box keep whether they can be chosen
_ENABLED, _DISABLED = 33, 0  # qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled


class Choosers:
    """The lists of overlays and charts, and the button of the gradient attribution.

    Args:
        ui: the window's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._tip = ui.attributeButton.toolTip
        self._wished: Chart | None = None  # by the user, and what was given instead
        self._given: Chart | None = None

    def offer(self, nodes: ResultNodes, parameters: EmphysemaScannerParameterNode) -> None:
        """Offer what a result has, and choose something of it where the present choice is missing.

        A chart is replaced only until there is one again.

        Args:
            nodes: the result.
            parameters: the scene's parameter node.
        """
        # Gradient attribution can be computed for every model that reads a volume.
        overlays = {*nodes.overlays, *([Overlay.GRADIENT] if nodes.overlays else [])}
        _offer(self._ui.overlayComboBox, [overlay in overlays for overlay in Overlay])
        _offer(self._ui.chartComboBox, [chart in nodes.charts for chart in Chart])
        first = views.first_overlay(nodes)
        if first is not None and parameters.overlay not in overlays:
            parameters.overlay = first
        if parameters.chart is not self._given or self._wished is None:
            self._wished = parameters.chart
        self._given = views.shown_chart(nodes, self._wished)
        parameters.chart = self._given

    def update(
        self, nodes: ResultNodes | None, parameters: EmphysemaScannerParameterNode | None, attributing: bool
    ) -> None:
        """Enable, describe and show what depends on the result.

        Args:
            nodes: the result, if there is one.
            parameters: the scene's parameter node.
            attributing: whether the gradient attribution is being computed.
        """
        ui = self._ui
        wanted = None if parameters is None else parameters.overlay
        if nodes is not None and parameters is not None:
            ui.overlayDescriptionLabel.text = _described(nodes, parameters)
        nothing_to_draw = nodes is not None and not nodes.overlays
        missing = wanted is Overlay.GRADIENT and not (nodes is not None and Overlay.GRADIENT in nodes.overlays)
        ui.attributeButton.visible = missing or nothing_to_draw or attributing
        ui.attributeButton.toolTip = (
            _("This model reads densitometry and no voxels: there is no evidence by place and nothing to attribute.")
            if nothing_to_draw
            else self._tip
        )
        for widget in (ui.overlayComboBox, ui.overlay3DCheckBox):
            widget.enabled = not nothing_to_draw


def _described(nodes: ResultNodes, parameters: EmphysemaScannerParameterNode) -> str:
    """The chosen overlay in a sentence, and from which value on it is drawn."""
    overlay = parameters.overlay
    if overlay not in nodes.overlays:
        return overlay.description() if nodes.overlays else _("This model has no overlay.")
    if overlay is Overlay.RESPONSE:
        return overlay.description()
    least = f"{least_drawn(nodes.overlays[overlay], overlay, parameters.overlayThreshold):.2g} {overlay.unit}".strip()
    how = _("Outlined at {value}.") if parameters.overlayDrawing is Drawing.OUTLINE else _("Drawn from {value}.")
    own = "" if overlay.has_fixed_range else _("The colour range is of this CT alone.")
    return " ".join(sentence for sentence in (overlay.description(), how.format(value=least), own) if sentence)


def _offer(combo: Any, there: Sequence[bool]) -> None:
    """Let those be chosen that are there; the others are not in the list that opens."""
    for index, known in enumerate(there):
        combo.setItemData(index, _ENABLED if known else _DISABLED, int(qt.Qt.UserRole) + _FLAGS)
        combo.view().setRowHidden(index, not known)
