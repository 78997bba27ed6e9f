"""What was measured beside densitometry, in the report, the window's panel and the tables."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from EmphysemaScannerLib.lungs.densitometry import HISTOGRAM_HU, Densitometry, measure_lungs
from EmphysemaScannerLib.lungs.further import measure_further
from EmphysemaScannerLib.lungs.measurements import Kernel, Measurements, Normalised
from EmphysemaScannerLib.lungs.reference import Person, Sex
from EmphysemaScannerLib.lungs.scope import Scope
from EmphysemaScannerLib.report import measured, pictures, richtext
from EmphysemaScannerLib.report.blocks import Drawing, Entries, Picture, Table
from EmphysemaScannerLib.report.contents import Case, contents, headline
from EmphysemaScannerLib.report.densitychart import density_chart
from EmphysemaScannerLib.report.saving import write_plots
from EmphysemaScannerLib.report.tablefiles import densitometry_csv, further_csvs
from EmphysemaScannerLib.scan.result import ScanResult
from matplotlib.figure import Figure
from phantom import SPACING_MM, phantom, phantom_image

MakeResult = Callable[..., ScanResult]


@pytest.fixture(scope="module")
def everything() -> Measurements:
    hu, labels = phantom()
    hu[30:34, 28:36, 16:22] = -990
    hu[20, 30, 15], hu[22, 30, 15:17], hu[24, 30, 15:18], hu[26, 30, 15:19] = -990, -990, -990, -990
    found = measure_further(hu, labels, SPACING_MM, measure_lungs(hu, labels, SPACING_MM), Scope.ALL, sharp=False)
    height = {side: np.linspace(0, 9, 35) for side in ("right", "left")}
    return dataclasses.replace(found, laa_950_by_height_percent=height)


@pytest.fixture
def result(make_result: MakeResult, everything: Measurements) -> ScanResult:
    return make_result(measurements=everything)


def sharp(result: ScanResult) -> ScanResult:
    whole = dataclasses.replace(result.densitometry["whole"], laa_950_percent=0.4, perc15_hu=-901.0)
    normalised = Normalised(Kernel((58.0, 22.0), (0.3, 1.0)), {"whole": whole})
    return dataclasses.replace(result, measurements=dataclasses.replace(result.measurements, normalised=normalised))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_report_has_all_measurements_and_the_plots(result: ScanResult) -> None:
    sections = {section.title: section.blocks for section in contents(Case(phantom_image(), result)).sections}
    tables = {block.titles[0]: block for block in sections["All measurements"] if isinstance(block, Table)}
    assert list(tables) == ["Density", "Parts of the lungs", "Distribution", "Clusters and bullae", "Kernel and noise"]
    assert [row[0] for row in tables["Parts of the lungs"].rows][-2:] == ["Core", "Rind"]
    assert tables["Clusters and bullae"].rows[0][1] == f"{result.measurements.clusters['whole'].exponent:.2f}"
    drawings = [block.drawing for block in sections["Densitometry"] if isinstance(block, Picture)]
    assert drawings == [Drawing.DENSITY]


def test_a_result_without_measurements_has_neither_section_nor_plots(make_result: MakeResult) -> None:
    plain = make_result()
    assert measured.all_measurements(plain) == ()
    assert further_csvs(plain) == {}
    assert richtext.all_measurements(plain) == ""


def test_plots_are_drawn_only_of_what_was_measured(
    result: ScanResult, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("overlay_montage", "slice_chart"):  # which take long
        monkeypatch.setattr(pictures, other, lambda case: Figure())
    monkeypatch.setattr(pictures, "density_chart", lambda result: Figure())
    assert set(pictures.draw(Case(phantom_image(), result))) == set(Drawing) - {Drawing.RESPONSE}
    assert Drawing.DENSITY not in pictures.draw(Case(phantom_image(), make_result()))


def test_a_sharp_kernel_shows_both_figures_and_says_which_to_trust(result: ScanResult) -> None:
    assert measured.kernel_box(result) == ()
    assert measured.beside(result) == []
    (box,) = measured.kernel_box(sharp(result))
    raw = f"{result.densitometry['whole'].laa_950_percent:.1f} % as measured"
    assert raw in box.lines[0]
    assert "0.4 % as with a smooth kernel" in box.lines[0]
    assert box.lines[1].startswith("Trust the figures as with a smooth kernel")
    titles = [title for title, _ in headline(sharp(result)).beside]
    assert titles[:2] == ["Lung below -950 HU (LAA%-950)", "LAA%-950 as with a smooth kernel"]
    assert "Trust the figures as with a smooth kernel" in richtext.densitometry(sharp(result))


def test_published_figures_are_those_of_the_persons_sex_where_it_is_given(result: ScanResult) -> None:
    def lines(person: Person) -> str:
        return str(measured.density_blocks(result, person))

    assert "men 3.6 % (SD 3.2), women 1.3 % (SD 2.0)" in lines(Person())
    assert "women 1.3 % (SD 2.0)" in lines(Person(Sex.FEMALE))
    assert "3.6 %" not in lines(Person(Sex.FEMALE))


def test_what_was_given_of_the_patient_counts_before_the_header_and_both_are_named(result: ScanResult) -> None:
    blocks = measured.density_blocks(result, Person(age_years=50), Person(Sex.MALE, 64, 172, 70))
    (rows,) = [block.rows for block in blocks if isinstance(block, Entries)]
    assert rows[0] == ("Patient", ("50 years (as given)", "male, 172 cm, 70 kg (from the DICOM header)"))
    assert "0.29 %" in rows[3][1][0]
    assert "90 years or older" in str(measured.density_blocks(result, Person(), Person(age_years=97)))
    assert "Patient" not in str(measured.density_blocks(result, Person()))


def test_regions_without_lung_or_percentiles_are_named_in_a_sentence_each(make_result: MakeResult) -> None:
    whole = make_result().densitometry["whole"]
    regions = {
        "whole": whole,
        "left": dataclasses.replace(whole, voxels=0.0),
        "right": dataclasses.replace(whole, voxels=999.0),
    }
    assert measured.too_small(make_result(densitometry=regions)) == [
        "No lung in: Left lung.",
        "Fewer than 1,000 voxels, therefore no percentiles: Right lung.",
    ]
    assert measured.too_small(make_result()) == []
    older = Densitometry(1.0, 2.0, 3.0, -900.0, -850.0, 90.0, 5.0, 600.0)  # which did not count voxels
    assert measured.too_small(make_result(densitometry={"whole": older})) == []


def test_the_windows_tables_are_well_formed_and_narrow(result: ScanResult) -> None:
    text = richtext.all_measurements(sharp(result)).replace("<br>", " ")
    root = ET.fromstring(f"<div>{text}</div>".replace("\N{NO-BREAK SPACE}", " "))
    assert len(root.findall("table")) == 5
    assert max(len(row) for row in root.iter("tr")) <= 6
    clusters = root.findall("table")[3]
    assert ["".join(cell.itertext()).strip() for cell in clusters[0]] == [
        "Clusters and bullae",
        "Both lungs",
        "Right lung",
        "Left lung",
    ]
    assert clusters[1][1].text == f"{result.measurements.clusters['whole'].exponent:.2f}"


def test_the_csv_files_have_every_figure(result: ScanResult) -> None:
    tables = further_csvs(result)
    assert list(tables) == ["measurements.csv", "clusters.csv", "cluster_sizes.csv", "histogram.csv"]
    assert [row["region"] for row in rows(densitometry_csv(result))] == [
        *result.densitometry,
        *result.measurements.parts,
    ]
    figures = {(row["region"], row["ct"], row["measure"]): row["value"] for row in rows(tables["measurements.csv"])}
    assert float(figures["whole", "raw", "zone_score"]) == result.measurements.distribution.zone_score
    assert float(figures["right", "raw", "bulla_count"]) == result.measurements.clusters["right"].bulla_count
    assert ("left", "smooth_kernel", "perc15_hu") in figures
    histogram = rows(tables["histogram.csv"])
    assert [int(row["hu"]) for row in histogram] == HISTOGRAM_HU.tolist()
    assert sum(int(row["left"]) for row in histogram) == result.measurements.histograms["left"].sum()
    sizes = rows(tables["cluster_sizes.csv"])
    assert {row["region"] for row in sizes} == {"whole", "right"}
    volumes = [float(row["volume_ml"]) for row in rows(tables["clusters.csv"]) if row["region"] == "whole"]
    assert volumes == list(result.measurements.clusters["whole"].largest_ml)


def test_the_plots_draw_what_was_measured(result: ScanResult) -> None:
    histogram, height, regions, clusters = density_chart(result).axes
    right = histogram.lines[0].get_ydata()
    counts = result.measurements.histograms["right"]
    shown = (HISTOGRAM_HU >= -1024) & (HISTOGRAM_HU < -500)
    assert right.sum() == pytest.approx(100 * counts[shown].sum() / counts.sum())
    assert [line.get_xdata()[0] for line in histogram.lines[2:]] == [-950, -910, -856]
    assert height.lines[0].get_xdata().tolist() == np.linspace(0, 9, 35).tolist()
    assert [bar.get_width() for bar in regions.patches] == [r.laa_950_percent for r in result.densitometry.values()]
    assert (clusters.get_xscale(), clusters.get_yscale()) == ("log", "log")
    assert (
        len(
            density_chart(
                dataclasses.replace(result, measurements=dataclasses.replace(result.measurements, clusters={}))
            ).axes
        )
        == 3
    )


def test_a_lung_without_voxels_can_be_drawn(result: ScanResult) -> None:
    empty = {**result.measurements.histograms, "left": np.zeros_like(HISTOGRAM_HU)}
    nothing = dataclasses.replace(result.densitometry["left"], laa_950_percent=float("nan"))
    changed = dataclasses.replace(
        result,
        densitometry={**result.densitometry, "left": nothing},
        measurements=dataclasses.replace(result.measurements, histograms=empty, laa_950_by_height_percent={}),
    )
    density_chart(changed).draw_without_rendering()


def test_each_plot_is_written_as_a_file_that_browsers_and_figures_take(
    result: ScanResult, make_result: MakeResult, tmp_path: Path
) -> None:
    assert write_plots(Case(phantom_image(), make_result()), tmp_path) == []
    assert not list(tmp_path.iterdir())
    write_plots(Case(phantom_image(), result), tmp_path)
    names = ("histogram", "laa_by_height", "laa_by_region", "cluster_sizes")
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.{s}" for n in names for s in ("png", "svg")}
    assert all(ET.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg") for name in names)
