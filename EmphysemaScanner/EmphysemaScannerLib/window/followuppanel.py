"""Panel "Follow-up": CTs of one patient with their dates, what changed between them, and both side by side."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer

from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _
from ..scene import layout, pairs
from ..scene.pairs import FollowUpNodes
from . import styles
from .ctpanel import cts
from .dicomfiles import files_of
from .followupwork import techniques_of
from .pairlayout import PairLayout

if TYPE_CHECKING:
    from ..followup.followup import FollowUp


class FollowUpPanel:
    """Which CTs are compared, and what was found.

    Args:
        ui: the window's widgets by name.
        changed: called when what can be pressed may have changed.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._nodes: list[Any] = []
        self.found: FollowUp | None = None
        self._shown = FollowUpNodes([], {})
        self.layout = PairLayout(ui.followUpLayoutButton, self._draw)
        styles.set_up_table(ui.followUpTable, [_("CT"), _("Date")])
        ui.followUpTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.followUpTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.followUpPairComboBox.connect("currentIndexChanged(int)", lambda _index: self._draw_pair())
        ui.followUpMeasureComboBox.connect("currentIndexChanged(int)", lambda _index: self._draw_chart())
        styles.say(ui.followUpStatusLabel, "")
        styles.say(ui.followUpWarningsLabel, "")
        styles.say(ui.followUpSaveStatusLabel, "")
        ui.followUpResultLabel.visible = False

    def fill(self) -> None:
        """List the scene's CTs anew; what was ticked and typed stays."""
        now = [node for node in cts() if node.GetImageData() is not None]
        if [node.GetID() for node in now] == [node.GetID() for node in self._nodes]:
            return
        before = {node.GetID(): row for row, node in enumerate(self._nodes)}
        table = self._ui.followUpTable
        kept = {key: (table.item(row, 0).checkState(), table.item(row, 1).text()) for key, row in before.items()}
        table.setRowCount(0)
        table.setRowCount(len(now))
        self._nodes = now
        for row, node in enumerate(now):
            ticked, day = kept.get(node.GetID(), (qt.Qt.Unchecked, ""))
            name = qt.QTableWidgetItem(node.GetName())
            name.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
            name.setCheckState(ticked)
            stated = qt.QTableWidgetItem(day or _stated_day(node))
            stated.setToolTip(_("Year-month-day, such as 2024-03-01."))
            table.setItem(row, 0, name)
            table.setItem(row, 1, stated)

    def chosen(self) -> tuple[list[Any], list[str | None]]:
        """The ticked CTs and their dates as typed; None for none."""
        table = self._ui.followUpTable
        rows = [row for row in range(len(self._nodes)) if table.item(row, 0).checkState() == qt.Qt.Checked]
        dates = [table.item(row, 1).text().strip() or None for row in rows]
        return [self._nodes[row] for row in rows], dates

    def show(self, found: FollowUp, shown: FollowUpNodes) -> None:
        """Show what was found, the CTs side by side, and a chart over time."""
        from ..followup import contents

        ui, self.found, self._shown = self._ui, found, shown
        lines = [f"{box.title}: {line}" for box in contents.differing(found) for line in box.lines]
        styles.say(ui.followUpWarningsLabel, "\n".join(lines), styles.WARNING)
        ui.followUpResultLabel.text = "<br>".join(_tables(found))
        ui.followUpResultLabel.visible = True
        _offer(ui.followUpPairComboBox, [_pair_name(made) for made in found.maps], len(found.maps) - 1)
        before, titles = ui.followUpMeasureComboBox.currentText, list(shown.charts)
        _offer(ui.followUpMeasureComboBox, titles, titles.index(before) if before in titles else 0)
        self.layout.arrangement = layout.PAIR_LAYOUT if shown.pairs else layout.COURSE_LAYOUT
        self.layout.show()
        self._changed()

    def update(self, busy: bool) -> None:
        """Enable and show what depends on the state."""
        ui = self._ui
        self._shown = self._shown.still_there()
        there = bool(self._shown.pairs or self._shown.charts)
        ui.followUpLayoutButton.enabled = there or self.layout.is_shown
        ui.followUpLayoutButton.checked = self.layout.is_shown
        ui.followUpPairComboBox.visible = len(self._shown.pairs) > 1
        ui.followUpMeasureComboBox.visible = bool(self._shown.charts)
        ui.followUpTable.enabled = not busy
        ui.followUpSaveFrame.visible = self.found is not None

    def folder(self) -> Path:
        """The folder that was named.

        Raises:
            EmphysemaScannerError: none was.
        """
        named = self._ui.followUpFolderPathLineEdit.currentPath.strip()
        if not named:
            raise EmphysemaScannerError(_("Name a folder to save to."))
        self._ui.followUpFolderPathLineEdit.addCurrentPathToHistory()
        return Path(named)

    def forget(self) -> None:
        """The scene is about to be emptied."""
        self.found, self._shown = None, FollowUpNodes([], {})
        pairs.draw_chart(slicer.mrmlScene, None)
        for chooser in (self._ui.followUpPairComboBox, self._ui.followUpMeasureComboBox):
            _offer(chooser, [], -1)
        self._ui.followUpResultLabel.visible = False
        for label in (self._ui.followUpStatusLabel, self._ui.followUpWarningsLabel, self._ui.followUpSaveStatusLabel):
            styles.say(label, "")

    def close(self) -> None:
        """Let go of the views."""
        self.layout.close()

    def _draw(self) -> None:
        """Fill the views of the follow-up's layout."""
        self._draw_chart()
        self._draw_pair()

    def _draw_chart(self) -> None:
        chart = self._shown.still_there().charts.get(self._ui.followUpMeasureComboBox.currentText)
        if chart is not None and self.layout.is_shown:
            pairs.draw_chart(slicer.mrmlScene, chart)

    def _draw_pair(self) -> None:
        there = self._shown.still_there().pairs
        if not there or not self.layout.is_shown:
            return
        nodes = there[min(max(self._ui.followUpPairComboBox.currentIndex, 0), len(there) - 1)]
        pairs.draw_pair(nodes)
        slicer.app.processEvents()  # the views must have their sizes before the CT is fitted into them
        self.layout.look_at(pairs.most_loss(nodes))


def _offer(chooser: Any, texts: list[str], index: int) -> None:
    """Fill a chooser without telling anybody."""
    was = chooser.blockSignals(True)
    chooser.clear()
    for text in texts:
        chooser.addItem(text)
    chooser.currentIndex = index
    chooser.blockSignals(was)


def _stated_day(node: Any) -> str:
    if not files_of(node):
        return ""
    stated = techniques_of([node])[0].taken
    return "" if stated is None else stated.isoformat()


def _pair_name(made: Any) -> str:
    days = (made.comparison.earlier.taken.isoformat(), made.comparison.later.taken.isoformat())
    return _("{before} and {after}").format(before=days[0], after=days[1])


def _tables(found: FollowUp) -> list[str]:
    """The changes as the rich text that Qt draws, one table for each later CT."""
    from ..followup import contents

    texts = []
    for comparison in found.course.comparisons:
        figures = contents.changes(found.course, comparison)
        rows = []
        for name, before, after, change, _per_year, _limits, verdict in (figures.titles, *figures.rows):
            cells = "".join(f"<td align='right'><small>{escape(cell)}</small></td>" for cell in (before, after, change))
            rows.append(f"<td><small>{escape(name)}</small></td>{cells}<td><small>{escape(verdict)}</small></td>")
        texts.append(f"<table cellspacing='3' cellpadding='0'>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
    for made in found.maps:
        texts += [
            f"<b>{escape(title)}:</b> {escape(line)}"
            for title, lines in contents.registration(made).rows
            for line in lines
        ]
    return texts
