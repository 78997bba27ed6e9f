"""Watching a training: its folder says at any moment how far it is, and it can be stopped and gone on with."""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.training.runfolder import (
    COLUMNS,
    METRICS_FILE,
    TrainingCurves,
    add_epoch,
    curves_png,
    keep_epochs,
    read_training,
    write_plan,
)
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

LIBRARY = Path(cli.__file__).resolve().parents[2]
CURVES = TrainingCurves(10, 3, (0.7, 0.6, 0.5), (0.71, 0.66, 0.64), (0.5, 0.6, 0.75))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Four volumes on the network's grid, two of them with dark squares."""
    rng = np.random.default_rng(0)
    lines = ["volume,label,patient,split"]
    for k in range(4):
        hu = rng.normal(-800, 10, (35, 128, 128)).astype(np.int16)
        if k % 2:
            hu[:, 32:96, 32:96] = -1000
        sitk.WriteImage(sitk.GetImageFromArray(hu), str(tmp_path / f"{k}.nrrd"))
        lines.append(f"{k}.nrrd,{k % 2},patient{k},{'tune' if k > 1 else 'train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "manifest.csv"


def train(manifest: Path, out: Path, epochs: int = 3) -> int:
    arguments = ["train", str(manifest), "--out", str(out), "--epochs", str(epochs), "--width", "1"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--batch-size", "2", "--patience", "99"])
    return ended.value.code if isinstance(ended.value.code, int) else 0


def during_epoch(number: int, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something once, when the command prints that epoch's line."""
    command = importlib.import_module("EmphysemaScannerLib.commands.train")
    print_epoch = command._print_epoch

    def print_and_act(curves: TrainingCurves) -> None:
        print_epoch(curves)
        if curves.epoch == number:
            monkeypatch.setattr(command, "_print_epoch", print_epoch)
            act()

    monkeypatch.setattr(command, "_print_epoch", print_and_act)


def test_a_folder_without_a_run_has_empty_curves(tmp_path: Path) -> None:
    assert read_training(tmp_path) == TrainingCurves()
    assert read_training(tmp_path / "missing") == TrainingCurves()


def test_the_plan_is_known_before_the_first_epoch_is_done(tmp_path: Path) -> None:
    write_plan(tmp_path, {"epochs": 50})
    keep_epochs(tmp_path, 0)
    assert read_training(tmp_path) == TrainingCurves(epochs=50)


def test_every_moment_of_a_run_that_is_being_written_can_be_read(tmp_path: Path) -> None:
    write_plan(tmp_path, {"epochs": 2})
    keep_epochs(tmp_path, 0)
    add_epoch(tmp_path, 1, 0.7, 0.69, 0.5)
    add_epoch(tmp_path, 2, 0.6, 0.65, 0.75)
    whole = (tmp_path / METRICS_FILE).read_bytes()
    seen = []
    for size in range(len(whole) + 1):
        (tmp_path / METRICS_FILE).write_bytes(whole[:size])
        seen.append(read_training(tmp_path))
    assert [curves.epoch for curves in seen] == sorted(curves.epoch for curves in seen)
    assert {curves.train_loss for curves in seen} == {(), (0.7,), (0.7, 0.6)}
    assert seen[-1] == TrainingCurves(2, 2, (0.7, 0.6), (0.69, 0.65), (0.5, 0.75))


@pytest.mark.parametrize("text", ["", "a thesis", "step,loss\n1,2\n", ",".join(COLUMNS) + "\n1,x,y,z\n", "\0\n"])
def test_other_files_of_that_name_are_no_curves(tmp_path: Path, text: str) -> None:
    (tmp_path / METRICS_FILE).write_text(text)
    (tmp_path / "plan.json").write_text(text)
    assert read_training(tmp_path) == TrainingCurves()


def test_an_epoch_whose_line_was_lost_leaves_a_gap_and_not_an_end(tmp_path: Path) -> None:
    keep_epochs(tmp_path, 0)
    add_epoch(tmp_path, 1, 0.7, 0.69, 0.5)
    keep_epochs(tmp_path, 2)
    add_epoch(tmp_path, 3, 0.6, 0.65, 0.75)
    curves = read_training(tmp_path)
    assert curves.epoch == 3
    assert [math.isnan(loss) for loss in curves.train_loss] == [False, True, False]
    assert curves_png(curves, 300, 150, dark=False)


@pytest.mark.parametrize("curves", [TrainingCurves(), TrainingCurves(10), CURVES], ids=["nothing", "planned", "three"])
@pytest.mark.parametrize("dark", [False, True])
def test_the_picture_has_the_size_that_was_asked_for_and_can_be_read_on_its_background(
    curves: TrainingCurves, dark: bool
) -> None:
    picture = Image.open(io.BytesIO(curves_png(curves, 400, 190, dark)))
    assert picture.size == (400, 190)
    background = 40 if dark else 255
    shown = Image.new("RGBA", picture.size, (background, background, background, 255))
    shown.alpha_composite(picture.convert("RGBA"))
    rgb = np.asarray(shown).astype(int)[..., :3]
    assert (rgb == background).all(-1).mean() > 0.5
    colourless = rgb[np.ptp(rgb, axis=-1) < 20]
    assert np.abs(colourless - background).max() > 150  # its letters


def test_more_epochs_draw_more(tmp_path: Path) -> None:
    def coloured(curves: TrainingCurves) -> int:
        rgba = np.asarray(Image.open(io.BytesIO(curves_png(curves, 400, 190, dark=False))).convert("RGBA")).astype(int)
        return int((np.ptp(rgba[..., :3], axis=-1) > 60).sum())

    assert coloured(CURVES) > coloured(TrainingCurves(10)) + 50


def test_watching_needs_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys\n"
        "import EmphysemaScannerLib.training.runfolder\n"
        "heavy = {'torch', 'lightning', 'matplotlib', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_command_prints_a_line_an_epoch_and_ends_with_the_models_path(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(cohort, tmp_path / "run", epochs=2) == 0
    *epochs, last = capsys.readouterr().out.splitlines()
    pattern = r"Epoch (\d) of 2: training loss \d\.\d+, validation loss \d\.\d+, validation AUC \d\.\d+"
    assert [match[1] for line in epochs if (match := re.fullmatch(pattern, line))] == ["1", "2"]
    assert last.endswith("model.safetensors")
    assert read_training(tmp_path / "run").epoch == 2
    assert modelfile.load(tmp_path / "run" / "model.safetensors").card.architecture == "conv_lstm"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM between processes")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_training_with_one_sentence_and_the_same_command_goes_on(
    cohort: Path,
    tmp_path: Path,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    before = signal.getsignal(number)
    during_epoch(2, lambda: os.kill(os.getpid(), number), monkeypatch)
    assert train(cohort, out, epochs=4) == cli.FAILED
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1] == "The training was stopped; the same command goes on after its last whole epoch."
    assert signal.getsignal(number) is before
    stopped = read_training(out)
    assert (stopped.epochs, stopped.epoch) == (4, 2)
    assert not (out / "model.safetensors").exists()
    assert train(cohort, out, epochs=4) == 0
    said = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert said[:-1] == ["Epoch 3 of 4", "Epoch 4 of 4"]
    resumed = read_training(out)
    assert resumed.epoch == 4
    assert resumed.train_loss[:2] == stopped.train_loss
    assert modelfile.load(out / "model.safetensors")


def test_a_run_cannot_go_on_with_other_settings(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(cohort, tmp_path / "run", epochs=1) == 0
    capsys.readouterr()
    assert train(cohort, tmp_path / "run", epochs=5) == cli.FAILED
    error = capsys.readouterr().err
    assert "epochs 1 instead of 5" in error
    assert len(error.strip().splitlines()) == 1
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["epochs"] == 1


def test_a_cohort_smaller_than_a_step_is_refused(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", str(cohort), "--out", str(tmp_path / "run"), "--batch-size", "3"])
    assert "smaller batch size" in capsys.readouterr().err
