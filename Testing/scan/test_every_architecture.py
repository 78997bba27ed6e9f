"""What each architecture gives for a CT and its slices: it adds up, or pools, to its own answer."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import ModelFileError, RecordError, ScanCancelled
from EmphysemaScannerLib.models.networks import ARCHITECTURES, logits
from EmphysemaScannerLib.models.preprocessing import Needs
from EmphysemaScannerLib.scan.attribution import attribute
from EmphysemaScannerLib.scan.result import ScanResult, SliceEvidence, SliceMeasure, SliceProbabilities, SliceWeights
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json, result_to_dict, write_overlays
from everymodel import NAMES, TEMPERATURE, model_of
from phantom import phantom_image

SLICES = {
    "conv_lstm": SliceEvidence,
    "mil_max": SliceProbabilities,
    "mil_mean": SliceProbabilities,
    "mil_product": SliceProbabilities,
    "mil_attention": SliceWeights,
    "cnn3d": type(None),
    "laa950_logistic": type(None),
    "perc15_logistic": type(None),
}
FIGURES = {
    SliceEvidence: [SliceMeasure.EVIDENCE, SliceMeasure.RUNNING_LOGIT, SliceMeasure.RUNNING_PROBABILITY],
    SliceProbabilities: [SliceMeasure.PROBABILITY],
    SliceWeights: [SliceMeasure.WEIGHT, SliceMeasure.PROBABILITY],
    type(None): [],
}
POOLED = ["mil_max", "mil_mean", "mil_product"]
READ_VOLUMES = [name for name in NAMES if ARCHITECTURES[name].needs is Needs.VOLUME]


@pytest.fixture(scope="module")
def results() -> dict[str, ScanResult]:
    return {name: scan(phantom_image(), model_of(name), source="phantom") for name in NAMES}


def logit_of(probability: np.ndarray) -> np.ndarray:
    return np.log(probability) - np.log1p(-probability)


@pytest.mark.parametrize("name", READ_VOLUMES)
def test_the_answer_is_the_networks_own_divided_by_the_temperature(results: dict[str, ScanResult], name: str) -> None:
    model = model_of(name)
    x, _ = model.card.preprocessing.apply(phantom_image())
    with torch.inference_mode():
        expected = float(logits(model.network, model.card, torch.from_numpy(x)[None, :, None]))
    assert results[name].logit == pytest.approx(expected, abs=1e-5)
    assert abs(expected) > 1e-3
    assert results[name].probability == pytest.approx(1 / (1 + np.exp(-expected)), abs=1e-6)


@pytest.mark.parametrize(("name", "figure"), [("laa950_logistic", "laa_950_percent"), ("perc15_logistic", "perc15_hu")])
def test_a_densitometry_model_answers_from_the_figure_that_the_same_scan_measures(
    results: dict[str, ScanResult], name: str, figure: str
) -> None:
    result = results[name]
    measured = getattr(result.densitometry["whole"], figure)
    assert result.logit == pytest.approx((0.02 * measured + 0.3) / TEMPERATURE, rel=1e-5)
    assert result.evidence is None
    assert not result.activations


@pytest.mark.parametrize("name", NAMES)
def test_a_result_has_the_figures_of_its_architecture_and_no_others(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    assert type(result.slices) is SLICES[name]
    assert list(result.by_slice) == [*FIGURES[SLICES[name]], SliceMeasure.LAA_950]
    assert all(figures.shape == (35,) for figures in result.by_slice.values())
    assert result.slice_positions_mm[0] > result.slice_positions_mm[-1]
    assert len(result.slice_positions_mm) == 35


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_architectures_and_the_saved_form_name_what_each_slice_has(
    results: dict[str, ScanResult], name: str
) -> None:
    values = result_to_dict(results[name])
    assert values["each_slice"] == ARCHITECTURES[name].each_slice
    given = [measure.key for measure in SliceMeasure if values[measure.key] is not None]
    assert sorted(given) == sorted(measure.key for measure in results[name].by_slice)


@pytest.mark.parametrize("name", POOLED)
def test_the_slices_own_probabilities_pooled_are_the_answer(results: dict[str, ScanResult], name: str) -> None:
    p = results[name].slices.probability
    assert np.ptp(p) > 1e-3
    pooled = {"mil_max": p.max(), "mil_mean": p.mean(), "mil_product": 1 - np.prod(1 - p)}[name]
    assert logit_of(pooled) / TEMPERATURE == pytest.approx(results[name].logit, abs=1e-4)


@pytest.mark.parametrize("name", POOLED)
def test_the_map_of_a_slice_and_the_bias_sum_to_the_logit_of_its_own_probability(
    results: dict[str, ScanResult], name: str
) -> None:
    result = results[name]
    by_slice = result.evidence.values.sum((1, 2), dtype=float)[result.slice_indices]
    np.testing.assert_allclose(by_slice + result.bias, logit_of(result.slices.probability), atol=1e-4)


def test_attention_weighs_the_logits_of_the_slices_own_probabilities(results: dict[str, ScanResult]) -> None:
    result = results["mil_attention"]
    assert result.slices.weight.sum() == pytest.approx(1)
    assert np.ptp(result.slices.weight) > 1e-5
    weighted = result.slices.weight @ logit_of(result.slices.probability)
    assert weighted / TEMPERATURE == pytest.approx(result.logit, abs=1e-4)


@pytest.mark.parametrize("name", ["conv_lstm", "mil_attention", "cnn3d"])
def test_the_whole_map_and_the_bias_sum_to_the_logit(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    assert result.evidence.values.std() > 0
    assert result.evidence.values.shape == (35, 2, 2)
    assert result.bias + result.evidence.values.sum(dtype=float) == pytest.approx(result.logit, abs=1e-4)


def test_the_conv_lstms_slices_still_sum_to_its_logit_at_another_temperature(results: dict[str, ScanResult]) -> None:
    result = results["conv_lstm"]
    assert result.slices.running_logit[-1] == pytest.approx(result.logit, abs=1e-4)
    assert np.allclose(result.bias + np.cumsum(result.slices.evidence), result.slices.running_logit)


def test_a_3d_cnns_terms_lie_in_the_slices_that_its_pooling_keeps(results: dict[str, ScanResult]) -> None:
    terms = results["cnn3d"].evidence.values
    assert (terms[32:] == 0).all()
    assert (terms[:16] == terms[0]).all()
    assert (terms[16:32] == terms[16]).all()
    assert not np.array_equal(terms[0], terms[16])


def test_a_slices_probability_is_what_a_ct_of_this_slice_alone_would_get() -> None:
    model = model_of("mil_attention")
    x, _ = model.card.preprocessing.apply(phantom_image())
    result = scan(phantom_image(), model)
    k = 5
    index = int(result.slice_indices[k])
    with torch.inference_mode():
        alone = float(model.network(torch.from_numpy(x[index : index + 1])[None, :, None]).logit)
    assert logit_of(result.slices.probability[k]) == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_slices_are_ranked_by_the_first_of_their_figures(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    first = (FIGURES[SLICES[name]] or [SliceMeasure.LAA_950])[0]
    ranked = np.abs(np.nan_to_num(result.by_slice[first]))[result.telling_slices(35)]
    assert (np.diff(ranked) <= 0).all()
    assert sorted(result.telling_slices(35)) == list(range(35))


@pytest.mark.parametrize("name", NAMES)
def test_a_result_comes_back_from_its_record(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    record = record_to_json(result)
    back = result_from_json(record, result.lung_mask)
    assert type(back.slices) is type(result.slices)
    for measure, figures in result.by_slice.items():
        np.testing.assert_array_equal(back.by_slice[measure], figures)
    np.testing.assert_array_equal(back.slice_positions_mm, result.slice_positions_mm)
    assert (back.evidence is None) is (result.evidence is None)
    assert back.lung_fraction.grid == result.lung_fraction.grid
    assert record_to_json(back) == record


@pytest.mark.parametrize(("name", "field"), [("mil_mean", "slice_probability"), ("mil_attention", "slice_weight")])
def test_a_record_without_its_figures_of_slices_is_refused(
    results: dict[str, ScanResult], name: str, field: str
) -> None:
    values = json.loads(record_to_json(results[name]))
    for broken in ({**values, field: None}, {**values, field: [0.5]}, {**values, "each_slice": "gossip"}):
        with pytest.raises(RecordError, match="scan the CT again"):
            result_from_json(json.dumps(broken), results[name].lung_mask)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_of_an_earlier_version_with_another_key_for_the_slices_is_read(
    results: dict[str, ScanResult], name: str
) -> None:
    record = record_to_json(results[name])
    values = json.loads(record)
    values["story"] = values.pop("each_slice")
    assert record_to_json(result_from_json(json.dumps(values), results[name].lung_mask)) == record


@pytest.mark.parametrize("name", ["mil_mean", "mil_attention", "cnn3d"])
def test_a_scan_can_be_cancelled_while_the_network_reads(name: str) -> None:
    def stop(_: float, stage: str) -> None:
        if stage.startswith("Reading: ") and " 2 of " in stage:
            raise ScanCancelled("stopped")

    with pytest.raises(ScanCancelled):
        scan(phantom_image(), model_of(name), progress=stop)


def test_only_the_maps_that_are_there_are_written(results: dict[str, ScanResult], tmp_path) -> None:
    assert write_overlays(results["laa950_logistic"], tmp_path) == ()
    (written,) = write_overlays(results["mil_mean"], tmp_path)
    assert sitk.ReadImage(str(written)).GetSize() == (2, 2, 35)


@pytest.mark.parametrize("name", ["mil_mean", "mil_attention", "cnn3d"])
def test_gradients_are_attributed_to_the_calibrated_logit(results: dict[str, ScanResult], name: str) -> None:
    model = model_of(name)
    hu = sitk.GetArrayFromImage(phantom_image())
    hu[30:40, 20:44, 15:25] = -990
    image = sitk.GetImageFromArray(hu)
    image.CopyInformation(phantom_image())
    attributed = attribute(image, model, steps=4)
    assert np.abs(attributed.values.values).sum() > 0
    hotter = attribute(
        image, dataclasses.replace(model, card=dataclasses.replace(model.card, temperature=3.2)), steps=4
    )
    assert hotter.difference == pytest.approx(attributed.difference / 2, rel=1e-4)


def test_there_is_nothing_to_attribute_to_a_densitometry_model() -> None:
    with pytest.raises(ModelFileError, match="no voxels"):
        attribute(phantom_image(), model_of("perc15_logistic"))
