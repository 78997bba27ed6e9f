"""The sample cases that come with the module."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from EmphysemaScannerLib.simulator import samples


@pytest.fixture(scope="module")
def real() -> sitk.Image:
    return samples.real_chest_ct()


@pytest.fixture(scope="module")
def simulated() -> sitk.Image:
    return samples.simulated_emphysema_ct()


def test_the_real_sample_is_a_whole_chest_in_hounsfield_units(real: sitk.Image) -> None:
    lungs = sitk.GetArrayFromImage(real)[segment_lungs(real) > 0]
    litres = lungs.size * np.prod(real.GetSpacing()) / 1e6
    assert litres == pytest.approx(3.69, rel=0.03)  # of the lobes at full resolution
    assert lungs.mean() == pytest.approx(-835, abs=5)


def test_the_simulated_sample_is_the_same_chest_with_less_tissue_in_its_lungs_alone(
    real: sitk.Image, simulated: sitk.Image
) -> None:
    before, after = (sitk.GetArrayFromImage(image).astype(int) for image in (real, simulated))
    lungs = segment_lungs(real) > 0
    assert (after <= before).all()
    assert np.array_equal(after[~lungs], before[~lungs])
    assert (after[lungs] < -950).mean() > 4 * (before[lungs] < -950).mean()


def test_the_simulated_sample_is_the_same_every_time(simulated: sitk.Image) -> None:
    again = samples.simulated_emphysema_ct()
    assert np.array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(simulated))


def test_every_sample_has_its_own_name_and_a_small_picture() -> None:
    assert len({sample.name for sample in samples.SAMPLES}) == len(samples.SAMPLES) == 2
    for sample in samples.SAMPLES:
        header = sample.thumbnail.read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert max(struct.unpack(">II", header[16:24])) <= 256


def test_a_sample_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "CT_FILE", samples.FOLDER / "gone.nrrd")
    with pytest.raises(samples.UnreadableInputError, match=r"gone\.nrrd"):
        samples.real_chest_ct()
