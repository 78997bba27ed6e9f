"""What a scan says. The window, the console, the command line and the report all read this one object."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from .grid import Grid
from .modelcard import ModelCard


class SliceStory(Enum):
    """What a model can honestly tell of a single slice.

    EVIDENCE: what reading it added to the logit, given the slices read before; all sum to the logit (Conv-LSTM).
    PROBABILITY: the probability of this slice by itself; all are pooled (MIL).
    WEIGHT: how much its features count in the mean that is answered from, which is not evidence (attention).
    NONE: nothing (3D CNN, densitometry).
    """

    EVIDENCE = "evidence"
    PROBABILITY = "probability"
    WEIGHT = "weight"
    NONE = "none"


@dataclass(frozen=True)
class OverlayMap:
    """A map over the CT.

    Attributes:
        values: (slices, rows, columns), inferior to superior; float32, labels uint8.
        grid: where the values lie.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    grid: Grid


@dataclass(frozen=True)
class Densitometry:
    """Classical lung densitometry inside one region of the lung mask.

    Attributes:
        laa_950_percent, laa_910_percent, laa_856_percent: share of lung voxels strictly below -950, -910, -856 HU.
        perc15_hu: 15th percentile of lung density, HU.
        mean_hu, sd_hu: mean and standard deviation, HU.
        volume_l: volume, litres.
        mass_g: tissue mass, grams, from density 1 + HU / 1000 g/ml, not below 0.
    """

    laa_950_percent: float
    laa_910_percent: float
    laa_856_percent: float
    perc15_hu: float
    mean_hu: float
    sd_hu: float
    volume_l: float
    mass_g: float


@dataclass(frozen=True)
class ScanResult:
    """The answer of one model on one CT.

    Sequences over slices are in **reading order** of the network's last unit (superior to inferior), so
    ``bias + cumsum(slice_evidence) == running_logit`` and ``running_logit[-1] == logit``. Maps are in space
    (inferior to superior). ``slice_positions_mm`` and ``slice_indices`` say where each element of a sequence lies.

    Attributes:
        probability: of emphysema, 0 to 1, sigmoid of the logit.
        logit: the network's output before the sigmoid.
        bias: the running logit before the first slice is read.
        running_logit: (slices,) the logit if the scan had stopped after this slice.
        slice_evidence: (slices,) what this slice added to the logit, given the slices read before it.
        slice_positions_mm: (slices,) RAS S coordinate of the slice's centre, mm.
        slice_indices: (slices,) index of the slice along the maps' first axis.
        evidence: what each slice added to the logit at each place of the fourth unit's grid, (slices, 8, 8):
            ``evidence.values[k].sum()`` is that slice's ``slice_evidence``; the map and ``bias`` sum to the logit.
        activations: root mean square of the hidden state over channels, by unit: "asc1", "desc1", "asc2", "desc2".
        lung_mask: uint8 on the CT's canonical grid: 0 outside, 1 the patient's right lung, 2 the left.
        lung_fraction: share of lung in each voxel of the network's input grid, 0 to 1.
        densitometry: by region: "whole", "left", "right", "upper", "middle", "lower".
        laa_950_by_slice_percent: (slices,) LAA%-950 within each slice of the grid, in reading order; NaN without lung.
        warnings: sentences about doubtful input, most important first.
        model: the card of the model that answered.
        timings_s: seconds by stage.
        source: what was scanned, as the user named it (file or node name).
    """

    probability: float
    logit: float
    bias: float
    running_logit: NDArray[np.float64]
    slice_evidence: NDArray[np.float64]
    slice_positions_mm: NDArray[np.float64]
    slice_indices: NDArray[np.int64]
    evidence: OverlayMap
    activations: dict[str, OverlayMap]
    lung_mask: OverlayMap
    lung_fraction: OverlayMap
    densitometry: dict[str, Densitometry]
    laa_950_by_slice_percent: NDArray[np.float64]
    warnings: tuple[str, ...]
    model: ModelCard
    timings_s: dict[str, float] = field(default_factory=dict)
    source: str = ""

    @property
    def running_probability(self) -> NDArray[np.float64]:
        """(slices,) sigmoid of the running logit, in reading order."""
        return 1 / (1 + np.exp(-self.running_logit))

    @property
    def positive(self) -> bool:
        """Whether the probability reaches the model's operating point."""
        return self.probability >= self.model.operating_point.probability

    def telling_slices(self, count: int) -> list[int]:
        """The slices that moved the answer most: places in the sequences, the largest |slice_evidence| first.

        Args:
            count: how many; fewer are given where the scan has fewer.
        """
        order = np.argsort(-np.abs(self.slice_evidence), kind="stable")  # of equals, the one read first
        return [int(k) for k in order[: max(count, 0)]]
