"""Measurements as JSON values and back; what a damaged or hostile record holds raises."""

from __future__ import annotations

import base64
import dataclasses
import zlib
from typing import Any

import numpy as np

from ..lungs.densitometry import HISTOGRAM_HU, Densitometry, Histogram
from ..lungs.measurements import Clusters, Distribution, Kernel, Measurements, Normalised
from .strictvalues import named, number, numbers

_MOST_SIZES = 100_000
_MOST_LARGEST = 100


def measurements_to_dict(measured: Measurements) -> dict[str, Any]:
    """The figures: densitometry of parts, clusters, distribution, normalised density, LAA%-950 by height.

    Histograms and sizes of clusters are left to ``curves_to_dict``.
    """
    return {
        "laa_950_by_height_percent": {side: laa.tolist() for side, laa in measured.laa_950_by_height_percent.items()},
        "parts": _regions_to_dict(measured.parts),
        "clusters": {
            name: {
                "exponent": found.exponent,
                "count": found.count,
                "largest_ml": list(found.largest_ml),
                "bulla_volume_ml": found.bulla_volume_ml,
                "bulla_count": found.bulla_count,
            }
            for name, found in measured.clusters.items()
        },
        "distribution": dataclasses.asdict(measured.distribution),
        "normalised": {
            "kernel": None if measured.normalised.kernel is None else dataclasses.asdict(measured.normalised.kernel),
            "of_smooth_kernel": _regions_to_dict(measured.normalised.of_smooth_kernel),
            "with_less_noise": _regions_to_dict(measured.normalised.with_less_noise),
        },
    }


def curves_to_dict(measured: Measurements) -> dict[str, Any]:
    """Histograms, as base64 of zlib of little-endian uint32, and the sizes of clusters."""
    return {
        "histograms": {name: _packed(counts) for name, counts in measured.histograms.items()},
        "cluster_sizes": {
            name: [found.areas_mm2.tolist(), found.at_least.tolist()] for name, found in measured.clusters.items()
        },
    }


def measurements_from_dict(figures: dict[str, Any], curves: dict[str, Any], slices: int) -> Measurements:
    """What ``measurements_to_dict`` and ``curves_to_dict`` were made from.

    Args:
        figures: as ``measurements_to_dict`` gives it; empty for a record of an earlier version.
        curves: as ``curves_to_dict`` gives it.
        slices: of the result.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, OverflowError, zlib.error: they are not such values.
    """
    if not figures:
        return Measurements()
    normalised = figures["normalised"]
    return Measurements(
        histograms={named(name): _unpacked(text) for name, text in curves["histograms"].items()},
        laa_950_by_height_percent={
            named(side): numbers(values, slices) for side, values in figures["laa_950_by_height_percent"].items()
        },
        parts=_regions_from_dict(figures["parts"]),
        clusters={
            named(name): _clusters(values, *curves["cluster_sizes"][name])
            for name, values in figures["clusters"].items()
        },
        distribution=Distribution(**{name: number(value) for name, value in figures["distribution"].items()}),
        normalised=Normalised(
            kernel=None if normalised["kernel"] is None else _kernel(normalised["kernel"]),
            of_smooth_kernel=_regions_from_dict(normalised["of_smooth_kernel"]),
            with_less_noise=_regions_from_dict(normalised["with_less_noise"]),
        ),
    )


def _regions_to_dict(regions: dict[str, Densitometry]) -> dict[str, Any]:
    return {name: dataclasses.asdict(region) for name, region in regions.items()}


def _regions_from_dict(values: dict[str, Any]) -> dict[str, Densitometry]:
    return {
        named(name): Densitometry(**{key: number(value) for key, value in region.items()})
        for name, region in values.items()
    }


def _clusters(values: dict[str, Any], areas: Any, at_least: Any) -> Clusters:
    if len(areas) > _MOST_SIZES or len(values["largest_ml"]) > _MOST_LARGEST:
        raise ValueError("there are too many clusters")
    return Clusters(
        exponent=number(values["exponent"]),
        count=int(number(values["count"])),
        largest_ml=tuple(number(volume) for volume in values["largest_ml"]),
        bulla_volume_ml=number(values["bulla_volume_ml"]),
        bulla_count=int(number(values["bulla_count"])),
        areas_mm2=numbers(areas, len(areas)),
        at_least=numbers(at_least, len(areas)).astype(np.int64),
    )


def _kernel(values: dict[str, Any]) -> Kernel:
    energies, factors = (tuple(number(value) for value in values[name]) for name in ("energies_hu", "factors"))
    if not factors or len(energies) != len(factors):
        raise ValueError("the bands of a kernel don't fit one another")
    return Kernel(energies, factors)


def _packed(counts: Histogram) -> str:
    return base64.b64encode(zlib.compress(counts.astype("<u4").tobytes(), 9)).decode("ascii")


def _unpacked(text: str) -> Histogram:
    expected = 4 * len(HISTOGRAM_HU)
    data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), expected + 1)
    if len(data) != expected:
        raise ValueError("a histogram has not as many bins as it should")
    return np.frombuffer(data, "<u4").astype(np.int64)
