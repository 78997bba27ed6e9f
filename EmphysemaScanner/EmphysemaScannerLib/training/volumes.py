"""A split of a cohort as a training reads it, and in which order. All chance comes from (seed, epoch, volume) alone, so
that a run which goes on sees exactly what it would have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..base.errors import EmphysemaScannerError
from ..cohort.cache import VolumeCache
from ..cohort.manifest import CohortRow
from ..ct.grid import Grid, area_average, canonical
from ..models.preprocessing import Field, Preprocessing
from . import aids as trainingaids
from .plan import Aids, Balance, Plan, TrainingError

Item = tuple[Tensor, Tensor, Tensor, int]
Shown = tuple[int, int]  # epoch, volume


class Volumes(Dataset[Item]):
    """Volumes through the cache; with ``in_memory`` each is read from it once.

    An item, asked for by (epoch, volume), is the input (T, 1, H, W) in [0, 1], the label, the lesion shares (T, H, W)
    of 0 to 255 where the plan uses them, else nothing, and the volume's number.
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
        self.stored = preprocessing  # as volumes are read
        if self._is_aided:
            slices, high, wide = preprocessing.shape
            self.stored = dataclasses.replace(preprocessing, shape=(trainingaids.FINER * slices, high, wide))
        self._kept: dict[int, tuple[NDArray[np.int16], NDArray[np.uint8] | None]] = {}
        for row in rows:
            if plan.lesion_weight and row.label and row.lesions is None:
                raise TrainingError(
                    f"{row.where}: '{row.volume.name}' has no lesion map in the manifest; set the lesion weight to 0."
                )

    @property
    def _is_aided(self) -> bool:
        return self.augment and self.plan.aids is Aids.WHOLE_LUNG

    def read(self, k: int) -> tuple[NDArray[np.int16], NDArray[np.uint8] | None]:
        """HU and lesion shares of a volume on the network's grid, with aids on one of finer slices.

        Raises:
            TrainingError: they cannot be read; the message names the manifest's line.
        """
        if k in self._kept:
            return self._kept[k]
        row = self.rows[k]
        try:
            both = self.cache.grid_hu(row.volume, self.stored), self._lesions(row)
        except (EmphysemaScannerError, RuntimeError) as error:  # RuntimeError is ITK's
            raise TrainingError(f"{row.where}: {error}" if row.where else str(error)) from error
        if self.in_memory:
            self._kept[k] = both
        return both

    def _lesions(self, row: CohortRow) -> NDArray[np.uint8] | None:
        if not self.plan.lesion_weight:
            return None
        if row.lesions is None:
            return np.zeros(self.stored.shape, np.uint8)
        if self.stored.field is Field.LUNGS or self.stored is not self.preprocessing:
            return self._lesions_in_view(row, row.lesions)
        lesions: NDArray[np.uint8] = sitk.GetArrayFromImage(sitk.ReadImage(str(row.lesions)))
        if lesions.shape != self.preprocessing.shape or lesions.dtype != np.uint8:
            raise TrainingError(
                f"'{row.lesions.name}' is not a lesion map of {' x '.join(map(str, self.preprocessing.shape))} bytes; "
                "train on the grid that the cohort was made for."
            )
        return lesions

    def _lesions_in_view(self, row: CohortRow, path: Path) -> NDArray[np.uint8]:
        """A lesion map of the same patient on any grid, as much of it as the network sees."""
        stored = canonical(sitk.ReadImage(str(path)))
        shares: NDArray[np.generic] = sitk.GetArrayFromImage(stored)
        if shares.dtype != np.uint8:
            raise TrainingError(f"'{path.name}' is not a lesion map of bytes.")
        grid = self.cache.grid(row.volume, self.stored)
        seen = np.rint(area_average(shares, grid.shape, over=grid.box_in(Grid.of_image(stored))))
        return seen.astype(np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, shown: Shown) -> Item:
        epoch, k = shown
        rng = np.random.default_rng([self.plan.seed, k, *([epoch] if self.augment else [])])
        hu, lesions = self.read(k)
        if self._is_aided:
            return self._aided(rng, hu, lesions, k)
        if self.plan.crop is not None and lesions is not None:
            margin = [(n - self.plan.crop) // 8 for n in hu.shape[1:]]  # the body rarely reaches the corners
            y, x = (int(rng.integers(m, n - self.plan.crop - m + 1)) for m, n in zip(margin, hu.shape[1:], strict=True))
            field = (slice(None), slice(y, y + self.plan.crop), slice(x, x + self.plan.crop))
            hu, lesions = hu[field], lesions[field]
        grid_hu = hu.astype(np.float32)
        if self.augment:
            if rng.random() < 0.5:
                grid_hu = grid_hu[..., ::-1]
                lesions = None if lesions is None else lesions[..., ::-1]
            low = self.preprocessing.window_low_hu
            grid_hu = low + (grid_hu - low) * np.float32(np.exp(rng.normal(0, 0.06)))
            grid_hu = grid_hu + np.float32(rng.uniform(0, 12)) * rng.standard_normal(grid_hu.shape, dtype=np.float32)
        return self._item(grid_hu, lesions, k)

    def _aided(
        self, rng: np.random.Generator, hu: NDArray[np.int16], lesions: NDArray[np.uint8] | None, k: int
    ) -> Item:
        slices, rows, columns = self.preprocessing.shape
        crop = self.plan.crop
        shape = (slices, crop or rows, crop or columns)
        outside = self.preprocessing.outside_hu
        shown = trainingaids.present(rng, hu, lesions, shape, crop is not None, outside)
        return self._item(shown.hu, shown.lesions, k)

    def _item(self, grid_hu: NDArray[np.float32], lesions: NDArray[np.uint8] | None, k: int) -> Item:
        x_in = torch.from_numpy(np.ascontiguousarray(self.preprocessing.normalise(grid_hu)))[:, None]
        label = torch.tensor(self.rows[k].label, dtype=torch.float32)
        return x_in, label, torch.empty(0) if lesions is None else torch.from_numpy(np.ascontiguousarray(lesions)), k


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
