"""What differs between two CTs beside the patient's lungs, so that a change cannot be told from technique."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ..i18n import tr as _
from ..scan.call import MOST_MISSING_PERCENT
from .timepoint import TimePoint

# Limits of our own, chosen so that repeated CTs of one protocol stay below them.
_THICKNESS, _SPACING_MM = 1.25, 0.5
_DOSE = 1.5  # more than half as much again
_NOISE, _NOISE_HU = 1.5, 4.0
_BLOOD_HU = 40.0  # contrast agent adds 100 HU and more, another tube voltage some
_VOLUME_PERCENT = 10.0


class Kind(str, Enum):
    """What differs."""

    PATIENT = "patient"
    COVERAGE = "coverage"
    SCANNER = "scanner"
    KERNEL = "kernel"
    THICKNESS = "thickness"
    DOSE = "dose"
    CONTRAST = "contrast"
    BREATH = "breath"
    DATE = "date"


@dataclass(frozen=True)
class Difference:
    """Something that differs.

    Attributes:
        kind: what.
        sentence: with both values.
    """

    kind: Kind
    sentence: str

    def disturbs(self, adjusted: bool) -> bool:
        """Whether it moves a figure.

        Args:
            adjusted: whether the figure accounts for the depth of breath.
        """
        if self.kind in (Kind.PATIENT, Kind.DATE):
            return False
        return self.kind is not Kind.BREATH or not adjusted


def differences(earlier: TimePoint, later: TimePoint) -> tuple[Difference, ...]:
    """What differs between two CTs, gravest first."""
    return (
        *_coverage(earlier, later),
        *_stated(earlier, later),
        *_thickness(earlier, later),
        *_dose(earlier, later),
        *_contrast(earlier, later),
        *_breath(earlier, later),
        *_patient(earlier, later),
        *_dates(earlier, later),
    )


def _days(earlier: TimePoint, later: TimePoint) -> dict[str, str]:
    return {"before": earlier.taken.isoformat(), "after": later.taken.isoformat()}


def _coverage(*points: TimePoint) -> Iterator[Difference]:
    for point in points:
        coverage = point.result.coverage
        missing = max(coverage.missing_top_percent, coverage.missing_bottom_percent)
        if missing > MOST_MISSING_PERCENT:
            sentence = _(
                "The CT of {day} lacks about {missing} % of the lungs' height: volume, mass and all figures of the"
                " whole lungs cannot be compared."
            )
            yield Difference(Kind.COVERAGE, sentence.format(day=point.taken.isoformat(), missing=f"{missing:.0f}"))


def _stated(earlier: TimePoint, later: TimePoint) -> Iterator[Difference]:
    """Scanner and kernel, where both CTs state them."""
    before, after = earlier.technique, later.technique
    scanner = _("The scanners differ ({before}; {after}), and with them the calibration of density.")
    kernel = _("The reconstruction kernels differ ({before}; {after}): a sharper kernel raises LAA%-950.")
    tube = _("The tube voltages differ ({before}; {after} kV), which shifts density.")
    if before.scanner and after.scanner and before.scanner.lower() != after.scanner.lower():
        yield Difference(Kind.SCANNER, scanner.format(before=before.scanner, after=after.scanner))
    if before.kernel and after.kernel and before.kernel.lower() != after.kernel.lower():
        yield Difference(Kind.KERNEL, kernel.format(before=before.kernel, after=after.kernel))
    if abs(before.tube_kv - after.tube_kv) > 1:
        kilovolts = {"before": f"{before.tube_kv:.0f}", "after": f"{after.tube_kv:.0f}"}
        yield Difference(Kind.SCANNER, tube.format(**kilovolts))


def _thickness(earlier: TimePoint, later: TimePoint) -> Iterator[Difference]:
    before, after = (_slice_mm(point) for point in (earlier, later))
    if _ratio(before, after) > _THICKNESS and abs(before - after) > _SPACING_MM:
        sentence = _("The slices differ ({before}; {after} mm): thicker slices average low density away.")
        yield Difference(Kind.THICKNESS, sentence.format(before=f"{before:.2g}", after=f"{after:.2g}"))


def _slice_mm(point: TimePoint) -> float:
    """Thickness where it is stated, otherwise the distance of the slices."""
    stated = point.technique.thickness_mm
    return stated if math.isfinite(stated) else point.result.lung_mask.grid.spacing_mm[0]


def _dose(earlier: TimePoint, later: TimePoint) -> Iterator[Difference]:
    """By what is stated, and by the noise that was measured."""
    for name, unit, before, after in (
        ("CTDIvol", "mGy", earlier.technique.ctdi_mgy, later.technique.ctdi_mgy),
        (_("exposure"), "mAs", earlier.technique.exposure_mas, later.technique.exposure_mas),
    ):
        if _ratio(before, after) > _DOSE:
            sentence = _("The doses differ ({name} {before}; {after} {unit}): noise raises LAA%-950.")
            values = {"before": f"{before:.3g}", "after": f"{after:.3g}"}
            yield Difference(Kind.DOSE, sentence.format(name=name, unit=unit, **values))
            return
    before, after = earlier.noise_hu, later.noise_hu
    if abs(before - after) > _NOISE_HU and _ratio(before, after) > _NOISE:
        sentence = _("The noise in the lungs differs ({before}; {after} HU): noise raises LAA%-950.")
        yield Difference(Kind.DOSE, sentence.format(before=f"{before:.0f}", after=f"{after:.0f}"))


def _contrast(earlier: TimePoint, later: TimePoint) -> Iterator[Difference]:
    stated = [bool(point.technique.contrast_agent) for point in (earlier, later)]
    if abs(earlier.blood_hu - later.blood_hu) > _BLOOD_HU:
        sentence = _(
            "Heart and vessels differ ({before}; {after} HU), as with contrast agent in one CT: it raises the density"
            " of the lungs."
        )
        values = {"before": f"{earlier.blood_hu:.0f}", "after": f"{later.blood_hu:.0f}"}
        yield Difference(Kind.CONTRAST, sentence.format(**values))
    elif stated[0] != stated[1] and all(point.technique.patient is not None for point in (earlier, later)):
        day = (earlier if stated[0] else later).taken.isoformat()
        sentence = _("Only the CT of {day} states a contrast agent, which raises the density of the lungs.")
        yield Difference(Kind.CONTRAST, sentence.format(day=day))


def _breath(earlier: TimePoint, later: TimePoint) -> Iterator[Difference]:
    before, after = earlier.lungs.volume_l, later.lungs.volume_l
    percent = 100 * (after / before - 1)
    if abs(percent) > _VOLUME_PERCENT:
        sentence = _(
            "The lung volumes differ by {percent} % ({before}; {after} L), from the depth of breath or from"
            " overinflation: only volume-adjusted figures can be compared."
        )
        values = {"before": f"{before:.2f}", "after": f"{after:.2f}", "percent": f"{percent:+.0f}"}
        yield Difference(Kind.BREATH, sentence.format(**values))


def _patient(earlier: TimePoint, later: TimePoint) -> Iterator[Difference]:
    known = [point.technique.patient for point in (earlier, later)]
    if any(patient is None or not patient.identity for patient in known):
        sentence = _("Nothing states that the CTs of {before} and {after} are of one patient: make sure of it.")
        yield Difference(Kind.PATIENT, sentence.format(**_days(earlier, later)))


def _dates(*points: TimePoint) -> Iterator[Difference]:
    for point in points:
        stated = point.technique.taken
        if stated is not None and stated != point.taken:
            sentence = _("The date of one CT was given as {day}; its DICOM files state {stated}.")
            yield Difference(Kind.DATE, sentence.format(day=point.taken.isoformat(), stated=stated.isoformat()))


def _ratio(one: float, other: float) -> float:
    """The larger over the smaller; NaN where one is not known or 0."""
    low, high = min(one, other), max(one, other)
    return high / low if low > 0 and math.isfinite(high) else math.nan
