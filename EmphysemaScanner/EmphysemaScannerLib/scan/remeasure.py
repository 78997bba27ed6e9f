"""A result measured again in another lung mask, without asking the network again; needs no PyTorch."""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.special import expit, logit

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress, silent
from ..ct.grid import Grid, canonical_view
from ..i18n import tr as _
from ..lungs.expiration import ExpiratoryPair
from ..lungs.masks import lung_regions
from ..lungs.regions import Masks
from ..lungs.scope import Scope
from ..models.field import Field
from ..models.likeness import unlike_training
from ..models.lowdensity import low_share
from .call import contradiction
from .device import Device, ran_on_cpu
from .measuring import by_height, measured_in, regional_figures
from .result import OverlayMap, ScanResult

_SAME_PLACE_MM = 1e-3
_SAME_SHARE = 1e-3  # a scene keeps shares as float16
_LEAST = 1e-4  # a probability; nearer to 0 or 1, what a scene keeps has lost its logit


class RemeasureError(EmphysemaScannerError):
    """The model's answer depends on the lung mask: the CT must be scanned again."""


def depends_on_the_mask(result: ScanResult) -> bool:
    """Whether another lung mask would change the model's answer, and not only what is measured beside it."""
    if result.evidence is None or result.model.preprocessing.field is Field.LUNGS:
        return True
    # Records of earlier versions lack the low density that the disease map was drawn with.
    return result.low_density is None and result.model.weighs_low_density


def remeasured(image: sitk.Image, result: ScanResult, masks: Masks, *, progress: Progress = silent) -> ScanResult:
    """Measure a scanned CT in another lung mask or by other lobes; the model's answer stays what it is.

    Args:
        image: the CT, any orientation.
        result: of its scan.
        masks: the lung mask and the lobes; the lungs are found again without any.
        progress: told of each stage; whatever it raises ends the work.

    Raises:
        RemeasureError: the model read no more than the lungs, or densitometry.
        RegionError: the mask cannot be used on this CT.
        EmphysemaScannerError: the image is not the CT of this result.
    """
    if depends_on_the_mask(result):
        raise RemeasureError(
            "This model's answer depends on the lung mask: it reads the lungs alone, or their densitometry; scan the "
            "CT again with the new mask."
        )
    hu, grid = canonical_view(image)
    if grid.shape != result.lung_mask.grid.shape:
        raise EmphysemaScannerError("The result is of another CT; scan this one first.")
    result = _moved(result, grid)
    progress(0.0, "Finding the lungs")
    regions = lung_regions(image, masks)
    progress(0.6, "Measuring density")
    scope = Scope.ALL if result.measurements.clusters else Scope.HISTOGRAM
    measured = measured_in(image, regions, result.provenance, scope)
    progress(0.8, "Averaging onto the network's grid")
    card, preprocessing = result.model, result.model.preprocessing
    view = preprocessing.view(grid, regions.lungs)
    assert result.evidence is not None
    lung = view.share(regions.lungs, within=regions.box)
    low = low_share(hu, regions.lungs, view, lung, regions.box) if result.low_density is not None else None
    disease = None if result.disease is None else _redrawn(result, low)
    by_region = regional_figures(measured, view, lung, np.asarray(result.evidence.values, np.float32), disease, card)
    warnings = (*measured.warnings, *unlike_training(preprocessing.average(hu, view), card.training_range))
    opposed = contradiction(
        result.probability, card.operating_point.probability, measured.densitometry.get("whole"), measured.noisy
    )
    of_the_scan = {ran_on_cpu(device.value) for device in Device}
    kept = tuple(warning for warning in result.warnings if warning in of_the_scan)
    return dataclasses.replace(
        result,
        lung_mask=OverlayMap(regions.lungs, result.lung_mask.grid),
        lung_fraction=OverlayMap(lung, result.lung_fraction.grid),
        densitometry=measured.densitometry,
        laa_950_by_slice_percent=by_region.laa_950_percent[result.slice_indices],
        coverage=measured.coverage,
        warnings=(*opposed, *warnings, *kept),
        disease=None if disease is None or result.disease is None else OverlayMap(disease, result.disease.grid),
        low_density=None if low is None else OverlayMap(low, result.lung_fraction.grid),
        disease_extent_percent=by_region.disease_extent_percent,
        evidence_share_percent=by_region.evidence_share_percent,
        measurements=by_height(measured, by_region, result.slice_indices),
        lungs_from=regions.lungs_from,
        lobes_from=regions.lobes_from,
        lobe_mask=None if regions.lobes is None else OverlayMap(regions.lobes, result.lung_mask.grid),
        expiration=_outdated(result),
    )


def _outdated(result: ScanResult) -> ExpiratoryPair | None:
    """In place of an expiratory CT's figures, which another lung mask changes: that CT is not at hand any more."""
    if result.expiration is None:
        return None
    missing = _("The lung mask or the lobes were changed after the CT was scanned; scan again with the expiratory CT.")
    return ExpiratoryPair(missing=missing, series=result.expiration.series)


def _redrawn(result: ScanResult, low: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The disease map with the low density of another lung mask in place of that which it was drawn with.

    The rest of its logit depends on the hidden states alone. Places whose low density stays are not touched.
    """
    assert result.disease is not None
    before: NDArray[np.float32] = np.asarray(result.disease.values, np.float32)
    known = result.model.disease_map
    if low is None or result.low_density is None or known is None:
        return before
    more = low - np.asarray(result.low_density.values, np.float32)
    changed = np.abs(more) > _SAME_SHARE
    logits = logit(before[changed].astype(np.float64).clip(_LEAST, 1 - _LEAST)) + known.low_weight * more[changed]
    after: NDArray[np.float32] = before.copy()
    after[changed] = expit(logits)
    return after


def _moved(result: ScanResult, grid: Grid) -> ScanResult:
    """A result whose maps lie where the CT lies now, which a transform may have moved since the scan."""
    before = result.lung_mask.grid
    apart = np.abs(grid.position_lps(np.array(grid.shape)) - before.position_lps(np.array(before.shape))).max()
    if apart < _SAME_PLACE_MM and np.abs(np.array(grid.origin_lps) - before.origin_lps).max() < _SAME_PLACE_MM:
        return result

    def moved(overlay: OverlayMap) -> OverlayMap:
        return OverlayMap(overlay.values, grid.part(overlay.grid.box_in(before), overlay.grid.shape))

    fraction = moved(result.lung_fraction)
    return dataclasses.replace(
        result,
        slice_positions_mm=fraction.grid.slice_positions_mm()[result.slice_indices],
        evidence=None if result.evidence is None else moved(result.evidence),
        activations={name: moved(overlay) for name, overlay in result.activations.items()},
        class_activations={name: moved(overlay) for name, overlay in result.class_activations.items()},
        lung_mask=OverlayMap(result.lung_mask.values, grid),
        lobe_mask=None if result.lobe_mask is None else OverlayMap(result.lobe_mask.values, grid),
        lung_fraction=fraction,
        disease=None if result.disease is None else moved(result.disease),
        low_density=None if result.low_density is None else moved(result.low_density),
    )
