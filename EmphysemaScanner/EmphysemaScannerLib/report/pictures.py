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


@functools.lru_cache(maxsize=1)  # the page and the PDF of a case are written one after the other
def draw(case: Case) -> dict[Drawing, tuple[str, bytes]]:
    """Every drawing with the kind of file, "png" or "svg", and its contents; the same case gives the same bytes."""
    drawn = {
        Drawing.MAP: ("png", _file(overlay_montage(case), "png")),
        Drawing.CHART: ("svg", _file(slice_chart(case), "svg")),
    }
    if case.result.measurements.histograms:
        drawn[Drawing.DENSITY] = ("svg", _file(density_chart(case.result), "svg"))
    return drawn


def _file(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "emphysema-scanner"}):
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
