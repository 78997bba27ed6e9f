"""Lists that users save as CSV: each way of saving one is read whole, or a sentence names the line."""

from __future__ import annotations

import codecs
import contextlib
from pathlib import Path

import pytest
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.base.lists import read_list
from hypothesis import given, settings
from hypothesis import strategies as st


class ListError(EmphysemaScannerError):
    """Of these tests."""


def read(folder: Path, data: bytes) -> list[tuple[str, str]]:
    """The columns volume and note of the rows."""
    path = folder / "list.csv"
    path.write_bytes(data)
    return [(row.values["volume"], row.values["note"]) for row in read_list(path, ["volume"], ListError).rows]


TEXT = "volume,note\na.nrrd,x\né.nrrd,\n"
ROWS = [("a.nrrd", "x"), ("é.nrrd", "")]


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.encode("latin-1"),
        TEXT.encode("cp1252"),
    ],
    ids=["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "latin-1", "cp1252"],
)
def test_text_is_read_in_any_encoding_that_spreadsheets_save(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(tmp_path: Path, end: str) -> None:
    assert read(tmp_path, TEXT.replace("\n", end).encode()) == ROWS
    assert read(tmp_path, TEXT.replace("\n", end).rstrip().encode()) == ROWS


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\r\n", '"SEP={}"\r\n'])
def test_columns_are_separated_by_what_the_first_line_states_or_what_parts_the_header(
    tmp_path: Path, mark: str, first: str
) -> None:
    assert read(tmp_path, (first.format(mark) + TEXT.replace(",", mark)).encode()) == ROWS


@pytest.mark.parametrize(
    "header", ["Volume,NOTE", " volume , note ", '"volume","note"', "volume\xa0,note", ",volume,note"]
)
def test_capitals_blanks_and_quotes_in_the_header_do_not_count(tmp_path: Path, header: str) -> None:
    before = "," if header.startswith(",") else ""  # a column without a name, as pandas writes one
    assert read(tmp_path, f"{header}\n{before}a.nrrd,x\n".encode()) == [("a.nrrd", "x")]


def test_empty_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("\n\nvolume,note\n\na.nrrd,x\n , \n\t\nb.nrrd,\n")
    rows = read_list(path, ["volume"], ListError).rows
    assert [(row.where, row.values["volume"]) for row in rows] == [
        ("list.csv, line 5", "a.nrrd"),
        ("list.csv, line 8", "b.nrrd"),
    ]


def test_a_quoted_value_may_hold_the_separator_and_quotation_marks(tmp_path: Path) -> None:
    assert read(tmp_path, b'volume,note\n"a, ""b"".nrrd", "x,y"\n5" c.nrrd,\n') == [
        ('a, "b".nrrd', "x,y"),
        ('5" c.nrrd', ""),
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "list.csv is empty"),
        (b"\n \n", "list.csv is empty"),
        (b"volume,note\n", "lists no volumes"),
        (b"volume,note\n\n,\n", "lists no volumes"),
        (b"path,note\na.nrrd,x\n", "lacks the column volume; line 1 must name the columns"),
        (b"a.nrrd\nb.nrrd\n", "lacks the column volume"),
        (b"volume,note,Volume\na,x,b\n", "line 1: the column volume occurs twice"),
        (b"volume,note,note\na,x,b\n", "line 1: the column note occurs twice"),
        (b'volume,note\na.nrrd,"quote left open\nb.nrrd,x\nc.nrrd,y\n', "line 2: .* quotation mark is not closed"),
        (b'volume,note\na.nrrd,"left open\nb.nrrd,"\nc.nrrd,y\n', "line 2: .* quotation mark is not closed"),
        (b'volume,note\na.nrrd,x\n"b.nrrd,x\n"c.nrrd,y\n', "line 3: .* quotation mark is not closed"),
        (b'volume,note\na.nrrd,"x"y\n', "line 2: this is not CSV"),
        (b"volume,note\na.nrrd\n", "line 2: expected 2 values, found 1"),
        (b"volume,note\na.nrrd,x\nb, 2.nrrd,y\n", "line 3: expected 2 values, found 3"),
        (b"volume,note\na.nrrd,x\n,y\n", "line 3: the volume must not be empty"),
        (b"volume,note\na.nrrd,x\nVolume,Note\nb.nrrd,x\n", "line 3: the header is repeated"),
        (b"volume,note\na.nrrd,x\nb\0.nrrd,x\n", "line 3: this is not text"),
        ("volume,note\na.nrrd,x\n".encode("utf-16-le"), "line 1: this is not text"),
        ("volume,note\na.nrrd,é\n".encode() + "b.nrrd,é\n".encode("latin-1"), "line 3: .* save the file as CSV UTF-8"),
        (b"volume,note\ra.nrrd,x\rb\x81.nrrd,x\r", "line 3: .* save the file as CSV UTF-8"),  # in no Windows-1252
        (codecs.BOM_UTF16_LE + "volume\na\n".encode("utf-16-le") + b"\0\xd8a\0", "line 3: .* save the file"),
        (b"sep=;\nvolume,note\na,x\n", "lacks the column volume; line 2 must name"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_whole_is_one_sentence_with_the_line(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(ListError, match=says) as raised:
        read(tmp_path, data)
    assert str(raised.value).startswith("list.csv")


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ListError, match=r"nowhere\.csv' cannot be read"):
        read_list(tmp_path / "nowhere.csv", ["volume"], ListError)


names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=6).map(str.strip)


@settings(deadline=None)
@given(
    volumes=st.lists(names.filter(bool), min_size=1),
    mark=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_no_list_is_ever_shortened(
    volumes: list[str], mark: str, end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever stands in it unquoted: all rows, or a sentence."""
    data = end.join([f"volume{mark}note", *(f"{volume}{mark}x" for volume in volumes)]).encode()
    with contextlib.suppress(ListError):
        assert len(read(tmp_path_factory.mktemp("list"), data)) == len(volumes)
