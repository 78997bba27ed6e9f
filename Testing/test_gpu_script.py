"""The script that measures on a GPU, rehearsed on the CPU: each part gives its table, and what differs is marked."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    path = Path(__file__).resolve().parents[1] / "scripts" / "gpu.py"
    spec = importlib.util.spec_from_file_location("gpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "gpu", module)  # for its dataclasses
        spec.loader.exec_module(module)
        yield module


def test_a_rehearsal_has_every_table_and_nothing_failed(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_compiled_elsewhere", lambda *_: float("inf"))  # a minute
    page = gpu.page(gpu.Run(torch.device("cpu")))
    for title in (
        "Floors",
        "Equality with the CPU",
        "Out of memory",
        "A whole scan",
        "Reading by batch size",
        "A step of training",
        "The recurrence",
    ):
        assert f"## {title}\n" in page
    assert "Failed" not in page
    assert "**" not in page  # nothing differs from the CPU, which it is
    assert "| with 32 MiB | 0.0e+00 | yes |" in page
    assert "MIL, attention pooling" in page


def test_what_differs_too_much_is_marked_and_a_part_that_fails_stops_no_other(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu._judged(0.5, 0.1) == "**5.0e-01, more than 0.1**"
    assert gpu._judged(float("nan"), 0.1).startswith("**")

    def broken(run: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu, "PARTS", (broken, gpu.floors))
    page = gpu.page(gpu.Run(torch.device("cpu")))
    assert "**Failed:** RuntimeError: no such kernel" in page
    assert "## Floors" in page


@pytest.mark.parametrize("learning", [True, False])
def test_the_bytes_of_a_convolution_are_those_of_its_input_weights_and_output(gpu: ModuleType, learning: bool) -> None:
    layer = torch.nn.Conv2d(1, 2, 3, padding=1)
    with gpu.Moved() as moved, torch.inference_mode(not learning):
        layer(torch.zeros(1, 1, 4, 4))
    assert moved.bytes == 4 * (16 + 18 + 32)
