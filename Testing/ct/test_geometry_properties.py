"""However a CT is stored, the answer is the same, and what lies in it lies under its overlay (hypothesis).

A few examples of each here, a thousand with ``make soak``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import GeometryError
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult
from EmphysemaScannerLib.scan.scan import scan
from everymodel import model_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from storedct import FORMATS, MARKER, ORDERS, chest, finer, rotation, seeing_model, stored, with_marker, written

SHARE, ALL = 12, 1000
TOLERANCE = 1e-4  # of the probability
EITHER = [SHARE, pytest.param(ALL, marks=pytest.mark.soak)]

ORDER, FLIPS = st.sampled_from(ORDERS), st.tuples(*[st.booleans()] * 3)
TURNS = st.builds(rotation, st.tuples(*[st.floats(-1, 1)] * 3), st.floats(0, 40))
PLACES = st.tuples(st.integers(25, 40), st.integers(26, 33), st.sampled_from([16, 17, 18, 42, 43, 44]))


def holds(examples: int, *extra: Callable, **drawn: st.SearchStrategy) -> Callable[[Callable[..., None]], None]:
    """Check a property now, on so many examples."""

    def check(law: Callable[..., None]) -> None:
        law = given(**drawn)(law)
        for one in extra:
            law = one(law)
        settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))(law)()

    return check


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of("conv_lstm")


def read_back(image: sitk.Image, kind: str, seed: int) -> sitk.Image:
    with tempfile.TemporaryDirectory() as folder:
        return read_ct(written(image, kind, Path(folder), seed)).image


def assert_same(found: ScanResult, expected: ScanResult) -> None:
    """The same answer, and the same maps at the same places, to a thousandth of a mm."""
    assert found.probability == pytest.approx(expected.probability, abs=TOLERANCE)
    for one, other in ((found.evidence, expected.evidence), (found.lung_mask, expected.lung_mask)):
        np.testing.assert_allclose(one.grid.ijk_to_ras(), other.grid.ijk_to_ras(), atol=1e-3)
        np.testing.assert_allclose(one.values, other.values, atol=1e-3)


@pytest.mark.parametrize("examples", EITHER)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_ct_in_any_axis_order_any_file_and_any_orientation_has_the_same_answer(
    model: Model, kind: str, examples: int
) -> None:
    share = -(-examples // len(FORMATS))

    @holds(share, order=ORDER, flips=FLIPS, turned=TURNS, seed=st.integers(0, 99))
    def law(order: tuple, flips: tuple, turned: np.ndarray, seed: int) -> None:
        image = chest(turned)
        assert_same(scan(read_back(stored(image, order, flips), kind, seed), model), scan(image, model))


@pytest.mark.parametrize("examples", EITHER)
def test_a_ct_turned_with_its_patient_table_has_the_same_answer(model: Model, examples: int) -> None:
    straight = scan(chest(), model)

    @holds(examples, turned=TURNS)
    def law(turned: np.ndarray) -> None:
        found = scan(chest(turned), model)
        assert found.probability == pytest.approx(straight.probability, abs=TOLERANCE)
        back = turned.T @ np.array(found.evidence.grid.direction_lps)
        np.testing.assert_allclose(back, np.array(straight.evidence.grid.direction_lps), atol=1e-9)


@pytest.mark.parametrize("examples", EITHER)
def test_voxels_cut_into_smaller_ones_change_nothing(model: Model, examples: int) -> None:
    expected = scan(chest(), model)

    @holds(-(-examples // 3), times=st.tuples(*[st.integers(1, 3)] * 3), order=ORDER, flips=FLIPS)
    def law(times: tuple, order: tuple, flips: tuple) -> None:
        found = scan(stored(finer(chest(), times), order, flips), model)
        assert found.probability == pytest.approx(expected.probability, abs=TOLERANCE)
        np.testing.assert_allclose(found.evidence.grid.ijk_to_ras(), expected.evidence.grid.ijk_to_ras(), atol=1e-6)


def off_by(seen: OverlayMap, before: OverlayMap, marker_lps: np.ndarray) -> np.ndarray:
    """How far the change between two maps lies from a place, in mm along (slice, row, column)."""
    change = np.abs(seen.values - before.values)
    change[change < 0.2 * change.max()] = 0
    weights = change / change.sum()
    centre = [(weights * index).sum() for index in np.indices(change.shape)]
    return np.array(seen.grid.direction_lps).T @ (seen.grid.position_lps(np.array(centre)) - marker_lps)


@pytest.mark.parametrize("examples", EITHER)
def test_a_bright_marker_comes_back_under_its_overlay(examples: int) -> None:
    model = seeing_model()
    network_grid = model.card.preprocessing

    @holds(
        examples,
        example(ORDERS[0], (False, False, False), np.eye(3), (30, 30, 17), "dicom"),
        example(ORDERS[4], (True, False, False), rotation((1, 2, 3), 40), (25, 26, 42), "nii.gz"),
        order=ORDER,
        flips=FLIPS,
        turned=TURNS,
        place=PLACES,
        kind=st.sampled_from(FORMATS),
    )
    def law(order: tuple, flips: tuple, turned: np.ndarray, place: tuple, kind: str) -> None:
        plain, marked = chest(turned), with_marker(chest(turned), place)
        marker_lps = Grid.of_image(marked).position_lps(np.array(place) + (np.array(MARKER) - 1) / 2)
        before, after = (scan(read_back(stored(image, order, flips), kind, 0), model) for image in (plain, marked))
        voxel = np.array(after.lung_fraction.grid.spacing_mm)
        assert after.lung_fraction.grid.shape == network_grid.shape
        off = off_by(after.activations["asc1"], before.activations["asc1"], marker_lps)
        assert (np.abs(off) <= 0.5 * voxel + 0.01).all(), off / voxel
        change = after.evidence.values - before.evidence.values
        peak = np.array(np.unravel_index(change.argmax(), change.shape), float)
        off = np.array(after.evidence.grid.direction_lps).T @ (after.evidence.grid.position_lps(peak) - marker_lps)
        # The marker may lie across a border of these coarse voxels, and its half is then in the next one.
        reach = np.array(after.evidence.grid.spacing_mm) / 2 + np.array([5.0, 5.5, 5.5]) * MARKER / 2
        assert (np.abs(off) <= reach).all(), off


@pytest.mark.parametrize("examples", EITHER)
def test_a_sheared_ct_is_refused_with_the_reason_and_rounding_is_not(model: Model, examples: int) -> None:
    expected = scan(chest(), model).probability

    @holds(examples, degrees=st.floats(-30, 30), axis=st.sampled_from([0, 1]), rounding=st.floats(-1e-5, 1e-5))
    def law(degrees: float, axis: int, rounding: float) -> None:
        image = chest()
        direction = np.eye(3)
        slant = np.tan(np.deg2rad(degrees)) if abs(degrees) > 0.1 else rounding
        direction[axis, 2] = slant
        direction[:, 2] /= np.linalg.norm(direction[:, 2])
        image.SetDirection(direction.ravel().tolist())
        if abs(degrees) > 0.1:
            with pytest.raises(GeometryError, match="not at right angles"):
                scan(image, model)
        else:
            assert scan(image, model).probability == pytest.approx(expected, abs=TOLERANCE)
