"""Model files: what is saved comes back, and what is damaged or foreign is refused in a sentence."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.models import modelfile, modelheader, networks
from EmphysemaScannerLib.models.modelcard import Metric, ModelCard, OperatingPoint
from EmphysemaScannerLib.models.preprocessing import Needs, Preprocessing
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SHAPE = (17, 16, 16)


def card_for(architecture: str = "conv_lstm", width: int = 2) -> ModelCard:
    return ModelCard(
        name="Tést ≥ 1",
        architecture=architecture,
        width=width,
        parameters=networks.keras_parameter_count(network_for(architecture, width)),
        preprocessing=Preprocessing(SHAPE, -1000.0, -700.0, -1024.0),
        operating_point=OperatingPoint(0.25, "Youden index on nothing"),
        training_data="none",
        trained_on="2026-01-01",
        intended_use="tests",
        limits="everything",
        demonstration=True,
        metrics=(Metric("AUC", 0.5, 0.4, 0.6, "none"),),
        citations=("Braman 2018", "Shi 2015"),
        training_log=("Trained once.", "Fine-tuned."),
    )


def network_for(architecture: str = "conv_lstm", width: int = 2) -> nn.Module:
    torch.manual_seed(7)
    network = networks.build(architecture, width, SHAPE[1], SHAPE[0])
    with torch.no_grad():  # moving statistics that are not the initial ones, as after training
        network(input_for(architecture))
    return network.eval()


def input_for(architecture: str) -> Tensor:
    densitometry = networks.ARCHITECTURES[architecture].needs is Needs.DENSITOMETRY
    return torch.rand(3, 2) if densitometry else torch.rand(3, SHAPE[0], 1, *SHAPE[1:])


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.safetensors"
    modelfile.save(path, network_for(), card_for())
    return path


def refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(ModelFileError, match=match) as caught:
        modelfile.load(path)
    assert str(caught.value)[-1] in ".)"


def header(path: Path) -> dict[str, str]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    metadata: dict[str, str] = json.loads(raw[8 : 8 + length])["__metadata__"]
    return metadata


def rewritten(
    path: Path,
    weights: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    card: Callable[[str], str] = str,
    signed: bool = True,
) -> Path:
    """The file with changed contents and, unless not ``signed``, with the checksum that belongs to them."""
    state, metadata = weights(load_file(path)), header(path)
    metadata["card"] = card(metadata["card"])
    if signed:
        metadata["sha256"] = modelfile.checksum(state, metadata["card"])
    save_file(state, path, metadata=metadata)
    return path


@pytest.mark.parametrize("architecture", sorted(networks.ARCHITECTURES))
def test_a_saved_model_comes_back_with_the_same_card_and_exactly_the_same_logits(
    tmp_path: Path, architecture: str
) -> None:
    network, card = network_for(architecture), card_for(architecture)
    path = tmp_path / "new folder" / "model.safetensors"
    modelfile.save(path, network, card)
    loaded = modelfile.load(path)
    x = input_for(architecture)
    assert loaded.card == card
    assert modelheader.read_card(path) == card
    assert not loaded.network.training
    assert torch.equal(loaded.network(x).logit, network(x).logit)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]


def test_the_rewriting_that_these_tests_use_leaves_a_sound_file_sound(sound: Path) -> None:
    modelfile.load(rewritten(sound))


def test_a_model_that_fails_to_save_leaves_the_earlier_file_as_it_was(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(file: int) -> None:
        os.ftruncate(file, 100)
        raise OSError("No space left on device")

    before = sound.read_bytes()
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        modelfile.save(sound, network_for(), card_for())
    assert sound.read_bytes() == before
    assert list(sound.parent.iterdir()) == [sound]


def test_reading_the_card_does_not_touch_the_weights(sound: Path) -> None:
    raw = bytearray(sound.read_bytes())
    raw[-1000:] = b"\xff" * 1000
    sound.write_bytes(raw)
    assert modelheader.read_card(sound) == card_for()
    refused(sound, "damaged")


def test_any_single_flipped_bit_is_noticed(sound: Path) -> None:
    rng = np.random.default_rng(8)
    raw = sound.read_bytes()
    header_end = 8 + int.from_bytes(raw[:8], "little")
    places = [*range(8), *rng.integers(8, header_end, 150), *rng.integers(header_end, len(raw), 50)]
    for place in places:
        damaged = bytearray(raw)
        damaged[place] ^= 1 << rng.integers(8)
        sound.write_bytes(damaged)
        refused(sound)


def test_a_truncated_file_is_refused_wherever_it_ends(sound: Path) -> None:
    raw = sound.read_bytes()
    for length in (0, 1, 7, 8, 9, 500, len(raw) // 2, len(raw) - 1):
        sound.write_bytes(raw[:length])
        refused(sound, "not a readable safetensors file")


def test_a_missing_path_and_a_folder_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "There is no model file")
    refused(tmp_path, "There is no model file")
    with pytest.raises(ModelFileError, match="There is no model file"):
        modelheader.read_card(tmp_path / "none.safetensors")


def test_a_pickled_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save(network_for().state_dict(), tmp_path / "model.pt")
    refused(tmp_path / "model.pt", "not a readable safetensors file")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": modelheader.FORMAT}, {"card": "{}"}])
def test_safetensors_without_our_card_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors", metadata=metadata)
    refused(tmp_path / "foreign.safetensors", "no EmphysemaScanner model card")


@pytest.mark.parametrize(
    "text",
    ["not JSON", "[]", "null", '"text"', "{}", "[" * 100_000, '{"preprocessing": []}'],
    ids=["words", "list", "null", "string", "empty", "deeply nested", "other fields"],
)
def test_a_card_that_is_not_a_card_is_refused(sound: Path, text: str) -> None:
    refused(rewritten(sound, card=lambda _: text), "card cannot be understood")
    with pytest.raises(ModelFileError, match="card cannot be understood"):
        modelheader.read_card(sound)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", "2"),
        ("width", True),
        ("width", 2.0),
        ("name", None),
        ("demonstration", "yes"),
        ("limits", ["a"]),
        ("metrics", [{"name": "AUC"}]),
        ("metrics", [{"name": "AUC", "value": "high", "low": 0, "high": 1, "data": ""}]),
        ("metrics", 3),
        ("citations", [1]),
        ("citations", "Braman 2018"),
        ("training_log", "Trained once."),
        ("training_log", [1]),
        ("operating_point", {"probability": "0.5", "source": ""}),
        ("operating_point", {"probability": 1.5, "source": ""}),
        ("operating_point", {"probability": float("nan"), "source": ""}),
        ("operating_point", 0.5),
        ("preprocessing", {"shape": [17, 16]}),
        ("preprocessing", {"shape": [17.0, 16, 16]}),
        ("preprocessing", {"shape": ["17", "16", "16"]}),
        ("preprocessing", {"shape": [17, 16, 16], "window_low_hu": "low"}),
        ("preprocessing", {"shape": [17, 16, 16], "window_low_hu": 0, "window_high_hu": -100}),
        ("favourite_colour", "blue"),
    ],
)
def test_a_card_with_a_field_of_the_wrong_kind_is_refused(sound: Path, field: str, value: Any) -> None:
    def changed(text: str) -> str:
        return json.dumps({**json.loads(text), field: value})

    refused(rewritten(sound, card=changed), "card cannot be understood")


def test_a_card_of_an_earlier_version_has_no_training_log(sound: Path) -> None:
    def earlier(text: str) -> str:
        card = json.loads(text)
        del card["training_log"]
        return json.dumps(card)

    assert modelfile.load(rewritten(sound, card=earlier)).card == dataclasses.replace(card_for(), training_log=())


def test_a_card_without_a_field_is_refused(sound: Path) -> None:
    for name in (
        field.name
        for field in dataclasses.fields(ModelCard)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ):
        raw = json.loads(card_for().to_json())
        del raw[name]
        with pytest.raises(ModelFileError, match=name):
            ModelCard.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("architecture", "mil_max", "not those of a mil_max"),
        ("architecture", "resnet", "not a known architecture"),
        ("width", 3, "wrong shape or type"),
        ("width", 0, "cannot be built"),
        ("width", 10**7, "wrong shape or type"),
        ("width", 10**15, "cannot be built"),
        ("preprocessing", {"shape": [17, 32, 32]}, "wrong shape or type"),
        ("preprocessing", {"shape": [17, 20, 20]}, "cannot be built"),
        ("preprocessing", {"shape": [17, 16, 32]}, "only square"),
    ],
)
def test_a_card_that_does_not_fit_the_weights_is_refused(sound: Path, field: str, value: Any, sentence: str) -> None:
    def changed(text: str) -> str:
        return json.dumps({**json.loads(text), field: value})

    refused(rewritten(sound, card=changed), sentence)


def test_a_card_that_was_edited_afterwards_is_refused(sound: Path) -> None:
    refused(rewritten(sound, card=lambda text: text.replace("0.25", "0.75"), signed=False), "checksum differs")


def test_weights_that_were_changed_afterwards_are_refused(sound: Path) -> None:
    def changed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**state, "dense.bias": state["dense.bias"] + 1e-6}

    refused(rewritten(sound, weights=changed, signed=False), "checksum differs")


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        ("dense.bias", torch.tensor([torch.nan]), "not finite"),
        ("dense.bias", torch.tensor([torch.inf]), "not finite"),
        ("dense.bias", torch.zeros(2), "wrong shape or type"),
        ("dense.bias", torch.zeros(1, dtype=torch.int64), "wrong shape or type"),
        ("dense.bias", torch.zeros(1, dtype=torch.float8_e4m3fn), "wrong shape or type"),
        ("extra.bias", torch.zeros(1), "not those of a conv_lstm"),
    ],
)
def test_weights_that_the_network_cannot_have_are_refused(
    sound: Path, name: str, tensor: Tensor, sentence: str
) -> None:
    refused(rewritten(sound, weights=lambda state: {**state, name: tensor}), sentence)


def test_a_missing_weight_is_refused(sound: Path) -> None:
    def without_bias(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in state.items() if name != "dense.bias"}

    refused(rewritten(sound, weights=without_bias), "not those of a conv_lstm")


def test_weights_in_half_precision_are_read_into_a_single_precision_network(sound: Path) -> None:
    rewritten(sound, weights=lambda state: {name: tensor.bfloat16() for name, tensor in state.items()})
    loaded = modelfile.load(sound).network
    x = torch.rand(1, SHAPE[0], 1, *SHAPE[1:])
    assert loaded.dense.weight.dtype is torch.float32
    torch.testing.assert_close(loaded(x).logit, network_for()(x).logit, atol=0.05, rtol=0.05)
