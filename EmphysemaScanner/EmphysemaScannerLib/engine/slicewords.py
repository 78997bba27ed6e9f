"""What a result tells of single slices, in words: one wording for the terminal, the report and the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.field import Field
from ..core.result import SliceStory
from ..i18n import tr as _
from . import wording

if TYPE_CHECKING:
    from ..core.result import ScanResult


def columns(result: ScanResult) -> dict[str, list[str]]:
    """What is known of each slice as columns of a table, by title, in reading order; first what the model tells."""
    known: dict[str, list[str]] = {}
    if result.slice_evidence is not None:
        known[_("Evidence (logit)")] = [f"{value:+.2f}" for value in result.slice_evidence]
    if result.running_probability is not None:
        known[_("Probability after it")] = [wording.percent(float(p)) for p in result.running_probability]
        return known
    if result.slice_weight is not None:
        known[_("Attention weight")] = [_weight(value) for value in result.slice_weight]
    if result.slice_probability is not None:
        known[_("Probability by itself")] = [wording.percent(float(p)) for p in result.slice_probability]
    known[_("LAA%-950 (%)")] = [wording.number(float(share), 1) for share in result.laa_950_by_slice_percent]
    return known


def of_slice(result: ScanResult, k: int) -> str:
    """What is known of the slice at place ``k`` of the sequences, as part of a sentence."""
    if result.slice_evidence is not None:
        return _("evidence {evidence}").format(evidence=f"{result.slice_evidence[k]:+.2f}")
    said = []
    if result.slice_weight is not None:
        said.append(_("attention weight {weight} (not evidence)").format(weight=_weight(result.slice_weight[k])))
    if result.slice_probability is not None:
        percent = wording.percent(float(result.slice_probability[k]))
        said.append(_("probability of this slice by itself {percent}").format(percent=percent))
    laa = wording.number(float(result.laa_950_by_slice_percent[k]), 1)
    return ", ".join(said) or _("LAA%-950 {percent} %").format(percent=laa)


def short(result: ScanResult, k: int) -> str:
    """The same, in a corner of a small picture."""
    if result.slice_evidence is not None:
        return f"{result.slice_evidence[k]:+.2g}"
    if result.slice_weight is not None:
        return _("weight {weight}").format(weight=_weight(result.slice_weight[k]))
    if result.slice_probability is not None:
        return wording.percent(float(result.slice_probability[k]))
    return _("LAA {percent} %").format(percent=wording.number(float(result.laa_950_by_slice_percent[k]), 1))


def most(result: ScanResult) -> str:
    """What marks the most telling slice in a picture."""
    return {
        SliceStory.EVIDENCE: _("strongest"),
        SliceStory.PROBABILITY: _("highest"),
        SliceStory.WEIGHT: _("largest weight"),
        SliceStory.NONE: _("most LAA"),
    }[result.story]


def story(result: ScanResult) -> str:
    """What the model can tell slice by slice, in a sentence; empty where its evidence says it all."""
    return {
        SliceStory.EVIDENCE: "",
        SliceStory.PROBABILITY: _(
            "This model gives each slice a probability by itself, without its neighbours, and pools them."
        ),
        SliceStory.WEIGHT: _(
            "This model gives each slice an attention weight: how much the slice counts, not whether it speaks for"
            " emphysema. That is what the probability of the slice by itself says."
        ),
        SliceStory.NONE: _("This model tells nothing slice by slice; LAA%-950 is measured without it."),
    }[result.story]


def reads(result: ScanResult) -> str:
    """What the model reads."""
    if result.evidence is None:
        return _("densitometry of both lungs")
    input_ = result.model.preprocessing
    text = _("{shape} voxels of the lungs' box, window {low} to {high} HU")
    if input_.field is Field.WHOLE:
        text = _("{shape} voxels, window {low} to {high} HU")
    return text.format(
        shape=" x ".join(map(str, input_.shape)),
        low=wording.number(input_.window_low_hu, 0),
        high=wording.number(input_.window_high_hu, 0),
    )


def densitometry_title(result: ScanResult) -> str:
    """What stands over the densitometry beside the answer."""
    if result.evidence is None:
        return _("Densitometry of both lungs, from which the model answers")
    return _("Densitometry of both lungs, independent of the model")


def map_caption(result: ScanResult, undrawn: float) -> str:
    """What the pictures of the CT show."""
    ct = _("CT in a lung window, the patient's right at the left.")
    corner = {
        SliceStory.EVIDENCE: _("what the slice added to the logit"),
        SliceStory.PROBABILITY: _("the probability of the slice by itself"),
        SliceStory.WEIGHT: _("the attention weight of the slice (not evidence)"),
        SliceStory.NONE: _("LAA%-950 of the slice, measured without the model"),
    }[result.story]
    corner = _("Upper right of each axial picture: {what}.").format(what=corner)
    if result.evidence is None:
        return f"{ct} {corner}"
    colours = _(
        "Orange moved the model towards emphysema, blue away from it; colours are drawn inside the lungs only ({share}"
        " of the evidence by size lies in cells that hold no lung, and is not shown)."
    ).format(share=wording.percent(undrawn))
    return f"{ct} {colours} {corner}"


def chart_caption(result: ScanResult) -> str:
    """What the chart by slice shows."""
    level = _("Each bar lies at its level of the chest.")
    laa = "" if result.slice_story is None else _("LAA%-950 is measured without the model.")
    if result.story is SliceStory.EVIDENCE:
        return _(
            "Each bar lies at its level of the chest; the arrow shows the order in which the slices are read. LAA%-950"
            " is measured without the model."
        )
    return " ".join(part for part in (level, story(result), laa) if part)


def how_to_read(result: ScanResult) -> list[str]:
    """How the map and the figures by slice are to be read, a sentence or two each."""
    said = _sums(result)
    if result.slice_story is not None:
        told = "; ".join(
            f"S {result.slice_positions_mm[k]:.0f} mm ({short(result, k)})" for k in result.telling_slices(3)
        )
        if result.slice_evidence is not None:
            said.append(_("The slices that moved it most: {slices}.").format(slices=told.replace(";", ",")))
        else:
            said.append(_("The slices that stand out most: {slices}.").format(slices=told))
    if result.evidence is not None:
        cell = result.evidence.grid.spacing_mm
        across, down = wording.number(cell[2], 0), wording.number(cell[1], 0)
        coarse = _("The coloured cells are coarse ({across} x {down} mm, smoothed for display).")
        meaning = (
            _("They say when and roughly where the model changed its mind, and do not outline disease.")
            if result.slice_evidence is not None
            else _(
                "They are the terms of the network's last layer, which has seen a wide surrounding of each cell, and do"
                " not outline disease."
            )
        )
        said.append(f"{coarse.format(across=across, down=down)} {meaning}")
    return said


def _sums(result: ScanResult) -> list[str]:
    """What adds up to the answer, and how."""
    slices, bias, logit = len(result.slice_indices), f"{result.bias:+.2f}", f"{result.logit:+.2f}"
    percent = wording.percent(result.probability)
    temperature = result.model.temperature
    divided = (
        ""
        if temperature == 1
        else _(" and divided by the card's temperature, {temperature}").format(temperature=f"{temperature:.2f}")
    )
    if result.story is SliceStory.EVIDENCE:
        return [
            _(
                "The model reads {slices} slices, {order} in its last unit. A bar is what a slice added to the model's"
                " logit, given the slices read before it."
            ).format(slices=slices, order=wording.reading_order(result)),
            _(
                "Nothing is left out: the bias ({bias}) and all bars sum to the logit ({logit}), whose sigmoid is the"
                " probability, {percent}. The running probability is what the model would have said had the reading"
                " stopped there."
            ).format(bias=bias, logit=logit, percent=percent),
        ]
    if result.story is SliceStory.PROBABILITY:
        return [
            _(
                "The model reads {slices} slices, each by itself and in no order. A bar is the probability that it"
                " gives the slice; it was never told which slices of a CT hold disease."
            ).format(slices=slices),
            _(
                "The slices' probabilities are pooled ({pooling}){divided}: the probability of the CT is {percent}. In"
                " each slice the bias ({bias}) and the coloured cells sum to the logit of its own probability."
            ).format(pooling=wording.architecture(result.model), divided=divided, percent=percent, bias=bias),
        ]
    if result.story is SliceStory.WEIGHT:
        return [
            _(
                "The model reads {slices} slices, each by itself and in no order. The attention weights sum to 1; a"
                " weight says how much a slice counts and is not evidence: a slice may count much and speak against"
                " emphysema."
            ).format(slices=slices),
            _(
                "The weighted mean of the slices' own logits{divided} is the logit ({logit}), whose sigmoid is the"
                " probability, {percent}. The bias ({bias}) and all coloured cells sum to the same logit."
            ).format(divided=divided, logit=logit, percent=percent, bias=bias),
        ]
    if result.evidence is not None:
        return [
            _("This model reads the volume as a whole and tells nothing slice by slice."),
            _(
                "The bias ({bias}) and all coloured cells sum to the logit ({logit}), whose sigmoid is the probability,"
                " {percent}. A cell stands for a slab of many slices."
            ).format(bias=bias, logit=logit, percent=percent),
        ]
    return [
        _(
            "This model reads no picture, only densitometry of both lungs ({architecture}); it tells nothing slice by"
            " slice. Its logit is {logit}, whose sigmoid is the probability, {percent}."
        ).format(architecture=wording.architecture(result.model), logit=logit, percent=percent)
    ]


def _weight(value: float) -> str:
    return f"{value:.3f}"
