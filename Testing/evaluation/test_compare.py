"""Comparing models: DeLong's test follows the paper's equations, and the tables say what was measured."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.cohort.manifest import CohortRow
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.evaluation import comparisonpage
from EmphysemaScannerLib.evaluation.compare import Comparison, ModelFigures, compare, find_models, subgroups
from EmphysemaScannerLib.evaluation.comparisontables import (
    markdown,
    models_csv,
    p_value,
    pairs_csv,
    subgroups_csv,
    tables,
)
from EmphysemaScannerLib.evaluation.published import PUBLISHED
from EmphysemaScannerLib.evaluation.statistics import Figures, Predictions, measure, paired_delong
from EmphysemaScannerLib.models import modelfile, networks
from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.report.outputfolder import FILE_LIST
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
    assert (everybody.figures.sensitivity.value, everybody.figures.specificity.value) == (1.0, 0.0)
    assert (nobody.figures.sensitivity.value, nobody.figures.specificity.value) == (0.0, 1.0)
    assert (comparison.positive, comparison.negative, comparison.patients) == (3, 3, 6)
    (pair,) = comparison.pairs
    assert pair.difference == pytest.approx(everybody.figures.auc.value - nobody.figures.auc.value)


def test_the_tables_hold_every_figure(comparison: Comparison, models: list[Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(models_csv(comparison))))
    assert [row["file"] for row in rows] == [str(path) for path in models]
    for row, model in zip(rows, comparison.models, strict=True):
        for name, metric in vars(model.figures).items():
            printed = [row[name + end] for end in ("", "_low", "_high")]
            expected = (metric.value, metric.low, metric.high)
            assert [float(cell or "nan") for cell in printed] == pytest.approx(expected, nan_ok=True)
        assert row["data"] == "six volumes of noise"
        paper = PUBLISHED[model.card.architecture]
        assert [float(row[f"published_{name}"]) for name in ("auc", "f1")] == [paper.auc, paper.f1]
    (pair,) = csv.DictReader(io.StringIO(pairs_csv(comparison)))
    assert float(pair["p"]) == comparison.pairs[0].p
    lines = markdown(comparison).splitlines()
    assert "6 volumes of 6 patients, 3 with and 3 without emphysema (50 %): six volumes of noise." in lines[0]
    assert "Listed in manifest.csv, split 'test'" in lines[0]
    for model in comparison.models:
        assert any(f"{model.figures.auc.value:.3f} (" in line for line in lines)


def test_every_row_of_a_table_has_all_its_cells(comparison: Comparison) -> None:
    for table in tables(comparison):
        assert {len(row) for row in table.rows} == {len(table.columns)}
    blocks = markdown(comparison).replace(r"\|", "").split("### ")[1:]
    assert len(blocks) == len(tables(comparison))
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines() if line.startswith("|")}) == 1


def test_the_papers_rows_stand_below_their_architectures_and_its_contradictions_are_said(
    comparison: Comparison,
) -> None:
    table = tables(comparison)[0]
    assert [row[0] for row in table.rows] == [
        "conv_lstm | random",
        "published, on NLST",
        "cnn3d | random \N{MIDDLE DOT} 3D CNN",
        "published, on NLST",
    ]
    assert table.rows[1][1:6] == ("901,793", "0.83", "0.77", "0.74", "0.75 \N{DOUBLE DAGGER}")
    notes = " ".join(table.notes)
    for fact in ("0.83 in the abstract", "0.82 in the text", "2,163", "2,219", "harmonic mean"):
        assert fact in notes


def test_a_split_that_is_not_for_testing_is_said_so(comparison: Comparison) -> None:
    assert "look better" not in markdown(comparison)
    assert "look better" in markdown(dataclasses.replace(comparison, split="tune"))


def test_the_page_holds_every_cell_and_nothing_from_elsewhere(comparison: Comparison) -> None:
    hostile = dataclasses.replace(comparison, data="<script>alert(1)</script>")
    page = comparisonpage.page(hostile)
    assert "<script" not in page
    for table in tables(comparison):
        for row in table.rows:
            for cell in row:
                figure = cell.split(" (")[0] if cell[:1].isdigit() else cell
                assert html.escape(figure) in page
    assert page.count("data:image/svg+xml;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def labelled(count: int, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return Predictions(labels, norm.cdf(rng.normal(0, 1, count) + labels))


def test_subgroups_are_those_of_the_manifests_columns_and_small_ones_are_marked(comparison: Comparison) -> None:
    kernels = ["B30f"] * 40 + ["B50f"] * 10 + [""] * 3
    rows = [
        CohortRow(Path(f"{k}.nrrd"), k % 2, str(k), "test", kernel=kernel, extra={"age": str(59.5 + k % 2), "sex": "F"})
        for k, kernel in enumerate(kernels)
    ]
    answer = labelled(53)
    groups = subgroups(rows, [answer], [0.5], "")
    assert [(g.column, g.group, g.positive, g.negative, g.small) for g in groups] == [
        ("kernel", "B30f", 20, 20, False),
        ("kernel", "B50f", 5, 5, True),
        ("kernel", "", 1, 2, True),
        ("age", "50 to 59", 0, 27, True),
        ("age", "60 to 69", 26, 0, True),
    ]  # one sex: nothing to tell apart
    assert groups[0].figures[0] == measure(answer.of(np.arange(53) < 40), 0.5, "")
    assert [group.figures[0] is None for group in groups] == [False, False, True, True, True]
    one = dataclasses.replace(
        comparison,
        models=(dataclasses.replace(comparison.models[0], predictions=answer),),
        pairs=(),
        subgroups=groups,
    )
    text = markdown(one)
    assert "AUC by kernel" in text
    assert "| B50f\N{DEGREE SIGN} | 5 | 5 |" in text
    assert "Fewer than 10 volumes" in text
    lines = list(csv.DictReader(io.StringIO(subgroups_csv(one))))
    assert [(line["group"], line["small"], line["auc"] == "") for line in lines][:3] == [
        ("B30f", "0", False),
        ("B50f", "1", False),
        ("", "1", True),
    ]


def test_intervals_of_patients_with_several_volumes_are_said_to_be_so(comparison: Comparison) -> None:
    assert "Obuchowski" not in markdown(comparison)
    answer = dataclasses.replace(labelled(12), patients=tuple(str(k // 4) for k in range(12)))
    figures: Figures = measure(answer, 0.5, "")
    first = comparison.models[0]
    text = markdown(
        dataclasses.replace(comparison, models=(ModelFigures(first.path, first.card, answer, figures),), pairs=())
    )
    assert "Obuchowski" in text
    assert "of 3 patients" in text


def test_a_folder_stands_for_its_trainings_in_the_order_of_the_papers_table(models: list[Path], tmp_path: Path) -> None:
    for run, path in zip(("a", "b"), models, strict=True):
        (tmp_path / run).mkdir()
        shutil.copy(path, tmp_path / run / "model.safetensors")
    assert find_models([tmp_path]) == [tmp_path / "b" / "model.safetensors", tmp_path / "a" / "model.safetensors"]
    assert find_models([models[0].parent]) == [models[1], models[0]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmphysemaScannerError, match="no finished training"):
        find_models([tmp_path / "empty"])


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
    tables_and_plots = {"comparison.md", "comparison.csv", "comparison-pairs.csv", "roc.svg", "calibration.svg"}
    assert written == {"comparison.html", *tables_and_plots, FILE_LIST}
    assert "noise" in (tmp_path / "out" / "comparison.md").read_text()
