"""A result laid out once, as blocks: the HTML page, the PDF, the terminal and the window render the same blocks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .. import __version__
from ..i18n import tr as _
from ..lungs.measures import LAA_910, LAA_950, MEAN, PERC15, TABLE_MEASURES, VOLUME, LungMeasure
from ..lungs.reference import NOBODY, Person
from ..models.modelcard import ModelCard
from ..scan.call import Call
from ..scan.result import ScanResult, SliceEvidence
from . import citing, measured, pairblocks, slicewords, wording
from .blocks import (
    Box,
    Contents,
    Drawing,
    Entries,
    Headline,
    Numbered,
    Paragraph,
    Picture,
    Section,
    Table,
    Tone,
)


@dataclass(frozen=True, eq=False)
class Case:
    """A CT with a model's answer on it; two of them are never equal.

    Attributes:
        image: the CT in HU, any orientation.
        result: the answer.
        lesions: the true lesions, if known: 0 or 1 on the CT's canonical grid.
        note: a remark that a reader must see first, e.g. that the disease is simulated; may be empty.
        credit: whose CT it is and its licence; may be empty.
        study: for a report that goes into an archive with its CT, what it states instead of the time of writing, such
            as the study's date: it must be the same whenever it is made again; "" for a report in a folder.
        person: what is known of the patient, for published figures of healthy people of the kind; nothing is needed.
        in_header: what the CT's DICOM header states of the patient; it counts where ``person`` knows nothing.
    """

    image: sitk.Image
    result: ScanResult
    lesions: NDArray[np.uint8] | None = None
    note: str = ""
    credit: str = ""
    study: str = ""
    person: Person = NOBODY
    in_header: Person = NOBODY


def pseudonym(image: sitk.Image) -> str:
    """An anonymous name for a CT, made from its voxels: the same voxels give the same name."""
    return f"CT {hashlib.sha256(sitk.GetArrayViewFromImage(image)).hexdigest()[:8]}"


def without_names(result: ScanResult) -> ScanResult:
    """A result whose masks are not called by the names of their files or nodes, which may name a patient."""
    lobes = result.lobes_from
    return dataclasses.replace(
        result,
        lungs_from=dataclasses.replace(result.lungs_from, name=""),
        lobes_from=None if lobes is None else dataclasses.replace(lobes, name=""),
    )


NARROW_MEASURES = (LAA_950, LAA_910, PERC15, MEAN, VOLUME)
_BESIDE = (LAA_950, PERC15, MEAN, VOLUME)


def narrow_measures(result: ScanResult) -> Sequence[LungMeasure]:
    """What fits a terminal and the window's panel; beside the columns that come with lobes there is room for less."""
    return NARROW_MEASURES if result.lobes_from is None else _BESIDE


def contents(case: Case) -> Contents:
    """The report on a case. It names the CT as ``result.source`` does and nothing else about the patient."""
    result = case.result
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    note = (Box(_("About this CT"), (case.note,), Tone.NOTE),) if case.note else ()
    return Contents(
        kicker=_("EmphysemaScanner \N{MIDDLE DOT} chest CT report"),
        title=result.source or _("Unnamed CT"),
        made=_("{date}, version {version}").format(date=case.study or made, version=__version__),
        use=wording.RESEARCH_USE,
        caution=wording.caution(result.model),
        answer=(*warnings(result), *note, headline(result)),
        sections=(
            _map(case),
            _slices(result),
            _how_to_read(result),
            *_densitometry(case),
            *pairblocks.pair_section(result),
            *measured.all_measurements(result),
            *_images(result),
            Section(_("About the model"), (about_model(result.model, slicewords.reads(result)),)),
            Section(_("For a publication"), (_publication(result),)),
        ),
        closing=_closing(case),
    )


def headline(result: ScanResult) -> Headline:
    """The probability against the operating point, and densitometry of both lungs."""
    point = result.model.operating_point
    whole = result.densitometry.get("whole")
    beside = [(m.meaning, f"{m.text(whole)} {m.unit}") for m in _BESIDE] if whole else []
    beside[1:1] = measured.beside(result)
    return Headline(
        title=_("Probability of emphysema according to the model"),
        value=wording.percent(result.probability),
        call=wording.verdict(result),
        withheld=result.call is Call.NONE,
        probability=result.probability,
        operating_point=point.probability,
        mark=_("operating point {percent}").format(percent=wording.percent(point.probability)),
        source=_("Operating point: {source}").format(source=point.source),
        beside_title=slicewords.densitometry_title(result),
        beside=tuple(beside),
    )


def warnings(result: ScanResult) -> tuple[Box, ...]:
    """The image quality warnings; no box without any."""
    return (Box(wording.WARNINGS, result.warnings, Tone.WARNING),) if result.warnings else ()


def densitometry(result: ScanResult, measures: Sequence[LungMeasure] = TABLE_MEASURES) -> Table:
    """Regions of the lungs down, measures across."""
    regions = [name for name in wording.REGION_NAMES if name in result.densitometry]
    # Where in the lungs the evidence lies is asked by lobes; without them the table stays narrow.
    evidence = {} if result.lobes_from is None else result.evidence_share_percent
    shares = [(_("Extent"), result.disease_extent_percent, 1), (_("Evidence"), evidence, 0)]
    known = [(title, percent, digits) for title, percent, digits in shares if percent]
    return Table(
        titles=("", *(title for title, _percent, _digits in known), *(measure.title for measure in measures)),
        units=("", *("%" for _share in known), *(measure.unit for measure in measures)),
        rows=tuple(
            (
                wording.REGION_NAMES[name],
                *(wording.number(percent.get(name, float("nan")), digits) for _title, percent, digits in known),
                *(measure.text(result.densitometry[name]) for measure in measures),
            )
            for name in regions
        ),
        whole=regions.index("whole") if "whole" in regions else None,
    )


def images(result: ScanResult) -> Entries:
    """Which series was read and what was left out; no rows of a CT that is not DICOM."""
    series, unread = result.provenance.series, result.provenance.left_out
    read = [(_("Series read"), (wording.series_read(series),))] if series else []
    left_out = [(_("Left out"), tuple(wording.left_out(part) for part in unread))] if unread else []
    return Entries((*read, *left_out))


def masks(result: ScanResult) -> Entries:
    """Whose lung mask and whose lobes were used."""
    lungs = (_("Lung mask"), (wording.mask_origin(result.lungs_from),))
    if result.lobes_from is None:
        return Entries((lungs,))
    return Entries((lungs, (_("Lobes"), (wording.mask_origin(result.lobes_from),))))


def about_model(card: ModelCard, reads: str = "") -> Entries:
    """The model card.

    Args:
        card: of the model.
        reads: what the model reads, in words; may be left out.
    """
    point = card.operating_point
    architecture = _("{name}, {parameters} parameters").format(
        name=wording.architecture(card), parameters=f"{card.parameters:,}"
    )
    if reads:
        architecture = _("{architecture}, reads {reads}").format(architecture=architecture, reads=reads)
    measured = tuple(
        _("{name} {value} (95 % interval {low} to {high}; {data})").format(
            name=m.name, value=f"{m.value:.2f}", low=f"{m.low:.2f}", high=f"{m.high:.2f}", data=m.data
        )
        for m in card.metrics
    )
    known = card.disease_map
    disease_map = () if known is None else (_("Learned from {cases}").format(cases=known.learned_from),)
    weights = card.class_weights
    class_weights = () if weights is None else (_("Found on {cases}").format(cases=weights.found_on),)
    rows = (
        (_("Name"), (card.name,)),
        (_("Architecture"), (architecture,)),
        (_("Trained on"), (f"{card.training_data} ({card.trained_on})",)),
        (_("Training log"), card.training_log),
        (_("Disease map"), disease_map),
        (_("Class weights"), class_weights),
        (_("Intended use"), (card.intended_use,)),
        (_("Limits"), (card.limits,)),
        (_("Operating point"), (f"{point.probability:.3f}: {point.source}",)),
        (_("Measured"), measured),
        (_("Sources"), card.citations),
    )
    return Entries(tuple((title, lines) for title, lines in rows if lines))


def _map(case: Case) -> Section:
    result, title = case.result, _("The CT")
    description = _("Axial and coronal CT images")
    if result.disease is not None:
        title = _("Disease map")
        description = _("Axial and coronal CT images, bare and with the model's disease map over the lungs")
    elif result.class_activations:
        title = _("Class-weighted activation")
        description = _("Axial and coronal CT images, bare and with the network's response over the lungs")
    elif result.evidence is not None and not isinstance(result.slices, SliceEvidence):
        title = _("Where the evidence lies")
        description = _("Axial and coronal CT images with the model's evidence over the lungs")
    highlight = "" if case.lesions is None else _("Green outline: true lesions.")
    return Section(title, (_picture(result, Drawing.MAP, description, slicewords.map_caption(result), highlight),))


def _slices(result: ScanResult) -> Section:
    words = slicewords.slice_words(result)
    description = _("What is known of each slice, by its position")
    return Section(words.chart_title, (_picture(result, Drawing.CHART, description, words.chart_caption),))


def _picture(result: ScanResult, drawing: Drawing, description: str, caption: str, highlight: str = "") -> Picture:
    faded = result.call is Call.NONE
    if faded:
        caption = f"{_('Shown pale because no call is made.')} {caption}"
    return Picture(drawing, description, caption, highlight, faded)


def _how_to_read(result: ScanResult) -> Section:
    title = _("How to read the evidence") if result.evidence is not None else _("How to read the result")
    return Section(title, (Numbered(tuple(slicewords.slice_words(result).how_to_read())),))


def _densitometry(case: Case) -> tuple[Section, ...]:
    result = case.result
    if not result.densitometry:
        return ()
    note = _(
        "LAA%: share of lung voxels below the threshold. Measured at the CT's own resolution inside the lung mask,"
        " airways excluded; tissue mass assumes a density of 1 + HU/1000 g/mL. Sharp kernels, thin slices, noise and"
        " the depth of inspiration change these figures."
    )
    if result.disease_extent_percent:
        extent = _("Extent: estimated share of the lung with disease, the sum of the disease map's probabilities.")
        note = f"{extent} {note}"
    if result.lobes_from is not None and result.evidence_share_percent:
        evidence = _(
            "Evidence: share of the model's evidence towards emphysema that arose at places of the region; it does not"
            " say where disease is."
        )
        note = f"{evidence} {note}"
    return (
        Section(
            _("Densitometry"),
            (
                densitometry(result),
                masks(result),
                *measured.density_blocks(result, case.person, case.in_header),
                Paragraph(note),
            ),
        ),
    )


def _images(result: ScanResult) -> tuple[Section, ...]:
    known = images(result)
    return (Section(_("Images"), (known,)),) if known.rows else ()


def _publication(result: ScanResult) -> Entries:
    rows = [(_("Methods"), (citing.methods(result),)), (_("Cite"), citing.references(result))]
    if result.run is not None:
        rows.append((_("CT's voxels"), (f"SHA-256 {result.run.input_sha256}",)))
    return Entries(tuple(rows))


def _closing(case: Case) -> tuple[str, ...]:
    credit = (_("CT: {credit}").format(credit=case.credit),) if case.credit else ()
    if case.study:
        return (*credit, _("EmphysemaScanner {version}.").format(version=__version__))
    scanned = _("EmphysemaScanner {version}; scanned in {seconds} s.").format(
        version=__version__, seconds=wording.number(case.result.timings_s.get("total", 0), 1)
    )
    saved = _(
        "Saved with this report, as far as chosen: the same figures in result.json and the .csv files, the maps in the"
        " .nrrd files, and scene.mrb, which opens in 3D Slicer."
    )
    return (*credit, scanned, saved)
