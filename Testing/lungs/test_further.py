"""How much is measured beside densitometry, and that every figure stands in its place."""

from __future__ import annotations

import numpy as np
import pytest
from EmphysemaScannerLib.lungs.densitometry import ZONES, measure_lungs, measure_named
from EmphysemaScannerLib.lungs.further import measure_further
from EmphysemaScannerLib.lungs.measurements import Measurements
from EmphysemaScannerLib.lungs.normalisation import perc15_at_volume
from EmphysemaScannerLib.lungs.scope import Scope

SPACING = (5.0, 1.0, 1.0)


def chest(noise_hu: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((12, 60, 80), np.uint8)
    labels[:, 5:55, 5:40], labels[:, 5:55, 40:75] = 1, 2
    hu = np.where(labels > 0, -880, 40) + np.random.default_rng(0).normal(0, noise_hu, labels.shape)
    hu[8:, 20:40, 10:30] -= 110  # in the upper third of the right lung
    return hu.round().astype(np.int16), labels


def measured(scope: Scope, *, sharp: bool = False, noise_hu: float = 10, lobes=None) -> Measurements:
    hu, labels = chest(noise_hu)
    lungs = measure_lungs(hu, labels, SPACING)
    return measure_further(hu, labels, SPACING, lungs, scope, sharp=sharp, lobes=lobes)


def test_by_default_only_what_follows_from_the_histograms_is_measured() -> None:
    found = measured(Scope.HISTOGRAM)
    assert set(found.parts) == {"upper_half", "lower_half", *ZONES}
    assert set(found.histograms) == {"whole", "right", "left", "upper", "middle", "lower"}
    assert (found.clusters, found.normalised.kernel, found.normalised.with_less_noise) == ({}, None, {})
    assert found.distribution.zone_score == 1 + 0 + 0 + 0 + 0 + 0
    assert np.isnan(found.distribution.core_rind_ratio)
    assert found.distribution.perc15_at_6_l_g_per_l == perc15_at_volume(
        measure_lungs(*chest(10), SPACING).regions["whole"]
    )


def test_where_the_kernel_is_sharp_the_normalised_density_is_measured_too() -> None:
    found = measured(Scope.HISTOGRAM, sharp=True, noise_hu=60).normalised
    assert found.kernel is not None
    assert found.kernel.changed
    assert found.with_less_noise == {}
    raw = measure_lungs(*chest(60), SPACING).regions
    assert set(found.of_smooth_kernel) == set(raw)
    assert found.of_smooth_kernel["left"].laa_950_percent < 2 < raw["left"].laa_950_percent


def test_all_includes_clusters_core_and_rind_and_every_normalised_density() -> None:
    found = measured(Scope.ALL)
    assert {"core", "rind"} < set(found.parts)
    assert list(found.clusters) == ["whole", "right", "left"]
    assert found.clusters["right"].largest_cluster_ml == pytest.approx(4 * 20 * 20 * 5 / 1000, rel=0.02)
    assert found.clusters["left"].count == 0
    raw = measure_lungs(*chest(10), SPACING).regions
    np.testing.assert_equal(found.normalised.of_smooth_kernel, raw)
    assert found.normalised.with_less_noise["whole"].sd_hu < raw["whole"].sd_hu
    core, rind = (found.parts[name].laa_950_percent for name in ("core", "rind"))
    assert found.distribution.core_rind_ratio == pytest.approx(core / rind)


def test_lobes_have_clusters_and_normalised_density_like_the_lungs() -> None:
    hu, labels = chest(60)
    lobes = (np.where(labels == 1, 3, 0).astype(np.uint8), {3: "right_lower_lobe"})
    found = measured(Scope.ALL, noise_hu=60, lobes=lobes)
    assert list(found.clusters) == ["whole", "right", "left", "right_lower_lobe"]
    assert found.clusters["right_lower_lobe"].largest_ml == found.clusters["right"].largest_ml
    smooth = found.normalised.of_smooth_kernel
    np.testing.assert_equal(vars(smooth["right_lower_lobe"]), vars(smooth["right"]))
    assert measure_named(hu, *lobes, SPACING).regions["right_lower_lobe"].voxels == smooth["right"].voxels


def test_what_the_progress_raises_ends_the_measuring() -> None:
    hu, labels = chest(10)
    stages: list[str] = []

    def stop(share: float, stage: str) -> None:
        stages.append(stage)
        if "clusters" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_further(hu, labels, SPACING, measure_lungs(hu, labels, SPACING), Scope.ALL, sharp=False, progress=stop)
    assert stages == ["Measuring core and rind", "Measuring clusters and bullae"]
