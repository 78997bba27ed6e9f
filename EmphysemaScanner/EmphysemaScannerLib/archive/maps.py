"""Disease map and evidence as DICOM parametric maps, on their own grids and not interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ..ct.grid import Grid, area_average
from ..scan.result import OverlayMap, ScanResult
from . import codes as terms
from .frame import DISEASE, EVIDENCE, Frame, SeriesOfOurs, reference


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
    _order_frames(made, shown.overlay)
    if "ContentCreatorName" not in made:
        made.ContentCreatorName = None  # type 2 of the content identification
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy()]
    for item in made.PerFrameFunctionalGroupsSequence:
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        item.DerivationImageSequence = [_derivation(frame, grid, position)]
    frame.finished(made, shown.series)
    return made


def _order_frames(made: hd.pm.ParametricMap, overlay: OverlayMap) -> None:
    """Store the frames from inferior to superior, as the map has them.

    highdicom stores them from superior to inferior. Each frame states its position, but dcmqi, with which 3D Slicer
    reads parametric maps, takes the frames as they come for ascending ones.
    """
    frames = sorted(
        made.PerFrameFunctionalGroupsSequence,
        key=lambda item: float(
            np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
            @ np.array(overlay.grid.direction_lps)[:, 0]
        ),
    )
    for number, item in enumerate(frames, start=1):
        item.FrameContentSequence[0].DimensionIndexValues = number
    made.PerFrameFunctionalGroupsSequence = frames
    made.FloatPixelData = np.ascontiguousarray(overlay.values, "<f4").tobytes()


def _anatomy() -> Dataset:
    item = Dataset()
    item.AnatomicRegionSequence = [hd.sr.CodedConcept.from_code(terms.LUNG)]
    item.FrameLaterality = "B"
    return item


def _derivation(frame: Frame, grid: Grid, position: NDArray[np.float64]) -> Dataset:
    """The slices of the CT that lie in a slice of the map; all others had a part in its values, too.

    Args:
        frame: of the result.
        grid: of the map.
        position: of the map's slice, LPS in mm.
    """
    normal = np.array(grid.direction_lps)[:, 0]
    away_mm = [abs(float((s.position - position) @ normal)) for s in frame.source.volume.slices]
    within = max(grid.spacing_mm[0] / 2, min(away_mm))  # at least the nearest
    item = Dataset()
    item.DerivationCodeSequence = [hd.sr.CodedConcept.from_code(codes.DCM.UnspecifiedMethodOfCalculation)]
    purpose = hd.sr.CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    item.SourceImageSequence = []
    for away, header in zip(away_mm, frame.source.headers, strict=True):
        if away <= within:
            source = reference(header)
            source.PurposeOfReferenceCodeSequence = [purpose]
            item.SourceImageSequence.append(source)
    return item


def _positions(grid: Grid) -> list[hd.PlanePositionSequence]:
    first = np.zeros((grid.shape[0], 3))
    first[:, 0] = np.arange(grid.shape[0])
    return [
        hd.PlanePositionSequence(hd.CoordinateSystemNames.PATIENT, position.tolist())
        for position in grid.position_lps(first)
    ]
