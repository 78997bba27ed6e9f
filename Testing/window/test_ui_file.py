"""The .ui file against the code that uses it, without Slicer."""

from __future__ import annotations

import ast
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
MODULE = REPO / "EmphysemaScanner/EmphysemaScanner.py"
WINDOW = REPO / "EmphysemaScanner/EmphysemaScannerLib/window"
UI = REPO / "EmphysemaScanner/Resources/UI/EmphysemaScanner.ui"
SLICER_API = REPO.parent / "shared/slicer-api.json"

# What parameterNodeWrapper's connectGui can connect, by exact widget class (Slicer's guiConnectors.py).
WIDGETS_FOR = {
    "vtkMRMLScalarVolumeNode": {"qMRMLNodeComboBox"},
    "vtkMRMLSegmentationNode": {"qMRMLNodeComboBox"},
    "Path": {"ctkPathLineEdit"},
    "Enum": {"QComboBox", "ctkComboBox"},
    "bool": {"QCheckBox", "ctkCheckBox"},
    "float": {"ctkSliderWidget", "qMRMLSliderWidget", "QDoubleSpinBox"},
}


@pytest.fixture(scope="module")
def ui() -> ET.Element:
    return ET.parse(UI).getroot()


@pytest.fixture(scope="module")
def widgets(ui: ET.Element) -> dict[str, str]:
    """Class of each named widget."""
    return {w.attrib["name"]: w.attrib["class"] for w in ui.iter("widget")}


@pytest.fixture(scope="module")
def code() -> ast.Module:
    """The module file and the window's panels, as one."""
    files = [MODULE, *sorted(WINDOW.glob("*.py"))]
    return ast.Module([statement for file in files for statement in ast.parse(file.read_text()).body], [])


@pytest.fixture(scope="module")
def fields(code: ast.Module) -> dict[str, str]:
    """Each field of the parameter node with the kind of its type, enums as "Enum"."""
    classes = {c.name: c for c in ast.walk(code) if isinstance(c, ast.ClassDef)}
    enums = {"Overlay", "ColourMap", "Chart", "Drawing", "CTWindow"}
    found = {}
    for statement in classes["EmphysemaScannerParameterNode"].body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            kind = statement.annotation
            if isinstance(kind, ast.Subscript) and isinstance(kind.slice, ast.Tuple):  # Annotated[kind, ...]
                kind = kind.slice.elts[0]
            name = ast.unparse(kind)
            found[statement.target.id] = "Enum" if name in enums else name
    return found


@pytest.fixture(scope="module")
def bound(ui: ET.Element) -> list[tuple[str, str]]:
    """(parameter, widget class) of every widget with a SlicerParameterName."""
    return [
        (str(prop.findtext("string")), widget.attrib["class"])
        for widget in ui.iter("widget")
        for prop in widget.findall("property")
        if prop.attrib["name"] == "SlicerParameterName"
    ]


def dotted(node: ast.AST) -> list[str]:
    """The names of a.b.c, or nothing where the chain does not start with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def chains(code: ast.Module, *start: str) -> set[tuple[str, ...]]:
    """What follows ``start`` in every attribute access of the code that begins with it."""
    found = {tuple(dotted(node)) for node in ast.walk(code) if isinstance(node, ast.Attribute)}
    return {names[len(start) :] for names in found if names[: len(start)] == start and len(names) > len(start)}


def used_widgets(code: ast.Module) -> set[tuple[str, ...]]:
    """Every access to a widget: its name, and what of it is used."""
    return chains(code, "self", "ui") | chains(code, "self", "_ui") | chains(code, "ui")


def test_the_top_level_is_a_qmrmlwidget_named_as_the_module(ui: ET.Element) -> None:
    top = ui.find("widget")
    assert top is not None
    assert (top.attrib["class"], top.attrib["name"], ui.findtext("class")) == ("qMRMLWidget", *["EmphysemaScanner"] * 2)


def test_no_two_widgets_or_layouts_have_the_same_name(ui: ET.Element) -> None:
    names = [e.attrib["name"] for tag in ("widget", "layout", "spacer") for e in ui.iter(tag)]
    assert len(names) == len(set(names))


def test_every_class_that_is_not_qts_own_is_declared(ui: ET.Element, widgets: dict[str, str]) -> None:
    declared = {c.findtext("class") for c in ui.iter("customwidget")}
    assert declared == {c for c in widgets.values() if not c.startswith("Q")}


def test_every_widget_that_the_code_uses_exists(code: ast.Module, widgets: dict[str, str]) -> None:
    used = {names[0] for names in used_widgets(code)}
    assert used, "the code uses no widget at all: the search is broken"
    assert used <= set(widgets)


def test_every_widget_of_use_is_used_by_the_code(
    code: ast.Module, widgets: dict[str, str], bound: list[tuple[str, str]]
) -> None:
    """A button that nothing listens to would be a promise that is not kept."""
    buttons = {name for name, kind in widgets.items() if kind in ("QPushButton", "QToolButton", "QTableWidget")}
    assert buttons <= {names[0] for names in used_widgets(code)}


def test_every_parameter_is_bound_to_exactly_one_widget(fields: dict[str, str], bound: list[tuple[str, str]]) -> None:
    by_hand = {"modelPath"}  # the list of models is more than Slicer's wrapper can connect
    assert sorted(name for name, _ in bound) == sorted(set(fields) - by_hand)


def test_every_parameter_is_bound_to_a_widget_that_slicer_can_connect(
    fields: dict[str, str], bound: list[tuple[str, str]]
) -> None:
    for name, widget_class in bound:
        assert widget_class in WIDGETS_FOR[fields[name]], name


def test_every_node_selector_is_told_the_scene(ui: ET.Element, widgets: dict[str, str]) -> None:
    wired = {
        c.findtext("receiver")
        for c in ui.iter("connection")
        if c.findtext("sender") == "EmphysemaScanner"
        and c.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and c.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    selectors = {name for name, c in widgets.items() if c.startswith("qMRML") and name != "EmphysemaScanner"}
    assert selectors
    assert wired == selectors


def test_everything_but_labels_and_frames_has_a_tool_tip(ui: ET.Element) -> None:
    for widget in ui.iter("widget"):
        if widget.attrib["class"] not in ("QLabel", "QFrame", "QWidget", "qMRMLWidget"):
            assert "toolTip" in {p.attrib["name"] for p in widget.findall("property")}, widget.attrib["name"]


def test_the_window_says_research_use_only(ui: ET.Element) -> None:
    label = next(w for w in ui.iter("widget") if w.attrib["name"] == "researchUseLabel")
    assert any("Research use only" in str(s.text) for s in label.iter("string"))


@pytest.fixture(scope="module")
def slicer_api() -> dict[str, object]:
    if not SLICER_API.exists():
        pytest.skip("the list of what Slicer offers is not here")
    return dict(json.loads(SLICER_API.read_text()))


def test_every_member_of_a_widget_that_the_code_uses_is_offered_by_slicer(
    code: ast.Module, widgets: dict[str, str], slicer_api: dict[str, dict[str, list[str]]]
) -> None:
    offered = {name.partition(".")[2]: set(members) for name, members in slicer_api["classes"].items()}
    for widget, member, *_ in (names for names in used_widgets(code) if len(names) > 1):
        assert member in offered[widgets[widget]], f"{widget}.{member}"


@pytest.mark.parametrize("area", ["slicer.util", "slicer.app"])
def test_every_function_of_slicer_that_the_code_uses_is_offered(
    area: str, code: ast.Module, slicer_api: dict[str, list[str]]
) -> None:
    used = {names[0] for names in chains(code, *area.split("."))}
    assert used
    assert used <= set(slicer_api[area])
