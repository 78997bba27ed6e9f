"""Every file of a CT counts wherever it lies, and files that are none of it are left out, counted, and cost nothing."""

from __future__ import annotations

import shutil
import threading
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomfiles import small_ct, write_dicom
from EmphysemaScannerLib.base import parallel
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.ct import dicomfolder
from EmphysemaScannerLib.ct.dicomheader import is_dicom, slices_in
from EmphysemaScannerLib.ct.reading import CT, ct_series, read_ct
from pydicom.uid import generate_uid


def assert_whole(ct: CT) -> None:
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct.image), sitk.GetArrayFromImage(small_ct()))


def sentence(path: Path) -> str:
    with pytest.raises(EmphysemaScannerError) as caught:
        read_ct(path)
    return str(caught.value)


def left(path: Path) -> list[tuple[str, int]]:
    return [(o.what, o.files) for o in read_ct(path).provenance.left_out]


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write_dicom(tmp_path / "ct", small_ct(), SeriesNumber=2)


def without_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


def without_file_meta(path: Path) -> None:
    """Only the data set, implicit, as old archives wrote it."""
    image = pydicom.dcmread(path)
    bare = pydicom.Dataset(image)
    bare.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)


@pytest.mark.parametrize("spoil", [without_preamble, without_file_meta])
@pytest.mark.parametrize("which", [slice(None), slice(3, 9)])
def test_files_without_a_preamble_are_read(series: list[Path], spoil: Callable[[Path], None], which: slice) -> None:
    for path in series[which]:
        spoil(path)
    assert_whole(read_ct(series[0].parent))
    assert_whole(read_ct(series[4]))
    assert ct_series(series[0].parent.iterdir()) == [series[0].parent]


@pytest.mark.parametrize("names", ["IM{:05}", "{:03}.IMA", "1.2.840.{}", "a b {}.DCM", ".hidden{}"])
def test_names_of_files_do_not_matter(tmp_path: Path, names: str) -> None:
    paths = write_dicom(tmp_path / "ct", small_ct(), [names.format(k) for k in range(24)])
    assert_whole(read_ct(tmp_path))
    assert_whole(read_ct(paths[7]))


def test_the_same_uid_at_another_place_is_another_slice(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "ct", small_ct(), SOPInstanceUID=lambda k: f"1.2.9.{k % 16}")
    assert_whole(read_ct(tmp_path))
    assert_whole(read_ct(paths[20]))
    assert left(tmp_path) == []


def test_exact_copies_are_left_out_and_counted(series: list[Path]) -> None:
    for path in series[5:9]:
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    assert_whole(read_ct(series[0].parent))
    assert left(series[0].parent) == [("copy of a slice", 4)]
    assert_whole(read_ct(series[0].with_name("copy of 0005.dcm")))


def test_a_copy_in_another_transfer_syntax_is_a_copy(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path, small_ct(rows=16, columns=16))
    image = pydicom.dcmread(paths[5])
    image.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    image.save_as(tmp_path / "copy")
    assert left(tmp_path) == [("copy of a slice", 1)]


def test_the_same_uid_and_place_with_other_pixels_is_no_copy(series: list[Path]) -> None:
    image = pydicom.dcmread(series[5])
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(series[5].with_name("changed"))
    assert "several images of the same place" in sentence(series[0].parent)


@pytest.mark.parametrize("name", ["copy", "0000-copy"])
def test_a_damaged_copy_of_a_sound_slice_is_left_out(series: list[Path], name: str) -> None:
    whole = series[5].read_bytes()
    series[5].with_name(name).write_bytes(whole[:-9])
    assert_whole(read_ct(series[0].parent))
    assert left(series[0].parent) == [("damaged file", 1)]


def test_one_series_over_several_folders_is_one_ct(tmp_path: Path) -> None:
    for k, path in enumerate(write_dicom(tmp_path / "ct", small_ct())):
        target = tmp_path / "DICOM" / f"DIR{k // 9:03}" / f"IM{k:05}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    assert_whole(read_ct(tmp_path))
    for inside in ("DIR000/IM00002", "DIR001/IM00010", "DIR002/IM00023"):
        assert_whole(read_ct(tmp_path / "DICOM" / inside))
    assert ct_series(tmp_path.rglob("*")) == [tmp_path / "DICOM"]


def test_folders_of_a_cd_two_levels_up_belong_to_it(tmp_path: Path) -> None:
    for k, path in enumerate(write_dicom(tmp_path / "ct", small_ct())):
        target = tmp_path / "cd" / f"P{k // 12}" / "S0" / f"I{k}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    assert_whole(read_ct(tmp_path / "cd" / "P1" / "S0" / "I20"))


def test_a_series_in_a_folder_and_below_it_is_one_ct(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "ct", small_ct())
    (tmp_path / "ct" / "more").mkdir()
    for path in paths[15:]:
        path.rename(tmp_path / "ct" / "more" / path.name)
    for given in (tmp_path, paths[0], tmp_path / "ct" / "more" / paths[20].name):
        assert_whole(read_ct(given))


def test_another_copy_of_a_series_beside_its_folder_is_not_read_with_one_of_its_files(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "a", small_ct(), SeriesInstanceUID="1.5")
    write_dicom(tmp_path / "b", small_ct() + 7, SeriesInstanceUID="1.5")
    ct = read_ct(paths[0])
    assert_whole(ct)
    assert ct.provenance.left_out == ()


def test_a_dicomdir_stands_for_its_folder(series: list[Path]) -> None:
    top = series[0].parent.parent
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.1.3.10", generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    index = pydicom.Dataset()
    index.file_meta, index.FileSetID = meta, "CD"
    index.save_as(top / "DICOMDIR", enforce_file_format=True)
    assert_whole(read_ct(top / "DICOMDIR"))
    assert left(top) == [("DICOMDIR", 1)]


def test_linked_folders_and_files_are_followed_once(tmp_path: Path, series: list[Path]) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "case").symlink_to(series[0].parent)
    (links / "again").symlink_to(series[0].parent)
    (links / "loop").symlink_to(links)
    (links / "up").symlink_to(tmp_path)
    (links / "file").symlink_to(series[3])
    assert_whole(read_ct(links))
    assert left(links) == []


def test_links_that_lead_nowhere_are_named_where_a_slice_is_missing(series: list[Path]) -> None:
    series[7].unlink()
    series[7].symlink_to("nowhere")
    assert "'0007.dcm' cannot be read (a link to a file that is not there)" in sentence(series[0].parent)


def beside(folder: Path, name: str, sop_class: str, remove: tuple[str, ...] = (), **changes: object) -> None:
    """One more file, of another SOP class."""
    path = write_dicom(folder, small_ct(1), [name], SeriesInstanceUID=generate_uid(), **changes)[0]
    image = pydicom.dcmread(path)
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
    for tag in remove:
        delattr(image, tag)
    image.save_as(path)


NO_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


def test_all_that_lies_beside_a_ct_on_a_cd_is_left_out_and_counted(series: list[Path]) -> None:
    folder = series[0].parent
    capture = "1.2.840.10008.5.1.4.1.1.7"
    beside(folder, "movie", f"{capture}.4", (*NO_PLACE, "RescaleSlope"), NumberOfFrames=9, PixelData=bytes(9 * 40))
    beside(folder, "key", capture, NO_PLACE)
    beside(folder, "placed-key", capture, RescaleSlope="", RescaleIntercept="")
    beside(folder, "dose", "1.2.840.10008.5.1.4.1.1.88.67", (*NO_PLACE, "PixelData", "Rows"), Modality="SR")
    beside(folder, "contours", "1.2.840.10008.5.1.4.1.1.481.3", (*NO_PLACE, "PixelData"), Modality="RTSTRUCT")
    beside(folder, "mask", "1.2.840.10008.5.1.4.1.1.66.4", NO_PLACE, Modality="SEG", NumberOfFrames=3)
    beside(folder, "pet", "1.2.840.10008.5.1.4.1.1.128", Modality="PT")
    (folder / "report.pdf").write_bytes(b"%PDF-1.4" * 99)
    (folder / "readme").write_text("short")
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 300)
    for junk in ("._0003.dcm", "Thumbs.db", ".DS_Store"):
        (folder / junk).write_bytes(b"\0\5\x16\7" * 100)
    assert_whole(read_ct(folder))
    found = {o.what: o.files for o in read_ct(folder).provenance.left_out}
    assert found.pop("other file") == 2
    assert found.pop("damaged file") == 1
    assert found == {
        "movie": 1, "key image or screen capture": 1, "series 'chest', 1 slice": 1, "X-Ray Radiation Dose SR": 1,
        "RT Structure Set": 1, "multi-frame Segmentation": 1, "modality PT": 1,
    }  # fmt: skip
    assert ct_series(folder.iterdir()) == [folder]
    assert read_ct(folder).provenance.warnings == ()
    assert_whole(read_ct(series[3]))


def cut_in_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def cut_in_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def cut_in_pixels(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def without_position(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"-300", b"-3x0"))


@pytest.mark.parametrize("spoil", [cut_in_header, cut_in_preamble, cut_in_pixels, emptied, zeroed])
def test_a_damaged_slice_is_named_and_the_series_refused(series: list[Path], spoil: Callable[[Path], None]) -> None:
    spoil(series[9])
    said = sentence(series[0].parent)
    assert "0009.dcm" in said
    assert "slice" in said


def test_the_place_of_a_slice_with_damaged_pixels_is_named(series: list[Path]) -> None:
    cut_in_pixels(series[9])
    assert "0009.dcm' (slice 10 of 24) cannot be read" in sentence(series[0].parent)


@pytest.mark.parametrize("spoil", [emptied, zeroed, cut_in_preamble])
def test_a_damaged_slice_at_an_end_is_warned_of(series: list[Path], spoil: Callable[[Path], None]) -> None:
    spoil(series[23])
    ct = read_ct(series[0].parent)
    assert ct.image.GetDepth() == 23
    assert ct.provenance.warnings == (
        "1 file beside the series cannot be read: slices may be missing at its top or bottom.",
    )


def test_a_slice_whose_position_is_damaged_is_refused_wherever_it_lies(series: list[Path]) -> None:
    without_position(series[0])
    assert "'0000.dcm' cannot be read (its header is damaged)" in sentence(series[0].parent)


def test_a_folder_of_damaged_files_is_named_in_a_batch(series: list[Path]) -> None:
    for path in series:
        cut_in_header(path)
    assert "only 24 x damaged file, its header ends early" in sentence(series[0].parent)
    assert ct_series(series[0].parent.iterdir()) == [series[0].parent]


def test_an_archive_is_refused_with_what_to_do(tmp_path: Path, series: list[Path]) -> None:
    archive = tmp_path / "zipped" / "ct.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for path in series:
            file.write(path)
    for path in (archive, archive.parent):
        assert "unpack" in sentence(path)


def test_a_file_that_may_not_be_opened_is_named(series: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        if path == series[9]:
            raise PermissionError(13, "Permission denied")
        return is_dicom(path)

    monkeypatch.setattr("EmphysemaScannerLib.ct.dicomfolder.is_dicom", refuse)
    assert "'0009.dcm' cannot be read (it cannot be opened (Permission denied))" in sentence(series[0].parent)


def test_headers_are_read_while_others_wait_for_files(series: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = dicomfolder.contents(series)
    look, both = dicomfolder._look, threading.Barrier(2, timeout=30)
    wait_for = set(series[:2])

    def slow(path: Path) -> object:
        if path in wait_for:
            both.wait()  # raises where the other file is looked into only after this one
        return look(path)

    monkeypatch.setattr(parallel, "threads", lambda: 2)
    monkeypatch.setattr(dicomfolder, "_look", slow)
    found = dicomfolder.contents(reversed(series))
    assert [s.path for s in found.slices] == [s.path for s in alone.slices] == series
    assert found.others == alone.others == ()


def test_warnings_are_shown_again_after_headers_were_read_in_several_threads(series: list[Path]) -> None:
    before = list(warnings.filters)
    both = threading.Barrier(2, timeout=30)

    def read(which: list[Path]) -> None:
        both.wait()
        for path in which:
            slices_in(path)

    readers = [threading.Thread(target=read, args=(part,)) for part in (series[::2], series[1::2])]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert list(warnings.filters) == before
