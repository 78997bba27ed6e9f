"""The folder of results: pictures, exact maps, and a scene that opens showing the result."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from EmphysemaScannerLib.ct.grid import Grid, canonical
from EmphysemaScannerLib.scan.serialise import write_overlays
from EmphysemaScannerLib.scene.charts import Chart
from EmphysemaScannerLib.scene.export import SceneNotSavedError, arrange_views, export_scan, save_scene
from EmphysemaScannerLib.scene.overlays import Overlay
from EmphysemaScannerLib.scene.result import find_result, show_result
from EmphysemaScannerLib.scene.standalone import open_scene, standalone_scene
from EmphysemaScannerLib.scene.straighten import image_from_volume_node
from EmphysemaScannerLib.scene.views import composite_nodes, telling_slices
from EmphysemaScannerLib.scene.volumes import ijk_to_world_ras, volume_node_from_image

from .factory import chest, result_on, with_disease_map


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    image, labels = chest()
    lesions = np.zeros_like(labels)
    lesions[45:52, 40:48, 20:30] = 1
    written = export_scan(image, result_on(image, labels), out, lesions)
    assert sorted(written) == sorted(out.iterdir())
    return out


OVERLAYS = {Overlay.EVIDENCE, Overlay.ASC1, Overlay.DESC1, Overlay.ASC2, Overlay.DESC2}  # of the made-up result


def test_every_overlay_has_axial_coronal_and_sagittal_pictures(folder):
    names = {path.stem for path in folder.glob("*.png")}
    for overlay in OVERLAYS:
        axial = (
            {f"{overlay.value}_axial_{n}" for n in (1, 2, 3)}
            if overlay is Overlay.EVIDENCE
            else {f"{overlay.value}_axial"}
        )
        assert axial | {f"{overlay.value}_coronal", f"{overlay.value}_sagittal"} <= names
    for path in folder.glob("*.png"):
        picture = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        assert min(picture.shape[:2]) > 300
        least = 0.002 if path.stem.startswith("evidence") else 0.01  # a thin frame
        assert (np.ptp(picture.astype(int), axis=2) > 40).mean() > least, f"no overlay in {path.name}"


def test_the_saved_scene_opens_with_ct_overlays_tables_and_plot_in_place(folder, scene):
    image, labels = chest()
    result = result_on(image, labels)
    open_scene(scene, folder / "scene.mrb")
    ct = next(n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetName() == "Chest")
    again = image_from_volume_node(ct)
    assert np.array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(image))
    assert again.GetOrigin() == pytest.approx(image.GetOrigin())

    nodes = find_result(ct)
    assert nodes is not None
    assert set(nodes.overlays) == OVERLAYS
    grid = result.lung_fraction.grid
    expected = grid.resized((3 * grid.shape[0], *grid.shape[1:])).ijk_to_ras()
    for overlay in nodes.overlays.values():
        assert ijk_to_world_ras(overlay) == pytest.approx(expected, abs=1e-6)
    evidence = slicer.util.arrayFromTableColumn(nodes.slice_table, "Evidence (logit)")
    assert evidence == pytest.approx(result.slices.evidence, rel=1e-4, abs=1e-6)
    assert nodes.densitometry_table.GetNumberOfRows() == 6
    assert '"probability"' in nodes.record.GetText()
    assert nodes.record.GetAttribute("EmphysemaScanner.Model") == "made up for tests"
    colours = nodes.overlays[Overlay.EVIDENCE].GetDisplayNode().GetColorNode()
    middle = np.ones(4)
    colours.GetColor(127, middle)
    assert middle[3] == 0
    assert nodes.lungs.GetSegmentation().GetNumberOfSegments() == 2
    lesions = slicer.util.getFirstNodeByName("Chest lesions")
    assert lesions.GetSegmentation().GetNumberOfSegments() == 1
    assert nodes.overlays[Overlay.EVIDENCE].GetNthDisplayNode(1).GetTitleText().startswith("Evidence")


def test_the_saved_scene_opens_showing_the_evidence_over_the_ct(folder, scene):
    open_scene(scene, folder / "scene.mrb")
    ct = next(n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetName() == "Chest")
    nodes = find_result(ct)
    views = {c.GetLayoutName(): c for c in composite_nodes(scene)}
    assert set(views) == {"Red", "Green", "Yellow"}
    for layers in views.values():
        assert layers.GetBackgroundVolumeID() == ct.GetID()
        assert layers.GetForegroundVolumeID() == nodes.overlays[Overlay.EVIDENCE].GetID()
        assert layers.GetForegroundOpacity() == pytest.approx(0.5)
    layout = slicer.util.getNodesByClass("vtkMRMLLayoutNode")[0]
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView
    plot = scene.GetSingletonNode("PlotView1", "vtkMRMLPlotViewNode")
    assert plot.GetPlotChartNodeID() == nodes.charts[Chart.EVIDENCE].GetID()
    assert (ct.GetDisplayNode().GetWindow(), ct.GetDisplayNode().GetLevel()) == (1500, -600)


def test_a_reopened_scene_takes_a_new_result_in_the_old_ones_place(folder, scene):
    image, labels = chest()
    open_scene(scene, folder / "scene.mrb")
    ct = next(n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetName() == "Chest")
    count = {
        c: scene.GetNumberOfNodesByClass(c)
        for c in ("vtkMRMLScalarVolumeNode", "vtkMRMLTableNode", "vtkMRMLColorTableNode")
    }
    nodes = show_result(result_on(image, labels, seed=2), ct, scene)
    assert {c: scene.GetNumberOfNodesByClass(c) for c in count} == count
    assert composite_nodes(scene)[0].GetForegroundVolumeID() == nodes.overlays[Overlay.EVIDENCE].GetID()


def test_the_written_maps_are_the_exact_ones_in_the_cts_space(tmp_path):
    image, labels = chest()
    result = result_on(image, labels)
    files = write_overlays(result, tmp_path)
    assert [f.name for f in files] == [
        "evidence.nrrd",
        *(f"activation_{unit}.nrrd" for unit in ("asc1", "desc1", "asc2", "desc2")),
    ]
    evidence = sitk.ReadImage(str(tmp_path / "evidence.nrrd"))
    values = sitk.GetArrayFromImage(evidence)
    assert result.bias + values.sum(dtype=float) == pytest.approx(result.logit, abs=1e-4)
    ct, written = Grid.of_image(canonical(image)), Grid.of_image(evidence)
    assert written.position_lps(np.full(3, -0.5)) == pytest.approx(ct.position_lps(np.full(3, -0.5)), abs=1e-4)
    far = np.array(written.shape) - 0.5
    assert written.position_lps(far) == pytest.approx(ct.position_lps(np.array(ct.shape) - 0.5), abs=1e-4)


def test_the_most_telling_slices_are_where_the_evidence_is_and_apart(scene):
    image, labels = chest()
    result = result_on(image, labels)
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    positions = telling_slices(nodes, 3)
    assert min(np.diff(sorted(positions))) >= 0.09 * 280
    strongest = result.lung_fraction.grid.slice_positions_mm()[26]
    assert positions[0] == pytest.approx(strongest, abs=8.0)


def test_a_scene_that_cannot_be_written_is_said_so(scene, tmp_path):
    occupied = tmp_path / "file"
    occupied.touch()
    with pytest.raises(SceneNotSavedError, match="could not be written"):
        save_scene(scene, occupied / "scene.mrb")


def test_views_can_be_arranged_for_another_overlay(scene):
    image, labels = chest()
    nodes = show_result(result_on(image, labels), volume_node_from_image(image, "CT", scene), scene)
    arrange_views(nodes, Overlay.DESC2)
    assert {c.GetForegroundVolumeID() for c in composite_nodes(scene)} == {nodes.overlays[Overlay.DESC2].GetID()}


def test_a_result_without_a_source_is_named_ct(tmp_path):
    image, labels = chest((40, 48, 48))
    export_scan(image, dataclasses.replace(result_on(image, labels), source=""), tmp_path)
    with standalone_scene() as scene:
        open_scene(scene, tmp_path / "scene.mrb")
        assert slicer.util.getFirstNodeByName("CT evidence") is not None


def test_a_program_that_exports_ends_cleanly_without_a_display(tmp_path):
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from factory import chest, result_on\n"
        "from EmphysemaScannerLib.scene.export import export_scan\n"
        "image, labels = chest((40, 48, 48))\n"
        "export_scan(image, result_on(image, labels), Path(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules\n"
    )
    here = __file__.rpartition("/")[0]
    library = str(__import__("EmphysemaScannerLib").__path__[0]).rpartition("/")[0]
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), here, library],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "scene.mrb").is_file()


def test_inside_the_application_no_second_scene_is_made(monkeypatch):
    monkeypatch.setattr(slicer, "app", object(), raising=False)
    with pytest.raises(RuntimeError, match=r"slicer\.mrmlScene"), standalone_scene():
        pass


def test_a_scene_of_a_model_with_a_disease_map_opens_with_it(tmp_path, scene):
    image, labels = chest()
    export_scan(image, with_disease_map(result_on(image, labels)), tmp_path)
    names = {path.stem for path in tmp_path.glob("disease_*.png")}
    assert names >= {f"disease_axial_{n}" for n in (1, 2, 3)} | {"disease_coronal", "disease_sagittal"}
    open_scene(scene, tmp_path / "scene.mrb")
    ct = next(n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetName() == "Chest")
    disease = find_result(ct).overlays[Overlay.DISEASE]
    assert composite_nodes(scene)[0].GetForegroundVolumeID() == disease.GetID()
