"""The breath and the scan: what differs between CTs of the same chest, with disease and without.

Kernel and noise are modelled on one acquisition reconstructed twice (Lung-PET-CT-Dx A0001, kernels B and L): within
lung, the sharp picture is the smooth one filtered by exp(5.4 f^2 / (f + 0.055)), f in cycles per mm (coherence 0.97 or
more up to 0.5 per mm), and the smooth one's noise power falls as f exp(-f^2 / (2 * 0.138^2)): the ramp of filtered back
projection times the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from ..ct.grid import Grid, area_average
from ..lungs import LEFT, RIGHT
from .anatomy import averaged_labels, soft_tissue
from .lungspace import Floats, Labels, Spacing
from .parenchyma import parenchyma_hu

AIR_HU = -1000.0
_Value = TypeVar("_Value", bound=np.generic)
_SHARPEN, _KNEE = 5.4, 0.055
_NOISE_WIDTH = 0.138
_LARGEST_GAIN = 8.0
_WATER_PER_MM = 0.0195  # attenuation at about 70 keV


@dataclass(frozen=True)
class Acquisition:
    """One breath and one scan. HU values are at the simulated resolution.

    Attributes:
        parenchyma_hu: of lung between the vessels, lower when breath is deeper; 0: as in the CT.
        gravity_hu_per_mm: density gained per mm towards the back.
        contrast_hu: added to the blood in heart and vessels.
        kernel: sharpness relative to the CT's own reconstruction; 0 leaves it, 1 is the step from a soft tissue to a
            lung kernel, negative is smoother.
        noise_hu: standard deviation of the noise that is added, mean over the lungs.
        streaks: share of the noise's variance along the rows that cross most tissue (shoulders).
        drift_hu: standard deviation of smooth density changes over centimetres.
        offset_hu: error of calibration.
        slice_mm: distance of the slices; not below the CT's own.
        overlap: slice thickness over slice distance, 1 or more.
        motion_mm: how far heart and diaphragm moved during the scan.
        step_mm: how far the chest jumped between two breaths, part of the way through the scan; 0 for one breath.
    """

    parenchyma_hu: float = 0.0
    gravity_hu_per_mm: float = 0.0
    contrast_hu: float = 0.0
    kernel: float = 0.0
    noise_hu: float = 0.0
    streaks: float = 0.0
    drift_hu: float = 0.0
    offset_hu: float = 0.0
    slice_mm: float = 0.0
    overlap: float = 1.0
    motion_mm: float = 0.0
    step_mm: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Acquisition:
        """A random scan: low and full dose, smooth to sharp, thin to thick, with and without contrast."""
        kernel = float(rng.choice([-0.5, 0.0, 0.0, 0.4, 0.8], p=[0.2, 0.2, 0.2, 0.2, 0.2]) + rng.uniform(-0.1, 0.1))
        noise = float(np.clip(np.exp(rng.normal(np.log(14), 0.65)) * 2.2 ** max(kernel, -0.3), 2, 95))
        values = cls(
            parenchyma_hu=AIR_HU + 115 * float(np.exp(rng.normal(0, 0.25))),  # a tenth below -916, one above -842
            gravity_hu_per_mm=float(rng.normal(0.12, 0.15)),
            contrast_hu=float(rng.uniform(60, 280)) if rng.random() < 0.35 else 0.0,
            kernel=kernel,
            noise_hu=noise,
            streaks=float(rng.uniform(0, 0.5)),
            drift_hu=float(rng.uniform(0, 6)),
            offset_hu=float(rng.normal(0, 5)),
            slice_mm=float(rng.choice([0.0, 2.5, 3.0, 5.0, 7.0], p=[0.4, 0.15, 0.15, 0.2, 0.1])),
            overlap=float(rng.choice([1.0, 1.25, 1.6], p=[0.6, 0.2, 0.2])),
            motion_mm=float(rng.uniform(1, 5)) if rng.random() < 0.3 else 0.0,
            step_mm=float(rng.uniform(2, 7)) if rng.random() < 0.08 else 0.0,
        )
        return cls(**{name: round(value, 3) for name, value in vars(values).items()})

    @property
    def kernel_name(self) -> str:
        """For the manifest: "smooth", "standard" or "sharp"."""
        return "smooth" if self.kernel < -0.25 else "sharp" if self.kernel > 0.25 else "standard"


@dataclass(frozen=True)
class Scan:
    """What came out of an acquisition: HU, lung labels and lesion mask on one grid; shapes may differ from before."""

    hu: Floats
    labels: Labels
    lesions: NDArray[np.bool_]
    grid: Grid


def acquire(scan: Scan, a: Acquisition, like: Floats, rng: np.random.Generator) -> Scan:
    """Breathe and scan.

    Args:
        scan: the chest.
        a: how.
        like: the same chest without disease; the noise's strength is taken from it, so that twins have the same noise.
        rng: chance; the same state gives twins the same noise.
    """
    spacing = scan.grid.spacing_mm
    hu = _breathe(scan, a, like)
    if a.contrast_hu:
        hu = _with_contrast(hu, scan.labels, spacing, a.contrast_hu)
    labels, lesions = scan.labels, scan.lesions
    if a.motion_mm:
        hu = _moved(hu, labels, spacing, a.motion_mm)
    if a.step_mm:
        jump = _Jump.draw(len(hu), spacing, a.step_mm, rng)
        hu, labels, lesions, like = jump.of(hu), jump.of(labels), jump.of(lesions), jump.of(like)
    strength = _noise_strength(like, labels, spacing)
    hu, strength, labels, lesions, grid = _sliced(hu, strength, labels, lesions, scan.grid, a)
    spacing = grid.spacing_mm
    noise = _noise(strength, spacing, a, rng)
    filtered = _filtered(hu, spacing, a.kernel) if a.kernel else hu
    drift = _drift(hu.shape, a.drift_hu, rng)
    out = filtered + noise + drift + a.offset_hu
    return Scan(np.clip(out, -1024, 3071).astype(np.float32), labels, lesions, grid)


def _breathe(scan: Scan, a: Acquisition, like: Floats) -> Floats:
    hu, labels, spacing = scan.hu, scan.labels, scan.grid.spacing_mm
    if not a.parenchyma_hu and not a.gravity_hu_per_mm:
        return hu
    rows_mm = np.arange(hu.shape[1], dtype=np.float32) * spacing[1]
    used = np.flatnonzero((labels > 0).any((0, 2)))
    middle = rows_mm[used].mean() if used.size else rows_mm.mean()
    gradient = (a.gravity_hu_per_mm * (rows_mm - middle))[None, :, None]
    aeration = 1.0
    if a.parenchyma_hu:
        aeration = (a.parenchyma_hu - AIR_HU) / (parenchyma_hu(like[labels > 0]) - AIR_HU)
    tissue = hu - np.float32(AIR_HU)  # 0 in air, about 150 in healthy lung
    parenchyma = np.clip((-500 - hu) / 200, 0, 1) * (labels > 0)  # vessels keep their density
    change = tissue * (aeration - 1) + gradient * np.clip(tissue / 150, 0, 1)
    out: Floats = (hu + parenchyma * change).astype(np.float32)
    return out


def _with_contrast(hu: Floats, labels: Labels, spacing: Spacing, added_hu: float) -> Floats:
    """Enhanced blood: large vessels within the lungs, and heart and great vessels between them."""
    lung = labels > 0
    blood = lung * np.clip((hu + 400) / 400, 0, 1)
    middle = np.zeros(hu.shape, np.float32)
    for k in np.flatnonzero((labels == RIGHT).any((1, 2)) & (labels == LEFT).any((1, 2))):
        right, left = np.flatnonzero((labels[k] == RIGHT).any(0)), np.flatnonzero((labels[k] == LEFT).any(0))
        rows = np.flatnonzero(lung[k].any(1))
        start, stop = int(np.percentile(right, 60)), int(np.percentile(left, 40))
        depth = rows[-1] - rows[0]
        middle[k, rows[0] + depth // 8 : rows[0] + int(0.75 * depth), start:stop] = 1
    body = ndimage.uniform_filter(soft_tissue(hu).astype(np.float32), [round(6 / s) | 1 for s in spacing])
    heart = middle * ~lung * (body > 0.8)
    heart = ndimage.gaussian_filter(heart.astype(np.float32), [2 / s for s in spacing])
    out: Floats = (hu + added_hu * np.maximum(blood, heart * (hu > -200))).astype(np.float32)
    return out


def _moved(hu: Floats, labels: Labels, spacing: Spacing, mm: float) -> Floats:
    """Double contours near heart and diaphragm: the mean of the picture and itself a beat later."""
    small = tuple(slice(None, None, 2) for _ in range(3))
    far = ndimage.distance_transform_edt((labels == 0)[small] == 0, sampling=[2 * s for s in spacing])
    height = np.linspace(1, 0, hu.shape[0], dtype=np.float32)[:, None, None]  # the diaphragm is below
    left = (labels == LEFT).any((0, 1))
    towards = np.clip(
        1 - np.abs(np.arange(hu.shape[2]) - (np.argmax(left) if left.any() else 0)) * spacing[2] / 70, 0, 1
    )
    near = np.exp(-far / 12).astype(np.float32).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    near = near[: hu.shape[0], : hu.shape[1], : hu.shape[2]]
    weight = near * np.maximum(towards[None, None, :], np.clip(2 * height - 1, 0, 1))
    shifted = ndimage.shift(hu, (0, 0.6 * mm / spacing[1], mm / spacing[2]), order=1, mode="nearest")
    out: Floats = (hu + 0.5 * weight * (shifted - hu)).astype(np.float32)
    return out


@dataclass(frozen=True)
class _Jump:
    """From a slice on, the chest lies elsewhere: it was scanned in another breath, and some of it twice."""

    first: int
    again: int
    rows: int
    columns: int

    @classmethod
    def draw(cls, slices: int, spacing: Spacing, mm: float, rng: np.random.Generator) -> _Jump:
        y, x = rng.normal(0, 1, 2)
        rows, columns = (round(float(mm * d / np.hypot(y, x)) / s) for d, s in zip((y, x), spacing[1:], strict=True))
        return cls(int(rng.uniform(0.3, 0.7) * slices), max(1, round(mm / spacing[0])), rows, columns)

    def of(self, part: NDArray[_Value]) -> NDArray[_Value]:
        upper = part[max(self.first - self.again, 0) :][: len(part) - self.first]
        return np.concatenate([part[: self.first], np.roll(upper, (self.rows, self.columns), (1, 2))])


def _sliced(
    hu: Floats, strength: Floats, labels: Labels, lesions: NDArray[np.bool_], grid: Grid, a: Acquisition
) -> tuple[Floats, Floats, Labels, NDArray[np.bool_], Grid]:
    own = grid.spacing_mm[0]
    step = max(a.slice_mm, own)
    thick = step * a.overlap
    if thick > own * 1.01 and a.overlap > 1:
        hu = ndimage.uniform_filter1d(hu, max(1, round(thick / own)), axis=0)
    count = max(1, round(grid.shape[0] * own / step))
    if count == grid.shape[0]:
        return hu, strength, labels, lesions, grid
    coarse = grid.resized((count, *grid.shape[1:]))
    return (
        area_average(hu, coarse.shape),
        area_average(strength, coarse.shape),
        averaged_labels(labels, coarse.shape),
        _same_volume(area_average(lesions, coarse.shape), np.count_nonzero(lesions) / lesions.size),
        coarse,
    )


def _same_volume(share: Floats, part: float) -> NDArray[np.bool_]:
    """The voxels that lesions fill most, as many as have the lesions' volume: half-filled ones neither add nor take."""
    filled = np.zeros(share.shape, bool)
    touched = np.flatnonzero(share)
    fullest = np.argsort(-share.ravel()[touched], kind="stable")[: round(part * share.size)]
    filled.ravel()[touched[fullest]] = True
    return filled


def _frequency(shape: tuple[int, ...], spacing: Spacing) -> NDArray[np.float32]:
    """Radial frequency of ``rfft2`` coefficients, cycles per mm."""
    rows, columns = fft.fftfreq(shape[1], spacing[1]), fft.rfftfreq(shape[2], spacing[2])
    frequency: NDArray[np.float32] = np.hypot(rows[:, None], columns).astype(np.float32)
    return frequency


def _filtered(hu: Floats, spacing: Spacing, kernel: float) -> Floats:
    """Each slice as another kernel shows it."""
    rows, columns = (fft.next_fast_len(n + 16, real=True) for n in hu.shape[1:])  # so that edges do not wrap around
    f = _frequency((0, rows, columns), spacing)
    gain = np.minimum(np.exp(kernel * _SHARPEN * f**2 / (f + _KNEE)), _LARGEST_GAIN).astype(np.float32)
    padded = np.pad(hu, ((0, 0), (0, rows - hu.shape[1]), (0, columns - hu.shape[2])), mode="reflect")
    out: Floats = fft.irfft2(fft.rfft2(padded) * gain, s=(rows, columns))
    cut: Floats = out[:, : hu.shape[1], : hu.shape[2]]
    return cut


def _noise_strength(hu: Floats, labels: Labels, spacing: Spacing) -> Floats:
    """Relative standard deviation of the noise, 1 in the mean over the lungs: more where rays cross more tissue."""
    density = np.maximum(hu + 1000, 0) * np.float32(_WATER_PER_MM / 1000)
    across = density.sum(2, keepdims=True) * spacing[2]  # of the rays along each row
    along = density.sum(1, keepdims=True) * spacing[1]
    variance = np.exp(np.minimum(0.7 * across, 8)) + np.exp(np.minimum(0.7 * along, 8))  # tube current is modulated
    strength = np.sqrt(variance)
    strength = ndimage.gaussian_filter(strength, (0, 8 / spacing[1], 8 / spacing[2]), truncate=2)
    lung = labels > 0
    mean = strength[lung].mean() if lung.any() else strength.mean()
    out: Floats = np.clip(strength / mean, 0.4, 3).astype(np.float32)
    return out


def _noise(strength: Floats, spacing: Spacing, a: Acquisition, rng: np.random.Generator) -> Floats:
    shape = strength.shape
    if not a.noise_hu:
        return np.zeros(shape, np.float32)
    f = _frequency(shape, spacing)
    power = f * np.exp(-(f**2) / (2 * _NOISE_WIDTH**2)) * np.exp(2 * a.kernel * _SHARPEN * f**2 / (f + _KNEE))
    amplitude = np.sqrt(power).astype(np.float32)
    white = rng.standard_normal(shape, dtype=np.float32)
    rows = np.abs(fft.fftfreq(shape[1], spacing[1]))[:, None]
    columns = fft.rfftfreq(shape[2], spacing[2])[None]
    spectrum = fft.rfft2(white)
    even: Floats = fft.irfft2(spectrum * amplitude, s=shape[1:])
    even /= even.std()
    if not a.streaks:
        return a.noise_hu * strength * even
    # Streaks run along rows: their power lies where the frequency along the row is far below that across.
    lines = amplitude * np.exp(-((columns / (0.25 * rows + 0.01)) ** 2)).astype(np.float32)
    other = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    streaky: Floats = fft.irfft2(other * lines, s=shape[1:])
    streaky /= streaky.std()
    out: Floats = np.sqrt(1 - a.streaks) * even + np.sqrt(a.streaks) * np.minimum(strength, 2) * streaky
    return (a.noise_hu * strength * out).astype(np.float32)


def _drift(shape: tuple[int, ...], drift_hu: float, rng: np.random.Generator) -> Floats:
    nodes = rng.normal(0, drift_hu, (6, 6, 6)).astype(np.float32)
    for axis, size in enumerate(shape):  # linear along each axis
        at = np.linspace(0, 5, size)
        low = np.minimum(at.astype(int), 4)
        part = (at - low).astype(np.float32)
        weights = part.reshape([-1 if i == axis else 1 for i in range(3)])
        nodes = nodes.take(low, axis) * (1 - weights) + nodes.take(low + 1, axis) * weights
    return nodes
