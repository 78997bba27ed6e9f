"""A CT unlike the training volumes is told by its distance; one like them, and a card without a range, say nothing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.models.likeness import FEWEST_VOLUMES, distance, measures, training_range, unlike_training
from EmphysemaScannerLib.models.modelcard import ModelCard, TrainingRange
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.scan import scan
from everymodel import model_of
from phantom import phantom, phantom_image

GRID = Preprocessing()


def like(hu: np.ndarray, seed: int) -> np.ndarray:
    """The same chest somewhat denser or lighter, noisier, and a little cut, as another patient's."""
    rng = np.random.default_rng(seed)
    cut = [slice(rng.integers(0, n // 16 + 1), n - rng.integers(0, n // 16 + 1)) for n in hu.shape]
    return GRID.average(hu[tuple(cut)] * rng.uniform(0.97, 1.03) + rng.normal(0, 10, hu.shape)[tuple(cut)])


@pytest.fixture(scope="module")
def hu(chest: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.BinShrink(chest, [4, 4, 1]))


@pytest.fixture(scope="module")
def trained(hu: np.ndarray) -> TrainingRange:
    found = training_range([measures(like(hu, seed)) for seed in range(40)])
    assert found is not None
    return found


def test_the_figures_are_what_they_are_called() -> None:
    hu = np.full((4, 10, 10), -1000.0)
    hu[:, 2:7], hu[:, 7:9], hu[:, 9:] = 50, -850, 600
    hu[:2, 7:9] = 50
    assert measures(hu)[:6].tolist() == [10, -850, 20, 50, 10, 100]
    assert measures(np.arange(-900.0, -700.0).reshape(2, 10, 10))[6:].tolist() == [1, 100]
    assert np.isfinite(measures(np.zeros((1, 1, 1)))).all()


def test_of_volumes_like_the_training_set_nearly_all_are_below_the_limit() -> None:
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(8, 8))
    known = training_range(list(rng.normal(size=(400, 8)) @ mixing))
    fresh = np.array([distance(one, known) for one in rng.normal(size=(2000, 8)) @ mixing])
    assert np.sqrt((fresh**2).mean()) == pytest.approx(1, abs=0.15)
    assert (fresh > known.limit).mean() == pytest.approx(0.01, abs=0.01)


@pytest.mark.parametrize("seed", [100, 101, 102])
def test_the_real_chest_of_another_day_is_like_its_training_set(
    hu: np.ndarray, trained: TrainingRange, seed: int
) -> None:
    assert unlike_training(like(hu, seed), trained) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu[::-1],
        lambda hu: hu[:, 30:100, 10:64],
        lambda hu: hu[66:],
        lambda hu: hu + 100,
        lambda hu: np.random.default_rng(0).normal(-500, 300, hu.shape),
    ],
    ids=["upside down", "one lung", "upper half", "100 HU too dense", "noise"],
)
def test_a_real_chest_that_was_changed_is_told_with_its_distance(
    hu: np.ndarray, trained: TrainingRange, change: object
) -> None:
    (said,) = unlike_training(GRID.average(change(hu)), trained)
    assert "differs from the 40 volumes that the model was trained on (distance" in said


def test_a_few_volumes_make_no_range(hu: np.ndarray) -> None:
    figures = measures(GRID.average(hu))
    assert training_range([figures] * (FEWEST_VOLUMES - 1)) is None
    alike = training_range([figures] * FEWEST_VOLUMES)  # no spread at all
    assert alike is not None
    assert distance(figures, alike) == pytest.approx(0, abs=1e-6)


def test_the_range_travels_in_the_card_and_older_cards_have_none(trained: TrainingRange) -> None:
    card = dataclasses.replace(model_of("conv_lstm").card, training_range=trained)
    assert ModelCard.from_json(card.to_json()) == card
    older = json.loads(card.to_json())
    del older["training_range"]
    assert ModelCard.from_json(json.dumps(older)).training_range is None
    assert unlike_training(np.zeros((3, 3, 3)), None) == ()


@pytest.mark.parametrize(
    "damage",
    [
        {"mean": [1.0]},
        {"precision": [1.0] * 63},
        {"spread": [0.0] * 8},
        {"spread": ["1"] * 8},
        {"limit": "far"},
        {"measures": []},
        {"measures": None},
        {"unknown": 1},
    ],
)
def test_a_damaged_range_is_refused_in_a_sentence(trained: TrainingRange, damage: dict[str, object]) -> None:
    raw = dataclasses.replace(model_of("conv_lstm").card, training_range=trained).to_dict()
    raw["training_range"] |= damage
    with pytest.raises(ModelFileError, match="card cannot be understood"):
        ModelCard.from_json(json.dumps(raw))


def test_a_scan_warns_of_a_ct_that_is_unlike_the_training_set() -> None:
    model, hu = model_of("conv_lstm"), phantom()[0]
    grid = model.card.preprocessing
    known = training_range([measures(grid.average(like_hu)) for like_hu in (hu + k % 7 for k in range(20))])
    ours = dataclasses.replace(model, card=dataclasses.replace(model.card, training_range=known))
    said = [any("differs from the 20 volumes" in text for text in scan(image, ours).warnings)
            for image in (phantom_image(), phantom_image()[:, :, 12:])]  # fmt: skip
    assert said == [False, True]
