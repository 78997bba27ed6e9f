"""The paper's Table 1: what its authors measured on NLST."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFigures:
    """A row of Table 1 of Braman, Beymer and Dehghan (2018).

    Attributes:
        parameters: as the paper counts them.
        auc, sensitivity, specificity: on NLST, at the Youden point.
        f1: as printed; within rounding the harmonic mean of sensitivity and specificity.
    """

    parameters: int
    auc: float
    sensitivity: float
    specificity: float
    f1: float


PUBLISHED = {
    "mil_max": PublishedFigures(1_011_393, 0.69, 0.59, 0.68, 0.63),
    "mil_mean": PublishedFigures(1_011_393, 0.70, 0.76, 0.57, 0.66),
    "mil_product": PublishedFigures(1_011_393, 0.76, 0.61, 0.79, 0.69),
    "cnn3d": PublishedFigures(958_213, 0.77, 0.61, 0.80, 0.69),
    "conv_lstm": PublishedFigures(901_793, 0.83, 0.77, 0.74, 0.75),
}
"""By architecture, in the paper's order."""

SOURCE = (
    "Published rows: N. Braman, D. Beymer, E. Dehghan, Disease detection in weakly annotated volumetric medical images "
    "using a convolutional LSTM network (2018), Table 1, measured by its authors on NLST. They are other people's CTs: "
    "a difference between a published row and the row above it says as much of the data as of the model."
)

CONTRADICTIONS = (
    "The paper contradicts itself in two places: the AUC of its Conv-LSTM is 0.83 in the abstract and in Table 1, and "
    "0.82 in the text of the results; its test set is 2,163 volumes in the text, and 2,219 in the table's caption."
)

F1_NOTE = (
    "The F1 that the paper prints equals, within rounding, the harmonic mean of sensitivity and specificity in all "
    "five rows; the usual F1, the harmonic mean of PPV and sensitivity, would be 0.62 for its Conv-LSTM at its "
    "prevalence of 578 in 2,163. Both are given here, each in its own column."
)
