"""The network's grid: where its voxels lie in the patient, and how a CT is averaged onto it.

A CT is first turned into *canonical axial order*: array axes (slice, row, column) run inferior to superior, anterior to
posterior, patient right to left (DICOM's LPS), whichever way it was stored. The grid then divides the CT's extent into
equal boxes. Sizes and spacings are (slice, row, column); world coordinates are LPS in mm as in ITK and DICOM.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.parallel import in_threads, pieces

if TYPE_CHECKING:
    from scipy import sparse

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""Two edges along slices, rows and columns, counted in voxels of a grid from its first edge."""

# Left, posterior and superior as columns, turned by a third of a degree about no axis in particular: an image that lies
# at exactly 45 degrees then isn't a tie that the rounding noise of its direction cosines decides.
_TILTED_LPS = np.array([[1.0, -0.0049, -0.0037], [0.0049, 1.0, -0.0023], [0.0037, 0.0023, 1.0]])


@dataclass(frozen=True)
class Grid:
    """A regular grid in patient space.

    Attributes:
        shape: number of voxels (slices, rows, columns).
        spacing_mm: distance of neighbouring voxel centres (slices, rows, columns).
        origin_lps: centre of voxel (0, 0, 0), LPS in mm.
        direction_lps: 3 x 3; the columns are the unit vectors of the slice, row and column axes in LPS.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_lps: tuple[float, float, float]
    direction_lps: tuple[tuple[float, float, float], ...]

    @classmethod
    def of_image(cls, image: sitk.Image) -> Grid:
        """The grid of a SimpleITK image (whose own axis order is column, row, slice)."""
        direction = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
        return cls(
            shape=_triple_int(image.GetSize()[::-1]),
            spacing_mm=_triple(image.GetSpacing()[::-1]),
            origin_lps=_triple(image.GetOrigin()),
            direction_lps=tuple(_triple(row) for row in direction),
        )

    def part(self, over: Box, shape: tuple[int, int, int]) -> Grid:
        """A grid of another shape over a box of space.

        Args:
            over: the box's two edges along slices, rows and columns, counted in voxels of this grid from its first
                edge; fractions cut voxels, and what lies beyond 0 and the number of voxels lies outside this grid.
            shape: of the grid over the box.
        """
        low, high = np.array(over, float).T
        spacing = np.array(self.spacing_mm)
        new_spacing = spacing * (high - low) / np.array(shape, float)
        first_centre = spacing * (low - 0.5) + new_spacing / 2  # along the axes, from this grid's first centre
        origin = np.array(self.origin_lps) + np.array(self.direction_lps) @ first_centre
        return Grid(shape, _triple(new_spacing), _triple(origin), self.direction_lps)

    def box_in(self, other: Grid) -> Box:
        """Where this grid's box lies in another grid along the same axes; the inverse of ``other.part``."""
        offset = np.array(self.origin_lps) - np.array(other.origin_lps)
        along = np.array(other.direction_lps).T @ offset / np.array(other.spacing_mm)
        step = np.array(self.spacing_mm) / np.array(other.spacing_mm)
        low = along + 0.5 - step / 2
        edges = np.stack([low, low + step * np.array(self.shape, float)], 1).round(9)  # without the noise of rounding
        (a, b), (c, d), (e, f) = ((float(first), float(last)) for first, last in edges)
        return (a, b), (c, d), (e, f)

    def resized(self, shape: tuple[int, int, int]) -> Grid:
        """The grid of another shape that covers exactly the same box of space, edge to edge."""
        old, new = np.array(self.shape, float), np.array(shape, float)
        spacing = np.array(self.spacing_mm)
        new_spacing = spacing * old / new
        first_centre = (new_spacing - spacing) / 2  # along the axes, from the old first centre
        origin = np.array(self.origin_lps) + np.array(self.direction_lps) @ first_centre
        return Grid(shape, _triple(new_spacing), _triple(origin), self.direction_lps)

    def position_lps(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """World position of (slice, row, column) indices, shape (..., 3), in LPS mm."""
        matrix = np.array(self.direction_lps) * np.array(self.spacing_mm)
        position: NDArray[np.float64] = np.array(self.origin_lps) + np.asarray(index, float) @ matrix.T
        return position

    def ijk_to_ras(self) -> NDArray[np.float64]:
        """Slicer's 4 x 4 IJK-to-RAS matrix (I column, J row, K slice) of an array on this grid."""
        matrix = np.eye(4)
        matrix[:3, :3] = (np.array(self.direction_lps) * np.array(self.spacing_mm))[:, ::-1]
        matrix[:3, 3] = self.origin_lps
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix

    def slice_positions_mm(self) -> NDArray[np.float64]:
        """RAS S coordinate (mm, superior positive) of each slice's centre, inferior to superior."""
        _, rows, columns = self.shape
        index = np.array([[k, (rows - 1) / 2, (columns - 1) / 2] for k in range(self.shape[0])])
        return self.position_lps(index)[:, 2]

    def to_image(self, array: NDArray[np.generic]) -> sitk.Image:
        """A SimpleITK image of an array that lies on this grid.

        Raises:
            ValueError: the array's shape is not the grid's.
        """
        if array.shape != self.shape:
            raise ValueError(f"array of shape {array.shape} does not lie on a grid of shape {self.shape}")
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
        image.SetSpacing(self.spacing_mm[::-1])
        image.SetOrigin(self.origin_lps)
        image.SetDirection(np.array(self.direction_lps)[:, ::-1].ravel().tolist())
        return image


def canonical(image: sitk.Image) -> sitk.Image:
    """The same image with its axes permuted and flipped into canonical axial order; no voxel value changes.

    The answer depends only on where the voxels lie in the patient, not on the axis order in which they were stored,
    and is always right-handed. ``sitk.DICOMOrient(image, "LPS")`` gives the same except at 45 degrees, where rounding
    noise of 1e-12 in the direction cosines decides which order it takes.

    Args:
        image: 3D, orthogonal axes, right- or left-handed.
    """
    axes, flips = _to_canonical(image)
    return sitk.Flip(sitk.PermuteAxes(image, axes), flips, False)


def canonical_view(image: sitk.Image) -> tuple[NDArray[np.generic], Grid]:
    """The voxels and the grid of ``canonical(image)``, copied only where axes change places.

    Args:
        image: as for ``canonical``.

    Returns:
        A read-only array (slices, rows, columns), which is valid only as long as the image lives and isn't changed; and
        where its voxels lie.
    """
    axes, flips = _to_canonical(image)
    order, turned = [2 - axis for axis in axes[::-1]], flips[::-1]  # of array axes
    array = sitk.GetArrayViewFromImage(image)
    if order != [0, 1, 2]:
        array = np.ascontiguousarray(array.transpose(order))  # reading slices across the memory would take far longer
    stored = Grid.of_image(image)
    shape, spacing = (np.array(values)[order] for values in (stored.shape, stored.spacing_mm))
    direction = np.array(stored.direction_lps)[:, order]
    origin = np.array(stored.origin_lps) + direction @ (turned * spacing * (shape - 1))
    direction = direction * np.where(turned, -1, 1)
    grid = Grid(_triple_int(shape), _triple(spacing), _triple(origin), tuple(_triple(row) for row in direction))
    return array[tuple(slice(None, None, -1 if turn else None) for turn in turned)], grid


def canonical_axes(direction: NDArray[np.float64]) -> tuple[tuple[int, ...], list[bool]]:
    """Which axes of an image become column, row and slice in canonical axial order, and which of these are flipped.

    Args:
        direction: 3 x 3; the columns are the unit vectors of the image's axes in LPS, not necessarily perpendicular.
    """
    cosines = _TILTED_LPS.T @ direction  # (patient axis, image axis)
    axes = max(itertools.permutations(range(3)), key=lambda order: float(np.abs(cosines[range(3), order]).sum()))
    return axes, [bool(cosine < 0) for cosine in cosines[range(3), axes]]


def _to_canonical(image: sitk.Image) -> tuple[tuple[int, ...], list[bool]]:
    return canonical_axes(np.array(image.GetDirection()).reshape(3, 3))


def voxels_sha256(hu: NDArray[np.generic]) -> str:
    """A checksum of a CT's voxels, in whichever axis order and number type they were stored.

    Args:
        hu: (slices, rows, columns) in canonical axial order, without NaN.

    Returns:
        SHA-256 of the voxels, slice by slice, as whole HU (rounded, -32768 to 32767) in 16-bit little-endian integers.
    """
    digest = hashlib.sha256()
    for plane in hu:
        whole = plane if plane.dtype == np.int16 else np.clip(np.rint(np.asarray(plane, float)), -(2**15), 2**15 - 1)
        digest.update(np.ascontiguousarray(whole, "<i2").data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Computed:
    """An array that is computed voxel by voxel from others when a slice of it is read, and takes no memory itself.

    Attributes:
        of_slice: makes a slice (rows, columns) from those of the arrays.
        arrays: all of the same shape (slices, rows, columns).
    """

    of_slice: Callable[..., NDArray[np.generic]]
    arrays: tuple[NDArray[np.generic], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(slices, rows, columns)."""
        return self.arrays[0].shape

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        """Slice ``index``."""
        return self.of_slice(*(array[index] for array in self.arrays))

    def part(self, where: tuple[slice, ...]) -> Computed:
        """The same in a box of the arrays."""
        return Computed(self.of_slice, tuple(array[where] for array in self.arrays))


def area_average(
    array: NDArray[np.generic] | Computed,
    shape: tuple[int, int, int],
    at_least: float = -np.inf,
    at_most: float = np.inf,
    within: tuple[slice, ...] | None = None,
    over: Box | None = None,
) -> NDArray[np.float32]:
    """Resize by averaging: each output voxel is the mean of the input over the box that it covers.

    Exact for the piecewise constant image (input voxels cut by a box edge count by the part inside), along all axes,
    for reduction and enlargement.

    Args:
        array: (slices, rows, columns), any number type.
        shape: output (slices, rows, columns).
        at_least: lower values are set to this before averaging.
        at_most: higher values are set to this before averaging.
        within: a box (slices, rows, columns) outside of which all values are zero and are not read.
        over: the part of the array that the output covers; all of it if None. Beyond the array there is zero.
    """
    edges = over or [(0, n) for n in array.shape]
    slices, rows, columns = (_box_weights(n, m, *e) for n, m, e in zip(array.shape, shape, edges, strict=True))
    if within is not None:
        array = array.part(within) if isinstance(array, Computed) else array[within]
        slices, rows, columns = (w[:, part] for w, part in zip((slices, rows, columns), within, strict=True))
    for axis, weights in ((1, rows), (2, columns)):
        # Memory is read forwards, which is faster, and its weights are turned instead.
        if isinstance(array, np.ndarray) and array.strides[axis] < 0:
            array = np.flip(array, axis)
            weights.indices = array.shape[axis] - 1 - weights.indices
    limited = at_most < np.inf or at_least > -np.inf
    out = np.empty(shape, np.float32)

    def average(numbers: range) -> None:
        mean, plane, part = np.empty((3, *array.shape[1:]), np.float32)
        last = -1
        for k in numbers:
            first, stop = slices.indptr[k : k + 2]
            total = mean[:0]  # nothing yet
            for weight, index in zip(slices.data[first:stop], slices.indices[first:stop], strict=True):
                if index != last:  # two boxes share the slice that their edge cuts
                    last = index
                    np.copyto(plane, array[index], casting="unsafe")
                    if limited:
                        # three times as fast as numpy's maximum of array and number
                        np.clip(plane, at_least, at_most, out=plane)
                if total.size:
                    total += np.multiply(plane, weight, out=part)
                else:
                    total = np.multiply(plane, weight, out=mean)
            out[k] = (columns @ (rows @ total).T).T if total.size else 0

    in_threads(average, pieces(shape[0]))
    return out


def _box_weights(n_in: int, n_out: int, first: float, last: float) -> sparse.csr_array:
    """(n_out, n_in): the share of each input voxel in each output voxel between two edges; rows sum to 1 inside."""
    from scipy import sparse  # here, as in scene/: half of the time that Slicer takes to load the module

    edges = np.linspace(first, last, n_out + 1)
    low, high = edges[:-1, None], edges[1:, None]
    cells = np.arange(n_in)
    overlap = np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, None)
    return sparse.csr_array((overlap / (high - low)).astype(np.float32))


def _triple(values: object) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)  # type: ignore[attr-defined]
    return a, b, c


def _triple_int(values: object) -> tuple[int, int, int]:
    a, b, c = (int(v) for v in values)  # type: ignore[attr-defined]
    return a, b, c
