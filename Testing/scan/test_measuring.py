"""What is measured of a CT: density as with a smooth kernel only where noise or the kernel spoils it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.provenance import UNKNOWN
from EmphysemaScannerLib.lungs.masks import LungRegions
from EmphysemaScannerLib.scan.measuring import measured_in
from phantom import phantom, phantom_image


@pytest.mark.parametrize(("noise_hu", "is_noisy"), [(0, False), (60, True)])
def test_density_is_normalised_where_a_warning_names_noise_and_nowhere_else(noise_hu: float, is_noisy: bool) -> None:
    hu, labels = phantom()
    spoilt = sitk.GetImageFromArray(hu + np.random.default_rng(2).normal(0, noise_hu, hu.shape).astype(np.int16))
    spoilt.CopyInformation(phantom_image())
    measured = measured_in(spoilt, LungRegions(labels), UNKNOWN)
    assert measured.noisy is is_noisy
    assert (measured.further.normalised.kernel is not None) is is_noisy
