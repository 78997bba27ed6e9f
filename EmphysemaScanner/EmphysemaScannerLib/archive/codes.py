"""The coded terms of our DICOM objects: from DICOM's own dictionary where it has one, otherwise of our own scheme."""

from __future__ import annotations

import re
from dataclasses import dataclass

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ..lungs.measures import (
    CLUSTER_MEASURES,
    DISTRIBUTION_MEASURES,
    KURTOSIS,
    LUNG_MEASURES,
    MASS,
    MEAN,
    MEDIAN,
    MODE,
    PERC15,
    SD,
    SKEWNESS,
    VOLUME,
    LungMeasure,
)

SCHEME = "99EMPHYSEMA"
SCHEME_ITEM = CodingSchemeIdentificationItem(
    SCHEME, name="EmphysemaScanner's terms", responsible_organization="EmphysemaScanner contributors"
)


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


LUNG = codes.SCT.Lung
LEFT, RIGHT, BOTH = codes.SCT.Left, codes.SCT.Right, codes.SCT.Bilateral
ANATOMICAL_STRUCTURE = codes.SCT.AnatomicalStructure
ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")  # CID 7150
EMPHYSEMA = Code("87433001", "SCT", "Pulmonary emphysema")
ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence
PROBABILITY = codes.DCM.Probability
COMMENT = codes.DCM.Comment
REPORT_TITLE = codes.DCM.ImagingMeasurementReport
CHEST_CT = Code("169069000", "SCT", "CT of chest")
POSITIVE, NEGATIVE, UNDETERMINED = codes.SCT.Positive, codes.SCT.Negative, codes.SCT.Undetermined

PROBABILITY_OF_EMPHYSEMA = _own("PROBABILITY", "Probability of emphysema")
OPERATING_POINT = _own("OPERATING-POINT", "Operating point")
CALL = _own("CALL", "Call for emphysema")
EXTENT = _own("EXTENT", "Extent by the disease map")
WARNING = _own("IMAGE-QUALITY", "Image quality warning")
EVIDENCE = _own("EVIDENCE", "Evidence for emphysema")
CAUTION = _own("CAUTION", "Caution")

NO_UNITS = codes.UCUM.NoUnits
PERCENT = codes.UCUM.Percent
HU = codes.UCUM.HounsfieldUnit
LOGIT = Code("{logit}", "UCUM", "logit")
LITRE = Code("l", "UCUM", "liter")
GRAM = Code("g", "UCUM", "gram")
MILLILITRE = Code("ml", "UCUM", "milliliter")
GRAM_PER_LITRE = Code("g/l", "UCUM", "gram per liter")
_UNITS = {
    "%": PERCENT,
    "HU": HU,
    "L": LITRE,
    "mL": MILLILITRE,
    "g": GRAM,
    "g/L": GRAM_PER_LITRE,
    "": NO_UNITS,
}
"""By the units of ``LungMeasure``."""


@dataclass(frozen=True)
class Quantity:
    """How a report codes a measure: its name, unit and, where the name alone is not enough, its derivation."""

    name: Code
    unit: Code
    derivation: Code | None = None


_CODED: dict[LungMeasure, Quantity] = {
    PERC15: Quantity(_own("PERC15", "15th percentile of lung density (Perc15)"), HU),
    MEAN: Quantity(codes.DCM.AttenuationCoefficient, HU, codes.SCT.Mean),
    SD: Quantity(codes.DCM.AttenuationCoefficient, HU, codes.SCT.StandardDeviation),
    MEDIAN: Quantity(codes.DCM.AttenuationCoefficient, HU, codes.SCT.Median),
    MODE: Quantity(codes.DCM.AttenuationCoefficient, HU, codes.SCT.Mode),
    SKEWNESS: Quantity(codes.DCM.Skewness, NO_UNITS),
    KURTOSIS: Quantity(codes.DCM.Kurtosis, NO_UNITS),
    VOLUME: Quantity(codes.SCT.Volume, LITRE),
    MASS: Quantity(_own("TISSUE-MASS", "Tissue mass of the lung"), GRAM),
}


# Where the field's name is too long for a code value (16 characters), or says too little.
_VALUES = {
    "exponent": "cluster_exponent",
    "count": "cluster_count",
    "upper_lower_half_ratio": "halves_ratio",
    "upper_lower_third_ratio": "thirds_ratio",
}


def _quantity(measure: LungMeasure) -> Quantity:
    if measure in _CODED:
        return _CODED[measure]
    value = _VALUES.get(measure.field) or re.sub("_(percent|hu|l|ml|g_per_l)$", "", measure.field)
    return Quantity(_own(value.upper().replace("_", "-"), measure.meaning), _UNITS[measure.unit])


QUANTITIES: dict[LungMeasure, Quantity] = {
    measure: _quantity(measure) for measure in (*LUNG_MEASURES, *CLUSTER_MEASURES, *DISTRIBUTION_MEASURES)
}
"""Of every measure; those without a code of DICOM's dictionaries have one of our own."""


@dataclass(frozen=True)
class Place:
    """A region of the lungs: the anatomic location, and its side."""

    location: Code
    side: Code


_UPPER, _MIDDLE, _LOWER = codes.SCT.UpperLobeOfLung, codes.SCT.MiddleLobeOfRightLung, codes.SCT.LowerLobeOfLung
_ZONES = {
    "upper": Code("281392002", "SCT", "Upper zone of lung"),
    "middle": Code("281393007", "SCT", "Middle zone of lung"),
    "lower": Code("281394001", "SCT", "Lower zone of lung"),
}
PLACES: dict[str, Place] = {
    "whole": Place(LUNG, BOTH),
    "right": Place(LUNG, RIGHT),
    "left": Place(LUNG, LEFT),
    **{zone: Place(code, BOTH) for zone, code in _ZONES.items()},
    "right_upper_lobe": Place(_UPPER, RIGHT),
    "right_middle_lobe": Place(_MIDDLE, RIGHT),
    "right_lower_lobe": Place(_LOWER, RIGHT),
    "left_upper_lobe": Place(_UPPER, LEFT),
    "left_lower_lobe": Place(_LOWER, LEFT),
    **{
        f"{side_name}_{zone}": Place(_ZONES[zone], side)
        for side_name, side in (("right", RIGHT), ("left", LEFT))
        for zone in ("upper", "middle", "lower")
    },
    **{part: Place(LUNG, BOTH) for part in ("upper_half", "lower_half", "core", "rind")},
}
"""By the names of regions in ``ScanResult.densitometry`` and ``Measurements.parts``.

A part that has no code of its own is told from the whole by its tracking identifier.
"""
