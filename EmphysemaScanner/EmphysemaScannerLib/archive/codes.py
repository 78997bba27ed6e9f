"""The coded terms of our DICOM objects: from DICOM's own dictionary where it has one, otherwise of our own scheme."""

from __future__ import annotations

from dataclasses import dataclass

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ..lungs.measures import LAA_856, LAA_910, LAA_950, MASS, MEAN, PERC15, SD, VOLUME, LungMeasure

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


@dataclass(frozen=True)
class Quantity:
    """How a report codes a measure: its name, unit and, where the name alone is not enough, its derivation."""

    name: Code
    unit: Code
    derivation: Code | None = None


QUANTITIES: dict[LungMeasure, Quantity] = {
    LAA_950: Quantity(_own("LAA-950", "Share of lung below -950 HU (LAA%-950)"), PERCENT),
    LAA_910: Quantity(_own("LAA-910", "Share of lung below -910 HU (LAA%-910)"), PERCENT),
    LAA_856: Quantity(_own("LAA-856", "Share of lung below -856 HU (LAA%-856)"), PERCENT),
    PERC15: Quantity(_own("PERC15", "15th percentile of lung density (Perc15)"), HU),
    MEAN: Quantity(codes.DCM.AttenuationCoefficient, HU, codes.SCT.Mean),
    SD: Quantity(codes.DCM.AttenuationCoefficient, HU, codes.SCT.StandardDeviation),
    VOLUME: Quantity(codes.SCT.Volume, LITRE),
    MASS: Quantity(_own("TISSUE-MASS", "Tissue mass of the lung"), GRAM),
}


@dataclass(frozen=True)
class Place:
    """A region of the lungs: the anatomic location, and its side."""

    location: Code
    side: Code


_UPPER, _MIDDLE, _LOWER = codes.SCT.UpperLobeOfLung, codes.SCT.MiddleLobeOfRightLung, codes.SCT.LowerLobeOfLung
PLACES: dict[str, Place] = {
    "whole": Place(LUNG, BOTH),
    "right": Place(LUNG, RIGHT),
    "left": Place(LUNG, LEFT),
    "upper": Place(Code("281392002", "SCT", "Upper zone of lung"), BOTH),
    "middle": Place(Code("281393007", "SCT", "Middle zone of lung"), BOTH),
    "lower": Place(Code("281394001", "SCT", "Lower zone of lung"), BOTH),
    "right_upper_lobe": Place(_UPPER, RIGHT),
    "right_middle_lobe": Place(_MIDDLE, RIGHT),
    "right_lower_lobe": Place(_LOWER, RIGHT),
    "left_upper_lobe": Place(_UPPER, LEFT),
    "left_lower_lobe": Place(_LOWER, LEFT),
}
"""By the names of regions in ``ScanResult.densitometry``."""
