"""However parent transforms and axes share out a CT's place, its answer and its overlays' places are the same.

A few examples here, two hundred with ``make soak``.
"""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scene.overlays import Overlay, display_grid, display_lungs, display_map
from EmphysemaScannerLib.scene.result import show_result
from EmphysemaScannerLib.scene.standalone import standalone_scene
from EmphysemaScannerLib.scene.straighten import image_from_volume_node
from EmphysemaScannerLib.scene.volumes import ijk_to_world_ras, volume_node_from_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storedct import MARKER, ORDERS, chest, rotation, seeing_model, stored, with_marker

PLACE = (30, 28, 17)
TURNS = st.builds(rotation, st.tuples(*[st.floats(-1, 1)] * 3), st.floats(-180, 180))
SHIFTS, SIGNS = st.tuples(*[st.floats(-500, 500)] * 3), st.tuples(*[st.sampled_from([-1, 1])] * 3)
PARENTS = st.lists(st.tuples(TURNS, SHIFTS, st.floats(0.2, 5), SIGNS), min_size=1, max_size=3)


def matrix_of(parent: tuple) -> np.ndarray:
    """A similarity, of either handedness."""
    turn, shift, scale, signs = parent
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn @ np.diag(signs) * scale, shift
    return matrix


@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=pytest.mark.soak)])
def test_a_ct_under_any_linear_transforms_has_its_answer_and_its_overlays_at_its_place(examples: int) -> None:
    model = seeing_model()
    plain, marked = chest(), with_marker(chest(), PLACE)
    expected, unmarked = scan(marked, model), scan(plain, model)
    before = display_map(
        Overlay.ASC1, unmarked.activations["asc1"], display_grid(unmarked), display_lungs(unmarked)
    ).values
    marker = Grid.of_image(marked).position_lps(np.array(PLACE) + (np.array(MARKER) - 1) / 2) * [-1, -1, 1]
    half_a_voxel = np.array(expected.lung_fraction.grid.spacing_mm)[::-1] / 2 + 0.01

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(ORDERS), st.tuples(*[st.booleans()] * 3), PARENTS, st.booleans())
    def law(order: tuple, flips: tuple, parents: list, hardened: bool) -> None:
        with standalone_scene() as scene:
            ct = volume_node_from_image(stored(marked, order, flips), "CT", scene)
            whole, above = np.eye(4), None
            for parent in parents:
                node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
                node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix_of(parent)))
                if above is not None:
                    node.SetAndObserveTransformNodeID(above.GetID())
                whole, above = whole @ matrix_of(parent), node
            ct.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.linalg.inv(whole) @ ijk_to_world_ras(ct)))
            ct.SetAndObserveTransformNodeID(above.GetID())
            if hardened:
                ct.HardenTransform()
            result = scan(image_from_volume_node(ct), model)
            assert result.probability == pytest.approx(expected.probability, abs=1e-4)
            np.testing.assert_allclose(
                result.evidence.grid.ijk_to_ras(), expected.evidence.grid.ijk_to_ras(), atol=1e-3
            )
            nodes = show_result(result, ct, scene)
            overlay = nodes.overlays[Overlay.ASC1]
            assert overlay.GetTransformNodeID() == ct.GetTransformNodeID()
            change = np.clip(slicer.util.arrayFromVolume(overlay) - before, 0, None).astype(float)
            change[change < 0.2 * change.max()] = 0
            weights = change / change.sum()
            centre = [(weights * index).sum() for index in np.indices(change.shape)][::-1]
            place = (ijk_to_world_ras(overlay) @ [*centre, 1.0])[:3]
            assert (np.abs(place - marker) <= half_a_voxel).all(), place - marker

    law()
