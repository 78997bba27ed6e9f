#!/usr/bin/env python3
"""Make the bundled model from one that is there: a new unit 4 adds up evidence over the lungs, then units 2 to 4 learn.

    .venv/bin/python scripts/bundled_model/make.py OUT --start MODEL --train train/manifest-full.csv --chests CT ... \
        --tune tune/manifest-full.csv --tune-chests CT ... --card docs/demonstration-model.card.json

``make.sh`` simulates the cases first. What is there already is kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import time
from pathlib import Path

import features
import numpy as np
import together
import torch
import unit4
from chests import DARK_PERCENT, PREPROCESSING, chests, read_twins, twins_of
from EmphysemaScannerLib.cohort.manifest import read_manifest
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.evaluation.statistics import Predictions, balancing_shift, fit_temperature
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMNetwork
from EmphysemaScannerLib.models.likeness import measures, training_range
from EmphysemaScannerLib.models.modelcard import OperatingPoint, TrainingRange
from EmphysemaScannerLib.training.aids import enlarge
from EmphysemaScannerLib.training.card import card_texts
from looks import CROPS, WHOLE
from scipy.special import expit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the work")
    parser.add_argument(
        "--start", type=Path, required=True, help="model whose unit 1 is kept, and whose units 2 and 3 go on"
    )
    parser.add_argument("--train", type=Path, required=True, help="manifest of simulated twins")
    parser.add_argument("--chests", type=Path, nargs="+", required=True, help="the chests they were made from")
    parser.add_argument("--tune", type=Path, required=True, help="manifest of simulated cases of other chests")
    parser.add_argument("--tune-chests", type=Path, nargs="+", required=True)
    parser.add_argument("--card", type=Path, required=True, help="the card's texts")
    parser.add_argument("--crops", type=int, default=2500, help="contents shown in crops")
    parser.add_argument("--whole", type=int, default=600, help="contents shown as whole lungs")
    parser.add_argument("--epochs", type=float, nargs=2, default=(8, 4), help="of crops, of whole lungs")
    parser.add_argument("--together", type=int, default=3000, help="steps in which units 2 to 4 learn together")
    given = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)

    start = modelfile.load(given.start)
    assert isinstance(start.network, ConvLSTMNetwork)
    small = enlarge(start.network, PREPROCESSING.shape[1] // 2).eval()
    unit4.begin_adding(small)
    evidence = unit4.Evidence(small.units[3].recurrence.filters)
    healthy, diseased = chests(given.train, given.chests, given.out / "chests")
    learn_unit4(small, evidence, healthy, diseased, given)
    together.learn(small, evidence, healthy, diseased, given.out / "together", given.together, say=say)

    network = enlarge(small, PREPROCESSING.shape[1]).eval()
    temperature, point = tuned(network, given.tune, given.tune_chests, given.out / "tune")
    texts = card_texts(given.card)
    card = dataclasses.replace(
        start.card,
        preprocessing=PREPROCESSING,
        operating_point=point,
        temperature=temperature,
        trained_on=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        training_range=range_of([*healthy, *diseased]),
        metrics=(),
        disease_map=None,
        class_weights=None,
        **texts,
    )
    modelfile.save(given.out / "model.safetensors", network, card)
    say(f"Written to {given.out / 'model.safetensors'}.")


def learn_unit4(
    small: ConvLSTMNetwork,
    evidence: unit4.Evidence,
    healthy: list[Path],
    diseased: list[Path],
    given: argparse.Namespace,
) -> None:
    """Unit 4 and the dense layer alone, on crops and then on whole lungs, which units 1 to 3 read once."""
    both, kept = torch.nn.ModuleList([small, evidence]), given.out / "unit4.pt"
    if kept.exists():
        both.load_state_dict(torch.load(kept, weights_only=True))
        return
    seen = features.make(small, healthy, diseased, given.out / "crops", given.crops, CROPS, seed=41)
    unit4.learn(small, evidence, seen, given.epochs[0], 2e-3, 0.1, say)
    seen = features.make(small, healthy, diseased, given.out / "whole", given.whole, WHOLE, seed=47)
    unit4.learn(small, evidence, seen, given.epochs[1], 6e-4, 0.2, say)
    torch.save(both.state_dict(), kept.with_suffix(".part"))
    kept.with_suffix(".part").replace(kept)


def say(what: str) -> None:
    print(time.strftime("%H:%M:%S"), what, flush=True)


def tuned(network: ConvLSTMNetwork, manifest: Path, cts: list[Path], kept: Path) -> tuple[float, OperatingPoint]:
    """Balance, temperature and operating point (Youden index) from the tuning chests, each read both ways.

    The balance is added to the bias, so that a probability of one half is even.
    """
    logits, labels, who = [], [], []
    rows = read_manifest(manifest)
    dark = [read_twins(path).healthy.dark_percent > DARK_PERCENT for path in twins_of(list(rows), kept)]
    asked = [(row.volume, row.label, row.patient) for k, row in enumerate(rows) if row.label or not dark[k // 2]]
    for volume, label, patient in [*asked, *((ct, 0, ct.name) for ct in cts)]:
        x = PREPROCESSING.normalise(PREPROCESSING.read(read_ct(volume).image)[0])
        with torch.inference_mode():
            both = network(torch.from_numpy(np.stack([x, x[::-1]]))[:, :, None]).logit
        logits += both.tolist()
        labels += [label] * 2
        who += [patient] * 2
    truth = np.array(labels)
    shift = balancing_shift(np.array(logits), truth)
    with torch.no_grad():
        network.dense.bias.add_(shift)
    balanced = np.array(logits) + shift
    temperature = fit_temperature(balanced, truth)
    point = Predictions(truth, expit(balanced / temperature), tuple(who)).youden_threshold()
    chests_named = ", ".join(ct.name.split(".")[0] for ct in cts)
    source = (
        f"Youden index on {len(asked)} simulated cases of the tuning chests ({chests_named}) and on these chests, each "
        "read both ways; also used to calibrate"
    )
    return temperature, OperatingPoint(point, source)


def range_of(paths: list[Path]) -> TrainingRange | None:
    """Where the chests of the training lie, as the network sees whole lungs."""
    found = []
    for path in sorted(set(paths)):
        twins = read_twins(path)
        found += [measures(one.seen()) for one in (twins.healthy, twins.diseased) if one is not None]
    return training_range(found)


if __name__ == "__main__":
    main()
