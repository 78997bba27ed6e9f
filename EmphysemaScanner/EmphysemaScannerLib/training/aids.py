"""What the training of the demonstration model does beyond the published way, and the one place that chooses it.

From lesion maps, which simulated cohorts have, a Conv-LSTM is also taught where the disease is (``lesion_weight``), on
small fields of view (``crop``): many cheap presentations, whose network is then enlarged to whole slices. Volumes may
be shown in parts and upside down (``Aids.WHOLE_LUNG``), and the last unit may begin with a long memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import nn

from ..cohort.cache import VolumeCache
from ..cohort.lesionmaps import lesions_on
from ..cohort.manifest import CohortRow
from ..evaluation.statistics import Floats, balancing_shift
from ..models.conv_lstm import ConvLSTMNetwork
from ..models.networks import FastConvLSTM
from ..models.preprocessing import Field, Preprocessing
from . import presentations
from .learner import Learner
from .lesions import LesionLearner
from .plan import Aids, Plan, TrainingError
from .volumes import HU, Item, Shares, Volumes, mirrored
from .way import PublishedWay


def way_of(plan: Plan) -> PublishedWay:
    """The published way, or with the aids that a plan asks for."""
    return PublishedWay(plan) if plan.is_published else AidedWay(plan)


class AidedWay(PublishedWay):
    """With lesion maps, crops, long memory, or parts of lungs, each as the plan asks for it."""

    def shown_size(self, image_size: int) -> int:
        """The side of a crop, where the plan has one."""
        return self.plan.crop or image_size

    def fitted(self, network: nn.Module) -> nn.Module:
        """A trained Conv-LSTM gets the dense layer of a crop's size; others stay as they are."""
        if self.plan.crop is not None and isinstance(network, ConvLSTMNetwork):
            return enlarge(network, self.plan.crop)
        return network

    def prepare(self, network: nn.Module, slices: int) -> None:
        """Give a Conv-LSTM's last unit a long memory, where the plan asks for it."""
        if self.plan.long_memory:
            assert isinstance(network, ConvLSTMNetwork)
            give_long_memory(network, slices)

    def volumes(
        self,
        rows: Sequence[CohortRow],
        preprocessing: Preprocessing,
        cache: VolumeCache,
        augment: bool,
        in_memory: bool,
    ) -> Volumes:
        """With lesion maps, in crops or in parts of lungs."""
        return AidedVolumes(rows, preprocessing, self.plan, augment, cache, in_memory)

    def learner(self, network: nn.Module, total_steps: int, labels: Sequence[int]) -> Learner:
        """A learner of lesions, where they have a weight in the loss."""
        if not self.plan.lesion_weight:
            return super().learner(network, total_steps, labels)
        assert isinstance(network, ConvLSTMNetwork)
        return LesionLearner(network, self.plan, total_steps)

    def finished(self, network: nn.Module, image_size: int) -> nn.Module:
        """A Conv-LSTM that learned on crops, enlarged to whole slices."""
        if self.plan.crop is None:
            return network
        assert isinstance(network, ConvLSTMNetwork)
        return enlarge(network, image_size)

    def balanced(self, network: nn.Module, logits: Floats, labels: Sequence[int]) -> Floats:
        """Whole slices have more places than a crop, and each adds what it adds to healthy lung."""
        if self.plan.crop is None:
            return logits
        assert isinstance(network, ConvLSTMNetwork)
        shift = balancing_shift(logits, labels)
        with torch.no_grad():
            network.dense.bias.add_(shift)
        return logits + shift

    def teaching(self) -> str:
        """Names lesion maps and presentations as well, where they were used."""
        lesions = " and lesion maps" if self.plan.lesion_weight else ""
        in_parts = ", shown in parts, upside down and in other fields of view,"
        return super().teaching() + lesions + (in_parts if self.plan.aids is Aids.WHOLE_LUNG else "")

    def balance(self) -> str:
        """The loss that is taught by lesions has no class weights."""
        return "unweighted classes" if self.plan.lesion_weight else super().balance()


class AidedVolumes(Volumes):
    """Volumes with their lesion shares (T, H, W), 0 to 255, as the item's last where the plan uses them."""

    def __init__(
        self,
        rows: Sequence[CohortRow],
        preprocessing: Preprocessing,
        plan: Plan,
        augment: bool,
        cache: VolumeCache,
        in_memory: bool = False,
    ) -> None:
        super().__init__(rows, preprocessing, plan, augment, cache, in_memory)
        self.in_parts = augment and plan.aids is Aids.WHOLE_LUNG
        self.stored = preprocessing  # as volumes are read
        if self.in_parts:
            slices, high, wide = preprocessing.shape
            self.stored = dataclasses.replace(preprocessing, shape=(presentations.FINER * slices, high, wide))
        for row in rows:
            if plan.lesion_weight and row.label and row.lesions is None:
                raise TrainingError(
                    f"{row.where}: '{row.volume.name}' has no lesion map in the manifest; set the lesion weight to 0."
                )

    def read_files(self, row: CohortRow) -> tuple[HU, Shares | None]:
        """Where parts of the lungs are shown, on a grid of finer slices."""
        return self.cache.grid_hu(row.volume, self.stored, row.masks), self._lesions(row)

    def _lesions(self, row: CohortRow) -> Shares | None:
        if not self.plan.lesion_weight:
            return None
        if row.lesions is None:
            return np.zeros(self.stored.shape, np.uint8)
        if self.stored.field is Field.LUNGS or self.stored is not self.preprocessing:
            grid = self.cache.grid(row.volume, self.stored, row.masks)
            return np.rint(lesions_on(row.lesions, grid)).astype(np.uint8)
        lesions: Shares = sitk.GetArrayFromImage(sitk.ReadImage(str(row.lesions)))
        if lesions.shape != self.preprocessing.shape or lesions.dtype != np.uint8:
            raise TrainingError(
                f"'{row.lesions.name}' is not a lesion map of {' x '.join(map(str, self.preprocessing.shape))} bytes; "
                "train on the grid that the cohort was made for."
            )
        return lesions

    def present(self, rng: np.random.Generator, k: int) -> Item:
        """A volume as it is shown once, with its lesion shares where the plan uses them.

        Args:
            rng: chance; of the part or crop, and of what changes a training volume.
            k: number of the volume.
        """
        hu, lesions = self.read(k)
        if self.in_parts:
            slices, rows, columns = self.preprocessing.shape
            crop = self.plan.crop
            shape = (slices, crop or rows, crop or columns)
            outside = self.preprocessing.outside_hu
            shown = presentations.present(rng, hu, lesions, shape, crop is not None, outside)
            return self._with_lesions(shown.hu, shown.lesions, k)
        if self.plan.crop is not None and lesions is not None:
            field = _field_of_view(rng, hu.shape, self.plan.crop)
            hu, lesions = hu[field], lesions[field]
        grid_hu = hu.astype(np.float32)
        if self.augment:
            columns_shown = mirrored(rng)
            grid_hu = self.in_other_density(rng, grid_hu[..., columns_shown])
            lesions = None if lesions is None else lesions[..., columns_shown]
        return self._with_lesions(grid_hu, lesions, k)

    def _with_lesions(self, grid_hu: NDArray[np.float32], lesions: Shares | None, k: int) -> Item:
        item = self.item(grid_hu, k)
        return item if lesions is None else (*item, torch.from_numpy(np.ascontiguousarray(lesions)))


def _field_of_view(rng: np.random.Generator, shape: tuple[int, ...], crop: int) -> tuple[slice, slice, slice]:
    margin = [(n - crop) // 8 for n in shape[1:]]  # the body rarely reaches the corners
    y, x = (int(rng.integers(m, n - crop - m + 1)) for m, n in zip(margin, shape[1:], strict=True))
    return slice(None), slice(y, y + crop), slice(x, x + crop)


def give_long_memory(network: ConvLSTMNetwork, slices: int) -> None:
    """Chrono initialisation of the last unit: forget bias log U(1, T - 1), input bias its negative."""
    filters = network.units[-1].recurrence.filters
    with torch.no_grad():
        bias = network.units[-1].recurrence.input_conv.bias
        assert bias is not None
        forget = torch.log(torch.empty(filters).uniform_(1, slices - 1))
        bias[filters : 2 * filters] = forget
        bias[:filters] = -forget


def enlarge(network: ConvLSTMNetwork, image_size: int) -> ConvLSTMNetwork:
    """The same network for larger slices: every place of the last unit votes with the crop network's mean weight."""
    large = FastConvLSTM(dataclasses.replace(network.config, image_size=image_size))
    state = network.state_dict()
    channels = network.dense.in_features // network.config.final_size**2
    mean = state.pop("dense.weight").view(channels, network.config.final_size**2).mean(1)
    state["dense.weight"] = mean[:, None].expand(-1, large.config.final_size**2).reshape(1, -1).clone()
    large.load_state_dict(state)
    return large
