"""The simulator: disease where its subtype lies, as much as was asked for; the rest of a case does not know of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.simulator.acquisition import Acquisition, Scan, acquire
from EmphysemaScannerLib.simulator.anatomy import Anatomy, Body, embody, framed
from EmphysemaScannerLib.simulator.case import Recipe, diseased, draw_disease, put_in, simulate_case
from EmphysemaScannerLib.simulator.disease import Disease, Mix, Subtype
from EmphysemaScannerLib.simulator.lungspace import LungSpace
from EmphysemaScannerLib.simulator.negatives import Negative, add, draw_negatives
from EmphysemaScannerLib.simulator.parenchyma import destroyable
from EmphysemaScannerLib.simulator.shape import Shape, bend
from EmphysemaScannerLib.simulator.subtypes import TOLERANCE
from phantom import phantom, phantom_image
from scipy import ndimage

SHAPE, SPACING_MM = (56, 96, 96), (5.0, 3.2, 3.2)
STILL = Body(Shape(), 60.0)


@cache
def chest() -> tuple[np.ndarray, np.ndarray]:
    """A finer chest than the common phantom's: lobules must be larger than voxels."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    hu = np.where((x / 0.95) ** 2 + (y / 0.72) ** 2 < 1, 40.0, -1000.0)
    labels = np.zeros(SHAPE, np.uint8)
    for label, side in ((1, -1), (2, 1)):
        labels[((x - 0.46 * side) / 0.36) ** 2 + (y / 0.56) ** 2 + (z / 0.85) ** 2 < 1] = label
    hu[labels > 0] = -860
    return (hu + np.random.default_rng(0).normal(0, 12, SHAPE)).astype(np.float32), labels


def anatomy() -> Anatomy:
    hu, labels = chest()
    grid = Grid(SHAPE, SPACING_MM, (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    return Anatomy("phantom", "train", hu, labels, grid)


def space() -> LungSpace:
    return LungSpace(chest()[1], SPACING_MM)


def with_disease(subtype: Subtype, extent: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return diseased(chest()[0], space(), Disease(subtype, extent), np.random.default_rng(seed))


def recipe(**changes: object) -> Recipe:
    plain = Recipe((1, 0), STILL, Disease(Subtype.CENTRILOBULAR, 12), (), Acquisition())
    return replace(plain, **changes)


def test_the_same_recipe_gives_the_same_case_bit_by_bit_and_another_seed_another() -> None:
    drawn = Recipe.draw((5, 3), diseased=True)
    first, again = (simulate_case(anatomy(), recipe_) for recipe_ in (drawn, Recipe.draw((5, 3), diseased=True)))
    assert first.hu.tobytes() == again.hu.tobytes()
    assert np.array_equal(first.lesions, again.lesions)
    assert Recipe.draw((5, 4), diseased=True) != drawn


@pytest.mark.parametrize("subtype", list(Subtype))
@pytest.mark.parametrize("extent", [1.0, 12.0, 40.0])
def test_the_extent_asked_for_is_met(subtype: Subtype, extent: float) -> None:
    _, lesions = with_disease(subtype, extent)
    reached = 100 * np.count_nonzero(lesions) / np.count_nonzero(chest()[1])
    assert reached == pytest.approx(extent, rel=TOLERANCE)


@pytest.mark.parametrize("subtype", list(Subtype))
def test_density_falls_where_the_lesion_mask_says_and_nothing_changes_outside_the_lungs(subtype: Subtype) -> None:
    hu, labels = chest()
    changed, lesions = with_disease(subtype, 12)
    assert not lesions[labels == 0].any()
    assert changed[labels == 0].tobytes() == hu[labels == 0].tobytes()
    fall = hu - changed
    assert np.median(fall[lesions]) > 35
    assert (fall[lesions] > 15).mean() > 0.9
    far = (labels > 0) & ~lesions & (fall == 0)
    assert far.sum() > 0.4 * (labels > 0).sum()  # untouched lung is left bit by bit


def test_each_subtype_lies_in_its_thirds_of_the_lungs() -> None:
    def thirds(subtype: Subtype) -> tuple[float, float]:
        found = [space().regions(with_disease(subtype, 8, seed)[1]) for seed in range(4)]
        return sum(f["upper"] for f in found), sum(f["lower"] for f in found)

    for subtype in (Subtype.CENTRILOBULAR, Subtype.PARASEPTAL):
        upper, lower = thirds(subtype)
        assert upper > 1.3 * lower
    upper, lower = thirds(Subtype.PANLOBULAR)
    assert lower > 2 * upper


def test_paraseptal_holes_lie_under_the_pleura_and_have_walls() -> None:
    labels = chest()[1]
    changed, lesions = with_disease(Subtype.PARASEPTAL, 5)
    depth = np.zeros(SHAPE, np.float32)
    depth[space().where] = space().depth
    inner = depth > 30  # beyond the holes at the pleura; those of fissures are few
    assert lesions[inner].mean() < 0.2 * lesions[labels > 0].mean()
    between = lesions[..., :-2] & lesions[..., 2:] & (labels > 0)[..., 1:-1]
    rise = changed[..., 1:-1] - np.maximum(changed[..., :-2], changed[..., 2:])
    assert (rise[between] > 40).sum() > 50


def test_larger_vessels_run_through_centrilobular_disease() -> None:
    hu, labels = (array.copy() for array in chest())
    hu[:, 46:50, 20:24] = 20
    lesioned, lesions = diseased(
        hu, LungSpace(labels, SPACING_MM), Disease(Subtype.CENTRILOBULAR, 40), np.random.default_rng(0)
    )
    vessel = np.zeros(SHAPE, bool)
    vessel[:, 47:49, 21:23] = True  # its middle; its border is thinned
    vessel &= labels > 0
    assert not lesions[vessel].any()
    assert np.abs(lesioned - hu)[vessel].max() < 20
    assert not (destroyable(hu) & vessel).any()


def test_the_healthy_twin_is_the_same_scan_where_there_is_no_lesion() -> None:
    findings = (Negative.NODULES, Negative.AIR_TRAPPING)
    scan = Acquisition(noise_hu=20, streaks=0.3, gravity_hu_per_mm=0.1, slice_mm=5.0, drift_hu=4, offset_hu=3)
    ill = simulate_case(anatomy(), recipe(acquisition=scan, negatives=findings))
    well = simulate_case(anatomy(), recipe(acquisition=scan, negatives=findings, disease=None))
    assert ill.lesions.any()
    assert not well.lesions.any()
    same = ill.hu == well.hu
    assert same[ill.labels == 0].all()
    assert same[ill.labels > 0].mean() > 0.5
    assert not same[ill.lesions].any()


def test_nothing_but_the_disease_depends_on_the_label() -> None:
    ill, well = (Recipe.draw((9, 4), label) for label in (True, False))
    assert ill.disease is not None
    assert replace(ill, disease=None) == well
    assert Recipe.draw((9, 4), True, own=1).body == ill.body


@pytest.mark.parametrize("negative", list(Negative))
def test_a_finding_changes_the_ct_and_leaves_label_and_lesions_alone(negative: Negative) -> None:
    hu, _ = chest()
    found = add(hu, space(), (negative,), [5])
    assert np.count_nonzero(np.abs(found - hu) > 20) > 20
    assert np.isfinite(found).all()
    assert found.tobytes() == add(hu, space(), (negative,), [5]).tobytes()
    case = simulate_case(anatomy(), recipe(disease=None, negatives=(negative,)))
    assert not case.lesions.any()
    assert case.extent_percent == 0


def test_bowel_gas_stays_out_of_the_lungs_and_air_trapping_above_emphysema() -> None:
    hu, labels = chest()
    gas = add(hu, space(), (Negative.BOWEL_GAS,), [3])
    assert gas[labels > 0].tobytes() == hu[labels > 0].tobytes()
    assert (gas[hu > -200] < -900).any()
    trapped = add(hu, space(), (Negative.AIR_TRAPPING,), [3])[labels > 0]
    assert (trapped < hu[labels > 0] - 15).mean() > 0.1
    assert (trapped < -950).mean() < 0.02


def test_noise_has_the_strength_asked_for_up_to_the_strongest() -> None:
    for noise_hu in (10.0, 85.0):
        case = simulate_case(anatomy(), recipe(disease=None, acquisition=Acquisition(noise_hu=noise_hu)))
        quiet = simulate_case(anatomy(), recipe(disease=None))
        inside = case.labels > 0
        inside &= (case.hu > -1024) | (noise_hu < 20)
        assert (case.hu - quiet.hu)[inside].std() == pytest.approx(noise_hu, rel=0.3)


def test_every_chest_breathes_to_the_density_asked_for_and_its_twin_too() -> None:
    for parenchyma_hu in (-930.0, -820.0):
        breath = Acquisition(parenchyma_hu=parenchyma_hu)
        healthy, ill = (
            simulate_case(anatomy(), recipe(disease=d, acquisition=breath)) for d in (None, recipe().disease)
        )
        lung = healthy.labels > 0
        assert np.percentile(healthy.hu[lung], 35) == pytest.approx(parenchyma_hu, abs=2)
        spared = lung & ~ndimage.binary_dilation(ill.lesions, iterations=4)
        assert np.median(ill.hu[spared]) == pytest.approx(np.median(healthy.hu[spared]), abs=2)


def with_and_without_arms(margin_mm: float) -> tuple[Anatomy, np.ndarray, np.ndarray]:
    """The chest with arms, what of it they changed, and the body without them."""
    plain, armed = (
        embody(anatomy(), replace(STILL, margin_mm=margin_mm, arm_mm=arm_mm), np.random.default_rng(1))
        for arm_mm in (0.0, 40.0)
    )
    return armed, armed.hu != plain.hu, (plain.hu > -300) | (plain.labels > 0)


def test_arms_in_a_narrow_field_of_view_leave_what_is_between_the_lungs_sides() -> None:
    chest, changed, _ = with_and_without_arms(1.0)
    lung_columns = np.flatnonzero(chest.labels.any((0, 1)))
    assert not changed[:, :, lung_columns[0] : lung_columns[-1] + 1].any()


def test_arms_lie_beside_the_body_and_change_nothing_of_it() -> None:
    armed, changed, body = with_and_without_arms(120.0)
    assert not changed[body].any()
    for side in np.array_split(changed, 2, axis=2):
        assert side.any((1, 2)).all()  # in every slice
    muscle = np.median(armed.hu[changed])
    assert muscle == pytest.approx(55, abs=10)


def test_a_sharp_kernel_puts_noise_at_higher_frequencies_than_a_smooth_one() -> None:
    def share_of_fine_noise(kernel: float) -> float:
        flat = np.full((4, 128, 128), 40, np.float32)
        grid = Grid(flat.shape, (5.0, 0.7, 0.7), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
        scan = Scan(flat, np.zeros(flat.shape, np.uint8), np.zeros(flat.shape, bool), grid)
        noise = acquire(scan, Acquisition(noise_hu=30, kernel=kernel), flat, np.random.default_rng(0)).hu
        power = np.abs(np.fft.fft2(noise - noise.mean())) ** 2
        f = np.fft.fftfreq(128, 0.7)
        return float(power[:, np.hypot(f[:, None], f) > 0.3].sum() / power.sum())

    assert share_of_fine_noise(-0.5) < share_of_fine_noise(0) < share_of_fine_noise(0.8)


def test_thicker_slices_keep_the_lungs_place_and_the_extent() -> None:
    thin, thick = (
        simulate_case(anatomy(), recipe(acquisition=Acquisition(slice_mm=mm, overlap=1.25))) for mm in (0.0, 10.0)
    )
    assert thick.grid.spacing_mm[0] == pytest.approx(10, rel=0.1)
    ends = [c.grid.position_lps(np.array([[-0.5, 0, 0], [c.grid.shape[0] - 0.5, 0, 0]])) for c in (thin, thick)]
    assert np.allclose(*ends)
    assert thick.extent_percent == pytest.approx(thin.extent_percent, rel=0.1)


def test_fields_of_view_are_square_and_voxels_stay_where_they_were() -> None:
    whole = anatomy()
    for margin in (8.0, 90.0):
        part = framed(whole, Body(Shape(), margin, (3.0, -4.0)))
        assert part.hu.shape[1] == part.hu.shape[2]
        assert (part.labels > 0).sum() == (whole.labels > 0).sum()
        voxel = np.argwhere(part.labels == 2)[100]
        place = part.grid.position_lps(voxel.astype(float))
        there = np.rint(place[::-1] / SPACING_MM).astype(int)
        assert part.hu[tuple(voxel)] == whole.hu[tuple(there)]


def test_what_is_drawn_covers_what_differs_between_scans() -> None:
    scans = [Acquisition.draw(np.random.default_rng(n)) for n in range(600)]
    assert {scan.kernel_name for scan in scans} == {"smooth", "standard", "sharp"}
    assert max(scan.noise_hu for scan in scans) >= 85
    assert min(scan.noise_hu for scan in scans) < 5
    assert any(scan.contrast_hu for scan in scans)
    assert {negative for n in range(300) for negative in draw_negatives(np.random.default_rng(n))} == set(Negative)
    diseases = [draw_disease(np.random.default_rng(n)) for n in range(200)]
    assert {disease.subtype for disease in diseases} == set(Subtype)
    assert min(disease.extent_percent for disease in diseases) < 2
    assert max(disease.extent_percent for disease in diseases) > 35


def test_with_destroyed_lungs_dark_and_breathed_out_ones_come_in_both_classes_and_the_usual_mix_is_as_before() -> None:
    usual, wide = ([draw_disease(np.random.default_rng(n), mix) for n in range(300)] for mix in Mix)
    assert max(disease.extent_percent for disease in usual) <= 45
    destroyed = [disease for disease in wide if disease.extent_percent > 45]
    assert 0.1 < len(destroyed) / len(wide) < 0.2
    assert Subtype.PARASEPTAL not in {disease.subtype for disease in destroyed}
    ill, well = ([Recipe.draw((3, n), label, mix=Mix.TO_DESTROYED) for n in range(300)] for label in (True, False))
    assert [recipe.acquisition for recipe in ill] == [recipe.acquisition for recipe in well]
    breaths = np.array([recipe.acquisition.parenchyma_hu for recipe in well])
    assert 0.2 < ((breaths > -928) & (breaths < -908)).mean() < 0.4
    before = np.array([Recipe.draw((3, n), False).acquisition.parenchyma_hu for n in range(300)])
    assert 0.2 < (breaths != before).mean() < 0.4


def test_a_ct_that_cases_cannot_be_made_from_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    coarse = tmp_path / "coarse.nrrd"
    sitk.WriteImage(phantom_image(), str(coarse))
    body = sitk.GetArrayFromImage(phantom_image())
    body[body < -500] = 30
    body[:, :4] = -1000
    no_lungs = sitk.GetImageFromArray(np.repeat(np.repeat(body, 3, 1), 3, 2))
    no_lungs.SetSpacing((1.8, 1.8, 5.0))
    sitk.WriteImage(no_lungs, str(tmp_path / "solid.nrrd"))
    for name, says in (
        ("empty", "no DICOM"),
        ("coarse.nrrd", "too coarse"),
        ("solid.nrrd", "lung"),
        ("x.nrrd", "no file"),
    ):
        with pytest.raises(EmphysemaScannerError, match=says) as raised:
            Anatomy.read(tmp_path / name, "p", "train")
        assert str(raised.value).endswith(".")
        assert "\n" not in str(raised.value)


def test_there_is_no_simulation_without_lungs() -> None:
    with pytest.raises(ValueError, match="no lung"):
        LungSpace(np.zeros(SHAPE, np.uint8), SPACING_MM)


def test_put_into_a_ct_emphysema_changes_lung_alone_and_only_takes_away() -> None:
    image = phantom_image()
    image = sitk.DICOMOrient(image, "RAS")  # any orientation
    hu, labels = phantom()
    put = put_in(image, labels, Disease(Subtype.CENTRILOBULAR, 20), seed=1)
    again = put_in(image, labels, Disease(Subtype.CENTRILOBULAR, 20), seed=1)
    changed = sitk.GetArrayFromImage(put.image)
    assert np.array_equal(changed, sitk.GetArrayFromImage(again.image))
    assert np.array_equal(changed[labels == 0], hu[labels == 0])
    assert (changed <= hu).all()
    assert changed[put.lesions].mean() < hu[put.lesions].mean() - 50
    assert put.extent_percent == pytest.approx(20, rel=TOLERANCE)
    assert put.image.GetOrigin() == pytest.approx(phantom_image().GetOrigin())


def test_a_mirrored_chest_has_its_right_lung_on_the_other_side() -> None:
    hu, labels = chest()
    moved, moved_labels = bend(hu, labels, SPACING_MM, Shape(mirrored=True), np.random.default_rng(0))
    assert np.array_equal(moved_labels, np.array([0, 2, 1])[labels[..., ::-1]])
    assert np.allclose(moved, hu[..., ::-1], atol=0.5)


def test_shrinking_the_body_shrinks_its_lungs_by_the_same_factor() -> None:
    hu, labels = chest()
    _, small = bend(hu, labels, SPACING_MM, Shape(scale=(0.9, 0.9, 0.9)), np.random.default_rng(0))
    assert (small > 0).sum() / (labels > 0).sum() == pytest.approx(0.9**3, rel=0.02)
