"""Model files are listed by their cards, read without PyTorch; what is hostile or damaged is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.models.modelfolder import default_model_path, models_in
from EmphysemaScannerLib.models.modelheader import FORMAT, MAX_HEADER_BYTES, read_card, read_metadata
from EmphysemaScannerLib.models.preprocessing import Preprocessing


def card_named(name: str) -> ModelCard:
    point = OperatingPoint(0.5, "test")
    return ModelCard(name, "conv_lstm", 2, 1, Preprocessing(), point, "", "2026-01-01", "", "", True)


def file_of(header: object, weights: bytes = b"") -> bytes:
    """A safetensors file, put together by its published layout."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + weights


def model_file(path: Path, name: str) -> Path:
    metadata = {"format": FORMAT, "card": card_named(name).to_json(), "sha256": "0" * 64}
    weights = {"dense.bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    path.write_bytes(file_of({"__metadata__": metadata, **weights}, bytes(4)))
    return path


def test_models_are_listed_by_name_from_all_folders_and_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    b, c = model_file(one / "1.safetensors", "beta"), model_file(two / "2.safetensors", "Gamma")
    a = model_file(two / "3.safetensors", "Alpha")
    (one / "notes.txt").write_text("no model")
    (one / "folder.safetensors").mkdir()
    entries = models_in(one, two, one, tmp_path / "absent")
    assert [entry.path for entry in entries] == [a, b, c]
    assert [entry.card for entry in entries] == [card_named(name) for name in ("Alpha", "beta", "Gamma")]
    assert {entry.problem for entry in entries} == {""}


def test_a_file_that_cannot_be_read_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"\x00" * 20)
    model_file(tmp_path / "sound.safetensors", "Sound")
    damaged, sound = models_in(tmp_path)
    assert damaged.name == "damaged.safetensors"
    assert damaged.card is None
    assert "not a readable safetensors file" in damaged.problem
    assert sound.name == "Sound"


def test_the_shipped_models_card_and_checksum_are_read_from_its_header() -> None:
    card = read_card(default_model_path())
    assert card.parameters == 901_793
    assert len(read_metadata(default_model_path())["sha256"]) == 64


@pytest.mark.parametrize(
    "content",
    [
        b"",
        (2**63).to_bytes(8, "little") + b"{}",
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}",
        (1).to_bytes(8, "little") + b"{",
        file_of(b"[]"),
        file_of(b"null"),
        file_of(b"\xff\xfe"),
        file_of(b"[" * 100_000),
        file_of(b'{"n": ' + b"9" * 10_000 + b"}"),
        file_of({"weight": 3}),
        file_of({"weight": {}}),
        file_of({"weight": {"data_offsets": []}}),
        file_of({"weight": {"data_offsets": [0, "4"]}}, bytes(4)),
        file_of({"weight": {"data_offsets": [0, 8]}}, bytes(4)),
        file_of({"__metadata__": {}}, bytes(4)),
    ],
    ids=lambda content: repr(content[:24]),
)
def test_a_header_that_is_no_header_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        read_card(path)


@pytest.mark.parametrize("metadata", [None, [], "text", {"format": FORMAT, "card": 3}, {"format": [FORMAT]}])
def test_a_header_without_a_card_is_refused_in_a_sentence(tmp_path: Path, metadata: object) -> None:
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(file_of({"__metadata__": metadata}))
    with pytest.raises(ModelFileError, match="no EmphysemaScanner model card"):
        read_card(path)


def test_a_huge_file_with_a_huge_header_length_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write((2**40 - 8).to_bytes(8, "little"))
        file.truncate(2**40)  # a sparse terabyte: reading its header would need as much memory
    with pytest.raises(ModelFileError, match="impossible length"):
        read_card(path)
