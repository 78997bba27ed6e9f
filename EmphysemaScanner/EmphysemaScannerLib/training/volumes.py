"""A split of a cohort as a training reads it, and in which order.

All chance comes from (seed, epoch, volume) alone, so that a run which goes on sees exactly what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..base.errors import EmphysemaScannerError
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow
from ..models.preprocessing import Preprocessing
from .plan import Balance, Plan, TrainingError

Item = tuple[Tensor, ...]
Shown = tuple[int, int]  # epoch, volume
HU = NDArray[np.int16]
Shares = NDArray[np.uint8]  # of lesions, 0 to 255


class Volumes(Dataset[Item]):
    """Volumes through the cache; with ``in_memory`` each is read from it once.

    An item, asked for by (epoch, volume), is the input (T, 1, H, W) in [0, 1], the label, and the volume's number.
    """

    def __init__(
        self,
        rows: Sequence[CohortRow],
        preprocessing: Preprocessing,
        plan: Plan,
        augment: bool,
        cache: VolumeCache,
        in_memory: bool = False,
    ) -> None:
        self.rows, self.preprocessing, self.plan, self.augment = rows, preprocessing, plan, augment
        self.cache, self.in_memory = cache, in_memory
        self._kept: dict[int, tuple[HU, Shares | None]] = {}

    def read(self, k: int) -> tuple[HU, Shares | None]:
        """HU of a volume on the network's grid, and its lesion shares where they are used.

        Raises:
            TrainingError: they cannot be read; the message names the manifest's line.
        """
        if k in self._kept:
            return self._kept[k]
        row = self.rows[k]
        try:
            both = self.read_files(row)
        except (EmphysemaScannerError, RuntimeError) as error:  # RuntimeError is ITK's
            raise TrainingError(f"{row.where}: {error}" if row.where else str(error)) from error
        if self.in_memory:
            self._kept[k] = both
        return both

    def read_files(self, row: CohortRow) -> tuple[HU, Shares | None]:
        """As ``read``, from the files of a row."""
        return self.cache.grid_hu(row.volume, self.preprocessing, row.masks), None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, shown: Shown) -> Item:
        epoch, k = shown
        rng = np.random.default_rng([self.plan.seed, k, *([epoch] if self.augment else [])])
        return self.present(rng, k)

    def present(self, rng: np.random.Generator, k: int) -> Item:
        """A volume as it is shown once."""
        grid_hu = self.read(k)[0].astype(np.float32)
        if self.augment:
            grid_hu = self.in_other_density(rng, grid_hu[..., mirrored(rng)])
        return self.item(grid_hu, k)

    def in_other_density(self, rng: np.random.Generator, grid_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Another breath, and another dose."""
        low = self.preprocessing.window_low_hu
        scaled = low + (grid_hu - low) * np.float32(np.exp(rng.normal(0, 0.06)))
        noise = np.float32(rng.uniform(0, 12)) * rng.standard_normal(grid_hu.shape, dtype=np.float32)
        changed: NDArray[np.float32] = scaled + noise
        return changed

    def item(self, grid_hu: NDArray[np.float32], k: int) -> Item:
        """HU (T, H, W) as a network reads them, with the volume's label and number."""
        x_in = torch.from_numpy(np.ascontiguousarray(self.preprocessing.normalise(grid_hu)))[:, None]
        return x_in, torch.tensor(self.rows[k].label, dtype=torch.float32), torch.tensor(k)


def mirrored(rng: np.random.Generator) -> slice:
    """Columns as they are or, in half of the cases, from right to left."""
    return slice(None, None, -1 if rng.random() < 0.5 else 1)


class TrainingOrder(Sampler[Shown]):
    """The volumes of this process's part of every step, drawn anew each epoch.

    The steps are the same for any number of processes: of each, every process takes its share.

    Args:
        labels: of the training split.
        plan: batch size, seed and balance.
        rank, ranks: number of this process, and how many there are.
    """

    def __init__(self, labels: Sequence[int], plan: Plan, rank: int = 0, ranks: int = 1) -> None:
        self.labels, self.plan, self.rank, self.ranks = np.array(labels), plan, rank, ranks
        self.epoch = 0
        self.steps = len(labels) // plan.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Which epoch is drawn next, from 0 on; Lightning sets it at the start of each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.plan.batch_size // self.ranks

    def __iter__(self) -> Iterator[Shown]:
        size = self.plan.batch_size
        steps = self._order()[: self.steps * size].reshape(self.steps, size)
        return iter([(self.epoch, int(k)) for step in steps for k in step[self.rank :: self.ranks]])

    def _order(self) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.plan.seed, self.epoch])
        if self.plan.balance is not Balance.SAMPLE:
            return rng.permutation(len(self.labels))
        half = -(-len(self.labels) // 2)
        classes = [np.flatnonzero(self.labels == value) for value in (0, 1)]
        rounds = [[rng.permutation(of) for _ in range(-(-half // len(of)))] for of in classes]
        return np.stack([np.concatenate(of)[:half] for of in rounds], axis=1).ravel()  # one of each in turn


class TuningOrder(Sampler[Shown]):
    """This process's part of the tuning split; parts are made equally long by repeating its first volumes."""

    def __init__(self, count: int, rank: int = 0, ranks: int = 1) -> None:
        each = -(-count // ranks)
        self.numbers = [k % count for k in range(rank * each, (rank + 1) * each)]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Shown]:
        return iter([(0, k) for k in self.numbers])
