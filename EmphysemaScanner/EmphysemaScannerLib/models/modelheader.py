"""What a model file says about itself, read without PyTorch or safetensors and without touching the weights.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header, a JSON object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..base.errors import ModelFileError, reason
from .modelcard import ModelCard, strict_json

FORMAT = "emphysema-scanner-1"
MAX_CARD_CHARACTERS = 250_000
MAX_HEADER_BYTES = 2_000_000  # a card of the greatest length, wholly escaped, and the names of the weights


def read_card(path: Path) -> ModelCard:
    """The card of a model file.

    Raises:
        ModelFileError: not a readable model file.
    """
    return ModelCard.from_json(read_metadata(path)["card"])


def read_metadata(path: Path) -> dict[str, str]:
    """What a model file's header says beside the weights: "format", "card" (JSON) and "sha256" (of the contents).

    Raises:
        ModelFileError: missing, not readable as safetensors, or without a card.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"There is no model file at {path}; choose an existing .safetensors file.")
    try:
        metadata = _header(path).get("__metadata__", {})
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ModelFileError(
            f"{path.name} is not a readable safetensors file ({reason(error)}); choose a model written by "
            "EmphysemaScanner."
        ) from error
    texts = {k: v for k, v in metadata.items() if isinstance(v, str)} if isinstance(metadata, dict) else {}
    if texts.get("format") != FORMAT or len(texts.get("card", "")) not in range(1, MAX_CARD_CHARACTERS):
        raise ModelFileError(
            f"{path.name} has no EmphysemaScanner model card; choose a model written by EmphysemaScanner."
        )
    return texts


def _header(path: Path) -> dict[str, Any]:
    """The header, if the file is as long as it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise ValueError("its header has an impossible length")
        header = strict_json(file.read(length).decode("utf-8"))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if max(ends, default=0) != size - 8 - length:
        raise ValueError("it is not as long as its header says")
    return dict(header)
