"""OpenVINO reads a Conv-LSTM as torch does: every state, the answer, the overlays; it can be stopped at every slice."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.core import modelfile, openvinoengine
from EmphysemaScannerLib.core.conv_lstm import ConvLSTMNetwork
from EmphysemaScannerLib.core.errors import MissingPackageError, ModelFileError
from EmphysemaScannerLib.core.modelfile import Model
from EmphysemaScannerLib.core.networks import build
from EmphysemaScannerLib.core.openvinoengine import OpenVINONetwork, on_openvino
from EmphysemaScannerLib.core.scan import scan
from EmphysemaScannerLib.core.shippedmodel import default_model_path
from smallnetwork import network_of, volumes

# importing it here would load its telemetry
pytestmark = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture
def network() -> ConvLSTMNetwork:
    return network_of()


@pytest.mark.parametrize(("batch", "slices"), [(1, 1), (1, 7), (3, 7)])
def test_every_hidden_state_and_the_logit_are_those_of_torch(network: ConvLSTMNetwork, batch: int, slices: int) -> None:
    x = volumes(batch, slices)
    with torch.inference_mode():
        theirs, ours = network(x), OpenVINONetwork(network)(x)
    torch.testing.assert_close(ours.logit, theirs.logit, atol=1e-5, rtol=0)
    for mine, its in zip(ours.hidden, theirs.hidden, strict=True):
        torch.testing.assert_close(mine, its, atol=2e-6, rtol=0)


def test_sixteen_bits_are_calculated_with_only_when_they_are_asked_for(network: ConvLSTMNetwork) -> None:
    x, reader = volumes(1, 9), OpenVINONetwork(network)
    with torch.inference_mode():
        exact = reader(x).logit
        with torch.autocast("cpu", torch.bfloat16):
            hidden = reader.read(x)
        torch.testing.assert_close(reader.answer(hidden[-1]), exact, atol=0.03, rtol=0)
        assert torch.equal(reader(x).logit, exact)


def test_whoever_watches_hears_of_every_slice_and_can_end_the_reading(network: ConvLSTMNetwork) -> None:
    x, reader, calls = volumes(1, 9), OpenVINONetwork(network), []

    def end() -> None:
        calls.append(1)
        if len(calls) == 4 * 9 + 20:
            raise KeyboardInterrupt

    with torch.inference_mode():
        before = reader(x, end).logit
        assert len(calls) == 4 * 9
        with pytest.raises(KeyboardInterrupt):
            reader(x, end)
        assert torch.equal(reader(x).logit, before)


def test_an_earlier_reading_keeps_its_states(network: ConvLSTMNetwork) -> None:
    reader = OpenVINONetwork(network)
    with torch.inference_mode():
        first = reader.read(volumes(1, 5))
        copies = [states.clone() for states in first]
        reader.read(volumes(1, 5) * 0.5)
    assert all(torch.equal(states, copy) for states, copy in zip(first, copies, strict=True))


def test_gradients_are_those_of_torch(network: ConvLSTMNetwork) -> None:
    gradients = []
    for reader in (network, OpenVINONetwork(network)):
        x = volumes(1, 5).requires_grad_()
        reader(x).logit.sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


def test_weights_that_were_learned_further_are_read_with(network: ConvLSTMNetwork) -> None:
    x, reader = volumes(1, 5), OpenVINONetwork(network)
    with torch.inference_mode():
        reader(x)
    reader.train()
    with torch.no_grad():
        for unit in (*reader.reading_units, *network.reading_units):
            unit.recurrence.input_conv.weight.mul_(1.2)
    reader.eval()
    with torch.inference_mode():
        torch.testing.assert_close(reader(x).logit, network(x).logit, atol=1e-5, rtol=0)


def test_a_scan_gives_the_same_result_with_every_overlay(chest: sitk.Image) -> None:
    model = modelfile.load(default_model_path())
    torchs, ours = scan(chest, model), scan(chest, on_openvino(model))
    assert abs(ours.logit - torchs.logit) <= 1e-4
    assert ours.positive == torchs.positive
    assert np.allclose(ours.slice_evidence, torchs.slice_evidence, atol=1e-4)
    assert np.isclose(ours.bias + ours.slice_evidence.sum(), ours.logit, atol=1e-4)
    assert np.allclose(ours.evidence.values, torchs.evidence.values, atol=1e-4)
    assert ours.activations.keys() == torchs.activations.keys()
    for name, overlay in ours.activations.items():
        assert np.allclose(overlay.values, torchs.activations[name].values, atol=1e-5)
        assert overlay.grid == torchs.activations[name].grid


def test_another_architecture_is_refused_in_a_sentence() -> None:
    card = modelfile.load(default_model_path()).card
    with pytest.raises(ModelFileError, match="choose the engine torch"):
        on_openvino(Model(build("mil_max", 4, 32, 5), card))


def test_where_it_is_not_installed_one_sentence_says_how_to_install_it(
    network: ConvLSTMNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvinoengine._openvino.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackageError, match="pip install openvino"):
        on_openvino(Model(network, modelfile.load(default_model_path()).card))
    assert "openvino_telemetry" not in sys.modules


def test_no_telemetry_is_loaded_which_would_report_to_a_server_by_being_imported() -> None:
    code = (
        "import sys; from EmphysemaScannerLib.core.openvinoengine import _openvino; _openvino();"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')], 'openvino' in sys.modules)"
    )
    library = Path(openvinoengine.__file__).resolve().parents[2]
    said = subprocess.run([sys.executable, "-c", code], cwd=library, check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[] True"


def test_signals_are_survived_when_another_thread_lets_go_of_the_models() -> None:
    code = """if True:
        import gc, os, signal, threading, torch
        from EmphysemaScannerLib.core.conv_lstm import ConvLSTMNetwork
        from EmphysemaScannerLib.core.openvinoengine import OpenVINONetwork
        heard = []
        signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
        reader = [OpenVINONetwork(ConvLSTMNetwork(width=4, image_size=32))]
        with torch.inference_mode():
            reader[0](torch.rand(1, 3, 1, 32, 32))
        elsewhere = threading.Thread(target=lambda: (reader.clear(), gc.collect()))
        elsewhere.start()
        elsewhere.join()
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGUSR1)
        print(len(heard))
    """
    library = Path(openvinoengine.__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=library, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "20")
