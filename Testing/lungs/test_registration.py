"""The lungs of two CTs, registered: known deformations are found, and what cannot be registered is refused."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from breathing import expansion, expiration, inspiration, inspired, places
from EmphysemaScannerLib.base.errors import ScanCancelled
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.lungs.registration import Registration, RegistrationError, RegistrationQuality, register


@pytest.fixture(scope="module")
def registration() -> Registration:
    return register(*expiration(), *inspiration())


def errors_mm(transform: sitk.Transform) -> np.ndarray:
    """The distance of each mapped point of the expiratory lungs from where it really lies."""
    points = places()[expiration()[1] > 0][::7]
    mapped = np.array([transform.TransformPoint(point) for point in points[:, ::-1].tolist()])
    return np.asarray(np.linalg.norm(mapped - inspired(points)[:, ::-1], axis=1))


def test_points_of_the_lungs_are_found_in_the_other_breath(registration) -> None:
    before = errors_mm(sitk.Transform(3, sitk.sitkIdentity))
    after = errors_mm(registration.transform)
    assert np.median(before) > 8
    assert np.median(after) < 1.0
    assert np.percentile(after, 95) < 3.0


def test_a_good_registration_is_not_doubted(registration) -> None:
    quality = registration.quality
    assert quality.dice > 0.95
    assert quality.correlation > 0.7
    assert quality.folded_percent == 0
    assert quality.inverse_consistency_mm < 3
    assert quality.doubts == ()


def test_the_change_of_volume_is_that_of_the_breath(registration) -> None:
    lungs = expiration()[1] > 0
    error = registration.volume_change()[lungs] - expansion(places())[lungs]
    assert abs(np.median(error)) < 0.06
    assert np.percentile(np.abs(error), 90) < 0.25


def test_the_moving_ct_and_its_labels_come_onto_the_fixed_grid(registration) -> None:
    image, labels = inspiration()
    lungs = expiration()[1]
    moved = registration.moved_labels(labels, Grid.of_image(image))
    assert moved.shape == lungs.shape
    assert (
        2 * np.count_nonzero((moved == lungs) & (lungs > 0)) / (np.count_nonzero(moved) + lungs.astype(bool).sum())
        > 0.95
    )
    hu = registration.moved(image)
    # Mass is kept: as dense as the expiratory lungs when as much tissue fills the smaller volume.
    compressed = (hu + 1000) * registration.volume_change() - 1000
    both = (moved > 0) & (lungs > 0)
    difference = compressed[both] - sitk.GetArrayFromImage(expiration()[0])[both]
    assert abs(np.median(difference)) < 10


def test_beyond_the_moving_ct_there_is_air(registration) -> None:
    part = inspiration()[0][:, :, 20:]
    assert (registration.moved(part)[0] == -1000).all()


def test_neither_run_nor_storage_changes_the_map(registration) -> None:
    image, labels = inspiration()
    stored = sitk.Flip(sitk.PermuteAxes(image, [2, 0, 1]), [True, False, True], False)
    found = register(*expiration(), stored, labels)
    assert np.array_equal(found.jacobian, registration.jacobian)
    assert np.allclose(found.moved(stored), registration.moved(image), atol=0.01)


def test_a_ct_of_oblique_slices_is_registered_as_well() -> None:
    angle = np.radians(20)
    direction = [1, 0, 0, 0, np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle)]
    image, labels = inspiration()
    tilted = sitk.Image([40, 40, 50], sitk.sitkInt16)
    tilted.SetSpacing(image.GetSpacing())
    tilted.SetDirection(direction)
    tilted.SetOrigin((0.0, 10.0, -40.0))
    hu = sitk.Resample(image, tilted, sitk.Transform(), sitk.sitkLinear, 40)
    lungs = sitk.Resample(Grid.of_image(image).to_image(labels), tilted, sitk.Transform(), sitk.sitkNearestNeighbor)
    found = register(*expiration(), hu, sitk.GetArrayFromImage(lungs))
    assert np.median(errors_mm(found.transform)) < 1.5


def test_the_work_can_be_cancelled_at_any_time() -> None:
    for last in (0.0, 0.2, 0.6):
        told: list[float] = []

        def cancel(share: float, stage: str, last: float = last, told: list[float] = told) -> None:
            told.append(share)
            if share >= last:
                raise ScanCancelled("The user cancelled.")

        with pytest.raises(ScanCancelled, match=r"The user cancelled\."):
            register(*expiration(), *inspiration(), cancel)
        assert told == sorted(told)


def test_swapped_lungs_are_refused() -> None:
    image, labels = inspiration()
    swapped = np.array([0, 2, 1], np.uint8)[labels]
    with pytest.raises(RegistrationError, match="same patient"):
        register(*expiration(), image, swapped)


def test_without_lungs_there_is_nothing_to_register() -> None:
    image, labels = inspiration()
    with pytest.raises(RegistrationError, match="without lungs"):
        register(*expiration(), image, np.zeros_like(labels))


def test_each_doubt_is_one_sentence() -> None:
    good = RegistrationQuality(0.97, 0.9, 0.0, 1.0)
    assert good.doubts == ()
    bad = RegistrationQuality(0.85, 0.1, 3.0, 9.0)
    assert len(bad.doubts) == 4
    assert all(doubt.endswith(".") for doubt in bad.doubts)
    assert "Dice 0.85" in bad.doubts[0]
