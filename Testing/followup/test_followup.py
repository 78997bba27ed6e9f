"""Two CTs of one patient: what is called a change, what disturbs it, what is refused, and what is written."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.ct.dicomheader import Patient
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.followup import contents, figures, saving
from EmphysemaScannerLib.followup.changemap import ChangeMap, density_change
from EmphysemaScannerLib.followup.comparison import Change, Comparison, Verdict, course
from EmphysemaScannerLib.followup.differences import Kind
from EmphysemaScannerLib.followup.figures import Figure
from EmphysemaScannerLib.followup.followup import FollowUp
from EmphysemaScannerLib.followup.technique import Technique
from EmphysemaScannerLib.followup.timepoint import FollowUpError, TimePoint, parse_dates
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.lungs.densitometry import measure_lungs
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from EmphysemaScannerLib.lungs.registration import RegistrationQuality
from EmphysemaScannerLib.scan.manifest import RunManifest
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult
from EmphysemaScannerLib.simulator.disease import Subtype
from EmphysemaScannerLib.simulator.samples import real_chest_ct
from EmphysemaScannerLib.simulator.years import Visit, at_visit
from phantom import phantom

FIRST, LATER = date(2024, 3, 1), date(2026, 3, 1)
STATED = Technique(None, Patient("P1", "A", "19600101"), "Maker One", "B30f", 1.0, 40.0, 3.0, 120.0)
MakePoint = Callable[..., TimePoint]


@pytest.fixture
def point(make_result: Callable[..., ScanResult], tiny_chest: sitk.Image) -> MakePoint:
    """A CT of a day: figures of the whole lungs in place of the phantom's, and how it was acquired."""

    def make(
        day: date = FIRST,
        technique: Technique = STATED,
        noise_hu: float = 10.0,
        blood_hu: float = 40.0,
        run: RunManifest | None = None,
        coverage: Coverage | None = None,
        **whole: float,
    ) -> TimePoint:
        result = make_result(run=run, coverage=coverage or Coverage(0.0, 0.0), source=f"CT of {day}")
        known = {"laa_950_percent": 5.0, "perc15_hu": -930.0, "mean_hu": -850.0, "volume_l": 5.0}
        lungs = dataclasses.replace(result.densitometry["whole"], **{**known, **whole})
        result = dataclasses.replace(result, densitometry={**result.densitometry, "whole": lungs})
        return TimePoint(day, tiny_chest, result, technique, noise_hu, blood_hu)

    return make


def change(compared: Comparison, figure: Figure) -> Change:
    return next(change for change in compared.changes if change.figure is figure)


def compare(*points: TimePoint) -> Comparison:
    return course(points).comparisons[-1]


def test_a_change_within_the_limits_is_called_repeatability_and_one_beyond_them_is_not(point: MakePoint) -> None:
    small = compare(point(), point(LATER, laa_950_percent=6.0, perc15_hu=-936.0))
    assert change(small, figures.LAA_950).verdict is Verdict.WITHIN
    assert change(small, figures.PERC15_ADJUSTED).verdict is Verdict.WITHIN
    large = compare(point(), point(LATER, laa_950_percent=6.2, perc15_hu=-940.0))
    assert change(large, figures.LAA_950).verdict is Verdict.BEYOND
    assert change(large, figures.PERC15).verdict is Verdict.WITHIN  # without adjustment, breath alone moves it so far
    assert change(large, figures.PERC15_ADJUSTED).verdict is Verdict.BEYOND
    assert change(large, figures.PROBABILITY).verdict is Verdict.NO_LIMIT
    assert change(large, figures.PERC15_ADJUSTED).per_year == pytest.approx(-5.0, rel=0.01)


def test_volume_adjusted_figures_stay_where_only_air_was_breathed_in(point: MakePoint) -> None:
    breath = 1.2
    deeper = point(LATER, volume_l=5.0 * breath, perc15_hu=70 / breath - 1000, mean_hu=150 / breath - 1000)
    compared = compare(point(), deeper)
    assert change(compared, figures.PERC15).difference < -10
    assert change(compared, figures.PERC15_ADJUSTED).difference == pytest.approx(0, abs=1e-9)
    assert change(compared, figures.MEAN_ADJUSTED).difference == pytest.approx(0, abs=1e-9)
    assert [difference.kind for difference in compared.differences] == [Kind.BREATH]


def test_a_change_beyond_the_limits_is_not_left_standing_where_the_breath_differs(point: MakePoint) -> None:
    compared = compare(point(), point(LATER, volume_l=6.0, laa_950_percent=9.0, perc15_hu=-960.0))
    assert change(compared, figures.LAA_950).verdict is Verdict.DISTURBED
    assert change(compared, figures.PERC15_ADJUSTED).verdict is Verdict.BEYOND  # breath is accounted for


@pytest.mark.parametrize(
    ("later", "kind"),
    [
        ({"technique": dataclasses.replace(STATED, kernel="B70f")}, Kind.KERNEL),
        ({"technique": dataclasses.replace(STATED, scanner="Maker Two")}, Kind.SCANNER),
        ({"technique": dataclasses.replace(STATED, tube_kv=100.0)}, Kind.SCANNER),
        ({"technique": dataclasses.replace(STATED, thickness_mm=2.0)}, Kind.THICKNESS),
        ({"technique": dataclasses.replace(STATED, exposure_mas=90.0)}, Kind.DOSE),
        ({"technique": dataclasses.replace(STATED, ctdi_mgy=6.0)}, Kind.DOSE),
        ({"technique": dataclasses.replace(STATED, contrast_agent="iohexol")}, Kind.CONTRAST),
        ({"noise_hu": 20.0}, Kind.DOSE),
        ({"blood_hu": 250.0}, Kind.CONTRAST),
        ({"coverage": Coverage(0.0, 12.0)}, Kind.COVERAGE),
        ({"volume_l": 4.0}, Kind.BREATH),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else "",
)
def test_what_differs_beside_the_lungs_is_named_and_disturbs_a_change(
    point: MakePoint, later: dict[str, object], kind: Kind
) -> None:
    compared = compare(point(), point(LATER, laa_950_percent=12.0, **later))
    assert [difference.kind for difference in compared.differences] == [kind]
    assert compared.differences[0].sentence.endswith(".")
    assert change(compared, figures.LAA_950).verdict is Verdict.DISTURBED


def test_two_cts_of_one_protocol_differ_in_nothing(point: MakePoint) -> None:
    assert compare(point(), point(LATER, noise_hu=12.0, blood_hu=50.0, volume_l=5.3)).differences == ()


def test_cts_that_state_no_patient_are_compared_with_a_warning(point: MakePoint) -> None:
    nobody = Technique()
    assert [d.kind for d in compare(point(technique=nobody), point(LATER, nobody)).differences] == [Kind.PATIENT]


def test_a_rate_is_not_extrapolated_from_weeks(point: MakePoint) -> None:
    soon = compare(point(), point(date(2024, 4, 1), laa_950_percent=9.0))
    assert np.isnan(change(soon, figures.LAA_950).per_year)


def test_cts_are_compared_by_date_whatever_their_order_and_that_is_said(point: MakePoint) -> None:
    turned = course([point(LATER, laa_950_percent=9.0), point()])
    assert [p.taken for p in turned.points] == [FIRST, LATER]
    assert change(turned.comparisons[0], figures.LAA_950).difference == pytest.approx(4.0)
    assert "another order" in turned.notes[0]
    assert course([point(), point(LATER)]).notes == ()


def test_what_makes_no_follow_up_is_refused_in_a_sentence(point: MakePoint) -> None:
    stranger = dataclasses.replace(STATED, patient=Patient("P2", "A", "19600101"))
    run = RunManifest("1", "", "abc", "cpu", "float32", "2026-01-01")
    refused: list[tuple[Sequence[TimePoint], str]] = [
        ([point()], "two or more CTs"),
        ([point(), point(LATER, stranger)], "different patients"),
        ([point(), point(FIRST)], "same date"),
        ([point(run=run), point(LATER, run=run)], "same CT, voxel by voxel"),
    ]
    for points, said in refused:
        with pytest.raises(FollowUpError, match=said):
            course(points)


def test_a_name_that_changed_does_not_make_another_patient(point: MakePoint) -> None:
    married = dataclasses.replace(STATED, patient=Patient("P1", "B", "19600101"))
    assert compare(point(), point(LATER, married)).differences == ()


@pytest.mark.parametrize(
    ("text", "said"), [("2024-03-01", "2 CTs but 1 dates"), ("2024-03-01,03/04/2026", "'03/04/2026' is not a date")]
)
def test_dates_that_are_none_or_too_few_are_refused(text: str, said: str) -> None:
    with pytest.raises(FollowUpError, match=said):
        parse_dates(text, 2)


# -- the change map ------------------------------------------------------------------------------------------------


def test_the_map_shows_what_was_lost_and_nothing_where_the_same_tissue_fills_more_volume() -> None:
    shape, mm = (24, 40, 40), (2.5, 2.0, 2.0)
    grid = Grid(shape, mm, (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    lungs = np.zeros(shape, bool)
    lungs[2:-2, 4:-4, 4:-4] = True
    breath = np.full(shape, 1.25, np.float32)
    before = np.full(shape, -850.0)
    after = np.full(shape, 150 / 1.25 - 1000)
    after[:, :, 20:] -= 30 / 1.25
    found, compared, cells = density_change(before, after, breath, lungs, grid)
    kept, lost = found[:, :, : cells.shape[2] // 4][compared[:, :, : cells.shape[2] // 4]], found[:, :, -3:]
    assert np.abs(kept).max() < 0.5
    assert lost[compared[:, :, -3:]] == pytest.approx(-30, abs=0.5)
    assert (found[~compared] == 0).all()


# -- simulated years -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def healthy() -> tuple[sitk.Image, np.ndarray]:
    """The sample chest, coarser in its slices' planes, and its lungs."""
    image = real_chest_ct()
    grid = Grid.of_image(image)
    small = sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), (2, 2, 1))
    assert small.GetSize()[2] == grid.shape[0]
    return small, segment_lungs(small)


def measured(image: sitk.Image, labels: np.ndarray | None = None) -> dict[str, float]:
    labels = segment_lungs(image) if labels is None else labels
    spacing = image.GetSpacing()[::-1]
    return dataclasses.asdict(measure_lungs(sitk.GetArrayFromImage(image), labels, spacing).regions["whole"])


def test_disease_that_grew_is_measured_as_it_grew_and_breath_alone_is_adjusted_for(
    healthy: tuple[sitk.Image, np.ndarray], point: MakePoint
) -> None:
    image, labels = healthy

    def visit(*extents: float, descent_mm: float = 0.0) -> sitk.Image:
        return at_visit(image, labels, Visit(extents, descent_mm), Subtype.PANLOBULAR, 3)

    early, grown, deeper = visit(6.0), visit(6.0, 16.0), visit(6.0, descent_mm=30.0)
    truth = measured(grown, labels)["laa_950_percent"] - measured(early, labels)["laa_950_percent"]
    disease = compare(point(**measured(early)), point(LATER, **measured(grown)))
    assert truth > 1.5
    assert change(disease, figures.LAA_950).difference == pytest.approx(truth, abs=0.3)
    assert change(disease, figures.LAA_950).verdict is Verdict.BEYOND
    breath = compare(point(**measured(early)), point(LATER, **measured(deeper)))
    raw, adjusted = (abs(change(breath, figure).difference) for figure in (figures.PERC15, figures.PERC15_ADJUSTED))
    assert raw > 6
    assert adjusted < min(4, raw / 2)
    assert abs(change(breath, figures.MEAN_ADJUSTED).difference) < 5
    assert change(breath, figures.VOLUME).difference > 0.3


# -- what is written -----------------------------------------------------------------------------------------------


@pytest.fixture
def follow_up(point: MakePoint) -> FollowUp:
    compared = course([point(), point(LATER, dataclasses.replace(STATED, kernel="B70f"), laa_950_percent=9.0)])
    hu, labels = phantom()
    grid = compared.points[0].result.lung_mask.grid
    change, lungs, cells = density_change(hu, hu - 20, np.ones(hu.shape, np.float32), labels > 0, grid)
    quality = RegistrationQuality(0.97, 0.8, 0.0, 1.2)
    made = ChangeMap(compared.comparisons[0], OverlayMap(change, cells), lungs, (hu - 20).astype(np.int16), quality)
    return FollowUp(compared, (made,))


def test_tables_pages_and_maps_hold_the_same_changes(follow_up: FollowUp, tmp_path: Path) -> None:
    names = saving.write_follow_up(follow_up, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    with (tmp_path / "changes.csv").open(newline="") as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    assert float(rows["laa_950"]["change"]) == pytest.approx(4.0)
    assert rows["laa_950"]["verdict"] == "beyond_repeatability_but_technique_differs"
    values = json.loads((tmp_path / "followup.json").read_text())
    assert values["comparisons"][0]["changes"]["laa_950"]["change"] == pytest.approx(4.0)
    assert values["comparisons"][0]["differences"][0]["kind"] == "kernel"
    page = (tmp_path / "followup.html").read_text()
    for said in ("+4.0", "kernels differ (B30f; B70f)", "Gietema", "Research use only", "Dice) 0.970"):
        assert said in page
    assert "progressed" not in page
    assert "Registration of " not in page  # a warning's title
    assert values["comparisons"][0]["map"]["registration"]["warnings"] == []
    assert (tmp_path / "followup.pdf").read_bytes().startswith(b"%PDF")
    written = sitk.ReadImage(str(tmp_path / "density_change_2026-03-01.nrrd"))
    inside = sitk.GetArrayFromImage(written)[follow_up.maps[0].lungs]
    assert inside == pytest.approx(-20, abs=1)
    assert sitk.ReadImage(str(tmp_path / "registered_2026-03-01.nrrd")).GetSize() == (64, 64, 70)


def test_a_map_that_failed_leaves_the_figures_and_states_why(follow_up: FollowUp) -> None:
    without = FollowUp(follow_up.course, (), ("2026-03-01: The lungs could not be registered.",))
    boxes = [line for box in contents.warnings(without) for line in box.lines]
    assert "No change map of 2026-03-01: The lungs could not be registered." in boxes
    assert [section.title for section in contents.page(without).sections].count("Where density changed") == 0
