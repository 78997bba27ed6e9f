"""The disease map: a linear readout of hidden states, its share of the lung by region, its way through files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMNetwork
from EmphysemaScannerLib.models.diseasemap import disease_logits
from EmphysemaScannerLib.models.modelcard import DiseaseMap, ModelCard
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.models.preprocessing import Preprocessing, View
from EmphysemaScannerLib.scan.extent import Shares, disease_extent, region_shares
from EmphysemaScannerLib.scan.result import ScanResult
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json, result_to_dict, write_overlays
from everymodel import model_of
from phantom import phantom, phantom_image
from smallnetwork import network_of, volumes

REGIONS = {"whole", "right", "left", "upper", "middle", "lower"}


def disease_map(channels: int = 16, **changes: object) -> DiseaseMap:
    weights = tuple(np.random.default_rng(3).normal(0, 2, channels).tolist())
    return dataclasses.replace(DiseaseMap(("asc1", "desc1", "asc2"), weights, -0.5, 0.5, "invented cases"), **changes)


@pytest.fixture(scope="module")
def model() -> Model:
    plain = model_of("conv_lstm")
    assert isinstance(plain.network, ConvLSTMNetwork)
    channels = sum(unit.recurrence.filters for unit in plain.network.units[:3])
    card = dataclasses.replace(plain.card, disease_map=disease_map(channels))
    return Model(plain.network, card)


@pytest.fixture(scope="module")
def result(model: Model) -> ScanResult:
    return scan(phantom_image(), model)


def shares(labels: np.ndarray, view: View) -> Shares:
    return region_shares(labels, None, (labels > 0).sum((1, 2)), view, (35, 32, 32))


def test_each_unit_adds_its_weighted_channels_at_its_places() -> None:
    network, x = network_of(), volumes(1, 6)
    known = disease_map()
    with torch.inference_mode():
        hidden = network.read(x)
        logits = disease_logits(network, hidden, known).numpy()[0]
    assert logits.shape == (6, 16, 16)
    weights, expected = np.array(known.weights), np.full((6, 16, 16), known.bias)
    for states, part in zip(hidden[:3], np.split(weights, [4, 8]), strict=True):
        plane = np.einsum("tfhw,f->thw", states[0].numpy(), part)
        size = plane.shape[-1]
        at = np.clip((np.arange(16) + 0.5) * size / 16 - 0.5, 0, size - 1)  # centres; constant beyond the outermost
        low = np.floor(at).astype(int)
        high, share = np.minimum(low + 1, size - 1), at - low
        rows = plane[:, low] * (1 - share[:, None]) + plane[:, high] * share[:, None]
        expected += rows[:, :, low] * (1 - share) + rows[:, :, high] * share
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_a_scan_gives_probabilities_on_the_grid_of_the_first_unit(result: ScanResult) -> None:
    assert result.disease is not None
    assert result.disease.values.shape == (35, 16, 16)
    assert 0 <= result.disease.values.min() < result.disease.values.max() <= 1
    assert result.disease.grid == result.lung_fraction.grid.resized((35, 16, 16))


def test_a_model_without_a_disease_map_gives_none_and_the_same_answer(result: ScanResult) -> None:
    plain = scan(phantom_image(), model_of("conv_lstm"))
    assert plain.disease is None
    assert plain.disease_extent_percent == {}
    assert plain.logit == result.logit
    assert "disease_extent_percent" not in result_to_dict(plain)
    assert "disease_map" not in plain.model.to_dict()


def test_the_extent_is_the_sum_of_the_probabilities_of_marked_places_in_the_lung() -> None:
    _, labels = phantom()
    ct = Grid.of_image(phantom_image())
    view = Preprocessing(shape=(35, 64, 64)).view(ct)
    marked = np.random.default_rng(0).random((35, 32, 32)) < 0.3
    probability = np.where(marked, 0.8, 0.3).astype(np.float32)
    extent = disease_extent(probability, 0.5, shares(labels, view))
    fine = marked.repeat(2, 0).repeat(2, 1).repeat(2, 2)  # the CT has 70 x 64 x 64 voxels
    assert set(extent) == REGIONS
    assert extent["whole"] == pytest.approx(80 * fine[labels > 0].mean(), abs=1e-4)
    assert extent["right"] == pytest.approx(80 * fine[labels == 1].mean(), abs=1e-4)
    assert extent["left"] == pytest.approx(80 * fine[labels == 2].mean(), abs=1e-4)


def test_disease_in_the_upper_slices_is_in_the_upper_third() -> None:
    _, labels = phantom()
    view = Preprocessing(shape=(35, 64, 64)).view(Grid.of_image(phantom_image()))
    marked = np.zeros((35, 32, 32), bool)
    marked[21:] = True
    extent = disease_extent(marked.astype(np.float32), 0.5, shares(labels, view))
    assert extent["upper"] == pytest.approx(100, abs=8)
    assert extent["lower"] == pytest.approx(0, abs=1e-6)
    thirds = extent["upper"] + extent["middle"] + extent["lower"]
    assert thirds / 3 == pytest.approx(extent["whole"], abs=2)  # they hold about equal volumes


def test_a_region_without_lung_has_no_extent() -> None:
    _, labels = phantom()
    labels = np.where(labels == 1, labels, 0).astype(np.uint8)
    view = Preprocessing(shape=(35, 64, 64)).view(Grid.of_image(phantom_image()))
    extent = disease_extent(np.ones((35, 32, 32), np.float32), 0.5, shares(labels, view))
    assert np.isnan(extent["left"])
    assert extent["right"] == pytest.approx(100)


def test_a_record_brings_the_map_and_the_extents_back(result: ScanResult) -> None:
    again = result_from_json(record_to_json(result), result.lung_mask)
    assert again.disease is not None
    assert result.disease is not None
    np.testing.assert_allclose(again.disease.values, result.disease.values, atol=5e-4)
    assert again.disease.grid == result.disease.grid
    assert again.disease_extent_percent == pytest.approx(result.disease_extent_percent)
    assert again.model == result.model


def test_the_map_is_written_as_a_file_in_the_ct_s_space(result: ScanResult, tmp_path: Path) -> None:
    written = write_overlays(result, tmp_path)
    assert [path.name for path in written[:2]] == ["disease.nrrd", "evidence.nrrd"]
    image = sitk.ReadImage(str(written[0]))
    assert result.disease is not None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), result.disease.values)


def test_a_model_file_keeps_its_disease_map(model: Model, tmp_path: Path) -> None:
    modelfile.save(tmp_path / "m.safetensors", model.network, model.card)
    assert modelfile.load(tmp_path / "m.safetensors").card == model.card


@pytest.mark.parametrize("change", [{"units": ("asc1", "asc7")}, {"weights": (1.0, 2.0)}])
def test_a_map_that_does_not_fit_its_network_is_refused(model: Model, tmp_path: Path, change: dict) -> None:
    assert model.card.disease_map is not None
    card = dataclasses.replace(model.card, disease_map=dataclasses.replace(model.card.disease_map, **change))
    modelfile.save(tmp_path / "m.safetensors", model.network, card)
    with pytest.raises(ModelFileError, match="does not fit its network"):
        modelfile.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("change", [{"floor": 1.5}, {"units": []}, {"weights": ["x"]}, {"bias": None}])
def test_a_card_with_an_impossible_disease_map_is_refused(model: Model, change: dict) -> None:
    raw = model.card.to_dict()
    raw["disease_map"] = {**raw["disease_map"], **change}
    with pytest.raises(ModelFileError):
        ModelCard.from_json(json.dumps(raw))
