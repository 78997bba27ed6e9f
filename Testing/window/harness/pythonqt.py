"""PySide6 with the manners of PythonQt, Slicer's way to Qt: what Slicer would refuse is refused here, too.

- A Qt property is a plain attribute: ``box.checked = True``; ``box.checked()`` fails, as in Slicer.
- ``button.connect("clicked(bool)", f)`` and ``disconnect``; a signal that is not there is an error.
- An attribute that the real class lacks cannot be read, and no attribute can be added to a widget.
- What Qt returns (a header, a layout, a menu's action) has the same manners.

PySide6's own switch for this (``true_property``) hides setters such as ``setPixmap``, which PythonQt has, and lets any
attribute be added; therefore it is not used.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from PySide6 import QtCore

# What PySide6 has and PythonQt lacks; test_standins.py compares this with Slicer's own list where that is at hand.
REFUSED = {
    "QObject": "connectNotify disconnectNotify emit isQmlExposed isQuickItemType receivers staticMetaObject",
    "QWidget": "accessibleIdentifier create encodeMetricF find internalWinId isTopLevel painters raise_"
    " setAccessibleIdentifier setScreen topLevelWidget updateMicroFocus",
    "QAction": "associatedObjects checkableChanged enabledChanged resetEnabled visibleChanged",
    "QApplication": "checkPermission installNativeEventFilter instanceExists nativeInterface platformFunction"
    " removeNativeEventFilter requestPermission resolveInterface setBadgeNumber shutdown",
    "QCheckBox": "checkStateChanged",
    "QColor": "fromString getHsv getHsvF getRgb getRgbF isValidColorName toTuple",
    "QComboBox": "LabelDrawingMode labelDrawingMode setLabelDrawingMode",
    "QDialogButtonBox": "standardButtonShortcut standardButtonText",
    "QDoubleSpinBox": "returnPressed",
    "QFont": "Tag clearFeatures clearVariableAxes featureTags featureValue isFeatureSet isVariableAxisSet legacyWeight"
    " resolveMask setFeature setLegacyWeight setResolveMask setVariableAxis unsetFeature unsetVariableAxis"
    " variableAxisTags variableAxisValue",
    "QFormLayout": "isRowVisible setRowVisible",
    "QGridLayout": "getItemPosition",
    "QLayout": "align getContentsMargins horizontalSizeConstraint setHorizontalSizeConstraint setSizeConstraints"
    " setVerticalSizeConstraint totalMinimumHeightForWidth unsetContentsMargins verticalSizeConstraint",
    "QHeaderView": "initStyleOptionForIndex isSortIndicatorClearable sectionsAboutToBeRemoved sectionsInserted"
    " setSortIndicatorClearable sortIndicatorClearableChanged updateSection",
    "QAbstractItemView": "closeEditor commitData currentChanged dataChanged editorDestroyed horizontalScrollbarAction"
    " horizontalScrollbarValueChanged initViewItemOption itemDelegateForIndex keyboardSearchFlags rowsAboutToBeRemoved"
    " rowsInserted selectionChanged setKeyboardSearchFlags setUpdateThreshold updateEditorData updateEditorGeometries"
    " updateGeometries updateThreshold verticalScrollbarAction verticalScrollbarValueChanged",
    "QTableView": "columnCountChanged columnMoved columnResized rowCountChanged rowMoved rowResized",
    "QTableWidget": "setSupportedDragActions supportedDragActions",
    "QIcon": "ThemeIcon",
    "QImage": "colorTransformed convertedTo detachMetadata deviceIndependentSize encodeMetricF flip flipped mirror"
    " painters rgbSwap setColorTable",
    "QLineEdit": "del_",
    "QMenu": "menuInAction",
    "QMessageBox": "Option buttonText options setButtonText setOption setOptions standardIcon testOption",
    "QPalette": "accent resolveMask setResolveMask",
    "QPixmap": "deviceIndependentSize encodeMetricF fromImageInPlace painters",
    "QPlainTextEdit": "print_",
    "QPoint": "toPointF toTuple",
    "QProcess": "UnixProcessFlag UnixProcessParameters failChildProcessModifier readLineInto setUnixProcessParameters"
    " skipData startCommand unixProcessParameters",
    "QRect": "getCoords getRect span toRectF",
    "QShortcut": "keys setKeys",
    "QSize": "toSizeF toTuple",
    "QSpinBox": "returnPressed",
    "QSplitter": "getRange",
    "QStackedWidget": "widgetAdded",
    "QTextEdit": "print_",
    "QTimer": "id intervalAsDuration remainingTimeAsDuration",
    "QUrl": "AceProcessingOption",
}
HAVE_A_FIND_OF_THEIR_OWN = {"QPlainTextEdit", "QTextEdit"}


@functools.cache
def refused(kind: type) -> frozenset[str]:
    """What may not be asked of a class: its own list and those of its bases."""
    names = {name for base in kind.__mro__ for name in REFUSED.get(base.__name__, "").split()}
    return frozenset(names - {"find"} if kind.__name__ in HAVE_A_FIND_OF_THEIR_OWN else names)


@functools.cache
def properties(kind: type) -> frozenset[str]:
    """Names of a class's Qt properties; none for a class without."""
    if not issubclass(kind, QtCore.QObject):
        return frozenset()
    meta = kind.staticMetaObject
    return frozenset(meta.property(i).name() for i in range(meta.propertyCount()))


class Mannered:
    """Before a Qt class in the bases: the Qt class with PythonQt's manners."""

    SIGNALS: ClassVar[dict[str, str]] = {}  # Slicer's signatures with classes that Qt doesn't know -> PySide6's

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        return _get(self, super().__getattribute__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or isinstance(getattr(type(self), name, None), QtCore.Property):
            super().__setattr__(name, value)
        elif _is_asked_by_code(name) or not isinstance(value, QtCore.QObject):
            _set(type(self), super().__getattribute__, name, value)

    def className(self) -> str:
        """The C++ class."""
        return type(self).__name__


class ManneredObject(Mannered):
    """The same for classes with signals."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("connect", "disconnect"):
            own = super(Mannered, self).__getattribute__(name)
            return functools.partial(_connect if name == "connect" else _disconnect, self, own=own)
        return super().__getattribute__(name)


class Returned:
    """An object that Qt made itself, e.g. a table's header, with PythonQt's manners."""

    def __init__(self, of: QtCore.QObject) -> None:
        object.__setattr__(self, "_of", of)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        of = self._of
        if name in ("connect", "disconnect"):
            return functools.partial(_connect if name == "connect" else _disconnect, of)
        if name == "className":
            return lambda: type(of).__name__
        return _get(of, functools.partial(getattr, of), name)

    def __setattr__(self, name: str, value: Any) -> None:
        _set(type(self._of), functools.partial(getattr, self._of), name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Returned) and other._of is self._of

    def __hash__(self) -> int:
        return hash(self._of)


class Signal:
    """A signal as an attribute: it can be connected and disconnected; only its object emits it."""

    def __init__(self, thing: Any, name: str) -> None:
        meta = thing.metaObject()
        methods = [meta.method(i) for i in range(meta.methodCount())]
        signatures = [bytes(m.methodSignature().data()).decode() for m in methods if m.name() == name.encode()]
        self._thing, self._signature = thing, max(signatures, key=len)  # Qt lists one per left-out argument, too

    def connect(self, slot: Callable[..., Any]) -> None:
        _connect(self._thing, self._signature, slot)

    def disconnect(self, slot: Callable[..., Any]) -> None:
        _disconnect(self._thing, self._signature, slot)


@functools.cache
def mannered_class(kind: type) -> type:
    """A Qt class with PythonQt's manners."""
    base = ManneredObject if issubclass(kind, QtCore.QObject) else Mannered
    return type(kind.__name__, (base, kind), {"__module__": __name__})


def mannered(value: Any) -> Any:
    """What Qt returned, with PythonQt's manners."""
    if isinstance(value, list | tuple):
        return type(value)(mannered(entry) for entry in value)
    if isinstance(value, QtCore.QObject) and not isinstance(value, Mannered):
        return Returned(value)
    return value


def emit(widget: Any, signal: str, *arguments: Any) -> None:
    """Emit a signal of a stand-in, as its C++ class would."""
    plain(widget, signal).emit(*arguments)


def plain(widget: Any, member: str) -> Any:
    """A member of a widget as PySide6 has it, e.g. a method that PythonQt's property of the same name hides."""
    if isinstance(widget, Mannered):
        return super(Mannered, widget).__getattribute__(member)
    return getattr(_unwrapped(widget), member)


def _get(thing: Any, raw: Callable[[str], Any], name: str) -> Any:
    kind = type(thing)
    if name == "name" and issubclass(kind, QtCore.QObject):  # PythonQt's other word for it
        name = "objectName"
    if name in refused(kind) and _is_asked_by_code(name):
        raise AttributeError(f"PythonQt's {kind.__name__} has no '{name}'")
    if name in properties(kind):
        return mannered(_read(raw, name))
    value = raw(name)
    if isinstance(value, QtCore.SignalInstance):
        return Signal(thing, name)
    return _returning_mannered(value) if inspect.isbuiltin(value) else value


def _is_asked_by_code(name: str) -> bool:
    """Whether Python code asks, and not PySide6 itself.

    PySide6 looks every virtual function up for overrides, and its .ui loader adds the widgets to the top level.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return name in frame.f_code.co_names or name in frame.f_code.co_consts


def _read(raw: Callable[[str], Any], name: str) -> Any:
    for getter in (name, f"is{name[0].upper()}{name[1:]}"):
        with contextlib.suppress(AttributeError):
            value = raw(getter)
            return value() if callable(value) else value
    return raw("property")(name)


def _set(kind: type, raw: Callable[[str], Any], name: str, value: Any) -> None:
    if name == "name" and issubclass(kind, QtCore.QObject):
        name = "objectName"
    if name not in properties(kind):
        raise AttributeError(f"'{name}' is no Qt property of {kind.__name__}; PythonQt adds no attributes")
    try:
        setter = raw(f"set{name[0].upper()}{name[1:]}")
    except AttributeError:
        raise AttributeError(f"{kind.__name__}.{name} is read-only") from None
    setter(_unwrapped(value))


def _returning_mannered(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return mannered(method(*map(_unwrapped, arguments), **keywords))

    return call


def _unwrapped(value: Any) -> Any:
    return value._of if isinstance(value, Returned) else value


def _connect(thing: Any, *arguments: Any, own: Callable[..., Any] | None = None) -> Any:
    """PythonQt's ``connect(signal, slot)``: the slot gets as many of the signal's arguments as it takes.

    Raises:
        ValueError: there is no such signal.
    """
    if own is not None and len(arguments) != 2:  # PySide6's signals come through here, too
        return own(*arguments)
    signal, slot = arguments
    signature = _signature(thing, signal)
    connected = _slot(slot, signature)
    name, _, types = signature.rstrip(")").partition("(")
    instance = plain(thing, name)
    if types:
        with contextlib.suppress(IndexError):
            instance = instance[types]
    connection = instance.connect(connected)
    thing.__dict__.setdefault("_slots", []).append((signature, slot, connection))
    return True


def _disconnect(thing: Any, *arguments: Any, own: object = None) -> bool:
    """PythonQt's ``disconnect(signal, slot)`` or ``disconnect(signal)``: whether there was something to disconnect."""
    signal, slot = arguments[0], arguments[1] if len(arguments) > 1 else None
    signature = _signature(thing, signal)
    kept = thing.__dict__.setdefault("_slots", [])
    gone = [entry for entry in kept if entry[0] == signature and slot in (None, entry[1])]
    for entry in gone:
        kept.remove(entry)
        QtCore.QObject.disconnect(entry[2])
    return bool(gone)


def _signature(thing: Any, signal: str) -> str:
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
    normal = getattr(type(thing), "SIGNALS", {}).get(normal, normal)
    if thing.metaObject().indexOfSignal(normal) < 0:
        raise ValueError(f"{type(thing).__name__} has no signal {signal}")
    return normal


def _slot(function: Callable[..., Any], signature: str) -> Callable[..., Any]:
    if not callable(function):
        raise TypeError("only functions are connected here")
    given = signature.count(",") + ("()" not in signature)
    taken = int(min(given, _arguments_of(function)))

    def connected(*arguments: Any) -> None:
        function(*(mannered(argument) for argument in arguments[:taken]))

    return connected


def _arguments_of(function: Callable[..., Any]) -> float:
    """How many arguments a function takes at most."""
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return math.inf
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
