"""Aids of training: both classes are shown in parts and turned, lesions stay where they are; nothing by default."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import read_manifest
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig
from EmphysemaScannerLib.models.networks import FastConvLSTM
from EmphysemaScannerLib.models.preprocessing import Field, Preprocessing
from EmphysemaScannerLib.training.aids import AidedVolumes
from EmphysemaScannerLib.training.lesions import LesionLearner
from EmphysemaScannerLib.training.plan import Aids, NetworkChoice, Plan
from EmphysemaScannerLib.training.presentations import FINER, present
from EmphysemaScannerLib.training.trainmodel import train_model
from everymodel import model_of
from phantom import phantom, phantom_image
from tinycohort import write_cohort

SHAPE = (6, 32, 32)
AIDED = Plan(epochs=2, learning_rate=3e-3, patience=99, lesion_weight=1.0, crop=16, aids=Aids.WHOLE_LUNG)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def coded() -> tuple[np.ndarray, np.ndarray]:
    """A volume whose slice number can be read off its HU, and lesions in a quarter of its rows and columns."""
    hu = np.repeat(-1000 + 40 * np.arange(FINER * SHAPE[0], dtype=np.int16), 32 * 32).reshape(-1, 32, 32)
    lesions = np.zeros(hu.shape, np.uint8)
    lesions[:, :16, :16] = 255
    return hu, lesions


def test_slices_are_missing_at_either_end_and_volumes_are_upside_down_now_and_then() -> None:
    hu, lesions = coded()
    ends = np.array(
        [
            present(np.random.default_rng(k), hu, lesions, SHAPE, False, None).hu.mean((1, 2))[[0, -1]]
            for k in range(200)
        ]
    )
    upright = ends[:, 1] > ends[:, 0]
    assert 0.4 < upright.mean() < 0.7
    low, high = np.sort(ends, 1).T
    whole = np.abs(low - low.min()) < 120
    assert 0.5 < whole.mean() < 0.9  # and in the others the lowest slices are missing
    assert np.mean(high < high.max() - 250) > 0.15
    assert ends.min() > -1200
    assert ends.max() < -350  # the first and the last slice are never beyond the volume's own


def test_lesions_are_shown_where_the_picture_shows_them() -> None:
    hu, lesions = coded()
    hu[:] = np.where(lesions > 0, -1000, -700)
    for k in range(40):
        shown = present(np.random.default_rng(k), hu, lesions, SHAPE, k % 2 == 0, None)
        dark = shown.hu < (shown.hu.max() + shown.hu.min()) / 2
        sure = (shown.lesions > 250) | (shown.lesions < 5)
        if 0.02 < (shown.lesions > 127).mean() < 0.98:
            assert np.mean(dark[sure] == (shown.lesions[sure] > 127)) > 0.97


def test_beyond_the_lungs_there_is_the_value_of_what_is_not_lung_and_no_disease() -> None:
    hu, lesions = np.full((12, 32, 32), -900, np.int16), np.full((12, 32, 32), 255, np.uint8)
    empty = 0
    for k in range(60):
        shown = present(np.random.default_rng(k), hu, lesions, SHAPE, False, 0.0)
        beyond = shown.lesions == 0
        empty += beyond.any()
        assert (shown.hu[beyond] > -650).all()  # a coarse voxel may be half lung
        assert np.median(shown.hu[shown.lesions == 255]) < -800
    assert empty > 20
    assert not any(
        (present(np.random.default_rng(k), hu, lesions, SHAPE, False, None).lesions == 0).any() for k in range(60)
    )


def test_without_aids_nothing_is_different_and_the_tuning_split_is_shown_as_it_is(tmp_path: Path) -> None:
    rows = read_manifest(write_cohort(tmp_path, SHAPE, train=2, tune=2))
    plain = dataclasses.replace(AIDED, aids=Aids.NONE)
    assert Plan().aids is Aids.NONE
    grid, cache = Preprocessing(SHAPE), VolumeCache(tmp_path / "cache")
    for augment, same in ((True, False), (False, True)):
        aided, usual = (AidedVolumes(rows, grid, plan, augment, cache)[0, 1] for plan in (AIDED, plain))
        assert aided[0].shape == usual[0].shape == (6, 1, 16, 16)
        assert aided[3].shape == usual[3].shape == (6, 16, 16)
        assert torch.equal(aided[0], usual[0]) is same


def test_what_is_shown_is_the_same_whenever_it_is_asked_for(tmp_path: Path) -> None:
    rows = read_manifest(write_cohort(tmp_path, SHAPE, train=2, tune=2))
    first, again = (
        AidedVolumes(rows, Preprocessing(SHAPE), AIDED, True, VolumeCache(tmp_path / "cache")) for _ in range(2)
    )
    assert torch.equal(first[3, 1][0], again[3, 1][0])
    assert not torch.equal(first[4, 1][0], again[3, 1][0])


def test_lesion_maps_of_any_grid_are_seen_in_the_lungs_box(tmp_path: Path) -> None:
    hu, labels = phantom()
    lesions = np.where((labels == 1) & (np.arange(len(hu))[:, None, None] < 35), 255, 0).astype(np.uint8)
    sitk.WriteImage(phantom_image(), str(tmp_path / "ct.nrrd"))
    ct = Grid.of_image(phantom_image())
    sitk.WriteImage(ct.to_image(lesions), str(tmp_path / "lesions.nrrd"))
    (tmp_path / "manifest.csv").write_text("volume,label,patient,split,lesions\nct.nrrd,1,a,train,lesions.nrrd\n")
    lungs = Preprocessing((20, 32, 32), field=Field.LUNGS, margin_mm=5.0, outside_hu=0.0)
    volumes = AidedVolumes(
        read_manifest(tmp_path / "manifest.csv"), lungs, Plan(lesion_weight=1.0), False, VolumeCache(tmp_path / "cache")
    )
    seen, shares = volumes.read(0)
    assert shares is not None
    diseased, grid = shares > 127, volumes.cache.grid(tmp_path / "ct.nrrd", lungs)
    assert (seen[diseased] < -400).all()
    centre = np.array(ct.box_in(ct)).mean(1) - 0.5
    middle = np.array(grid.direction_lps).T @ (
        grid.position_lps(np.argwhere(diseased).mean(0)) - ct.position_lps(centre)
    )
    assert middle[0] < -50  # in the lower half
    assert middle[2] < -40  # on the patient's right


def test_evidence_that_is_steady_is_wanted_alike_in_the_first_and_in_the_last_slice() -> None:
    """The loss of a network whose terms grow by the same amount in every diseased slice."""
    torch.manual_seed(0)
    share = torch.full((1, 12, 32, 32), 0.1)
    share[:, -1] = 0  # before the first slice there is nothing
    told = torch.arange(11, -1, -1).float()[None, :, None, None].expand(1, 12, 2, 2)
    losses = {}
    for aids in Aids:
        learner = LesionLearner(
            FastConvLSTM(ConvLSTMConfig(2, 32)), dataclasses.replace(AIDED, crop=None, aids=aids), 10
        )
        scales = torch.linspace(-2, 0, 800)
        found = []
        for scale in scales:
            with torch.no_grad():
                learner.evidence_scale.fill_(scale)
                found.append(float(learner._evidence_loss(told, share)))
        losses[aids] = min(found)
    assert losses[Aids.WHOLE_LUNG] < 1e-4
    assert losses[Aids.NONE] > 100 * losses[Aids.WHOLE_LUNG]


def test_a_model_of_the_lungs_box_is_trained_with_aids_goes_on_from_one_of_whole_cts_and_says_so(
    tmp_path: Path,
) -> None:
    hu, labels = phantom()
    ct = Grid.of_image(phantom_image())
    lines = ["volume,label,patient,split,lesions"]
    for k in range(8):
        lesions = np.where((labels > 0) & (k % 2 == 1), 255, 0).astype(np.uint8)
        sitk.WriteImage(ct.to_image(np.where(lesions > 0, hu - 110, hu).astype(np.int16)), str(tmp_path / f"{k}.nrrd"))
        sitk.WriteImage(ct.to_image(lesions), str(tmp_path / f"{k}-lesions.nrrd"))
        lines.append(f"{k}.nrrd,{k % 2},p{k},{'train' if k < 4 else 'tune'},{k}-lesions.nrrd")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    lungs = Preprocessing((6, 32, 32), field=Field.LUNGS, margin_mm=5.0, outside_hu=0.0)
    first = model_of("conv_lstm")
    whole = dataclasses.replace(first.card, width=2, preprocessing=Preprocessing((6, 32, 32)))
    modelfile.save(tmp_path / "start.safetensors", FastConvLSTM(ConvLSTMConfig(2, 32)), whole)
    again = {"start": tmp_path / "start.safetensors", "preprocessing": lungs}
    path = train_model([tmp_path / "manifest.csv"], tmp_path / "run", AIDED, NetworkChoice(**again))
    assert path is not None
    card = modelfile.load(path).card
    assert card.preprocessing == lungs
    assert "upside down" in card.training_log[-1]
    again["preprocessing"] = dataclasses.replace(lungs, window_low_hu=-1000.0)
    with pytest.raises(ModelFileError, match="its own width, grid and window"):
        train_model([tmp_path / "manifest.csv"], tmp_path / "other", AIDED, NetworkChoice(**again))
