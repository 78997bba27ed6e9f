"""The cache of preprocessed volumes: exact, safe against crashes and strangers, and without names."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.cohort import cache as caches
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import CohortRow
from EmphysemaScannerLib.ct.grid import canonical
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.lungs.densitometry import measure
from EmphysemaScannerLib.lungs.labelfiles import NO_FILES, MaskFiles
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from EmphysemaScannerLib.models.preprocessing import Field, Preprocessing
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from phantom import phantom, phantom_image

SMALL = Preprocessing(shape=(9, 16, 16))


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    path = tmp_path / "secret-name.nrrd"
    sitk.WriteImage(phantom_image(), str(path))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> VolumeCache:
    return VolumeCache(tmp_path / "cache")


def entries(cache: VolumeCache) -> list[Path]:
    return sorted(cache.folder.glob("volumes/*/*"))


@given(arrays(np.int16, st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))))
def test_packing_loses_nothing(hu: np.ndarray) -> None:
    packed = caches._packed(hu)
    assert packed.dtype == np.uint8
    assert np.array_equal(caches._unpacked(packed), hu)


def test_a_volume_is_what_scanning_averages_rounded(ct: Path, cache: VolumeCache) -> None:
    expected = np.rint(SMALL.average(sitk.GetArrayFromImage(canonical(read_ct(ct).image))))
    for _ in range(2):  # made, then kept
        found = cache.grid_hu(ct, SMALL)
        assert found.dtype == np.int16
        assert np.array_equal(found, expected)
    x = cache.network_input(CohortRow(ct, 1, "p"), "mil_max", SMALL)
    assert x.shape == (9, 1, 16, 16)
    assert torch.allclose(x[:, 0], torch.from_numpy(SMALL.apply(read_ct(ct).image)[0]), atol=0.5 / 400)


def test_a_volume_is_read_once(ct: Path, cache: VolumeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cache.grid_hu(ct, SMALL)
    monkeypatch.setattr(caches, "read_ct", lambda path: pytest.fail("read again"))
    assert np.array_equal(VolumeCache(cache.folder).grid_hu(ct, SMALL), first)
    elsewhere = shutil.copy(ct, ct.with_name("copy.nrrd"))
    assert np.array_equal(cache.grid_hu(Path(elsewhere), SMALL), first)


def test_what_changes_the_grid_is_another_entry_and_the_window_is_not(ct: Path, cache: VolumeCache) -> None:
    cache.grid_hu(ct, SMALL)
    cache.grid_hu(ct, Preprocessing(shape=SMALL.shape, window_low_hu=-1000, window_high_hu=-700))
    assert len(entries(cache)) == 1
    cache.grid_hu(ct, Preprocessing(shape=(9, 32, 32)))
    cache.grid_hu(ct, Preprocessing(shape=SMALL.shape, padding_hu=-1000))
    assert len(entries(cache)) == 3


def test_the_lungs_box_is_an_entry_of_its_own_that_knows_where_it_lies(ct: Path, cache: VolumeCache) -> None:
    whole = cache.grid_hu(ct, SMALL)
    lungs = dataclasses.replace(SMALL, field=Field.LUNGS, margin_mm=5.0, outside_hu=0.0)
    seen = cache.grid_hu(ct, lungs)
    averaged, view = lungs.read(read_ct(ct).image)
    assert np.array_equal(seen, np.rint(averaged))
    assert not np.array_equal(seen, whole)
    assert not np.array_equal(cache.grid_hu(ct, dataclasses.replace(lungs, outside_hu=None)), seen)
    assert not np.array_equal(cache.grid_hu(ct, dataclasses.replace(lungs, margin_mm=30.0)), seen)
    for _ in range(2):  # made, and read again
        np.testing.assert_allclose(cache.grid(ct, lungs).ijk_to_ras(), view.grid.ijk_to_ras())
    assert np.array_equal(cache.grid_hu(ct, SMALL), whole)


def test_the_manifests_lung_mask_counts_where_the_lungs_are_read_and_another_makes_another_entry(
    ct: Path, cache: VolumeCache, tmp_path: Path
) -> None:
    image, (_, labels) = read_ct(ct).image, phantom()
    right, both = tmp_path / "right.nrrd", tmp_path / "both.nii.gz"
    for path, values in ((right, labels == 1), (both, labels)):
        mask = sitk.GetImageFromArray(values.astype(np.uint8))
        mask.CopyInformation(image)
        sitk.WriteImage(mask, str(path))
    rows = [
        CohortRow(ct, 1, "p", masks=masks)
        for masks in (NO_FILES, MaskFiles(both), MaskFiles(right, lung_labels="1=right_lung"))
    ]
    field = dataclasses.replace(SMALL, field=Field.LUNGS, outside_hu=0.0)
    inputs = [cache.network_input(row, "mil_max", field) for row in rows]
    expected = np.rint(field.read(image, np.where(labels == 1, labels, 0))[0])
    assert np.array_equal(cache.grid_hu(ct, field, rows[2].masks), expected)
    assert not torch.equal(inputs[1], inputs[2])
    assert len(entries(cache)) == 3
    assert cache.grid(ct, field, rows[2].masks).ijk_to_ras()[0, 0] != cache.grid(ct, field).ijk_to_ras()[0, 0]
    found = cache.densities(rows[2])
    inside = measure(sitk.GetArrayFromImage(canonical(image))[labels == 1], float(np.prod(image.GetSpacing())))
    assert found == (inside.laa_950_percent, inside.perc15_hu)
    before = len(entries(cache))
    assert torch.equal(cache.network_input(rows[2], "mil_max", SMALL), cache.network_input(rows[0], "mil_max", SMALL))
    assert len(entries(cache)) == before + 1  # the whole CT is the same whatever its lungs are


def test_lobes_beside_a_lung_mask_change_no_entry_and_alone_they_are_the_lungs(
    ct: Path, cache: VolumeCache, tmp_path: Path
) -> None:
    image, (_, labels) = read_ct(ct).image, phantom()
    mask = sitk.GetImageFromArray(labels)
    mask.CopyInformation(image)
    lungs, lobes = tmp_path / "lungs.nrrd", tmp_path / "lobes.nrrd"
    sitk.WriteImage(mask, str(lungs))
    sitk.WriteImage(mask, str(lobes))
    names = "1=right_upper_lobe,2=left_upper_lobe"
    field = dataclasses.replace(SMALL, field=Field.LUNGS)
    alone = cache.grid_hu(ct, field, MaskFiles(lobes=lobes, lobe_labels=names))
    assert np.array_equal(cache.grid_hu(ct, field, MaskFiles(lungs)), alone)
    before = len(entries(cache))
    cache.grid_hu(ct, field, MaskFiles(lungs, tmp_path / "not there.nrrd"))
    assert len(entries(cache)) == before


def test_a_volume_whose_label_file_is_unusable_is_named(ct: Path, cache: VolumeCache, tmp_path: Path) -> None:
    (tmp_path / "m.nrrd").write_bytes(b"no image")
    row = CohortRow(ct, 1, "p", masks=MaskFiles(tmp_path / "m.nrrd"))
    assert "m.nrrd" in cache.problem(row, "perc15_logistic", SMALL)
    assert not cache.problem(row, "mil_max", SMALL)  # which reads the whole CT


def test_a_changed_file_is_read_again(ct: Path, cache: VolumeCache) -> None:
    before = cache.grid_hu(ct, SMALL)
    sitk.WriteImage(phantom_image() + 100, str(ct))
    after = cache.grid_hu(ct, SMALL)
    assert np.array_equal(after, VolumeCache(cache.folder.with_name("fresh")).grid_hu(ct, SMALL))
    assert after.mean() > before.mean() + 50


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not an archive", None])
def test_a_damaged_entry_is_made_again(ct: Path, cache: VolumeCache, damage: bytes | None) -> None:
    expected = cache.grid_hu(ct, SMALL)
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    flipped = whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 255]) + whole[len(whole) // 2 + 1 :]
    entry.write_bytes(flipped if damage is None else damage)
    assert np.array_equal(cache.grid_hu(ct, SMALL), expected)
    assert entry.read_bytes() != (flipped if damage is None else damage)


def test_every_truncation_of_an_entry_is_noticed(ct: Path, cache: VolumeCache) -> None:
    expected = cache.grid_hu(ct, SMALL)
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 50)):
        entry.write_bytes(whole[:length])
        assert np.array_equal(cache.grid_hu(ct, SMALL), expected)


def test_nothing_is_left_of_an_entry_that_could_not_be_finished(
    ct: Path, cache: VolumeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches.os, "fsync", full)
    cache.grid_hu(ct, SMALL)  # answers all the same
    assert entries(cache) == []
    assert not list(cache.folder.rglob("*.part"))


def test_neither_names_nor_paths_are_in_the_cache(ct: Path, cache: VolumeCache) -> None:
    cache.densities(CohortRow(ct, 1, "Doe^Jane"))
    cache.grid_hu(ct, SMALL)
    for path in cache.folder.rglob("*"):
        said = str(path.relative_to(cache.folder)).encode() + (path.read_bytes() if path.is_file() else b"")
        assert not any(secret in said for secret in (b"secret", b"Doe", str(ct.parent).encode()))


def test_a_folder_of_files_is_known_by_its_contents(tmp_path: Path, cache: VolumeCache) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for k in range(3):
        (tmp_path / "one" / f"{k}.dcm").write_bytes(b"slice %d" % k)
        (tmp_path / "two" / f"IM{9 - k}").write_bytes(b"slice %d" % k)
    assert cache._content(tmp_path / "one") == cache._content(tmp_path / "two")
    (tmp_path / "two" / "IM9").write_bytes(b"slice 7")
    assert cache._content(tmp_path / "one") != cache._content(tmp_path / "two")
    assert cache._content(tmp_path / "one" / "0.dcm") != cache._content(tmp_path / "one" / "1.dcm")


def test_densities_are_the_manifests_or_measured(ct: Path, cache: VolumeCache) -> None:
    row = CohortRow(ct, 1, "p", extra={"laa_950_percent": "12.5", "perc15_hu": "-950"})
    assert cache.densities(row) == (12.5, -950.0)
    image = canonical(read_ct(ct).image)
    expected = measure(sitk.GetArrayFromImage(image)[segment_lungs(image) > 0], float(np.prod(image.GetSpacing())))
    for extra in ({}, {"laa_950_percent": "12.5"}):
        found = cache.densities(CohortRow(ct, 1, "p", extra=extra))
        assert found == (expected.laa_950_percent, expected.perc15_hu)
    assert cache.network_input(CohortRow(ct, 1, "p"), "perc15_logistic", SMALL).tolist() == list(np.float32(found))


def test_a_volume_without_lungs_has_no_densities(tmp_path: Path, cache: VolumeCache) -> None:
    image = phantom_image()
    sitk.WriteImage(sitk.Image(image.GetSize(), sitk.sitkInt16) + 40, str(tmp_path / "block.nrrd"))
    with pytest.raises(EmphysemaScannerError):
        cache.densities(CohortRow(tmp_path / "block.nrrd", 1, "p"))


def test_several_at_once_agree(ct: Path, cache: VolumeCache) -> None:
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: found.append(VolumeCache(cache.folder).grid_hu(ct, SMALL))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(np.array_equal(one, found[0]) for one in found)
    assert len(entries(cache)) == 1


def test_only_a_cache_is_cleared(ct: Path, cache: VolumeCache, tmp_path: Path) -> None:
    assert cache.size() == (0, 0)
    cache.grid_hu(ct, SMALL)
    assert cache.size()[0] == 3  # the entry, its content's hash, and the mark
    cache.clear()
    assert not cache.folder.exists()
    other = VolumeCache(tmp_path)  # the user's own folder, named by mistake
    other.grid_hu(ct, SMALL)
    assert other.clear() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [ct.name]
