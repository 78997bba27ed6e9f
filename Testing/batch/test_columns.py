"""The one definition of the table's columns: the data dictionary and the documentation follow it."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path

import pytest
from EmphysemaScannerLib.batch import columns, row
from EmphysemaScannerLib.commands import cli

DOCS = Path(__file__).parents[2] / "docs"


def test_every_column_of_the_table_is_defined_in_its_order() -> None:
    assert tuple(column.name for column in columns.COLUMNS) == row.COLUMNS


def test_every_column_is_documented() -> None:
    cells = re.findall(r"^\| ([a-z0-9_, ]+) \|", (DOCS / "batch.md").read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name for cell in cells for name in cell.split(", ")}
    assert {column.name for column in columns.COLUMNS if "_lobe_" not in column.name} <= documented
    assert "right_upper_lobe_laa_950_percent and so on" in documented


def test_the_dictionary_is_one_that_redcap_imports(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["dictionary", "--out", str(tmp_path / "dictionary.csv")])
    assert ended.value.code == 0
    text = (tmp_path / "dictionary.csv").read_text(encoding="utf-8")
    fields = list(csv.DictReader(io.StringIO(text)))
    assert len(fields[0]) == 18  # REDCap's columns
    assert len({field["Variable / Field Name"] for field in fields}) == len(fields) == len(columns.COLUMNS)
    for field in fields:
        # REDCap: lower case letters, digits and underscores, beginning with a letter, at most 100 characters
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,99}", field["Variable / Field Name"])
        assert field["Field Type"] in ("text", "notes", "radio")
        assert bool(field["Choices, Calculations, OR Slider Labels"]) == (field["Field Type"] == "radio")
    by_name = {field["Variable / Field Name"]: field for field in fields}
    assert by_name["call"]["Choices, Calculations, OR Slider Labels"] == (
        "positive, positive | negative, negative | none, none"
    )
    probability = by_name["probability"]
    assert (probability["Text Validation Type OR Show Slider Number"], probability["Text Validation Max"]) == (
        "number",
        "1",
    )
    assert {name for name, field in by_name.items() if field["Identifier?"] == "y"} == {
        *("source", "problem", "dicom_objects", "dicom_problem", "expiratory_problem")
    }


def test_a_number_stays_in_its_range() -> None:
    numbers = {column.name for column in columns.COLUMNS if column.holds is columns.Holds.NUMBER}
    numbers -= set(row.LOBE_COLUMNS)
    assert numbers == {field.name for field in dataclasses.fields(row.BatchRow) if field.type == "float"}
