"""The stand-ins themselves: they refuse what Slicer refuses."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import pytest
import slicer
from PySide6 import QtCore
from window.harness import application, widgets
from window.harness.driver import Driver
from window.harness.pythonqt import Returned, refused
from window.harness.qtmodules import CLASSES, ClosedModule, QFileDialog, find_in_qt

MEASURE = Path(__file__).parents[4] / "shared/slicer-api.json"  # read out of the running application; not everywhere
qt = ClosedModule("qt", find_in_qt)
OWN = {
    "ctk": widgets.CTK,
    "slicer": widgets.SLICER
    | {
        kind.__name__: kind
        for kind in (
            application.qSlicerLayoutManager,
            application.qSlicerModuleManager,
            application.qSlicerIOManager,
            application.qSlicerScriptedLoadableModule,
            application.qSlicerScriptedLoadableModuleWidget,
        )
    },
}
# Constants and functions of the stand-ins alone, used by the harness and not by the module.
HARNESS_ONLY = {"SIGNALS", "MARGIN", "FILTERS", "said", "answers", "CUSTOM"}
PYTHONQT_HIDES = {
    "exec_",
    "name",
}  # they are there (Slicer's own Python code uses them), though dir() doesn't list them


@pytest.fixture(scope="module")
def measured() -> dict[str, set[str]]:
    """The members that PythonQt offers, by class."""
    if not MEASURE.exists():
        pytest.skip("the list of what Slicer offers is not here")
    return {name: set(members) for name, members in json.loads(MEASURE.read_text())["classes"].items()}


def offered(kind: type) -> set[str]:
    """The public members that a stand-in offers."""
    return {name for name in dir(kind) if not name.startswith("_")} - refused(kind) - HARNESS_ONLY - PYTHONQT_HIDES


def written_here(kind: type) -> set[str]:
    """The public members that the harness gives a stand-in, not Qt."""
    bases = [base for base in kind.__mro__ if base.__module__.startswith("window.harness")]
    return {name for base in bases for name in vars(base)} & offered(kind)


def test_every_member_of_every_qt_class_is_offered_by_pythonqt(
    application: None, measured: dict[str, set[str]]
) -> None:
    checked = 0
    for name in CLASSES:
        if f"qt.{name}" in measured:
            checked += 1
            assert offered(getattr(qt, name)) - measured[f"qt.{name}"] == set(), name
    assert checked > 40


@pytest.mark.parametrize("module", ["ctk", "slicer"])
def test_every_member_of_every_stand_in_exists_in_the_real_class(
    application: None, measured: dict[str, set[str]], module: str
) -> None:
    for name, kind in OWN[module].items():
        if f"{module}.{name}" not in measured:
            continue
        overridden = {n for n in vars(kind) if callable(getattr(QtCore.QObject, n, None))}
        assert written_here(kind) - overridden - measured[f"{module}.{name}"] == set(), name


def test_slicers_application_and_util_have_what_the_stand_in_offers(measured: dict[str, set[str]]) -> None:
    everything = json.loads(MEASURE.read_text())
    assert written_here(application.qSlicerApplication) - set(everything["slicer.app"]) == set()
    assert written_here(application.qSlicerLayoutManager) - set(everything["slicer.app.layoutManager()"]) == set()
    assert "pip_ensure" in everything["slicer.packaging"]


def test_a_property_is_no_function_and_a_function_no_property(window: Driver) -> None:
    button = window.ui.scanButton
    assert isinstance(button.text, str)
    with pytest.raises(TypeError):
        button.text()
    button.setText("Scan")  # PythonQt has the setters, too
    assert callable(button.isHidden)


def test_what_pythonqt_lacks_cannot_be_asked_for(window: Driver) -> None:
    button = window.ui.scanButton
    with pytest.raises(AttributeError):
        _ = button.emit
    with pytest.raises(AttributeError):
        _ = button.raise_
    assert not hasattr(button, "nonsense")
    with pytest.raises(AttributeError):
        _ = qt.QtWidgets
    with pytest.raises(AttributeError):
        _ = qt.Qt.AlignmentFlag
    with pytest.raises(AttributeError):
        _ = sys.modules["ctk"].ctkNonsense
    with pytest.raises(AttributeError):
        _ = slicer.app.nonsense
    with pytest.raises(AttributeError):
        _ = slicer.app.layoutManager().nonsense


def test_no_attribute_can_be_added_to_a_widget(window: Driver) -> None:
    with pytest.raises(AttributeError):
        window.ui.scanButton.nonsense = 1
    with pytest.raises(AttributeError):
        window.ui.inputSelector.nonsense = 1


def test_what_qt_made_itself_has_the_same_manners(window: Driver) -> None:
    header = window.ui.tellingTable.horizontalHeader()
    assert isinstance(header, Returned)
    assert header.visible in (True, False)
    with pytest.raises(AttributeError):
        header.nonsense = 1
    with pytest.raises(AttributeError):
        _ = header.emit


def test_a_signal_that_is_not_there_cannot_be_connected(window: Driver) -> None:
    with pytest.raises(ValueError, match="no signal"):
        window.ui.scanButton.connect("pushed(bool)", print)
    with pytest.raises(ValueError, match="no signal"):
        window.ui.modelComboBox.connect("currentIndexChanged(QString)", print)  # gone in Qt 6


def test_a_slot_gets_as_many_arguments_as_it_takes_and_none_after_it_is_disconnected(window: Driver) -> None:
    box, heard = window.ui.saveCsvCheckBox, []

    def with_argument(checked: bool) -> None:
        heard.append(checked)

    def without() -> None:
        heard.append("called")

    box.connect("clicked(bool)", with_argument)
    box.connect("clicked(bool)", without)
    box.click()
    assert heard == [box.checked, "called"]
    assert box.disconnect("clicked(bool)", with_argument)
    assert not box.disconnect("clicked(bool)", with_argument)
    box.click()
    assert heard[2:] == ["called"]
    box.disconnect("clicked(bool)", without)


def test_an_error_in_a_slot_is_swallowed_as_in_slicer_and_the_harness_knows_of_it(
    window: Driver, errors: list[str]
) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    window.ui.saveCsvCheckBox.connect("clicked(bool)", fails)
    window.ui.saveCsvCheckBox.click()
    assert "ZeroDivisionError" in errors.pop()
    window.ui.saveCsvCheckBox.disconnect("clicked(bool)", fails)


def test_a_parameter_refuses_what_slicer_refuses(window: Driver) -> None:
    node = window.parameters
    with pytest.raises(ValueError, match="range"):
        node.overlayOpacity = 1.5
    with pytest.raises(TypeError):
        node.overlay = "evidence"
    with pytest.raises(TypeError):
        node.inputVolume = "CT"


def test_a_parameter_is_written_into_the_scene_as_slicer_writes_it(window: Driver) -> None:
    ct = window.add_ct()
    node, written = window.parameters, window.parameters.parameterNode
    node.overlayOpacity = 0.25
    assert written.GetParameter("overlayOpacity") == "0.25"
    assert written.GetParameter("overlayVisible") == "True"
    assert written.GetParameter("overlay") == "DISEASE"
    assert written.GetNodeReferenceID("inputVolume") == ct.GetID()
    assert written.GetParameter("modelPath") == str(window.model)


def test_a_file_dialog_that_no_test_expected_fails(application: None) -> None:
    assert QFileDialog.answers == []
    with pytest.raises(AssertionError, match="file dialog"):
        qt.QFileDialog.getOpenFileName(None, "title")


def test_every_widget_of_the_window_has_the_stand_ins_manners(window: Driver) -> None:
    kinds = {type(widget) for widget in vars(window.ui).values()}
    assert all(inspect.getmodule(kind).__name__.startswith("window.harness") for kind in kinds)
    assert len(kinds) > 8
