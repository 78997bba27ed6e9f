"""Stand-ins for the widgets of CTK and Slicer that the module's window is made of.

Each is the nearest Qt widget and has a part of the real class's members, never a member that the real class lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import ManneredObject, emit, mannered_class, plain

Property, QtSignal = QtCore.Property, QtCore.Signal
_Widget: Any = mannered_class(QtWidgets.QWidget)
_NODE_SIGNALS = {
    "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)",
    "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)",
}


class ctkCollapsibleButton(mannered_class(QtWidgets.QAbstractButton)):  # type: ignore[misc]
    """A header that hides and shows what is below it."""

    contentsCollapsed = QtSignal(bool)
    MARGIN = 4  # pixels around the header's text

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._hidden_by_collapse: list[QtWidgets.QWidget] = []
        self._working = False
        self.checkable = self.checked = True
        policy = QtWidgets.QSizePolicy
        self.sizePolicy = policy(policy.Policy.Preferred, policy.Policy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.connect("toggled(bool)", self._on_toggled)

    def _get_collapsed(self) -> bool:
        return not self.checked

    def _set_collapsed(self, collapsed: bool) -> None:
        self.checked = not collapsed

    collapsed = Property(bool, _get_collapsed, _set_collapsed, notify=contentsCollapsed)

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 2 * self.MARGIN

    def _header_width(self) -> int:
        return self.fontMetrics().horizontalAdvance(self.text) + self._header_height() + 4 * self.MARGIN

    def _on_toggled(self, open_: bool) -> None:
        self._working = True
        children = [c for c in plain(self, "children")() if isinstance(c, QtWidgets.QWidget)]
        if open_:
            for child in self._hidden_by_collapse:
                plain(child, "show")()
            self._hidden_by_collapse = []
        else:
            self._hidden_by_collapse = [c for c in children if not plain(c, "isHidden")()]
            for child in self._hidden_by_collapse:
                plain(child, "hide")()
        self._working = False
        self.maximumHeight = 16_777_215 if open_ else self._header_height()
        self.updateGeometry()
        emit(self, "contentsCollapsed", not open_)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """As CTK: what is shown while it is collapsed appears when it is opened."""
        child = event.child()
        if event.added() and isinstance(child, QtWidgets.QWidget):
            child.installEventFilter(self)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if not self._working and not self.checked and isinstance(child, QtWidgets.QWidget):
            kinds = QtCore.QEvent.Type
            if event.type() == kinds.ShowToParent:
                self._working = True
                plain(child, "hide")()
                self._working = False
                if child not in self._hidden_by_collapse:
                    self._hidden_by_collapse.append(child)
            elif event.type() == kinds.HideToParent and child in self._hidden_by_collapse:
                self._hidden_by_collapse.remove(child)
        return False

    def sizeHint(self) -> QtCore.QSize:
        inner = plain(self, "layout")()
        size = inner.totalSizeHint() if inner is not None and self.checked else QtCore.QSize(0, self._header_height())
        return size.expandedTo(QtCore.QSize(self._header_width(), self._header_height()))

    def minimumSizeHint(self) -> QtCore.QSize:
        inner = plain(self, "layout")()
        size = inner.totalMinimumSize() if inner is not None and self.checked else QtCore.QSize(0, 0)
        return size.expandedTo(QtCore.QSize(self._header_width(), self._header_height()))

    def hasHeightForWidth(self) -> bool:
        inner = plain(self, "layout")()
        return bool(self.checked and inner is not None and inner.hasHeightForWidth())

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return bool(position.y() <= self._header_height())

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, self._header_height())
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyle.PrimitiveElement
        indicator = QtWidgets.QStyleOption()
        indicator.initFrom(self)
        side = self._header_height() - 2 * self.MARGIN
        indicator.rect = QtCore.QRect(self.MARGIN, self.MARGIN, side, side)
        shape = arrow.PE_IndicatorArrowDown if self.checked else arrow.PE_IndicatorArrowRight
        painter.drawPrimitive(shape, indicator)
        left = self._header_height() + self.MARGIN
        text = QtCore.QRect(left, 0, self.width - left, self._header_height())
        painter.drawItemText(
            text,
            int(QtCore.Qt.AlignmentFlag.AlignVCenter),
            self.palette,
            self.enabled,
            self.text,
            QtGui.QPalette.ColorRole.ButtonText,
        )
        if self.checked:
            frame = QtCore.QRect(0, self._header_height(), self.width - 1, self.height - self._header_height() - 1)
            painter.setPen(self.palette.mid().color())
            painter.drawRect(frame)


class ctkComboBox(mannered_class(QtWidgets.QComboBox)):  # type: ignore[misc]
    """A combo box."""


class ctkCheckBox(mannered_class(QtWidgets.QCheckBox)):  # type: ignore[misc]
    """A check box."""


class ctkMessageBox(mannered_class(QtWidgets.QMessageBox)):  # type: ignore[misc]
    """A message box that is answered with Ok at once; what was said is kept for the test."""

    said: list[str] = []  # noqa: RUF012 (the tests read it)

    def exec_(self) -> int:
        ctkMessageBox.said.append(self.text)
        return int(QtWidgets.QMessageBox.StandardButton.Ok.value)


class ctkSliderWidget(_Widget):  # type: ignore[misc]
    """A slider with a spin box."""

    valueChanged = QtSignal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        self._box.setObjectName("SpinBox")
        self._box.setRange(0, 99)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        plain(self, "setFocusProxy")(self._slider)
        self._slider.valueChanged.connect(self._on_slider)
        self._box.valueChanged.connect(self._on_box)
        self._align()

    def _on_slider(self, step: int) -> None:
        self._box.setValue(self._box.minimum() + step * self._box.singleStep())

    def _on_box(self, value: float) -> None:
        self._align()
        emit(self, "valueChanged", value)

    def _align(self) -> None:
        box = self._box
        self._slider.blockSignals(True)
        self._slider.setRange(0, round((box.maximum() - box.minimum()) / box.singleStep()))
        self._slider.setValue(round((box.value() - box.minimum()) / box.singleStep()))
        self._slider.blockSignals(False)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def _set_minimum(self, value: float) -> None:
        self._box.setMinimum(value)
        self._align()

    def _set_maximum(self, value: float) -> None:
        self._box.setMaximum(value)
        self._align()

    def _set_step(self, value: float) -> None:
        self._box.setSingleStep(value)
        self._align()

    def _set_page(self, value: float) -> None:
        self._slider.setPageStep(max(1, round(value / self._box.singleStep())))

    value = Property(float, lambda self: self._box.value(), setValue, notify=valueChanged)
    minimum = Property(float, lambda self: self._box.minimum(), _set_minimum)
    maximum = Property(float, lambda self: self._box.maximum(), _set_maximum)
    singleStep = Property(float, lambda self: self._box.singleStep(), _set_step)
    pageStep = Property(float, lambda self: self._slider.pageStep() * self._box.singleStep(), _set_page)
    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), lambda self, on: self._box.setVisible(on))
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, count: self._box.setDecimals(count))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, text: self._box.setSuffix(text))
    prefix = Property(str, lambda self: self._box.prefix(), lambda self, text: self._box.setPrefix(text))


class ctkPathLineEdit(_Widget):  # type: ignore[misc]
    """A path with a history and a button to browse."""

    currentPathChanged = QtSignal(str)
    validInputChanged = QtSignal(bool)
    FILTERS = ("Dirs", "Files", "Drives", "Readable", "Writable", "Executable", "NoDotAndDotDot", "Hidden")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox()
        self._box.setEditable(True)
        self._box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        expanding, fixed = QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed
        self._box.setSizePolicy(expanding, fixed)
        self._box.setMinimumContentsLength(5)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._button = QtWidgets.QToolButton()
        self._button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        layout.addWidget(self._button)
        plain(self, "setSizePolicy")(expanding, fixed)
        plain(self, "setFocusProxy")(self._box)
        self._box.editTextChanged.connect(lambda path: emit(self, "currentPathChanged", path))
        self._filters, self._name_filters, self._key = "", [], ""

    def setCurrentPath(self, path: str) -> None:
        self._box.setEditText(path)

    def addCurrentPathToHistory(self) -> None:
        path = self._box.currentText()
        if path and self._box.findText(path) < 0:
            self._box.insertItem(0, path)
            self._box.setEditText(path)
            if self._key:
                paths = [self._box.itemText(i) for i in range(self._box.count())]
                QtCore.QSettings().setValue(self._key, paths)

    def retrieveHistory(self) -> None:
        if self._key:
            text = self._box.currentText()
            self._box.clear()
            self._box.addItems(_strings(QtCore.QSettings().value(self._key, [])))
            self._box.setEditText(text)

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._box

    def browse(self) -> None:
        raise AssertionError("a file dialog opened that no test expected")

    def _set_filters(self, filters: str) -> None:
        words = {word.strip().rpartition("::")[2] for word in filters.split("|")}
        if not words <= set(self.FILTERS):
            raise ValueError(f"unknown filters: {sorted(words - set(self.FILTERS))}")
        self._filters = filters

    def _set_name_filters(self, filters: list[str]) -> None:
        self._name_filters = filters

    def _set_key(self, key: str) -> None:
        self._key = key
        self.retrieveHistory()

    currentPath = Property(str, lambda self: self._box.currentText(), setCurrentPath, notify=currentPathChanged)
    filters = Property(str, lambda self: self._filters, _set_filters)
    nameFilters = Property(list, lambda self: self._name_filters, _set_name_filters)
    settingKey = Property(str, lambda self: self._key, _set_key)
    minimumContentsLength = Property(
        int,
        lambda self: self._box.minimumContentsLength(),
        lambda self, count: self._box.setMinimumContentsLength(count),
    )


class SceneWidget(_Widget):  # type: ignore[misc]
    """A widget that is told the scene and tells it on."""

    mrmlSceneChanged = QtSignal(object)
    SIGNALS = _NODE_SIGNALS

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: slicer.vtkMRMLScene) -> None:
        if scene is not self._scene:
            self._scene = scene
            emit(self, "mrmlSceneChanged", scene)


class qMRMLWidget(SceneWidget):
    """A widget that knows the scene."""

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return self._scene


class qMRMLSortFilterProxyModel(ManneredObject, QtCore.QObject):
    """Which nodes a list shows."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._hidden: list[str] = []
        self._changed = changed

    def _hide(self, node_ids: list[str]) -> None:
        self._hidden = list(node_ids)
        self._changed()

    hiddenNodeIDs = Property(list, lambda self: self._hidden, _hide)


class qMRMLNodeComboBox(_Widget):  # type: ignore[misc]
    """The scene's nodes of some classes, to choose one."""

    currentNodeChanged = QtSignal(object)
    currentNodeIDChanged = QtSignal(str)
    SIGNALS = _NODE_SIGNALS

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox()
        self._box.setMinimumContentsLength(5)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        expanding, fixed = QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed
        plain(self, "setSizePolicy")(expanding, fixed)
        self._box.setSizePolicy(expanding, fixed)
        plain(self, "setFocusProxy")(self._box)
        self._scene: Any = None
        self._model = qMRMLSortFilterProxyModel(self._fill)
        self._ids: list[str] = []
        self._now = ""
        self._filling = False
        self._settings: dict[str, Any] = {
            "nodeTypes": [],
            "showChildNodeTypes": True,
            "showHidden": False,
            "noneEnabled": False,
            "noneDisplay": "None",
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "selectNodeUponCreation": True,
            "baseName": "",
        }
        self._box.currentIndexChanged.connect(self._on_index)
        observed: list[tuple[Any, int]] = []
        self._observed = observed
        plain(self, "destroyed").connect(lambda: [scene.RemoveObserver(tag) for scene, tag in observed])

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._scene = scene
        events = (
            ()
            if scene is None
            else (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndCloseEvent,
                scene.EndImportEvent,
                scene.EndBatchProcessEvent,
                scene.EndRestoreEvent,
            )
        )
        self._observed[:] = [(scene, scene.AddObserver(event, self._on_scene)) for event in events]
        self._fill()

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return None if self._scene is None or not self._now else self._scene.GetNodeByID(self._now)

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self.setCurrentNodeID("" if node is None else node.GetID())

    def setCurrentNodeID(self, node_id: str) -> None:
        if node_id in self._ids:
            self._box.setCurrentIndex(self._ids.index(node_id))
        elif "" in self._ids:
            self._box.setCurrentIndex(self._ids.index(""))
        else:
            self._box.setCurrentIndex(-1)

    def sortFilterProxyModel(self) -> qMRMLSortFilterProxyModel:
        return self._model

    def nodeCount(self) -> int:
        return len([node_id for node_id in self._ids if node_id])

    def _on_scene(self, _caller: Any, _event: str) -> None:
        if not self._scene.IsBatchProcessing():
            self._fill()

    def _fill(self) -> None:
        nodes = self._offered()
        self._filling = True
        self._box.clear()
        self._ids = ([""] if self._settings["noneEnabled"] else []) + [node.GetID() for node in nodes]
        self._box.addItems(
            [self._settings["noneDisplay"]] * (len(self._ids) - len(nodes)) + [n.GetName() for n in nodes]
        )
        self._box.setCurrentIndex(
            self._ids.index(self._now) if self._now in self._ids else 0 if "" in self._ids else -1
        )
        self._filling = False
        self._on_index(self._box.currentIndex())

    def _offered(self) -> list[Any]:
        if self._scene is None:
            return []
        types, exact = self._settings["nodeTypes"], not self._settings["showChildNodeTypes"]
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        return [
            node
            for node in nodes
            if (node.GetClassName() in types if exact else any(node.IsA(kind) for kind in types))
            and (self._settings["showHidden"] or not node.GetHideFromEditors())
            and node.GetID() not in self._model.hiddenNodeIDs
        ]

    def _on_index(self, index: int) -> None:
        if self._filling:
            return
        now = self._ids[index] if 0 <= index < len(self._ids) else ""
        if now != self._now:
            self._now = now
            emit(self, "currentNodeChanged", self.currentNode())
            emit(self, "currentNodeIDChanged", now)

    def _setting(name: str, kind: type) -> Any:  # type: ignore[misc]
        def read(self: qMRMLNodeComboBox) -> Any:
            return self._settings[name]

        def write(self: qMRMLNodeComboBox, value: Any) -> None:
            self._settings[name] = value
            self._fill()

        return Property(kind, read, write)

    nodeTypes = _setting("nodeTypes", list)
    showChildNodeTypes = _setting("showChildNodeTypes", bool)
    showHidden = _setting("showHidden", bool)
    noneEnabled = _setting("noneEnabled", bool)
    noneDisplay = _setting("noneDisplay", str)
    addEnabled = _setting("addEnabled", bool)
    removeEnabled = _setting("removeEnabled", bool)
    editEnabled = _setting("editEnabled", bool)
    renameEnabled = _setting("renameEnabled", bool)
    selectNodeUponCreation = _setting("selectNodeUponCreation", bool)
    baseName = _setting("baseName", str)
    del _setting
    currentNodeID = Property(str, lambda self: self._now, setCurrentNodeID, notify=currentNodeIDChanged)


class qMRMLPlotView(_Widget):  # type: ignore[misc]
    """A plot view: draws its view node's chart into a window that is never shown."""

    def __init__(self, node: slicer.vtkMRMLPlotViewNode) -> None:
        super().__init__()
        self._node = node
        self._context = vtk.vtkContextView()
        self._chart = vtk.vtkChartXY()
        self._context.GetScene().AddItem(self._chart)
        self._window = self._context.GetRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._window.SetSize(400, 240)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.SetSize(400, 240)
        style = vtk.vtkContextInteractorStyle()
        style.SetScene(self._context.GetScene())
        self._interactor.SetInteractorStyle(style)

    def chart(self) -> vtk.vtkChartXY:
        return self._chart

    def renderWindow(self) -> vtk.vtkRenderWindow:
        return self._window

    def fitToContent(self) -> None:
        """Draw the chart anew; the real view does so by itself."""
        self._chart.ClearPlots()
        chart = self._node.GetPlotChartNode()
        for i in range(0 if chart is None else chart.GetNumberOfPlotSeriesNodes()):
            series = chart.GetNthPlotSeriesNode(i)
            table = series.GetTableNode()
            if table is not None and table.GetNumberOfRows() > 1:
                plot = self._chart.AddPlot(vtk.vtkChart.BAR if series.GetPlotType() == 1 else vtk.vtkChart.LINE)
                plot.SetInputData(table.GetTable(), series.GetXColumnName(), series.GetYColumnName())
        self._context.Render()


class qMRMLPlotWidget(_Widget):  # type: ignore[misc]
    """A plot view with its controller."""

    def __init__(self, node: slicer.vtkMRMLPlotViewNode) -> None:
        super().__init__()
        self._node, self._view = node, qMRMLPlotView(node)

    def plotView(self) -> qMRMLPlotView:
        return self._view

    def mrmlPlotViewNode(self) -> slicer.vtkMRMLPlotViewNode:
        return self._node


class qMRMLSliceControllerWidget(_Widget):  # type: ignore[misc]
    """The bar above a slice view."""

    def __init__(self, logic: slicer.vtkMRMLSliceLogic) -> None:
        super().__init__()
        self._logic = logic

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground(400, 400)


class qMRMLSliceWidget(_Widget):  # type: ignore[misc]
    """A slice view: its logic, without a picture."""

    def __init__(self, logic: slicer.vtkMRMLSliceLogic) -> None:
        super().__init__()
        self._logic = logic

    def sliceLogic(self) -> slicer.vtkMRMLSliceLogic:
        return self._logic

    def sliceController(self) -> qMRMLSliceControllerWidget:
        return qMRMLSliceControllerWidget(self._logic)

    def mrmlSliceNode(self) -> slicer.vtkMRMLSliceNode:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> slicer.vtkMRMLSliceCompositeNode:
        return self._logic.GetSliceCompositeNode()


CTK = {
    kind.__name__: kind
    for kind in (ctkCheckBox, ctkCollapsibleButton, ctkComboBox, ctkMessageBox, ctkPathLineEdit, ctkSliderWidget)
}
SLICER = {
    kind.__name__: kind
    for kind in (
        qMRMLNodeComboBox,
        qMRMLPlotView,
        qMRMLPlotWidget,
        qMRMLSliceControllerWidget,
        qMRMLSliceWidget,
        qMRMLWidget,
    )
}


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(entry) for entry in value or []]
