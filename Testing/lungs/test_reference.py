"""Published figures of healthy people, narrowed to a person as far as the publications allow."""

from __future__ import annotations

import math

import pytest
from EmphysemaScannerLib.lungs.reference import REFERENCES, Person, Sex, expected_laa_950_percent, references_for


def test_without_knowledge_of_the_person_the_figures_are_as_published() -> None:
    assert references_for(Person()) == REFERENCES
    assert all(reference.source and reference.population and reference.value for reference in REFERENCES)


def test_a_known_sex_narrows_the_figure() -> None:
    assert references_for(Person(Sex.MALE))[1].value == "men 3.6 % (SD 3.2)"
    assert references_for(Person(Sex.FEMALE))[1].value == "women 1.3 % (SD 2.0)"


def test_the_published_equation_gives_its_figure_and_needs_everything() -> None:
    man = Person(Sex.MALE, age_years=50, height_cm=172, weight_kg=70)
    assert expected_laa_950_percent(man) == pytest.approx(
        (0.2027 + 0.05926 - 4.111e-3 * 70 + 4.924e-3 * 172 + 8.504e-4 * 50) ** 7.341 - 0.05
    )
    assert "0.29 %" in references_for(man)[2].value
    assert math.isnan(expected_laa_950_percent(Person(Sex.MALE, 50, 172)))
    assert expected_laa_950_percent(Person(Sex.FEMALE, 20, 100, 200)) == 0
