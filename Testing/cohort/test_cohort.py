"""The commands about cohorts: a simulated cohort is what its manifest says, goes on where it stopped, is measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.cohort.manifest import read_manifest
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.models.modelheader import read_card
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.simulator.anatomy import Anatomy
from EmphysemaScannerLib.simulator.disease import Mix
from EmphysemaScannerLib.simulator.simulate import FULL_MANIFEST, Plan, simulate_cohort
from phantom import phantom, phantom_image


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    hu, labels = phantom()
    return Anatomy("phantom", "test", hu.astype(np.float32), labels, Grid.of_image(phantom_image()))


@pytest.fixture(scope="module")
def cohort(anatomy: Anatomy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_cohort([anatomy], tmp_path_factory.mktemp("cohort"), pairs=3, plan=Plan(7))


def test_each_pair_has_a_healthy_and_a_diseased_case_whose_lesions_are_where_the_map_says(cohort: Path) -> None:
    rows = read_manifest(cohort)
    assert [row.label for row in rows] == [0, 1] * 3
    for row in rows:
        lesions = sitk.GetArrayFromImage(sitk.ReadImage(str(row.lesions)))
        assert lesions.shape == Preprocessing().shape
        assert bool(lesions.any()) == bool(row.label)
        assert (float(row.extra["extent_percent"]) > 0) == bool(row.label)


def test_cases_lie_on_the_networks_grid_about_the_anatomys_place(cohort: Path, anatomy: Anatomy) -> None:
    grid = Grid.of_image(sitk.ReadImage(str(read_manifest(cohort)[0].volume)))
    assert grid.shape == (35, 128, 128)
    assert grid.spacing_mm[1] == pytest.approx(grid.spacing_mm[2])  # fields of view are square
    middles = [g.position_lps((np.array(g.shape) - 1) / 2) for g in (grid, anatomy.grid)]
    assert np.abs(middles[0] - middles[1]).max() < 60


def test_the_full_manifest_lists_cts_and_lesions_at_the_simulated_resolution(anatomy: Anatomy, tmp_path: Path) -> None:
    manifest = simulate_cohort([anatomy], tmp_path, pairs=1, plan=Plan(7, full=True))
    small, full = read_manifest(manifest), read_manifest(tmp_path / FULL_MANIFEST)
    assert [row.label for row in full] == [row.label for row in small]
    for row in full:
        ct, lesions = (sitk.ReadImage(str(path)) for path in (row.volume, row.lesions))
        assert ct.GetSize() == lesions.GetSize()
        assert ct.GetSize()[2] > 35
        share = 100 * (sitk.GetArrayFromImage(lesions) == 255).sum() / lesions.GetNumberOfPixels()
        assert (share > 0) == bool(row.label)


def test_a_cohort_of_another_mix_is_another_cohort(anatomy: Anatomy, tmp_path: Path) -> None:
    simulate_cohort([anatomy], tmp_path, pairs=1, plan=Plan(7, mix=Mix.TO_DESTROYED))
    again = simulate_cohort([anatomy], tmp_path, pairs=1, plan=Plan(7, mix=Mix.TO_DESTROYED))
    assert len(read_manifest(again)) == 2
    with pytest.raises(EmphysemaScannerError, match="another cohort"):
        simulate_cohort([anatomy], tmp_path, pairs=1, plan=Plan(7))


def test_a_stopped_simulation_goes_on_to_the_same_cohort(cohort: Path, anatomy: Anatomy, tmp_path: Path) -> None:
    stopped = simulate_cohort([anatomy], tmp_path, pairs=1, plan=Plan(7))
    first = (tmp_path / "volumes" / "00000-1.nrrd").stat().st_mtime_ns
    again = simulate_cohort([anatomy], tmp_path, pairs=3, plan=Plan(7))
    assert again == stopped
    assert again.read_text() == cohort.read_text()
    assert (tmp_path / "volumes" / "00000-1.nrrd").stat().st_mtime_ns == first
    for name in ("00000-1.nrrd", "00002-1.nrrd"):
        ours, theirs = (sitk.ReadImage(str(folder / "volumes" / name)) for folder in (tmp_path, cohort.parent))
        assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))


def test_evaluate_writes_its_figures_into_the_models_card(
    cohort: Path, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copy(model_path, tmp_path / "model.safetensors"))
    for _ in range(2):  # measured again, the figures are replaced
        with pytest.raises(SystemExit) as ended:
            cli.main(["evaluate", str(model), str(cohort), "--data", "six phantoms", "--record"])
        assert ended.value.code == 0
    assert "AUC" in capsys.readouterr().out
    recorded = [m.name for m in read_card(model).metrics if m.data == "six phantoms"]
    assert {"AUC", "Sensitivity", "Specificity", "F1", "Brier score"} <= set(recorded)
    assert len(recorded) == len(set(recorded))
    assert recorded[-2:] == ["AUC of LAA%-950 on the same", "AUC of Perc15 on the same"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("volume,label,patient,split\na.nrrd,1,p,train\n", "both labels"),
        ("volume,patient\na.nrrd,p\n", "lacks the column"),
    ],
)
def test_a_cohort_that_cannot_be_trained_with_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(text)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", str(manifest), "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1
