"""Splits by patient: each label in the paper's proportions, and its very counts when the cohort is its size.

Source: Braman, Beymer, Dehghan (2018), section 2.1. The same seed gives the same split on every machine, whatever the
order of the rows, because patients are put into the order of a hash of seed and name.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import EmphysemaScannerError
from .manifest import SPLITS, CohortRow, suspected_patients

PAPER_PATIENTS = {"train": 3_166, "tune": 1_319, "test": 2_163}
PAPER_VOLUMES = {"train": 4_197, "tune": 2_434, "test": 2_163}
PAPER_TEST_PATIENTS = {0: 1_585, 1: 578}
PAPER_COHORT = {0: (3_859, 4_987), 1: (2_789, 3_807)}  # label: patients, volumes

Groups = Mapping[str, Sequence[CohortRow]]


class SplitError(EmphysemaScannerError):
    """A cohort cannot be split."""


@dataclass(frozen=True)
class Split:
    """A cohort with its splits.

    Attributes:
        rows: with ``split`` set, in the order they came in; of a test patient only one volume.
        left_out: further volumes of test patients, in no split.
    """

    rows: tuple[CohortRow, ...]
    left_out: tuple[CohortRow, ...]


def split_cohort(rows: Iterable[CohortRow], seed: int = 1) -> Split:
    """Assign each patient to train, tune or test.

    A patient is positive who has a positive volume. Of each label 3,166 : 1,319 : 2,163 of the patients go to train,
    tune and test, to within one. A cohort of the paper's size (patients and volumes of each label) gets the paper's
    counts of patients and of positive and negative test volumes, and of all volumes where some choice of patients adds
    up to them; none of its volumes is left out. Splits that the rows had are forgotten.

    Raises:
        SplitError: a label has fewer than three patients, so that a split would lack it; or two patients are suspected
            to be one, whom a split might part.
    """
    rows = tuple(rows)
    if suspected := suspected_patients(rows):
        more = f" ({len(suspected) - 1} more such findings.)" if len(suspected) > 1 else ""
        raise SplitError(suspected[0] + more)
    patients: defaultdict[str, list[CohortRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (_order(seed, f"{row.patient}\n{row.volume.name}"), row.volume)):
        patients[row.patient].append(row)
    strata: dict[int, list[str]] = {0: [], 1: []}
    for patient in sorted(patients, key=lambda patient: _order(seed, patient)):
        strata[_label(patients[patient])].append(patient)
    for label, members in strata.items():
        if len(members) < len(SPLITS):
            title = "with" if label else "without"
            raise SplitError(f"{len(members)} patients {title} emphysema cannot be in three splits; add patients.")
    if all(_size(strata[label], patients) == size for label, size in PAPER_COHORT.items()):
        home = _paper_split(strata, patients)
    else:
        home = {
            patient: split
            for members in strata.values()
            for patient, split in _shared_out(members, PAPER_PATIENTS).items()
        }
    return _assigned(rows, patients, home)


def counts(rows: Iterable[CohortRow]) -> dict[str, tuple[int, int, int]]:
    """Volumes, positive volumes and patients of each split that there is, "" for none."""
    table: dict[str, tuple[int, int, int]] = {}
    by_split: defaultdict[str, list[CohortRow]] = defaultdict(list)
    for row in rows:
        by_split[row.split].append(row)
    for split in (*SPLITS, ""):
        if members := by_split[split]:
            table[split] = (len(members), sum(row.label for row in members), len({row.patient for row in members}))
    return table


def _order(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()


def _label(rows: Iterable[CohortRow]) -> int:
    return max(row.label for row in rows)


def _size(members: Sequence[str], patients: Groups) -> tuple[int, int]:
    return len(members), sum(len(patients[patient]) for patient in members)


def _shared_out(members: Sequence[str], shares: Mapping[str, int]) -> dict[str, str]:
    """Patients in the proportions of ``shares``, by the largest remainder."""
    number, whole = len(members), sum(shares.values())
    sizes = {split: number * share // whole for split, share in shares.items()}
    by_remainder = sorted(shares, key=lambda split: -(number * shares[split] % whole))
    for split in by_remainder[: number - sum(sizes.values())]:
        sizes[split] += 1
    return dict(zip(members, (split for split, size in sizes.items() for _ in range(size)), strict=True))


def _assigned(rows: Sequence[CohortRow], patients: Groups, home: Mapping[str, str]) -> Split:
    # Of a test patient the volume that shows the patient's label, and of those the first in the hash's order.
    tested = {
        id(next(row for row in group if row.label == _label(group)))
        for patient, group in patients.items()
        if home[patient] == "test"
    }
    kept, left_out = [], []
    for row in rows:
        if home[row.patient] != "test" or id(row) in tested:
            kept.append(dataclasses.replace(row, split=home[row.patient]))
        else:
            left_out.append(dataclasses.replace(row, split=""))
    return Split(tuple(kept), tuple(left_out))


def _paper_split(strata: Mapping[int, Sequence[str]], patients: Groups) -> dict[str, str]:
    """The paper's counts of patients, and of volumes where some choice of patients adds up to them."""
    home: dict[str, str] = {}
    cells: defaultdict[tuple[int, int], list[str]] = defaultdict(list)  # (label, volumes of the patient)
    for label, members in strata.items():
        # At this size there are always enough patients with one volume: 4,987 volumes leave 2,731 of 3,859 with one.
        singles = [patient for patient in members if len(patients[patient]) == 1]
        home.update(dict.fromkeys(singles[: PAPER_TEST_PATIENTS[label]], "test"))
        for patient in members:
            if patient not in home:
                cells[label, len(patients[patient])].append(patient)
    tuned = _tuning_counts({cell: len(members) for cell, members in sorted(cells.items())})
    if tuned is None:
        for members in strata.values():
            learned = [patient for patient in members if patient not in home]
            home.update(_shared_out(learned, {split: PAPER_PATIENTS[split] for split in ("train", "tune")}))
        return home
    for cell, members in cells.items():
        for k, patient in enumerate(members):
            home[patient] = "tune" if k < tuned[cell] else "train"
    return home


def _tuning_counts(sizes: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], int] | None:
    """How many patients of each cell (label, volumes) tune, so that patients and volumes are the paper's.

    As near to each cell's share as can be, in sum of absolute differences; each label's share is kept within one
    patient where that is possible. A linear programme in whole numbers, with a handful of unknowns.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    cells = list(sizes)
    number = len(cells)
    available = np.array([sizes[cell] for cell in cells], float)
    wanted = available * PAPER_PATIENTS["tune"] / available.sum()
    ones, none = np.eye(number), np.zeros(number)
    volumes = np.array([volumes for _, volumes in cells], float)
    positive = np.array([label for label, _ in cells], float)
    # Unknowns: the count x of each cell, then its distance d from what is wanted: d >= x - wanted, d >= wanted - x.
    near = LinearConstraint(np.block([[ones, -ones], [-ones, -ones]]), ub=np.concatenate([wanted, -wanted]))
    totals = LinearConstraint(
        np.array([[*np.ones(number), *none], [*volumes, *none]]),
        lb=(exact := [PAPER_PATIENTS["tune"], PAPER_VOLUMES["tune"]]),
        ub=exact,
    )
    share = positive @ wanted
    balanced = LinearConstraint(np.array([[*positive, *none]]), lb=np.floor(share), ub=np.ceil(share))
    for constraints in ([near, totals, balanced], [near, totals]):
        found = milp(
            np.concatenate([none, np.ones(number)]),
            integrality=np.concatenate([np.ones(number), none]),
            bounds=Bounds(0, np.concatenate([available, np.full(number, np.inf)])),
            constraints=constraints,
        )
        if found.success:
            return dict(zip(cells, np.rint(found.x[:number]).astype(int).tolist(), strict=True))
    return None
