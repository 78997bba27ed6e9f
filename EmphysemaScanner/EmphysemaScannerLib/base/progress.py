"""How long work says how far it is; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Told the share done (0 to 1) and the stage; raise ``ScanCancelled`` from it to stop the work."""


def silent(fraction: float, stage: str) -> None:
    """Says nothing."""


def part(progress: Progress, low: float, high: float) -> Progress:
    """A part of a longer progress, from one share to another."""
    return lambda share, stage: progress(low + (high - low) * share, stage)
