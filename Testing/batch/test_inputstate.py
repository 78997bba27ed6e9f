"""A CT whose files changed is told from one whose did not, whatever lies beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from EmphysemaScannerLib.batch.inputstate import state_of
from EmphysemaScannerLib.report.outputfolder import FILE_LIST
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian


def slice_of(path: Path, series: str) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    header = Dataset()
    header.file_meta = meta
    header.SOPClassUID, header.SOPInstanceUID, header.SeriesInstanceUID = CTImageStorage, "1.2.3", series
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def touched(path: Path) -> None:
    """A new time of modification, whatever the clock's steps are."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000_000))


def kinds(folder: Path) -> dict[str, tuple[Path, Path, Path]]:
    """Of each kind of CT: its path, one of its files, and one that is none of its."""
    image = write(folder / "images" / "a.nrrd")
    header = write(folder / "images" / "b.mhd", "NDims = 3\nElementDataFile = voxels.raw\n")
    nhdr = write(folder / "images" / "c.nhdr", "NRRD0004\ndata file: c.raw.gz\n")
    alone = slice_of(folder / "alone" / "deep" / "1", "1.1").parents[1]
    mixed = slice_of(folder / "mixed" / "a1", "1.1")
    return {
        "image": (image, image, header),
        "detached voxels": (header, write(folder / "images" / "voxels.raw"), image),
        "detached voxels of NRRD": (nhdr, write(folder / "images" / "c.raw.gz"), header),
        "folder": (alone, slice_of(alone / "deep" / "2", "1.1"), write(alone / "batch.csv")),
        "folder and results": (alone, alone / "deep" / "1", write(alone / "out" / FILE_LIST)),
        "series in a folder": (
            mixed,
            slice_of(folder / "mixed" / "a2", "1.1"),
            slice_of(folder / "mixed" / "b1", "1.2"),
        ),
        "series over folders": (
            slice_of(folder / "cd" / "1" / "a1", "1.1"),
            slice_of(folder / "cd" / "2" / "a2", "1.1"),
            slice_of(folder / "cd" / "2" / "b1", "1.2"),
        ),
        "series without preamble": (mixed, write(folder / "mixed" / "unknown"), write(folder / "mixed" / ".hidden")),
    }


KINDS = [
    "image", "detached voxels", "detached voxels of NRRD", "folder", "folder and results", "series in a folder",
    "series over folders", "series without preamble",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [touched, lambda path: write(path, "longer"), Path.unlink])
def test_the_state_changes_with_the_cts_own_files_alone(
    kind: str, change: Callable[[Path], object], tmp_path: Path
) -> None:
    ct, own, other = kinds(tmp_path)[kind]
    before = state_of(ct)
    assert before
    touched(other)
    assert state_of(ct) == before
    change(own)
    assert state_of(ct) != before


def test_a_file_that_is_added_to_a_series_changes_it_and_one_of_another_series_does_not(tmp_path: Path) -> None:
    ct = slice_of(tmp_path / "a1", "1.1")
    before = state_of(ct)
    slice_of(tmp_path / "b1", "1.2")
    assert state_of(ct) == before
    slice_of(tmp_path / "a2", "1.1")
    assert state_of(ct) != before


def test_links_are_followed_and_those_that_lead_back_or_nowhere_do_no_harm(tmp_path: Path) -> None:
    slice_of(tmp_path / "elsewhere" / "1", "1.1")
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "ct" / "back").symlink_to(tmp_path / "ct")
    (tmp_path / "ct" / "nowhere").symlink_to(tmp_path / "gone")
    before = state_of(tmp_path / "ct")
    assert before
    touched(tmp_path / "elsewhere" / "1")
    assert state_of(tmp_path / "ct") != before


@pytest.mark.parametrize("name", ["a.nrrd", "a", "folder", "a.mhd", "no/folder/a", "9" * 5000])
def test_what_is_not_there_has_no_state(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert state_of(tmp_path / name) == ""


def test_a_header_that_names_what_can_be_no_file_is_a_state_of_its_own(tmp_path: Path) -> None:
    assert state_of(write(tmp_path / "a.mhd", f"ElementDataFile = {'x' * 5000}\nb = \0\n= \n"))
