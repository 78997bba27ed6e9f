"""Where and with how many bits the network runs, as the window offers it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.ct.reading import CT
from EmphysemaScannerLib.models.modelfile import load
from EmphysemaScannerLib.scan.device import Device, Precision, attribute_on, choose, scan_on, take_own_gpu
from EmphysemaScannerLib.scan.result import ScanResult


def test_every_device_and_precision_has_a_name_of_its_own_for_the_window() -> None:
    for choices in (Device, Precision):
        labels = [choice.label() for choice in choices]
        assert all(labels)
        assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (Precision.AUTO, torch.float32),
        (Precision.FLOAT32, torch.float32),
        (Precision.BFLOAT16, torch.bfloat16),
    ],
)
def test_a_scan_calculates_in_the_precision_that_was_asked_for(
    precision: Precision,
    dtype: torch.dtype,
    model_path: Path,
    tiny_chest: sitk.Image,
    make_result: Callable[..., ScanResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def scan(*_: object, **arguments: Any) -> ScanResult:
        asked.append(arguments["dtype"])
        return make_result()

    monkeypatch.setattr("EmphysemaScannerLib.scan.scan.scan", scan)
    scan_on(choose(Device.CPU), CT(tiny_chest), load(model_path), lambda *_: None, "chest", precision)
    assert asked == [dtype]


@pytest.mark.parametrize(
    ("environment", "gpus", "taken"),
    [
        ({"LOCAL_RANK": "1"}, 2, [1]),
        ({"LOCAL_RANK": "5"}, 2, [1]),
        ({"SLURM_LOCALID": "3"}, 4, [3]),
        ({"SLURM_LOCALID": "3"}, 1, [0]),  # of which the process sees no other
        ({}, 2, []),
        ({"LOCAL_RANK": "1"}, 0, []),
    ],
)
def test_processes_of_one_machine_take_one_gpu_each(
    environment: dict[str, str], gpus: int, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", set_to.append)
    take_own_gpu()
    assert set_to == taken


def test_an_attribution_that_a_gpu_has_too_little_memory_for_is_made_on_the_cpu(
    model_path: Path, tiny_chest: sitk.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(model_path)
    moved_to: list[str] = []

    def attribute(*_: object, **__: object) -> str:
        if moved_to[-1] == "cuda":
            raise torch.OutOfMemoryError
        return "the attribution"

    monkeypatch.setattr(model.network, "to", lambda device: moved_to.append(str(device)))
    monkeypatch.setattr("EmphysemaScannerLib.scan.attribution.attribute", attribute)
    assert attribute_on(torch.device("cuda"), tiny_chest, model, lambda *_: None) == "the attribution"
    assert moved_to == ["cuda", "cpu"]
