"""Model files: safetensors with the model card as JSON in the header. Opening one never runs code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import nn

from ..base.errors import ModelFileError, reason
from ..base.wholefile import write_whole
from . import networks
from .classweights import check_class_weights
from .diseasemap import check_disease_map
from .modelcard import ModelCard
from .modelheader import FORMAT, read_metadata

FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode with the card that came with it.

    Attributes:
        network: in evaluation mode.
        card: that came with it.
        sha256: the checksum that its file states; "" of a model that was not read from a file.
    """

    network: nn.Module
    card: ModelCard
    sha256: str = ""


def checksum(state: dict[str, torch.Tensor], card: str) -> str:
    """SHA-256 over the card's JSON text, and over names, shapes and bytes of the weights, sorted by name."""
    digest = hashlib.sha256(card.encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(path: Path, network: nn.Module, card: ModelCard) -> None:
    """Write a model file, whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in _weights(network).items()}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = card.to_json()
    write_whole(path, serialise(state, metadata={"format": FORMAT, "card": text, "sha256": checksum(state, text)}))


def load(path: Path) -> Model:
    """The network in evaluation mode, and its card.

    Raises:
        ModelFileError: missing, damaged, of another format, or its weights don't fit the architecture in its card.
    """
    path = Path(path)
    metadata = read_metadata(path)
    card = ModelCard.from_json(metadata["card"])
    rows, columns = card.preprocessing.shape[1:]
    if rows != columns:
        raise ModelFileError(f"{path.name} is for slices of {rows} x {columns}; only square ones are known.")
    with torch.device("meta"):  # takes no memory, whatever width a damaged card has
        expected = _weights(networks.build(card.architecture, card.width, rows, card.preprocessing.shape[0]))
    try:
        state = _read_weights(path, expected, card)
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path.name} is not a readable safetensors file ({reason(error)}); choose a model written by "
            "EmphysemaScanner."
        ) from error
    if checksum(state, metadata["card"]) != metadata.get("sha256"):
        raise ModelFileError(f"{path.name} is damaged (checksum differs); download or copy it again.")
    if not all(torch.isfinite(t).all() for t in state.values()):
        raise ModelFileError(f"{path.name} holds weights that are not finite numbers; its training failed.")
    network = networks.build(card.architecture, card.width, rows, card.preprocessing.shape[0])
    network.load_state_dict(state, strict=False)
    check_disease_map(network, card)
    check_class_weights(network, card)
    return Model(network.eval(), card, metadata["sha256"])


def _weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """What a model file holds: everything but BatchNorm's counters, which serve training only."""
    return {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}


def _read_weights(path: Path, expected: dict[str, torch.Tensor], card: ModelCard) -> dict[str, torch.Tensor]:
    """The weights, if they have the names, shapes and types that were expected."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        if names != set(expected):
            raise ModelFileError(
                f"The weights in {path.name} are not those of a {card.architecture}; ask its author for a sound file."
            )
        for name, tensor in expected.items():
            stored = file.get_slice(name)
            if tuple(stored.get_shape()) != tuple(tensor.shape) or stored.get_dtype() not in FLOATS:
                raise ModelFileError(
                    f"In {path.name}, '{name}' has the wrong shape or type for a {card.architecture} of width "
                    f"{card.width}; ask its author for a sound file."
                )
        return {name: file.get_tensor(name) for name in names}
