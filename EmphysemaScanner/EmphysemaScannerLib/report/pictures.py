"""The pictures of a report as files."""

from __future__ import annotations

import functools
import io

from matplotlib import rc_context
from matplotlib.figure import Figure

from .blocks import Drawing
from .chart import slice_chart
from .contents import Case
from .densitychart import density_chart
from .montage import overlay_montage
from .responsepicture import response_picture

Drawn = dict[Drawing, tuple[str, bytes]]
"""Drawings with the kind of file, "png" or "svg", and its contents."""


@functools.lru_cache(maxsize=1)  # the page and the PDF of a case are written one after the other
def draw(case: Case) -> Drawn:
    """Every drawing; the same case gives the same bytes."""
    drawn = {
        Drawing.MAP: ("png", as_file(overlay_montage(case), "png")),
        Drawing.CHART: ("svg", as_file(slice_chart(case), "svg")),
    }
    if case.result.measurements.histograms:
        drawn[Drawing.DENSITY] = ("svg", as_file(density_chart(case.result), "svg"))
    pair = case.result.expiration
    if pair is not None and pair.response is not None:
        drawn[Drawing.RESPONSE] = ("png", as_file(response_picture(case), "png"))
    return drawn


def as_file(figure: Figure, kind: str) -> bytes:
    """A figure as the contents of a file, "png" or "svg"; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "emphysema-scanner"}):
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
