"""What a DICOM header states of age, sex, height and weight, for published figures of healthy people."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from EmphysemaScannerLib.lungs.dicomperson import person_in_file, person_of
from EmphysemaScannerLib.lungs.reference import NOBODY, Person, Sex


def header(**values: str) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    ("stated", "years"),
    [("045Y", 45), ("9M", None), ("030M", 2), ("030W", None), ("300W", 5), ("900D", 2), ("000Y", None), ("121Y", None)],
)
@pytest.mark.filterwarnings("ignore")  # of values that break the standard
def test_an_age_is_in_whole_years_and_an_impossible_one_is_unknown(stated: str, years: int | None) -> None:
    assert person_of(header(PatientAge=stated)).age_years == years


def test_an_age_that_is_not_stated_follows_from_the_dates() -> None:
    born = {"PatientBirthDate": "19640812"}
    assert person_of(header(**born, StudyDate="20240811")).age_years == 59
    assert person_of(header(**born, StudyDate="20240812")).age_years == 60
    assert person_of(header(**born, AcquisitionDate="20240812")).age_years == 60
    assert person_of(header(**born, StudyDate="20240812", PatientAge="058Y")).age_years == 58
    assert person_of(header(**born)) == NOBODY
    assert person_of(header(PatientBirthDate="19000101", StudyDate="20240812")) == NOBODY


@pytest.mark.filterwarnings("ignore")  # of values that break the standard
def test_sex_height_and_weight_are_read_where_they_are_possible() -> None:
    assert person_of(header(PatientSex="F", PatientSize="1.72", PatientWeight="70.5")) == Person(
        Sex.FEMALE, None, 172.0, 70.5
    )
    assert person_of(header(PatientSex="M")).sex is Sex.MALE
    assert person_of(header(PatientSex="O", PatientSize="172", PatientWeight="0")) == NOBODY


def test_a_file_that_cannot_be_read_states_nothing(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(b"\x10\0\x10\x10AS\4")
    assert person_in_file(damaged) == NOBODY
    assert person_in_file(tmp_path / "none.dcm") == NOBODY
