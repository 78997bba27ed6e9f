"""One CT through one model: the evidence adds up, lies where it should, and doesn't depend on how the CT was stored."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import NotAChestCTError, ScanCancelled
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig
from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.models.networks import FastConvLSTM
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.result import ScanResult, SliceEvidence
from EmphysemaScannerLib.scan.scan import scan
from phantom import phantom, phantom_image


@pytest.fixture(scope="module")
def model() -> Model:
    """Random weights, with BatchNorm statistics that are not the identity."""
    torch.manual_seed(0)
    network = FastConvLSTM(ConvLSTMConfig(width=4)).eval()
    for unit in network.units:
        unit.state_norm.running_mean.normal_(0, 0.1)
        unit.state_norm.running_var.uniform_(0.5, 2)
        torch.nn.init.normal_(unit.state_norm.bias, 0, 0.1)
    card = ModelCard(
        "random", "conv_lstm", 4, 1, Preprocessing(), OperatingPoint(0.5, "test"), "", "2026-01-01", "", "", True
    )
    return Model(network, card)


@pytest.fixture(scope="module")
def result(model: Model) -> ScanResult:
    return scan(phantom_image(), model, source="phantom")


def test_bias_and_slice_evidence_sum_to_the_networks_own_logit(model: Model, result: ScanResult) -> None:
    x, _ = model.card.preprocessing.apply(phantom_image())
    with torch.inference_mode():
        logit = float(model.network(torch.from_numpy(x)[None, :, None]).logit)
    assert result.logit == pytest.approx(logit, abs=1e-6)
    assert result.bias + result.slices.evidence.sum() == pytest.approx(logit, abs=1e-4)
    assert result.slices.running_logit[-1] == pytest.approx(logit, abs=1e-4)
    assert np.allclose(result.bias + np.cumsum(result.slices.evidence), result.slices.running_logit)
    assert np.ptp(result.slices.evidence) > 1e-4  # random weights do add something


def test_the_evidence_map_sums_to_each_slices_evidence(result: ScanResult) -> None:
    by_slice = result.evidence.values.sum((1, 2))
    assert np.allclose(by_slice[result.slice_indices], result.slices.evidence, atol=1e-5)


def test_the_running_logit_is_what_the_network_says_when_it_stops_there(model: Model, result: ScanResult) -> None:
    x, _ = model.card.preprocessing.apply(phantom_image())
    network = model.network
    with torch.inference_mode():
        last = network.read(torch.from_numpy(x)[None, :, None])[-1]
        stopped = network.dense(network.units[-1].state_norm(last[:, 20]).flatten(1))
    assert float(stopped) == pytest.approx(result.slices.running_logit[list(result.slice_indices).index(20)], abs=1e-4)


def test_slices_are_told_from_the_top_down_at_their_place_in_the_patient(result: ScanResult) -> None:
    bottom, height = -400.0 - 2.5, 70 * 5.0  # of the phantom's box, LPS z = RAS S
    centres = bottom + height * (np.arange(35) + 0.5) / 35
    assert np.allclose(result.slice_positions_mm, centres[::-1])


def test_every_map_covers_the_ct_edge_to_edge(result: ScanResult) -> None:
    for overlay in (result.evidence, result.lung_fraction, *result.activations.values()):
        corners = overlay.grid.position_lps(np.array([[-0.5] * 3, np.array(overlay.grid.shape) - 0.5]))
        whole = result.lung_mask.grid.position_lps(np.array([[-0.5] * 3, np.array(result.lung_mask.grid.shape) - 0.5]))
        assert np.allclose(corners, whole)


def test_activation_maps_are_the_root_mean_square_over_channels(model: Model, result: ScanResult) -> None:
    x, _ = model.card.preprocessing.apply(phantom_image())
    with torch.inference_mode():
        hidden = model.network(torch.from_numpy(x)[None, :, None]).hidden
    assert [result.activations[n].values.shape[1] for n in ("asc1", "desc1", "asc2", "desc2")] == [64, 32, 16, 8]
    assert np.allclose(result.activations["desc1"].values, np.sqrt((hidden[1][0].numpy() ** 2).mean(1)), atol=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_ct_stored_upside_down_or_sideways_has_the_same_probability(
    model: Model, result: ScanResult, order: tuple[int, int, int]
) -> None:
    stored = sitk.Flip(sitk.PermuteAxes(phantom_image(), order), (True, False, True))
    other = scan(stored, model)
    assert other.probability == pytest.approx(result.probability, abs=1e-6)
    assert np.allclose(other.evidence.grid.ijk_to_ras(), result.evidence.grid.ijk_to_ras())


def test_the_same_ct_twice_gives_the_same_bits(model: Model, result: ScanResult) -> None:
    again = scan(phantom_image(), model)
    assert again.logit == result.logit
    assert np.array_equal(again.evidence.values, result.evidence.values)


def test_a_scan_can_be_cancelled_at_every_stage_and_slice(model: Model) -> None:
    stages: list[str] = []
    scan(phantom_image(), model, progress=lambda _, stage: stages.append(stage))
    assert "Reading: unit 4 of 4, slice 35 of 35" in stages
    for wanted in (0, 2, len(stages) // 2, len(stages) - 1):
        told: list[str] = []

        def stop(_: float, stage: str, told: list[str] = told, wanted: int = wanted) -> None:
            told.append(stage)
            if len(told) == wanted + 1:
                raise ScanCancelled("stopped")

        with pytest.raises(ScanCancelled):
            scan(phantom_image(), model, progress=stop)
        assert told == stages[: wanted + 1]


def test_what_is_not_a_chest_ct_is_refused(model: Model) -> None:
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 30, (60, 64, 64)).astype(np.float32))
    noise.SetSpacing((5, 5, 5))
    with pytest.raises(NotAChestCTError):
        scan(noise, model)


def test_the_real_abdomen_and_lung_base_are_refused_or_flagged(model: Model, shared_data) -> None:
    from EmphysemaScannerLib.ct.reading import read_ct

    with pytest.raises(NotAChestCTError):
        scan(read_ct(shared_data / "not-a-chest" / "abdomen.nii.gz").image, model)
    try:
        flagged = scan(read_ct(shared_data / "not-a-chest" / "lung-base-20-slices-jpeg2000").image, model)
    except NotAChestCTError:
        return
    assert flagged.warnings


def test_half_precision_changes_the_answer_a_little_and_the_evidence_still_sums_to_it(
    model: Model, result: ScanResult
) -> None:
    half = scan(phantom_image(), model, dtype=torch.bfloat16)
    assert half.logit != result.logit
    assert half.logit == pytest.approx(result.logit, abs=0.02)
    assert half.bias + half.slices.evidence.sum() == pytest.approx(half.logit, abs=1e-4)
    assert half.activations["desc2"].values.dtype == np.float32


@pytest.mark.parametrize("slices", [101, 36, 35, 20])
def test_a_slice_of_the_ct_counts_where_its_centre_lies_whatever_the_ratio_of_slices(model: Model, slices: int) -> None:
    planes = np.linspace(0, len(phantom()[0]) - 1, slices).round().astype(int)
    hu, labels = (array[planes] for array in phantom())
    low = np.random.default_rng(1).random(hu.shape) < np.linspace(0, 0.6, slices)[:, None, None]
    image = sitk.GetImageFromArray(np.where((labels > 0) & low, -970, hu).astype(np.int16))
    image.SetSpacing((5.5, 5.5, 350 / slices))
    result = scan(image, model)

    hu, lungs = sitk.GetArrayFromImage(image), result.lung_mask.values > 0
    expected = np.full(35, np.nan)
    for k in range(35):
        inside = [n for n in range(slices) if 35 * (n + 0.5) >= k * slices and 35 * (n + 0.5) < (k + 1) * slices]
        if lungs[inside].any():
            expected[k] = 100 * (hu[inside][lungs[inside]] < -950).mean()
    assert np.nanmax(expected) > 20
    np.testing.assert_allclose(result.laa_950_by_slice_percent, expected[result.slice_indices])


def test_the_telling_slices_are_those_that_moved_the_answer_most_either_way(result: ScanResult) -> None:
    moved = dataclasses.replace(result, slices=SliceEvidence(np.array([0.1, -0.4, 0.2, 0.4, -0.1]), np.zeros(5)))
    assert moved.telling_slices(3) == [1, 3, 2]
    assert moved.telling_slices(9) == [1, 3, 2, 0, 4]
    assert moved.telling_slices(0) == []
