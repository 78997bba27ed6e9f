"""Measures what a scan has beside the densitometry of the lungs and their thirds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..base.progress import Progress, silent
from . import LEFT, RIGHT
from .clusters import measure_clusters
from .densitometry import Densitometry, LungDensities, measure_lungs, measure_named
from .depth import CORE, RIND, core_and_rind
from .distribution import ratio, zone_score
from .measurements import Clusters, Distribution, Measurements, Normalised
from .normalisation import normalise_kernel, perc15_at_volume, reduce_noise
from .scope import Scope

Lobes = tuple[NDArray[np.uint8], Mapping[int, str]]
"""A label array and the names of its regions by their values."""


def measure_further(
    hu: NDArray[np.generic],
    labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    lungs: LungDensities,
    scope: Scope,
    *,
    sharp: bool,
    lobes: Lobes | None = None,
    progress: Progress = silent,
) -> Measurements:
    """What ``measure_lungs`` has not measured; ``laa_950_by_height_percent`` is left to who knows the network's grid.

    Args:
        hu: HU, (slices, rows, columns), inferior to superior.
        labels: of the same shape: 0 outside, 1 right lung, 2 left lung.
        spacing_mm: distance of voxel centres (slices, rows, columns), mm.
        lungs: what ``measure_lungs`` found in them.
        scope: how much.
        sharp: whether the image quality warnings name noise or a sharp kernel.
        lobes: a label array of the same shape and the names of its regions.
        progress: told the share done and the stage; whatever it raises ends the measuring.
    """
    parts, clusters = dict(lungs.parts), dict[str, Clusters]()
    everything = scope is Scope.ALL
    if everything:
        progress(0.0, "Measuring core and rind")
        inside = measure_named(hu, core_and_rind(labels, spacing_mm), {CORE: "core", RIND: "rind"}, spacing_mm)
        parts.update(inside.regions)
        progress(0.2, "Measuring clusters and bullae")
        clusters = measure_clusters(hu, labels, {RIGHT: "right", LEFT: "left"}, spacing_mm)
        if lobes is not None:
            of_lobes = measure_clusters(hu, lobes[0], lobes[1], spacing_mm)
            clusters.update({name: of_lobes[name] for name in lobes[1].values()})
    normalised = Normalised()
    if everything or sharp:
        progress(0.6, "Normalising the density")
        normalised = _normalised(hu, labels, spacing_mm, lungs, lobes, everything)
    regions = {**lungs.regions, **parts}
    distribution = Distribution(
        upper_lower_half_ratio=ratio(regions, "upper_half", "lower_half"),
        upper_lower_third_ratio=ratio(regions, "upper", "lower"),
        core_rind_ratio=ratio(regions, "core", "rind"),
        zone_score=zone_score(regions),
        perc15_at_6_l_g_per_l=perc15_at_volume(regions["whole"]),
    )
    return Measurements(lungs.histograms, {}, parts, clusters, distribution, normalised)


def _normalised(
    hu: NDArray[np.generic],
    labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    lungs: LungDensities,
    lobes: Lobes | None,
    everything: bool,
) -> Normalised:
    def regions(density: NDArray[np.generic]) -> dict[str, Densitometry]:
        found = (lungs if density is hu else measure_lungs(density, labels, spacing_mm)).regions
        return found if lobes is None else {**found, **measure_named(density, *lobes, spacing_mm).regions}

    smooth, kernel = normalise_kernel(hu, labels, spacing_mm)
    calm = reduce_noise(hu, labels, spacing_mm) if everything else None
    return Normalised(kernel, regions(smooth), {} if calm is None else regions(calm))
