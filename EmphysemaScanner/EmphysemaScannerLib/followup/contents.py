"""A follow-up laid out once, as blocks: the HTML page, the PDF, the terminal and the window render the same blocks."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from .. import __version__
from ..i18n import tr as _
from ..report import citing, contents, slicewords, wording
from ..report.blocks import (
    Block,
    Box,
    Contents,
    Drawing,
    Entries,
    Numbered,
    Paragraph,
    Picture,
    Section,
    Table,
    Tone,
)
from .changemap import FLOOR_G_PER_L, ChangeMap
from .comparison import Change, Comparison, Course, Verdict
from .figures import FIGURES
from .followup import FollowUp
from .limits import Limit

_NOTE_TITLE = _("About this follow-up")


def page(follow_up: FollowUp) -> Contents:
    """The report on a follow-up. It names the CTs as their results do, and nothing else about the patient."""
    course = follow_up.course
    model = course.points[0].result.model
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    first, last = course.points[0].taken, course.points[-1].taken
    return Contents(
        kicker=_("EmphysemaScanner \N{MIDDLE DOT} chest CT follow-up"),
        title=_("{count} CTs, {first} to {last}").format(
            count=len(course.points), first=first.isoformat(), last=last.isoformat()
        ),
        made=_("{date}, version {version}").format(date=made, version=__version__),
        use=wording.RESEARCH_USE,
        caution=wording.caution(model),
        answer=(*warnings(follow_up), *(block for c in course.comparisons for block in _answer(course, c))),
        sections=(
            *_values_over_time(course),
            Section(_("Course over time"), (_chart(),)),
            *_maps(follow_up),
            Section(_("How to read the changes"), (Numbered(how_to_read(follow_up)),)),
            Section(_("Repeatability limits"), (limits(),)),
            Section(_("CTs"), (cts(course),)),
            Section(_("About the model"), (contents.about_model(model, slicewords.reads(course.points[0].result)),)),
            Section(_("For a publication"), (_publication(follow_up),)),
        ),
        closing=(_("EmphysemaScanner {version}.").format(version=__version__),),
    )


def warnings(follow_up: FollowUp) -> tuple[Box, ...]:
    """What keeps a change from being told, and the image quality warnings of each CT; no box without any."""
    boxes = list(differing(follow_up))
    for point in follow_up.course.points:
        if point.result.warnings:
            title = _("{warnings}, {day}").format(warnings=wording.WARNINGS, day=point.taken.isoformat())
            boxes.append(Box(title, point.result.warnings, Tone.WARNING))
    return tuple(boxes)


def differing(follow_up: FollowUp) -> tuple[Box, ...]:
    """What keeps a change from being told; no box without any."""
    course = follow_up.course
    boxes = []
    for comparison in course.comparisons:
        lines = tuple(difference.sentence for difference in comparison.differences)
        if lines:
            title = _("What differs between the CTs of {before} and {after} beside the lungs")
            boxes.append(Box(title.format(**_days(comparison)), lines, Tone.WARNING))
    notes = (*course.notes, *(_no_map(problem) for problem in follow_up.problems))
    if notes:
        boxes.append(Box(_NOTE_TITLE, notes, Tone.NOTE))
    for made in follow_up.maps:
        if made.quality.doubts:
            title = _("Registration of {before} and {after}").format(**_days(made.comparison))
            boxes.append(Box(title, made.quality.doubts, Tone.WARNING))
    return tuple(boxes)


def changes(course: Course, comparison: Comparison) -> Table:
    """Figures down; values, change, change per year, repeatability limits and what the change may be taken for."""
    days = _days(comparison)
    return Table(
        titles=("", days["before"], days["after"], _("Change"), _("Per year"), _("Limits"), _("Change is")),
        units=("",) * 7,
        rows=tuple(_row(change) for change in comparison.changes if change.verdict is not Verdict.NOT_MEASURED),
        whole=None,
    )


def limits() -> Entries:
    """The limits with their sources."""
    rows = []
    for figure in FIGURES:
        if figure.limit is not None:
            text = _("{ends} {unit}: {measured}. {source}.").format(
                ends=_ends(figure.limit),
                unit=figure.unit,
                measured=figure.limit.measured_on,
                source=figure.limit.source,
            )
            rows.append((figure.title, (text,)))
    none = ", ".join(figure.title for figure in FIGURES if figure.limit is None)
    return Entries((*rows, (_("No published limit known"), (none,))))


def how_to_read(follow_up: FollowUp) -> tuple[str, ...]:
    """Sentences for readers of a follow-up."""
    course = follow_up.course
    volume = wording.number(course.volume_l, 2)
    sentences = [
        _(
            "A change within the repeatability limits cannot be told from a repeated CT of unchanged lungs. A change"
            " beyond them is no proof of progression: the limits were measured over months at most, on one scanner."
        ),
        _(
            "Volume-adjusted figures are what the lungs would measure at the volume of the first CT ({volume} L), if"
            " only air was breathed in or out (sponge model: density times volume is constant). They are the figures to"
            " compare when the depth of breath differs."
        ).format(volume=volume),
        _(
            "LAA%-950 and Perc15 without adjustment change with the depth of breath. Where something else than the"
            " lungs differs between the CTs, a change beyond the limits is marked, because it may come from that."
        ),
        _("Probability and extent are the model's; no study has measured their repeatability."),
    ]
    if follow_up.maps:
        sentences.append(
            _(
                "The change map shows the density of the later CT, brought onto the earlier one and multiplied by the"
                " local change of volume, less the earlier density, averaged over about a centimetre. Orange: density"
                " was lost; blue: gained; changes of less than {floor} g/L are not drawn. Near vessels, the diaphragm"
                " and the lungs' edges, errors of the registration look like change."
            ).format(floor=f"{FLOOR_G_PER_L:.0f}")
        )
    return tuple(sentences)


def cts(course: Course) -> Entries:
    """What each CT is, and how it was acquired as far as that is known."""
    rows = []
    for point in course.points:
        technique, result = point.technique, point.result
        series = result.provenance.series
        known = [
            result.source,
            *([wording.series_read(series)] if series else []),
            technique.scanner,
            _("kernel {kernel}").format(kernel=technique.kernel) if technique.kernel and not series else "",
            _stated(_("CTDIvol {value} mGy"), technique.ctdi_mgy),
            _stated(_("{value} mAs"), technique.exposure_mas),
            _stated(_("{value} kV"), technique.tube_kv),
            _stated(_("slices {value} mm thick"), technique.thickness_mm),
            _("noise in the lungs {noise} HU").format(noise=f"{point.noise_hu:.0f}"),
        ]
        rows.append((point.taken.isoformat(), ("; ".join(part for part in known if part),)))
    return Entries(tuple(rows))


def registration(made: ChangeMap) -> Entries:
    """How well the CTs came together, and what the map amounts to."""
    quality = made.quality
    error = _(
        "Overlap of the lungs (Dice) {dice}; correlation of vessels and fissures {correlation}; the two directions"
        " differ by {error} mm at most in 95 % of the lungs; {folded} % of the lungs folded."
    ).format(
        dice=f"{quality.dice:.3f}",
        correlation=f"{quality.correlation:.2f}",
        error=f"{quality.inverse_consistency_mm:.1f}",
        folded=f"{quality.folded_percent:.2f}",
    )
    amount = _(
        "More than {floor} g/L lost in {lost} % of the lungs, gained in {gained} %; mean change {mean} g/L."
    ).format(
        floor=f"{FLOOR_G_PER_L:.0f}",
        lost=wording.number(made.lost_percent, 1),
        gained=wording.number(made.gained_percent, 1),
        mean=_signed(made.mean_g_per_l, 1),
    )
    return Entries(((_("Change of density"), (amount,)), (_("Registration"), (error,))))


def _answer(course: Course, comparison: Comparison) -> tuple[Block, ...]:
    head = _("{years} years from {before} to {after}.").format(years=f"{comparison.years:.2f}", **_days(comparison))
    return (Paragraph(head), changes(course, comparison))


def _values_over_time(course: Course) -> tuple[Section, ...]:
    """All values in one table, where there are more than the two columns of a comparison."""
    if len(course.points) == 2:
        return ()
    rows = []
    for figure in FIGURES:
        values = course.values(figure)
        if any(math.isfinite(value) for value in values):
            rows.append((f"{figure.title} ({figure.unit})", *(wording.number(v, figure.digits) for v in values)))
    titles = ("", *(point.taken.isoformat() for point in course.points))
    return (Section(_("All CTs"), (Table(titles, ("",) * len(titles), tuple(rows), None),)),)


def _chart() -> Picture:
    caption = _(
        "Blue band: where repeated CTs of unchanged lungs lie, around the first CT; panels without a band have no"
        " published limit."
    )
    return Picture(Drawing.CHART, _("The figures of all CTs by date"), caption, "", False)


def _maps(follow_up: FollowUp) -> tuple[Section, ...]:
    if not follow_up.maps:
        return ()
    shown = follow_up.maps[-1]
    caption = _("Change of density from {before} to {after}, where most was lost.").format(**_days(shown.comparison))
    if len(follow_up.maps) > 1:
        caption = f"{caption} {_('The maps of all CTs are in the .nrrd files.')}"
    picture = Picture(
        Drawing.MAP, _("Axial and coronal images of both CTs, and the change of density"), caption, "", False
    )
    blocks: list[Block] = [picture]
    for made in follow_up.maps:
        if len(follow_up.maps) > 1:
            blocks.append(Paragraph(_("From {before} to {after}").format(**_days(made.comparison))))
        blocks.append(registration(made))
    return (Section(_("Where density changed"), tuple(blocks)),)


def _publication(follow_up: FollowUp) -> Entries:
    result = follow_up.course.points[0].result
    followed = _(
        "CTs of one patient were compared by Perc15 and mean density adjusted to the lung volume of the first CT"
        " (sponge model; Dirksen et al. 1999, Stoel et al. 2008)"
    )
    if follow_up.maps:
        followed += _(
            ", and by place after deformable registration of the lungs, the later density multiplied by the Jacobian"
            " determinant (after Staring et al. 2014)"
        )
    sources = (
        "Dirksen et al., Am J Respir Crit Care Med 1999;160:1468-1472",
        "Stoel et al., Proc Am Thorac Soc 2008;5:919-924",
        *(("Staring et al., Med Phys 2014;41(2):021905",) if follow_up.maps else ()),
        *dict.fromkeys(figure.limit.source for figure in FIGURES if figure.limit is not None),
    )
    return Entries(
        (
            (_("Methods"), (f"{citing.methods(result)} {followed}.",)),
            (_("Cite"), (*citing.references(result), *sources)),
        )
    )


def _row(change: Change) -> tuple[str, ...]:
    figure = change.figure
    limit = figure.limit
    return (
        f"{figure.title} ({figure.unit})",
        wording.number(change.before, figure.digits),
        wording.number(change.after, figure.digits),
        _signed(change.difference, figure.digits),
        _signed(change.per_year, max(figure.digits, 1)),
        "-" if limit is None else _ends(limit),
        change.verdict.label(),
    )


def _days(comparison: Comparison) -> dict[str, str]:
    return {"before": comparison.earlier.taken.isoformat(), "after": comparison.later.taken.isoformat()}


def _no_map(problem: str) -> str:
    return _("No change map of {problem}").format(problem=problem)


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}" if math.isfinite(value) else "-"


def _ends(limit: Limit) -> str:
    if limit.low == -limit.high:
        return f"\N{PLUS-MINUS SIGN}{limit.high:.1f}"
    return _("{low} to {high}").format(low=_signed(limit.low, 1), high=_signed(limit.high, 1))


def _stated(text: str, value: float) -> str:
    return text.format(value=f"{value:.3g}") if math.isfinite(value) else ""
