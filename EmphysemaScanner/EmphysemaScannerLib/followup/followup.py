"""A follow-up: figures over time, and where density changed."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.progress import Progress, silent
from ..lungs.registration import RegistrationError
from .changemap import ChangeMap, change_map
from .comparison import Course


@dataclass(frozen=True, eq=False)
class FollowUp:
    """CTs of one patient over time.

    Attributes:
        course: figures, changes and what differs beside the lungs.
        maps: change of density of each later CT against the first, in their order; without those that failed.
        problems: why a map is missing, as sentences.
    """

    course: Course
    maps: tuple[ChangeMap, ...] = ()
    problems: tuple[str, ...] = ()


def with_maps(course: Course, progress: Progress = silent) -> FollowUp:
    """Add the change maps. Where two CTs cannot be registered, the figures stay and a sentence states why.

    Args:
        course: the CTs.
        progress: told the share done and the stage; whatever it raises ends the work.
    """
    maps, problems = [], []
    count = len(course.comparisons)
    for k, comparison in enumerate(course.comparisons):

        def part(share: float, stage: str, start: int = k) -> None:
            progress((start + share) / count, stage)

        try:
            maps.append(change_map(comparison, part))
        except RegistrationError as error:
            problems.append(f"{comparison.later.taken.isoformat()}: {error}")
    progress(1.0, "")
    return FollowUp(course, tuple(maps), tuple(problems))
