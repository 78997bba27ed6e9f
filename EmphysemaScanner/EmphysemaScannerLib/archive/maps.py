"""Disease map and evidence as DICOM parametric maps, on their own grids and not interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from ..ct.grid import Grid, area_average
from ..scan.result import OverlayMap, ScanResult
from . import codes as terms
from .frame import DISEASE, EVIDENCE, Frame, SeriesOfOurs


@dataclass(frozen=True, eq=False)
class ValueMap:
    """A map and what its values are.

    Attributes:
        series: of the object.
        overlay: the values.
        quantity, unit: what they are, and in which unit.
        explanation: the same as a phrase.
        low, high: the range of the values, also that which is shown at first.
    """

    series: SeriesOfOurs
    overlay: OverlayMap
    quantity: Code
    unit: Code
    explanation: str
    low: float
    high: float


def maps_of(result: ScanResult) -> tuple[ValueMap, ...]:
    """The maps that a result has: disease (zero where there is no lung) and evidence (as it is: its sum is exact)."""
    found = []
    if result.disease is not None:
        lung = area_average(
            result.lung_mask.values > 0,
            result.disease.grid.shape,
            over=result.disease.grid.box_in(result.lung_mask.grid),
        )
        inside = OverlayMap(np.where(lung > 0, result.disease.values, 0).astype(np.float32), result.disease.grid)
        words = "Probability of disease by place; zero outside the lungs"
        found.append(ValueMap(DISEASE, inside, terms.PROBABILITY, terms.NO_UNITS, words, 0.0, 1.0))
    if result.evidence is not None:
        most = float(np.abs(result.evidence.values).max()) or 1.0
        words = "Term of the logit by place; terms and bias sum to the logit"
        found.append(ValueMap(EVIDENCE, result.evidence, terms.EVIDENCE, terms.LOGIT, words, -most, most))
    return tuple(found)


def parametric_map(frame: Frame, shown: ValueMap) -> hd.pm.ParametricMap:
    """A map as an object."""
    grid = shown.overlay.grid
    direction = np.array(grid.direction_lps)
    made = hd.pm.ParametricMap(
        source_images=frame.source.headers,
        pixel_array=np.ascontiguousarray(shown.overlay.values, np.float32),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label=shown.series.name.upper(),
                lut_explanation=shown.explanation,
                unit=shown.unit,
                value_range=(shown.low, shown.high),
                slope=1.0,
                intercept=0.0,
                quantity_definition=shown.quantity,
            )
        ],
        voi_lut_transformations=[
            hd.VOILUTTransformation(
                (shown.low + shown.high) / 2,
                shown.high - shown.low,
                "all values",
                hd.VOILUTFunctionValues.LINEAR_EXACT,  # LINEAR allows no window narrower than 1
            )
        ],
        content_description=f"{shown.explanation}"[:64],
        content_label="EMPHYSEMA_MAP",
        pixel_measures=hd.PixelMeasuresSequence(grid.spacing_mm[1:], grid.spacing_mm[0], grid.spacing_mm[0]),
        plane_orientation=hd.PlaneOrientationSequence(
            hd.CoordinateSystemNames.PATIENT, [*direction[:, 2], *direction[:, 1]]
        ),
        plane_positions=_positions(grid),
        coding_schemes=[terms.SCHEME_ITEM],
        **frame.identity(shown.series),
    )
    frame.finished(made, shown.series)
    return made


def _positions(grid: Grid) -> list[hd.PlanePositionSequence]:
    first = np.zeros((grid.shape[0], 3))
    first[:, 0] = np.arange(grid.shape[0])
    return [
        hd.PlanePositionSequence(hd.CoordinateSystemNames.PATIENT, position.tolist())
        for position in grid.position_lps(first)
    ]
