"""What is known of single slices, in words: one wording for the terminal, the report and the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..ct.grid import area_average
from ..i18n import tr as _
from ..models.modelcard import SliceStory
from ..models.preprocessing import Field
from . import wording

if TYPE_CHECKING:
    from ..scan.result import ScanResult


def columns(result: ScanResult) -> dict[str, list[str]]:
    """What is known of each slice as columns of a table, by title, in reading order."""
    known: dict[str, list[str]] = {}
    if result.slice_evidence is not None:
        known[_("Evidence (logit)")] = [f"{value:+.2f}" for value in result.slice_evidence]
    if result.running_probability is not None:
        known[_("Running probability")] = [wording.percent(float(p)) for p in result.running_probability]
        return known
    if result.slice_weight is not None:
        known[_("Attention weight")] = [_weight(value) for value in result.slice_weight]
    if result.slice_probability is not None:
        known[_("Slice probability")] = [wording.percent(float(p)) for p in result.slice_probability]
    known[_("LAA%-950 (%)")] = [wording.number(float(share), 1) for share in result.laa_950_by_slice_percent]
    return known


def of_slice(result: ScanResult, k: int) -> str:
    """What is known of the slice at place ``k`` of the sequences, as part of a sentence."""
    if result.slice_evidence is not None:
        return _("evidence {evidence}").format(evidence=f"{result.slice_evidence[k]:+.2f}")
    parts = []
    if result.slice_weight is not None:
        parts.append(_("attention weight {weight} (not evidence)").format(weight=_weight(result.slice_weight[k])))
    if result.slice_probability is not None:
        percent = wording.percent(float(result.slice_probability[k]))
        parts.append(_("slice probability {percent}").format(percent=percent))
    laa = wording.number(float(result.laa_950_by_slice_percent[k]), 1)
    return ", ".join(parts) or _("LAA%-950 {percent} %").format(percent=laa)


def short(result: ScanResult, k: int) -> str:
    """The same, in a corner of a small picture."""
    if result.slice_evidence is not None:
        return f"{result.slice_evidence[k]:+.2f}"
    if result.slice_weight is not None:
        return _("weight {weight}").format(weight=_weight(result.slice_weight[k]))
    if result.slice_probability is not None:
        return wording.percent(float(result.slice_probability[k]))
    return _("LAA%-950 {percent} %").format(percent=wording.number(float(result.laa_950_by_slice_percent[k]), 1))


def most(result: ScanResult) -> str:
    """What marks the most influential slice in a picture."""
    return {
        SliceStory.EVIDENCE: _("strongest"),
        SliceStory.PROBABILITY: _("highest"),
        SliceStory.WEIGHT: _("largest weight"),
        SliceStory.NONE: _("highest LAA%-950"),
    }[result.story]


def story(result: ScanResult) -> str:
    """What a model without evidence by slice gives for each slice, in a sentence; empty for one with it."""
    return {
        SliceStory.EVIDENCE: "",
        SliceStory.PROBABILITY: _("This model estimates a probability for each slice separately and pools them."),
        SliceStory.WEIGHT: _(
            "This model gives each slice an attention weight: how strongly the slice is weighted, not whether it shows"
            " emphysema (see the slice probability)."
        ),
        SliceStory.NONE: _("This model has no output by slice; LAA%-950 is measured independently of it."),
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
        return _("Densitometry of both lungs (the model's input)")
    return _("Densitometry of both lungs, independent of the model")


def map_caption(result: ScanResult) -> str:
    """What the pictures of the CT show."""
    ct = _("CT in a lung window, patient's right on the left; thin yellow line: the lung mask.")
    corner = {
        SliceStory.EVIDENCE: _("what the slice added to the logit"),
        SliceStory.PROBABILITY: _("the slice probability"),
        SliceStory.WEIGHT: _("the attention weight of the slice (not evidence)"),
        SliceStory.NONE: _("LAA%-950 of the slice, measured independently of the model"),
    }[result.story]
    corner = _("Upper right of each axial picture: {what}.").format(what=corner)
    if result.evidence is None:
        return f"{ct} {corner}"
    colours = _(
        "Orange: evidence for emphysema; blue: against it. Colours are drawn inside the lungs only ({share} of the"
        " absolute evidence lies outside the lungs and is not shown)."
    ).format(share=wording.percent(undrawn_share(result)))
    return f"{ct} {colours} {corner}"


def undrawn_share(result: ScanResult) -> float:
    """Share (0 to 1) of the absolute evidence in cells that hold no lung and are therefore in no picture."""
    if result.evidence is None:
        return 0.0
    size = np.abs(result.evidence.values).astype(float)
    lung = area_average(result.lung_fraction.values, result.evidence.grid.shape)
    return float(size[lung == 0].sum() / size.sum()) if size.sum() > 0 else 0.0


def chart_caption(result: ScanResult) -> str:
    """What the chart by slice shows."""
    level = _("Bars are placed at the level of their slice.")
    laa = "" if result.slice_story is None else _("LAA%-950 is measured independently of the model.")
    if result.story is SliceStory.EVIDENCE:
        return _(
            "Bars are placed at the level of their slice; the arrow shows the order in which the slices are read."
            " LAA%-950 is measured independently of the model."
        )
    return " ".join(part for part in (level, story(result), laa) if part)


def how_to_read(result: ScanResult) -> list[str]:
    """How the map and the figures by slice are to be read, a sentence or two each."""
    sentences = _sums(result)
    if result.slice_story is not None:
        slices = "; ".join(
            f"S {result.slice_positions_mm[k]:.0f} mm ({short(result, k)})" for k in result.telling_slices(3)
        )
        if result.slice_evidence is not None:
            sentences.append(_("Most influential slices: {slices}.").format(slices=slices.replace(";", ",")))
        else:
            sentences.append(_("Slices with the highest values: {slices}.").format(slices=slices))
    if result.evidence is not None:
        cell = result.evidence.grid.spacing_mm
        across, down = wording.number(cell[2], 0), wording.number(cell[1], 0)
        coarse = _("The coloured cells are coarse ({across} x {down} mm, smoothed for display).")
        meaning = (
            _("They show when and roughly where the estimate changed; they do not outline disease.")
            if result.slice_evidence is not None
            else _(
                "They are the terms of the network's last layer, whose receptive field is much wider than a cell; they"
                " do not outline disease."
            )
        )
        sentences.append(f"{coarse.format(across=across, down=down)} {meaning}")
    return sentences


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
                "The model reads {slices} slices, {order} in its last unit. Each bar is the change of the model's logit"
                " at that slice, given the slices read before it."
            ).format(slices=slices, order=wording.reading_order(result)),
            _(
                "Bias ({bias}) and bars sum exactly to the logit ({logit}), whose sigmoid is the probability,"
                " {percent}. The running probability is the estimate had reading stopped at that slice."
            ).format(bias=bias, logit=logit, percent=percent),
        ]
    if result.story is SliceStory.PROBABILITY:
        return [
            _(
                "The model reads {slices} slices separately and in no order. Each bar is the probability of a slice; in"
                " training, only the whole CT was labelled, not its slices."
            ).format(slices=slices),
            _(
                "The slice probabilities are pooled ({pooling}){divided}: the probability of the CT is {percent}. In"
                " each slice the bias ({bias}) and the coloured cells sum to the logit of the slice probability."
            ).format(pooling=wording.architecture(result.model), divided=divided, percent=percent, bias=bias),
        ]
    if result.story is SliceStory.WEIGHT:
        return [
            _(
                "The model reads {slices} slices separately and in no order. The attention weights sum to 1. A weight"
                " is not evidence: a slice with a large weight may show no emphysema."
            ).format(slices=slices),
            _(
                "The weighted mean of the slice logits{divided} is the logit ({logit}), whose sigmoid is the"
                " probability, {percent}. The bias ({bias}) and all coloured cells sum to the same logit."
            ).format(divided=divided, logit=logit, percent=percent, bias=bias),
        ]
    if result.evidence is not None:
        return [
            _("This model reads the volume as a whole and has no output by slice."),
            _(
                "The bias ({bias}) and all coloured cells sum to the logit ({logit}), whose sigmoid is the probability,"
                " {percent}. A cell stands for a slab of many slices."
            ).format(bias=bias, logit=logit, percent=percent),
        ]
    return [
        _(
            "This model reads no image, only densitometry of both lungs ({architecture}), and has no output by slice."
            " Its logit is {logit}, whose sigmoid is the probability, {percent}."
        ).format(architecture=wording.architecture(result.model), logit=logit, percent=percent)
    ]


def _weight(value: float) -> str:
    return f"{value:.3f}"
