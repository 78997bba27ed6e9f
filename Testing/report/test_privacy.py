"""Nothing names a patient unless it was asked for, nothing is sent anywhere, nothing is written elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import watched
from childprocess import ENVIRONMENT
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.report.contents import pseudonym
from phantom import SPACING_MM, phantom
from tinycohort import TINY, write_cohort

PATIENT = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "PID-4711",
    "PatientBirthDate": "19640812",
    "PatientSex": "F",
    "StudyDate": "20240301",
    "AccessionNumber": "ACC-0815",
    "InstitutionName": "Charite Nowhere",
    "ReferringPhysicianName": "Wunderlich^Carla",
    "StudyInstanceUID": "1.2.276.0.7230010.99.1",
    "SeriesInstanceUID": "1.2.276.0.7230010.99.2",
}
SECRETS = ("Mustermann", "Erika", "PID-4711", "19640812", "ACC-0815", "Charite", "Wunderlich", "7230010")


def write_patient(folder: Path) -> Path:
    """The phantom as a DICOM series with a patient's name all over it, also in its folder's."""
    series = folder / "Mustermann_Erika"
    series.mkdir()
    hu, _ = phantom()
    for k, pixels in enumerate(hu):
        dataset = pydicom.Dataset()
        for name, value in PATIENT.items():
            setattr(dataset, name, value)
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.SOPInstanceUID = f"1.2.276.0.7230010.99.3.{k}"
        dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept = "CT", 1, 0
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, k * SPACING_MM[0]], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = list(SPACING_MM[1:]), SPACING_MM[0]
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PixelData = pixels.astype("<i2").tobytes()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(series / f"{k}.dcm", enforce_file_format=True)
    return series


def run_watched(home: Path, commands: Sequence[Sequence[object]], *allowed: Path) -> tuple[dict[str, Any], str]:
    """Run commands with a new home; what strayed and how each ended, and all that was printed."""
    environment = {**ENVIRONMENT, "HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("EMPHYSEMA_SCANNER_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        environment.pop(name, None)
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    ran = subprocess.run(
        [sys.executable, watched.__file__, *map(str, (home, *allowed))],
        input=json.dumps([[str(part) for part in command] for command in commands]),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout), ran.stderr


def contents(path: Path) -> bytes:
    """All bytes of a file, and unpacked ones of an archive."""
    found = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found += b"".join(name.encode() + archive.read(name) for name in archive.namelist())
    return found


def found_in(folder: Path) -> list[str]:
    """What a folder's names and files say of the patient."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [
        f"{secret} in {path}"
        for path in files
        for secret in SECRETS
        for text in (str(path.relative_to(folder)).encode(), contents(path))
        if secret.encode() in text
    ]


@pytest.mark.parametrize("pictures", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_a_scan_names_no_patient_and_the_network_is_not_used(model_path: Path, tmp_path: Path, pictures: bool) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    series = write_patient(tmp_path)
    options = ["--model", model_path, "--device", "cpu"]
    drawn = "--pictures" if pictures else "--no-pictures"
    told, said = run_watched(
        home,
        [
            ["scan", series, "--out", out / "scan", *options, drawn],
            ["scan", series, "--out", out / "named", *options, "--no-pictures", "--named"],
            ["batch", series, "--out", out / "batch.csv", *options],
        ],
        out.parent,
    )
    assert told == {"strayed": [], "ended": [0, 0, 0]}, said
    assert found_in(out / "scan") == []
    assert b"female, 59 years (from the DICOM header)" in (out / "scan" / "report.html").read_bytes()
    of_the_first = said.partition("Results")[0]
    assert "Probability" in of_the_first
    assert not any(secret in of_the_first for secret in SECRETS)
    assert found_in(out / "named")  # the search finds what is there
    name = json.loads((out / "scan" / "result.json").read_text(encoding="utf-8"))["source"]
    assert name == pseudonym(read_ct(series).image)
    if any(path.is_file() for path in home.rglob("*")):
        assert found_in(home) == []


def test_a_training_keeps_no_name_and_sends_nothing_and_one_command_removes_what_is_stored(tmp_path: Path) -> None:
    home = tmp_path / "home"
    manifest = write_cohort(tmp_path / "cohort", (4, 32, 32), train=8, tune=4)
    text = manifest.read_text(encoding="utf-8")
    for k in range(12):
        text = text.replace(f"\n{k}.nrrd", f"\nMustermann{k}.nrrd").replace(f"patient{k},", f"PID-4711-{k},")
        (manifest.parent / f"{k}.nrrd").rename(manifest.parent / f"Mustermann{k}.nrrd")
    manifest.write_text(text, encoding="utf-8")
    run = tmp_path / "run"
    train = ["train", manifest, "--out", run, *TINY, "--width", 2, "--epochs", 2, "--device", "cpu"]
    told, said = run_watched(
        home,
        [
            train,
            ["predict", run, manifest, "--out", tmp_path / "answers.csv", "--device", "cpu"],
            ["compare", run, manifest, "--data", "made up", "--split", "tune", "--out", tmp_path / "table"],
        ],
        tmp_path,
    )
    assert told == {"strayed": [], "ended": [0, 0, 0]}, said
    assert found_in(run) == []
    assert found_in(tmp_path / "table") == []
    assert found_in(home) == []
    cache = home / ".cache" / "EmphysemaScanner"
    assert cache.is_dir()
    told, said = run_watched(home, [["cache", "show"], ["cache", "clear"]])
    assert told["ended"] == [0, 0]
    assert str(cache) in said
    assert not cache.exists()
    assert sorted(path.name for path in home.rglob("*") if path.is_file() and "matplotlib" not in path.parts) == []


def test_manifests_with_tricks_in_their_paths_write_nothing_elsewhere(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    inside = tmp_path / "a" / "b"
    manifest = write_cohort(inside, (4, 32, 32), train=2, tune=2)
    rows = ["volume,label,patient,split,study,kernel,../../evil"]
    tricks = [
        "../../evil",
        "/etc/evil",
        "..",
        "~/evil",
        "$HOME/evil",
        "a;touch evil",
        "`touch evil`",
        "-rf",
        "file:///etc/x",
    ]
    rows += [f"{trick},{k % 2},{trick},test,{trick},{trick},{trick}" for k, trick in enumerate(tricks)]
    rows += ["0.nrrd,0,x,test,,,", "1.nrrd,1,y,test,,,"]
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out"
    options = ["--model", model_path, "--device", "cpu"]
    told, said = run_watched(
        out / "home",
        [
            ["batch", manifest, "--out", out / "batch.csv", *options],
            ["cache", "fill", manifest],
            ["predict", model_path, manifest, "--out", out / "answers.csv", "--device", "cpu"],
            ["cohort", "split", manifest, "--out", out / "split.csv"],
            ["train", manifest, "--out", out / "run"],
        ],
        out,
    )
    assert told["strayed"] == [], said
    assert "Traceback" not in said
    assert set(told["ended"]) <= {0, 1, 2}
    assert sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(out)) == before


def test_a_pseudonym_follows_the_voxels_alone(tiny_chest: sitk.Image) -> None:
    other = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(tiny_chest), 1))
    same = sitk.Image(tiny_chest)
    same.SetMetaData("0010|0010", "Mustermann^Erika")
    assert pseudonym(same) == pseudonym(tiny_chest) != pseudonym(other)
