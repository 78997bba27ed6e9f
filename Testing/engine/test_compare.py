"""Comparing models: DeLong's test follows the paper's equations, and the tables say what was measured."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.core import modelfile, networks
from EmphysemaScannerLib.core.errors import EmphysemaScannerError
from EmphysemaScannerLib.core.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.engine import cli
from EmphysemaScannerLib.engine.compare import Comparison, compare, p_value, paired_delong
from EmphysemaScannerLib.engine.evaluation import Predictions
from EmphysemaScannerLib.engine.outputfolder import FILE_LIST
from scipy.stats import chi2, norm

# Albumin, total protein, K-G score and outcome of the patients with ovarian cancer of DeLong et al. 1988, as printed in
# the SAS/STAT user's guide, "Comparing Receiver Operating Characteristic Curves" (the K-G score counts as 10 - score).
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


@pytest.fixture(scope="module")
def tests() -> dict[str, Predictions]:
    albumin, protein, score, outcome = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    return {
        name: Predictions(outcome.astype(int), values)
        for name, values in (("albumin", albumin), ("protein", protein), ("score", 10 - score))
    }


@pytest.mark.parametrize("pair", [("albumin", "score"), ("protein", "score"), ("albumin", "protein")])
def test_delongs_paired_test_follows_its_definition_pair_by_pair(
    tests: dict[str, Predictions], pair: tuple[str, str]
) -> None:
    """The paper's equations: every sick patient against every well one, covariance matrices, a contrast of (1, -1)."""
    scores, labels = [tests[name].scores for name in pair], tests[pair[0]].labels
    wins = []
    for values in scores:
        sick, well = values[labels == 1], values[labels == 0]
        wins.append([[1.0 if x > y else 0.5 if x == y else 0.0 for y in well] for x in sick])
    kernel = np.array(wins)  # (test, sick, well)
    areas = kernel.mean((1, 2))
    covariance = np.cov(kernel.mean(2)) / kernel.shape[1] + np.cov(kernel.mean(1)) / kernel.shape[2]
    contrast = np.array([1.0, -1.0])
    deviation = float(np.sqrt(contrast @ covariance @ contrast))
    difference, low, high, p = paired_delong(tests[pair[0]], tests[pair[1]])
    assert difference == pytest.approx(areas[0] - areas[1])
    assert (low, high) == pytest.approx((difference - 1.959964 * deviation, difference + 1.959964 * deviation))
    assert p == pytest.approx(chi2.sf((difference / deviation) ** 2, 1))
    for name, area, variance in zip(pair, areas, covariance.diagonal(), strict=True):
        auc = tests[name].auc("AUC", "")
        assert (auc.value, auc.high) == pytest.approx((area, min(area + 1.959964 * np.sqrt(variance), 1.0)))


def test_on_the_papers_patients_no_test_is_better_than_another(tests: dict[str, Predictions]) -> None:
    """To the digits that statistics programs print."""
    assert paired_delong(tests["protein"], tests["score"]) == pytest.approx(
        (-0.0780, -0.2830, 0.1271, 0.4561), abs=6e-5
    )
    assert paired_delong(tests["albumin"], tests["score"]) == pytest.approx((0.0108, -0.1761, 0.1976, 0.9102), abs=6e-5)


def test_the_test_is_the_same_both_ways_round(tests: dict[str, Predictions]) -> None:
    there, back = (paired_delong(tests[a], tests[b]) for a, b in (("albumin", "protein"), ("protein", "albumin")))
    assert there[0] == -back[0]
    assert there[1] == pytest.approx(-back[2])
    assert there[3] == pytest.approx(back[3])


def test_without_a_difference_about_one_in_twenty_tests_is_significant() -> None:
    """Two noisy readings of the same volumes."""
    significant = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        labels = np.arange(80) % 2
        truth = rng.normal(0, 1, 80) + labels
        first, second = (Predictions(labels, truth + rng.normal(0, 0.7, 80)) for _ in range(2))
        significant += paired_delong(first, second)[3] < 0.05
    assert 8 <= significant <= 34  # 20 expected, standard deviation 4.4


def test_a_model_does_not_differ_from_itself_however_its_scores_are_scaled(tests: dict[str, Predictions]) -> None:
    scores = tests["albumin"]
    scaled = Predictions(scores.labels, norm.cdf(scores.scores))
    assert paired_delong(scores, scaled) == (0.0, 0.0, 0.0, 1.0)


def test_answers_on_different_volumes_are_not_compared(tests: dict[str, Predictions]) -> None:
    other = Predictions(1 - tests["score"].labels, tests["score"].scores)
    with pytest.raises(ValueError, match="same volumes"):
        paired_delong(tests["albumin"], other)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six volumes on the network's grid."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    lines = ["volume,label,patient,split"]
    for k in range(6):
        hu = rng.normal(-800 - 25 * (k % 2), 60, (35, 128, 128)).astype(np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(hu), str(folder / f"{k}.nrrd"))
        lines.append(f"{k}.nrrd,{k % 2},patient{k},test")
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def models(card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A Conv-LSTM and a 3D CNN with random weights."""
    folder = tmp_path_factory.mktemp("models")
    paths = []
    for k, architecture in enumerate(("conv_lstm", "cnn3d")):
        torch.manual_seed(k)
        network = networks.build(architecture, 2, 128).eval()
        own = dataclasses.replace(
            card,
            architecture=architecture,
            width=2,
            name=f"{architecture} | random",
            operating_point=OperatingPoint((0.0, 1.0)[k], "chosen for this test"),
        )
        paths.append(folder / f"{architecture}.safetensors")
        modelfile.save(paths[-1], network, own)
    return paths


@pytest.fixture(scope="module")
def comparison(models: list[Path], manifest: Path) -> Comparison:
    return compare(models, manifest, "test", data="six volumes of noise")


def test_each_model_is_measured_at_its_own_operating_point(comparison: Comparison) -> None:
    everybody, nobody = comparison.models
    assert (everybody.sensitivity.value, everybody.specificity.value) == (1.0, 0.0)
    assert (nobody.sensitivity.value, nobody.specificity.value) == (0.0, 1.0)
    assert (comparison.positive, comparison.negative) == (3, 3)
    (pair,) = comparison.pairs
    assert pair.difference == pytest.approx(everybody.auc.value - nobody.auc.value)


def test_the_tables_hold_every_figure(comparison: Comparison, models: list[Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert [row["file"] for row in rows] == [str(path) for path in models]
    for row, model in zip(rows, comparison.models, strict=True):
        for name in ("auc", "sensitivity", "specificity"):
            metric = getattr(model, name)
            assert [float(row[name + end]) for end in ("", "_low", "_high")] == [metric.value, metric.low, metric.high]
        assert row["data"] == "six volumes of noise"
    (pair,) = csv.DictReader(io.StringIO(comparison.pairs_to_csv()))
    assert float(pair["p"]) == comparison.pairs[0].p
    lines = comparison.to_markdown().splitlines()
    assert "6 volumes (3 with and 3 without emphysema): six volumes of noise" in lines[0]
    table = [line.replace(r"\|", "") for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table[:4]} == {7}
    assert any(f"{comparison.models[1].auc.value:.3f} (" in line for line in table)


def test_models_of_the_same_name_are_told_apart_by_their_files(comparison: Comparison) -> None:
    first, second = comparison.models
    twins = dataclasses.replace(
        comparison,
        models=(first, dataclasses.replace(second, card=dataclasses.replace(second.card, name=first.card.name))),
    )
    assert len(set(twins.names())) == 2
    assert all(str(model.path) in name for model, name in zip(twins.models, twins.names(), strict=True))


def test_progress_tells_of_every_volume_and_may_end_the_work(models: list[Path], manifest: Path) -> None:
    told: list[tuple[float, str]] = []

    def stop_at_the_third(fraction: float, stage: str) -> None:
        told.append((fraction, stage))
        if len(told) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        compare(models[:1], manifest, progress=stop_at_the_third)
    assert told == [(0.0, "0.nrrd (1 of 6)"), (1 / 6, "1.nrrd (2 of 6)"), (2 / 6, "2.nrrd (3 of 6)")]


@pytest.mark.parametrize(
    ("choose", "split", "says"),
    [
        (lambda models: [], "test", "at least one model"),
        (lambda models: models, "tune", "at least two volumes of each label"),
        (lambda models: [models[0].with_name("missing.safetensors")], "test", "no model file"),
    ],
    ids=["no model", "empty split", "missing file"],
)
def test_what_cannot_be_compared_is_one_sentence(
    models: list[Path], manifest: Path, choose: Callable[[list[Path]], list[Path]], split: str, says: str
) -> None:
    with pytest.raises(EmphysemaScannerError, match=says):
        compare(choose(models), manifest, split)


@pytest.mark.parametrize(("p", "printed"), [(0.0001, "<0.001"), (0.0312, "0.031"), (1.0, "1.000")])
def test_p_values_are_printed_as_journals_do(p: float, printed: str) -> None:
    assert p_value(p) == printed


def test_the_command_prints_the_tables_and_writes_them(
    models: list[Path], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", *map(str, models), str(manifest), "--data", "noise", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
    assert "DeLong" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"comparison.md", "comparison.csv", "comparison-pairs.csv", FILE_LIST}
    assert "noise" in (tmp_path / "out" / "comparison.md").read_text()
