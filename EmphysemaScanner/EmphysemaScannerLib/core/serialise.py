"""A scan's result as JSON: everything that is a number or a sentence; the maps are written as images."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .result import ScanResult

SCHEMA = 1


def result_to_dict(result: ScanResult) -> dict[str, Any]:
    """The result as strict JSON values: sequences in reading order, NaN and infinities as None.

    Keys, with units: probability, running_probability (0 to 1); logit, bias, running_logit, slice_evidence (logit);
    slice_positions_mm (RAS S); slice_indices; reading_order; operating_point; densitometry (per cent, HU, litres,
    grams; the whole lungs, and every region under "regions"); laa_950_by_slice_percent; warnings; model (its card);
    timings_s (seconds); source; schema.
    """
    regions = {name: dataclasses.asdict(region) for name, region in result.densitometry.items()}
    positions = result.slice_positions_mm
    values = {
        "schema": SCHEMA,
        "source": result.source,
        "probability": result.probability,
        "logit": result.logit,
        "bias": result.bias,
        "running_logit": _list(result.running_logit),
        "running_probability": _list(result.running_probability),
        "slice_evidence": _list(result.slice_evidence),
        "slice_positions_mm": _list(positions),
        "slice_indices": _list(result.slice_indices),
        "reading_order": "superior to inferior" if positions[0] > positions[-1] else "inferior to superior",
        "operating_point": dataclasses.asdict(result.model.operating_point),
        "densitometry": {**regions.get("whole", {}), "regions": regions},
        "laa_950_by_slice_percent": _list(result.laa_950_by_slice_percent),
        "warnings": list(result.warnings),
        "model": result.model.to_dict(),
        "timings_s": dict(result.timings_s),
    }
    strict: dict[str, Any] = _finite(values)
    return strict


def result_to_json(result: ScanResult) -> str:
    """``result_to_dict`` as text."""
    return json.dumps(result_to_dict(result), indent=2, ensure_ascii=False, allow_nan=False)


def _list(values: NDArray[np.generic]) -> list[Any]:
    return list(values.tolist())


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that isn't one becomes None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
