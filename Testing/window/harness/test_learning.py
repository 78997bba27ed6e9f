"""Measuring models from the console: the logic's calls, in processes of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from phantom import phantom_image
from window.harness.driver import Driver


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Four made-up chests, two of them with lungs that are too light."""
    chest = phantom_image()
    lines = ["volume,label,patient,split"]
    for k in range(4):
        hu = sitk.GetArrayFromImage(chest)
        light = sitk.GetImageFromArray(np.where((hu < -700) & (hu > -940), hu - 60 * (k % 2), hu))
        light.CopyInformation(chest)
        sitk.WriteImage(light, str(tmp_path / f"{k}.nrrd"))
        lines.append(f"{k}.nrrd,{k % 2},patient {k},test")
    manifest = tmp_path / "cohort.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def test_models_are_compared_and_a_model_is_evaluated(window: Driver, cohort: Path) -> None:
    other = cohort.with_name("other.safetensors")
    shutil.copyfile(window.model, other)
    logic, told = window.panel.logic, []
    comparison = logic.compare([window.model, other], cohort, progress=lambda share, _stage: told.append(share))
    assert [model.path for model in comparison.models] == [window.model, other]
    assert (comparison.positive, comparison.negative) == (2, 2)
    assert comparison.pairs[0].p == 1
    assert "AUC" in window.module("evaluation.comparisontables").markdown(comparison)
    assert told
    assert all(0 <= share <= 1 for share in told)
    measured = logic.evaluate(other, cohort, data="four made-up chests", record=True)
    assert measured.figures.auc.value == comparison.models[1].figures.auc.value
    recorded = window.module("models.modelheader").read_card(other).metrics
    assert "four made-up chests" in {metric.data for metric in recorded}


def test_a_comparison_that_cannot_be_made_says_why_and_leaves_nothing(window: Driver, cohort: Path) -> None:
    error = window.module("base.errors").EmphysemaScannerError
    before = set(Path(slicer.app.temporaryPath).iterdir())
    with pytest.raises(error, match="validation"):
        window.panel.logic.compare([window.model], cohort, split="validation")

    def stop(_share: float, _stage: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        window.panel.logic.compare([window.model], cohort, progress=stop)
    assert set(Path(slicer.app.temporaryPath).iterdir()) == before
