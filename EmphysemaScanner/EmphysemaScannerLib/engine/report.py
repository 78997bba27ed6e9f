"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import io
from datetime import datetime, timezone

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure

from .. import __version__
from . import slicewords, wording
from .case import Case
from .chart import slice_chart
from .montage import overlay_montage, undrawn_share

REGIONS = ("whole", "right", "left", "upper", "middle", "lower")


def render_report(case: Case) -> str:
    """The page as HTML text: pictures as data URIs, no link that must be followed, every inserted text escaped.

    It names the CT as ``result.source`` does and nothing else about the patient.
    """
    environment = Environment(
        loader=PackageLoader("EmphysemaScannerLib.engine"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=wording.percent, number=wording.number)
    result = case.result
    return environment.get_template("report.html.j2").render(
        case=case,
        result=result,
        card=result.model,
        verdict=wording.verdict(result),
        caution=wording.caution(result.model),
        architecture=wording.architecture(result.model),
        research_use=wording.RESEARCH_USE,
        reads=slicewords.reads(result),
        densitometry_title=slicewords.densitometry_title(result),
        map_caption=slicewords.map_caption(result, undrawn_share(result)),
        chart_caption=slicewords.chart_caption(result),
        how_to_read=slicewords.how_to_read(result),
        images=wording.images(result.provenance),
        region_names=wording.REGION_NAMES,
        regions=[name for name in REGIONS if name in result.densitometry],
        montage=_data_uri(overlay_montage(case), "png"),
        chart=_data_uri(slice_chart(case), "svg"),
        version=__version__,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _data_uri(figure: Figure, kind: str) -> str:
    buffer = io.BytesIO()
    # Without a creation date the same scan gives the same bytes.
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "emphysema-scanner"}):
        figure.savefig(buffer, format=kind, metadata=metadata)
    mime = {"png": "image/png", "svg": "image/svg+xml"}[kind]
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
