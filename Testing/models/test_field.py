"""A model that reads the lungs' box: the answer depends on the lungs alone, and every map lies where it was seen."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.ct.grid import Grid, area_average
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig
from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.models.networks import FastConvLSTM
from EmphysemaScannerLib.models.preprocessing import Field, Preprocessing
from EmphysemaScannerLib.scan.attribution import attribute
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json
from phantom import SPACING_MM, phantom, phantom_image

LUNGS = Preprocessing((35, 32, 32), field=Field.LUNGS, margin_mm=7.0, outside_hu=0.0)


def card_of(preprocessing: Preprocessing) -> ModelCard:
    point = OperatingPoint(0.5, "test")
    return ModelCard("random", "conv_lstm", 4, 1, preprocessing, point, "", "2026-01-01", "", "", True)


def model_of(preprocessing: Preprocessing) -> Model:
    torch.manual_seed(0)
    return Model(FastConvLSTM(ConvLSTMConfig(4, 32)).eval(), card_of(preprocessing))


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(LUNGS)


def part_of(image: sitk.Image, low: tuple[int, int, int], high: tuple[int, int, int]) -> sitk.Image:
    """Without so many columns, rows and slices at either end."""
    size = [n - a - b for n, a, b in zip(image.GetSize(), low, high, strict=True)]
    return sitk.RegionOfInterest(image, size, low)


def test_the_field_is_the_lungs_box_and_its_margin_to_a_fraction_of_a_voxel() -> None:
    labels = np.zeros((20, 30, 40), np.uint8)
    labels[5:15, 10:20, 8:32] = 1
    ct = Grid((20, 30, 40), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    view = dataclasses.replace(LUNGS, shape=(10, 8, 8)).view(ct, labels)
    np.testing.assert_allclose(view.over, ((5 - 7 / 3, 15 + 7 / 3), (10 - 3.5, 20 + 3.5), (8 - 3.5, 32 + 3.5)))
    first_edge = view.grid.position_lps(np.array([-0.5, -0.5, -0.5]))
    last_edge = view.grid.position_lps(np.array(view.grid.shape) - 0.5)
    # LPS; the first voxel's centre is at 0, its edge half a voxel before
    assert first_edge == pytest.approx([8 * 2 - 1 - 7, 10 * 2 - 1 - 7, 5 * 3 - 1.5 - 7])
    assert last_edge == pytest.approx([32 * 2 - 1 + 7, 20 * 2 - 1 + 7, 15 * 3 - 1.5 + 7])


def test_the_field_ends_where_the_ct_ends() -> None:
    labels = np.ones((4, 5, 6), np.uint8)
    ct = Grid((4, 5, 6), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    view = LUNGS.view(ct, labels)
    assert view.over == ((0, 4), (0, 5), (0, 6))
    assert view.grid == ct.resized(LUNGS.shape)


def test_what_is_not_lung_has_one_value_and_partly_filled_voxels_are_in_between() -> None:
    hu = np.full((4, 4, 4), 300, np.int16)
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[:, 1:3, 1:3], hu[:, 1:3, 1:3] = 1, -900
    ct = Grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    filled = Preprocessing((4, 4, 4), field=Field.LUNGS, margin_mm=1.0, outside_hu=-600.0)
    seen = filled.average(hu, filled.view(ct, labels))
    assert set(np.unique(seen)) == {-900, -600}
    half = dataclasses.replace(filled, margin_mm=0.5, shape=(4, 3, 3))
    assert half.average(hu, half.view(ct, labels))[0, 1].tolist() == [-750, -900, -750]
    plain = dataclasses.replace(filled, outside_hu=None)
    assert set(np.unique(plain.average(hu, plain.view(ct, labels)))) == {-900, 300}


def test_neck_abdomen_and_arms_in_the_ct_do_not_change_the_answer(model: Model) -> None:
    whole = phantom_image()
    expected = scan(whole, model)
    # the phantom's lungs begin 7 slices, 4 columns and 17 rows inside it
    for low, high in (((0, 0, 5), (0, 0, 0)), ((0, 0, 0), (0, 0, 5)), ((1, 9, 4), (2, 8, 3))):
        found = scan(part_of(whole, low, high), model)
        assert found.probability == pytest.approx(expected.probability, abs=1e-6)
        np.testing.assert_allclose(found.slice_positions_mm, expected.slice_positions_mm, atol=1e-6)
        np.testing.assert_allclose(found.evidence.values, expected.evidence.values, atol=1e-5)
        np.testing.assert_allclose(found.evidence.grid.ijk_to_ras(), expected.evidence.grid.ijk_to_ras(), atol=1e-6)
        np.testing.assert_allclose(found.laa_950_by_slice_percent, expected.laa_950_by_slice_percent)
    in_whole = model_of(Preprocessing((35, 32, 32)))
    assert scan(part_of(whole, (0, 0, 5), (0, 0, 0)), in_whole).logit != scan(whole, in_whole).logit


def test_every_map_covers_the_lungs_box_in_the_patient(model: Model) -> None:
    result = scan(phantom_image(), model)
    _, labels = phantom()
    used = [np.flatnonzero(labels.any(tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    ct = Grid.of_image(phantom_image())
    box = result.lung_fraction.grid.box_in(ct)
    for (first, last), (low, high), step in zip(box, used, SPACING_MM, strict=True):
        assert first == pytest.approx(low - 7 / step, abs=1.01)  # the mask may be a voxel off the phantom's own
        assert last == pytest.approx(high + 1 + 7 / step, abs=1.01)
    for overlay in (result.evidence, *result.activations.values()):
        np.testing.assert_allclose(overlay.grid.box_in(ct), box)
    assert result.lung_mask.grid == ct
    shares = area_average(result.lung_mask.values > 0, result.lung_fraction.grid.shape, over=box)
    np.testing.assert_allclose(result.lung_fraction.values, shares, atol=1e-5)


def test_attribution_lies_on_the_same_box_and_only_in_lung(model: Model) -> None:
    pytest.importorskip("captum")
    result, found = scan(phantom_image(), model), attribute(phantom_image(), model, steps=2)
    assert found.values.grid == result.lung_fraction.grid
    assert np.abs(found.values.values[result.lung_fraction.values == 0]).max() == 0


def test_a_saved_result_comes_back_with_its_box(model: Model) -> None:
    result = scan(phantom_image(), model)
    back = result_from_json(record_to_json(result), result.lung_mask)
    assert back.lung_fraction.grid == result.lung_fraction.grid
    assert back.lung_mask.grid == result.lung_mask.grid
    assert back.model == result.model
    np.testing.assert_allclose(back.lung_fraction.values, result.lung_fraction.values, atol=1e-6)


def test_the_field_comes_back_from_a_model_file(tmp_path, model: Model) -> None:
    modelfile.save(tmp_path / "lungs.safetensors", model.network, model.card)
    assert modelfile.load(tmp_path / "lungs.safetensors").card == model.card


def test_the_card_of_a_model_of_whole_cts_says_what_it_always_said() -> None:
    values = card_of(Preprocessing()).to_dict()
    assert list(values["preprocessing"]) == ["shape", "window_low_hu", "window_high_hu", "padding_hu"]


def test_the_bundled_model_reads_the_lungs() -> None:
    shipped = modelfile.load(default_model_path()).card
    assert shipped.preprocessing.field is Field.LUNGS
    assert ModelCard.from_json(shipped.to_json()) == shipped


@pytest.mark.parametrize(
    "wrong",
    [{"field": "heart"}, {"field": 1}, {"margin_mm": 5.0}, {"field": "lungs", "margin_mm": -1.0},
     {"field": "lungs", "outside_hu": "dark"}, {"field": "lungs", "outside_hu": True}, {"outside_hu": 0.0},
     {"field": "lungs", "margin_mm": float("nan")}],
)  # fmt: skip
def test_a_field_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    values = card_of(Preprocessing()).to_dict()
    values["preprocessing"] |= wrong
    with pytest.raises(ModelFileError):
        ModelCard.from_json(json.dumps(values))


def test_voxels_cut_into_smaller_ones_move_the_box_by_nothing() -> None:
    labels = segment_lungs(phantom_image())
    ct = Grid.of_image(phantom_image())
    fine = np.repeat(np.repeat(labels, 2, 0), 3, 2)
    view, finer = LUNGS.view(ct, labels), LUNGS.view(ct.resized(fine.shape), fine)
    np.testing.assert_allclose(finer.grid.ijk_to_ras(), view.grid.ijk_to_ras(), atol=1e-9)


def test_a_part_of_a_grid_and_its_place_in_it_are_inverses() -> None:
    turned = ((0.0, 0.0, 1.0), (0.6, 0.8, 0.0), (-0.8, 0.6, 0.0))
    grid = Grid((20, 30, 40), (3.0, 2.0, 1.5), (11.0, -7.0, 5.0), turned)
    over = ((2.5, 18.0), (-3.0, 33.25), (0.0, 40.0))
    part = grid.part(over, (5, 6, 7))
    np.testing.assert_allclose(part.box_in(grid), over, atol=1e-9)
    whole, resized = grid.part(((0, 20), (0, 30), (0, 40)), (5, 6, 7)), grid.resized((5, 6, 7))
    np.testing.assert_allclose(whole.ijk_to_ras(), resized.ijk_to_ras(), atol=1e-12)
