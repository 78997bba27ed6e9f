"""Which voxels moved the answer: integrated gradients (Sundararajan et al. 2017, by Captum) on the network's input.

The evidence of a scan says at which slice the answer came in; this says which voxels of the network's input it came
from. The question is put against a baseline: the same chest whose lungs are nowhere less dense than -850 HU. The values
sum to the difference of the two logits, but for the gap of the numerical integration, which is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor, nn

from ..base.errors import MissingPackageError, ModelFileError
from ..base.progress import Progress, silent
from ..ct.checks import check_image
from ..ct.grid import canonical_view
from ..lungs.coarse import Labels
from ..lungs.lungs import segment_lungs
from ..models.conv_lstm import ConvLSTMNetwork
from ..models.modelfile import Model
from ..models.networks import ARCHITECTURES
from ..models.preprocessing import Needs
from .result import OverlayMap

HEALTHY_HU = -850.0  # about the density of healthy lung in full inspiration
STEPS = 16  # Gauss-Legendre nodes between the baseline and the CT


@dataclass(frozen=True)
class Attribution:
    """What each voxel of the network's input added to the logit, compared with lungs that are nowhere too light.

    Attributes:
        values: logit, on the network's input grid (35 x 128 x 128), inferior to superior; 0 where CT and baseline
            agree: outside the lungs and wherever they are denser than -850 HU.
        difference: logit of the CT less logit of the baseline.
        gap: sum of the values less ``difference``; what the numerical integration missed.
    """

    values: OverlayMap
    difference: float
    gap: float


def attribute(
    image: sitk.Image,
    model: Model,
    *,
    labels: Labels | None = None,
    progress: Progress = silent,
    steps: int = STEPS,
) -> Attribution:
    """Ask which voxels of a chest CT moved a model's answer.

    Args:
        image: a CT in HU, any orientation, as for ``scan.scan``.
        model: as ``modelfile.load`` gives it, of any architecture that reads volumes; it runs where its
            weights are.
        labels: the lung mask that the CT was scanned with, on its canonical voxels (``ScanResult.lung_mask``); the
            lungs are found if None.
        progress: told of each stage and step; whatever it raises ends the attribution.
        steps: how many passes, forward and back, the integral is calculated with.

    Raises:
        NotAChestCTError: (or one of its kinds) the image cannot be scanned; the message says why.
        MissingPackageError: Captum is not installed.
        ModelFileError: the model reads densitometry and no volume.
    """
    if ARCHITECTURES[model.card.architecture].needs is Needs.DENSITOMETRY:
        raise ModelFileError(
            "This model reads one figure of densitometry and no voxels; there is nothing to attribute."
        )
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise MissingPackageError(
            "Attribution needs the Python package captum; install it with: pip install captum"
        ) from error

    progress(0.0, "Checking the image")
    check_image(image)
    hu, ct_grid = canonical_view(image)
    progress(0.02, "Finding the lungs")
    labels = segment_lungs(image) if labels is None else labels
    progress(0.15, "Averaging onto the network's grid")
    preprocessing = model.card.preprocessing
    view = preprocessing.view(ct_grid, labels)
    averaged = preprocessing.average(hu, view)
    lung_fraction = view.share(labels)
    raised = averaged + lung_fraction * np.maximum(np.float32(HEALTHY_HU) - averaged, 0)

    device = next(model.network.parameters()).device
    x, baseline = (
        torch.from_numpy(preprocessing.normalise(grid_hu)).to(device)[None, :, None]  # (1, T, 1, H, W)
        for grid_hu in (averaged, raised)
    )
    passes = _Passes(model.network, model.card.temperature, steps, progress)
    with _frozen(model.network):
        values = IntegratedGradients(passes).attribute(
            x, baseline, n_steps=steps, method="gausslegendre", internal_batch_size=1
        )
        with torch.inference_mode():
            difference = float(passes(x) - passes(baseline))
    by_voxel = values[0, :, 0].detach().float().cpu().numpy()
    return Attribution(
        values=OverlayMap(by_voxel, view.grid),
        difference=difference,
        gap=float(by_voxel.sum(dtype=np.float64)) - difference,
    )


class _Passes:
    """The network from its input to the logit, (B, T, 1, H, W) -> (B,); counts its passes for progress."""

    def __init__(self, network: nn.Module, temperature: float, steps: int, progress: Progress) -> None:
        self.network, self.temperature = network, temperature
        self.steps, self.progress, self.done = steps, progress, 0

    def __call__(self, x: Tensor) -> Tensor:
        in_all = self.steps + 2  # and once each for the CT and the baseline
        self.done += 1
        fraction = 0.2 + 0.8 * (self.done - 1) / in_all
        stage = f"Following the answer back to the voxels: step {self.done} of {in_all}"
        self.progress(fraction, stage)
        if not isinstance(self.network, ConvLSTMNetwork):
            logit: Tensor = self.network(x).logit
        else:  # told at each slice that nothing is new, so that a pass can be cancelled in its middle
            logit = self.network(x, lambda: self.progress(fraction, stage)).logit
        return logit / self.temperature


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Gradients of the input alone: nothing is kept for those of the weights."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
