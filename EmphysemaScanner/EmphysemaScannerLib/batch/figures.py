"""Further figures of a batch's table, for when everything is measured, made of ``lungs.measures``.

A column's name is the region (none for both lungs), the kind of figure and the measure's name in files, such as
``right_lung_smooth_kernel_laa_950_percent``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..lungs.measures import (
    CLUSTER_MEASURES,
    DISTRIBUTION_MEASURES,
    LUNG_MEASURES,
    PAIR_MEASURES,
    LungMeasure,
    Measured,
)
from ..lungs.regions import LOBES, Region

if TYPE_CHECKING:
    from ..scan.result import ScanResult


@dataclass(frozen=True)
class Place:
    """A region of which the table has figures.

    Attributes:
        region: its name in results.
        prefix: of its columns.
        words: as a data dictionary names it.
    """

    region: str
    prefix: str
    words: str


@dataclass(frozen=True)
class Kind:
    """Figures of one kind.

    Attributes:
        prefix: of their columns, behind that of the region.
        words: what a data dictionary adds to their meaning.
        measures: which.
        places: of which regions.
        of: the figures of a result by region; a region that was not measured is missing.
    """

    prefix: str
    words: str
    measures: tuple[LungMeasure, ...]
    places: tuple[Place, ...]
    of: Callable[[ScanResult], Mapping[str, Measured]]


@dataclass(frozen=True)
class Figure:
    """A column with one figure of one region."""

    kind: Kind
    place: Place
    measure: LungMeasure

    @property
    def column(self) -> str:
        """Its name in the table's header."""
        return f"{self.place.prefix}{self.kind.prefix}{self.measure.field}"

    @property
    def meaning(self) -> str:
        """In words, as a data dictionary has it."""
        return ", ".join(filter(None, (self.measure.meaning, self.kind.words, self.place.words)))


def _place(region: Region, name: str) -> Place:
    return Place(name, f"{region.value}_", str(region))


_BOTH = Place("whole", "", "both lungs")
_LUNGS_AND_LOBES = (
    _BOTH,
    _place(Region.RIGHT_LUNG, "right"),
    _place(Region.LEFT_LUNG, "left"),
    *(_place(lobe, lobe.value) for lobe in LOBES),
)
_DEPTHS = (Place("core", "core_", "core"), Place("rind", "rind_", "rind"))

_KINDS = (
    Kind(
        "",
        "",
        LUNG_MEASURES,
        (*_LUNGS_AND_LOBES, *_DEPTHS),
        lambda result: {**result.densitometry, **result.measurements.parts},
    ),
    Kind("", "", DISTRIBUTION_MEASURES, (_BOTH,), lambda result: {"whole": result.measurements.distribution}),
    Kind("clusters_", "", CLUSTER_MEASURES, _LUNGS_AND_LOBES, lambda result: result.measurements.clusters),
    Kind(
        "smooth_kernel_",
        "as with a smooth kernel",
        LUNG_MEASURES,
        _LUNGS_AND_LOBES,
        lambda result: result.measurements.normalised.of_smooth_kernel,
    ),
    Kind(
        "less_noise_",
        "with less noise",
        LUNG_MEASURES,
        _LUNGS_AND_LOBES,
        lambda result: result.measurements.normalised.with_less_noise,
    ),
    Kind(
        "",
        "",
        PAIR_MEASURES,
        _LUNGS_AND_LOBES,
        lambda result: result.expiration.regions if result.expiration is not None else {},
    ),
)

FIGURES = tuple(Figure(kind, place, measure) for kind in _KINDS for place in kind.places for measure in kind.measures)
"""All figures by kind, region and measure, those of the usual columns included."""


def figures_of(result: ScanResult) -> dict[str, float]:
    """The figures of a scan by their columns, as far as they were measured."""
    return dict(_known(result))


def _known(result: ScanResult) -> Iterator[tuple[str, float]]:
    for kind in _KINDS:
        regions = kind.of(result)
        for place in kind.places:
            if (found := regions.get(place.region)) is None:
                continue
            for measure in kind.measures:
                if math.isfinite(value := measure.of(found)):
                    yield Figure(kind, place, measure).column, value
