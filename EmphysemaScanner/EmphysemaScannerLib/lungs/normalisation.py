"""Density made comparable: of another reconstruction kernel, with less noise, at another depth of breath.

The raw figures stay what they are; these stand beside them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..base.parallel import in_threads
from .densitometry import Densitometry
from .measurements import Kernel
from .morphology import box

Spacing = tuple[float, float, float]
_Planes = NDArray[np.float32]

BAND_MM = (1.0, 2.0)
"""Standard deviations of the Gaussians that end the bands: finer than the first, between the first and the second."""
REFERENCE_HU = (21.6, 21.9)
"""The energy of each band that smooth kernels have at most, HU.

The highest of twelve CTs with smooth kernels: LIDC-IDRI-0001, -0002 and -0003 (GE STANDARD), QIN-LSC-0003, -0028 and
-0049 (Siemens B41f), QIN-LUNG-01-0007 and R01-142 (B30f), Lung-PET-CT-Dx A0001 (B), LUNG1 and LUNG2 of PyRadiomics, and
ct-64 of the Chest Imaging Platform; slices of 2 to 5 mm, pixels of 0.57 to 4.2 mm. They measured 12.3 to 21.6 and 12.7
to 21.9 HU where the pixels are small enough to hold the band.
"""
_LUNG_BELOW_HU = -700  # without vessels and what touches them
_ROUNDS = 4
_CLOSE_ENOUGH = 0.98  # of a factor: two more rounds would move LAA%-950 by less than 0.02 points
_MARGIN_MM = 6.0  # three standard deviations of the widest Gaussian
_FEWEST = 1000
_SAMPLE = 32  # slices, enough for an energy

NOISE_WINDOW_MM = 2.5
REFERENCE_VOLUME_L = 6.0


def normalise_kernel(
    hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing_mm: Spacing
) -> tuple[NDArray[np.generic], Kernel]:
    """The CT with no more energy in its fine frequency bands than smooth kernels leave there.

    After Gallardo-Estrella et al., Eur Radiol 2016;26:478-486: the CT is divided into frequency bands by Gaussians
    (hierarchical unsharp masking), each band is multiplied so that its energy in the lungs becomes that of a reference,
    and this is repeated until the energies stay. Different here: the bands lie in the slices, where the kernel acts;
    energy is 1.4826 times the median absolute deviation in lung below -700 HU, which vessels do not dominate, in at
    most 32 slices; a band is only ever attenuated, down to the highest energy of smooth CTs, so that a smooth CT stays
    as it is.

    Args:
        hu: HU, (slices, rows, columns).
        labels: its lung mask, 0 outside.
        spacing_mm: distance of voxel centres (slices, rows, columns), mm.

    Returns:
        The CT, rounded to whole HU, as it was outside the lungs' box, and the very array where nothing is to be
        changed; and what was done.
    """
    rows, columns = (math.ceil(_MARGIN_MM / mm) for mm in spacing_mm[1:])
    where = box(labels, (0, rows, columns))
    part, lung = hu[where], labels[where] > 0
    sigmas = [(mm / spacing_mm[1], mm / spacing_mm[2]) for mm in BAND_MM]
    step = math.ceil(len(part) / _SAMPLE)
    sample, in_sample = part[::step].astype(np.float32), lung[::step]
    first = _energies_around(sample, in_sample, sigmas, (0, rows, columns))
    rounds = _smoothed(sample, in_sample, sigmas, first)
    kernel = Kernel(
        tuple(first), tuple(math.prod(column) for column in zip(*rounds, strict=True)) or (1.0,) * len(BAND_MM)
    )
    if not rounds:
        return hu, kernel
    out = hu.astype(np.int16)

    def change(k: int) -> None:
        plane = sample[k // step] if k % step == 0 else part[k].astype(np.float32)
        for factors in rounds if k % step else ():
            _attenuate(plane, _bands_of_slice(plane, sigmas), factors)
        out[where][k] = np.rint(plane)

    in_threads(change, range(len(part)))
    return out, kernel


def reduce_noise(hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.generic] | None:
    """The CT with each pixel replaced by the mean of the lung pixels in a square of about 2.5 mm in its slice.

    A sliding average, the plainest of the filters that are put before a threshold because noise widens the histogram
    (Schilham et al., IEEE Trans Med Imaging 2006;25:451-463, who propose an adaptive one).

    Args:
        hu: as for ``normalise_kernel``.
        labels: as for ``normalise_kernel``.
        spacing_mm: as for ``normalise_kernel``.

    Returns:
        The CT, rounded to whole HU, meaningful within the lungs; None where the pixels are so large that the square is
        one pixel.
    """
    size = [1 + 2 * round((NOISE_WINDOW_MM / mm - 1) / 2) for mm in spacing_mm[1:]]
    if max(size) == 1:
        return None
    out = np.zeros(hu.shape, np.int16)

    def average(k: int) -> None:
        lung = labels[k] > 0
        if lung.any():
            where = box(lung[None], (0, size[0], size[1]))[1:]
            share = ndimage.uniform_filter(lung[where].astype(np.float32), size)
            total = ndimage.uniform_filter(np.where(lung[where], hu[k][where], 0).astype(np.float32), size)
            out[k][where] = np.rint(np.divide(total, share, out=np.zeros_like(total), where=lung[where]))

    in_threads(average, range(len(hu)))
    return out


def perc15_at_volume(region: Densitometry, volume_l: float = REFERENCE_VOLUME_L) -> float:
    """The 15th percentile as density, g/L, that the lungs would have at another volume: the sponge model.

    Tissue stays and air comes or goes, so that density times volume is constant (Dirksen et al., Am J Respir Crit Care
    Med 1999;160:1468-1472; Stoel et al., Proc Am Thorac Soc 2008;5:919-924).

    Args:
        region: of the whole lungs.
        volume_l: the volume, litres; for two CTs of one patient any one serves.
    """
    return (1000 + region.perc15_hu) * region.volume_l / volume_l


def _smoothed(
    planes: _Planes, lung: NDArray[np.bool_], sigmas: list[tuple[float, float]], energies: list[float]
) -> list[list[float]]:
    """Attenuate the bands of slices, in place, until their energies stay; returns the factors of each round."""
    rounds: list[list[float]] = []
    factors = _factors(energies)
    if min(factors) > _CLOSE_ENOUGH:
        return rounds
    bands = _bands(planes, sigmas)
    while True:
        rounds.append(factors)
        for k, plane in enumerate(planes):
            _attenuate(plane, [band[k] for band in bands], factors)
        if len(rounds) == _ROUNDS:
            return rounds
        bands = _bands(planes, sigmas)
        inner = lung & (planes < _LUNG_BELOW_HU)
        factors = _factors([_energy(band[inner]) for band in bands])
        if min(factors) > _CLOSE_ENOUGH:
            return rounds


def _factors(energies: list[float]) -> list[float]:
    """What brings the energies of bands down to the reference; 1 where they are not above it."""
    return [min(1.0, most / e) if e > 0 else 1.0 for e, most in zip(energies, REFERENCE_HU, strict=True)]


def _bands(planes: _Planes, sigmas: list[tuple[float, float]]) -> list[_Planes]:
    """The bands of several slices."""
    found = in_threads(lambda k: _bands_of_slice(planes[k], sigmas), range(len(planes)))
    return [np.stack(bands) for bands in zip(*found, strict=True)]


def _bands_of_slice(plane: _Planes, sigmas: list[tuple[float, float]]) -> list[_Planes]:
    bands, finer = [], plane
    for sigma in sigmas:
        smooth = ndimage.gaussian_filter(plane, sigma, truncate=3)
        bands.append(finer - smooth)
        finer = smooth
    return bands


def _attenuate(plane: _Planes, bands: list[_Planes], factors: list[float]) -> None:
    """Multiply the bands of a slice, in place."""
    for band, factor in zip(bands, factors, strict=True):
        if factor < 1:
            plane += np.float32(factor - 1) * band


def _energies_around(
    planes: _Planes, lung: NDArray[np.bool_], sigmas: list[tuple[float, float]], margin: tuple[int, int, int]
) -> list[float]:
    """The energies of the bands of slices; of each slice, only the box around its lung is filtered."""

    def values(k: int) -> list[_Planes]:
        where = box(lung[k : k + 1], margin)[1:]
        inner = lung[k][where] & (planes[k][where] < _LUNG_BELOW_HU)
        return [band[inner] for band in _bands_of_slice(planes[k][where], sigmas)]

    return [_energy(np.concatenate(of_band)) for of_band in zip(*in_threads(values, range(len(planes))), strict=True)]


def _energy(values: _Planes) -> float:
    """1.4826 times the median absolute deviation of a band's values, which are changed."""
    if values.size < _FEWEST:
        return 0.0
    values -= np.float32(_median(values))
    return 1.4826 * _median(np.abs(values, out=values))


def _median(values: _Planes) -> float:
    """As ``np.median``, in half of the time; the values' order is changed."""
    middle = values.size // 2
    values.partition(middle)
    if values.size % 2:
        return float(values[middle])
    return float(np.mean([values[:middle].max(), values[middle]], dtype=np.float32))
