"""Where the network runs. Torch is imported in the functions: the command line needs the names without it."""

from __future__ import annotations

import dataclasses
import os
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _
from ..lungs.regions import NO_MASKS, Masks
from ..lungs.scope import Scope

if TYPE_CHECKING:
    import SimpleITK as sitk
    import torch

    from ..base.progress import Progress
    from ..ct.reading import CT
    from ..lungs.coarse import Labels
    from ..models.modelfile import Model
    from .attribution import Attribution
    from .result import ScanResult


class Device(str, Enum):
    """What the user may ask for; AUTO takes the first of CUDA, MPS, CPU that is there."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        """Its name in the window."""
        return {
            Device.AUTO: _("Automatic"),
            Device.CPU: _("CPU"),
            Device.CUDA: _("NVIDIA GPU (CUDA)"),
            Device.MPS: _("Apple GPU (MPS)"),
        }[self]


class Precision(str, Enum):
    """With how many bits the network calculates; AUTO takes float32, which all published checks were made with.

    BFLOAT16 convolves with 8 bits of mantissa: less memory, faster on some devices, a slightly different answer.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    def label(self) -> str:
        """Its name in the window."""
        return {
            Precision.AUTO: _("Automatic"),
            Precision.FLOAT32: _("32 bits (float32)"),
            Precision.BFLOAT16: _("16 bits (bfloat16)"),
        }[self]


class DeviceError(EmphysemaScannerError):
    """The device that was asked for is not there."""


def choose(device: Device) -> torch.device:
    """The torch device.

    Raises:
        DeviceError: this machine, or this build of torch, has no such device.
    """
    import torch

    present = {Device.CUDA: torch.cuda.is_available(), Device.MPS: torch.backends.mps.is_available(), Device.CPU: True}
    if device is Device.AUTO:
        device = next(d for d, there in present.items() if there)
    if not present[device]:
        raise DeviceError(f"There is no {device.value} device that torch can use here; choose auto or cpu.")
    return torch.device(device.value)


def take_own_gpu() -> None:
    """Of several processes of this machine that torchrun, srun or a batch numbered, each takes another GPU."""
    import torch

    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", ""))
    if local.isdecimal() and torch.cuda.is_available():
        torch.cuda.set_device(int(local) % torch.cuda.device_count())


def scan_on(
    device: torch.device,
    ct: CT,
    model: Model,
    progress: Progress,
    source: str,
    precision: Precision = Precision.AUTO,
    masks: Masks = NO_MASKS,
    measure: Scope = Scope.HISTOGRAM,
) -> ScanResult:
    """``scan.scan.scan`` on a device; where its memory is too small, on the CPU, with a warning in the result.

    Args:
        device: where the network runs.
        ct: as ``read_ct`` gives it.
        model: the model; it is moved to the device.
        progress: as for ``scan``.
        source: what the user calls this CT.
        precision: numerical precision of the network.
        masks: as for ``scan``.
        measure: as for ``scan``.
    """
    import torch

    from .scan import scan

    dtype = torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32
    scanned = partial(
        scan,
        ct.image,
        model,
        progress=progress,
        source=source,
        provenance=ct.provenance,
        masks=masks,
        dtype=dtype,
        measure=measure,
    )
    try:
        model.network.to(device)
        return scanned()
    except torch.OutOfMemoryError:
        model.network.to("cpu")
    result = scanned()
    return dataclasses.replace(result, warnings=(*result.warnings, ran_on_cpu(device.type)))


def ran_on_cpu(device_type: str) -> str:
    """The warning that a device had too little memory."""
    return _("The {device} device had too little memory; the network ran on the CPU.").format(device=device_type)


def attribute_on(
    device: torch.device, image: sitk.Image, model: Model, progress: Progress, labels: Labels | None = None
) -> Attribution:
    """``scan.attribution.attribute`` on a device; where its memory is too small, on the CPU.

    Args:
        device: where the network runs.
        image: a CT in HU, any orientation.
        model: the model; it is moved to the device.
        progress: as for ``attribute``.
        labels: as for ``attribute``.
    """
    import torch

    from .attribution import attribute

    try:
        model.network.to(device)
        return attribute(image, model, labels=labels, progress=progress)
    except torch.OutOfMemoryError:
        model.network.to("cpu")
    return attribute(image, model, labels=labels, progress=progress)
