"""A training that is killed (SIGKILL) at random moments ends with the weights of one that was not.

Three times here, 200 times with ``make soak``; for another number:
``EMPHYSEMA_SCANNER_KILLS=20 pytest Testing/training/test_kill.py -s``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.training.runfolder import read_training
from tinycohort import TINY, write_cohort

KILLS = int(os.environ.get("EMPHYSEMA_SCANNER_KILLS", "3"))
EPOCHS = 24
LIBRARY = Path(cli.__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="only systems with fork can start a process this fast")


def command(manifest: str, out: Path) -> list[str]:
    """The same command each time."""
    options = {"--width": 2, "--epochs": EPOCHS, "--learning-rate": 1e-3, "--patience": 99, "--device": "cpu"}
    return ["train", manifest, "--out", str(out), *TINY, *(str(part) for pair in options.items() for part in pair)]


def started(manifest: str, out: Path) -> int:
    """The command in a process of its own, which has loaded its libraries already; its number."""
    process = os.fork()
    if process:
        return process
    torch.set_num_threads(1)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        cli.main(command(manifest, out))
        os._exit(0)


def ended(process: int) -> bool:
    """Wait for its end; whether it was its own."""
    status = os.waitpid(process, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def timed(manifest: str, out: Path) -> tuple[float, float]:
    """Let a run end undisturbed: seconds until its first epoch begins, and of an epoch."""
    begun, process, seen = time.monotonic(), started(manifest, out), []
    while len(seen) < EPOCHS:
        time.sleep(0.002)
        seen += [time.monotonic() - begun] * (read_training(out).epoch - len(seen))
    assert ended(process)
    epoch_s = (seen[-1] - seen[0]) / (EPOCHS - 1)
    return seen[0] - epoch_s, epoch_s


def whole_epochs(out: Path) -> int:
    """What would be gone on with, and that all of it is there."""
    if not (out / "last.ckpt").exists():
        return 0
    kept = next(v for k, v in torch.load(out / "last.ckpt", weights_only=True)["callbacks"].items() if "Keeper" in k)
    torch.load(out / f"best-{kept['best_epoch']}.pt", weights_only=True)
    return int(kept["epochs"])


def kill_often(manifest: str, folder: Path, kills: int, seed: int) -> dict[str, object]:
    """Kill runs of the command until that happened ``kills`` times; every run is then completed and compared."""
    start_s, epoch_s = timed(manifest, folder / "undisturbed" / "run")
    draw = random.Random(seed)
    moments: list[int] = []
    runs = 0
    while len(moments) < kills:
        runs += 1
        out, done = folder / f"killed-{runs}" / "run", False
        before = 0
        while not done and before < EPOCHS and len(moments) < kills:
            process = started(manifest, out)
            time.sleep(draw.uniform(0.7 * start_s, start_s + 5 * epoch_s))
            os.kill(process, signal.SIGKILL)
            done = ended(process)
            after = whole_epochs(out)
            assert after >= before
            told = read_training(out).epoch
            assert told - after in (0, 1)  # a line may be there whose epoch isn't kept: it is trained again
            before = after
            if not done:
                moments.append(after)
        if not done:
            assert ended(started(manifest, out))
        compare(folder / "undisturbed" / "run", out)
    return {"kills": len(moments), "runs": runs, "after whole epochs": moments, "epoch_s": round(epoch_s, 3)}


def compare(expected: Path, found: Path) -> None:
    models = [modelfile.load(folder / "model.safetensors") for folder in (expected, found)]
    states = [model.network.state_dict() for model in models]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert models[0].card.operating_point == models[1].card.operating_point
    assert models[0].card.temperature == models[1].card.temperature
    assert models[0].card.training_log == models[1].card.training_log
    assert read_training(expected) == read_training(found)
    names = [{path.name for path in folder.iterdir()} for folder in (expected, found)]
    assert names[0] == names[1], names


@pytest.mark.parametrize("kills", [KILLS, pytest.param(200, marks=pytest.mark.soak)])
def test_a_training_that_is_killed_at_any_moment_goes_on_to_the_same_weights(kills: int, tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "cohort", (4, 32, 32), train=8, tune=4)
    ran = subprocess.run(
        [sys.executable, __file__, str(manifest), str(tmp_path / "runs"), str(kills)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(LIBRARY), str(Path(__file__).parents[1])))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    print(told)
    assert told["kills"] == kills


if __name__ == "__main__":
    # A process that has loaded the libraries and used no threads, from which the runs branch off.
    import EmphysemaScannerLib.training.trainmodel  # noqa: F401

    torch.set_num_threads(1)
    print(json.dumps(kill_often(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), seed=int(sys.argv[3]))))
