"""Training on two processes (gloo) gives what training on one gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from EmphysemaScannerLib.cohort.manifest import read_manifest
from EmphysemaScannerLib.models.baselines import MILNetwork, Pooling
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.device import Device
from EmphysemaScannerLib.training import training
from EmphysemaScannerLib.training.plan import Hardware, Plan
from EmphysemaScannerLib.training.runfolder import read_training
from tinycohort import write_cohort
from torch import nn

GRID = Preprocessing(shape=(4, 16, 16))
PLAN = Plan(epochs=3, batch_size=4, learning_rate=1e-2, patience=99)
LIBRARY = Path(training.__file__).resolve().parents[2]


def without_batch_norm() -> MILNetwork:
    """A network in which volumes of a step don't see each other: torch has no batch norm across CPU processes."""
    torch.manual_seed(0)
    network = MILNetwork(Pooling.MEAN, width=2, image_size=16)
    for layers in network.units:
        for name, layer in layers.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                setattr(layers, name, nn.GroupNorm(1, layer.num_features))
    return network


def run(manifest: Path, out: Path, devices: int) -> training.Outcome:
    rows, hardware = read_manifest(manifest), Hardware(Device.CPU, devices)
    network = without_batch_norm()
    outcome = training.train(training.Untrained(network, "mil_mean", GRID), rows, PLAN, out, hardware=hardware)
    if outcome.main:
        torch.save(network.state_dict(), out.with_suffix(".pt"))
    return outcome


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch knows one process only")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_two_processes_learn_what_one_learns_and_judge_the_whole_tuning_split(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "cohort", GRID.shape, train=12, tune=5, step_hu=-20, side=8)  # 5: not even
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = run(manifest, tmp_path / "one", 1)
    torch.set_num_threads(before)
    path = os.pathsep.join((str(LIBRARY), str(Path(__file__).parents[1])))
    ran = subprocess.run(
        [sys.executable, __file__, str(manifest), str(tmp_path / "two"), "2"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.split()) == ["False", "True"]  # one of the two writes
    one, two = (read_training(tmp_path / name) for name in ("one", "two"))
    assert one.epoch == two.epoch == PLAN.epochs
    assert two.train_loss == pytest.approx(one.train_loss, rel=1e-4)
    assert two.val_loss == pytest.approx(one.val_loss, rel=1e-4)
    assert two.val_auc == one.val_auc
    assert alone.best_auc == max(one.val_auc)
    weights = [torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two")]
    assert all(torch.allclose(value, weights[1][name], atol=1e-4) for name, value in weights[0].items())


if __name__ == "__main__":
    print(run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])).main, flush=True)
