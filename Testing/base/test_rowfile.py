"""Tables that grow by whole rows, and may be larger than the memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.base.rowfile import RowFile, line

COLUMNS = ("source", "a", "b")


def row_file(path: Path) -> RowFile:
    return RowFile(path, COLUMNS, ("source",), "test", EmphysemaScannerError, later=("b",), renamed={"old": "a"})


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_the_last_row_of_a_key_takes_the_place_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("source,a,b\nx,1,\ny,2,\nx,3,\nhalf,")
    with row_file(path).growing() as table:
        assert path.read_text() == "source,a,b\nx,3,\ny,2,\n"
        assert table.before("x") == {"source": "x", "a": "3", "b": ""}
        table.add([("y", 4, "=b"), ("z", 5, "")])
        assert table.before("y") == {"source": "y", "a": "2", "b": ""}
        assert table.before("z") is None
    assert path.read_text() == "source,a,b\nx,3,\ny,4,'=b\nz,5,\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_of_an_earlier_version_is_read_whatever_ends_its_lines(tmp_path: Path, end: str) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(("\ufeff" + end.join(("source,old", "é,1", "", 'x,"2"', ""))).encode())
    expected = [{"source": "é", "a": "1", "b": ""}, {"source": "x", "a": "2", "b": ""}]
    assert list(row_file(path).rows()) == expected
    with row_file(path).growing() as table:
        assert [table.before("é"), table.before("x")] == expected
    assert path.read_text(encoding="utf-8") == "source,a,b\né,1,\nx,2,\n"


def test_a_table_is_read_tidied_and_looked_up_a_row_at_a_time(tmp_path: Path) -> None:
    path, cell = tmp_path / "out.csv", "x" * 5000
    rows = [(f"{k}", cell, cell) for k in (*range(300), 7)]  # the last replaces another, so all is written anew
    path.write_text("".join(map(line, (COLUMNS, *rows))))
    with memory_below(path.stat().st_size // 5), row_file(path).growing() as table:
        assert sum(row["a"] == cell for row in row_file(path).rows()) == 300
        assert all(table.before(f"{k}") for k in range(300))
