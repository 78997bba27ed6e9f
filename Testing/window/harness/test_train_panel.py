"""The panel Train: a training in a process of its own, watched."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

from window.harness.driver import Driver, wait_until


def test_a_training_without_its_paths_asks_for_them(window: Driver, tmp_path: Path) -> None:
    window.ui.manifestPathLineEdit.currentPath = ""
    window.press("trainButton")
    assert "manifest" in window.ui.trainStatusLabel.text
    (tmp_path / "cases.csv").write_text("volume,label,patient,split\n")
    window.ui.manifestPathLineEdit.currentPath = str(tmp_path / "cases.csv")
    window.ui.trainFolderPathLineEdit.currentPath = ""
    window.press("trainButton")
    assert "folder" in window.ui.trainStatusLabel.text


def train(window: Driver, folder: Path, script: str) -> list[tuple[object, ...]]:
    """Press Train; instead of a training a short script runs, which is told the output folder.

    Returns:
        What the logic was asked for.
    """
    asked = []

    def start(manifest: Path, out: Path, epochs: int, model: Path | None, architecture: str) -> object:
        asked.append((manifest, out, epochs, model, architecture))
        out.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", script, str(out)]
        return window.module("jobs.process").BackgroundProcess(command, log=out / "training.log")

    (folder / "cases.csv").write_text("volume,label,patient,split\n")
    window.ui.manifestPathLineEdit.currentPath = str(folder / "cases.csv")
    window.ui.trainFolderPathLineEdit.currentPath = str(folder / "run")
    window.panel.window.training._timer.interval = 10
    with mock.patch.object(window.panel.logic, "startTraining", start):
        window.press("trainButton")
    return asked


WRITES_A_MODEL = """
import shutil, sys, time
from pathlib import Path
out = Path(sys.argv[1])
for epoch in (1, 2, 3):
    with (out / "metrics.csv").open("a") as file:
        if epoch == 1:
            print("epoch,train_loss,val_loss,val_auc", file=file)
        print(epoch, 0.7 - epoch / 10, 0.7, 0.5 + epoch / 10, sep=",", file=file)
    print("epoch", epoch, flush=True)
while not (out / "go-on").exists():
    time.sleep(0.05)
shutil.copyfile({model!r}, out / "model.safetensors")
"""


def test_a_training_shows_its_curves_and_its_model_is_in_the_list(window: Driver, tmp_path: Path) -> None:
    window.ui.modelFolderPathLineEdit.currentPath = str(tmp_path / "models")
    window.ui.epochsSpinBox.value = 3
    before = window.ui.modelComboBox.count
    asked = train(window, tmp_path, WRITES_A_MODEL.format(model=str(window.model)))
    assert asked == [(tmp_path / "cases.csv", tmp_path / "run", 3, None, "conv_lstm")]
    assert window.ui.trainButton.text == "Cancel"
    wait_until(lambda: window.shown("trainCurvesLabel"), "a curve")
    (tmp_path / "run" / "go-on").touch()
    wait_until(lambda: window.ui.trainButton.text == "Train", "the end of the training")
    assert "Finished" in window.ui.trainStatusLabel.text
    assert "epoch 3" in window.ui.trainLog.toPlainText()
    assert (tmp_path / "models/run.safetensors").is_file()
    assert window.ui.modelComboBox.count == before + 1


def test_the_chosen_model_can_be_trained_further(window: Driver, tmp_path: Path) -> None:
    window.parameters.modelPath = window.model
    window.ui.startComboBox.currentIndex = 1
    asked = train(window, tmp_path, "print('done')")
    assert asked[0][3:] == (window.model, "")
    wait_until(lambda: window.ui.trainButton.text == "Train", "the end of the training")
    assert "without a model" in window.ui.trainStatusLabel.text


def test_a_training_that_fails_says_why_and_can_be_tried_again(window: Driver, tmp_path: Path) -> None:
    train(window, tmp_path, "import sys; print('no CT at nowhere.nrrd'); sys.exit(2)")
    wait_until(lambda: window.ui.trainButton.text == "Train", "the end of the training")
    assert "no CT at nowhere.nrrd" in window.ui.trainStatusLabel.text
    assert window.ui.trainButton.enabled


def test_a_training_is_cancelled_by_its_button(window: Driver, tmp_path: Path) -> None:
    train(window, tmp_path, "import time; time.sleep(600)")
    assert window.panel.window.training.running
    window.press("trainButton")
    wait_until(lambda: not window.panel.window.training.running, "the end of the training")
    assert (window.ui.trainButton.text, window.ui.trainButton.enabled) == ("Train", True)


def test_closing_the_module_ends_the_training(window: Driver, tmp_path: Path) -> None:
    train(window, tmp_path, "import time; time.sleep(600)")
    process = window.panel.window.training._process
    window.panel.cleanup()
    wait_until(lambda: process.poll() is not None, "the end of the process")
    assert not window.panel.window.training.running
    window.panel.window.work.closed = True
