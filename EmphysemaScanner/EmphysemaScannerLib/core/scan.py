"""One CT through one model: the whole way from an image to a ScanResult, and the only place that knows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checks import check_image, doubts
from .conv_lstm import ConvLSTMNetwork, Direction
from .densitometry import measure_regions
from .errors import ModelFileError
from .grid import Grid, area_average, canonical
from .lungs import segment_lungs
from .modelfile import Model
from .progress import Progress, silent
from .result import OverlayMap, ScanResult


def scan(
    image: sitk.Image,
    model: Model,
    *,
    progress: Progress = silent,
    source: str = "",
    dtype: torch.dtype = torch.float32,
) -> ScanResult:
    """Ask a model about a chest CT.

    Args:
        image: a CT in HU, any orientation, as ``reading.read_ct`` gives it.
        model: as ``modelfile.load`` gives it; the scan runs on the device where its weights are.
        progress: told of each stage and slice; whatever it raises ends the scan.
        source: what the user calls this CT, kept in the result.
        dtype: what the units' convolutions are calculated in; the answer and the evidence are always float32.

    Raises:
        NotAChestCTError: (or one of its kinds) the image cannot be scanned; the message says why.
        ModelFileError: the model's architecture has no slice-by-slice reading.
    """
    network = model.network
    if not isinstance(network, ConvLSTMNetwork):
        raise ModelFileError(f"Scanning needs a conv_lstm model; this one is a {model.card.architecture}.")
    timings: dict[str, float] = {}

    progress(0.0, "Checking the image")
    with _timed(timings, "check"):
        check_image(image)
        oriented = canonical(image)
        hu = sitk.GetArrayViewFromImage(oriented)  # (slices, rows, columns)
        ct_grid = Grid.of_image(oriented)

    progress(0.05, "Finding the lungs")
    with _timed(timings, "lung_mask"):
        labels = segment_lungs(oriented)

    progress(0.4, "Measuring density")
    with _timed(timings, "densitometry"):
        densitometry = measure_regions(hu, labels, ct_grid.spacing_mm)
        warnings = doubts(oriented, labels)

    progress(0.5, "Averaging onto the network's grid")
    with _timed(timings, "resampling"):
        preprocessing = model.card.preprocessing
        grid = ct_grid.resized(preprocessing.shape)
        network_input = preprocessing.normalise(preprocessing.average(hu))
        lung_fraction = area_average(labels > 0, preprocessing.shape)
        laa_by_slice = _laa_by_slice(hu, labels, preprocessing.shape[0])

    with _timed(timings, "network"):
        reading = _Reading(progress, len(network.reading_units), preprocessing.shape[0])
        device = next(network.parameters()).device
        with torch.inference_mode():
            x = torch.from_numpy(network_input).to(device)[None, :, None]  # (1, T, 1, H, W)
            with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
                hidden = network.read(x, reading.next_slice)
            activations = {
                name: states[0].float().square().mean(1).sqrt().cpu().numpy()
                for name, states in zip(network.unit_names, hidden, strict=True)
            }
            last = hidden[-1].float()
            terms, bias = _running_terms(network, last[0])
            logit = float(network.answer(last)[0])
    timings["total"] = sum(timings.values())

    order = _reading_order(network, preprocessing.shape[0])
    slice_evidence = terms.sum((1, 2))[order]
    return ScanResult(
        probability=float(1 / (1 + np.exp(-logit))),
        logit=logit,
        bias=bias,
        running_logit=bias + np.cumsum(slice_evidence),
        slice_evidence=slice_evidence,
        slice_positions_mm=grid.slice_positions_mm()[order],
        slice_indices=order,
        evidence=_overlay(terms, grid),
        activations={name: _overlay(values, grid) for name, values in activations.items()},
        lung_mask=OverlayMap(labels, ct_grid),
        lung_fraction=OverlayMap(lung_fraction, grid),
        densitometry=densitometry,
        laa_950_by_slice_percent=laa_by_slice[order],
        warnings=warnings,
        model=model.card,
        timings_s=timings,
        source=source,
    )


class _Reading:
    """Counts the slices that all units read, for progress."""

    def __init__(self, progress: Progress, units: int, slices: int) -> None:
        self.progress, self.units, self.slices, self.done = progress, units, slices, 0

    def next_slice(self) -> None:
        unit, number = divmod(self.done, self.slices)
        stage = f"Reading: unit {unit + 1} of {self.units}, slice {number + 1} of {self.slices}"
        self.progress(0.6 + 0.4 * self.done / (self.units * self.slices), stage)
        self.done += 1


def _reading_order(network: ConvLSTMNetwork, slices: int) -> NDArray[np.int64]:
    """Slice indices (inferior to superior) in the order in which the last unit reads them."""
    order = np.arange(slices)
    return order if network.reading_units[-1].recurrence.direction is Direction.ASCENDING else order[::-1].copy()


def _running_terms(network: ConvLSTMNetwork, states: Tensor) -> tuple[NDArray[np.float64], float]:
    """What each slice added to the logit at each place, and the logit before any slice was read.

    The dense layer applied to the state after slice t gives the running logit. What slice t added are its terms by
    place less those of the state before, which is zero before the first slice.

    Args:
        states: hidden states of the fourth unit, (T, C, 8, 8), inferior to superior.

    Returns:
        (T, 8, 8) inferior to superior, and the bias.
    """
    with_start = torch.cat([torch.zeros_like(states[:1]), states[_reading_order(network, len(states)).tolist()]])
    maps = network.evidence(with_start).double().cpu().numpy()  # (1 + T, 8, 8) in reading order
    added = np.diff(maps, axis=0)
    in_space = np.empty_like(added)
    in_space[_reading_order(network, len(states))] = added
    return in_space, float(network.dense.bias.item() + maps[0].sum())


def _overlay(values: NDArray[np.floating], grid: Grid) -> OverlayMap:
    """A map of a unit, on the input grid coarsened by the unit's pooling."""
    return OverlayMap(np.ascontiguousarray(values, np.float32), grid.resized(values.shape))


def _laa_by_slice(hu: NDArray[np.number], labels: NDArray[np.uint8], slices: int) -> NDArray[np.float64]:
    """LAA%-950 of the CT slices that fall into each slice of the grid (by their centres), inferior to superior."""
    lung = labels > 0
    voxels = lung.sum((1, 2))
    low = ((hu < -950) & lung).sum((1, 2))
    owner = np.minimum((np.arange(len(voxels)) + 0.5) * slices // len(voxels), slices - 1).astype(int)
    total = np.bincount(owner, voxels, slices)
    counts = np.bincount(owner, low, slices)
    share: NDArray[np.float64] = np.divide(counts, total, out=np.full(slices, np.nan), where=total > 0)
    return 100 * share


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - start
