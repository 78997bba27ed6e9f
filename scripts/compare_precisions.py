#!/usr/bin/env python3
"""Whether a model may calculate in 16 bits by default: its answers in float32 and in bfloat16, case by case.

    .venv/bin/python scripts/compare_precisions.py test/manifest.csv [--model model.safetensors]

It may where no call at the operating point changes and no probability moves by more than 0.002.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from EmphysemaScannerLib.base.progress import silent
from EmphysemaScannerLib.cohort.manifest import read_manifest
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.scan.answers import answer
from scipy.special import expit

MOST = 0.002


def main() -> None:
    """Compare, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", type=Path, default=default_model_path())
    args = parser.parse_args()
    model = modelfile.load(args.model)
    card = model.card
    found = []
    for row in read_manifest(args.manifest):
        volume, _ = card.preprocessing.apply(read_ct(row.volume).image)
        x = torch.from_numpy(volume)[None, :, None]
        found.append([answer(model.network, x, silent, dtype).logit for dtype in (torch.float32, torch.bfloat16)])
    probabilities = expit(np.array(found) / card.temperature)
    apart = np.abs(probabilities[:, 0] - probabilities[:, 1])
    calls = probabilities >= card.operating_point.probability
    changed = int((calls[:, 0] != calls[:, 1]).sum())
    print(f"{len(apart)} cases: calls changed {changed}; probability moved by {np.median(apart):.5f} in the median,")
    print(f"{apart.max():.4f} at most, by more than {MOST} in {int((apart > MOST).sum())}.")
    print("bfloat16 may be the default." if not changed and apart.max() <= MOST else "float32 stays the default.")


if __name__ == "__main__":
    main()
