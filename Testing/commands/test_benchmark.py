"""The product's own measurement: what it compares, what it refuses, what it prints; of times nothing is asserted."""

from __future__ import annotations

import pytest
import torch
from EmphysemaScannerLib.commands.cli import main
from EmphysemaScannerLib.evaluation import speed
from EmphysemaScannerLib.evaluation.speed import DifferentAnswerError
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMNetwork


def test_the_command_prints_a_row_for_reading_learning_and_scanning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "--device", "cpu", "--quick"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for row in ("reading, batch 4, float32", "learning, batch 4, 32 x 32, bfloat16", "whole scan"):
        assert row in printed


def test_a_device_that_is_not_there_is_refused_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "--device", "cuda", "--quick"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "There is no cuda device that torch can use here; choose auto or cpu.\n"


def test_a_device_that_calculates_something_else_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ConvLSTMNetwork.to

    def wrong(network: ConvLSTMNetwork, *args: object) -> ConvLSTMNetwork:
        with torch.no_grad():
            network.dense.bias += 0.01
        return plain(network, *args)

    monkeypatch.setattr(ConvLSTMNetwork, "to", wrong)
    with pytest.raises(DifferentAnswerError, match="another answer than the CPU"):
        speed.run_benchmark(speed.Device.CPU, quick=True)
    monkeypatch.undo()
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("difference", [float("nan"), 1.0])
def test_an_answer_that_is_far_off_or_not_a_number_is_different(difference: float) -> None:
    with pytest.raises(DifferentAnswerError):
        speed._check(difference, torch.device("cpu"))
