"""What each architecture tells of a CT: whatever is told adds up, or pools, to its own answer."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import ModelFileError, RecordError, ScanCancelled
from EmphysemaScannerLib.models.modelcard import SliceStory
from EmphysemaScannerLib.models.networks import ARCHITECTURES, logits
from EmphysemaScannerLib.scan.attribution import attribute
from EmphysemaScannerLib.scan.result import ScanResult
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json, write_overlays
from everymodel import NAMES, TEMPERATURE, model_of
from phantom import phantom_image

POOLED = ["mil_max", "mil_mean", "mil_product"]
READ_VOLUMES = [name for name in NAMES if not ARCHITECTURES[name].reads_densitometry]


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
def test_every_result_has_what_its_story_says_and_nothing_else(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    story = ARCHITECTURES[name].story
    assert result.story is story
    assert (result.slice_evidence is not None) is (story is SliceStory.EVIDENCE)
    assert (result.running_logit is not None) is (story is SliceStory.EVIDENCE)
    assert (result.slice_probability is not None) is (story in (SliceStory.PROBABILITY, SliceStory.WEIGHT))
    assert (result.slice_weight is not None) is (story is SliceStory.WEIGHT)
    assert (result.slice_story is None) is (story is SliceStory.NONE)
    assert result.slice_positions_mm[0] > result.slice_positions_mm[-1]
    assert len(result.laa_950_by_slice_percent) == len(result.slice_positions_mm) == 35


@pytest.mark.parametrize("name", POOLED)
def test_the_slices_own_probabilities_pooled_are_the_answer(results: dict[str, ScanResult], name: str) -> None:
    p = results[name].slice_probability
    assert np.ptp(p) > 1e-3
    pooled = {"mil_max": p.max(), "mil_mean": p.mean(), "mil_product": 1 - np.prod(1 - p)}[name]
    assert logit_of(pooled) / TEMPERATURE == pytest.approx(results[name].logit, abs=1e-4)


@pytest.mark.parametrize("name", POOLED)
def test_the_map_of_a_slice_and_the_bias_sum_to_the_logit_of_its_own_probability(
    results: dict[str, ScanResult], name: str
) -> None:
    result = results[name]
    by_slice = result.evidence.values.sum((1, 2), dtype=float)[result.slice_indices]
    np.testing.assert_allclose(by_slice + result.bias, logit_of(result.slice_probability), atol=1e-4)


def test_attention_weighs_the_logits_of_the_slices_own_probabilities(results: dict[str, ScanResult]) -> None:
    result = results["mil_attention"]
    assert result.slice_weight.sum() == pytest.approx(1)
    assert np.ptp(result.slice_weight) > 1e-5
    weighted = result.slice_weight @ logit_of(result.slice_probability)
    assert weighted / TEMPERATURE == pytest.approx(result.logit, abs=1e-4)


@pytest.mark.parametrize("name", ["conv_lstm", "mil_attention", "cnn3d"])
def test_the_whole_map_and_the_bias_sum_to_the_logit(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    assert result.evidence.values.std() > 0
    assert result.evidence.values.shape == (35, 2, 2)
    assert result.bias + result.evidence.values.sum(dtype=float) == pytest.approx(result.logit, abs=1e-4)


def test_the_conv_lstms_slices_still_sum_to_its_logit_at_another_temperature(results: dict[str, ScanResult]) -> None:
    result = results["conv_lstm"]
    assert result.running_logit[-1] == pytest.approx(result.logit, abs=1e-4)
    assert np.allclose(result.bias + np.cumsum(result.slice_evidence), result.running_logit)


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
    assert logit_of(result.slice_probability[k]) == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_telling_slices_are_ranked_by_what_the_model_tells(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    told = result.laa_950_by_slice_percent if result.slice_story is None else result.slice_story
    ranked = np.abs(np.nan_to_num(told))[result.telling_slices(35)]
    assert (np.diff(ranked) <= 0).all()
    assert sorted(result.telling_slices(35)) == list(range(35))


@pytest.mark.parametrize("name", NAMES)
def test_a_result_comes_back_from_its_record(results: dict[str, ScanResult], name: str) -> None:
    result = results[name]
    record = record_to_json(result)
    back = result_from_json(record, result.lung_mask)
    assert back.story is result.story
    for field in ("slice_probability", "slice_weight", "slice_evidence", "running_logit", "slice_positions_mm"):
        np.testing.assert_array_equal(getattr(back, field), getattr(result, field))
    assert (back.evidence is None) is (result.evidence is None)
    assert back.lung_fraction.grid == result.lung_fraction.grid
    assert record_to_json(back) == record


@pytest.mark.parametrize(("name", "field"), [("mil_mean", "slice_probability"), ("mil_attention", "slice_weight")])
def test_a_record_without_what_its_story_needs_is_refused(
    results: dict[str, ScanResult], name: str, field: str
) -> None:
    values = json.loads(record_to_json(results[name]))
    for broken in ({**values, field: None}, {**values, field: [0.5]}, {**values, "story": "gossip"}):
        with pytest.raises(RecordError, match="scan the CT again"):
            result_from_json(json.dumps(broken), results[name].lung_mask)


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
