"""A stand-in for ``slicer.parameterNodeWrapper``: typed fields in a node's parameters, connected to widgets.

It follows what Slicer's does where the module can notice: what is written into the node and so into saved scenes, when
a value is refused, which widget classes can be connected (by exact class), and who is told of a change.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from . import widgets
from .pythonqt import mannered_class, plain

PROPERTY = "SlicerParameterName"


class WithinRange:
    """A number from ``minimum`` to ``maximum``, both included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class _Field:
    """One parameter: how it is written, read and connected."""

    def __init__(self, name: str, annotated: Any, default: Any) -> None:
        self.name = name
        self.kind = typing.get_args(annotated)[0] if typing.get_origin(annotated) is typing.Annotated else annotated
        self.kinds = typing.get_args(annotated) if typing.get_origin(annotated) is typing.Union else (self.kind,)
        self.kinds = tuple(kind for kind in self.kinds if kind is not type(None))
        self.kind = self.kinds[0]
        self.range = next((a for a in typing.get_args(annotated)[1:] if isinstance(a, WithinRange)), None)
        self.is_node = issubclass(self.kind, slicer.vtkMRMLNode)
        if default is not None:
            self.default = default
        elif self.is_node:
            self.default = None
        else:
            self.default = next(iter(self.kind)) if issubclass(self.kind, Enum) else self.kind()

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, value: Any) -> None:
        kind = int | float if self.kind is float else self.kinds
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"'{self.name}' must be of type {self.kind}, is {value!r}")
        if self.range is not None:
            self.range.validate(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        elif issubclass(self.kind, Enum):
            node.SetParameter(self.name, value.name)
        else:
            node.SetParameter(self.name, str(value))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode) -> Any:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if issubclass(self.kind, Enum):
            if text not in self.kind.__members__:
                raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.kind!r}")
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)


class _Connector:
    """Reads and writes a widget."""

    def __init__(self, widget: Any, read: Callable[[], Any], write: Callable[[Any], None], signal: str) -> None:
        self.widget, self.read, self.write, self.signal = widget, read, write, signal


def _connector(widget: Any, field: _Field) -> _Connector:
    kind, qt = type(widget), mannered_class
    if field.kind is bool and kind in (qt(QtWidgets.QCheckBox), widgets.ctkCheckBox):
        return _of_property(widget, "checked", "stateChanged(int)")
    if field.kind is bool and kind is qt(QtWidgets.QPushButton) and widget.checkable:
        return _of_property(widget, "checked", "toggled(bool)")
    if field.kind is int and kind in (qt(QtWidgets.QSpinBox), qt(QtWidgets.QSlider)):
        return _bounded(widget, field, "valueChanged(int)")
    if field.kind is float and kind in (qt(QtWidgets.QDoubleSpinBox), widgets.ctkSliderWidget):
        return _bounded(widget, field, "valueChanged(double)")
    if issubclass(field.kind, Enum) and kind in (qt(QtWidgets.QComboBox), widgets.ctkComboBox):
        return _of_enum(widget, field.kind)
    if field.kind is str and kind is qt(QtWidgets.QLineEdit):
        return _of_property(widget, "text", "textChanged(QString)")
    if field.kind is Path and kind is widgets.ctkPathLineEdit:
        return _Connector(
            widget,
            lambda: Path(widget.currentPath),
            lambda path: setattr(widget, "currentPath", str(path)),
            "currentPathChanged(QString)",
        )
    if field.is_node and kind is widgets.qMRMLNodeComboBox:
        widget.nodeTypes = [kind().GetClassName() for kind in field.kinds]
        return _Connector(widget, widget.currentNode, widget.setCurrentNode, "currentNodeChanged(vtkMRMLNode*)")
    raise RuntimeError(f"Unable to create GUI connector from datatype '{field.kind}' to widget type '{kind}'.")


def _of_property(widget: Any, name: str, signal: str) -> _Connector:
    return _Connector(widget, lambda: getattr(widget, name), lambda value: setattr(widget, name, value), signal)


def _bounded(widget: Any, field: _Field, signal: str) -> _Connector:
    if field.range is None:
        if type(widget) is widgets.ctkSliderWidget:
            raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
    else:
        widget.minimum, widget.maximum = field.range.minimum, field.range.maximum
    return _of_property(widget, "value", signal)


def _of_enum(widget: Any, kind: type[Enum]) -> _Connector:
    members = list(kind)
    saved = members[widget.currentIndex]
    widget.clear()
    for member in members:
        widget.addItem(member.label() if hasattr(member, "label") else member.name)
    widget.currentIndex = members.index(saved)
    return _Connector(
        widget,
        lambda: members[widget.currentIndex],
        lambda value: setattr(widget, "currentIndex", members.index(value)),
        "currentIndexChanged(int)",
    )


class _Wrapper:
    """What the decorated class becomes; see ``parameterNodeWrapper``."""

    fields: typing.ClassVar[dict[str, _Field]]

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[list[tuple[str, _Connector, Callable[..., None]]], int]] = {}
        self._updating = False
        for field in self.fields.values():
            if not parameterNode.HasParameter(field.name):
                field.write(parameterNode, field.default)

    def connectGui(self, gui: Any) -> int:
        """Connect every widget that has the property SlicerParameterName; returns a tag for ``disconnectGui``."""
        found = {plain(w, "property")(PROPERTY): w for w in vars(gui).values() if plain(w, "property")(PROPERTY)}
        unknown = set(found) - set(self.fields)
        if unknown:
            raise ValueError(f"Cannot find a param with the given name: {sorted(unknown)}")
        connectors = {name: _connector(widget, self.fields[name]) for name, widget in found.items()}
        connections = []
        for name, connector in connectors.items():
            connector.write(getattr(self, name))
            callback = self._to_node(name, connector)
            connector.widget.connect(connector.signal, callback)
            connections.append((name, connector, callback))
        tag = len(self._guis)
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: self._to_gui())
        self._guis[tag] = (connections, observer)
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Undo ``connectGui``."""
        connections, observer = self._guis.pop(tag)
        for _name, connector, callback in connections:
            connector.widget.disconnect(connector.signal, callback)
        self.RemoveObserver(observer)

    def _to_node(self, name: str, connector: _Connector) -> Callable[[], None]:
        def changed() -> None:
            if not self._updating:
                setattr(self, name, connector.read())

        return changed

    def _to_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connections, _observer in list(self._guis.values()):
                for name, connector, _callback in connections:
                    connector.write(getattr(self, name))
        finally:
            self._updating = False

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)  # type: ignore[no-any-return]

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()  # type: ignore[no-any-return]

    def EndModify(self, before: int) -> None:
        self.parameterNode.EndModify(before)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(described: type) -> type:
    """Slicer's decorator: the annotated fields of a class become parameters of a node."""
    hints = typing.get_type_hints(described, include_extras=True)
    fields = {name: _Field(name, kind, getattr(described, name, None)) for name, kind in hints.items()}
    members: dict[str, Any] = {"fields": fields, "__module__": described.__module__, "__doc__": described.__doc__}
    members |= {name: _property(field) for name, field in fields.items()}
    return type(described.__name__, (_Wrapper,), members)


def _property(field: _Field) -> property:
    def write(self: _Wrapper, value: Any) -> None:
        before = self.parameterNode.StartModify()
        try:
            field.write(self.parameterNode, value)
        finally:
            self.parameterNode.EndModify(before)

    return property(lambda self: field.read(self.parameterNode), write)
