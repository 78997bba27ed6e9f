"""A CT is called negative only if it holds the whole lungs; a model that densitometry contradicts is not left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.lungs.densitometry import Densitometry
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig
from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.models.modelfile import Model, load
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.models.networks import FastConvLSTM
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.call import Call, contradiction, decide, withheld_because
from EmphysemaScannerLib.scan.result import ScanResult
from EmphysemaScannerLib.scan.scan import scan
from phantom import phantom, phantom_image

WHOLE = Coverage(0.0, 0.0)
LUNGS = Densitometry(4.0, 20.0, 60.0, -920.0, -840.0, 90.0, 5.0, 800.0)


@pytest.mark.parametrize(
    ("probability", "coverage", "expected"),
    [
        (0.4, WHOLE, Call.POSITIVE),
        (0.3999, WHOLE, Call.NEGATIVE),
        (0.3999, Coverage(5.0, 5.0), Call.NEGATIVE),
        (0.3999, Coverage(5.5, 0.0), Call.NONE),
        (0.3999, Coverage(0.0, 5.5), Call.NONE),
        (0.4, Coverage(50.0, 30.0), Call.POSITIVE),
    ],
)
def test_a_negative_call_needs_all_but_a_twentieth_of_the_lungs_at_either_end(
    probability: float, coverage: Coverage, expected: Call
) -> None:
    assert decide(probability, 0.4, coverage) is expected


@pytest.mark.parametrize(
    ("coverage", "reason"),
    [
        (Coverage(5.0, 5.0), ""),
        (
            Coverage(12.0, 0.0),
            "No call: the apices are not in this CT (about 12 % of the lungs' height is missing at the top; a negative "
            "call allows 5 %).",
        ),
        (
            Coverage(3.0, 8.0),
            "No call: the bases are not in this CT (about 8 % of the lungs' height is missing at the bottom; a "
            "negative call allows 5 %).",
        ),
        (
            Coverage(12.0, 8.0),
            "No call: the apices and the bases are not in this CT (about 12 % of the lungs' height is missing at the "
            "top and 8 % at the bottom; a negative call allows 5 %).",
        ),
    ],
)
def test_the_reason_names_the_missing_part_with_its_share(coverage: Coverage, reason: str) -> None:
    assert withheld_because(coverage) == reason


@pytest.mark.parametrize(
    ("probability", "laa", "noisy", "warned"),
    [
        (0.39, 10.1, False, True),
        (0.39, 10.0, False, False),
        (0.39, 30.0, True, False),  # noise alone makes such an LAA%-950
        (0.40, 30.0, False, False),
        (0.40, 0.49, False, True),
        (0.40, 0.49, True, True),
        (0.40, 0.50, False, False),
        (0.39, 0.10, False, False),
    ],
)
def test_model_and_densitometry_that_point_in_opposite_directions_are_named_with_both_figures(
    probability: float, laa: float, noisy: bool, warned: bool
) -> None:
    found = contradiction(probability, 0.4, dataclasses.replace(LUNGS, laa_950_percent=laa), noisy)
    assert len(found) == warned
    if warned:
        assert f"({100 * probability:.0f} %)" in found[0]
        assert f"LAA%-950 is {laa:.1f} %" in found[0]


def test_without_densitometry_nothing_contradicts() -> None:
    assert contradiction(0.9, 0.4, None, False) == ()


def scanned(slices: slice, point: float, lung_hu: int = 0, noise_hu: float = 0.0) -> ScanResult:
    """Some slices of the phantom, its lungs denser or lighter, through a network of random weights."""
    torch.manual_seed(0)
    card = ModelCard(
        "random", "conv_lstm", 2, 1, Preprocessing(), OperatingPoint(point, "test"), "", "2026-01-01", "", "", True
    )
    hu, labels = phantom()
    noise = np.random.default_rng(0).normal(0, noise_hu, hu.shape)
    image = sitk.GetImageFromArray((hu + np.where(labels > 0, lung_hu, 0) + noise).astype(np.float32))
    image.CopyInformation(phantom_image())
    return scan(image[:, :, slices], Model(FastConvLSTM(ConvLSTMConfig(width=2)).eval(), card))


def test_a_scan_of_a_whole_chest_is_called() -> None:
    assert scanned(slice(None), 1.0).call is Call.NEGATIVE
    assert scanned(slice(None), 0.0).call is Call.POSITIVE


@pytest.mark.parametrize(("slices", "part"), [(slice(0, 50), "apices"), (slice(20, 70), "bases")])
def test_a_scan_of_a_cut_chest_is_called_positive_or_not_at_all(slices: slice, part: str) -> None:
    negative, positive = scanned(slices, 1.0), scanned(slices, 0.0)
    assert negative.call is Call.NONE
    assert part in negative.call_reason
    assert (positive.call, positive.call_reason) == (Call.POSITIVE, "")


def test_a_real_ct_that_ends_above_the_bases_is_never_called_negative(ct_without_bases: Path) -> None:
    image = read_ct(ct_without_bases).image
    shipped = load(default_model_path())
    found = scan(image, shipped)
    assert found.coverage.missing_bottom_percent > 5
    assert found.call is not Call.NEGATIVE
    strict = dataclasses.replace(shipped.card, operating_point=OperatingPoint(1.0, "test"))
    assert dataclasses.replace(found, model=strict).call is Call.NONE


def test_a_real_ct_of_whole_lungs_without_emphysema_is_called_negative(ct_of_5_mm: Path) -> None:
    found = scan(read_ct(ct_of_5_mm).image, load(default_model_path()))
    assert found.coverage.missing_top_percent <= 5
    assert found.coverage.missing_bottom_percent <= 5
    assert (found.call, found.call_reason) == (Call.NEGATIVE, "")


@pytest.mark.parametrize("kept", ["without-top", "without-bottom"])
@pytest.mark.parametrize("percent", [10, 20, 30, 40, 50])
def test_real_emphysema_is_never_called_negative_because_of_what_is_cut_away(
    shared_data: Path, kept: str, percent: int
) -> None:
    image = read_ct(shared_data / "cip" / "ct-64.nrrd").image
    slices = round(image.GetDepth() * percent / 100)
    part = image[:, :, :-slices] if kept == "without-top" else image[:, :, slices:]
    assert scan(part, load(default_model_path())).call is not Call.NEGATIVE


def test_a_contradiction_is_the_first_warning_of_a_scan() -> None:
    negative = scanned(slice(None), 1.0, lung_hu=-100)
    assert negative.warnings[0].startswith("Model and densitometry contradict each other")
    assert f"LAA%-950 is {negative.densitometry['whole'].laa_950_percent:.1f} %" in negative.warnings[0]
    assert len(negative.warnings) > 1


def test_low_density_that_noise_may_have_made_contradicts_nothing() -> None:
    negative = scanned(slice(None), 1.0, lung_hu=-60, noise_hu=50)
    assert negative.densitometry["whole"].laa_950_percent > 10
    assert not any("contradict" in warning for warning in negative.warnings)
