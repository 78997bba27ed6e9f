"""What is no chest CT gets one sentence and no number; a chest CT that is only stored oddly gets its right answer.

One case of each kind here, 1,000 cases with ``make soak``.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from badinput import KINDS, REFUSED, Judge, give
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, LungsNotFoundError, NotAChestCTError
from EmphysemaScannerLib.batch.batch import run_batch
from EmphysemaScannerLib.batch.row import DONE
from EmphysemaScannerLib.commands.cli import main
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.scan.scan import scan
from everymodel import model_of
from phantom import phantom_image

ALL = 1000


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_bad_input_becomes_what_it_should(judge: Judge, name: str) -> None:
    _, wrong = give(judge, name, seed=0)
    assert wrong == []


@pytest.mark.soak
def test_a_thousand_cases_of_bad_input_become_what_they_should(judge: Judge) -> None:
    wrong = []
    for k in range(ALL):
        name, seed = list(KINDS)[k % len(KINDS)], 1 + k // len(KINDS)
        wrong += [f"{name} {seed}: {found}" for found in give(judge, name, seed)[1]]
    assert wrong == []


@pytest.fixture(scope="module")
def refused_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("refused")
    paths = []
    for k, (name, kind) in enumerate(KINDS.items()):
        if kind.becomes == REFUSED and not name.startswith("DICOM, cut"):
            (folder / str(k)).mkdir()
            paths.append(kind.make(folder / str(k), random.Random(f"{name} 0")))
    return paths


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, path = model_of("conv_lstm"), tmp_path_factory.mktemp("model") / "model.safetensors"
    modelfile.save(path, model.network, model.card)
    return path


def test_a_batch_gives_all_of_them_a_row_with_the_sentence_and_no_number(
    refused_paths: list[Path], model_path: Path, tmp_path: Path
) -> None:
    rows = []
    summary = run_batch(refused_paths, tmp_path / "results.csv", model_path, on_row=rows.append)
    assert (summary.done, len(rows)) == (0, len(refused_paths))
    for row in rows:
        assert row.status != DONE
        assert np.isnan(row.probability)
        assert row.problem.endswith(".")
        assert "could not be scanned" not in row.problem


def test_the_command_line_ends_with_one_sentence_and_leaves_nothing(
    refused_paths: list[Path], model_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in refused_paths:
        with pytest.raises(SystemExit) as ended:
            main(["scan", str(path), "--out", str(tmp_path / "out"), "--model", str(model_path)])
        said = capfd.readouterr()
        assert (ended.value.code, said.out) == (2, ""), path
        assert said.err.strip().endswith("."), said.err
        assert not list(tmp_path.iterdir())


@pytest.mark.soak
@pytest.mark.parametrize("name", ["ct.nrrd", "ct.mha", "ct.nii"])
def test_a_file_of_two_gigabytes_is_refused_without_its_weight_in_memory_many_times(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sitk.WriteImage(phantom_image(), str(path))
    raw, size = path.read_bytes(), 1024**3 * 2
    if name.endswith(".nii"):
        raw = raw[:42] + np.array([1024, 1024, 1024], "<i2").tobytes() + raw[48:]
    else:
        raw = raw.replace(b"64 64 70", b"1024 1024 1024")
    with path.open("wb") as file:
        file.write(raw[:400])
        file.truncate(size + len(raw))
    code = (
        "import resource, sys; from pathlib import Path; resource.setrlimit(resource.RLIMIT_AS, (9 << 30,) * 2)\n"
        "from EmphysemaScannerLib.ct.reading import read_ct\n"
        "from EmphysemaScannerLib.ct.checks import check_image\n"
        "from EmphysemaScannerLib.base.errors import EmphysemaScannerError\n"
        "try: check_image(read_ct(Path(sys.argv[1])).image)\n"
        "except EmphysemaScannerError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=600)
    assert (ran.returncode, ran.stdout.strip()[-1:]) == (0, "."), ran


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.mha"])
def test_a_header_that_promises_more_voxels_than_memory_holds_is_refused_before_they_are_made(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    sitk.WriteImage(phantom_image(), str(path))
    path.write_bytes(path.read_bytes().replace(b"64 64 70", b"3000 3000 3000"))
    with pytest.raises(NotAChestCTError, match=r"2.7e\+10 voxels"):
        read_ct(path)


@pytest.mark.parametrize("number", [b"99", b"-3", b"0x3", b"", b"3\nNDims = 99"])
def test_dimensions_with_which_itk_would_end_the_process_are_refused(tmp_path: Path, number: bytes) -> None:
    path = tmp_path / "ct.mha"
    sitk.WriteImage(phantom_image(), str(path))
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims = " + number))
    with pytest.raises(EmphysemaScannerError, match="damaged"):
        read_ct(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_nan_in_nifti_is_refused_though_itk_reads_it_as_zero(
    tmp_path: Path, value: float, suffix: str, kind: type
) -> None:
    hu = sitk.GetArrayFromImage(phantom_image()).astype(kind)
    hu[69, 63, 63] = value
    sitk.WriteImage(sitk.GetImageFromArray(hu), str(tmp_path / f"ct.{suffix}"))
    with pytest.raises(NotAChestCTError, match="NaN or infinite"):
        read_ct(tmp_path / f"ct.{suffix}")


def test_lungs_larger_than_any_chest_are_refused() -> None:
    image = phantom_image()
    image.SetSpacing((6, 6, 19.9))
    with pytest.raises(LungsNotFoundError, match="more than any chest holds"):
        scan(image, model_of("conv_lstm"))
