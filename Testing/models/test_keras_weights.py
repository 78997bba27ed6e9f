"""Weights of Keras models, and the agreement of our network with Keras 3 at every unit (golden/README.md)."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig, ConvLSTMNetwork, ConvLSTMOutput
from EmphysemaScannerLib.models.keras_weights import load_keras_weights, read_keras_weights
from EmphysemaScannerLib.models.networks import FastConvLSTM

h5py = pytest.importorskip("h5py")

GOLDEN = Path(__file__).parent.parent / "golden"
H5 = GOLDEN / "keras_conv_lstm.weights.h5"
NPZ = GOLDEN / "keras_conv_lstm_flat_weights.npz"
TOLERANCE = 1e-5
KINDS = [ConvLSTMNetwork, FastConvLSTM]
GATES = ("input", "forget", "cell", "output")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "keras_conv_lstm_outputs.npz") as file:
        return dict(file)


def channels_first(keras: np.ndarray) -> torch.Tensor:
    """(B, T, H, W, C) -> (B, T, C, H, W)"""
    return torch.from_numpy(np.ascontiguousarray(keras.transpose(0, 1, 4, 2, 3)))


def network_with(weights: Path, kind: type[ConvLSTMNetwork] = FastConvLSTM) -> ConvLSTMNetwork:
    network = kind(ConvLSTMConfig(width=4, image_size=32)).eval()
    load_keras_weights(weights, network)
    return network


def answer(network: ConvLSTMNetwork, golden: dict[str, np.ndarray]) -> ConvLSTMOutput:
    with torch.no_grad():
        return network(channels_first(golden["input"]))


@pytest.mark.parametrize("weights", [H5, NPZ], ids=["h5", "npz"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_hidden_states_of_every_unit_and_slice_are_those_of_keras(
    weights: Path, kind: type[ConvLSTMNetwork], golden: dict[str, np.ndarray]
) -> None:
    for unit, states in enumerate(answer(network_with(weights, kind), golden).hidden, 1):
        torch.testing.assert_close(states, channels_first(golden[f"states_{unit}"]), atol=TOLERANCE, rtol=0)


def test_the_hidden_states_that_are_learned_from_are_those_of_keras(golden: dict[str, np.ndarray]) -> None:
    for unit, states in enumerate(network_with(H5)(channels_first(golden["input"])).hidden, 1):
        assert states.requires_grad
        expected = channels_first(golden[f"states_{unit}"])
        torch.testing.assert_close(states.detach(), expected, atol=TOLERANCE, rtol=0)


def test_the_normalised_output_of_every_unit_is_that_of_keras(golden: dict[str, np.ndarray]) -> None:
    network = network_with(H5)
    hidden = answer(network, golden).hidden
    for number, (unit, states) in enumerate(zip(network.units, hidden, strict=True), 1):
        expected = channels_first(golden[f"normalised_{number}"])
        torch.testing.assert_close(unit.normalised(states).detach(), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("weights", [H5, NPZ], ids=["h5", "npz"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_logit_and_the_probability_are_those_of_keras(
    weights: Path, kind: type[ConvLSTMNetwork], golden: dict[str, np.ndarray]
) -> None:
    logit = answer(network_with(weights, kind), golden).logit
    np.testing.assert_allclose(logit, golden["logit"][:, 0], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(logit.sigmoid(), golden["probability"][:, 0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("other", [1, 2, 3])
def test_the_golden_file_would_show_a_wrong_order_of_gates(other: int, golden: dict[str, np.ndarray]) -> None:
    network = network_with(H5)
    with torch.no_grad():
        for unit in network.units:
            for parameter in unit.recurrence.parameters():
                gates = list(parameter.chunk(len(GATES)))
                gates[0], gates[other] = gates[other], gates[0]
                parameter.copy_(torch.cat(gates))
    states = answer(network, golden).hidden[0]
    assert (states - channels_first(golden["states_1"])).abs().max() > 1000 * TOLERANCE


def test_the_golden_file_would_show_a_wrong_direction_of_reading(golden: dict[str, np.ndarray]) -> None:
    network = network_with(H5)
    upside_down = {"input": golden["input"][:, ::-1]}
    assert np.abs(answer(network, upside_down).logit.numpy() - golden["logit"][:, 0]).min() > 100 * TOLERANCE


def test_the_golden_file_would_show_the_dense_weights_in_another_order(golden: dict[str, np.ndarray]) -> None:
    network = network_with(H5)
    with torch.no_grad():  # as if (row, column, channel) were read as (channel, row, column)
        network.dense.weight.copy_(network.dense.weight.view(8, 4).T.reshape(1, -1))
    assert np.abs(answer(network, golden).logit.numpy() - golden["logit"][:, 0]).min() > 1000 * TOLERANCE


def test_both_kinds_of_file_give_every_weight_of_the_network() -> None:
    from_h5, from_npz = read_keras_weights(H5), read_keras_weights(NPZ)
    own = {name for name in FastConvLSTM(ConvLSTMConfig(4, 32)).state_dict() if "num_batches" not in name}
    assert set(from_h5) == set(from_npz) == own
    for name in own:
        assert torch.equal(from_h5[name], from_npz[name])


def rewritten(folder: Path, change: Callable[["h5py.File"], None]) -> Path:
    path = folder / "model.weights.h5"
    shutil.copy(H5, path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def unwrap_the_norms_on_the_states(file: "h5py.File") -> None:
    layers = file["layers"]
    layers.move("batch_normalization", "batch_normalization_3")
    for position, wrapped in enumerate((7, 15, 23)):
        target = f"batch_normalization_{position}" if position else "batch_normalization"
        layers.move(f"time_distributed_{wrapped}/layer", target)


def wrap_every_norm(file: "h5py.File") -> None:
    file["layers"].create_group("time_distributed_31")
    file["layers"].move("batch_normalization", "time_distributed_31/layer")


def use_slice_networks(file: "h5py.File") -> None:
    unwrap_the_norms_on_the_states(file)
    layers = file["layers"]
    for unit, first in enumerate((0, 8, 16, 24)):
        inside = layers.create_group(f"new/time_distributed_{unit}/layer/layers")
        for offset, name in enumerate(
            ("conv2d", "batch_normalization", "re_lu", "conv2d_1", "batch_normalization_1", "re_lu_1")
        ):
            number = first + offset
            source = f"time_distributed_{number}" if number else "time_distributed"
            layers.move(f"{source}/layer", f"{inside.name}/{name}")
    for name in [name for name in layers if name.startswith("time_distributed")]:
        del layers[name]
    for name in list(layers["new"]):
        layers.move(f"new/{name}", name)


def add_an_optimizer_and_a_random_seed(file: "h5py.File") -> None:
    file["optimizer/vars/0"] = np.int64(7)
    file["optimizer/vars/1"] = np.zeros((3, 3, 1, 4), np.float32)
    file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)


@pytest.mark.parametrize(
    "change",
    [unwrap_the_norms_on_the_states, wrap_every_norm, use_slice_networks, add_an_optimizer_and_a_random_seed],
    ids=lambda change: change.__name__,
)
def test_the_same_weights_are_read_however_the_keras_model_was_put_together(
    tmp_path: Path, change: Callable[["h5py.File"], None]
) -> None:
    expected, state = read_keras_weights(H5), read_keras_weights(rewritten(tmp_path, change))
    assert set(state) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


def delete_a_convolution(file: "h5py.File") -> None:
    del file["layers/time_distributed_3/layer/vars/0"]


def delete_a_bias(file: "h5py.File") -> None:
    del file["layers/time_distributed_3/layer/vars/1"]


def delete_a_recurrence(file: "h5py.File") -> None:
    del file["layers/conv_lstm2d_2"]


def unwrap_one_norm_in_the_middle(file: "h5py.File") -> None:
    file["layers"].move("time_distributed_7/layer", "batch_normalization_2")


def make_a_kernel_larger(file: "h5py.File") -> None:
    del file["layers/time_distributed/layer/vars/0"]
    file["layers/time_distributed/layer/vars/0"] = np.zeros((5, 5, 1, 4), np.float32)


def make_a_gate_missing(file: "h5py.File") -> None:
    kernel = file["layers/conv_lstm2d/cell/vars/0"][..., :12]
    del file["layers/conv_lstm2d/cell/vars/0"]
    file["layers/conv_lstm2d/cell/vars/0"] = kernel


def make_the_dense_layer_not_square(file: "h5py.File") -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = np.zeros((24, 1), np.float32)


def put_a_nan_in(file: "h5py.File") -> None:
    file["layers/dense/vars/1"][:] = np.nan


def store_integers(file: "h5py.File") -> None:
    del file["layers/dense/vars/1"]
    file["layers/dense/vars/1"] = np.zeros(1, np.int32)


def empty_the_file(file: "h5py.File") -> None:
    file.clear()


def link_to_another_file(file: "h5py.File") -> None:
    del file["layers/dense/vars/1"]
    file["layers/dense/vars/1"] = h5py.ExternalLink(str(H5), "layers/dense/vars/1")


@pytest.mark.parametrize(
    "change",
    [
        delete_a_convolution,
        delete_a_bias,
        delete_a_recurrence,
        unwrap_one_norm_in_the_middle,
        make_a_kernel_larger,
        make_a_gate_missing,
        make_the_dense_layer_not_square,
        put_a_nan_in,
        store_integers,
        empty_the_file,
        link_to_another_file,
    ],
    ids=lambda change: change.__name__,
)
def test_an_h5_file_that_is_not_the_published_network_is_refused(
    tmp_path: Path, change: Callable[["h5py.File"], None]
) -> None:
    with pytest.raises(ModelFileError, match=r"model\.weights\.h5"):
        read_keras_weights(rewritten(tmp_path, change))


def flat_weights() -> list[np.ndarray]:
    with np.load(NPZ) as file:
        return [file[f"arr_{i}"] for i in range(78)]


@pytest.mark.parametrize(
    "arrays",
    [
        flat_weights()[:-1],
        [*flat_weights(), np.zeros(1, np.float32)],
        flat_weights()[::-1],
        [np.full_like(array, np.inf) for array in flat_weights()],
        [array.astype(int) for array in flat_weights()],
        [np.zeros((3, 3, 1, 4, 1), np.float32), *flat_weights()[1:]],
        [],
    ],
    ids=["one missing", "one too many", "reversed", "infinite", "integers", "5D kernel", "empty"],
)
def test_an_npz_file_that_is_not_the_published_network_is_refused(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    np.savez(tmp_path / "model.npz", *arrays)
    with pytest.raises(ModelFileError, match=r"model\.npz"):
        read_keras_weights(tmp_path / "model.npz")


class MakesAFolderWhenUnpickled:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.path,)


def test_opening_an_npz_file_runs_no_code_that_is_hidden_in_it(tmp_path: Path) -> None:
    trap = np.array([MakesAFolderWhenUnpickled(tmp_path / "trap")], dtype=object)
    np.savez(tmp_path / "model.npz", trap, *flat_weights()[1:])
    with pytest.raises(ModelFileError, match=r"model\.npz cannot be read"):
        read_keras_weights(tmp_path / "model.npz")
    assert not (tmp_path / "trap").exists()


def test_named_arrays_are_refused_with_the_command_that_writes_the_right_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", **{f"w{i}": array for i, array in enumerate(flat_weights())})
    with pytest.raises(ModelFileError, match=r"numpy\.savez\('model\.npz', \*model\.get_weights\(\)\)"):
        read_keras_weights(tmp_path / "model.npz")


@pytest.mark.parametrize("source", [H5, NPZ], ids=["h5", "npz"])
@pytest.mark.parametrize("length", [0, 1, 100, 30_000])
def test_a_truncated_file_is_refused(tmp_path: Path, source: Path, length: int) -> None:
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[:length])
    with pytest.raises(ModelFileError):
        read_keras_weights(path)


@pytest.mark.parametrize("source", [H5, NPZ], ids=["h5", "npz"])
def test_random_damage_ends_in_our_error_or_in_finite_weights_but_never_in_another_error(
    tmp_path: Path, source: Path
) -> None:
    rng = np.random.default_rng(5)
    sound = source.read_bytes()
    path = tmp_path / source.name
    refused = 0
    for _ in range(60):
        damaged = bytearray(sound)
        for position in rng.integers(0, len(sound), 20):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            state = read_keras_weights(path)
        except ModelFileError:
            refused += 1
        else:
            assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert refused > 10


def test_a_missing_file_and_an_unknown_kind_of_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"There is no file at .*gone\.weights\.h5"):
        read_keras_weights(tmp_path / "gone.weights.h5")
    (tmp_path / "model.keras").write_bytes(b"PK")
    with pytest.raises(ModelFileError, match=r"model\.keras is neither"):
        read_keras_weights(tmp_path / "model.keras")


def test_without_h5py_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModelFileError, match="needs the package h5py; install it"):
        read_keras_weights(H5)


@pytest.mark.parametrize(("width", "image_size"), [(8, 32), (4, 64)])
def test_a_network_of_another_size_is_refused_and_stays_as_it_was(width: int, image_size: int) -> None:
    network = FastConvLSTM(ConvLSTMConfig(width, image_size))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ModelFileError, match="of another size"):
        load_keras_weights(H5, network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
