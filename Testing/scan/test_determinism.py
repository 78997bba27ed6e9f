"""The same CT and model on the same device give the same bits: again, reloaded, and in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import determinism
import pytest
import SimpleITK as sitk
import torch
from childprocess import ENVIRONMENT
from determinism import digest
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.scan.scan import scan
from everymodel import NAMES, model_of
from phantom import phantom_image


@pytest.mark.parametrize("architecture", NAMES)
def test_the_same_scan_gives_the_same_bits_again_and_from_a_reloaded_model(architecture: str, tmp_path: Path) -> None:
    model, image = model_of(architecture), phantom_image()
    modelfile.save(tmp_path / "model.safetensors", model.network, model.card)
    first = scan(image, model)
    assert digest(scan(image, model)) == digest(first)
    assert digest(scan(image, modelfile.load(tmp_path / "model.safetensors"))) == digest(first)
    assert 0 < first.probability < 1


def test_the_digest_sees_every_bit_of_an_answer() -> None:
    model, image = model_of("conv_lstm"), phantom_image()
    first = scan(image, model)
    with torch.no_grad():
        model.network.dense.bias.add_(1e-6)
    assert digest(scan(image, model)) != digest(first)


def test_a_scan_before_changes_no_bit_of_the_next(tmp_path: Path) -> None:
    model, image = model_of("conv_lstm"), phantom_image()
    first = digest(scan(image, model))
    other = sitk.Flip(phantom_image(), (True, False, False)) + 13
    scan(other, model)
    scan(other, model_of("cnn3d"))
    assert digest(scan(image, model)) == first


def elsewhere(path: Path, *threads: int) -> list[tuple[str, float]]:
    """Digests and logits of scans with so many threads each, in a process of its own."""
    ran = subprocess.run(
        [sys.executable, determinism.__file__, str(path), *map(str, threads)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [(found, float(logit)) for found, logit in map(str.split, ran.stdout.splitlines())]


def test_another_process_gives_the_same_bits_and_other_thread_counts_nearly_the_same_answer(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = model_of("conv_lstm")
    modelfile.save(path, model.network, model.card)
    here = scan(phantom_image(), model)
    (one, logit), *others = elsewhere(path, 1, 2, 3, 1)
    assert others[-1] == (one, logit)
    if torch.get_num_threads() == 1:
        assert one == digest(here)
    for _, other in others:
        assert other == pytest.approx(logit, abs=1e-5)


@pytest.mark.soak
@pytest.mark.parametrize("architecture", NAMES)
def test_ten_scans_on_each_of_several_thread_counts_give_the_same_bits(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = model_of(architecture)
    modelfile.save(path, model.network, model.card)
    counts = (1, 2, 3, 8)
    runs = [elsewhere(path, *counts * 5) for _ in range(2)]
    answers = {threads: {run[k] for run in runs for k in range(i, 20, 4)} for i, threads in enumerate(counts)}
    assert all(len(of_one) == 1 for of_one in answers.values())
    digests = {found for of_one in answers.values() for found, _ in of_one}
    logits = [logit for of_one in answers.values() for _, logit in of_one]
    print(f"{architecture}: {len(digests)} digests of {counts} threads, logits within {max(logits) - min(logits):g}")
    assert max(logits) - min(logits) < 1e-5
