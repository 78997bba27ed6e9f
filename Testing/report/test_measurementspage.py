"""The page that defines every figure is the one that the code gives, and leaves none out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from EmphysemaScannerLib.lungs.densitometry import Densitometry
from EmphysemaScannerLib.lungs.measurements import Distribution
from EmphysemaScannerLib.lungs.measures import CLUSTER_MEASURES, DISTRIBUTION_MEASURES, LUNG_MEASURES
from EmphysemaScannerLib.report.measurementspage import measurements_page

PAGE = Path(__file__).parents[2] / "docs/measurements.md"


def test_the_page_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == measurements_page(), (
        "write it anew: python -m EmphysemaScannerLib.report.measurementspage > docs/measurements.md"
    )


def test_every_figure_is_defined_once() -> None:
    fields = [measure.field for measure in (*LUNG_MEASURES, *CLUSTER_MEASURES, *DISTRIBUTION_MEASURES)]
    assert len(set(fields)) == len(fields)
    assert {field.name for field in dataclasses.fields(Densitometry)} == {measure.field for measure in LUNG_MEASURES}
    assert [f.name for f in dataclasses.fields(Distribution)] == [measure.field for measure in DISTRIBUTION_MEASURES]
    for measure in (*LUNG_MEASURES, *CLUSTER_MEASURES, *DISTRIBUTION_MEASURES):
        assert measure.definition.endswith("."), measure.field
