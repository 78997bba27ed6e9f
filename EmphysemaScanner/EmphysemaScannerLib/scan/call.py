"""Whether a CT is called positive or negative, or may not be called, and whether densitometry contradicts the model."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ..lungs.coverage import Coverage

if TYPE_CHECKING:
    from ..lungs.densitometry import Densitometry

MOST_MISSING_PERCENT = 5.0
"""Of the lungs' height at either end; where more is missing, a CT is not called negative."""
MUCH_LAA_950_PERCENT, LITTLE_LAA_950_PERCENT = 10.0, 0.5


class Call(str, Enum):
    """What a probability means at the model's operating point.

    POSITIVE: the probability reaches the operating point.
    NEGATIVE: it does not, in a CT that holds the whole lungs.
    NONE: it does not, but part of the lungs is not in the CT, and disease may be there.
    """

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NONE = "none"


def decide(probability: float, operating_point: float, coverage: Coverage) -> Call:
    """The call on a CT.

    Args:
        probability: of emphysema, 0 to 1.
        operating_point: the probability at and above which a CT is called positive.
        coverage: how much of the lungs is not in the CT.
    """
    if probability >= operating_point:
        return Call.POSITIVE
    return Call.NONE if _missing(coverage) else Call.NEGATIVE


def withheld_because(coverage: Coverage) -> str:
    """Why no negative call may be made, as a sentence with the figures; empty where it may."""
    missing = _missing(coverage)
    if not missing:
        return ""
    parts = " and ".join(f"the {part}" for part, _, _ in missing)
    first, *more = (f"{percent:.0f} %{{}} at the {end}" for _, end, percent in missing)
    figures = " and ".join([first.format(" of the lungs' height is missing"), *(end.format("") for end in more)])
    return (
        f"No call: {parts} are not in this CT (about {figures}; a negative call allows {MOST_MISSING_PERCENT:.0f} %)."
    )


def contradiction(
    probability: float, operating_point: float, lungs: Densitometry | None, low_density_is_noise: bool
) -> tuple[str, ...]:
    """A warning where model and densitometry point in opposite directions; nothing where they agree.

    Args:
        probability: of emphysema according to the model, 0 to 1.
        operating_point: the probability at and above which a CT is called positive.
        lungs: densitometry of both lungs.
        low_density_is_noise: whether noise or a sharp kernel raises LAA%-950 in this CT.
    """
    if lungs is None:
        return ()
    laa, model = lungs.laa_950_percent, f"{100 * probability:.0f} %"
    if probability < operating_point and laa > MUCH_LAA_950_PERCENT and not low_density_is_noise:
        side, limit = "below", f"above {MUCH_LAA_950_PERCENT:.0f} %, without a sharp kernel or much noise"
    elif probability >= operating_point and laa < LITTLE_LAA_950_PERCENT:
        side, limit = "at or above", f"below {LITTLE_LAA_950_PERCENT:g} %"
    else:
        return ()
    return (
        f"Model and densitometry contradict each other: the probability ({model}) is {side} the operating point "
        f"({100 * operating_point:.0f} %), but LAA%-950 is {laa:.1f} % ({limit}); review the images.",
    )


def _missing(coverage: Coverage) -> list[tuple[str, str, float]]:
    """What is missing too much of: the part of the lungs, the CT's end, percent of the lungs' height."""
    ends = (("apices", "top", coverage.missing_top_percent), ("bases", "bottom", coverage.missing_bottom_percent))
    return [(part, end, percent) for part, end, percent in ends if percent > MOST_MISSING_PERCENT]
