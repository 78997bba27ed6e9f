"""What CMake packages, and what the Extensions Index is told."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
MODULE = REPO / "EmphysemaScanner"
NOT_SHIPPED = {".pyc", ".part", ".ts"}
INDEX_KEYS = {  # slicer-extension-catalog-entry-schema-v1.0.2
    "$schema",
    "category",
    "scm_url",
    "scm_revision",
    "scm_type",
    "build_dependencies",
    "dicom_support_rule",
    "build_subdirectory",
    "enabled",
    "tier",
}


def listed(variable: str) -> list[str]:
    """The entries of a set() in the module's CMakeLists.txt."""
    text = (MODULE / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "EmphysemaScanner")
    match = re.search(rf"set\({variable}\s+([^)]*)\)", text)
    assert match, f"{variable} is not set"
    return match[1].split()


def on_disk(*folders: str) -> list[str]:
    files = [
        path.relative_to(MODULE).as_posix()
        for folder in folders
        for path in (MODULE / folder).rglob("*")
        if path.is_file() and path.suffix not in NOT_SHIPPED and not path.name.startswith(".")
    ]
    assert files
    return files


def metadata(name: str) -> str:
    match = re.search(rf'set\(EXTENSION_{name} "([^"]*)"\)', (REPO / "CMakeLists.txt").read_text())
    assert match, f"EXTENSION_{name} is not set"
    return match[1]


def index_entry() -> dict[str, object]:
    return dict(json.loads((REPO / "EmphysemaScanner.json").read_text()))


def test_every_python_file_is_packaged_and_nothing_else() -> None:
    files = [f for f in on_disk("EmphysemaScannerLib") if f.endswith(".py")]
    assert sorted(listed("MODULE_PYTHON_SCRIPTS")) == sorted(["EmphysemaScanner.py", *files])


def test_every_resource_is_packaged_and_nothing_else() -> None:
    files = [f for f in on_disk("EmphysemaScannerLib", "Resources") if not f.endswith(".py")]
    assert sorted(listed("MODULE_PYTHON_RESOURCES")) == sorted(files)


def test_the_module_macro_gets_only_keywords_that_it_knows() -> None:
    text = (MODULE / "CMakeLists.txt").read_text()
    call = re.search(r"slicerMacroBuildScriptedModule\(([^)]*)\)", text)
    assert call
    keywords = {word for word in call[1].split() if word.isupper() and not word.startswith("$")}
    assert keywords == {"NAME", "SCRIPTS", "RESOURCES", "WITH_GENERIC_TESTS"}


def test_every_self_test_is_registered_and_exists() -> None:
    text = (REPO / "Testing/CMakeLists.txt").read_text().replace("${CMAKE_CURRENT_SOURCE_DIR}", str(REPO / "Testing"))
    registered = {Path(p) for p in re.findall(r"slicer_add_python_unittest\(SCRIPT ([^)]*)\)", text)}
    assert registered == set((REPO / "Testing/selftests").glob("*Test.py"))
    assert registered


def test_the_project_has_the_name_of_its_index_entry_and_its_module() -> None:
    assert "project(EmphysemaScanner)" in (REPO / "CMakeLists.txt").read_text()
    assert "add_subdirectory(EmphysemaScanner)" in (REPO / "CMakeLists.txt").read_text()
    assert index_entry()["scm_url"] == metadata("HOMEPAGE")


def test_the_index_entry_has_only_keys_that_the_schema_knows() -> None:
    assert set(index_entry()) <= INDEX_KEYS
    assert {"$schema", "category", "scm_url"} <= set(index_entry())


def test_index_entry_and_build_name_the_same_dependencies_and_category() -> None:
    assert index_entry()["build_dependencies"] == metadata("DEPENDS").split()
    assert index_entry()["category"] == metadata("CATEGORY")


@pytest.mark.parametrize("name", ["CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"])
def test_the_extension_describes_itself(name: str) -> None:
    assert metadata(name)


def test_the_icons_address_ends_in_the_icons_place() -> None:
    assert (REPO / metadata("ICONURL").partition("/main/")[2]).is_file()


def test_the_icon_is_a_png_of_128_by_128() -> None:
    header = (MODULE / "Resources/Icons/EmphysemaScanner.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)
