"""The lungs of one CT registered onto those of another of the same patient.

An affine map of the lung masks, then diffeomorphic demons (Vercauteren et al., NeuroImage 2009;45:S61-S72) from coarse
to fine on cells of about 3 mm. Breath changes the density of lung. What is compared is therefore density less its mean
around each cell, in standard deviations, in which vessels and fissures stay what they are, on top of the lung mask, by
which the surfaces find each other. Nothing outside the lungs is read, so that the chest wall, along which they slide,
does not hold them. Nothing is random: the same CTs give the same map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..ct.grid import Grid, area_average, canonical_view
from . import LEFT, RIGHT
from .morphology import box

if TYPE_CHECKING:
    from .coarse import Hu, Labels

_CELL_MM = 3.0
_MARGIN_MM = 15.0  # of the cells around the lungs
_AIR_HU = -1000.0
_LEAST_SHARE = 0.25  # of lung in a cell whose density is read
_AROUND_MM = 12.0  # standard deviation of the Gaussian over which density is normalised
_LEAST_SD = 15.0  # g/L; what lies below is noise
_MOST_SD = 3.0
_LUNG = 3.0  # of the mask beside density, in standard deviations of it
_POINTS = 4000  # at which the two directions are compared

LEAST_DICE = 0.8
"""Below it, the lungs were not brought together."""
_LEAST_FIRST_DICE = 0.5  # after the affine map
_GOOD_DICE = 0.9
_GOOD_CORRELATION = 0.4  # 0.13 to 0.18 between different patients
_MOST_FOLDED_PERCENT = 0.5
_GOOD_CONSISTENCY_MM = 3.0

_Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class _Level:
    """A step from coarse to fine.

    Attributes:
        shrink: by which the cells are larger.
        iterations: of the demons.
        smoothing: of the map after each, in cells.
    """

    shrink: int
    iterations: int
    smoothing: float

    @property
    def work(self) -> float:
        """Its share of the time."""
        return self.iterations / self.shrink**2


_LEVELS = (_Level(4, 80, 1.5), _Level(2, 80, 1.5), _Level(1, 40, 1.5))


class RegistrationError(EmphysemaScannerError):
    """The lungs of two CTs could not be brought together."""


@dataclass(frozen=True)
class RegistrationQuality:
    """How well the lungs of two CTs came together.

    Attributes:
        dice: overlap of the lung masks, right on right and left on left, 0 to 1.
        correlation: of normalised density where both have lung, -1 to 1: whether vessels and fissures lie on each
            other.
        folded_percent: share of the fixed lungs where the map turns space inside out (Jacobian of at most 0).
        inverse_consistency_mm: 95th percentile, over the fixed lungs, of the distance between a point and where it
            comes back to when it is mapped to the moving CT and from there by an independent registration in the other
            direction (Christensen and Johnson, IEEE Trans Med Imaging 2001;20:568-582). Not the error itself: errors
            that both directions share are not in it.
    """

    dice: float
    correlation: float
    folded_percent: float
    inverse_consistency_mm: float

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes the registration doubtful, as sentences, gravest first; empty for a good one."""
        found = []
        if self.dice < _GOOD_DICE:
            found.append(f"The lungs of the two CTs overlap poorly after registration (Dice {self.dice:.2f}).")
        if self.correlation < _GOOD_CORRELATION:
            found.append(
                "Vessels and fissures of the two CTs do not lie on each other after registration (correlation "
                f"{self.correlation:.2f}); check that both CTs are of the same patient."
            )
        if self.folded_percent > _MOST_FOLDED_PERCENT:
            found.append(f"The registration folds {self.folded_percent:.1f} % of the lungs.")
        if self.inverse_consistency_mm > _GOOD_CONSISTENCY_MM:
            found.append(
                "The registrations in the two directions differ by more than "
                f"{self.inverse_consistency_mm:.1f} mm in 5 % of the lungs."
            )
        return tuple(found)


@dataclass(frozen=True)
class Registration:
    """A map from the lungs of one CT, the fixed one, to those of another, the moving one.

    Attributes:
        transform: from a point of the fixed CT to that of the moving one, LPS in mm. 15 mm beyond the fixed lungs, only
            its affine part is left.
        fixed: the canonical grid of the fixed CT.
        jacobian: (slices, rows, columns): volume in the moving CT over volume in the fixed one, on ``cells``.
        cells: the grid of about 3 mm around the fixed lungs on which the map is known.
        quality: how well the lungs came together.
    """

    transform: sitk.Transform
    fixed: Grid
    jacobian: Hu
    cells: Grid
    quality: RegistrationQuality

    def moved(self, image: sitk.Image, within: tuple[slice, ...] | None = None) -> Hu:
        """A CT that lies where the moving one does, on the fixed grid.

        Args:
            image: in HU, any orientation.
            within: a box (slices, rows, columns) of the fixed grid, for that part alone.

        Returns:
            (slices, rows, columns), interpolated linearly; -1000 where the CT does not reach.
        """
        return np.asarray(
            self._resampled(sitk.Cast(image, sitk.sitkFloat32), sitk.sitkLinear, _AIR_HU, within), np.float32
        )

    def moved_labels(self, labels: Labels, grid: Grid, within: tuple[slice, ...] | None = None) -> Labels:
        """Labels of the moving CT on the fixed grid, each voxel as the nearest; 0 where they do not reach.

        Args:
            labels: (slices, rows, columns).
            grid: where they lie.
            within: as for ``moved``.
        """
        return np.asarray(self._resampled(grid.to_image(labels), sitk.sitkNearestNeighbor, 0, within), np.uint8)

    def volume_change(self) -> Hu:
        """The map's Jacobian determinant on the fixed grid: volume in the moving CT over volume in the fixed one.

        Returns:
            (slices, rows, columns), interpolated linearly; 1 beyond the cells around the lungs.
        """
        nothing = sitk.Transform(3, sitk.sitkIdentity)
        image = sitk.Resample(self.cells.to_image(self.jacobian), self._frame(), nothing, sitk.sitkLinear, 1.0)
        return np.asarray(sitk.GetArrayFromImage(image))

    def _frame(self, within: tuple[slice, ...] | None = None) -> sitk.Image:
        """An image on the fixed grid, or a box of it, for its geometry."""
        if within is None:
            return self.fixed.to_image(np.zeros(self.fixed.shape, np.uint8))
        a, b, c = ((float(part.start), float(part.stop)) for part in within)
        slices, rows, columns = (part.stop - part.start for part in within)
        part = self.fixed.part((a, b, c), (slices, rows, columns))
        return part.to_image(np.zeros(part.shape, np.uint8))

    def _resampled(
        self, image: sitk.Image, interpolator: int, outside: float, within: tuple[slice, ...] | None
    ) -> NDArray[np.generic]:
        moved = sitk.Resample(image, self._frame(within), self.transform, interpolator, outside)
        return np.asarray(sitk.GetArrayFromImage(moved))


def register(
    fixed: sitk.Image,
    fixed_lungs: Labels,
    moving: sitk.Image,
    moving_lungs: Labels,
    progress: Progress = silent,
) -> Registration:
    """Find where each point of one CT's lungs lies in another CT of the same patient.

    Args:
        fixed: a CT in HU, any orientation.
        fixed_lungs: (slices, rows, columns) of its canonical grid: 0 outside, 1 right lung, 2 left lung.
        moving: the other CT.
        moving_lungs: its lungs, likewise.
        progress: told the share done and the stage; whatever it raises ends the registration.

    Raises:
        RegistrationError: a lung mask is empty, or the lungs were not brought together.
    """
    if not (fixed_lungs.any() and moving_lungs.any()):
        raise RegistrationError("A CT without lungs cannot be registered; give the lung masks of both CTs.")
    stage = "Registering the two CTs"
    progress(0.0, stage)
    one, other = _Cells.of(fixed, fixed_lungs), _Cells.of(moving, moving_lungs)
    affine = _affine(one, other)
    _refuse(_overlap(one, other, affine)[0], _LEAST_FIRST_DICE)
    there = _map(one, other, affine, lambda share: progress(0.05 + 0.45 * share, stage))
    back = _map(other, one, _affine(other, one), lambda share: progress(0.5 + 0.45 * share, stage))
    jacobian = _jacobian(there, one.grid)
    quality = _quality(one, other, there, back, jacobian)
    _refuse(quality.dice, LEAST_DICE)
    progress(1.0, stage)
    return Registration(there, canonical_view(fixed)[1], jacobian, one.grid, quality)


@dataclass(frozen=True)
class _Cells:
    """A CT's lungs averaged onto cells of about 3 mm.

    Attributes:
        grid: of the cells.
        share: of lung in each, 0 to 1.
        sides: 0, RIGHT or LEFT.
        normalised: density less its mean around, in standard deviations; 0 outside the lungs.
    """

    grid: Grid
    share: Hu
    sides: Labels
    normalised: Hu

    @classmethod
    def of(cls, image: sitk.Image, lungs: Labels) -> _Cells:
        """The cells of a CT."""
        hu, ct = canonical_view(image)
        where = box(lungs)
        hu, lungs = hu[where], lungs[where]
        edges, shape = [], []
        for part, spacing in zip(where, ct.spacing_mm, strict=True):
            low, high = part.start - _MARGIN_MM / spacing, part.stop + _MARGIN_MM / spacing
            edges.append((low, high))
            shape.append(max(8, round((high - low) * spacing / _CELL_MM)))
        a, b, c = edges
        size = (shape[0], shape[1], shape[2])
        d, e, f = ((low - part.start, high - part.start) for (low, high), part in zip(edges, where, strict=True))
        over = (d, e, f)
        right, left = (area_average(lungs == side, size, over=over) for side in (RIGHT, LEFT))
        density = area_average(np.where(lungs > 0, np.clip(hu, _AIR_HU, 0) - _AIR_HU, 0), size, over=over)
        share = right + left
        sides = np.where(share >= 0.5, np.where(right >= left, RIGHT, LEFT), 0).astype(np.uint8)
        return cls(ct.part((a, b, c), size), share, sides, _normalised(density, share))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Cells that are mostly lung."""
        return np.asarray(self.sides > 0)

    def features(self) -> sitk.Image:
        """What the demons compare."""
        return self.grid.to_image(self.share * (self.normalised + _LUNG))


def _normalised(density: Hu, share: Hu) -> Hu:
    """Lung density less its mean around, in standard deviations, from density times share."""
    from scipy import ndimage  # here: Slicer reads this file at its start

    read = share > _LEAST_SHARE
    lung = np.where(read, density / np.maximum(share, _LEAST_SHARE), 0)

    def around(values: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(ndimage.gaussian_filter(values, _AROUND_MM / _CELL_MM, mode="constant", truncate=3.0))

    weight = np.maximum(around(np.where(read, share, 0)), 1e-3)
    mean = around(lung * share) / weight
    sd = np.sqrt(np.maximum(around(lung**2 * share) / weight - mean**2, 0))
    steps = np.clip((lung - mean) / np.maximum(sd, _LEAST_SD), -_MOST_SD, _MOST_SD)
    return np.where(read, steps, 0).astype(np.float32)


def _refuse(dice: float, least: float) -> None:
    """Raise an error where the lungs overlap too little."""
    if not dice >= least:
        raise RegistrationError(
            f"The lungs of the two CTs could not be registered (Dice {dice:.2f}, at least {least:.1f} is needed); "
            "check that both CTs are of the same patient and that both lung masks are right."
        )


def _overlap(one: _Cells, other: _Cells, transform: sitk.Transform) -> tuple[float, NDArray[np.bool_]]:
    """The Dice coefficient of the sides, and where they agree."""
    frame = one.grid.to_image(one.sides)
    moved = sitk.Resample(other.grid.to_image(other.sides), frame, transform, sitk.sitkNearestNeighbor, 0)
    sides = sitk.GetArrayFromImage(moved)
    both = one.inside & (sides == one.sides)
    cells = int(np.count_nonzero(one.inside)) + int(np.count_nonzero(sides))
    return 2 * int(np.count_nonzero(both)) / max(cells, 1), both


def _map(one: _Cells, other: _Cells, affine: sitk.Transform, told: Callable[[float], None]) -> sitk.Transform:
    """From points of one CT's lungs to those of another's."""
    target = one.features()
    source = sitk.Resample(other.features(), target, affine, sitk.sitkLinear, 0.0)
    field = _demons(_upright(target), _upright(source), told)
    moved = sitk.GetArrayFromImage(field) @ _axes(one.grid).T  # from along the axes to LPS
    image = sitk.GetImageFromArray(moved, isVector=True)
    image.CopyInformation(target)
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(image)])


def _affine(one: _Cells, other: _Cells) -> sitk.Transform:
    """The affine map that brings two lung masks together."""
    fixed, moving = (cells.grid.to_image(cells.share) for cells in (one, other))
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(start)
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2.0, 1.0])
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 60, 0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    return method.Execute(fixed, moving)


def _demons(target: sitk.Image, source: sitk.Image, told: Callable[[float], None]) -> sitk.Image:
    """The displacement, mm along the axes of the grid that both images lie on."""
    total = sum(level.work for level in _LEVELS)
    done, field = 0.0, sitk.Image()
    for level in _LEVELS:
        one, other = (_coarser(image, level.shrink) for image in (target, source))
        if done:
            field = sitk.Resample(field, one, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear)
        else:
            field = sitk.Image(one.GetSize(), sitk.sitkVectorFloat64)
            field.CopyInformation(one)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(level.iterations)
        demons.SetStandardDeviations(level.smoothing)
        field = _watched(demons, one, other, field, _part(told, done / total, level.work / total / level.iterations))
        done += level.work
    return field


def _part(told: Callable[[float], None], start: float, step: float) -> Callable[[int], None]:
    """What is told after so many iterations of a level."""
    return lambda iterations: told(start + step * iterations)


def _watched(
    demons: sitk.DiffeomorphicDemonsRegistrationFilter,
    one: sitk.Image,
    other: sitk.Image,
    field: sitk.Image,
    told: Callable[[int], None],
) -> sitk.Image:
    """Execute the demons; what ``told`` raises ends them and is raised from here (ITK loses a callback's exception)."""
    raised: list[BaseException] = []

    def tell() -> None:
        try:
            told(demons.GetElapsedIterations())
        except BaseException as error:  # KeyboardInterrupt, too
            raised.append(error)
            demons.Abort()

    demons.AddCommand(sitk.sitkIterationEvent, tell)
    try:
        return demons.Execute(one, other, field)
    except RuntimeError:
        if raised:
            raise raised[0] from None
        raise


def _coarser(image: sitk.Image, shrink: int) -> sitk.Image:
    if shrink == 1:
        return image
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, shrink * image.GetSpacing()[0] / 2), [shrink] * 3)


def _upright(image: sitk.Image) -> sitk.Image:
    """The image as if its axes were the patient's: the demons' forces do not know oblique ones."""
    upright = sitk.Image(image)
    upright.SetDirection(np.eye(3).ravel().tolist())
    return upright


def _axes(grid: Grid) -> _Vectors:
    """3 x 3: the columns are the unit vectors of columns, rows and slices in LPS."""
    return np.array(grid.direction_lps)[:, ::-1]


def _jacobian(transform: sitk.Transform, grid: Grid) -> Hu:
    """The determinant of the map's derivative in each cell."""
    size, spacing = grid.shape[::-1], grid.spacing_mm[::-1]
    direction = _axes(grid).ravel().tolist()
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, size, grid.origin_lps, spacing, direction
    )
    moved = sitk.GetArrayFromImage(field) @ _axes(grid)  # from LPS to along the axes: columns, rows, slices
    derivative = np.stack([np.stack(np.gradient(moved[..., k], *grid.spacing_mm)[::-1], -1) for k in range(3)], -2)
    return np.asarray(np.linalg.det(derivative + np.eye(3)), np.float32)


def _quality(
    one: _Cells, other: _Cells, there: sitk.Transform, back: sitk.Transform, jacobian: Hu
) -> RegistrationQuality:
    dice, both = _overlap(one, other, there)
    frame, values = one.grid.to_image(one.sides), other.grid.to_image(other.normalised)
    density = sitk.GetArrayFromImage(sitk.Resample(values, frame, there, sitk.sitkLinear, 0.0))
    alike = float(np.corrcoef(one.normalised[both], density[both])[0, 1]) if np.count_nonzero(both) > 1 else 0.0
    return RegistrationQuality(
        dice=dice,
        correlation=alike if np.isfinite(alike) else 0.0,
        folded_percent=100 * float(np.mean(jacobian[one.inside] <= 0)) if one.inside.any() else 0.0,
        inverse_consistency_mm=_inverse_consistency(one, there, back),
    )


def _inverse_consistency(one: _Cells, there: sitk.Transform, back: sitk.Transform) -> float:
    """As ``RegistrationQuality`` defines it, at points spread evenly over the lungs."""
    cells = np.argwhere(one.inside)
    points = one.grid.position_lps(cells[:: max(1, len(cells) // _POINTS)].astype(float))
    returned = [back.TransformPoint(there.TransformPoint(point)) for point in points.tolist()]
    return float(np.percentile(np.linalg.norm(np.array(returned) - points, axis=1), 95)) if returned else 0.0
