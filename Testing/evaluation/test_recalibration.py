"""A hospital's own temperature and operating point: they are found, their intervals hold, and the card says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import ManifestError, read_manifest
from EmphysemaScannerLib.commands.cli import main
from EmphysemaScannerLib.commands.recalibrate import recalibrate
from EmphysemaScannerLib.evaluation.evaluation import predict
from EmphysemaScannerLib.evaluation.recalibration import (
    RecalibrationError,
    recalibrated,
    recalibration,
)
from EmphysemaScannerLib.evaluation.statistics import Predictions
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.modelcard import Metric
from everymodel import model_of
from tinycohort import write_cohort

FEW = 100  # resamples; enough for a test


def cases(count: int, temperature: float, seed: int, volumes_each: int = 1) -> tuple[np.ndarray, Predictions]:
    """Logits whose sigmoid, after this temperature, is the probability of the label."""
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.normal(0, 2, count), volumes_each)
    labels = (rng.random(count) < 1 / (1 + np.exp(-true[::volumes_each]))).astype(np.int64).repeat(volumes_each)
    patients = tuple(f"p{k // volumes_each}" for k in range(count * volumes_each))
    return true * temperature, Predictions(labels, true, patients)


def test_the_temperature_is_found_and_nearly_all_intervals_hold_it() -> None:
    found = [recalibration(*cases(150, 3.0, seed), FEW) for seed in range(12)]
    assert np.mean([one.temperature.value for one in found]) == pytest.approx(3.0, rel=0.15)
    assert sum(one.temperature.low <= 3.0 <= one.temperature.high for one in found) >= 9
    assert all(one.temperature.low < one.temperature.value < one.temperature.high for one in found)


def test_the_operating_point_does_not_depend_on_the_scale_of_the_logits() -> None:
    logits, labelled = cases(120, 1.0, 3)
    once, tenfold = (recalibration(times * logits, labelled, FEW) for times in (1, 10))
    assert tenfold.temperature.value == pytest.approx(10 * once.temperature.value, rel=1e-3)
    assert tenfold.point.value == pytest.approx(once.point.value, abs=1e-3)
    assert tenfold.auc.value == once.auc.value


def test_sensitivity_and_specificity_are_those_of_patients_who_did_not_choose_the_point() -> None:
    """Where labels are chance, cases that chose the point seem better than chance, and others do not."""
    rng = np.random.default_rng(0)
    gained = []
    for seed in range(6):
        logits, labels = np.random.default_rng(seed).normal(0, 1, 60), rng.permutation(np.arange(60) % 2)
        labelled = Predictions(labels, logits)
        try:
            found = recalibration(logits, labelled, FEW)
        except RecalibrationError:  # AUC below one half
            continue
        sensitivity, specificity = labelled.at(labelled.youden_threshold(), "")
        gained.append((sensitivity.value + specificity.value, found.sensitivity.value + found.specificity.value))
    seeming, honest = np.mean(gained, 0)
    assert seeming > 1.15
    assert honest < seeming - 0.1


def test_all_volumes_of_a_patient_are_drawn_together() -> None:
    single, repeated = (recalibration(*cases(40, 1.0, 5, each), FEW) for each in (1, 4))
    assert (repeated.volumes, repeated.patients) == (160, 40)
    assert repeated.temperature.low == pytest.approx(single.temperature.low, rel=1e-3)
    assert repeated.temperature.high == pytest.approx(single.temperature.high, rel=1e-3)


def test_too_few_patients_and_models_that_tell_nothing_apart_are_refused() -> None:
    logits, labels = np.linspace(-1, 1, 40), (np.arange(40) >= 20).astype(np.int64)
    with pytest.raises(RecalibrationError, match="9 patients with emphysema"):
        recalibration(logits[:29], Predictions(labels[:29], logits[:29]))
    with pytest.raises(RecalibrationError, match="1 patients without"):
        recalibration(logits, Predictions(labels, logits, tuple("a" if k < 20 else str(k) for k in range(40))))
    with pytest.raises(RecalibrationError, match="does not tell these cases apart"):
        recalibration(-logits, Predictions(labels, logits))


def test_the_card_says_what_was_done_and_keeps_no_figure_of_the_earlier_point() -> None:
    card = model_of("mil_mean").card
    card = dataclasses.replace(
        card, metrics=(Metric("AUC", 0.9, 0.8, 1.0, "test"), Metric("Sensitivity", 0.9, 0.8, 1.0, "test"))
    )
    found = recalibration(*cases(60, 2.0, 1), FEW)
    after = recalibrated(card, found, "clinic A, 2025")
    assert [(m.name, m.data) for m in after.metrics[:2]] == [("AUC", "test"), ("AUC", "clinic A, 2025")]
    assert "left out" in after.metrics[2].name
    assert len(after.metrics) == 4
    assert after.temperature == found.temperature.value
    assert after.operating_point.probability == found.point.value
    for text in ("60 volumes of 60 patients", "clinic A, 2025", "recalibrated"):
        assert text in after.operating_point.source
    assert "weights are unchanged" in after.training_log[-1]
    assert after.training_data == card.training_data
    assert after.name != card.name


@pytest.fixture
def hospital(tmp_path: Path) -> tuple[Path, Path]:
    """A model of LAA%-950, and 24 cases of 24 patients whose manifest says it; labels and LAA agree in most."""
    manifest = write_cohort(tmp_path / "cases", (4, 32, 32), train=20, tune=4)
    lines = manifest.read_text().splitlines()
    rng = np.random.default_rng(0)
    figures = [f"{4 + 6 * (k % 2) + rng.normal(0, 3):.2f},-930" for k in range(24)]
    text = [f"{lines[0]},laa_950_percent,perc15_hu", *(f"{a},{b}" for a, b in zip(lines[1:], figures, strict=True))]
    manifest.write_text("\n".join(text))
    model, path = model_of("laa950_logistic"), tmp_path / "model.safetensors"
    with torch.no_grad():
        model.network.weight.fill_(1.0)
        model.network.bias.fill_(-4.0)
    modelfile.save(path, model.network, dataclasses.replace(model.card, temperature=2.0))
    return path, manifest


def test_the_command_writes_a_new_model_file_with_the_same_weights(
    hospital: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, manifest = hospital
    out = tmp_path / "own.safetensors"
    with pytest.raises(SystemExit) as ended:
        main(["recalibrate", str(path), str(manifest), "--data", "clinic A", "--out", str(out)])
    assert ended.value.code == 0, capsys.readouterr().err
    before, after = modelfile.load(path), modelfile.load(out)
    for name, weight in before.network.state_dict().items():
        assert torch.equal(weight, after.network.state_dict()[name])
    said = capsys.readouterr().out
    assert f"Operating point: {after.card.operating_point.probability:.3g}" in said
    # the probabilities of the new file, and the point, are those that the cases asked for
    rows = read_manifest(manifest)
    answers = predict(after, rows, cache=VolumeCache())
    assert answers.youden_threshold() == pytest.approx(after.card.operating_point.probability, abs=1e-6)


def test_a_model_file_is_never_written_over(hospital: tuple[Path, Path], tmp_path: Path) -> None:
    path, manifest = hospital
    whole = path.read_bytes()
    for out, says in ((path, "already"), (tmp_path / "own.txt", "ends in .safetensors")):
        with pytest.raises(RecalibrationError, match=says):
            recalibrate(path, manifest, "clinic A", out)
    next(manifest.parent.glob("0.nrrd")).unlink()
    with pytest.raises(ManifestError, match="do not exist"):
        recalibrate(path, manifest, "clinic A", tmp_path / "own.safetensors")
    assert path.read_bytes() == whole
    assert not (tmp_path / "own.safetensors").exists()
