"""What a publication states of a result: the methods sentences, and what it cites."""

from __future__ import annotations

from .. import __version__
from ..i18n import tr as _
from ..scan.result import ScanResult
from . import slicewords, wording

METHOD_REFERENCE = (
    "N. Braman, D. Beymer, E. Dehghan. Disease detection in weakly annotated volumetric medical images using a "
    "convolutional LSTM network. Machine Learning for Health (ML4H) Workshop at NeurIPS, 2018. arXiv:1812.01087."
)

RESPONSE_REFERENCE = (
    "C. J. Galbán, M. K. Han, J. L. Boes, et al. Computed tomography-based biomarker provides unique signature for "
    "diagnosis of COPD phenotypes and disease progression. Nature Medicine 2012;18:1711-1715."
)


def software_reference(version: str = __version__) -> str:
    """The reference to a version of this software, as ``CITATION.cff`` states it."""
    return f"The EmphysemaScanner contributors. EmphysemaScanner, version {version}. Apache License 2.0."


def references(result: ScanResult) -> tuple[str, ...]:
    """What a publication of a result cites, beside the sources of the model."""
    mapped = result.expiration is not None and result.expiration.response is not None
    return (METHOD_REFERENCE, *((RESPONSE_REFERENCE,) if mapped else ()), software_reference(_version(result)))


def methods(result: ScanResult) -> str:
    """Sentences for a methods section: software, model, input, operating point, densitometry."""
    card, run = result.model, result.run
    model = card.name
    if run is not None and run.model_sha256:
        model = _("{name}, SHA-256 {sha256}").format(name=card.name, sha256=run.model_sha256)
    scanned = _(
        "Chest CTs were read with EmphysemaScanner {version} (model: {model}). Its {architecture} (Braman et al. 2018)"
        " reads {reads} and estimates the probability of emphysema; CTs with a probability of {point} or more were"
        " called positive. Densitometry was measured at the CT's own resolution inside the lung mask ({mask})."
    ).format(
        version=_version(result),
        model=model,
        architecture=wording.architecture(card),
        reads=slicewords.reads(result),
        mask=wording.mask_origin(result.lungs_from),
        point=f"{card.operating_point.probability:.3f}",
    )
    if result.expiration is None or result.expiration.response is None:
        return scanned
    paired = _(
        "An expiratory CT was registered to each (diffeomorphic demons on locally normalised density) for the"
        " parametric response map (Galbán et al. 2012)."
    )
    return f"{scanned} {paired}"


def _version(result: ScanResult) -> str:
    return __version__ if result.run is None else result.run.software
