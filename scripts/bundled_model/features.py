"""Looks at chests as units 1 to 3 of a network read them: these do not change, so that unit 4 can learn in minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from chests import read_twins
from EmphysemaScannerLib.models import fast_reading
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMNetwork
from looks import Kind, Look, draw
from torch import Tensor
from torch.nn import functional

_PLACE = 16  # rows and columns of the input that one place of unit 4 covers


@dataclass(frozen=True)
class Truth:
    """Where lesions are in looks.

    Attributes:
        lesions: (looks, 35, h, w) the share of each place of unit 4 in lesions.
        highest: (looks, 35) the highest share of any voxel of a slice.
    """

    lesions: Tensor
    highest: Tensor


@dataclass(frozen=True)
class Features:
    """Looks, two at a time of the same content.

    Attributes:
        states: (looks, 35, channels, 2 h, 2 w) the normalised hidden states of unit 3.
        truth: of the same looks.
    """

    states: Tensor
    truth: Truth


def truth_of(looks: list[Look]) -> Truth:
    """Where lesions are in these looks."""
    share = torch.from_numpy(np.stack([look.lesions for look in looks]))
    return Truth(functional.avg_pool2d(share, _PLACE), share.amax((2, 3)))


def make(
    network: ConvLSTMNetwork, healthy: list[Path], diseased: list[Path], out: Path, count: int, kind: Kind, seed: int
) -> list[Path]:
    """Draw so many contents, every second one with disease, and read them; those that are there are kept."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{number:05d}.npz" for number in range(count)]
    for number, path in enumerate(paths):
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number])
        some = diseased if number % 2 else healthy
        looks = draw(rng, read_twins(some[int(rng.integers(len(some)))]), bool(number % 2), kind)
        truth = truth_of(looks)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(
                file,
                states=_read(network, np.stack([look.x for look in looks])).view(torch.int16).numpy(),
                lesions=truth.lesions.numpy(),
                highest=truth.highest.numpy(),
            )
        part.replace(path)
    return paths


def _read(network: ConvLSTMNetwork, x: np.ndarray) -> Tensor:
    volumes = torch.from_numpy(x)[:, :, None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        hidden = fast_reading.hidden_states(network.units[:3], volumes)[2]
        return network.units[2].normalised(hidden.float()).to(torch.bfloat16).contiguous()


def read(paths: list[Path]) -> Features:
    files = [np.load(path) for path in paths]
    states = torch.cat([torch.from_numpy(file["states"]).view(torch.bfloat16) for file in files]).float()
    lesions, highest = (
        torch.from_numpy(np.concatenate([file[key] for file in files])) for key in ("lesions", "highest")
    )
    return Features(states, Truth(lesions, highest))
