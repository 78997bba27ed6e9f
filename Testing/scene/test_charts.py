"""The charts draw the result's numbers, with fixed ranges, and the marker moves through them without making a node."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.scan.result import OverlayMap
from EmphysemaScannerLib.scene.charts import Chart, activation_by_slice, add_charts, chart_contents, runs_upwards
from EmphysemaScannerLib.scene.marker import read_up_to, set_marker
from EmphysemaScannerLib.scene.result import find_result, show_result
from EmphysemaScannerLib.scene.standalone import standalone_scene
from EmphysemaScannerLib.scene.volumes import volume_node_from_image

from .factory import chest, result_on, with_evidence

POSITION = "Position S (mm)"


@pytest.fixture(scope="module")
def case():
    image, labels = chest()
    return image, result_on(image, labels)


@pytest.fixture(scope="module")
def scene():
    with standalone_scene() as new:
        yield new


@pytest.fixture(scope="module")
def nodes(scene, case):
    image, result = case
    return show_result(result, volume_node_from_image(image, "CT", scene), scene)


def drawn(chart) -> dict[str, np.ndarray]:
    """What a chart's series draw to the right, by the title of their columns."""
    series = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    return {s.GetXColumnName(): slicer.util.arrayFromTableColumn(s.GetTableNode(), s.GetXColumnName()) for s in series}


def bars(values: np.ndarray) -> np.ndarray:
    """The lengths of bars that are drawn as lines from zero, with a break after each."""
    starts, ends, breaks = values.reshape(-1, 3).T
    assert not starts.any()
    assert np.isnan(breaks).all()
    return ends


def marker_of(chart):
    """The series that marks the shown slice: (its positions, where it begins and ends)."""
    series = chart.GetNthPlotSeriesNode(chart.GetNumberOfPlotSeriesNodes() - 1)
    table = series.GetTableNode()
    return (
        slicer.util.arrayFromTableColumn(table, name) for name in (series.GetYColumnName(), series.GetXColumnName())
    )


def test_the_charts_draw_the_results_numbers(nodes, case):
    _, result = case
    assert np.array_equal(bars(drawn(nodes.charts[Chart.EVIDENCE])["Evidence (logit)"]), result.slices.evidence)
    probability = drawn(nodes.charts[Chart.PROBABILITY])
    assert np.array_equal(probability["Running probability"], np.repeat(result.slices.running_probability, 3))
    assert (probability["Operating point"] == 0.4).all()
    laa = drawn(nodes.charts[Chart.LAA])["LAA%-950"]
    assert np.array_equal(bars(laa), np.nan_to_num(result.laa_950_by_slice_percent))
    assert {"asc1", "desc1", "asc2", "desc2"} <= drawn(nodes.charts[Chart.ACTIVATION]).keys()


def test_all_that_is_drawn_lies_within_the_charts_ranges(nodes, case):
    _, result = case
    for chart in nodes.charts.values():
        assert not chart.GetXAxisRangeAuto()
        assert not chart.GetYAxisRangeAuto()
        assert runs_upwards(chart)
        low, high = chart.GetXAxisRange()
        lowest, highest = chart.GetYAxisRange()
        assert lowest < result.slice_positions_mm.min() < result.slice_positions_mm.max() < highest
        for values in drawn(chart).values():
            assert low <= np.nanmin(values) <= np.nanmax(values) <= high
    low, high = nodes.charts[Chart.EVIDENCE].GetXAxisRange()
    assert low < 0 < high


@pytest.mark.parametrize(
    "values", [np.zeros(35), np.full(35, 2.0), np.full(35, -2.0)], ids=["none", "only for", "only against"]
)
def test_evidence_of_one_sign_still_has_a_range_with_zero(scene, case, values):
    image, result = case
    nodes = show_result(with_evidence(result, values), volume_node_from_image(image, "CT", scene), scene)
    low, high = nodes.charts[Chart.EVIDENCE].GetXAxisRange()
    assert low <= min(values.min(), 0.0)
    assert high >= max(values.max(), 0.0)
    assert high - low > 1


def test_activation_by_slice_is_the_mean_in_the_lungs_over_its_own_largest(case):
    _, result = case
    slices = len(result.slice_indices)
    lung = result.lung_fraction.values > 0
    rising = np.where(lung, np.arange(1.0, slices + 1)[:, None, None], 1000.0).astype(np.float32)
    activations = {"asc1": OverlayMap(rising, result.lung_fraction.grid)}
    shares = activation_by_slice(dataclasses.replace(result, activations=activations))["asc1"]
    with_lung = lung.any(axis=(1, 2))[result.slice_indices]
    last = np.flatnonzero(lung.any(axis=(1, 2)))[-1]
    expected = (result.slice_indices + 1.0) / (last + 1.0)
    assert shares[with_lung] == pytest.approx(expected[with_lung], rel=1e-6)
    assert np.isnan(shares[~with_lung]).all()
    assert (~with_lung).any()


def test_activation_without_lungs_or_without_activity_is_no_error(case):
    _, result = case
    nowhere = dataclasses.replace(result.lung_fraction, values=np.zeros_like(result.lung_fraction.values))
    assert np.isnan(activation_by_slice(dataclasses.replace(result, lung_fraction=nowhere))["asc1"]).all()
    silent = {name: OverlayMap(np.zeros_like(m.values), m.grid) for name, m in result.activations.items()}
    assert np.nanmax(activation_by_slice(dataclasses.replace(result, activations=silent))["desc2"]) == 0


def test_the_marker_is_a_horizontal_line_from_end_to_end_of_every_chart(nodes):
    set_marker(nodes, -123.4)
    for kind, chart in nodes.charts.items():
        positions, ends = marker_of(chart)
        assert positions.tolist() == [-123.4, -123.4]
        low, high = chart.GetXAxisRange()
        assert ends[0] == low
        assert ends[1] == high or kind is Chart.ACTIVATION  # whose legend lies beyond


def test_the_marker_starts_at_the_slice_with_the_most_evidence(scene, case):
    _, result = case
    positions, _ = marker_of(add_charts(scene, chart_contents(result), "CT").charts[Chart.PROBABILITY])
    assert positions[0] == result.slice_positions_mm[np.abs(result.slices.evidence).argmax()]


def test_moving_the_marker_tells_the_charts_and_makes_no_node(scene, nodes):
    count, told = scene.GetNumberOfNodes(), []
    chart = nodes.charts[Chart.EVIDENCE]
    tag = chart.AddObserver("ModifiedEvent", lambda *_: told.append(1))
    for position in np.linspace(-100, 100, 30):
        set_marker(nodes, position)
    assert len(told) == 30
    set_marker(nodes, position)  # it is there already
    assert len(told) == 30
    chart.RemoveObserver(tag)
    assert scene.GetNumberOfNodes() == count


@pytest.mark.parametrize("count", [0, 1, 20, 35])
def test_the_running_probability_can_be_shown_up_to_a_slice(nodes, case, count):
    _, result = case
    read_up_to(nodes, count)
    shown = drawn(nodes.charts[Chart.PROBABILITY])["Running probability"][::3]
    assert np.array_equal(shown[:count], result.slices.running_probability[:count])
    assert np.isnan(shown[count:]).all()
    assert np.array_equal(
        slicer.util.arrayFromTableColumn(nodes.slice_table, "Running probability"), result.slices.running_probability
    )
    read_up_to(nodes, None)
    assert np.array_equal(shown, result.slices.running_probability)


def test_a_series_that_slicers_plot_views_took_out_of_a_chart_is_put_back(nodes):
    chart = nodes.charts[Chart.EVIDENCE]
    chart.RemovePlotSeriesNodeID(nodes.series["evidence"].GetID())
    assert "Evidence (logit)" not in drawn(chart)
    found = find_result(nodes.ct)
    assert set(drawn(found.charts[Chart.EVIDENCE])) == {"Evidence (logit)", "evidence"}
    assert chart.GetNumberOfPlotSeriesNodes() == 2
