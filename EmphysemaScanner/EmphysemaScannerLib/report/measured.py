"""What was measured beside the densitometry table, as blocks: normalised density, plots, and all measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..i18n import tr as _
from ..lungs.densitometry import LEAST_VOXELS, Densitometry
from ..lungs.measures import (
    CLUSTER_MEASURES,
    DISTRIBUTION_MEASURES,
    LAA_910,
    LAA_950,
    LUNG_MEASURES,
    MEAN,
    PERC15,
    TABLE_MEASURES,
    VOLUME,
    LungMeasure,
    Measured,
)
from ..lungs.reference import NOBODY, Person, Sex, references_for
from ..lungs.regions import LOBES
from ..scan.result import ScanResult
from . import wording
from .blocks import Block, Box, Drawing, Entries, Paragraph, Picture, Section, Table, Tone

PART_NAMES = {
    "upper_half": _("Upper half"),
    "lower_half": _("Lower half"),
    "right_upper": _("Right upper third"),
    "right_middle": _("Right middle third"),
    "right_lower": _("Right lower third"),
    "left_upper": _("Left upper third"),
    "left_middle": _("Left middle third"),
    "left_lower": _("Left lower third"),
    "core": _("Core"),
    "rind": _("Rind"),
}
_LOBES = {lobe.value for lobe in LOBES}
_PART_MEASURES = (LAA_950, LAA_910, PERC15, MEAN, VOLUME)
_OLD_YEARS = 90
_NORMALISED_MEASURES = (LAA_950, LAA_910, PERC15, MEAN)


def beside(result: ScanResult) -> list[tuple[str, str]]:
    """LAA%-950 as with a smooth kernel, where the kernel is sharp, for the headline."""
    whole = _of_smooth_kernel(result)
    return [] if whole is None else [(_("LAA%-950 as with a smooth kernel"), f"{LAA_950.text(whole)} {LAA_950.unit}")]


def kernel_box(result: ScanResult) -> tuple[Box, ...]:
    """Which density to trust, where the kernel is sharp or the noise high; no box elsewhere."""
    whole = _of_smooth_kernel(result)
    if whole is None or "whole" not in result.densitometry:
        return ()
    raw = result.densitometry["whole"]
    figures = _(
        "LAA%-950 is {raw} % as measured and {smooth} % as with a smooth kernel; Perc15 is {raw_perc15} and"
        " {smooth_perc15} HU."
    ).format(
        raw=LAA_950.text(raw),
        smooth=LAA_950.text(whole),
        raw_perc15=PERC15.text(raw),
        smooth_perc15=PERC15.text(whole),
    )
    trust = _(
        "Trust the figures as with a smooth kernel when you compare this CT with others: noise and a sharp kernel make"
        " healthy lung look like emphysema. In emphysema they may be some points too low. All other figures and"
        " plots are those of the CT as it is."
    )
    return (Box(_("The kernel of this CT is sharp, or its noise high"), (figures, trust), Tone.NOTE),)


def density_blocks(result: ScanResult, person: Person, in_header: Person = NOBODY) -> tuple[Block, ...]:
    """Below the densitometry table: which figures to trust, regions without percentiles, plots, references.

    Args:
        result: the answer.
        person: what was given of the patient.
        in_header: what the DICOM header states; it counts where nothing was given.
    """
    found: list[Block] = [*kernel_box(result), *map(Paragraph, too_small(result))]
    if result.measurements.histograms:
        with_clusters = _("; sizes of areas below -950 HU, on logarithmic axes") if result.measurements.clusters else ""
        caption = _(
            "Histogram of lung density with thresholds; LAA%-950 by height for each lung; LAA%-950 by region{clusters}."
        ).format(clusters=with_clusters)
        found.append(Picture(Drawing.DENSITY, _("Plots of lung density"), caption, "", faded=False))
    if result.densitometry:
        known = person.completed_by(in_header)
        rows = tuple((r.name, (f"{r.value}. {r.population}. {r.source}",)) for r in references_for(known))
        note = _(
            "LAA%-950 that studies of healthy people published. Their scanners, kernels and breath were others: these"
            " are no limits of normal."
        )
        found += [Paragraph(note), Entries((*_patient(person, in_header), *rows))]
    return tuple(found)


def _patient(given: Person, in_header: Person) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """A row with what is known of the patient and from where; no row where nothing is."""
    own, stated = _words_of(given), _words_of(in_header)
    origins = (
        (_("as given"), list(own.values())),
        (_("from the DICOM header"), [words for what, words in stated.items() if what not in own]),
    )
    lines = tuple(f"{', '.join(words)} ({origin})" for origin, words in origins if words)
    return ((_("Patient"), lines),) if lines else ()


def _words_of(person: Person) -> dict[str, str]:
    """What is known of a person in words, by attribute."""
    words = {}
    if person.sex is not None:
        words["sex"] = _("female") if person.sex is Sex.FEMALE else _("male")
    if person.age_years is not None:
        # Of the few who are older, the age alone may tell who it is.
        old = person.age_years >= _OLD_YEARS
        words["age_years"] = _("{age} years or older") if old else _("{age} years")
        words["age_years"] = words["age_years"].format(age=f"{min(person.age_years, _OLD_YEARS):g}")
    if person.height_cm is not None:
        words["height_cm"] = f"{person.height_cm:g} cm"
    if person.weight_kg is not None:
        words["weight_kg"] = f"{person.weight_kg:g} kg"
    return words


def too_small(result: ScanResult) -> list[str]:
    """A sentence for the regions that are empty or too small for percentiles."""
    regions = {**result.densitometry, **result.measurements.parts}
    empty = [region_name(name) for name, region in regions.items() if region.voxels == 0]
    small = [region_name(name) for name, region in regions.items() if 0 < region.voxels < LEAST_VOXELS]
    sentences = []
    if empty:
        sentences.append(_("No lung in: {regions}.").format(regions=", ".join(empty)))
    if small:
        sentences.append(
            _("Fewer than {voxels} voxels, therefore no percentiles: {regions}.").format(
                voxels=f"{LEAST_VOXELS:,}", regions=", ".join(small)
            )
        )
    return sentences


def all_measurements(result: ScanResult, regions: Sequence[str] = tuple(wording.REGION_NAMES)) -> tuple[Section, ...]:
    """Everything that was measured and is not in the densitometry table; no section where nothing was.

    Args:
        result: the answer.
        regions: those of the table of density, as many as there is room for.
    """
    measured = result.measurements
    if not measured.histograms:
        return ()
    rest = [measure for measure in LUNG_MEASURES if measure not in TABLE_MEASURES]
    shown = {name: region for name, region in result.densitometry.items() if name in regions}
    lobes = {name: region for name, region in shown.items() if name in _LOBES}
    lungs = {name: region for name, region in shown.items() if name not in _LOBES}
    parts = ((_("Density"), lungs), (_("Density of the lobes"), lobes))  # side by side there is no room
    found: list[Block] = [
        *(_by_measure(title, part, rest) for title, part in parts if part),
        _by_region(_("Parts of the lungs"), measured.parts, _PART_MEASURES),
        _by_region(_("Distribution"), {"whole": measured.distribution}, DISTRIBUTION_MEASURES),
    ]
    if measured.clusters:
        found.append(_by_region(_("Clusters and bullae"), measured.clusters, CLUSTER_MEASURES))
    found += _normalised(result)
    found.append(Paragraph(_("Definitions and sources: docs/measurements.md. The CSV files have all figures.")))
    return (Section(_("All measurements"), tuple(found)),)


def _normalised(result: ScanResult) -> Iterable[Block]:
    normalised = result.measurements.normalised
    cts = (
        (_("As measured"), result.densitometry),
        (_("As with a smooth kernel"), normalised.of_smooth_kernel),
        (_("With less noise"), normalised.with_less_noise),
    )
    rows = {title: regions["whole"] for title, regions in cts if "whole" in regions}
    if len(rows) < 2:
        return
    yield _by_region(_("Kernel and noise"), rows, _NORMALISED_MEASURES)
    if normalised.kernel is not None and not normalised.kernel.changed:
        yield Paragraph(_("The kernel is smooth: nothing had to be changed for the second line. Trust the first."))


def _of_smooth_kernel(result: ScanResult) -> Densitometry | None:
    normalised = result.measurements.normalised
    if normalised.kernel is None or not normalised.kernel.changed:
        return None
    return normalised.of_smooth_kernel.get("whole")


def _by_region(title: str, regions: Mapping[str, Measured], measures: Sequence[LungMeasure]) -> Table:
    return Table(
        titles=(title, *(measure.title for measure in measures)),
        units=("", *(measure.unit for measure in measures)),
        rows=tuple((region_name(name), *(m.text(region) for m in measures)) for name, region in regions.items()),
        whole=list(regions).index("whole") if "whole" in regions else None,
    )


def _by_measure(title: str, regions: Mapping[str, Measured], measures: Sequence[LungMeasure]) -> Table:
    return Table(
        titles=(title, *map(region_name, regions)),
        units=("",) * (len(regions) + 1),
        rows=tuple(
            (f"{m.title} ({m.unit})" if m.unit else m.title, *(m.text(region) for region in regions.values()))
            for m in measures
        ),
        whole=None,
    )


def region_name(region: str) -> str:
    """The name of a region, or of a part of the lungs, for readers."""
    return wording.REGION_NAMES.get(region) or PART_NAMES.get(region, region)
