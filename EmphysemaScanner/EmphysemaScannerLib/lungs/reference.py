"""What LAA%-950 healthy people have, as published: figures with their population and source, none of our own."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import Enum


class Sex(str, Enum):
    """As DICOM's PatientSex has it."""

    FEMALE = "F"
    MALE = "M"


@dataclass(frozen=True)
class Person:
    """What is known of the patient; None is unknown.

    Attributes:
        sex: female or male.
        age_years: age at the CT.
        height_cm: height.
        weight_kg: weight.
    """

    sex: Sex | None = None
    age_years: float | None = None
    height_cm: float | None = None
    weight_kg: float | None = None

    def completed_by(self, other: Person) -> Person:
        """What is known here, and of the rest what the other knows."""
        return Person(
            sex=self.sex if self.sex is not None else other.sex,
            age_years=self.age_years if self.age_years is not None else other.age_years,
            height_cm=self.height_cm if self.height_cm is not None else other.height_cm,
            weight_kg=self.weight_kg if self.weight_kg is not None else other.weight_kg,
        )


NOBODY = Person()
"""Of whom nothing is known."""


@dataclass(frozen=True)
class Reference:
    """LAA%-950 of a healthy population.

    Attributes:
        name: of the study.
        population: who they were.
        value: what was found, in words.
        source: where it is published.
    """

    name: str
    population: str
    value: str
    source: str


MESA = Reference(
    "MESA Lung",
    "854 healthy never-smokers of several ethnicities, 54 to 93 years, in the USA",
    "median 1.1 % (interquartile range 0.5 to 2.5 %); 1.2 points higher in men than in women",
    "Hoffman et al., Ann Am Thorac Soc 2014;11:898-907",
)
COPDGENE = Reference(
    "COPDGene",
    "92 healthy non-Hispanic white non-smokers, mean age 63 years, in the USA",
    "mean 2.0 % (SD 2.7); men 3.6 % (SD 3.2), women 1.3 % (SD 2.0)",
    "Zach et al., Invest Radiol 2012;47:596-602",
)
RUIJIN = Reference(
    "Ruijin Hospital",
    "564 Chinese adults with normal lung function and a normal chest CT",
    "median 0.19 % (0.03 to 0.43 %)",
    "Cheng et al., Int J Chron Obstruct Pulmon Dis 2019;14:1657-1668",
)
REFERENCES = (MESA, COPDGENE, RUIJIN)

_OF_SEX = {Sex.MALE: "men 3.6 % (SD 3.2)", Sex.FEMALE: "women 1.3 % (SD 2.0)"}


def references_for(person: Person) -> tuple[Reference, ...]:
    """The published figures, narrowed to the person's sex and size as far as the publications allow."""
    found = [MESA, COPDGENE if person.sex is None else _copdgene_of(person.sex)]
    expected = expected_laa_950_percent(person)
    value = RUIJIN.value
    if math.isfinite(expected):
        value = f"{value}; their equation gives {expected:.2f} % for this sex, age, height and weight"
    return (*found, dataclasses.replace(RUIJIN, value=value))


def expected_laa_950_percent(person: Person) -> float:
    """LAA%-950 by the reference equation of Cheng et al. 2019 (Chinese adults); NaN where the person is not known.

    (0.2027 + 0.05926 * (1 for men) - 0.004111 * weight + 0.004924 * height + 0.0008504 * age)**7.341 - 0.05, with
    weight in kg, height in cm and age in years; not below 0.
    """
    age, height, weight = person.age_years, person.height_cm, person.weight_kg
    if person.sex is None or age is None or height is None or weight is None:
        return math.nan
    base = 0.2027 + 0.05926 * (person.sex is Sex.MALE) - 4.111e-3 * weight + 4.924e-3 * height + 8.504e-4 * age
    return max(0.0, math.pow(max(base, 0.0), 7.341) - 0.05)


def _copdgene_of(sex: Sex) -> Reference:
    return dataclasses.replace(COPDGENE, value=_OF_SEX[sex])
