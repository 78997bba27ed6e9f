"""An expiratory pair as JSON values and back; what a damaged or hostile record holds raises."""

from __future__ import annotations

import base64
import dataclasses
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.errors import shown
from ..ct.provenance import Series
from ..lungs.expiration import ExpiratoryPair, PairFigures, Response
from ..lungs.registration import RegistrationQuality
from .strictvalues import named, number


def pair_to_dict(pair: ExpiratoryPair | None) -> dict[str, Any] | None:
    """The figures; the response map is left to ``response_to_text``."""
    if pair is None:
        return None
    return {
        "regions": {name: dataclasses.asdict(figures) for name, figures in pair.regions.items()},
        "registration": None if pair.quality is None else dataclasses.asdict(pair.quality),
        "missing": pair.missing,
        "warnings": list(pair.warnings),
        "series": None if pair.series is None else dataclasses.asdict(pair.series),
    }


def response_to_text(pair: ExpiratoryPair | None) -> str | None:
    """The response map as base64 of zlib of its voxels, (slices, rows, columns) in C order; None without one."""
    if pair is None or pair.response is None:
        return None
    return base64.b64encode(zlib.compress(np.ascontiguousarray(pair.response, np.uint8).data, 6)).decode("ascii")


def pair_from_dict(values: dict[str, Any] | None, text: str | None, shape: tuple[int, ...]) -> ExpiratoryPair | None:
    """What ``pair_to_dict`` and ``response_to_text`` were made from.

    Args:
        values: as ``pair_to_dict`` gives it; None for a record of an earlier version.
        text: as ``response_to_text`` gives it.
        shape: of the CT.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, OverflowError, zlib.error: they are not such values.
    """
    if values is None:
        return None
    quality, series = values["registration"], values["series"]
    return ExpiratoryPair(
        regions={
            named(name): PairFigures(**{key: number(value) for key, value in figures.items()})
            for name, figures in values["regions"].items()
        },
        quality=None if quality is None else RegistrationQuality(**{key: number(v) for key, v in quality.items()}),
        missing=shown(str(values["missing"])),
        warnings=tuple(shown(str(warning)) for warning in values["warnings"]),
        response=None if text is None else _response(text, shape),
        series=None if series is None else Series(**_texts(series)),
    )


def _texts(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: shown(value) if isinstance(value, str) else int(value) for name, value in fields.items()}


def _response(text: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    expected = int(np.prod(shape, dtype=np.int64))
    # No more than what is expected is unpacked, whatever the data hold.
    data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), expected + 1)
    if len(data) != expected:
        raise ValueError("the response map has not as many values as the CT has voxels")
    response: NDArray[np.uint8] = np.frombuffer(data, np.uint8).reshape(shape).copy()
    if response.max(initial=0) > max(Response):
        raise ValueError("the response map has a class that is not known")
    return response
