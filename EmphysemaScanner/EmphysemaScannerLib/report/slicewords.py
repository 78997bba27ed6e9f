"""What a model gives for single slices, in words: one class for each type of ``ScanResult.slices``.

Terminal, report and window take their words from here.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..ct.grid import area_average
from ..i18n import tr as _
from ..models.preprocessing import Field
from ..scan.result import ScanResult, SliceEvidence, SliceMeasure, SliceProbabilities, SliceWeights
from . import wording

_COLUMNS = {
    SliceMeasure.EVIDENCE: _("Evidence (logit)"),
    SliceMeasure.RUNNING_PROBABILITY: _("Running probability"),
    SliceMeasure.WEIGHT: _("Attention weight"),
    SliceMeasure.PROBABILITY: _("Slice probability"),
    SliceMeasure.LAA_950: _("LAA%-950 (%)"),
}
_IN_SENTENCES = {
    SliceMeasure.EVIDENCE: _("evidence {value}"),
    SliceMeasure.WEIGHT: _("attention weight {value} (not evidence)"),
    SliceMeasure.PROBABILITY: _("slice probability {value}"),
    SliceMeasure.LAA_950: _("LAA%-950 {value} %"),
}
_IN_PICTURES = {
    SliceMeasure.EVIDENCE: "{value}",
    SliceMeasure.WEIGHT: _("weight {value}"),
    SliceMeasure.PROBABILITY: "{value}",
    SliceMeasure.LAA_950: _("LAA%-950 {value} %"),
}
_LEVEL = _("Bars are placed at the level of their slice.")
_INDEPENDENT = _("LAA%-950 is measured independently of the model.")


class SliceWords:
    """The words for a result; what is here holds where the model has no output by slice.

    Args:
        result: the result.

    Attributes:
        columns: figures in the window's table of slices.
        figures: figures in sentences about a slice; the first is also in the pictures.
        explanation: what the model gives for each slice, in a sentence; empty for evidence.
        highest: the mark of the most influential slice in a picture.
        corner: the figure in the corner of a picture.
        chart_title: over the chart by slice.
        chart_caption: below it.
        ranking: a sentence with the most influential slices; empty where the model ranks none.
        separator: of the slices in that sentence.
        cells: what the coloured cells are; empty where none are drawn.
        position: the window's sentence about the slice that is shown.
    """

    columns: ClassVar[tuple[SliceMeasure, ...]] = (SliceMeasure.LAA_950,)
    figures: ClassVar[tuple[SliceMeasure, ...]] = (SliceMeasure.LAA_950,)
    explanation = _("This model has no output by slice; LAA%-950 is measured independently of it.")
    highest = _("highest LAA%-950")
    corner = _("LAA%-950 of the slice, measured independently of the model")
    chart_title = _("Density by slice")
    chart_caption = f"{_LEVEL} {explanation}"
    ranking = ""
    separator = "; "
    cells = _(
        "They are the terms of the network's last layer, whose receptive field is much wider than a cell; they do not"
        " outline disease."
    )
    position = _("S {position} mm: {what}; slice {number} of {slices} from the top")

    def __init__(self, result: ScanResult) -> None:
        self.result = result

    def table(self) -> dict[str, list[str]]:
        """The figures of all slices, in reading order, by the title of their column."""
        by_slice = self.result.by_slice
        return {_COLUMNS[measure]: [_value(measure, v) for v in by_slice[measure]] for measure in self.columns}

    def of_slice(self, k: int) -> str:
        """The figures of the slice at place ``k`` of the sequences, as part of a sentence."""
        by_slice = self.result.by_slice
        return ", ".join(_IN_SENTENCES[m].format(value=_value(m, by_slice[m][k])) for m in self.figures)

    def short(self, k: int) -> str:
        """The same, in a corner of a small picture."""
        measure = self.figures[0]
        return _IN_PICTURES[measure].format(value=_value(measure, self.result.by_slice[measure][k]))

    def where(self, position_mm: float, k: int) -> str:
        """The slice that is shown.

        Args:
            position_mm: RAS S of the view.
            k: place of the nearest slice in the sequences.
        """
        count = len(self.result.slice_indices)
        return self.position.format(position=f"{position_mm:.0f}", what=self.of_slice(k), number=k + 1, slices=count)

    def how_to_read(self) -> list[str]:
        """How the map and the figures by slice are to be read, a sentence or two each."""
        result, sentences = self.result, self.sums()
        if self.ranking:
            ranked = [f"S {result.slice_positions_mm[k]:.0f} mm ({self.short(k)})" for k in result.telling_slices(3)]
            sentences.append(self.ranking.format(slices=self.separator.join(ranked)))
        if result.evidence is not None and self.cells:
            cell = result.evidence.grid.spacing_mm
            coarse = _("The coloured cells are coarse ({across} x {down} mm, smoothed for display).").format(
                across=wording.number(cell[2], 0), down=wording.number(cell[1], 0)
            )
            sentences.append(f"{coarse} {self.cells}")
        return sentences

    def sums(self) -> list[str]:
        """What adds up to the answer, and how."""
        if self.result.evidence is None:
            return [
                _(
                    "This model reads no image, only densitometry of both lungs ({architecture}), and has no output by"
                    " slice. Its logit is {logit}, whose sigmoid is the probability, {percent}."
                ).format(architecture=wording.architecture(self.result.model), **self._numbers())
            ]
        return [
            _("This model reads the volume as a whole and has no output by slice."),
            _(
                "The bias ({bias}) and all coloured cells sum to the logit ({logit}), whose sigmoid is the probability,"
                " {percent}. A cell stands for a slab of many slices."
            ).format(**self._numbers()),
        ]

    def _numbers(self) -> dict[str, str]:
        """The numbers of the answer, as they stand in sentences."""
        result = self.result
        temperature = result.model.temperature
        divided = _(" and divided by the card's temperature, {temperature}").format(temperature=f"{temperature:.2f}")
        return {
            "slices": str(len(result.slice_indices)),
            "bias": f"{result.bias:+.2f}",
            "logit": f"{result.logit:+.2f}",
            "percent": wording.percent(result.probability),
            "divided": "" if temperature == 1 else divided,
        }


class EvidenceWords(SliceWords):
    """Words for ``SliceEvidence``."""

    columns = (SliceMeasure.EVIDENCE, SliceMeasure.RUNNING_PROBABILITY)
    figures = (SliceMeasure.EVIDENCE,)
    explanation = ""
    highest = _("strongest")
    corner = _("what the slice added to the logit")
    chart_title = _("Evidence by slice")
    chart_caption = _(
        "Bars are placed at the level of their slice; the arrow shows the order in which the slices are read."
        " LAA%-950 is measured independently of the model."
    )
    ranking = _("Most influential slices: {slices}.")
    separator = ", "
    cells = ""
    position = _("S {position} mm: {what}, read as slice {number} of {slices}")

    def sums(self) -> list[str]:
        """Bias and evidence."""
        return [
            _(
                "The model reads {slices} slices, {order} in its last unit. Each bar is the change of the model's logit"
                " at that slice, given the slices read before it."
            ).format(order=wording.reading_order(self.result), **self._numbers()),
            _(
                "Bias ({bias}) and bars sum exactly to the logit ({logit}), whose sigmoid is the probability,"
                " {percent}. The running probability is the estimate had reading stopped at that slice."
            ).format(**self._numbers()),
            _("Evidence says when, in the order of reading, the answer arose; it does not say where disease is."),
        ]


class ProbabilityWords(SliceWords):
    """Words for ``SliceProbabilities``."""

    columns = (SliceMeasure.PROBABILITY, SliceMeasure.LAA_950)
    figures = (SliceMeasure.PROBABILITY,)
    explanation = _("This model estimates a probability for each slice separately and pools them.")
    highest = _("highest")
    corner = _("the slice probability")
    chart_title = _("Evidence by slice")
    chart_caption = f"{_LEVEL} {explanation} {_INDEPENDENT}"
    ranking = _("Slices with the highest values: {slices}.")

    def sums(self) -> list[str]:
        """Pooled probabilities."""
        return [
            _(
                "The model reads {slices} slices separately and in no order. Each bar is the probability of a slice; in"
                " training, only the whole CT was labelled, not its slices."
            ).format(**self._numbers()),
            _(
                "The slice probabilities are pooled ({pooling}){divided}: the probability of the CT is {percent}. In"
                " each slice the bias ({bias}) and the coloured cells sum to the logit of the slice probability."
            ).format(pooling=wording.architecture(self.result.model), **self._numbers()),
        ]


class WeightWords(SliceWords):
    """Words for ``SliceWeights``."""

    columns = (SliceMeasure.WEIGHT, SliceMeasure.PROBABILITY, SliceMeasure.LAA_950)
    figures = (SliceMeasure.WEIGHT, SliceMeasure.PROBABILITY)
    explanation = _(
        "This model gives each slice an attention weight: how strongly the slice is weighted, not whether it shows"
        " emphysema (see the slice probability)."
    )
    highest = _("largest weight")
    corner = _("the attention weight of the slice (not evidence)")
    chart_title = _("Evidence by slice")
    chart_caption = f"{_LEVEL} {explanation} {_INDEPENDENT}"
    ranking = _("Slices with the highest values: {slices}.")

    def sums(self) -> list[str]:
        """The weighted mean."""
        return [
            _(
                "The model reads {slices} slices separately and in no order. The attention weights sum to 1. A weight"
                " is not evidence: a slice with a large weight may show no emphysema."
            ).format(**self._numbers()),
            _(
                "The weighted mean of the slice logits{divided} is the logit ({logit}), whose sigmoid is the"
                " probability, {percent}. The bias ({bias}) and all coloured cells sum to the same logit."
            ).format(**self._numbers()),
        ]


_WORDS: dict[type, type[SliceWords]] = {
    SliceEvidence: EvidenceWords,
    SliceProbabilities: ProbabilityWords,
    SliceWeights: WeightWords,
    type(None): SliceWords,
}


def slice_words(result: ScanResult) -> SliceWords:
    """The words for what a result has by slice."""
    return _WORDS[type(result.slices)](result)


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
    bare = _("Each picture beside the bare CT; patient's right on the left; thin yellow line: the lung mask.")
    corner = _("Upper right of each axial picture: {what}.").format(what=slice_words(result).corner)
    known, weights = result.model.disease_map, result.model.class_weights
    if result.disease is not None and known is not None:
        disease = _(
            "Coloured: places that the model's disease map marks, at which disease is at least {floor} probable by its"
            " estimate. The colours mean the same in every CT."
        ).format(floor=wording.percent(known.floor))
        return f"{bare} {disease} {corner}"
    if result.class_activations and weights is not None:
        unit = weights.units[0]
        response = _(
            "Coloured: class-weighted activation of unit {unit} from {floor} on; 0 is the mean of healthy lungs, 1 the"
            " strongest lung of the cases that the range comes from. It points to what raised the model's answer and"
            " does not outline disease. The colours mean the same in every CT."
        ).format(unit=unit.unit, floor=f"{unit.floor:.2f}")
        return f"{bare} {response} {corner}"
    if result.evidence is None or isinstance(result.slices, SliceEvidence):
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


def _value(measure: SliceMeasure, figure: float) -> str:
    """A figure with its digits."""
    if measure is SliceMeasure.EVIDENCE:
        return f"{figure:+.2f}"
    if measure is SliceMeasure.WEIGHT:
        return f"{figure:.3f}"
    if measure is SliceMeasure.LAA_950:
        return wording.number(figure, 1)
    return wording.percent(figure)
