"""The stand-ins for Slicer's Python modules ``qt`` and ``ctk``: a closed list of classes, nothing else."""

from __future__ import annotations

import types
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from .pythonqt import mannered_class

CLASSES = [
    "QAction",
    "QApplication",
    "QButtonGroup",
    "QByteArray",
    "QCheckBox",
    "QColor",
    "QComboBox",
    "QDesktopServices",
    "QDialog",
    "QDialogButtonBox",
    "QDir",
    "QDoubleSpinBox",
    "QEvent",
    "QFile",
    "QFont",
    "QFormLayout",
    "QFrame",
    "QGridLayout",
    "QGroupBox",
    "QHBoxLayout",
    "QHeaderView",
    "QIcon",
    "QImage",
    "QKeySequence",
    "QLabel",
    "QLineEdit",
    "QMainWindow",
    "QMenu",
    "QMessageBox",
    "QObject",
    "QPalette",
    "QPixmap",
    "QPlainTextEdit",
    "QPoint",
    "QProgressBar",
    "QPushButton",
    "QRadioButton",
    "QRect",
    "QScrollArea",
    "QSettings",
    "QShortcut",
    "QSize",
    "QSizePolicy",
    "QSlider",
    "QSpacerItem",
    "QSpinBox",
    "QSplitter",
    "QStackedWidget",
    "QTableWidget",
    "QTableWidgetItem",
    "QTabWidget",
    "QTextEdit",
    "QTimer",
    "QToolButton",
    "QUrl",
    "QVBoxLayout",
    "QWidget",
]


def qt_class(name: str) -> type:
    """One of Qt's classes, with PythonQt's manners.

    Raises:
        AttributeError: it is none of the list.
    """
    if name in CLASSES:
        for module in (QtWidgets, QtGui, QtCore):
            if hasattr(module, name):
                return mannered_class(getattr(module, name))
    raise AttributeError(f"the stand-in for qt has no '{name}'")


class Namespace:
    """``qt.Qt``: its values are there by their short names only, as in PythonQt."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(QtCore.Qt, name)
        if isinstance(value, type):
            raise AttributeError(f"PythonQt's values of qt.Qt.{name} are named without it")
        return value


class QFileDialog(qt_class("QDialog")):  # type: ignore[misc]
    """File dialogs that a test answers; without an answer they fail, as nobody is there to choose a file."""

    answers: list[str] = []  # noqa: RUF012 (the tests fill it)

    @staticmethod
    def _answer(*_arguments: object) -> str:
        if not QFileDialog.answers:
            raise AssertionError("a file dialog opened that no test expected")
        return QFileDialog.answers.pop(0)

    getOpenFileName = getSaveFileName = getExistingDirectory = _answer  # PythonQt returns the name alone


class QUiLoader(QtUiTools.QUiLoader):
    """Loads .ui files whose own widgets are those of ``CUSTOM``.

    A property that a custom widget lacks fails here; Slicer would only print a warning.
    """

    CUSTOM: dict[str, type] = {}  # noqa: RUF012 (filled by the stand-ins' module)

    def createWidget(self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        kind = self.CUSTOM.get(class_name) or qt_class(class_name)
        widget = kind(parent)
        widget.objectName = name
        return widget

    def load(self, file: QtCore.QFile) -> QtWidgets.QWidget:  # type: ignore[override]
        """The file's top-level widget, its connections made."""
        root = ET.fromstring(bytes(file.readAll().data()))
        custom = [w for w in root.iter("widget") if w.attrib["class"] in self.CUSTOM]
        own = {w.attrib["name"]: _take_own_properties(w, self.CUSTOM[w.attrib["class"]]) for w in custom}
        links = list(root.iter("connection"))
        for connections in root.findall("connections"):
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        top = super().load(buffer)
        widgets = {child.objectName: child for child in [top, *_descendants(top)] if child.objectName}
        for name, values in own.items():
            for key, value in values.items():
                setattr(widgets[name], key, value)
        for link in links:
            sender, receiver = (widgets[str(link.findtext(end))] for end in ("sender", "receiver"))
            slot = getattr(receiver, str(link.findtext("slot")).partition("(")[0])
            sender.connect(str(link.findtext("signal")), slot)
        return top


def _descendants(widget: Any) -> list[Any]:
    found = []
    for child in widget.children():
        if child.isWidgetType():
            found += [child, *_descendants(child)]
    return found


def _take_own_properties(widget: ET.Element, kind: type) -> dict[str, Any]:
    """Take the properties that Qt's base class doesn't know out of the XML; return their values."""
    known = {prop for base in kind.__mro__ if base.__module__.startswith("PySide6") for prop in _names(base)}
    taken = {}
    for prop in list(widget.findall("property")):
        name = prop.attrib["name"]
        if name not in known and prop.attrib.get("stdset") != "0":
            widget.remove(prop)
            taken[name] = _VALUES[prop[0].tag](prop[0])
    return taken


def _names(kind: type) -> list[str]:
    meta = getattr(kind, "staticMetaObject", None)
    return [] if meta is None else [meta.property(i).name() for i in range(meta.propertyCount())]


_VALUES: dict[str, Callable[[ET.Element], Any]] = {
    "bool": lambda element: element.text == "true",
    "double": lambda element: float(str(element.text)),
    "enum": lambda element: str(element.text),
    "number": lambda element: int(str(element.text)),
    "set": lambda element: str(element.text),
    "string": lambda element: element.text or "",
    "stringlist": lambda element: [s.text or "" for s in element],
}


class ClosedModule(types.ModuleType):
    """A module that finds its classes by a function."""

    def __init__(self, name: str, find: Callable[[str], Any]) -> None:
        super().__init__(name)
        self.__dict__["_find"] = find

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.__dict__["_find"](name)


def find_in_qt(name: str) -> Any:
    """What ``qt.<name>`` is."""
    own = {"Qt": Namespace(), "QFileDialog": QFileDialog, "QUiLoader": QUiLoader}
    return own[name] if name in own else qt_class(name)
