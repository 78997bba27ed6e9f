"""A scanned CT with a second one, in expiration; the answer of the scan stays whatever becomes of the second."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..base.errors import EmphysemaScannerError, ScanCancelled
from ..base.progress import Progress, part, silent
from ..ct.checks import check_image
from ..ct.grid import canonical_view, voxels_sha256
from ..ct.provenance import UNKNOWN, Provenance
from ..ct.reading import CT, read_ct
from ..i18n import tr as _
from ..lungs.densitometry import Densitometry, measure_lungs
from ..lungs.expiration import (
    ExpiratoryPair,
    PairError,
    PairFigures,
    breath_doubts,
    density_figures,
    response_map,
    response_shares,
)
from ..lungs.imagewarnings import NoiseWarning, image_warnings
from ..lungs.masks import LungRegions, lung_regions
from ..lungs.morphology import box
from ..lungs.regions import LOBES, NO_MASKS, Masks
from ..lungs.registration import Registration, RegistrationError, register
from .result import ScanResult

if TYPE_CHECKING:
    from ..ct.series import Volume
    from ..lungs.coarse import Labels


@dataclass(frozen=True)
class Expiratory:
    """The second CT of a scan.

    Attributes:
        image: in HU, any orientation.
        provenance: what is known of it beside its voxels.
        masks: lung mask that the user gave; the lungs are found otherwise.
    """

    image: sitk.Image
    provenance: Provenance = UNKNOWN
    masks: Masks = NO_MASKS


def read_expiratory(path: Path, inspiratory: CT, masks: Masks = NO_MASKS) -> Expiratory:
    """The second CT from a path, checked to be of the same patient.

    Args:
        path: as for ``reading.read_ct``.
        inspiratory: the first CT.
        masks: lung mask that the user gave for the second one.

    Raises:
        PairError: the two are the same CT, or of two patients.
        EmphysemaScannerError: nothing can be read there.
    """
    ct = read_ct(path)
    check_pair(inspiratory, ct)
    return Expiratory(ct.image, ct.provenance, masks)


def check_pair(inspiratory: CT, expiratory: CT) -> None:
    """Refuse, before anything is scanned, what cannot be two CTs of one patient.

    Raises:
        PairError: they are the same CT, or DICOM states that they are of two patients.
    """
    check_patients(inspiratory.volume, expiratory.volume)
    one, other = (canonical_view(ct.image)[0] for ct in (inspiratory, expiratory))
    if one.shape == other.shape and voxels_sha256(one) == voxels_sha256(other):
        raise PairError(_("The expiratory CT is the inspiratory CT itself; choose the CT in expiration."))


def check_patients(inspiratory: Volume | None, expiratory: Volume | None) -> None:
    """Refuse DICOM series of two patients; other files do not name theirs.

    Raises:
        PairError: they are of two patients.
    """
    if inspiratory is None or expiratory is None:
        return
    if inspiratory.first.header.patient.is_other_than(expiratory.first.header.patient):
        raise PairError(
            _("The expiratory CT is of another patient than the inspiratory one; choose two CTs of one patient.")
        )


def scan_pair(
    scan: Callable[[Progress], ScanResult],
    image: sitk.Image,
    expiratory: Expiratory | ExpiratoryPair | None,
    progress: Progress = silent,
) -> ScanResult:
    """Scan a CT, then look at the second one, if there is one.

    Args:
        scan: scans the inspiratory CT and reports to the progress that it is given.
        image: the inspiratory CT, any orientation.
        expiratory: the second CT; what to state where it is known before that there is none to use; None for none.
        progress: told the share done of both and the stage.
    """
    if expiratory is None:
        return scan(progress)
    if isinstance(expiratory, ExpiratoryPair):
        return dataclasses.replace(scan(progress), expiration=expiratory)
    return with_expiration(scan(part(progress, 0, 0.5)), image, expiratory, part(progress, 0.5, 1))


def with_expiration(
    result: ScanResult,
    image: sitk.Image,
    expiratory: Expiratory,
    progress: Progress = silent,
) -> ScanResult:
    """A scan's result with what a second CT, in expiration, tells.

    Args:
        result: of the inspiratory CT.
        image: the inspiratory CT, any orientation.
        expiratory: the second one.
        progress: told the share done and the stage; whatever it raises ends the work.

    Returns:
        The result with ``expiration``. Where the second CT cannot be used, or not be registered, that states why.
    """
    start = time.perf_counter()
    series = expiratory.provenance.series
    try:
        pair = _measured(result, image, expiratory, progress)
    except ScanCancelled:
        raise
    except EmphysemaScannerError as error:
        missing = _("The expiratory CT could not be used: {why}").format(why=str(error))
        pair = ExpiratoryPair(missing=missing)
    pair = dataclasses.replace(pair, series=series)
    timings = {**result.timings_s, "expiration": time.perf_counter() - start}
    timings["total"] = result.timings_s.get("total", 0.0) + timings["expiration"]
    return dataclasses.replace(result, expiration=pair, timings_s=timings)


def _measured(result: ScanResult, image: sitk.Image, expiratory: Expiratory, progress: Progress) -> ExpiratoryPair:
    progress(0.0, "Measuring the expiratory CT")
    check_image(expiratory.image)
    regions = lung_regions(expiratory.image, expiratory.masks)
    hu, grid = canonical_view(expiratory.image)
    columns = (slice(None), *regions.box[1:])
    found = measure_lungs(hu[columns], regions.lungs[columns], grid.spacing_mm).regions
    _refuse_swapped(result.densitometry["whole"], found["whole"])
    figures: dict[str, PairFigures] = {
        name: density_figures(result.densitometry[name], found[name])
        for name in ("whole", "right", "left")
        if name in result.densitometry
    }
    doubts = (*breath_doubts(figures), *_doubts(result, expiratory, regions))
    lungs = np.asarray(result.lung_mask.values, np.uint8)
    try:
        registration = register(image, lungs, expiratory.image, regions.lungs, part(progress, 0.1, 0.9))
    except RegistrationError as error:
        missing = _("The response map could not be made: {why}").format(why=str(error))
        return ExpiratoryPair(figures, missing=missing, warnings=doubts)
    progress(0.9, "Making the response map")
    response = _response(image, lungs, expiratory, regions, registration)
    lobes = None if result.lobe_mask is None else np.asarray(result.lobe_mask.values, np.uint8)
    shares = response_shares(response, lungs, lobes)
    return ExpiratoryPair(
        _joined(figures, shares, result.densitometry),
        registration.quality,
        warnings=(*doubts, *registration.quality.doubts),
        response=response,
    )


def _refuse_swapped(inspiratory: Densitometry, expiratory: Densitometry) -> None:
    if expiratory.volume_l > inspiratory.volume_l:
        raise PairError(
            _(
                "its lungs are larger ({expiratory} L) than those of the inspiratory CT ({inspiratory} L); if the two"
                " CTs were swapped, scan again the other way round."
            ).format(expiratory=f"{expiratory.volume_l:.2f}", inspiratory=f"{inspiratory.volume_l:.2f}")
        )


def _response(
    image: sitk.Image,
    lungs: Labels,
    expiratory: Expiratory,
    regions: LungRegions,
    registration: Registration,
) -> Labels:
    """The response map on the inspiratory CT's canonical grid."""
    where, hu = box(lungs), canonical_view(image)[0]
    grid = canonical_view(expiratory.image)[1]
    there = registration.moved_labels(regions.lungs, grid, where) > 0
    response = np.zeros(lungs.shape, np.uint8)
    response[where] = response_map(hu[where], registration.moved(expiratory.image, where), there & (lungs[where] > 0))
    return response


def _joined(
    figures: dict[str, PairFigures], shares: dict[str, PairFigures], densitometry: dict[str, Densitometry]
) -> dict[str, PairFigures]:
    """Both kinds of figures by region; those of lobes with the inspiratory CT's own."""
    lobes = {lobe.value for lobe in LOBES}
    joined = {}
    for name, share in shares.items():
        prm = {key: value for key, value in dataclasses.asdict(share).items() if key.startswith("prm_")}
        own = figures.get(name, PairFigures())
        if name in lobes and name in densitometry:
            of_lobe = densitometry[name]
            own = PairFigures(inspiratory_volume_l=of_lobe.volume_l, inspiratory_mean_hu=of_lobe.mean_hu)
        joined[name] = dataclasses.replace(own, **prm)
    return joined


def _doubts(result: ScanResult, expiratory: Expiratory, regions: LungRegions) -> tuple[str, ...]:
    """What of the expiratory CT itself makes the pair doubtful."""
    provenance = expiratory.provenance
    one, other = (known.kernel if known else "" for known in (result.provenance.series, provenance.series))
    kernels: tuple[str, ...] = ()
    if one and other and one != other:
        kernels = (
            _(
                "The two CTs have different kernels ({one} and {other}): densities below the thresholds are not"
                " comparable. Choose series with the same kernel."
            ).format(one=one, other=other),
        )
    noisy = tuple(
        warning
        for warning in image_warnings(expiratory.image, regions.lungs, provenance.slice_thickness_mm)
        if isinstance(warning, NoiseWarning)
    )
    own = (*provenance.warnings, *regions.warnings, *noisy)
    return (*kernels, *(_("Expiratory CT: {warning}").format(warning=warning) for warning in own))
