"""The answer in words: one wording for the terminal, the report and the window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..i18n import tr as _

if TYPE_CHECKING:
    from ..ct.provenance import LeftOut, Series
    from ..lungs.regions import Origin
    from ..models.modelcard import ModelCard
    from ..scan.result import ScanResult

RESEARCH_USE = _("Research use only. Not for clinical decisions.")
WARNINGS = _("Image quality warnings")

CALL_NAMES = {"positive": _("positive"), "negative": _("negative"), "none": _("no call")}
"""By the values of ``scan.call.Call``."""

REGION_NAMES = {
    "whole": _("Both lungs"),
    "right": _("Right lung"),
    "left": _("Left lung"),
    "upper": _("Upper third"),
    "middle": _("Middle third"),
    "lower": _("Lower third"),
    "right_upper_lobe": _("Right upper lobe"),
    "right_middle_lobe": _("Right middle lobe"),
    "right_lower_lobe": _("Right lower lobe"),
    "left_upper_lobe": _("Left upper lobe"),
    "left_lower_lobe": _("Left lower lobe"),
}


def percent(share: float) -> str:
    """A probability (0 to 1) as whole per cent, never rounded to certainty."""
    if share < 0.005:
        return _("below 1 %")
    if share > 0.995:
        return _("above 99 %")
    return f"{100 * share:.0f} %"


def number(value: float, digits: int) -> str:
    """A measured figure, or a dash where there was nothing to measure."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def verdict(result: ScanResult) -> str:
    """The call, and on which side of the operating point the probability lies."""
    probability = result.model.operating_point.probability
    point = percent(probability)
    if point == percent(result.probability):  # "52 % is below 52 %" would explain nothing
        point = f"{100 * probability:.1f} %"
    if result.call_reason:
        below = _("The probability is below the operating point ({point}), which does not exclude emphysema there.")
        return f"{result.call_reason} {below.format(point=point)}"
    if result.probability >= probability:
        return _("Positive for emphysema: at or above the operating point ({point}).").format(point=point)
    return _("Negative for emphysema: below the operating point ({point}).").format(point=point)


def architecture(card: ModelCard) -> str:
    """The architecture's name for readers."""
    from ..models.modelcard import ARCHITECTURE_TITLES  # brings SimpleITK, which the command line's help does without

    return ARCHITECTURE_TITLES.get(card.architecture, card.architecture)


def caution(card: ModelCard) -> str:
    """What kind of model it is, and what its output must not be taken for."""
    kind = architecture(card)
    if card.demonstration:
        return _("Demonstration model ({kind}), not for any patient.").format(kind=kind)
    return _("{name} ({kind}): its probability is not a diagnosis.").format(name=card.name, kind=kind)


def reading_order(result: ScanResult) -> str:
    """The order in which the last unit reads the slices."""
    descending = result.slice_positions_mm[0] > result.slice_positions_mm[-1]
    return _("superior to inferior") if descending else _("inferior to superior")


def series_read(series: Series) -> str:
    """Which DICOM series was read, by what DICOM states of it: number, description, kernel, image type, slices."""
    name = series.number or _("without a number")
    parts = [
        f"{name} '{series.description}'" if series.description else name,
        _("acquisition {number}").format(number=series.acquisition) if series.acquisition else "",
        _("kernel {kernel}").format(kernel=series.kernel) if series.kernel else "",
        _("image type {type}").format(type=series.image_type) if series.image_type else "",
        _("{slices} slices").format(slices=series.slices),
    ]
    return ", ".join(part for part in parts if part)


def left_out(part: LeftOut) -> str:
    """Files that were found beside the CT and not read: what they are, how many, why."""
    files = _("1 file") if part.files == 1 else _("{count} files").format(count=part.files)
    return f"{part.what} ({files}): {part.reason}"


def mask_origin(origin: Origin) -> str:
    """Whose mask was used, and what its labels were recognised by; its name only where the result keeps it."""
    known = {
        "own": _("found by EmphysemaScanner"),
        "edited": _("found by EmphysemaScanner and edited"),
        "file": _("label file"),
        "segmentation": _("segmentation"),
        "array": _("given by a program"),
    }[origin.kind.value]
    by = {
        "codes": _("recognised by SNOMED CT codes"),
        "names": _("recognised by the names of its segments"),
        "numbers": _("recognised by the numbers of {tool}").format(tool=origin.numbering),
        "user": _("its labels named by the user"),
    }.get(origin.recognised.value, "")
    text = f"{known} '{origin.name}'" if origin.name else known
    return f"{text}, {by}" if by else text
