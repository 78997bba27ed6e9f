"""What a second CT, in expiration, tells, as blocks."""

from __future__ import annotations

from ..i18n import tr as _
from ..lungs.expiration import ExpiratoryPair
from ..lungs.measures import BREATH_MEASURES, RESPONSE_MEASURES, LungMeasure
from ..scan.result import ScanResult
from . import wording
from .blocks import Block, Box, Drawing, Entries, Paragraph, Picture, Section, Table, Tone

TITLE = _("Inspiratory and expiratory CT")
_SIDES = ("whole", "right", "left")


def pair_section(result: ScanResult) -> tuple[Section, ...]:
    """The section of a report; none without an expiratory CT."""
    pair = result.expiration
    return () if pair is None else (Section(TITLE, tuple(_blocks(pair))),)


def tables(pair: ExpiratoryPair) -> list[Table]:
    """The figures of both CTs, and the shares of the response map, as far as there are any."""
    sides = [name for name in _SIDES if name in pair.regions]
    found = [_table(_("Both CTs"), pair, sides, BREATH_MEASURES)] if sides else []
    if pair.response is not None:
        regions = [name for name in wording.REGION_NAMES if name in pair.regions]
        found.append(_table(_("Response map"), pair, regions, RESPONSE_MEASURES))
    return found


def notes(pair: ExpiratoryPair) -> tuple[str, ...]:
    """What is missing, then what makes the pair doubtful."""
    return (*((pair.missing,) if pair.missing else ()), *pair.warnings)


def registration(pair: ExpiratoryPair) -> str:
    """How well the two CTs were registered; "" where they were not."""
    quality = pair.quality
    if quality is None:
        return ""
    return _(
        "overlap of the lungs {dice} (Dice), correlation of vessels and fissures {correlation}, {folded} % of the lungs"
        " folded; mapped there and back, 95 % of points return to within {mm} mm"
    ).format(
        dice=wording.number(quality.dice, 2),
        correlation=wording.number(quality.correlation, 2),
        folded=wording.number(quality.folded_percent, 1),
        mm=wording.number(quality.inverse_consistency_mm, 1),
    )


def _blocks(pair: ExpiratoryPair) -> list[Block]:
    found: list[Block] = []
    if said := notes(pair):
        found.append(Box(_("About the expiratory CT"), said, Tone.WARNING))
    found += tables(pair)
    rows = []
    if pair.series is not None:
        rows.append((_("Expiratory series"), (wording.series_read(pair.series),)))
    if pair.quality is not None:
        rows.append((_("Registration"), (registration(pair),)))
    found += [Entries(tuple(rows))] if rows else []
    if pair.response is not None:
        description = _("Axial and coronal CT images, bare and with the parametric response map over the lungs")
        caption = _(
            "Parametric response map (Galbán et al. 2012) over the inspiratory CT. Emphysema: below -950 HU in"
            " inspiration and below -856 HU in expiration; functional small airways disease (fSAD): at least -950 and"
            " below -856 HU; normal: at least -950 and at least -856 HU."
        )
        found.append(Picture(Drawing.RESPONSE, description, caption, "", faded=False))
    if pair.regions:
        found.append(
            Paragraph(
                _(
                    "Air trapping: lung below -856 HU in expiration, emphysema included. E/I: expiratory over"
                    " inspiratory. These figures depend on how far the patient breathed out. An error of registration"
                    " of a few millimetres moves small areas between the classes."
                )
            )
        )
    return found


def _table(title: str, pair: ExpiratoryPair, regions: list[str], measures: tuple[LungMeasure, ...]) -> Table:
    return Table(
        titles=(title, *(measure.title for measure in measures)),
        units=("", *(measure.unit for measure in measures)),
        rows=tuple((wording.REGION_NAMES[name], *(m.text(pair.regions[name]) for m in measures)) for name in regions),
        whole=regions.index("whole") if "whole" in regions else None,
    )
