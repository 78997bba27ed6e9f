"""The manifest of a cohort: what is accepted, and that every mistake is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from EmphysemaScannerLib.core.manifest import ManifestError, read_manifest


def write(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_read_with_paths_from_the_manifests_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "volume,label,patient,split,kernel\nct/a.nrrd,1,p1,train,B30f\nct/b.nrrd,0,p2,test,\n")
    first, second = read_manifest(path)
    assert first.volume == tmp_path / "ct" / "a.nrrd"
    assert (first.label, first.patient, first.split, first.extra["kernel"]) == (1, "p1", "train", "B30f")
    assert second.lesions is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("volume,patient\na,p\n", "label"),
        ("volume,label,patient\n", "no volumes"),
        ("volume,label,patient\na,yes,p\n", "line 2"),
        ("volume,label,patient\na,1,\n", "line 2"),
        ("volume,label,patient,split\na,1,p,validation\n", "train, tune or test"),
        ("volume,label,patient,split\na,1,p,train\nb,1,p,test\n", "'p'"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        read_manifest(write(tmp_path, text))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nowhere\.csv"):
        read_manifest(tmp_path / "nowhere.csv")
