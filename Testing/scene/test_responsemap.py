"""The parametric response map in the scene: its classes, their colours, and the result that comes back from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import slicer
from EmphysemaScannerLib.lungs.expiration import ExpiratoryPair, PairFigures, Response
from EmphysemaScannerLib.scene.colours import ColourMap
from EmphysemaScannerLib.scene.overlays import Overlay, style
from EmphysemaScannerLib.scene.result import remove_result, result_of, show_result
from EmphysemaScannerLib.scene.volumes import ijk_to_world_ras, volume_node_from_image

from .factory import chest, result_on


@pytest.fixture(scope="module")
def case():
    image, labels = chest()
    result = result_on(image, labels)
    response = np.where(result.lung_mask.values > 0, 1, 0).astype(np.uint8)
    inside = np.argwhere(response)
    for place, value in zip(inside[:: len(inside) // 4], Response, strict=False):
        response[tuple(place)] = value
    figures = {"whole": PairFigures(air_trapping_percent=20.0)}
    return image, dataclasses.replace(result, expiration=ExpiratoryPair(figures, response=response))


def test_each_voxel_of_the_ct_keeps_its_class(scene, case):
    image, result = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    node = nodes.overlays[Overlay.RESPONSE]
    shown, response = slicer.util.arrayFromVolume(node), result.expiration.response
    assert shown.dtype == np.uint8
    assert (shown > 0).sum() == (response > 0).sum()
    place = np.argwhere(shown == Response.SMALL_AIRWAYS)[0]
    world = ijk_to_world_ras(node) @ [*place[::-1], 1]
    expected = result.lung_mask.grid.ijk_to_ras() @ [*np.argwhere(response == Response.SMALL_AIRWAYS)[0][::-1], 1]
    assert np.allclose(world, expected)
    assert not node.GetDisplayNode().GetInterpolate()


def test_its_colours_are_fixed(scene, case):
    image, result = case
    nodes = show_result(result, volume_node_from_image(image, "CT", scene), scene)
    node = nodes.overlays[Overlay.RESPONSE]
    style(node, Overlay.RESPONSE, 0.9, ColourMap.GREY)
    table, colour = node.GetDisplayNode().GetColorNode(), [0.0] * 4
    for response in Response:
        table.GetColor(response.value, colour)
        assert colour[:3] == pytest.approx(response.colour, abs=0.01)
        assert colour[3] == 1
    table.GetColor(0, colour)
    assert colour[3] == 0
    assert node.GetDisplayNode().GetLowerThreshold() == 1


def test_the_result_comes_back_from_the_scene_and_leaves_it_whole(scene, case):
    image, result = case
    ct = volume_node_from_image(image, "CT", scene)
    before = scene.GetNumberOfNodes()
    nodes = show_result(result, ct, scene)
    again = result_of(nodes)
    assert np.array_equal(again.expiration.response, result.expiration.response)
    assert again.expiration.regions["whole"].air_trapping_percent == 20
    show_result(dataclasses.replace(result, expiration=None), ct, scene)
    remove_result(show_result(result, ct, scene))
    assert scene.GetNumberOfNodes() <= before + 1
