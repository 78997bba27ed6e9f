"""The scene of every architecture shows what its result has, opens again as saved, and leaves no node behind."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.scan.result import ScanResult, SliceMeasure
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json
from EmphysemaScannerLib.scene import marker, views
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.export import export_scan
from EmphysemaScannerLib.scene.overlays import Overlay
from EmphysemaScannerLib.scene.result import find_result, remove_result, result_of, show_result
from EmphysemaScannerLib.scene.standalone import open_scene, standalone_scene
from EmphysemaScannerLib.scene.volumes import volume_node_from_image
from everymodel import model_of
from phantom import phantom_image

CHARTS = {
    "conv_lstm": [Chart.EVIDENCE, Chart.PROBABILITY, Chart.LAA, Chart.ACTIVATION],
    "mil_mean": [Chart.SLICE_PROBABILITY, Chart.LAA],
    "mil_attention": [Chart.WEIGHT, Chart.SLICE_PROBABILITY, Chart.LAA],
    "cnn3d": [Chart.LAA],
    "laa950_logistic": [Chart.LAA],
}
TITLES = {  # saved scenes hold these
    SliceMeasure.EVIDENCE: "Evidence (logit)",
    SliceMeasure.RUNNING_LOGIT: "Running logit",
    SliceMeasure.RUNNING_PROBABILITY: "Running probability",
    SliceMeasure.WEIGHT: "Attention weight (not evidence)",
    SliceMeasure.PROBABILITY: "Probability of this slice by itself",
}
OF_DENSITY = [Chart.LAA_BY_LUNG, Chart.HISTOGRAM, Chart.REGIONS]
NAMES = pytest.mark.parametrize("name", sorted(CHARTS))


@pytest.fixture(scope="module")
def results() -> dict[str, ScanResult]:
    return {name: scan(phantom_image(), model_of(name), source="phantom") for name in CHARTS}


def column(table: slicer.vtkMRMLTableNode, title: str) -> np.ndarray:
    return slicer.util.arrayFromTableColumn(table, title)


@NAMES
def test_a_result_shows_what_its_model_gives_and_leaves_nothing_behind(
    scene: slicer.vtkMRMLScene, results: dict[str, ScanResult], name: str
) -> None:
    result = results[name]
    ct = volume_node_from_image(phantom_image(), "CT", scene)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)  # makes one, which stays
    before = scene.GetNumberOfNodes()
    nodes = show_result(result, ct, scene)
    assert list(nodes.charts) == [*CHARTS[name], *OF_DENSITY]
    of_evidence = Overlay.EVIDENCE if name == "conv_lstm" else Overlay.TERMS
    expected = {of_evidence} if result.evidence is not None else set()
    assert set(nodes.overlays) >= expected
    assert (set(nodes.overlays) == expected) is (name != "conv_lstm")
    for measure, title in TITLES.items():
        if measure in result.by_slice:
            assert np.array_equal(column(nodes.slice_table, title), result.by_slice[measure])
    assert find_result(ct).record is nodes.record
    remove_result(nodes)
    assert scene.GetNumberOfNodes() == before


@NAMES
def test_every_chart_draws_columns_that_its_table_has(
    scene: slicer.vtkMRMLScene, results: dict[str, ScanResult], name: str
) -> None:
    nodes = show_result(results[name], volume_node_from_image(phantom_image(), "CT", scene), scene)
    for chart, node in nodes.charts.items():
        assert node.GetNumberOfPlotSeriesNodes() >= 2  # with the marker
        for i in range(node.GetNumberOfPlotSeriesNodes()):
            series = node.GetNthPlotSeriesNode(i)
            drawn = column(series.GetTableNode(), series.GetYColumnName())
            low, high = node.GetYAxisRange()
            shown = drawn[np.isfinite(drawn)]
            assert (shown >= low).all(), chart
            assert (shown <= high).all(), chart


@NAMES
def test_the_whole_result_is_rebuilt_from_the_scene(
    scene: slicer.vtkMRMLScene, results: dict[str, ScanResult], name: str
) -> None:
    result = results[name]
    ct = volume_node_from_image(phantom_image(), "CT", scene)
    show_result(result, ct, scene)
    rebuilt = result_of(find_result(ct))
    assert np.array_equal(rebuilt.lung_mask.values, result.lung_mask.values)
    np.testing.assert_allclose(rebuilt.lung_mask.grid.ijk_to_ras(), result.lung_mask.grid.ijk_to_ras(), atol=1e-6)
    assert record_to_json(rebuilt) == record_to_json(result)


def test_a_result_without_any_map_is_rebuilt_under_a_transform_and_from_another_order_of_axes(
    scene: slicer.vtkMRMLScene,
) -> None:
    import SimpleITK as sitk
    from EmphysemaScannerLib.scene.straighten import image_from_volume_node

    stored = sitk.Flip(sitk.PermuteAxes(phantom_image(), (2, 0, 1)), (True, False, True))
    ct = volume_node_from_image(stored, "CT", scene)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 12, -7, 30
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    ct.SetAndObserveTransformNodeID(transform.GetID())
    result = scan(image_from_volume_node(ct), model_of("perc15_logistic"))
    show_result(result, ct, scene)
    rebuilt = result_of(find_result(ct))
    assert result.lung_mask.values.any()
    assert np.array_equal(rebuilt.lung_mask.values, result.lung_mask.values)
    np.testing.assert_allclose(rebuilt.lung_mask.grid.ijk_to_ras(), result.lung_mask.grid.ijk_to_ras(), atol=1e-4)


def test_one_models_result_takes_the_place_of_anothers_and_the_views_follow(
    scene: slicer.vtkMRMLScene, results: dict[str, ScanResult]
) -> None:
    ct = volume_node_from_image(phantom_image(), "CT", scene)
    counts = []
    for name in ("laa950_logistic", "conv_lstm", "mil_attention", "laa950_logistic"):
        nodes = show_result(results[name], ct, scene)
        views.show_charts(nodes, views.shown_chart(nodes, Chart.PROBABILITY))
        assert np.isfinite(views.telling_point(nodes)).all()
        counts.append(scene.GetNumberOfNodes())
    assert counts[0] == counts[-1]


@NAMES
def test_a_result_is_first_looked_at_where_it_is_most_telling_within_the_lungs(
    scene: slicer.vtkMRMLScene, results: dict[str, ScanResult], name: str
) -> None:
    result = results[name]
    nodes = show_result(result, volume_node_from_image(phantom_image(), "CT", scene), scene)
    thickness = abs(result.slice_positions_mm[0] - result.slice_positions_mm[1])
    point = views.telling_point(nodes)
    low, high = views.lung_bounds(nodes)
    assert low[2] - thickness < point[2] < high[2] + thickness
    if not nodes.overlays:
        heights = np.nan_to_num(result.laa_950_by_slice_percent, nan=-1.0)
        assert point[2] == pytest.approx(result.slice_positions_mm[int(heights.argmax())])
    positions = views.telling_slices(nodes, 3)
    assert len(positions) == 3
    assert min(abs(a - b) for k, a in enumerate(positions) for b in positions[:k]) > 2 * thickness


@NAMES
def test_playing_leaves_a_result_without_a_running_probability_as_it_is(
    scene: slicer.vtkMRMLScene, results: dict[str, ScanResult], name: str
) -> None:
    nodes = show_result(results[name], volume_node_from_image(phantom_image(), "CT", scene), scene)
    marker.read_up_to(nodes, 5)
    marker.set_marker(nodes, -200.0)
    assert (column(nodes.marker_table, "Position S (mm)") == -200.0).all()
    if name == "conv_lstm":
        assert np.isnan(column(nodes.chart_table, "Running probability")[15:]).all()  # three rows a slice
    else:
        assert "Running probability" not in [
            nodes.chart_table.GetColumnName(i) for i in range(nodes.chart_table.GetNumberOfColumns())
        ]


@pytest.mark.parametrize("name", ["mil_attention", "laa950_logistic"])
def test_a_saved_scene_brings_the_result_back(results: dict[str, ScanResult], name: str, tmp_path) -> None:
    result = results[name]
    written = export_scan(phantom_image(), result, tmp_path)
    assert {path.name for path in written} >= {"scene.mrb"}
    assert (len(written) > 1) is (result.evidence is not None)
    with standalone_scene() as scene:
        open_scene(scene, tmp_path / "scene.mrb")
        ct = slicer.util.getNode("phantom")
        rebuilt = result_of(find_result(ct))
    assert type(rebuilt.slices) is type(result.slices)
    assert record_to_json(rebuilt) == record_to_json(result)
    assert np.array_equal(rebuilt.lung_mask.values, result.lung_mask.values)
