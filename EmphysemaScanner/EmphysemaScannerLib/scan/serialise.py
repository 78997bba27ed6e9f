"""A scan's result as JSON: for readers without its maps, and as a record that a whole result is rebuilt from."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import ModelFileError, RecordError, reason, shown
from ..ct.grid import Grid, area_average
from ..ct.provenance import LeftOut, Provenance, Series
from ..lungs.coverage import Coverage, lung_coverage
from ..lungs.densitometry import Densitometry
from ..lungs.expiration import Response
from ..lungs.regions import LOBES, OWN, MaskKind, Origin, Recognition
from ..models.modelcard import ModelCard
from ..models.preprocessing import MOST_VOXELS
from .manifest import RunManifest
from .measurementrecord import curves_to_dict, measurements_from_dict, measurements_to_dict
from .pairrecord import pair_from_dict, pair_to_dict, response_to_text
from .result import OverlayMap, ScanResult, SliceEvidence, SliceMeasure, SliceProbabilities, Slices, SliceWeights
from .strictvalues import named as _named
from .strictvalues import number as _number
from .strictvalues import numbers as _numbers


def write_overlays(result: ScanResult, folder: Path) -> tuple[Path, ...]:
    """Write ``disease.nrrd``, ``evidence.nrrd``, ``class_activation_<unit>.nrrd`` and ``activation_<unit>.nrrd``.

    Those that the model has, and ``response.nrrd`` with an expiratory CT: labels on the CT's grid, ``Response``. The
    maps are neither interpolated nor cut to the lungs: ``evidence.nrrd`` and the bias sum as ``ScanResult`` says.

    Args:
        result: the answer of a scan.
        folder: an existing folder.

    Returns:
        The files, disease map and evidence first.
    """
    named = {"disease": result.disease, "evidence": result.evidence}
    maps = {name: overlay for name, overlay in named.items() if overlay is not None}
    maps |= {f"class_activation_{name}": overlay for name, overlay in result.class_activations.items()}
    maps |= {f"activation_{name}": overlay for name, overlay in result.activations.items()}
    written = []
    for name, overlay in maps.items():
        path = folder / f"{name}.nrrd"
        sitk.WriteImage(overlay.grid.to_image(overlay.values), str(path), useCompression=True)
        written.append(path)
    pair = result.expiration
    if pair is not None and pair.response is not None:
        image = result.lung_mask.grid.to_image(pair.response)
        for response in Response:
            image.SetMetaData(f"class_{response.value}", response.label())
        sitk.WriteImage(image, str(folder / RESPONSE_FILE), useCompression=True)
        written.append(folder / RESPONSE_FILE)
    return tuple(written)


SCHEMA = 1
RESPONSE_FILE = "response.nrrd"
_KINDS = {SliceEvidence: "evidence", SliceProbabilities: "probability", SliceWeights: "weight", type(None): "none"}
ENCODING = "shuffle+zlib+base64"
_MAP_TYPES = ("float32", "float16")
_MOST_MAPS = 16


def result_to_dict(result: ScanResult) -> dict[str, Any]:
    """The result as strict JSON values: sequences in reading order, NaN and infinities as None.

    Keys, with units: call ("positive", "negative" or "none") and call_reason (why there is none); lung_coverage
    (per cent of the lungs' height missing at either end); probability, running_probability (0 to 1); logit, bias,
    running_logit, slice_evidence (logit); slice_positions_mm (RAS S); slice_indices; reading_order;
    operating_point; densitometry (per cent, HU, litres, grams; the whole lungs, and every region under "regions");
    laa_950_by_slice_percent; disease_extent_percent (of the lung, by region, where the model has a disease map);
    evidence_share_percent (of the evidence towards emphysema in the lungs, by region); masks (whose lung mask and
    lobes were used, and what their labels were recognised by); measurements (of parts, clusters, distribution,
    normalised density; units as in docs/measurements.md); expiration (of a second CT: figures by region, registration,
    why something is missing; None if none was given); warnings; model (its card); timings_s (seconds); run
    (versions, checksums of model and CT, device, precision); source; input (the series that was read, what was left
    out, slice thickness in mm); schema; each_slice (what the model gives for each slice: "evidence", "probability",
    "weight" or "none"); slice_probability (0 to 1, of each slice by itself) and slice_weight. What the model does not
    give is None.
    """
    by_slice = result.by_slice
    regions = {name: dataclasses.asdict(region) for name, region in result.densitometry.items()}
    positions = result.slice_positions_mm
    values = {
        "schema": SCHEMA,
        "source": result.source,
        "input": dataclasses.asdict(result.provenance),
        "call": result.call.value,
        "call_reason": result.call_reason,
        "probability": result.probability,
        "logit": result.logit,
        "bias": result.bias,
        "each_slice": _KINDS[type(result.slices)],
        **{measure.key: _list(by_slice.get(measure)) for measure in SliceMeasure},
        "slice_positions_mm": _list(positions),
        "slice_indices": _list(result.slice_indices),
        "reading_order": "superior to inferior" if positions[0] > positions[-1] else "inferior to superior",
        "operating_point": dataclasses.asdict(result.model.operating_point),
        "densitometry": {**regions.get("whole", {}), "regions": regions},
        **({"disease_extent_percent": result.disease_extent_percent} if result.disease is not None else {}),
        "evidence_share_percent": result.evidence_share_percent,
        "masks": {
            name: None if origin is None else dataclasses.asdict(origin)
            for name, origin in (("lungs", result.lungs_from), ("lobes", result.lobes_from))
        },
        "measurements": measurements_to_dict(result.measurements),
        "expiration": pair_to_dict(result.expiration),
        "lung_coverage": dataclasses.asdict(result.coverage),
        "warnings": list(result.warnings),
        "model": result.model.to_dict(),
        "timings_s": dict(result.timings_s),
        "run": None if result.run is None else dataclasses.asdict(result.run),
    }
    strict: dict[str, Any] = _finite(values)
    return strict


def result_to_json(result: ScanResult) -> str:
    """``result_to_dict`` as text."""
    return json.dumps(result_to_dict(result), indent=2, ensure_ascii=False, allow_nan=False)


def _list(values: NDArray[np.generic] | None) -> list[Any] | None:
    return None if values is None else list(values.tolist())


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that isn't one becomes None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def record_to_json(result: ScanResult) -> str:
    """A record from which the result can be rebuilt.

    It is ``result_to_dict``, histograms and sizes of clusters under "curves", and the raw maps with their geometry
    under "maps".

    A map is {"dtype", "grid", "encoding", "data"}: its values in C order, little-endian, the bytes of equal
    significance together (all first bytes, then all second ones), zlib, base64. The evidence is exact (float32), for it
    sums to the logit; activations are float16, which is exact to 0.05 %. The lung mask is not in it; the lobes are, as
    "lobes", zlib and base64 of their labels. "grid" is that of the network's input, "ct_grid" that of the canonical CT.
    """
    maps: dict[str, Any] = {
        "grid": dataclasses.asdict(result.lung_fraction.grid),
        "ct_grid": dataclasses.asdict(result.lung_mask.grid),
        "evidence": None if result.evidence is None else _map_to_dict(result.evidence, "float32"),
        "activations": {name: _map_to_dict(activation, "float16") for name, activation in result.activations.items()},
    }
    if result.class_activations:
        weighted = {name: _map_to_dict(overlay, "float16") for name, overlay in result.class_activations.items()}
        maps["class_activations"] = weighted
    curves = curves_to_dict(result.measurements)
    if (response := response_to_text(result.expiration)) is not None:
        maps["response"] = response
    if result.disease is not None:
        maps["disease"] = _map_to_dict(result.disease, "float16")
    if result.low_density is not None:
        maps["low_density"] = _map_to_dict(result.low_density, "float16")
    if result.lobe_mask is not None:
        labels = np.ascontiguousarray(result.lobe_mask.values, np.uint8)
        maps["lobes"] = base64.b64encode(zlib.compress(labels.tobytes())).decode("ascii")
    return json.dumps({**result_to_dict(result), "maps": maps, "curves": curves}, ensure_ascii=False, allow_nan=False)


def result_from_json(text: str, lung_mask: OverlayMap) -> ScanResult:
    """The result that a record was made from.

    Args:
        text: from ``record_to_json``.
        lung_mask: on the CT's canonical grid, as in the result, or as that grid lies now; the share of lung by voxel is
            measured in it again. In the result it lies where the CT lay when it was scanned.

    Raises:
        RecordError: the text is not such a record.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"The record of this result cannot be read ({reason(error)}); scan the CT again.") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA or "maps" not in values:
        raise RecordError("The record of this result was written by another version; scan the CT again.")
    try:
        return _result_from_dict(values, lung_mask)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, zlib.error, ModelFileError) as error:
        raise RecordError(f"The record of this result is damaged ({reason(error)}); scan the CT again.") from error


def _result_from_dict(values: dict[str, Any], lung_mask: OverlayMap) -> ScanResult:
    model = ModelCard.from_json(json.dumps(values["model"]))
    maps = values["maps"]
    evidence = None if maps["evidence"] is None else _map_from_dict(maps["evidence"])
    if "grid" in maps:
        grid = grid_from_dict(maps["grid"])
    elif evidence is not None:  # an earlier version, which only knew results with evidence
        grid = evidence.grid.resized(model.preprocessing.shape)
    else:
        raise ValueError("its place in space is missing")
    labels = lung_mask.values
    # An earlier version, which knew no other field than the whole CT, did not write the CT's grid.
    ct = (grid_from_dict(maps["ct_grid"]) if "ct_grid" in maps else grid).resized(_shape(labels))
    slices = grid.shape[0]
    if math.prod(grid.shape) > MOST_VOXELS or (evidence is not None and evidence.grid.shape[0] != slices):
        raise ValueError("the maps don't fit one another")
    weighted = maps.get("class_activations", {})
    if max(len(maps["activations"]), len(weighted)) > _MOST_MAPS or not 0 <= _number(values["probability"]) <= 1:
        raise ValueError("its answer is not one of a model")
    result = ScanResult(
        probability=_number(values["probability"]),
        logit=_number(values["logit"]),
        bias=_number(values["bias"]),
        slices=_slices(values, slices),
        slice_positions_mm=_numbers(values["slice_positions_mm"], slices),
        slice_indices=_numbers(values["slice_indices"], slices).astype(np.int64),
        evidence=evidence,
        activations={_named(name): _map_from_dict(raw) for name, raw in maps["activations"].items()},
        lung_mask=OverlayMap(labels, ct),
        lung_fraction=OverlayMap(area_average(labels > 0, grid.shape, over=grid.box_in(ct)), grid),
        densitometry={
            _named(name): Densitometry(**{key: _number(value) for key, value in region.items()})
            for name, region in values["densitometry"]["regions"].items()
        },
        laa_950_by_slice_percent=_numbers(values["laa_950_by_slice_percent"], slices),
        coverage=_coverage(values.get("lung_coverage"), lung_mask),
        warnings=tuple(shown(str(warning)) for warning in values["warnings"]),
        model=model,
        timings_s={str(stage): _number(seconds) for stage, seconds in values["timings_s"].items()},
        source=shown(str(values["source"])),
        provenance=_provenance(values.get("input") or {}),
        class_activations={_named(name): _map_from_dict(raw) for name, raw in weighted.items()},
        disease=_map_from_dict(maps["disease"]) if "disease" in maps else None,
        low_density=_map_from_dict(maps["low_density"]) if "low_density" in maps else None,
        disease_extent_percent={
            _named(name): _number(percent) for name, percent in values.get("disease_extent_percent", {}).items()
        },
        run=_run(values.get("run")),
        evidence_share_percent={
            _named(name): _number(percent) for name, percent in values.get("evidence_share_percent", {}).items()
        },
        lungs_from=_origin(values.get("masks", {}).get("lungs")) or OWN,
        lobes_from=_origin(values.get("masks", {}).get("lobes")),
        measurements=measurements_from_dict(values.get("measurements", {}), values.get("curves", {}), slices),
        lobe_mask=_lobes_from_text(maps["lobes"], ct) if "lobes" in maps else None,
        expiration=pair_from_dict(values.get("expiration"), maps.get("response"), labels.shape),
    )
    if sorted(result.slice_indices.tolist()) != list(range(slices)):
        raise ValueError("the slices are not counted from 0")
    return result


def _slices(values: dict[str, Any], count: int) -> Slices | None:
    """What the model gave for each of so many slices, all of it.

    The key was ``story`` in earlier versions; the first ones had none and only knew evidence.
    """

    def numbers(measure: SliceMeasure) -> NDArray[np.float64]:
        return _numbers(values[measure.key], count)

    read: dict[str, Callable[[], Slices | None]] = {
        "evidence": lambda: SliceEvidence(numbers(SliceMeasure.EVIDENCE), numbers(SliceMeasure.RUNNING_LOGIT)),
        "probability": lambda: SliceProbabilities(numbers(SliceMeasure.PROBABILITY)),
        "weight": lambda: SliceWeights(numbers(SliceMeasure.WEIGHT), numbers(SliceMeasure.PROBABILITY)),
        "none": lambda: None,
    }
    return read[values.get("each_slice", values.get("story", "evidence"))]()


def _shape(array: NDArray[np.generic]) -> tuple[int, int, int]:
    slices, rows, columns = array.shape
    return slices, rows, columns


def _coverage(raw: dict[str, Any] | None, lung_mask: OverlayMap) -> Coverage:
    """From its fields as JSON has them; measured again for a record of an earlier version, which has none."""
    if raw is None:
        return lung_coverage(np.asarray(lung_mask.values, np.uint8), lung_mask.grid)
    percents = {name: _number(value) for name, value in raw.items()}
    if not all(0 <= percent <= 100 for percent in percents.values()):
        raise ValueError("what is missing of the lungs is not a percentage")
    return Coverage(**percents)


def _provenance(raw: dict[str, Any]) -> Provenance:
    """From its fields as JSON has them; a record of an earlier version has none."""

    def texts(fields: dict[str, Any]) -> dict[str, Any]:
        return {name: shown(value) if isinstance(value, str) else int(value) for name, value in fields.items()}

    series = raw.get("series")
    return Provenance(
        series=None if series is None else Series(**texts(series)),
        left_out=tuple(LeftOut(**texts(part)) for part in raw.get("left_out", ())),
        slice_thickness_mm=_number(raw.get("slice_thickness_mm", 0.0)),
        warnings=tuple(shown(str(warning)) for warning in raw.get("warnings", ())),
    )


def _run(raw: dict[str, Any] | None) -> RunManifest | None:
    """From its fields as JSON has them; a record of an earlier version has none."""
    if raw is None:
        return None
    packages = {shown(str(name)): shown(str(version)) for name, version in raw["packages"].items()}
    texts = {name: shown(str(value)) for name, value in raw.items() if name != "packages"}
    return RunManifest(**texts, packages=packages)


def _origin(raw: dict[str, Any] | None) -> Origin | None:
    """From its fields as JSON has them; a record of an earlier version has none."""
    if raw is None:
        return None
    return Origin(
        MaskKind(raw["kind"]), shown(str(raw["name"])), Recognition(raw["recognised"]), shown(str(raw["numbering"]))
    )


def _map_to_dict(overlay: OverlayMap, dtype: str) -> dict[str, Any]:
    values = np.ascontiguousarray(overlay.values, np.dtype(dtype).newbyteorder("<"))
    shuffled = np.frombuffer(values.tobytes(), np.uint8).reshape(values.size, -1).T
    return {
        "dtype": dtype,
        "grid": dataclasses.asdict(overlay.grid),
        "encoding": ENCODING,
        "data": base64.b64encode(zlib.compress(shuffled.tobytes(), 9)).decode("ascii"),
    }


def _map_from_dict(raw: dict[str, Any]) -> OverlayMap:
    grid = grid_from_dict(raw["grid"])
    size = math.prod(grid.shape)
    if raw["encoding"] != ENCODING or raw["dtype"] not in _MAP_TYPES or not 0 < size <= MOST_VOXELS:
        raise ValueError("a map is not of a known kind")
    dtype = np.dtype(raw["dtype"]).newbyteorder("<")
    expected = size * dtype.itemsize
    # No more than what is expected is unpacked, whatever the data hold.
    data = zlib.decompressobj().decompress(base64.b64decode(raw["data"], validate=True), expected + 1)
    if len(data) != expected:
        raise ValueError("a map has not as many values as its grid has voxels")
    values = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, size).T.copy().view(dtype)
    return OverlayMap(values.reshape(grid.shape).astype(np.float32), grid)


def _lobes_from_text(text: str, grid: Grid) -> OverlayMap:
    size = math.prod(grid.shape)
    data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    labels = np.frombuffer(data, np.uint8)
    if labels.size != size or labels.max(initial=0) > len(LOBES):
        raise ValueError("the lobes do not fit the CT")
    return OverlayMap(labels.reshape(grid.shape), grid)


def grid_from_dict(raw: dict[str, Any]) -> Grid:
    """A grid from its fields as JSON has them.

    Raises:
        LookupError, TypeError, ValueError: they are not a grid's.
    """
    shape, direction = raw["shape"], _numbers(raw["direction_lps"], 3, 3)
    if len(shape) != 3 or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError("a map's shape is not three positive numbers")
    spacing, origin = _numbers(raw["spacing_mm"], 3), _numbers(raw["origin_lps"], 3)
    if not (np.isfinite([*spacing, *origin, *direction.ravel()]).all() and (spacing > 0).all()):
        raise ValueError("a map has no place in space")
    return Grid(
        shape=(shape[0], shape[1], shape[2]),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        origin_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction_lps=tuple((float(a), float(b), float(c)) for a, b, c in direction),
    )
