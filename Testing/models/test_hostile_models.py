"""Model files of strangers: mutated at random, they are refused in a sentence, with little memory, and run nothing.

A hundred here; a thousand with ``make soak``. Those that load are those whose checksum says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import hostilemodels
import pytest
import torch
from childprocess import ENVIRONMENT
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.modelcard import ModelCard
from EmphysemaScannerLib.scan.scan import scan
from everymodel import model_of
from phantom import phantom_image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is bounded on Linux only")


@pytest.mark.parametrize(("count", "seed"), [(100, 1), pytest.param(1000, 2, marks=pytest.mark.soak)])
def test_mutated_model_files_are_refused_in_a_sentence_with_bounded_memory_and_run_nothing(
    count: int, seed: int
) -> None:
    """The process may take 300 MB more than its libraries need; anything but a refusal in a sentence ends it."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", hostilemodels.__file__, str(count), str(seed)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout)
    print(told)
    assert told["files"] == count
    assert told["slowest_s"] < 60  # bounded, not fast
    assert sum(number for name, number in told.items() if name.endswith("refused")) > 0.9 * count


def card_with(**changes: object) -> str:
    return json.dumps({**model_of("conv_lstm").card.to_dict(), **changes})


@pytest.mark.parametrize(
    "text",
    [
        card_with(preprocessing={"shape": [2**25, 16, 16]}),
        card_with(preprocessing={"shape": [35, 32, 32], "padding_hu": float("inf")}),
        card_with(preprocessing={"shape": [35, 32, 32], "window_low_hu": -(10**400)}),
        card_with(temperature=10**400),
        card_with(temperature=float("nan")),
        card_with(parameters=10**300),
        card_with(name="\x1b]0;title\x07"),
        card_with(name="\ud800"),
        card_with(name="a" * 201),
        card_with(limits="a\0b"),
        card_with(**{"\x1b[2J" * 1000: 1}),
        card_with()[:-1] + ', "width": 8}',
        card_with()[:-1] + "," * 3,
    ],
    ids=range(13),
)
def test_a_card_with_what_no_card_has_is_refused_in_a_short_printable_sentence(text: str) -> None:
    with pytest.raises(ModelFileError, match="card cannot be understood") as caught:
        ModelCard.from_json(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_card_may_have_lines_and_all_letters() -> None:
    words = "Ein Satz.\nمی\u200cخواهم, نفاخ الرئة, 肺気腫, 5\u202f% ≥ 3"  # noqa: RUF001
    assert ModelCard.from_json(card_with(training_data=words)).training_data == words


def test_a_network_whose_finite_weights_give_no_number_is_refused_by_the_scan(tmp_path: Path) -> None:
    model = model_of("conv_lstm")
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.fill_(3e38)
    modelfile.save(tmp_path / "huge.safetensors", model.network, model.card)
    with pytest.raises(ModelFileError, match="not a number"):
        scan(phantom_image(), modelfile.load(tmp_path / "huge.safetensors"))
