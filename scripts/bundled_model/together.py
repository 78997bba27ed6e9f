"""Units 2 to 4 and the dense layer learn together, at every step from freshly drawn looks; unit 1 stays as it is.

Heads on units 2 and 3, which are scaffolding and no part of the network, learn where in a slice there is disease. At
first they learn alone, so that their first gradients do not spoil what these units know.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from chests import read_twins
from EmphysemaScannerLib.models import fast_learning, fast_reading
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMNetwork
from features import Truth, truth_of
from looks import CUT_CROPS, draw
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from unit4 import CONTENTS, Evidence, Losses

WARM = 100  # steps in which rates rise; those of units 2 and 3 rise after them, when the heads have learned
_ALIKE = 0.1
_HEADS = 0.3  # weight of the heads' loss
_DECAY = 0.997  # of the moving average of the weights, which is what remains; less in the first steps
_CLIPPED_EARLY, _CLIPPED_LATE = 0.5, 1.0
_LEAST_RATE = 1e-6
_SURE = 0.5  # share in lesions of a voxel from which a head is to be certain
_STREAM = 61
_TOLD_EVERY = 25  # steps
_KEPT_EVERY_S = 240.0


@dataclass(frozen=True)
class Shown:
    """The looks of a step.

    Attributes:
        x: (looks, 35, 1, h, w) the network's input.
        share: (looks, 35, h, w) of its voxels in lesions.
        truth: for unit 4.
        alike: how much neighbouring looks are held to one answer; 0 where they are of different contents.
    """

    x: Tensor
    share: Tensor
    truth: Truth
    alike: float


class Pupil(nn.Module):
    """What learns, and how wrong it is."""

    def __init__(self, network: ConvLSTMNetwork, evidence: Evidence) -> None:
        super().__init__()
        self.network, self.evidence = network.eval(), evidence
        network.units[0].requires_grad_(False)
        self.heads = nn.ModuleList([nn.Conv2d(unit.recurrence.filters, 1, 1) for unit in network.units[1:3]])
        for head in self.heads:
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, -2.0)

    @property
    def early(self) -> list[nn.Parameter]:
        return [*self.network.units[1].parameters(), *self.network.units[2].parameters()]

    @property
    def late(self) -> list[nn.Parameter]:
        return [*self.network.units[3].parameters(), self.evidence.weight, self.evidence.scale]

    def losses(self, shown: Shown, step: int) -> tuple[Losses, Tensor]:
        """Those of the evidence, and that of the heads."""
        first, *others = self.network.units
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                states = first.normalised(fast_reading.hidden_states((first,), shown.x)[0].float())
            hidden = fast_learning.hidden_states(others, states)
        seen = [states.float() if step >= WARM else states.float().detach() for states in hidden[:2]]
        wrong = [_head_loss(head, states, shown.share) for head, states in zip(self.heads, seen, strict=True)]
        return self.evidence(others[2], hidden[2], shown.truth), torch.stack(wrong).sum()


def _head_loss(head: nn.Module, states: Tensor, share: Tensor) -> Tensor:
    """At every place of every slice: is there disease here?"""
    target = (functional.max_pool2d(share, share.shape[-1] // states.shape[-1]) / _SURE).clamp(max=1)
    return functional.binary_cross_entropy_with_logits(
        head(states.flatten(0, 1)), target.flatten(0, 1)[:, None], pos_weight=torch.tensor(4.0)
    )


def shown_at(step: int, healthy: list[Path], diseased: list[Path], seed: int) -> Shown:
    """Half of the contents have disease; every second step has two looks at each, the others twice as many contents."""
    count, looks = 1 + step % 2, []
    for number in range(2 * CONTENTS // count):
        rng = np.random.default_rng([seed, _STREAM, step, number])
        some = diseased if number % 2 else healthy
        looks += draw(rng, read_twins(some[int(rng.integers(len(some)))]), bool(number % 2), CUT_CROPS, count)
    x, share = (torch.from_numpy(np.stack([getattr(look, of) for look in looks])) for of in ("x", "lesions"))
    return Shown(x[:, :, None], share, truth_of(looks), _ALIKE if count == 2 else 0.0)


def optimiser_of(pupil: Pupil) -> torch.optim.AdamW:
    """Each group with its highest rate, and the step before which it does not rise."""
    groups = [
        {"params": pupil.early, "highest": 3e-4, "before": WARM},
        {"params": pupil.late, "highest": 1e-3, "before": -1},
        {"params": [*pupil.heads.parameters()], "highest": 3e-3, "before": -1},
        {"params": [pupil.evidence.bias], "highest": 2e-2, "before": -1, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, weight_decay=1e-3)


def set_rates(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """They rise in a straight line and fall as a cosine."""
    fall = 0.5 + 0.5 * math.cos(math.pi * step / steps)
    for group in optimiser.param_groups:
        rise = min(1.0, max(0.0, (step - group["before"]) / WARM))
        group["lr"] = group["highest"] * rise * fall + _LEAST_RATE


def _averaged(average: Tensor, now: Tensor, count: Tensor) -> Tensor:
    return average.lerp(now, 1 - min(_DECAY, int(count) / (int(count) + 9)))


@dataclass(frozen=True)
class Course:
    """A training with all that it needs to go on."""

    pupil: Pupil
    average: AveragedModel
    optimiser: torch.optim.AdamW
    steps: int
    seed: int

    @classmethod
    def of(cls, network: ConvLSTMNetwork, evidence: Evidence, steps: int, seed: int) -> Course:
        pupil = Pupil(network, evidence)
        average = AveragedModel(pupil, avg_fn=_averaged)
        average.update_parameters(pupil)  # the average begins as the pupil does
        return cls(pupil, average, optimiser_of(pupil), steps, seed)

    def step(self, shown: Shown, step: int) -> list[float]:
        """Learn once from some looks; the losses."""
        set_rates(self.optimiser, step, self.steps)
        losses, heads = self.pupil.losses(shown, step)
        self.optimiser.zero_grad()
        (losses.total(shown.alike) + _HEADS * heads).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.pupil.early, _CLIPPED_EARLY)
        nn.utils.clip_grad_norm_(self.pupil.late, _CLIPPED_LATE)
        self.optimiser.step()
        self.average.update_parameters(self.pupil)
        return [float(loss.detach()) for loss in (losses.running, losses.where, losses.differs, heads)]

    def keep(self, path: Path, done: int) -> None:
        states = {name: getattr(self, name).state_dict() for name in ("pupil", "average", "optimiser")}
        torch.save({**states, "done": done, "steps": self.steps, "seed": self.seed}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def go_on(self, path: Path) -> int:
        """Load what was kept, if anything; the number of steps that are done."""
        if not path.exists():
            return 0
        kept = torch.load(path, weights_only=True)
        if (kept["steps"], kept["seed"]) != (self.steps, self.seed):
            raise SystemExit(
                f"{path} is of a training of {kept['steps']} steps with seed {kept['seed']}, not of {self.steps} "
                f"steps with seed {self.seed}; move it away to begin again."
            )
        for name in ("pupil", "average", "optimiser"):
            getattr(self, name).load_state_dict(kept[name])
        return int(kept["done"])


def learn(
    network: ConvLSTMNetwork,
    evidence: Evidence,
    healthy: list[Path],
    diseased: list[Path],
    folder: Path,
    steps: int,
    seed: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Teach units 2 to 4 and the dense layer; the network gets the averaged weights at the end.

    Args:
        network: for crops, with a unit 4 that has learned already.
        evidence: its dense layer, likewise.
        healthy: files of chests that presentations without disease are drawn from.
        diseased: those with disease.
        folder: of the state, ``last.pt``, from which the same call goes on, and of ``log.txt``.
        steps: of eight looks each.
        seed: of all that is drawn.
        say: told the losses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    course, path = Course.of(network, evidence, steps, seed), folder / "last.pt"
    told, kept_at = [], time.monotonic()
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        for step in range(course.go_on(path), steps):
            told.append(course.step(shown_at(step, healthy, diseased, seed), step))
            if (step + 1) % _TOLD_EVERY == 0 or step + 1 == steps:
                running, where, differs, heads = np.mean(told[-4 * _TOLD_EVERY :], 0)
                line = (
                    f"{step + 1} of {steps} steps, units 2 to 4: running {running:.3f}, where {where:.4f}, "
                    f"differs {differs:.2f}, heads {heads:.3f}"
                )
                say(line)
                print(time.strftime("%Y-%m-%d %H:%M:%S"), line, file=log, flush=True)
            if time.monotonic() - kept_at > _KEPT_EVERY_S or step + 1 == steps:
                course.keep(path, step + 1)
                kept_at = time.monotonic()
    course.pupil.load_state_dict(course.average.module.state_dict())
    evidence.put_into(network)
