"""The charts of lung density draw what was measured, are found again, and are not there where nothing was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.lungs.densitometry import HISTOGRAM_HU
from EmphysemaScannerLib.lungs.measurements import Clusters, Measurements
from EmphysemaScannerLib.scene.charts import Chart, is_by_slice, runs_upwards
from EmphysemaScannerLib.scene.densitycharts import NOT_BY_SLICE, histogram_columns
from EmphysemaScannerLib.scene.result import find_result, show_result
from EmphysemaScannerLib.scene.standalone import standalone_scene
from EmphysemaScannerLib.scene.volumes import volume_node_from_image

from .factory import chest, result_on

MEASURED = {Chart.LAA_BY_LUNG, *NOT_BY_SLICE}


def clusters(exponent: float, sizes: int) -> Clusters:
    areas = np.arange(1.0, sizes + 1)
    return Clusters(exponent, sizes, (1.0,), 0.0, 0, areas, np.arange(sizes, 0, -1))


@pytest.fixture(scope="module")
def result():
    image, labels = chest()
    plain = result_on(image, labels)
    random = np.random.default_rng(0)
    measured = Measurements(
        histograms={name: random.integers(0, 1000, len(HISTOGRAM_HU)) for name in plain.densitometry},
        laa_950_by_height_percent={side: random.uniform(0, 20, len(plain.slice_indices)) for side in ("right", "left")},
        clusters={"whole": clusters(1.5, 9), "right": clusters(1.2, 7), "left": clusters(float("nan"), 3)},
    )
    return image, dataclasses.replace(plain, measurements=measured)


@pytest.fixture(scope="module")
def nodes(result):
    with standalone_scene() as scene:
        yield show_result(result[1], volume_node_from_image(result[0], "CT", scene), scene)


def drawn(chart) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What each series of a chart draws, by its name."""
    series = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    return {
        s.GetName(): tuple(
            slicer.util.arrayFromTableColumn(s.GetTableNode(), column)
            for column in (s.GetXColumnName(), s.GetYColumnName())
        )
        for s in series
    }


def test_the_histogram_has_both_lungs_and_the_thresholds(nodes, result) -> None:
    lines = drawn(nodes.charts[Chart.HISTOGRAM])
    assert list(lines) == ["Right lung", "Left lung", "-950 HU", "-910 HU", "-856 HU"]
    hu, share = lines["Left lung"]
    counts = result[1].measurements.histograms["left"]
    for k in (0, 17, 130):
        of_bin = (hu[k] - 2 <= HISTOGRAM_HU) & (hu[k] + 2 > HISTOGRAM_HU)
        assert of_bin.sum() == 4
        assert share[k] == pytest.approx(100 * counts[of_bin].sum() / counts.sum())
    assert set(lines["-910 HU"][0]) == {-910.0}
    assert histogram_columns(result[1])["left"].max() < nodes.charts[Chart.HISTOGRAM].GetYAxisRange()[1]


def test_each_lung_has_a_line_by_slice(nodes, result) -> None:
    chart = nodes.charts[Chart.LAA_BY_LUNG]
    lines = drawn(chart)
    assert list(lines) == ["Right lung", "Left lung", "Shown slice"]
    by_height = result[1].measurements.laa_950_by_height_percent
    np.testing.assert_array_equal(lines["Right lung"][0][::3], by_height["right"])
    np.testing.assert_array_equal(lines["Right lung"][1][::3], result[1].slice_positions_mm)
    assert runs_upwards(chart)


def test_regions_are_bars_from_top_to_bottom_with_their_figure_in_the_legend(nodes, result) -> None:
    bars = drawn(nodes.charts[Chart.REGIONS])
    regions = result[1].densitometry
    assert list(bars) == [f"{name.capitalize()}: {region.laa_950_percent:.1f} %" for name, region in regions.items()]
    for place, (region, (ends, height)) in enumerate(zip(regions.values(), bars.values(), strict=True)):
        assert ends.tolist() == [0, region.laa_950_percent]
        assert height.tolist() == [-place, -place]


def test_beside_lobes_only_both_lungs_are_a_bar_and_all_bars_lie_below_the_legend(result) -> None:
    image, plain = result
    lobe = dataclasses.replace(plain.densitometry["left"], laa_950_percent=12.5)
    lobes = {"left_upper_lobe": lobe, "left_lower_lobe": lobe}
    with standalone_scene() as scene:
        shown = dataclasses.replace(plain, densitometry={**plain.densitometry, **lobes})
        chart = show_result(shown, volume_node_from_image(image, "CT", scene), scene).charts[Chart.REGIONS]
        assert list(drawn(chart))[1:] == ["Left upper lobe: 12.5 %", "Left lower lobe: 12.5 %"]
        low, high = chart.GetYAxisRange()
        assert low == -2.5
        assert high > 2


def test_sizes_of_clusters_are_logarithms(nodes) -> None:
    dots = drawn(nodes.charts[Chart.CLUSTERS])
    assert list(dots) == ["Right lung, D = 1.20", "Left lung"]
    areas, counts = dots["Left lung"]
    assert areas[:3].tolist() == np.log10([1, 2, 3]).tolist()
    assert counts[:3].tolist() == np.log10([3, 2, 1]).tolist()
    assert np.isnan(areas[3:]).all()


def test_a_click_in_a_chart_that_is_not_by_slice_names_no_slice(nodes) -> None:
    assert {chart for chart, node in nodes.charts.items() if not is_by_slice(node)} == set(NOT_BY_SLICE)


def test_charts_and_tables_are_found_again_and_replaced_with_the_result(nodes, result) -> None:
    scene = nodes.ct.GetScene()
    found = find_result(nodes.ct)
    assert found is not None
    assert set(found.charts) >= MEASURED
    assert {name: node.GetID() for name, node in found.density_tables.items()} == {
        name: node.GetID() for name, node in nodes.density_tables.items()
    }
    with standalone_scene() as other:
        ct = volume_node_from_image(result[0], "CT", other)
        show_result(result[1], ct, other)
        before = other.GetNumberOfNodes()
        show_result(result[1], ct, other)
        assert other.GetNumberOfNodes() == before
        plain = show_result(dataclasses.replace(result[1], measurements=Measurements()), ct, other)
        assert not MEASURED & set(plain.charts)
        assert other.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == len(plain.charts)
    assert scene.GetNodeByID(nodes.ct.GetID()) is not None
