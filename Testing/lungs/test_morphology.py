"""Dilation and erosion by a ball, as SimpleITK does them."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from EmphysemaScannerLib.lungs.morphology import box, dilated, eroded, grown
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 140)), elements=st.booleans())
RADII = st.tuples(*[st.integers(0, 4)] * 3)


def by_simpleitk(morphology: type, mask: np.ndarray, radius: tuple[int, int, int]) -> np.ndarray:
    filter_ = morphology()
    filter_.SetKernelRadius(radius[::-1])
    filter_.SetKernelType(sitk.sitkBall)
    return sitk.GetArrayFromImage(filter_.Execute(sitk.GetImageFromArray(mask.astype(np.uint8)))) > 0


@settings(deadline=None, max_examples=60)
@given(MASKS, RADII)
def test_dilation_and_erosion_are_simpleitks(mask: np.ndarray, radius: tuple[int, int, int]) -> None:
    before = mask.copy()
    assert np.array_equal(dilated(mask, radius), by_simpleitk(sitk.BinaryDilateImageFilter, mask, radius))
    assert np.array_equal(eroded(mask, radius), by_simpleitk(sitk.BinaryErodeImageFilter, mask, radius))
    assert np.array_equal(mask, before)


def test_one_voxel_grows_into_a_ball_across_words() -> None:
    mask = np.zeros((15, 15, 200), bool)
    mask[7, 7, 63] = True
    z, y, x = np.indices(mask.shape)
    ball = ((z - 7) / 2.5) ** 2 + ((y - 7) / 5.5) ** 2 + ((x - 63) / 6.5) ** 2 <= 1
    assert np.array_equal(dilated(mask, (2, 5, 6)), ball)


@given(hnp.arrays(bool, st.tuples(*[st.integers(1, 7)] * 3)), RADII)
def test_the_box_holds_the_mask_and_its_margin(mask: np.ndarray, margin: tuple[int, int, int]) -> None:
    found = box(mask, margin)
    assert mask[found].sum() == mask.sum()
    if mask.any():
        where = np.argwhere(mask)
        low = np.maximum(where.min(0) - margin, 0)
        high = np.minimum(where.max(0) + 1 + np.array(margin), mask.shape)
        ends = [part.indices(n)[:2] for part, n in zip(found, mask.shape, strict=True)]
        assert ends == list(zip(low, high, strict=True))


@settings(deadline=None, max_examples=60)
@given(MASKS, st.floats(0, 12), st.tuples(*[st.sampled_from([0.7, 2.0, 2.5])] * 3))
def test_what_is_grown_lies_at_most_so_far(mask: np.ndarray, mm: float, spacing: tuple[float, float, float]) -> None:
    expected = ndimage.distance_transform_edt(~mask, spacing) <= mm if mask.any() else mask
    assert np.array_equal(grown(mask, mm, spacing), expected)
