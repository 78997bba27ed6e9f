"""The application around the module: Slicer's real scene (slicer-core) with stand-ins for its Qt side.

``start()`` once per process; then the module's own file and .ui file run as in Slicer.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import parameternode, scripted, widgets
from .pythonqt import ManneredObject, emit, mannered_class
from .qtmodules import ClosedModule, QUiLoader, find_in_qt

MODULE_FILE = Path(__file__).parents[3] / "EmphysemaScanner/EmphysemaScanner.py"
MODULE = MODULE_FILE.stem
PANEL_WIDTH = 440  # pixels: Slicer's default
CONVENTIONAL_LAYOUT = 2


class Closed:
    """An object with the members that it is given and no others."""

    def __init__(self, **members: Any) -> None:
        vars(self).update(members)


class qSlicerLayoutManager(ManneredObject, QtCore.QObject):
    """Slicer's layouts: the real layout logic makes the view nodes; here each slice node gets its slice logic."""

    def __init__(self, application_logic: slicer.vtkMRMLApplicationLogic) -> None:
        super().__init__()
        self._application_logic = application_logic
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._slices: dict[str, widgets.qMRMLSliceWidget] = {}
        self._plots: dict[str, widgets.qMRMLPlotWidget] = {}
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_layout)
        slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, self._on_removed)
        self._logic.GetLayoutNode().SetViewArrangement(CONVENTIONAL_LAYOUT)
        self._on_layout()

    def layoutLogic(self) -> slicer.vtkMRMLLayoutLogic:
        return self._logic

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        return self._application_logic.GetSliceLogics()

    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    def sliceWidget(self, name: str) -> widgets.qMRMLSliceWidget | None:
        self._on_layout()
        return self._slices.get(name)

    def plotWidget(self, index: int) -> widgets.qMRMLPlotWidget:
        return self._shown_plots()[index]

    plotViewCount = QtCore.Property(int, lambda self: len(self._shown_plots()))

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToBackground(400, 400)

    def resetThreeDViews(self) -> None:
        """Nothing is drawn in 3D here."""

    def _shown_plots(self) -> list[widgets.qMRMLPlotWidget]:
        views = self._logic.GetViewNodes()
        nodes = [views.GetItemAsObject(i) for i in range(views.GetNumberOfItems())]
        shown = [node for node in nodes if node is not None and node.IsA("vtkMRMLPlotViewNode")]
        for node in shown:
            if node.GetID() not in self._plots:
                self._plots[node.GetID()] = widgets.qMRMLPlotWidget(node)
        return [self._plots[node.GetID()] for node in shown]

    def _on_removed(self, _caller: Any, _event: str) -> None:
        for node_id in [key for key in self._plots if slicer.mrmlScene.GetNodeByID(key) is None]:
            del self._plots[node_id]

    def _on_layout(self, _caller: Any = None, _event: str = "") -> None:
        scene = slicer.mrmlScene
        for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
            node = scene.GetNthNodeByClass(i, "vtkMRMLSliceNode")
            name = node.GetLayoutName()
            if name not in self._slices:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._application_logic)
                logic.SetMRMLScene(scene)
                logic.SetSliceNode(node)
                self._application_logic.GetSliceLogics().AddItem(logic)
                self._slices[name] = widgets.qMRMLSliceWidget(logic)


class qSlicerModuleManager(ManneredObject, QtCore.QObject):
    """The modules that are loaded."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)


class qSlicerIOManager(ManneredObject, QtCore.QObject):
    """Reads and writes scenes and volumes as slicer-core does; a test answers its dialogs."""

    def __init__(self) -> None:
        super().__init__()
        self._file_to_open: Path | None = None

    def fileType(self, path: str) -> str:
        return "SceneFile" if path.endswith(".mrb") else "VolumeFile"

    def saveNodes(self, kind: str, properties: dict[str, Any], _messages: Any = None) -> bool:
        return kind == "SceneFile" and bool(slicer.mrmlScene.WriteToMRB(properties["fileName"]))

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any, _messages: Any = None) -> bool:
        path = properties["fileName"]
        if kind == "SceneFile":
            return bool(slicer.mrmlScene.ReadFromMRB(path, bool(properties.get("clear", False))))
        storage, node = slicer.vtkMRMLVolumeArchetypeStorageNode(), slicer.vtkMRMLScalarVolumeNode()
        storage.SetFileName(path)
        if not storage.ReadData(node):
            return False
        node.SetName(properties.get("name") or Path(path).name.partition(".")[0])
        slicer.mrmlScene.AddNode(storage)
        node = slicer.mrmlScene.AddNode(node)
        node.SetAndObserveStorageNodeID(storage.GetID())
        node.CreateDefaultDisplayNodes()
        loaded.AddItem(node)
        return True

    def openAddVolumeDialog(self) -> bool:
        """The dialog; the user chooses what ``choose_file`` was told, or cancels."""
        path, self._file_to_open = self._file_to_open, None
        return path is not None and slicer.util.loadVolume(str(path)) is not None


def choose_file(path: Path) -> None:
    """Answer the next dialog that asks for a volume."""
    slicer.app.coreIOManager()._file_to_open = path


class qSlicerApplication(mannered_class(QtWidgets.QApplication)):  # type: ignore[misc]
    """``slicer.app``."""

    startupCompleted = QtCore.Signal()

    def __init__(self, folder: Path) -> None:
        super().__init__(["Slicer"])
        self._folder = folder
        self._testing = False
        self._layout_manager: Any = None
        self._settings = mannered_class(QtCore.QSettings)()

    def _set_up(self) -> None:
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._logic.SetSliceLogics(vtk.vtkCollection())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._colours = slicer.vtkMRMLColorLogic()
        self._colours.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetColorLogic(self._colours)
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.SetMRMLScene(slicer.mrmlScene)
        self._remote.GetCacheManager().SetRemoteCacheDirectory(str(self._folder))
        self._remote.AddDataIOToScene()
        self._module_manager, self._io = qSlicerModuleManager(), qSlicerIOManager()
        self._layout_manager = qSlicerLayoutManager(self._logic)

    def _tear_down(self) -> None:
        """The logics let go of the scene, or they would crash with it."""
        manager = self._layout_manager
        for widget in manager._slices.values():
            widget.sliceLogic().SetMRMLScene(None)
        self._remote.RemoveDataIOFromScene()
        for logic in (self._remote, manager.layoutLogic(), self._colours, self._logic):
            logic.SetMRMLScene(None)

    temporaryPath = QtCore.Property(str, lambda self: str(self._folder))
    defaultScenePath = QtCore.Property(str, lambda self: str(self._folder / "Documents"))
    slicerHome = QtCore.Property(str, lambda self: str(self._folder / "Slicer"))

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        return self._logic

    def layoutManager(self) -> qSlicerLayoutManager:
        return self._layout_manager

    def moduleManager(self) -> qSlicerModuleManager:
        return self._module_manager

    def coreIOManager(self) -> qSlicerIOManager:
        return self._io

    def settings(self) -> Any:
        return self._settings

    def userSettings(self) -> Any:
        return self._settings

    def testingEnabled(self) -> bool:
        return self._testing

    def startupEnvironment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> None:
        """Nothing is drawn."""

    def resumeRender(self) -> None:
        """Nothing is drawn."""


class qSlicerScriptedLoadableModule(ManneredObject, QtCore.QObject):
    """A module as the application lists it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._representation = path, qSlicerScriptedLoadableModuleWidget(path.stem)
        self._texts: dict[str, Any] = {}

    path = QtCore.Property(str, lambda self: str(self._path))
    name = QtCore.Property(str, lambda self: self._path.stem)

    def _entry(name: str, kind: Any) -> Any:  # type: ignore[misc]
        return QtCore.Property(
            kind, lambda self: self._texts.get(name), lambda self, value: self._texts.__setitem__(name, value)
        )

    title = _entry("title", str)
    helpText = _entry("helpText", str)
    acknowledgementText = _entry("acknowledgementText", str)
    categories = _entry("categories", list)
    dependencies = _entry("dependencies", list)
    contributors = _entry("contributors", list)
    hidden = _entry("hidden", bool)
    icon = _entry("icon", QtGui.QIcon)
    del _entry

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        return self._representation


class qSlicerScriptedLoadableModuleWidget(widgets.SceneWidget):
    """The place of a module's window in the module panel; it tells the window when the module is entered and left."""

    def __init__(self, module_name: str) -> None:
        super().__init__()
        self._module_name, self._entered, self._self = module_name, False, None
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    isEntered = QtCore.Property(bool, lambda self: self._entered)
    moduleName = QtCore.Property(str, lambda self: self._module_name)

    def self(self) -> Any:
        return self._self

    def reload(self) -> None:
        """Make the window anew."""
        self._self = getattr(sys.modules[self._module_name], f"{self._module_name}Widget")(self)
        setattr(slicer.modules, f"{self._module_name}Widget", self._self)
        self._self.setup()
        if self._entered:
            self._self.enter()

    def enter(self) -> None:
        self._entered = True
        self._self.enter()

    def exit(self) -> None:
        self._entered = False
        self._self.exit()


class qSlicerModuleSelectorToolBar(ManneredObject, QtCore.QObject):
    """Which module is shown."""

    def __init__(self) -> None:
        super().__init__()
        self._name = "Welcome"

    selectedModule = QtCore.Property(str, lambda self: self._name)

    def selectModule(self, name: str) -> None:
        if name == self._name:
            return
        before, self._name = self._name, name
        for module, change in ((before, "exit"), (name, "enter")):
            listed = getattr(slicer.modules, module.lower(), None)
            if isinstance(listed, qSlicerScriptedLoadableModule):
                getattr(listed.widgetRepresentation(), change)()


class qSlicerMainWindow(mannered_class(QtWidgets.QMainWindow)):  # type: ignore[misc]
    """The main window: the module panel at the left, nothing at the right."""

    def __init__(self) -> None:
        super().__init__()
        self.objectName = "qSlicerMainWindow"
        self._selector = qSlicerModuleSelectorToolBar()
        self._area = mannered_class(QtWidgets.QScrollArea)()
        self._area.widgetResizable = True
        self._area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.setFixedWidth(PANEL_WIDTH)
        self.setCentralWidget(self._area)
        self.resize(PANEL_WIDTH, 760)

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector


class Modules(types.SimpleNamespace):
    """``slicer.modules``."""


class Packaging:
    """``slicer.packaging``: nothing is installed; what was asked for is kept."""

    asked: list[list[str]] = []  # noqa: RUF012 (the tests read it)

    @staticmethod
    def pip_ensure(requirements: Any, constraints: Any = None, skip_packages: Any = None, **options: Any) -> None:
        """As in an application where the user refuses."""
        Packaging.asked.append(list(requirements))
        raise RuntimeError("the user refused")


class SampleDataLogic:
    """Of Slicer's module Sample Data: what was registered, by category."""

    rules: dict[str, Any] = {}  # noqa: RUF012 (the tests read it)

    @staticmethod
    def registerUrlRewriteRule(name: str, rewriteFunction: Any) -> None:
        """As Slicer's, which asks every rule about every URL that it downloads."""
        SampleDataLogic.rules[name] = rewriteFunction

    @staticmethod
    def registerCustomSampleDataSource(  # noqa: PLR0913  # as Slicer has it
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        """As Slicer's, which compares the lengths of its lists."""
        if isinstance(uris, str):
            uris, fileNames, nodeNames = [uris], [fileNames], [nodeNames]
        nodeNames = [None] * len(uris) if nodeNames is None else nodeNames
        if not len(uris) == len(fileNames) == len(nodeNames):
            raise ValueError("All fields of sample data source must have the same length")
        source = Closed(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
        )
        registered = slicer.modules.sampleDataSources.setdefault(category, [])
        registered[:] = [known for known in registered if known.sampleName != sampleName] + [source]


def start(folder: Path) -> None:
    """Put the stand-ins in place and load the module.

    Args:
        folder: for the settings and for temporary files.
    """
    settings = QtCore.QSettings
    settings.setDefaultFormat(settings.Format.IniFormat)
    settings.setPath(settings.Format.IniFormat, settings.Scope.UserScope, str(folder))
    QtCore.QCoreApplication.setOrganizationName("harness")
    QUiLoader.CUSTOM.update(widgets.CTK | widgets.SLICER)
    sys.modules["qt"] = ClosedModule("qt", find_in_qt)
    sys.modules["ctk"] = _module("ctk", **widgets.CTK)
    _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    _module("SampleData", SampleDataLogic=SampleDataLogic)
    _module("slicer.packaging", pip_ensure=Packaging.pip_ensure)
    _module(
        "slicer.parameterNodeWrapper",
        parameterNodeWrapper=parameternode.parameterNodeWrapper,
        WithinRange=parameternode.WithinRange,
    )
    bases = ("", "Widget", "Logic", "Test")
    names = [f"ScriptedLoadableModule{base}" for base in bases]
    _module("slicer.ScriptedLoadableModule", **{name: getattr(scripted, name) for name in names})
    for name, kind in widgets.SLICER.items():
        setattr(slicer, name, kind)
    for kind in (qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget):
        setattr(slicer, kind.__name__, kind)

    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.mrmlScene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    slicer.app = qSlicerApplication(folder)
    _use_one_font()
    slicer.app._set_up()
    slicer.modules = Modules(volumerendering=_volume_rendering(), sampleDataSources={})
    slicer.app._main_window = qSlicerMainWindow()
    _load_module()
    emit(slicer.app, "startupCompleted")


def _use_one_font() -> None:
    """The same font on every machine, also on one without any: the one that Matplotlib brings."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = Path(found.submodule_search_locations[0]) / "mpl-data/fonts/ttf"
    for name in ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique"):
        QtGui.QFontDatabase.addApplicationFont(str(folder / f"{name}.ttf"))
    QtWidgets.QApplication.setFont(QtGui.QFont("DejaVu Sans", 9))
    QtWidgets.QApplication.setStyle("Fusion")


def panel() -> Any:
    """The module's window: an EmphysemaScannerWidget."""
    return getattr(slicer.modules, f"{MODULE}Widget")


def new_panel() -> Any:
    """The module's window, made anew in an empty scene and entered, as after a restart."""
    selector = slicer.app._main_window.moduleSelector()
    selector.selectModule("Welcome")
    if hasattr(slicer.modules, f"{MODULE}Widget"):
        emit(slicer.app.moduleManager(), "moduleAboutToBeUnloaded", MODULE)
    slicer.mrmlScene.Clear(False)
    slicer.app.layoutManager().layoutLogic().GetLayoutNode().SetViewArrangement(CONVENTIONAL_LAYOUT)
    slicer.app.settings().clear()
    _load_module()
    slicer.app._main_window.show()
    selector.selectModule(MODULE)
    slicer.app.processEvents()
    return panel()


def stop() -> None:
    """End the module and empty the scene, in the order in which the application does."""
    slicer.app._main_window.moduleSelector().selectModule("Welcome")
    emit(slicer.app.moduleManager(), "moduleAboutToBeUnloaded", MODULE)
    slicer.mrmlScene.Clear(False)
    slicer.modules.volumerendering.logic().SetMRMLScene(None)
    slicer.app._tear_down()


def _load_module() -> None:
    """As Slicer: the file is executed, the module listed, its window made."""
    spec = importlib.util.spec_from_file_location(MODULE, MODULE_FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = loaded
    spec.loader.exec_module(loaded)
    listed = qSlicerScriptedLoadableModule(MODULE_FILE)
    setattr(slicer.modules, MODULE.lower(), listed)
    setattr(slicer.modules, f"{MODULE}Instance", getattr(loaded, MODULE)(listed))
    representation = listed.widgetRepresentation()
    slicer.app._main_window._area.setWidget(representation)
    representation.reload()


def _module(name: str, **members: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, made)
    return made


def _volume_rendering() -> Closed:
    logic = slicer.vtkSlicerVolumeRenderingLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    return Closed(logic=lambda: logic)
