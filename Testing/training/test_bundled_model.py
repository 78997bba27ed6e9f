"""The stage of the bundled model's making in which units 2 to 4 learn together, on a small network and a phantom."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import smallnetwork
import torch
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMNetwork
from EmphysemaScannerLib.training.aids import enlarge
from phantom import SPACING_MM, phantom

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "bundled_model"
STEPS = 3


class Stopped(Exception):
    """What ends a training from outside."""


@pytest.fixture
def together() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        module = importlib.import_module("together")
        patch.setattr(module, "WARM", 1)
        patch.setattr(module, "_TOLD_EVERY", 1)
        patch.setattr(module, "_KEPT_EVERY_S", 0.0)
        yield module


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    """Twins; the diseased one has a hole in its right lung."""
    hu, labels = phantom()
    lesions = np.zeros(labels.shape, np.uint8)
    lesions[20:50][labels[20:50] == 1] = 1
    ill = np.where(lesions > 0, -990, hu).astype(np.int16)
    path = tmp_path / "chest.npz"
    arrays = {"hu0": hu, "labels0": labels, "lesions0": 0 * lesions, "hu1": ill, "labels1": labels, "lesions1": lesions}
    np.savez(path, count=2, spacing=SPACING_MM, **arrays)
    return path


def taught(
    together: ModuleType, chest: Path, folder: Path, steps: int = STEPS, stop_at: int | None = None
) -> ConvLSTMNetwork:
    network = enlarge(smallnetwork.network_of(), 64)
    evidence = importlib.import_module("unit4").Evidence(network.units[3].recurrence.filters)

    def say(what: str) -> None:
        if stop_at is not None and what.startswith(f"{stop_at} of "):
            raise Stopped

    together.learn(network, evidence, [chest], [chest], folder, steps, say=say)
    return network


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    together: ModuleType, chest: Path, tmp_path: Path
) -> None:
    whole = taught(together, chest, tmp_path / "whole").state_dict()
    with pytest.raises(Stopped):
        taught(together, chest, tmp_path / "stopped", stop_at=3)
    assert torch.load(tmp_path / "stopped" / "last.pt", weights_only=True)["done"] == 2
    resumed = taught(together, chest, tmp_path / "stopped").state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)

    before = enlarge(smallnetwork.network_of(), 64).state_dict()
    changed = {name.split(".")[1] for name in whole if not torch.equal(whole[name], before[name]) and "units" in name}
    assert changed == {"1", "2", "3"}  # all but the first


def test_a_training_of_another_length_is_not_continued(together: ModuleType, chest: Path, tmp_path: Path) -> None:
    taught(together, chest, tmp_path / "t", steps=1)
    with pytest.raises(SystemExit, match="of a training of 1 steps with seed 1, not of 2 steps"):
        taught(together, chest, tmp_path / "t", steps=2)


def test_units_2_and_3_wait_until_the_heads_have_learned(together: ModuleType) -> None:
    network = enlarge(smallnetwork.network_of(), 64)
    pupil = together.Pupil(network, importlib.import_module("unit4").Evidence(network.units[3].recurrence.filters))
    optimiser = together.optimiser_of(pupil)
    rates = []
    for step in range(3):
        together.set_rates(optimiser, step, 1000)
        rates.append([group["lr"] for group in optimiser.param_groups])
    early, late, heads, _ = zip(*rates, strict=True)
    assert early == pytest.approx([1e-6, 1e-6, 3e-4], rel=1e-2)
    assert late == pytest.approx([1e-3] * 3, rel=1e-2)
    assert heads == pytest.approx([3e-3] * 3, rel=1e-2)
