"""The range of the training volumes comes into a model's card by training, or later by the command ``card``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import read_manifest
from EmphysemaScannerLib.commands.cli import main
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.likeness import FEWEST_VOLUMES, measures
from EmphysemaScannerLib.models.modelheader import read_card
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.training.likenessrange import range_of, write_range
from EmphysemaScannerLib.training.plan import NetworkChoice, Plan
from EmphysemaScannerLib.training.trainmodel import train_model
from everymodel import model_of
from tinycohort import write_cohort

GRID = Preprocessing((4, 32, 32))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), (4, 32, 32), train=20, tune=4)


def test_the_range_is_that_of_the_training_split(manifest: Path) -> None:
    rows, cache = read_manifest(manifest), VolumeCache()
    found = range_of(rows, GRID, cache)
    expected = np.mean([measures(cache.grid_hu(row.volume, GRID)) for row in rows if row.split == "train"], axis=0)
    assert found.volumes == 20
    np.testing.assert_allclose(found.mean, expected)
    assert range_of(rows[: FEWEST_VOLUMES - 1], GRID, cache) is None


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_trained_model_carries_its_range_and_one_that_reads_no_volumes_none(manifest: Path, tmp_path: Path) -> None:
    plan = Plan(epochs=1, learning_rate=1e-3, patience=9, batch_size=4)
    for architecture, width in (("mil_mean", 2), ("laa950_logistic", None)):
        out = tmp_path / architecture
        if width is None:  # its volumes have no lungs to measure; the manifest says what they would be
            lines = manifest.read_text().splitlines()
            figures = [f"{5 + 3 * (k % 2)},-9{30 + k}" for k in range(len(lines) - 1)]
            text = [
                f"{lines[0]},laa_950_percent,perc15_hu",
                *(f"{a},{b}" for a, b in zip(lines[1:], figures, strict=True)),
            ]
            manifest = manifest.with_name("measured.csv")
            manifest.write_text("\n".join(text))
        path = train_model(
            [manifest], out, plan, NetworkChoice(architecture=architecture, width=width, preprocessing=GRID)
        )
        trained = read_card(path).training_range
        assert (trained is not None) == (width is not None)


def test_the_command_card_writes_the_range_and_shows_it(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = model_of("mil_max"), tmp_path / "model.safetensors"
    modelfile.save(path, model.network, dataclasses.replace(model.card, preprocessing=GRID))
    before = modelfile.load(path)
    with pytest.raises(SystemExit) as ended:
        main(["card", str(path), "--training", str(manifest)])
    assert ended.value.code == 0
    after = modelfile.load(path)
    assert after.card == dataclasses.replace(before.card, training_range=after.card.training_range)
    assert after.card.training_range.volumes == 20
    assert "20 training volumes: lung percent" in " ".join(capsys.readouterr().out.split())


def test_models_and_cohorts_without_a_range_are_refused(manifest: Path, tmp_path: Path) -> None:
    for name, architecture, training, says in (
        ("a", "perc15_logistic", manifest, "reads no volumes"),
        ("b", "mil_max", write_cohort(tmp_path / "few", (4, 32, 32), train=4, tune=2), "fewer than 16 volumes"),
    ):
        model, path = model_of(architecture), tmp_path / f"{name}.safetensors"
        modelfile.save(path, model.network, model.card)
        whole = path.read_bytes()
        with pytest.raises(ModelFileError, match=says):
            write_range(path, [training])
        assert path.read_bytes() == whole
