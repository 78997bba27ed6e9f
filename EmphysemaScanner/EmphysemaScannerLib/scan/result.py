"""The result of a scan: the one object that window, console, command line and report read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ..ct.grid import Grid
from ..ct.provenance import UNKNOWN, Provenance
from ..lungs.coverage import Coverage
from ..lungs.densitometry import Densitometry
from ..lungs.expiration import ExpiratoryPair
from ..lungs.measurements import Measurements
from ..lungs.regions import OWN, Origin
from ..models.modelcard import ModelCard
from .call import Call, decide, withheld_because
from .manifest import RunManifest


@dataclass(frozen=True)
class OverlayMap:
    """A map over the CT.

    Attributes:
        values: (slices, rows, columns), inferior to superior; float32, labels uint8.
        grid: where the values lie.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    grid: Grid


class SliceMeasure(Enum):
    """A figure of each slice, by the names that files and scenes hold.

    Attributes:
        key: in ``result.json``.
        column: in ``slices.csv``.
        title: in the tables of a scene.
    """

    EVIDENCE = ("slice_evidence", "evidence", "Evidence (logit)")
    RUNNING_LOGIT = ("running_logit", "running_logit", "Running logit")
    RUNNING_PROBABILITY = ("running_probability", "running_probability", "Running probability")
    WEIGHT = ("slice_weight", "attention_weight", "Attention weight (not evidence)")
    PROBABILITY = ("slice_probability", "slice_probability", "Probability of this slice by itself")
    LAA_950 = ("laa_950_by_slice_percent", "laa_950_percent", "LAA%-950")

    def __init__(self, key: str, column: str, title: str) -> None:
        self.key, self.column, self.title = key, column, title


SliceFigures = dict[SliceMeasure, NDArray[np.float64]]
"""(slices,) each, in reading order; slices are ranked by the first."""


@dataclass(frozen=True)
class SliceEvidence:
    """What each slice added to the logit.

    ``bias + cumsum(evidence) == running_logit`` and ``running_logit[-1] == logit``.

    Attributes:
        evidence: (slices,) what this slice added to the logit, given the slices read before it.
        running_logit: (slices,) the logit if the scan had stopped after this slice.
    """

    evidence: NDArray[np.float64]
    running_logit: NDArray[np.float64]

    @property
    def running_probability(self) -> NDArray[np.float64]:
        """(slices,) sigmoid of the running logit."""
        # Not scipy's expit: Slicer reads this file at its start.
        probability: NDArray[np.float64] = np.exp(-np.logaddexp(0, -self.running_logit))
        return probability

    @property
    def figures(self) -> SliceFigures:
        """Evidence, running logit and running probability."""
        return {
            SliceMeasure.EVIDENCE: self.evidence,
            SliceMeasure.RUNNING_LOGIT: self.running_logit,
            SliceMeasure.RUNNING_PROBABILITY: self.running_probability,
        }


@dataclass(frozen=True)
class SliceProbabilities:
    """The probability of each slice by itself; pooled, and its logit divided by the temperature, it gives the logit.

    The temperature was learned from whole volumes, for which there are labels. A slice's own probability is therefore
    the network's, without temperature.

    Attributes:
        probability: (slices,) 0 to 1, of this slice by itself.
    """

    probability: NDArray[np.float64]

    @property
    def figures(self) -> SliceFigures:
        """The probabilities."""
        return {SliceMeasure.PROBABILITY: self.probability}


@dataclass(frozen=True)
class SliceWeights:
    """How much each slice counts; not evidence.

    The mean of the logits of ``probability``, so weighted and divided by the temperature, is the logit.

    Attributes:
        weight: (slices,) attention weights, positive, of sum 1.
        probability: (slices,) 0 to 1, of this slice by itself, without temperature as in ``SliceProbabilities``.
    """

    weight: NDArray[np.float64]
    probability: NDArray[np.float64]

    @property
    def figures(self) -> SliceFigures:
        """Weights and probabilities."""
        return {SliceMeasure.WEIGHT: self.weight, SliceMeasure.PROBABILITY: self.probability}


Slices = SliceEvidence | SliceProbabilities | SliceWeights
"""What a model gives for each slice. A further type has ``figures``, too, and its words in ``report.slicewords``."""


@dataclass(frozen=True)
class ScanResult:
    """The answer of one model on one CT.

    Sequences over slices are in **reading order**, superior to inferior. Maps are in space (inferior to superior).
    ``slice_positions_mm`` and ``slice_indices`` are the place of each element of a sequence.

    Attributes:
        probability: of emphysema, 0 to 1, sigmoid of the logit.
        logit: the network's output before the sigmoid, divided by the card's temperature.
        bias: what the network's sum starts from: the running logit before the first slice is read.
        slices: what the model gives for each slice; None for a model without output by slice.
        slice_positions_mm: (slices,) RAS S coordinate of the slice's centre, mm.
        slice_indices: (slices,) index of the slice along the maps' first axis.
        evidence: the terms of the network's last layer by place, on slices of its input, (slices, 8, 8): map and
            ``bias`` sum to the logit, with ``evidence.values[k].sum()`` that slice's evidence under ``SliceEvidence``.
            Under ``SliceProbabilities``, the terms of a slice and ``bias`` sum to the logit of its own probability.
            None for a model that reads no volume.
        activations: root mean square of the hidden state over channels, by unit: "asc1", "desc1", "asc2", "desc2".
        class_activations: hidden states summed over channels with the card's class weights, by unit; empty for a model
            without class weights.
        disease: probability of disease in each voxel of the network's input grid, 0 to 1, also outside the lungs; None
            for a model without a disease map.
        disease_extent_percent: share of the lung that is diseased by the disease map, by region as ``densitometry``:
            the sum of the probabilities that reach the model's floor; empty for a model without a disease map.
        evidence_share_percent: share of the evidence towards emphysema, by region as ``densitometry``, of that in both
            lungs; empty for a model without evidence by place.
        low_density: share of the lung below -950 HU in each voxel of the network's grid, where the disease map weighs
            it; None otherwise.
        lungs_from: whose lung mask it is.
        lobes_from: whose lobes; None where none were given.
        lung_mask: uint8 on the CT's canonical grid: 0 outside, 1 the patient's right lung, 2 the left.
        lung_fraction: share of lung in each voxel of the network's input grid, 0 to 1.
        densitometry: by region: "whole", "left", "right", "upper", "middle", "lower", and the lobes that were given, by
            their names in ``regions.Region``.
        laa_950_by_slice_percent: (slices,) LAA%-950 within each slice of the grid, in reading order; NaN without lung.
        coverage: how much of the lungs is not in the CT.
        warnings: sentences about doubtful input, most important first.
        model: the card of the model that answered.
        timings_s: seconds by stage.
        source: what was scanned, as the user named it (file or node name).
        provenance: the series that was read and what was left out.
        run: what the result came from; None in a record of an earlier version.
        measurements: what was measured beside ``densitometry``.
        lobe_mask: uint8 on the grid of ``lung_mask``: 0, or the place of the lobe in ``regions.LOBES`` from 1; None
            without lobes.
        expiration: what a second CT of the patient, in expiration, tells; None if none was given.
    """

    probability: float
    logit: float
    bias: float
    slices: Slices | None
    slice_positions_mm: NDArray[np.float64]
    slice_indices: NDArray[np.int64]
    evidence: OverlayMap | None
    activations: dict[str, OverlayMap]
    lung_mask: OverlayMap
    lung_fraction: OverlayMap
    densitometry: dict[str, Densitometry]
    laa_950_by_slice_percent: NDArray[np.float64]
    coverage: Coverage
    warnings: tuple[str, ...]
    model: ModelCard
    timings_s: dict[str, float] = field(default_factory=dict)
    source: str = ""
    provenance: Provenance = UNKNOWN
    class_activations: dict[str, OverlayMap] = field(default_factory=dict)
    disease: OverlayMap | None = None
    disease_extent_percent: dict[str, float] = field(default_factory=dict)
    run: RunManifest | None = None
    evidence_share_percent: dict[str, float] = field(default_factory=dict)
    low_density: OverlayMap | None = None
    lungs_from: Origin = OWN
    lobes_from: Origin | None = None
    measurements: Measurements = field(default_factory=Measurements)
    lobe_mask: OverlayMap | None = None
    expiration: ExpiratoryPair | None = None

    @property
    def by_slice(self) -> SliceFigures:
        """All figures of slices: the model's, then LAA%-950, which is measured independently of it."""
        given = {} if self.slices is None else self.slices.figures
        return {**given, SliceMeasure.LAA_950: self.laa_950_by_slice_percent}

    @property
    def call(self) -> Call:
        """Positive, negative, or none where a negative call is withheld."""
        return decide(self.probability, self.model.operating_point.probability, self.coverage)

    @property
    def call_reason(self) -> str:
        """Why no call is made, as a sentence; empty where one is made."""
        return withheld_because(self.coverage) if self.call is Call.NONE else ""

    def telling_slices(self, count: int) -> list[int]:
        """Places in the sequences of the most influential slices: the largest |evidence|, probability or weight first.

        Where the model gives nothing by slice, the largest LAA%-950, which is measured independently of it.

        Args:
            count: how many; fewer are given where the scan has fewer.
        """
        values = np.nan_to_num(next(iter(self.by_slice.values())))
        order = np.argsort(-np.abs(values), kind="stable")  # of equals, the one read first
        return [int(k) for k in order[: max(count, 0)]]
