"""The manifest of a cohort: what is accepted, every mistake is named with its line, writing keeps it all."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from EmphysemaScannerLib.cohort.manifest import (
    CohortRow,
    ManifestError,
    check_volumes,
    read_manifest,
    suspected_patients,
    write_manifest,
)
from EmphysemaScannerLib.lungs.labelfiles import NO_FILES, MaskFiles
from hypothesis import given, settings
from hypothesis import strategies as st


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rows_are_read_with_paths_from_the_manifests_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "volume,label,patient,split,kernel,sex\nct/a.nrrd,1,p1,train,B30f,F\n\n/far/b,0,p2,test,,\n")
    first, second = read_manifest(path)
    assert first.volume == tmp_path / "ct" / "a.nrrd"
    assert (first.label, first.patient, first.split, first.kernel) == (1, "p1", "train", "B30f")
    assert first.extra == {"sex": "F"}
    assert (second.volume, second.lesions, second.study) == (Path("/far/b"), None, "")
    assert second.where == "manifest.csv, line 4"


def test_it_is_read_like_any_list(tmp_path: Path) -> None:
    text = 'sep=;\r\nVolume ; LABEL;"Patient"; Sex\r\n"é;1";1;ß;F\r\n'
    (row,) = read_manifest(write(tmp_path, text.encode("utf-16")))
    assert (row.volume.name, row.patient, row.extra, row.where) == ("é;1", "ß", {"sex": "F"}, "manifest.csv, line 3")


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ("00123", "123", True),
        ("P-007", "p-7", True),
        (" Anna", "ANNA ", True),
        ("0", "00", True),
        ("123", "1230", False),
        ("a01b2", "a1b02", False),  # of one length: nobody left a zero out
        ("p1", "p10", False),
    ],
)
def test_names_of_patients_that_spreadsheets_make_equal_are_suspected(first: str, second: str, one: bool) -> None:
    rows = [CohortRow(Path(name), 1, name, where=f"line {k}") for k, name in enumerate((first, second), 1)]
    sentences = suspected_patients(rows)
    assert len(sentences) == one
    assert all(f"'{first}' (line 1) and '{second}' (line 2) are suspected" in said for said in sentences)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must begin with a line that names the column volume and label and patient"),
        ("volume,patient\na,p\n", "lacks the column label"),
        ("volume,label,patient\n", "no volumes"),
        ("volume,label,patient,\na,1,p,\n", "no name"),
        ("volume,label,patient\na,yes,p\n", "line 2: the label must be 0 or 1, not 'yes'"),
        ("volume,label,patient\na,1,\n", "line 2: the patient"),
        ("volume,label,patient\na,1,p\n,1,p\n", "line 3: the volume"),
        ("volume,label,patient\na,1,p\n./b/../a,1,p\n", r"line 3: the volume 'a' is listed already \(.*line 2"),
        ("volume,label,patient,split\na,1,p,validation\n", "train, tune or test"),
        ("volume,label,patient,split\na,1,p,train\nb,1,p,test\n", "line 3: patient 'p'"),
        ("volume,label,patient,lung_labels\na,1,p,1=lungs\n", "line 2: The labels '1=lungs' belong to no file"),
        ("volume,label,patient,lungs,lung_labels\na,1,p,m.nrrd,1=liver\n", "line 2: .*'1=liver'"),
        ("volume,label,patient,split\na,1,p,train\nb,1,p,\n", "line 3: patient 'p'"),
        (
            "volume,label,patient,split\na,1,00123,train\nb,1,123,test\n",
            r"line 3: patient '123' in the split 'test' is suspected to be '00123' in 'train' \(manifest.csv, line 2\)",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        read_manifest(write(tmp_path, text))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nowhere\.csv"):
        read_manifest(tmp_path / "nowhere.csv")


def test_volumes_that_are_not_there_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    text = "volume,label,patient,lesions,lobes\na,1,p,,\nb,1,q,,\n.,0,r,c,d.nrrd\n"
    rows = read_manifest(write(tmp_path, text))
    with pytest.raises(ManifestError, match=r"^3 of.*line 3: '.*b'; manifest.csv, line 4: '.*c'; .*line 4: '.*d.nrrd'"):
        check_volumes(rows)
    check_volumes(rows[:1])


text = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=6).map(str.strip)
name = st.from_regex(r"[a-zé][a-z0-9 ,;\"']{0,5}[a-z]", fullmatch=True)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.builds(
            CohortRow,
            volume=name.map(lambda n: Path("/data") / n),
            label=st.integers(0, 1),
            patient=name,
            lesions=st.none() | name.map(lambda n: Path("/elsewhere") / n),
            extra=st.fixed_dictionaries({"sex": text, "age": text}),
            study=text,
            series=text,
            kernel=text,
            masks=st.builds(
                MaskFiles,
                lungs=name.map(lambda n: Path("/data") / n),
                lobes=st.none() | name.map(lambda n: Path("/masks") / n),
                lung_labels=st.sampled_from(["", "7=right_lung,8=left_lung"]),
            )
            | st.just(NO_FILES),
        ),
        min_size=1,
        unique_by=lambda row: row.volume,
    )
)
def test_what_is_written_is_read_again(rows: list[CohortRow], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("written") / "manifest.csv"
    write_manifest(path, rows)
    assert list(read_manifest(path)) == rows


def test_paths_below_the_manifest_are_written_relative(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [CohortRow(tmp_path / "ct" / "a", 1, "p"), CohortRow(Path("/far/b"), 0, "q")])
    assert (tmp_path / "m.csv").read_text() == "volume,label,patient\nct/a,1,p\n/far/b,0,q\n"


def test_a_manifest_that_cannot_be_written_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "volume,label,patient\na,1,p\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    (row,) = read_manifest(path)
    with pytest.raises(OSError, match="No space"):
        write_manifest(path, [dataclasses.replace(row, label=0)])
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.csv"]
    assert read_manifest(path) == (row,)
