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
from EmphysemaScannerLib.models.classweights import class_activations
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMNetwork
from EmphysemaScannerLib.models.diseasemap import disease_logits
from EmphysemaScannerLib.models.lowdensity import low_share
from EmphysemaScannerLib.models.modelcard import ClassWeights, DiseaseMap, ModelCard, UnitWeights
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.extent import disease_extent, diseased, region_shares
from EmphysemaScannerLib.scan.result import ScanResult
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json, result_to_dict, write_overlays
from everymodel import model_of
from phantom import phantom, phantom_image
from scipy.special import logit
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


def test_each_unit_adds_its_weighted_channels_at_its_places() -> None:
    network, x = network_of(), volumes(1, 6)
    known = disease_map()
    with torch.inference_mode():
        hidden = network.read(x)
        low = torch.rand(1, 6, 32, 32)
        fine = disease_logits(network, hidden, x, low, known)
        with_density = disease_logits(network, hidden, x, low, disease_map(input_weight=-3.0, low_weight=2.0))
    assert fine.shape == (1, 6, 32, 32)
    np.testing.assert_allclose(with_density - fine, 2 * low - 3 * x[:, :, 0], atol=1e-5)
    weights, expected = np.array(known.weights), np.full((6, 16, 16), known.bias)
    for states, part in zip(hidden[:3], np.split(weights, [4, 8]), strict=True):
        expected += linear(np.einsum("tfhw,f->thw", states[0].numpy(), part), 16)
    np.testing.assert_allclose(fine[0], linear(expected, 32), atol=1e-4)


def linear(plane: np.ndarray, count: int) -> np.ndarray:
    """Slices enlarged to so many rows and columns: linear between centres, constant beyond the outermost ones."""
    size = plane.shape[-1]
    at = np.clip((np.arange(count) + 0.5) * size / count - 0.5, 0, size - 1)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, size - 1), at - low
    rows = plane[:, low] * (1 - share[:, None]) + plane[:, high] * share[:, None]
    return rows[:, :, low] * (1 - share) + rows[:, :, high] * share


def test_the_share_of_low_density_is_of_the_voxel_s_lung_alone() -> None:
    image, (hu, labels) = phantom_image(), phantom()
    hu = hu.copy()
    hu[(labels == 1) & (np.arange(64) % 2 == 0)] = -960  # every second column of the right lung
    hu[labels == 0] = -1000
    view = Preprocessing(shape=(35, 32, 32)).view(Grid.of_image(image))
    lung = view.share(labels)
    low = low_share(hu, labels, view, lung)
    right = (view.share(labels == 1) > 0.999) & (lung > 0.999)
    np.testing.assert_allclose(low[right], 0.5, atol=1e-6)
    left = view.share(labels == 2) > 0
    assert low[left].max() == 0
    assert low[lung == 0].max() == 0


def test_a_scan_gives_probabilities_on_the_network_s_grid(result: ScanResult) -> None:
    assert result.disease is not None
    assert 0 <= result.disease.values.min() < result.disease.values.max() <= 1
    assert result.disease.grid == result.lung_fraction.grid


def test_a_scan_reads_low_density_at_the_ct_s_own_resolution_where_the_map_weighs_it(
    model: Model, result: ScanResult
) -> None:
    assert model.card.disease_map is not None
    heavy = dataclasses.replace(model.card.disease_map, low_weight=5.0)
    card = dataclasses.replace(model.card, disease_map=heavy)
    image = phantom_image()
    hu = sitk.GetArrayFromImage(image)
    labels = result.lung_mask.values
    hu[(labels == 1) & (np.arange(70)[:, None, None] % 2 == 0)] = -1000
    holed = Grid.of_image(image).to_image(hu)
    with_low, without = (scan(holed, Model(model.network, of)).disease for of in (card, model.card))
    assert with_low is not None
    assert without is not None
    raised = (logit(with_low.values.astype(float)) - logit(without.values.astype(float)))[
        result.lung_fraction.values > 0.999
    ]
    assert raised.min() == pytest.approx(0, abs=1e-2)
    assert raised.max() == pytest.approx(2.5, abs=0.1)  # every second slice of the CT, two in each of the grid


def test_a_model_without_a_disease_map_gives_none_and_the_same_answer(result: ScanResult) -> None:
    plain = scan(phantom_image(), model_of("conv_lstm"))
    assert plain.disease is None
    assert plain.disease_extent_percent == {}
    assert plain.logit == result.logit
    assert "disease_extent_percent" not in result_to_dict(plain)
    assert "disease_map" not in plain.model.to_dict()


def extent_of(probability: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    view = Preprocessing(shape=(35, 64, 64)).view(Grid.of_image(phantom_image()))
    shares = region_shares(labels, None, view.share(labels), (labels > 0).sum((1, 2)), view)
    found = diseased(probability.astype(np.float32), 0.5)
    return {name: disease_extent(found, share) for name, share in shares}


def test_the_extent_is_the_sum_of_the_probabilities_of_marked_places_in_the_lung() -> None:
    _, labels = phantom()
    marked = np.random.default_rng(0).random((35, 64, 64)) < 0.3
    extent = extent_of(np.where(marked, 0.8, 0.3), labels)
    fine = marked.repeat(2, 0)  # the CT has 70 x 64 x 64 voxels
    assert set(extent) == REGIONS
    assert extent["whole"] == pytest.approx(80 * fine[labels > 0].mean(), abs=1e-4)
    assert extent["right"] == pytest.approx(80 * fine[labels == 1].mean(), abs=1e-4)
    assert extent["left"] == pytest.approx(80 * fine[labels == 2].mean(), abs=1e-4)


def test_disease_in_the_upper_slices_is_in_the_upper_third() -> None:
    _, labels = phantom()
    marked = np.zeros((35, 64, 64), bool)
    marked[21:] = True
    extent = extent_of(marked, labels)
    assert extent["upper"] == pytest.approx(100, abs=8)
    assert extent["lower"] == pytest.approx(0, abs=1e-6)
    thirds = extent["upper"] + extent["middle"] + extent["lower"]
    assert thirds / 3 == pytest.approx(extent["whole"], abs=2)  # they hold about equal volumes


def test_a_region_without_lung_has_no_extent() -> None:
    _, labels = phantom()
    labels = np.where(labels == 1, labels, 0).astype(np.uint8)
    extent = extent_of(np.ones((35, 64, 64)), labels)
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


def test_class_weighted_activations_are_weighted_sums_of_states_and_for_the_last_unit_of_their_changes() -> None:
    network, x = network_of(), volumes(1, 6)
    random = np.random.default_rng(4)
    filters = dict(zip(network.unit_names, (4, 4, 8, 8), strict=True))
    units = tuple(UnitWeights(name, tuple(random.normal(0, 1, n).tolist()), 0.3, 0.5) for name, n in filters.items())
    with torch.inference_mode():
        hidden = network.read(x)
        found = class_activations(network, hidden, ClassWeights(units, "invented cases"))
    assert list(found) == list(network.unit_names)
    for of, states in zip(units, hidden, strict=True):
        weighed = states[0].numpy()
        if of.unit == "desc2":  # reads from the top, index 5, and starts from nothing
            weighed = weighed - np.concatenate([weighed[1:], np.zeros_like(weighed[:1])])
        expected = 0.3 + np.einsum("tfhw,f->thw", weighed, of.weights)
        np.testing.assert_allclose(found[of.unit][0], expected, atol=1e-5)


def weighted(model: Model) -> Model:
    assert isinstance(model.network, ConvLSTMNetwork)
    names = zip(model.network.unit_names, model.network.units, strict=True)
    units = tuple(UnitWeights(name, (0.5,) * unit.recurrence.filters, 0.1, 0.2) for name, unit in names)
    return Model(model.network, dataclasses.replace(model.card, class_weights=ClassWeights(units, "invented cases")))


def test_class_weighted_activations_go_through_scan_record_and_files(model: Model, tmp_path: Path) -> None:
    new = weighted(model)
    result = scan(phantom_image(), new)
    assert list(result.class_activations) == ["asc1", "desc1", "asc2", "desc2"]
    again = result_from_json(record_to_json(result), result.lung_mask)
    assert again.model == result.model
    for name, activation in result.class_activations.items():
        assert activation.grid == result.activations[name].grid
        np.testing.assert_allclose(again.class_activations[name].values, activation.values, rtol=1e-3, atol=1e-4)
    names = [path.name for path in write_overlays(result, tmp_path)]
    assert names[2:6] == [f"class_activation_{name}.nrrd" for name in result.class_activations]
    modelfile.save(tmp_path / "m.safetensors", new.network, new.card)
    assert modelfile.load(tmp_path / "m.safetensors").card == new.card


@pytest.mark.parametrize("change", [{"unit": "asc7"}, {"weights": (1.0,)}])
def test_class_weights_that_do_not_fit_their_network_are_refused(model: Model, tmp_path: Path, change: dict) -> None:
    new = weighted(model)
    assert new.card.class_weights is not None
    units = (dataclasses.replace(new.card.class_weights.units[0], **change), *new.card.class_weights.units[1:])
    card = dataclasses.replace(new.card, class_weights=ClassWeights(units, "x"))
    modelfile.save(tmp_path / "m.safetensors", new.network, card)
    with pytest.raises(ModelFileError, match="do not fit its network"):
        modelfile.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("change", [{"floor": 0}, {"weights": []}, {"bias": "x"}, {"unit": 3}, {"weights": ["x"]}])
def test_a_card_with_impossible_class_weights_is_refused(model: Model, change: dict) -> None:
    raw = weighted(model).card.to_dict()
    units = raw["class_weights"]["units"]
    raw["class_weights"]["units"] = [{**units[0], **change}, *units[1:]]
    with pytest.raises(ModelFileError):
        ModelCard.from_json(json.dumps(raw))
