"""The regions of a result as a DICOM segmentation on the CT's own slices."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ..lungs.regions import LOBES, MaskKind, Origin
from ..report import wording
from ..scan.result import ScanResult
from . import codes as terms
from .frame import SEGMENTATION, Frame
from .kinds import MANUFACTURER, PRODUCT
from .placing import on_slices
from .source import Source

DISEASE_REGION = "disease"
_AUTOMATIC = hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC
_SEMIAUTOMATIC = hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC
_LOBE_COLOURS = ((172, 138, 115), (190, 160, 100), (140, 120, 90), (202, 164, 140), (120, 100, 140))


@dataclass(frozen=True, eq=False)
class Region:
    """A region of the lungs.

    Attributes:
        name: "right", "left", another name in ``codes.PLACES``, or ``DISEASE_REGION``.
        label: its name for readers.
        mask: (slices, rows, columns), as in the CT's files.
        colour: red, green and blue, 0 to 255.
    """

    name: str
    label: str
    mask: NDArray[np.bool_]
    colour: tuple[int, int, int]


def regions(result: ScanResult, source: Source) -> tuple[Region, ...]:
    """The regions that hold any voxel: right and left lung, lobes, and the lung's voxels that the disease map marks."""
    labels = np.asarray(on_slices(result.lung_mask.values, result.lung_mask.grid, source.volume), np.uint8)
    found = [
        Region("right", "Right lung", labels == 1, (140, 204, 242)),
        Region("left", "Left lung", labels == 2, (242, 204, 140)),
    ]
    if result.lobe_mask is not None:
        lobes = on_slices(result.lobe_mask.values, result.lobe_mask.grid, source.volume)
        found += [
            Region(lobe.value, wording.REGION_NAMES[lobe.value], lobes == lobe.lobe, colour)
            for lobe, colour in zip(LOBES, _LOBE_COLOURS, strict=True)
        ]
    known, drawn = result.disease, result.model.disease_map
    if known is not None and drawn is not None:
        marked = on_slices(known.values >= drawn.floor, known.grid, source.volume)
        label = f"Disease map at or above {drawn.floor:.2f}"
        found.append(Region(DISEASE_REGION, label, (labels > 0) & (marked != 0), (230, 80, 60)))
    return tuple(region for region in found if region.mask.any())


def segmentation(frame: Frame, found: tuple[Region, ...]) -> hd.seg.Segmentation:
    """The segmentation, a segment for each region in their order.

    Args:
        frame: of the result.
        found: what ``regions`` gives.
    """
    made = hd.seg.Segmentation(
        source_images=frame.source.headers,
        pixel_array=np.stack([region.mask for region in found], axis=-1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(frame, n, region) for n, region in enumerate(found, start=1)],
        content_label="EMPHYSEMA",
        content_description="Lungs and regions that the model marks; research use only",
        coding_schemes=[terms.SCHEME_ITEM],
        **frame.identity(SEGMENTATION),
    )
    frame.finished(made, SEGMENTATION)
    return made


def _description(frame: Frame, number: int, region: Region) -> hd.seg.SegmentDescription:
    is_disease = region.name == DISEASE_REGION
    place = None if is_disease else terms.PLACES[region.name]
    is_lobe = region.name in [lobe.value for lobe in LOBES]
    maker = _maker(frame, frame.result.lobes_from if is_lobe else None, "Lobes" if is_lobe else "Lung mask")
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=region.label,
        segmented_property_category=terms.ALTERED_STRUCTURE if is_disease else terms.ANATOMICAL_STRUCTURE,
        segmented_property_type=terms.EMPHYSEMA if place is None else place.location,
        algorithm_type=_AUTOMATIC if is_disease else maker[0],
        algorithm_identification=_disease_map(frame) if is_disease else maker[1],
        tracking_uid=frame.uid("region", region.name),
        tracking_id=region.label,
        anatomic_regions=[terms.LUNG] if is_disease else None,
        display_color=hd.color.CIELabColor.from_rgb(*region.colour),
    )
    if place is not None:
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [_coded(place.side)]
    return made


def _coded(code: Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept.from_code(code)


def _maker(
    frame: Frame, origin: Origin | None, what: str
) -> tuple[hd.seg.SegmentAlgorithmTypeValues, hd.AlgorithmIdentificationSequence]:
    """How a mask was made, the lung mask where no other's origin is given; of a user's, no more is known than that."""
    kind, version = (origin or frame.result.lungs_from).kind, frame.run.software
    if kind not in (MaskKind.OWN, MaskKind.EDITED):
        return _SEMIAUTOMATIC, hd.AlgorithmIdentificationSequence(
            f"{what} given by the user ({kind.value})", codes.DCM.ManualProcessing, "not known"
        )
    return _AUTOMATIC if kind is MaskKind.OWN else _SEMIAUTOMATIC, hd.AlgorithmIdentificationSequence(
        f"{PRODUCT} lung mask", codes.DCM.MorphologicalOperations, version, MANUFACTURER
    )


def _disease_map(frame: Frame) -> hd.AlgorithmIdentificationSequence:
    return hd.AlgorithmIdentificationSequence(
        f"{PRODUCT} disease map",
        terms.ARTIFICIAL_INTELLIGENCE,
        frame.run.software,
        MANUFACTURER,
        {"model": frame.result.model.name, "model SHA-256": frame.run.model_sha256},
    )
