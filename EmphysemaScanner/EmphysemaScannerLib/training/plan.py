"""What a training is to be: its plan, which decides the outcome, and the hardware, which should not; no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import EmphysemaScannerError
from ..scan.device import Device

if TYPE_CHECKING:
    from ..models.preprocessing import Preprocessing


class TrainingError(EmphysemaScannerError):
    """The cohort or the plan cannot be trained with."""


class TrainingStopped(EmphysemaScannerError):  # noqa: N818  # the user's wish, not an error
    """The user stopped the training; the same command goes on with it."""


class Balance(str, Enum):
    """What is done when one class is rarer.

    WEIGHT: every volume is shown once an epoch, and in the loss both classes count the same. SAMPLE: every step shows
    both classes equally often; the rarer one's volumes come several times an epoch. NONE: nothing.
    """

    WEIGHT = "weight"
    SAMPLE = "sample"
    NONE = "none"


class MixedPrecision(str, Enum):
    """With how many bits the network learns; AUTO takes bfloat16 or half precision on CUDA and 32 bits elsewhere."""

    AUTO = "auto"
    FULL = "32"
    BFLOAT16 = "bf16-mixed"
    FLOAT16 = "16-mixed"


class Aids(str, Enum):
    """What a training does beyond the published way.

    NONE: nothing. WHOLE_LUNG: both classes are shown in parts, upside down, in other fields of view and densities
    (``presentations``), and with lesion maps a slice's evidence counts as much however much was read before it.
    """

    NONE = "none"
    WHOLE_LUNG = "whole-lung"


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        epochs: at most; the paper's 50.
        batch_size: volumes a step, of all processes together.
        learning_rate: peak of AdamW's, reached after a warm-up of 5 % and let down along a cosine.
        crop: rows and columns of the random field of view that is shown, a multiple of 16; None shows whole slices.
        lesion_weight: weight of the lesion maps' loss on every unit's hidden states; 0 uses volume labels alone.
        long_memory: start the last unit with chrono initialisation (Tallec & Ollivier 2018).
        patience: epochs without a better AUC on the tuning split before stopping.
        seed: of every random choice.
        balance: of the classes. By weight: nothing changes in a balanced cohort, such as the paper's, and in another
            the rare class is learned as well, without leaving volumes out or showing them more often.
        precision: of the network's arithmetic.
        aids: what is done beyond the published way.
    """

    epochs: int = 50
    batch_size: int = 4
    learning_rate: float = 1e-4
    crop: int | None = None
    lesion_weight: float = 0.0
    long_memory: bool = False
    patience: int = 10
    seed: int = 1
    balance: Balance = Balance.WEIGHT
    precision: MixedPrecision = MixedPrecision.AUTO
    aids: Aids = Aids.NONE

    def __post_init__(self) -> None:
        if self.crop is not None and (self.crop < 16 or self.crop % 16):
            raise TrainingError(f"The crop must be a multiple of 16, not {self.crop}.")
        if self.crop is not None and not self.lesion_weight:
            raise TrainingError("Crops need lesion maps to be labelled by; set a lesion weight.")

    @property
    def is_published(self) -> bool:
        """Whether a network learns from volume labels alone, as in the paper."""
        return not (self.crop or self.lesion_weight or self.long_memory or self.aids is not Aids.NONE)

    def check_architecture(self, architecture: str) -> None:
        """Refuse options that this architecture has not.

        Raises:
            TrainingError: names them.
        """
        wanted = {"crop": self.crop, "lesion weight": self.lesion_weight, "long memory": self.long_memory}
        options = [name for name, value in wanted.items() if value]
        if options and architecture != "conv_lstm":
            raise TrainingError(f"Only a conv_lstm can be trained with {' and '.join(options)}, not a {architecture}.")


@dataclass(frozen=True)
class NetworkChoice:
    """Which network is trained; what is None is as published, or as in ``start``.

    Attributes:
        architecture: a name in ``ARCHITECTURES``; the published one is conv_lstm.
        width: filters of the first unit.
        preprocessing: grid, window and field; with a ``start``, only the field may be another.
        start: a model file to go on from; None for fresh weights.
    """

    architecture: str | None = None
    width: int | None = None
    preprocessing: Preprocessing | None = None
    start: Path | None = None


@dataclass(frozen=True)
class Hardware:
    """Where and how a training runs. A run may go on with another choice than it began with.

    Attributes:
        device: what the network runs on.
        devices: processes on this machine, one a device. Under torchrun its environment decides, as for ``nodes``.
        nodes: machines.
        workers: processes that prepare volumes for each device; None for 4 with a GPU and none without.
        in_memory: keep volumes in memory after they were first read.
        compile: let torch.compile write faster code, which takes a while at the start.
    """

    device: Device = Device.AUTO
    devices: int = 1
    nodes: int = 1
    workers: int | None = None
    in_memory: bool = False
    compile: bool = False


PUBLISHED = NetworkChoice()
ONE_PROCESS = Hardware()
