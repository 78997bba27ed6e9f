"""What happens when Slicer loads the module on a computer without PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

MODULE = Path(__file__).parents[2] / "EmphysemaScanner/EmphysemaScanner.py"

# The Extensions Index asks that a module file import nothing else before it is used.
ALLOWED = set(sys.stdlib_module_names) | {"slicer", "vtk", "numpy", "scipy", "SimpleITK", "EmphysemaScannerLib"}

BLOCKED = (
    "torch",
    "safetensors",
    "lightning",
    "sklearn",
    "jinja2",
    "matplotlib",
    "typst",
    "typer",
    "rich",
    "pydicom",
    "h5py",
)

IMPORT_WITHOUT = """
import importlib, importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Absent())
{before}
for name in {names!r}:
    importlib.import_module(name)
print('loaded', len({names!r}))
"""


# Slicer's own modules, which only the application has.
STAND_INS = """
import types
sys.modules['slicer.ScriptedLoadableModule'] = types.SimpleNamespace(ScriptedLoadableModuleLogic=object)
sys.modules['slicer.parameterNodeWrapper'] = types.SimpleNamespace(
    WithinRange=lambda *limits: None, parameterNodeWrapper=lambda wrapped: wrapped
)
"""


def file_scope_imports() -> list[str]:
    """Modules that are imported as soon as the module file is loaded."""
    found = []
    for statement in ast.parse(MODULE.read_text()).body:
        if isinstance(statement, ast.Import):
            found += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            found.append(str(statement.module))
    return found


def import_without_third_parties(names: list[str], before: str = "") -> subprocess.CompletedProcess[str]:
    script = IMPORT_WITHOUT.format(blocked=BLOCKED, names=names, before=before)
    return subprocess.run(
        [sys.executable, "-c", script], cwd=MODULE.parent, capture_output=True, text=True, check=False
    )


def test_the_module_file_imports_only_what_every_slicer_has() -> None:
    assert {name.partition(".")[0] for name in file_scope_imports()} <= ALLOWED


def test_what_the_module_file_imports_from_the_library_loads_without_pytorch() -> None:
    names = [name for name in file_scope_imports() if name.startswith("EmphysemaScannerLib")]
    assert names
    done = import_without_third_parties(["EmphysemaScannerLib", *names], STAND_INS)
    assert done.returncode == 0, done.stderr


def test_what_the_window_shows_a_result_with_loads_without_pytorch() -> None:
    done = import_without_third_parties(["EmphysemaScannerLib.report.richtext"])
    assert done.returncode == 0, done.stderr


def test_what_the_window_lists_models_and_devices_with_loads_without_pytorch() -> None:
    names = ["models.modelheader", "models.modelfolder", "scan.serialise", "scan.device", "report.wording", "i18n"]
    done = import_without_third_parties([f"EmphysemaScannerLib.{name}" for name in names])
    assert done.returncode == 0, done.stderr


def test_the_check_for_a_missing_pytorch_would_notice_an_import_of_it() -> None:
    done = import_without_third_parties(["EmphysemaScannerLib.models.modelfile"])
    assert "No module named 'torch'" in done.stderr


def test_nothing_is_computed_when_the_module_file_is_loaded() -> None:
    """Only definitions, imports and constants at file scope: the Extensions Index asks for it."""
    allowed = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.Assign, ast.AnnAssign)
    for statement in ast.parse(MODULE.read_text()).body:
        is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        is_type_checking = isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
        assert isinstance(statement, allowed) or is_docstring or is_type_checking, ast.unparse(statement)


def test_texts_for_translation_are_plain_strings() -> None:
    """``_()`` is read by a program that collects texts; it cannot read an f-string or a variable."""
    calls = [
        node
        for node in ast.walk(ast.parse(MODULE.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_"
    ]
    assert calls
    for call in calls:
        assert isinstance(call.args[0], ast.Constant), ast.unparse(call)


def test_the_module_file_is_thin() -> None:
    assert len(MODULE.read_text().splitlines()) < 300
