"""Canonical order, averaging and where voxels lie, against brute force, SimpleITK and hand-made geometry."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.grid import Grid, area_average, canonical, canonical_view
from EmphysemaScannerLib.lungs.morphology import box
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHARED_CT = Path(__file__).parents[3] / "shared" / "data" / "cip" / "ct-64.nrrd"
TO_RAS = np.diag([-1.0, -1.0, 1.0])
SIZES = st.tuples(*[st.integers(1, 9)] * 3)


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def image_of(array: np.ndarray, spacing: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing([float(v) for v in spacing])
    image.SetOrigin([float(v) for v in origin])
    image.SetDirection([float(v) for v in direction.ravel()])
    return image


def chest(direction: np.ndarray | None = None) -> sitk.Image:
    """Noise in HU with a different size and spacing on every axis."""
    noise = np.random.default_rng(1).integers(-2000, 500, (9, 11, 13)).astype(np.int16)
    turned = np.eye(3) if direction is None else direction
    return image_of(noise, np.array([0.7, 0.8, 2.5]), np.array([-101.0, 33.0, -700.5]), turned)


def stored_in_every_axis_order(image: sitk.Image) -> Iterator[sitk.Image]:
    """The same voxels at the same places in all 48 orders of storage, half of them left-handed; made with numpy."""
    array = sitk.GetArrayFromImage(image)
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    direction = np.array(image.GetDirection()).reshape(3, 3)
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            origin = np.array(image.GetOrigin())
            turned = array.transpose([2 - axis for axis in reversed(order)])
            for position, (axis, sign) in enumerate(zip(order, signs, strict=True)):
                if sign < 0:
                    origin = origin + direction[:, axis] * spacing[axis] * (size[axis] - 1)
                    turned = np.flip(turned, 2 - position)
            yield image_of(turned, spacing[list(order)], origin, direction[:, order] * np.array(signs))


DIRECTIONS = {
    "axial": np.eye(3),
    "oblique by 20 degrees": rotation((1.0, 2.0, 3.0), 20),
    "oblique by 44.9 degrees": rotation((0.0, 0.0, 1.0), 44.9),
    "oblique by 45 degrees about S": rotation((0.0, 0.0, 1.0), 45),
    "oblique by 45 degrees about L": rotation((1.0, 0.0, 0.0), 45),
    "turned by 60 degrees about the diagonal": rotation((1.0, 1.0, 1.0), 60),
    "left-handed and oblique": rotation((3.0, -1.0, 2.0), 25) * np.array([1, 1, -1]),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_same_ct_in_any_axis_order_gives_the_same_input_at_the_same_place(name: str) -> None:
    preprocessing = Preprocessing(shape=(4, 6, 6))
    expected, expected_grid = preprocessing.apply(chest(DIRECTIONS[name]))
    variants = list(stored_in_every_axis_order(chest(DIRECTIONS[name])))
    assert len(variants) == 48
    for variant in variants:
        values, grid = preprocessing.apply(variant)
        assert np.array_equal(values, expected)
        _assert_same_place(grid, expected_grid)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_rounding_noise_in_the_direction_does_not_change_the_input(name: str) -> None:
    rng = np.random.default_rng(2)
    answers = set()
    for variant in stored_in_every_axis_order(chest(DIRECTIONS[name])):
        variant.SetDirection((np.array(variant.GetDirection()) + rng.normal(0, 1e-9, 9)).tolist())
        answers.add(sitk.GetArrayFromImage(canonical(variant)).tobytes())
    assert len(answers) == 1


@pytest.mark.skipif(not SHARED_CT.exists(), reason="the shared test CTs are not here")
def test_a_real_ct_in_any_axis_order_gives_the_same_input_at_the_same_place() -> None:
    image = sitk.ReadImage(str(SHARED_CT))
    expected, expected_grid = Preprocessing().apply(image)
    assert expected.std() > 0.1
    for variant in stored_in_every_axis_order(image):
        values, grid = Preprocessing().apply(variant)
        assert np.array_equal(values, expected)
        _assert_same_place(grid, expected_grid)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_canonical_image_has_every_voxel_at_its_old_place(name: str) -> None:
    for variant in itertools.islice(stored_in_every_axis_order(chest(DIRECTIONS[name])), 0, 48, 5):
        oriented = canonical(variant)
        for index in itertools.product(*(range(0, n, 3) for n in oriented.GetSize())):
            there = variant.TransformPhysicalPointToIndex(oriented.TransformIndexToPhysicalPoint(index))
            assert variant[there] == oriented[index]


@pytest.mark.parametrize("name", DIRECTIONS)
def test_canonical_axes_are_right_handed_and_run_to_the_left_the_back_and_the_head(name: str) -> None:
    for variant in stored_in_every_axis_order(chest(DIRECTIONS[name])):
        direction = np.array(canonical(variant).GetDirection()).reshape(3, 3)
        assert np.linalg.det(direction) == pytest.approx(1)
        assert (np.diag(direction) > 0.4).all()


def test_canonical_order_is_itks_wherever_the_nearest_axes_are_plain() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        image = chest(rotation(tuple(rng.normal(size=3)), rng.uniform(0, 35)))
        for variant in itertools.islice(stored_in_every_axis_order(image), 0, 48, 7):
            ours, itks = canonical(variant), sitk.DICOMOrient(variant, "LPS")
            assert ours.GetSize() == itks.GetSize()
            np.testing.assert_allclose(ours.GetDirection(), itks.GetDirection(), atol=1e-12)
            np.testing.assert_allclose(ours.GetOrigin(), itks.GetOrigin(), atol=1e-9)
            assert np.array_equal(sitk.GetArrayViewFromImage(ours), sitk.GetArrayViewFromImage(itks))


@pytest.mark.parametrize("name", DIRECTIONS)
def test_grid_positions_are_simpleitks(name: str) -> None:
    image = chest(DIRECTIONS[name])
    indices = np.random.default_rng(4).uniform(-2, 12, (20, 3))  # slice, row, column
    expected = [image.TransformContinuousIndexToPhysicalPoint(index[::-1].tolist()) for index in indices]
    grid = Grid.of_image(image)
    np.testing.assert_allclose(grid.position_lps(indices), expected, atol=1e-9)
    ijk = np.c_[indices[:, ::-1], np.ones(len(indices))]
    np.testing.assert_allclose((ijk @ grid.ijk_to_ras().T)[:, :3], np.array(expected) @ TO_RAS, atol=1e-9)


def test_an_array_on_a_grid_becomes_an_image_at_the_grids_place_and_back() -> None:
    image = chest(DIRECTIONS["left-handed and oblique"])
    grid = Grid.of_image(image)
    back = grid.to_image(sitk.GetArrayFromImage(image))
    assert Grid.of_image(back) == grid
    assert back.GetDirection() == image.GetDirection()
    with pytest.raises(ValueError, match="does not lie on a grid"):
        grid.to_image(np.zeros((9, 11, 12)))


@settings(deadline=None)
@given(SIZES, SIZES)
def test_a_resized_grid_covers_the_same_box_edge_to_edge(old: tuple[int, int, int], new: tuple[int, int, int]) -> None:
    direction = rotation((1.0, -2.0, 0.5), 30)
    grid = Grid(old, (2.5, 0.8, 0.7), (5.0, -6.0, 7.0), tuple(map(tuple, direction[:, ::-1].tolist())))
    resized = grid.resized(new)
    assert resized.shape == new
    for end in itertools.product((0, 1), repeat=3):
        corner_of_old = np.array(end) * old - 0.5
        corner_of_new = np.array(end) * new - 0.5
        np.testing.assert_allclose(
            resized.position_lps(corner_of_new), grid.position_lps(corner_of_old), atol=1e-9, err_msg=str(end)
        )


def test_slice_positions_are_the_s_coordinates_of_the_slice_centres() -> None:
    image = chest(DIRECTIONS["oblique by 20 degrees"])
    expected = [image.TransformContinuousIndexToPhysicalPoint((6.0, 5.0, float(k)))[2] for k in range(9)]
    np.testing.assert_allclose(Grid.of_image(image).slice_positions_mm(), expected, atol=1e-9)
    assert (np.diff(Grid.of_image(canonical(image)).slice_positions_mm()) > 0).all()


@settings(deadline=None)
@given(
    hnp.arrays(np.int16, SIZES, elements=st.integers(-2048, 3071)),
    SIZES,
    st.sampled_from([np.int16, np.int32, np.float32, np.float64]),
)
def test_averaging_is_the_mean_over_each_box_of_the_supersampled_image(
    array: np.ndarray, shape: tuple[int, int, int], dtype: type
) -> None:
    averaged = area_average(array.astype(dtype), shape)
    assert averaged.dtype == np.float32
    np.testing.assert_allclose(averaged, _mean_over_boxes(array, shape), rtol=1e-5, atol=2e-3)


def test_averaging_keeps_the_mean_of_a_whole_ct_on_the_networks_grid() -> None:
    array = np.random.default_rng(5).integers(-1024, 500, (133, 200, 180), dtype=np.int16)
    averaged = area_average(array, (35, 128, 128))
    assert averaged.mean(dtype=float) == pytest.approx(array.mean(dtype=float), abs=1e-3)
    np.testing.assert_allclose(averaged[17, 64, 64], _one_box(array, (35, 128, 128), (17, 64, 64)), atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "tolerance_mm"),
    [((15, 20, 25), 1e-4), ((10, 8, 5), 1e-4), ((30, 80, 100), 0.5), ((7, 13, 16), 0.3), ((35, 64, 64), 0.5)],
)
def test_averaging_the_voxels_positions_gives_the_positions_of_the_grids_voxels(
    shape: tuple[int, int, int], tolerance_mm: float
) -> None:
    """No half-voxel shift; where a box edge cuts voxels of 0.8 to 2 mm, a voxel is as if all at its centre."""
    size = (30, 40, 50)
    blank = np.zeros(size, np.float32)
    turned = rotation((0.0, 1.0, 1.0), 15)
    fine = Grid.of_image(image_of(blank, np.array([0.9, 0.8, 2.0]), np.array([1.0, 2.0, 3.0]), turned))
    positions = fine.position_lps(np.moveaxis(np.indices(size), 0, -1).astype(float))
    averaged = np.stack([area_average(positions[..., axis], shape) for axis in range(3)], -1)
    expected = fine.resized(shape).position_lps(np.moveaxis(np.indices(shape), 0, -1).astype(float))
    np.testing.assert_allclose(averaged, expected, atol=tolerance_mm, rtol=0)
    np.testing.assert_allclose((averaged - expected).mean((0, 1, 2)), 0, atol=1e-4)


def test_hounsfield_units_pass_the_window_as_its_settings_say() -> None:
    preprocessing = Preprocessing((1, 1, 1), window_low_hu=-1000, window_high_hu=-600, padding_hu=-1024)
    for hu, expected in ((-1024, 0), (-1000, 0), (-900, 0.25), (-600, 1), (300, 1)):
        image = image_of(np.full((2, 3, 4), hu, np.int16), np.ones(3), np.zeros(3), np.eye(3))
        assert preprocessing.apply(image)[0].item() == pytest.approx(expected)


def test_padding_outside_the_field_of_view_counts_as_air_in_the_average() -> None:
    array = np.array([[[-2048, -824]]], np.int16)
    padded = Preprocessing((1, 1, 1), padding_hu=-1024).average(array)
    assert padded.item() == pytest.approx((-1024 - 824) / 2)
    assert array.tolist() == [[[-2048, -824]]]


def test_settings_that_make_no_sense_are_refused_with_their_values() -> None:
    with pytest.raises(ValueError, match=r"window \[0.0, -100.0\] HU is empty"):
        Preprocessing(window_low_hu=0.0, window_high_hu=-100.0)
    with pytest.raises(ValueError, match=r"three positive numbers, not \(35, 0, 128\)"):
        Preprocessing(shape=(35, 0, 128))


def _assert_same_place(grid: Grid, expected: Grid) -> None:
    assert grid.shape == expected.shape
    np.testing.assert_allclose(grid.ijk_to_ras(), expected.ijk_to_ras(), atol=1e-9)


def _mean_over_boxes(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Repeat every voxel up to a common multiple of both sizes, then take plain means."""
    result = array.astype(np.float64)
    for axis, (old, new) in enumerate(zip(array.shape, shape, strict=True)):
        common = int(np.lcm(old, new))
        result = np.repeat(result, common // old, axis)
        blocks = (*result.shape[:axis], new, common // new, *result.shape[axis + 1 :])
        result = result.reshape(blocks).mean(axis + 1)
    return result


def _one_box(array: np.ndarray, shape: tuple[int, int, int], index: tuple[int, int, int]) -> float:
    """The mean over one box, voxel by voxel."""
    total = weight = 0.0
    low = [n * i / m for n, m, i in zip(array.shape, shape, index, strict=True)]
    high = [n * (i + 1) / m for n, m, i in zip(array.shape, shape, index, strict=True)]
    for voxel in itertools.product(*(range(int(a), int(np.ceil(b))) for a, b in zip(low, high, strict=True))):
        parts = [min(b, v + 1) - max(a, v) for a, b, v in zip(low, high, voxel, strict=True)]
        total += np.prod(parts) * float(array[voxel])
        weight += np.prod(parts)
    return total / weight


@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_canonical_view_has_the_voxels_and_the_grid_of_the_canonical_image(name: str) -> None:
    for variant in stored_in_every_axis_order(chest(DIRECTIONS[name])):
        voxels, grid = canonical_view(variant)
        expected = canonical(variant)
        assert np.array_equal(voxels, sitk.GetArrayViewFromImage(expected))
        _assert_same_place(grid, Grid.of_image(expected))


def test_turned_arrays_are_averaged_like_their_copies() -> None:
    array = np.random.default_rng(6).integers(-2000, 500, (7, 11, 13), dtype=np.int16)
    for turns in itertools.product((1, -1), repeat=3):
        turned = array[:: turns[0], :: turns[1], :: turns[2]]
        expected = area_average(np.clip(turned, -1024, 0), (3, 4, 17))
        assert np.array_equal(area_average(turned, (3, 4, 17), at_least=-1024, at_most=0), expected)


def test_what_lies_outside_of_a_box_of_zeros_need_not_be_read() -> None:
    array = np.zeros((9, 20, 30), np.uint8)
    where = (slice(2, 7), slice(5, 18), slice(11, 24))
    array[where] = np.random.default_rng(7).integers(0, 3, (5, 13, 13))
    for turns in itertools.product((1, -1), repeat=2):
        turned = array[:, :: turns[0], :: turns[1]]
        there = box(turned > 0)
        averaged = area_average(turned, (4, 7, 11), at_most=1, within=there)
        assert np.allclose(averaged, area_average(turned, (4, 7, 11), at_most=1), atol=1e-6)
