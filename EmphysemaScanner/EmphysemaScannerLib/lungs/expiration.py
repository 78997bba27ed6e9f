"""An inspiratory and an expiratory CT of one patient: air trapping, change of density, parametric response map.

This file is read when Slicer starts, and therefore does without scipy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _
from . import LEFT, RIGHT
from .regions import LOBES

if TYPE_CHECKING:
    from ..ct.provenance import Series
    from .densitometry import Densitometry
    from .registration import RegistrationQuality

EMPHYSEMA_HU, TRAPPED_HU, VESSEL_HU = -950, -856, -500
_LARGEST_RATIO = 0.9  # of the volumes; a limit of our own
_Labels = NDArray[np.uint8]


class PairError(EmphysemaScannerError):
    """Two CTs are not an inspiratory and an expiratory one of the same patient."""


class Response(IntEnum):
    """The class of a voxel in the parametric response map; 0 has none."""

    NORMAL = 1
    UNCLASSIFIED = 2
    SMALL_AIRWAYS = 3
    EMPHYSEMA = 4

    def label(self) -> str:
        """Its name in tables and legends."""
        return {
            Response.NORMAL: _("Normal"),
            Response.UNCLASSIFIED: _("Unclassified"),
            Response.SMALL_AIRWAYS: _("Functional small airways disease"),
            Response.EMPHYSEMA: _("Emphysema"),
        }[self]

    @property
    def colour(self) -> tuple[float, float, float]:
        """Red, green and blue, 0 to 1: told apart by the colour-blind, too (Okabe and Ito)."""
        return {
            Response.NORMAL: (0.0, 0.62, 0.45),
            Response.UNCLASSIFIED: (0.60, 0.60, 0.60),
            Response.SMALL_AIRWAYS: (0.94, 0.89, 0.26),
            Response.EMPHYSEMA: (0.84, 0.37, 0.0),
        }[self]


@dataclass(frozen=True)
class PairFigures:
    """What two CTs of one patient give for a region; NaN is what was not measured.

    Of lobes, the expiratory CT has no mask: they have the shares of the response map alone.

    Attributes:
        inspiratory_volume_l, expiratory_volume_l: litres, each in the CT's own lung mask.
        volume_ratio: expiratory over inspiratory volume.
        inspiratory_mean_hu, expiratory_mean_hu: mean density, HU.
        mean_difference_hu: expiratory less inspiratory mean density, HU.
        mean_ratio: expiratory over inspiratory mean density.
        air_trapping_percent: share of the expiratory lung strictly below -856 HU.
        volume_change_percent: the relative volume change of -860 to -950 HU.
        prm_normal_percent, prm_unclassified_percent, prm_small_airways_percent, prm_emphysema_percent: shares of the
            voxels that have a class.
        prm_voxels_percent: share of the inspiratory lung that has a class.
    """

    inspiratory_volume_l: float = math.nan
    expiratory_volume_l: float = math.nan
    volume_ratio: float = math.nan
    inspiratory_mean_hu: float = math.nan
    expiratory_mean_hu: float = math.nan
    mean_difference_hu: float = math.nan
    mean_ratio: float = math.nan
    air_trapping_percent: float = math.nan
    volume_change_percent: float = math.nan
    prm_normal_percent: float = math.nan
    prm_unclassified_percent: float = math.nan
    prm_small_airways_percent: float = math.nan
    prm_emphysema_percent: float = math.nan
    prm_voxels_percent: float = math.nan


@dataclass(frozen=True)
class ExpiratoryPair:
    """What the second CT of a scan, in expiration, tells.

    Attributes:
        regions: by region: "whole", "right", "left" and the lobes that were given; empty where nothing was measured.
        quality: of the registration; None where there is none.
        missing: why there is no response map, or no figure at all, as a sentence; "" where there is one.
        warnings: what makes the pair doubtful, as sentences, gravest first.
        response: uint8 (slices, rows, columns) on the inspiratory CT's canonical grid: 0 or a ``Response``; None
            without registration.
        series: the DICOM series of the expiratory CT; None for another kind of file.
    """

    regions: dict[str, PairFigures] = field(default_factory=dict)
    quality: RegistrationQuality | None = None
    missing: str = ""
    warnings: tuple[str, ...] = ()
    response: _Labels | None = None
    series: Series | None = None


def density_figures(inspiratory: Densitometry, expiratory: Densitometry) -> PairFigures:
    """What needs no registration, of a region that both CTs have."""
    return PairFigures(
        inspiratory_volume_l=inspiratory.volume_l,
        expiratory_volume_l=expiratory.volume_l,
        volume_ratio=_ratio(expiratory.volume_l, inspiratory.volume_l),
        inspiratory_mean_hu=inspiratory.mean_hu,
        expiratory_mean_hu=expiratory.mean_hu,
        mean_difference_hu=expiratory.mean_hu - inspiratory.mean_hu,
        mean_ratio=_ratio(expiratory.mean_hu, inspiratory.mean_hu),
        air_trapping_percent=expiratory.laa_856_percent,
        volume_change_percent=_between(expiratory) - _between(inspiratory),
    )


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _between(lung: Densitometry) -> float:
    """Share of what is not emphysema that lies from -950 to below -856 HU, per cent."""
    rest = 100 - lung.laa_950_percent
    return 100 * (lung.laa_856_percent - lung.laa_950_percent) / rest if rest > 0 else math.nan


def response_map(inspiratory: NDArray[Any], expiratory: NDArray[Any], lung: NDArray[np.bool_]) -> _Labels:
    """The parametric response map of Galbán et al., Nat Med 2012;18:1711-1715.

    Args:
        inspiratory: HU, any shape.
        expiratory: HU of the same tissue in expiration, of the same shape.
        lung: where both CTs have lung.

    Returns:
        uint8 of that shape: a ``Response``, or 0 outside ``lung`` and where either CT is at or above -500 HU (vessels).
    """
    low, trapped = inspiratory < EMPHYSEMA_HU, expiratory < TRAPPED_HU
    classes = np.where(trapped, Response.SMALL_AIRWAYS, Response.NORMAL).astype(np.uint8)
    classes[low & trapped] = Response.EMPHYSEMA
    classes[low & ~trapped] = Response.UNCLASSIFIED
    classes[~(lung & (inspiratory < VESSEL_HU) & (expiratory < VESSEL_HU))] = 0
    return classes


def response_shares(response: _Labels, lungs: _Labels, lobes: _Labels | None) -> dict[str, PairFigures]:
    """The shares of the classes by region: "whole", "right", "left", and the lobes that have voxels.

    Args:
        response: as ``response_map`` gives it.
        lungs: of the same shape: 0, 1 right lung, 2 left lung.
        lobes: of the same shape: 0, or the place in ``regions.LOBES`` from 1; None without lobes.
    """
    sides = _counted(response, lungs, 3)
    found = {"whole": sides[RIGHT] + sides[LEFT], "right": sides[RIGHT], "left": sides[LEFT]}
    if lobes is not None:
        by_lobe = _counted(response, lobes, len(LOBES) + 1)
        found |= {lobe.value: by_lobe[lobe.lobe] for lobe in LOBES if by_lobe[lobe.lobe].any()}
    return {name: _shares(counts) for name, counts in found.items()}


def _counted(response: _Labels, regions: _Labels, number: int) -> NDArray[np.int64]:
    """(regions, classes) voxels of each region in each class, the first of which is none."""
    kinds = len(Response) + 1
    total = np.zeros((number, kinds), np.int64)
    for classes, parts in zip(response, regions, strict=True):
        where = parts > 0
        joint = parts[where].astype(np.int64) * kinds + classes[where]
        total += np.bincount(joint, minlength=number * kinds).reshape(number, kinds)
    return total


def _shares(counts: NDArray[np.int64]) -> PairFigures:
    lung, classed = int(counts.sum()), int(counts[1:].sum())

    def share(response: Response) -> float:
        return 100 * int(counts[response]) / classed if classed else math.nan

    return PairFigures(
        prm_normal_percent=share(Response.NORMAL),
        prm_unclassified_percent=share(Response.UNCLASSIFIED),
        prm_small_airways_percent=share(Response.SMALL_AIRWAYS),
        prm_emphysema_percent=share(Response.EMPHYSEMA),
        prm_voxels_percent=100 * classed / lung if lung else math.nan,
    )


def breath_doubts(regions: Mapping[str, PairFigures]) -> tuple[str, ...]:
    """A sentence where the lungs hardly became smaller."""
    whole = regions["whole"]
    if whole.volume_ratio <= _LARGEST_RATIO:
        return ()
    return (
        _(
            "The patient hardly breathed out: the lungs hold {expiratory} L in expiration and {inspiratory} L in"
            " inspiration. Air trapping and the response map then mean little."
        ).format(expiratory=f"{whole.expiratory_volume_l:.2f}", inspiratory=f"{whole.inspiratory_volume_l:.2f}"),
    )
