"""Splits: no patient is cut, the same seed gives the same split, shares and the paper's counts are kept."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import pytest
from EmphysemaScannerLib.cohort.manifest import SPLITS, CohortRow
from EmphysemaScannerLib.cohort.split import SplitError, counts, split_cohort
from hypothesis import given
from hypothesis import strategies as st

SHARES = {"train": Fraction(3166, 6648), "tune": Fraction(1319, 6648), "test": Fraction(2163, 6648)}


def cohort_of(volumes: dict[int, list[int]]) -> list[CohortRow]:
    """For each label, the number of volumes of each of its patients."""
    return [
        CohortRow(Path(f"/ct/{label}-{patient}/T{k}/ct.nrrd"), label, f"{label}-{patient}")
        for label, patients in volumes.items()
        for patient, number in enumerate(patients)
        for k in range(number)
    ]


patients = st.lists(st.integers(1, 4), min_size=3, max_size=60)
cohorts = st.builds(lambda healthy, sick: cohort_of({0: healthy, 1: sick}), patients, patients)


@given(rows=cohorts, seed=st.integers(0, 2**32))
def test_no_patient_is_cut_and_no_volume_is_lost(rows: list[CohortRow], seed: int) -> None:
    split = split_cohort(rows, seed)
    homes = defaultdict(set)
    for row in split.rows:
        homes[row.patient].add(row.split)
    assert all(len(home) == 1 and home < {*SPLITS} for home in homes.values())
    assert homes.keys() == {row.patient for row in rows}
    assert Counter(row.volume for row in (*split.rows, *split.left_out)) == Counter(row.volume for row in rows)
    assert all(homes[row.patient] == {"test"} for row in split.left_out)
    tested = [row.patient for row in split.rows if row.split == "test"]
    assert len(tested) == len(set(tested))


@given(rows=cohorts, seed=st.integers(0, 2**32))
def test_each_label_has_the_papers_shares_within_one_patient(rows: list[CohortRow], seed: int) -> None:
    split = split_cohort(rows, seed)
    for label in (0, 1):
        homes = {row.patient: row.split for row in split.rows if row.label == label}
        for name, share in SHARES.items():
            assert abs(sum(home == name for home in homes.values()) - share * len(homes)) < 1


@given(rows=cohorts, seed=st.integers(0, 2**32), mixing=st.randoms())
def test_the_same_seed_gives_the_same_split_in_any_order(
    rows: list[CohortRow], seed: int, mixing: random.Random
) -> None:
    mixed = rows.copy()
    mixing.shuffle(mixed)
    assert {*map(str, split_cohort(mixed, seed).rows)} == {*map(str, split_cohort(rows, seed).rows)}


def test_another_seed_gives_another_split() -> None:
    rows = cohort_of({0: [1] * 50, 1: [1] * 50})
    assert split_cohort(rows, 1) != split_cohort(rows, 2)


def test_a_split_stays_what_it_was_in_earlier_versions() -> None:
    healthy = [row.split for row in split_cohort(cohort_of({0: [1] * 5, 1: [1] * 5}), 1).rows if not row.label]
    assert healthy == ["test", "test", "train", "tune", "train"]


def test_the_volume_that_is_tested_is_not_the_same_exam_of_everybody() -> None:
    rows = [CohortRow(Path(f"/ct/{p}/T{k}"), p % 2, f"p{p}") for p in range(60) for k in range(3)]
    tested = Counter(row.volume.name for row in split_cohort(rows).rows if row.split == "test")
    assert tested.keys() == {"T0", "T1", "T2"}


def test_a_patient_with_volumes_of_both_labels_is_positive_and_tested_on_a_positive_volume() -> None:
    rows = [CohortRow(Path(f"/ct/{p}-{k}"), k, f"p{p}") for p in range(9) for k in (0, 1)]
    rows += cohort_of({0: [1] * 9})
    tested = [row for row in split_cohort(rows).rows if row.split == "test" and row.patient.startswith("p")]
    assert tested
    assert all(row.label == 1 for row in tested)


def of_size(patients: int, volumes: int, singles: int, seed: int) -> list[int]:
    """Volumes of each patient, 1 to 3, in a random order, adding up, with at least so many patients of one volume."""
    rng = random.Random(seed)
    number = [1] * patients
    for _ in range(volumes - patients):
        number[rng.choice([k for k in rng.sample(range(singles, patients), 50) if number[k] < 3])] += 1
    rng.shuffle(number)
    return number


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cohort_of_the_papers_size_gets_exactly_the_papers_counts(seed: int) -> None:
    rows = cohort_of({0: of_size(3_859, 4_987, 1_600, seed), 1: of_size(2_789, 3_807, 600, seed)})
    split = split_cohort(rows, seed)
    found = counts(split.rows)
    assert {name: (volumes, people) for name, (volumes, _, people) in found.items()} == {
        "train": (4_197, 3_166),
        "tune": (2_434, 1_319),
        "test": (2_163, 2_163),
    }
    assert found["test"][1] == 578
    assert not split.left_out
    for name, patients in (("train", 3_166), ("tune", 1_319)):
        positive = {row.patient for row in split.rows if row.split == name and row.label}
        assert abs(len(positive) - patients * (2_789 - 578) / (6_648 - 2_163)) < 1


def test_a_cohort_of_the_papers_size_whose_volumes_cannot_add_up_still_has_the_papers_patients() -> None:
    rows = cohort_of({0: [1_129] + [1] * 3_858, 1: [1_019] + [1] * 2_788})  # two patients have nearly all the volumes
    split = split_cohort(rows)
    found = counts(split.rows)
    assert [people for _, _, people in found.values()] == [3_166, 1_319, 2_163]
    assert found["test"][:2] == (2_163, 578)
    assert found["tune"][0] != 2_434
    assert not split.left_out


def test_too_few_patients_of_a_label_are_one_sentence() -> None:
    with pytest.raises(SplitError, match="2 patients with emphysema"):
        split_cohort(cohort_of({0: [1] * 9, 1: [1, 1]}))
