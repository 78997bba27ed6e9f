"""Learning what shows where disease is: a readout that finds it, class weights, and floors for healthy lungs."""

from __future__ import annotations

import dataclasses
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.cohort.manifest import CohortRow, read_manifest
from EmphysemaScannerLib.commands.cli import main
from EmphysemaScannerLib.ct.grid import area_average
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.classweights import logit_gradients
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMNetwork
from EmphysemaScannerLib.models.modelheader import read_card
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.training.classweights import find_class_weights
from EmphysemaScannerLib.training.diseasemap import DiseaseMapError, Places, fit, learn_disease_map, places_of
from EmphysemaScannerLib.training.places import LUNG_SHARE
from EmphysemaScannerLib.training.plan import NetworkChoice, Plan
from EmphysemaScannerLib.training.trainmodel import train_model
from everymodel import model_of
from phantom import phantom, phantom_image
from smallnetwork import network_of, volumes


def test_the_readout_is_the_logistic_regression_of_the_diseased_share() -> None:
    """Scikit-learn's own answer where no place is partly diseased, and half a place counts as half of each."""
    random = np.random.default_rng(0)
    states = random.normal(5, 2, (400, 3)).astype(np.float32)
    diseased = (states @ [1.0, -2.0, 0.0] + random.normal(0, 3, 400) > -5).astype(np.float32)
    weights, bias = fit([Places(states, diseased)])
    logits = states @ weights + bias
    assert np.corrcoef(logits, states @ [1.0, -2.0, 0.0])[0, 1] > 0.98
    half = Places(states, np.full(400, 0.5, np.float32))
    weights, bias = fit([half])
    np.testing.assert_allclose(states @ weights + bias, 0, atol=1e-2)
    tenth = Places(states, np.full(400, 0.1, np.float32))  # as often as in the cases
    weights, bias = fit([tenth])
    np.testing.assert_allclose(1 / (1 + np.exp(-(states @ weights + bias))), 0.1, atol=1e-3)


def test_cases_count_the_same_however_many_places_they_have() -> None:
    random = np.random.default_rng(0)
    one = Places(random.normal(0, 1, (50, 2)).astype(np.float32), random.integers(0, 2, 50).astype(np.float32))
    other = Places(random.normal(0, 1, (80, 2)).astype(np.float32), random.integers(0, 2, 80).astype(np.float32))
    twice = Places(np.repeat(other.terms, 3, 0), np.repeat(other.diseased, 3))
    for a, b in zip(fit([one, other]), fit([one, twice]), strict=True):
        np.testing.assert_allclose(a, b, atol=0.02)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two training cases and a healthy tuning case; in the diseased one the upper half of the right lung is lighter."""
    _, labels = phantom()
    image = phantom_image()
    lines = ["volume,label,patient,split,lesions"]
    for name, label, split in (("a", 0, "train"), ("b", 1, "train"), ("c", 0, "tune")):
        hu = sitk.GetArrayFromImage(image)
        where = (labels == 1) & (np.arange(70)[:, None, None] > 35)
        if label:
            hu[where] = -1000
        ct = sitk.GetImageFromArray(hu)
        ct.CopyInformation(image)
        sitk.WriteImage(ct, str(tmp_path / f"{name}.nrrd"))
        lesions = sitk.GetImageFromArray(np.where(where, 255 * label, 0).astype(np.uint8))
        lesions.CopyInformation(image)
        sitk.WriteImage(lesions, str(tmp_path / f"{name}-lesions.nrrd"))
        lines.append(f"{name}.nrrd,{label},{name},{split},{name}-lesions.nrrd")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "manifest.csv"


def test_the_command_writes_a_model_whose_map_finds_the_disease_and_leaves_healthy_lungs_empty(
    cohort: Path, tmp_path: Path
) -> None:
    model = model_of("conv_lstm")
    modelfile.save(tmp_path / "plain.safetensors", model.network, model.card)
    out = tmp_path / "new.safetensors"
    arguments = ["disease-map", str(tmp_path / "plain.safetensors"), str(cohort), "--data", "Boxes.", "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
    card = read_card(out)
    assert card.disease_map is not None
    assert card.disease_map.learned_from == "Boxes."
    assert card.class_weights is not None
    assert dataclasses.replace(card, disease_map=None, class_weights=None) == model.card
    loaded = modelfile.load(out)
    known = card.disease_map
    weights, bias = np.array([*known.weights, known.input_weight, known.low_weight]), known.bias

    def marked(name: str, label: int) -> tuple[np.ndarray, np.ndarray]:
        lesions = cohort.parent / f"{name}-lesions.nrrd"
        places = places_of(loaded, CohortRow(cohort.parent / f"{name}.nrrd", label, name, lesions=lesions))
        probability = 1 / (1 + np.exp(-(places.terms @ weights + bias)))
        return probability >= card.disease_map.floor, places.diseased > 0.5

    found, diseased = marked("b", 1)
    assert found[diseased].mean() > 0.8
    assert found[~diseased].mean() < 0.1
    assert marked("c", 0)[0].mean() < 0.021
    with pytest.raises(SystemExit) as ended:  # nothing is written over
        main(arguments)
    assert ended.value.code == 2


def test_without_lesion_maps_the_command_finds_class_weights_alone(cohort: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(line.rpartition(",")[0] for line in cohort.read_text().splitlines()) + "\n")
    model, out = model_of("conv_lstm"), tmp_path / "new.safetensors"
    modelfile.save(tmp_path / "plain.safetensors", model.network, model.card)
    with pytest.raises(SystemExit) as ended:
        main(["disease-map", str(tmp_path / "plain.safetensors"), str(labels), "--data", "Boxes.", "--out", str(out)])
    assert not ended.value.code
    loaded = modelfile.load(out)
    assert loaded.card.disease_map is None
    weights = loaded.card.class_weights
    assert weights is not None
    assert [of.unit for of in weights.units] == ["asc1", "desc1", "asc2", "desc2"]
    result = scan(sitk.ReadImage(str(tmp_path / "a.nrrd")), loaded)  # the healthy case that the ranges come from
    for of in weights.units:
        activation = result.class_activations[of.unit]
        lung = area_average(result.lung_fraction.values, activation.grid.shape)
        lung = lung >= LUNG_SHARE * lung.max()
        assert activation.values[lung].mean() == pytest.approx(0, abs=0.05)
        assert (activation.values[lung] >= of.floor).mean() < 0.03


def test_the_gradient_is_that_of_the_logit_by_each_channel_of_each_unit() -> None:
    """As the change of the logit says when one channel of a unit changes a little everywhere."""
    network = network_of(torch.float64)
    hidden, gradients = logit_gradients(network, volumes(1, 6, torch.float64))
    for k in range(4):
        for channel in (0, 3):
            step = torch.zeros_like(hidden[k])
            step[:, :, channel] = 1e-7
            with torch.inference_mode():
                change = sum(sign * logit_from(network, hidden[k] + sign * step, k) for sign in (1, -1)) / 2e-7
            assert float(gradients[k][:, :, channel].sum()) == pytest.approx(float(change), rel=1e-4, abs=1e-6)


def logit_from(network: ConvLSTMNetwork, states: torch.Tensor, k: int) -> torch.Tensor:
    """The logit where a unit has other hidden states."""
    for before, unit in pairwise(network.units[k:]):
        states = unit(before.normalised(states))
    return network.answer(states)


def test_training_ends_with_class_weights(tmp_path: Path, cohort: Path) -> None:
    lines = ["volume,label,patient,split"]
    for name, label in (("a", 0), ("b", 1)):
        for split in ("train", "tune"):
            shutil.copy(cohort.parent / f"{name}.nrrd", tmp_path / f"{name}-{split}.nrrd")
            lines.append(f"{name}-{split}.nrrd,{label},{name} {split},{split}")
    manifest = tmp_path / "labels.csv"
    manifest.write_text("\n".join(lines) + "\n")
    choice = NetworkChoice(width=2, preprocessing=Preprocessing(shape=(4, 32, 32)))
    path = train_model([manifest], tmp_path / "run", Plan(epochs=1, batch_size=2), choice)
    weights = read_card(path).class_weights
    assert [of.unit for of in weights.units] == ["asc1", "desc1", "asc2", "desc2"]
    assert weights.found_on == "2 cases of the training split, 1 of them with emphysema."


def test_a_model_without_recurrent_units_has_no_class_weights(cohort: Path) -> None:
    assert find_class_weights(model_of("mil_mean"), read_manifest(cohort)) is None


@pytest.mark.parametrize(
    ("architecture", "split", "wanted"),
    [("mil_mean", "train", "Only a Conv-LSTM"), ("conv_lstm", "test", "healthy ones in the split tune")],
)
def test_a_map_that_cannot_be_learned_is_refused_in_a_sentence(
    architecture: str, split: str, wanted: str, tmp_path: Path
) -> None:
    rows = [CohortRow(tmp_path / "x.nrrd", label, "p", split=split) for label in (0, 1)]
    with pytest.raises(DiseaseMapError, match=wanted):
        learn_disease_map(model_of(architecture), rows, "nothing")


@pytest.mark.parametrize("what", ["shorts", "text"])
def test_a_file_that_is_no_lesion_map_is_refused_in_a_sentence(what: str, cohort: Path) -> None:
    path = cohort.parent / "b-lesions.nrrd"
    if what == "text":
        path.write_text("no lesions")
    else:
        sitk.WriteImage(sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkInt16), str(path))
    with pytest.raises(EmphysemaScannerError, match="b-lesions"):
        learn_disease_map(model_of("conv_lstm"), read_manifest(cohort), "Boxes.")
