"""Predicting a cohort: row by row, by several processes, stopped and continued, and read again by ``compare``."""

from __future__ import annotations

import csv
import dataclasses
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, UnreadableInputError
from EmphysemaScannerLib.base.lock import lock_beside
from EmphysemaScannerLib.batch.engine import ThisProcess
from EmphysemaScannerLib.cohort.manifest import CohortRow, read_manifest
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.evaluation.compare import compare
from EmphysemaScannerLib.evaluation.evaluation import Inference, predict_all
from EmphysemaScannerLib.evaluation.predict import (
    COLUMNS,
    Answers,
    Asking,
    Part,
    PredictionsError,
    fingerprint,
    predict_cohort,
    read_predictions,
)
from EmphysemaScannerLib.models import modelfile, networks
from EmphysemaScannerLib.models.modelcard import ARCHITECTURE_TITLES, Metric, ModelCard, OperatingPoint
from EmphysemaScannerLib.models.preprocessing import Needs, Preprocessing
from EmphysemaScannerLib.scan.device import Device
from otherrun import holding

GRID = Preprocessing(shape=(16, 16, 16))
COUNT = 11


class Volumes:
    """Gives volumes made of numbers, remembers which were asked for, and cannot read some."""

    def __init__(self, unreadable: tuple[str, ...] = ()) -> None:
        self.asked: list[str] = []
        self.unreadable = unreadable

    def network_input(self, row: CohortRow, architecture: str, preprocessing: Preprocessing) -> torch.Tensor:
        self.asked.append(row.volume.name)
        if row.volume.name in self.unreadable:
            raise UnreadableInputError("It is not a CT;\nchoose another.")
        rng = np.random.default_rng(int(row.volume.stem))
        if networks.ARCHITECTURES[architecture].needs is Needs.DENSITOMETRY:
            return torch.tensor([5.0 + 3 * row.label + rng.normal(), -910.0 - 10 * row.label + rng.normal()])
        shape = preprocessing.shape
        return torch.from_numpy(rng.random(shape, dtype=np.float32))[:, None]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    lines = ["volume,label,patient,split"]
    lines += [f"volumes/{k}.nrrd,{k % 2},patient{k},{'test' if k < 8 else 'tune'}" for k in range(COUNT)]
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def models(card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of every architecture, with random weights."""
    folder = tmp_path_factory.mktemp("models")
    paths = []
    for k, architecture in enumerate(networks.ARCHITECTURES):
        torch.manual_seed(k)
        network = networks.build(architecture, 1, 16, 16).eval()
        own = dataclasses.replace(
            card, name=architecture, architecture=architecture, width=1, preprocessing=GRID, temperature=1 + 0.5 * k
        )
        paths.append(folder / architecture / "model.safetensors")
        modelfile.save(paths[-1], network, own)
    return paths


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def on_cpu() -> Inference:
    return Inference(Device.CPU, cache=Volumes())


def predicted(models: list[Path], manifest: Path, out: Path, **options: object) -> list[dict[str, str]]:
    how = Inference(Device.CPU, options.pop("batch_size", 1), options.pop("cache", Volumes()))  # type: ignore[arg-type]
    predict_cohort(models, manifest, out, inference=how, **options)  # type: ignore[arg-type]
    return cells(out)


def test_every_architecture_answers_with_its_tempered_logit(models: list[Path], manifest: Path, tmp_path: Path) -> None:
    found = predicted(models, manifest, tmp_path / "out.csv")
    assert tuple(found[0]) == COLUMNS
    assert {row["name"] for row in found} == set(ARCHITECTURE_TITLES)
    assert len(found) == COUNT * len(models)
    loaded = {model.card.name: model for model in map(modelfile.load, models)}
    rows = {f"volumes/{row.volume.name}": row for row in read_manifest(manifest)}
    for row in found[:: len(models) + 1]:
        model, of = loaded[row["name"]], rows[row["volume"]]
        with torch.inference_mode():
            x = Volumes().network_input(of, model.card.architecture, GRID)[None]
            logit = model.network(x).logit.double().item() / model.card.temperature
        assert float(row["logit"]) == pytest.approx(logit, rel=1e-5, abs=1e-6)
        assert float(row["probability"]) == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)
        assert (row["label"], row["patient"], row["split"]) == (str(of.label), of.patient, of.split)


def test_a_volume_is_read_once_for_all_models_that_read_it_alike(models: list[Path], manifest: Path) -> None:
    volumes = Volumes()
    predict_all([modelfile.load(path) for path in models], read_manifest(manifest), cache=volumes)
    assert len(volumes.asked) == 2 * COUNT  # as a volume, and as densitometry


def test_batches_change_no_answer(models: list[Path], manifest: Path, tmp_path: Path) -> None:
    one, four = (predicted(models, manifest, tmp_path / f"{size}.csv", batch_size=size) for size in (1, 4))
    for a, b in zip(one, four, strict=True):
        assert (a["volume"], a["model"]) == (b["volume"], b["model"])
        assert float(a["logit"]) == pytest.approx(float(b["logit"]), rel=1e-4, abs=1e-5)


def test_stopped_work_goes_on_without_asking_for_a_volume_twice(
    models: list[Path], manifest: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out.csv", tmp_path / "whole.csv"
    predicted(models[:2], manifest, whole)

    def stop(fraction: float, stage: str) -> None:
        if fraction > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        predicted(models[:2], manifest, out, progress=stop, batch_size=2)
    done = {row["volume"] for row in cells(out)}
    assert 0 < len(done) < COUNT
    with out.open("a") as file:  # a kill in the middle of a row
        file.write("volumes/9.nrrd,patient9,tu")
    volumes = Volumes()
    predicted(models[:2], manifest, out, cache=volumes)
    assert not done & {f"volumes/{name}" for name in volumes.asked}
    assert out.read_text() == whole.read_text()


def test_another_model_is_added_to_the_same_file(models: list[Path], manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    predicted(models[:1], manifest, out)
    before = out.read_text()
    found = predicted(models[:2], manifest, out)
    assert out.read_text().startswith(before)
    assert len(found) == 2 * COUNT


def test_what_cannot_be_read_is_said_in_its_row_and_tried_again(
    models: list[Path], manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    found = predicted(models[:1], manifest, out, cache=Volumes(("3.nrrd",)), batch_size=4)
    (refused,) = [row for row in found if row["status"] == "refused"]
    assert (refused["volume"], refused["logit"], refused["problem"]) == (
        "volumes/3.nrrd",
        "",
        "It is not a CT; choose another.",
    )
    loaded, rows = [modelfile.load(models[0])], [row for row in read_manifest(manifest) if row.split == "test"]
    with pytest.raises(EmphysemaScannerError, match=r"1 of the 8 volumes could not be read, such as 'volumes/3.nrrd'"):
        read_predictions(out, loaded, rows, manifest)
    mended = Volumes()
    predicted(models[:1], manifest, out, cache=mended)
    assert mended.asked == ["3.nrrd"]
    assert len(read_predictions(out, loaded, rows, manifest)[0].scores) == 8


def test_compare_takes_the_answers_from_the_file(models: list[Path], manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    predicted(models[:3], manifest, out)
    asked = compare(models[:3], manifest, inference=on_cpu())
    read = compare(models[:3], manifest, predictions=out)
    for a, b in zip(asked.models, read.models, strict=True):
        assert np.array_equal(a.predictions.scores, b.predictions.scores)
        assert a.figures == b.figures
    assert asked.pairs == read.pairs


def test_words_and_figures_of_a_card_change_nothing_but_its_temperature_does(models: list[Path]) -> None:
    model = modelfile.load(models[0])
    card = dataclasses.replace(
        model.card,
        name="other",
        metrics=(Metric("AUC", 1, 1, 1, ""),),
        operating_point=OperatingPoint(0.9, ""),
    )
    assert fingerprint(dataclasses.replace(model, card=card)) == fingerprint(model)
    tempered = dataclasses.replace(model, card=dataclasses.replace(model.card, temperature=3.0))
    assert fingerprint(tempered) != fingerprint(model)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("no file", "There are no predictions"),
        ("other model", "holds no answers of the model 'mil_max'"),
        ("other volumes", r"lacks 5 of the 8 volumes, such as '3.nrrd'"),
        ("other file", "not the result of a prediction"),
    ],
)
def test_predictions_that_do_not_fit_are_one_sentence(
    models: list[Path], manifest: Path, tmp_path: Path, wrong: str, says: str
) -> None:
    out, chosen = tmp_path / "out.csv", models[:1]
    if wrong == "other file":
        out.write_text("a,b\n1,2\n")
    elif wrong != "no file":
        predicted(models[:1], manifest, out, split="test")
    if wrong == "other model":
        chosen = [path for path in models if path.parent.name == "mil_max"]
    if wrong == "other volumes":
        out.write_text("".join(out.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(EmphysemaScannerError, match=says):
        compare(chosen, manifest, predictions=out)


def test_several_processes_write_the_rows_of_one(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real files, through a cache that the processes share; ``Testing/batch/test_kills.py`` kills some."""
    monkeypatch.setenv("EMPHYSEMA_SCANNER_CACHE", str(tmp_path / "cache"))
    manifest, out, at_once = written_volumes(tmp_path, 5), tmp_path / "many.csv", Inference(batch_size=2)
    (tmp_path / "3.nrrd").write_text("no CT")
    predict_cohort(models[:2], manifest, tmp_path / "one.csv", inference=at_once)
    summary = predict_cohort(models[:2], manifest, out, inference=at_once, processes=2)
    assert (summary.volumes, summary.kept, summary.refused) == (5, 0, 1)
    assert sorted(out.read_text().splitlines()) == sorted((tmp_path / "one.csv").read_text().splitlines())


def test_of_volumes_that_went_together_only_the_one_that_ends_its_process_is_refused(
    models: list[Path], manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deadly(ThisProcess[Part, Answers]):
        def submit(self, task: Part) -> Future[Answers]:
            if not any(row.volume.name == "6.nrrd" for row in task):
                return super().submit(task)
            future: Future[Answers] = Future()
            future.set_exception(RuntimeError("the worker ended"))
            return future

        def losses(self, error: BaseException) -> int:
            return 1

    monkeypatch.setattr("EmphysemaScannerLib.evaluation.predict.engine", lambda work, *_: nullcontext(Deadly(work)))
    found = predicted(models[:1], manifest, tmp_path / "out.csv", batch_size=4)
    assert sorted(row["volume"] for row in found) == sorted(f"volumes/{k}.nrrd" for k in range(COUNT))
    assert [row["volume"] for row in found if row["status"] == "refused"] == ["volumes/6.nrrd"]


def test_a_worker_with_another_model_is_refused(models: list[Path], manifest: Path) -> None:
    mark = fingerprint(modelfile.load(models[1]))
    with pytest.raises(PredictionsError, match="another model for a worker"):
        Asking((models[0],), (mark,), on_cpu())(read_manifest(manifest)[:1])
    with pytest.raises(PredictionsError, match=r"started by EmphysemaScanner 0\.0, and a worker has"):
        Asking((models[1],), (mark,), on_cpu(), version="0.0")(read_manifest(manifest)[:1])


def written_volumes(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    lines = ["volume,label,patient"]
    for k in range(count):
        image = sitk.GetImageFromArray(rng.normal(-800, 60, (8, 32, 32)).astype(np.int16))
        sitk.WriteImage(image, str(folder / f"{k}.nrrd"))
        lines.append(f"{k}.nrrd,{k % 2},{k}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder / "manifest.csv"


def test_the_command_says_what_came_out(
    models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real files, through the cache."""
    monkeypatch.setenv("EMPHYSEMA_SCANNER_CACHE", str(tmp_path / "cache"))
    manifest, out = written_volumes(tmp_path, 3), tmp_path / "out.csv"
    same = ["predict", str(models[0]), str(manifest), "--out", str(out)]
    for said in (f"3 volumes predicted, 0 refused: '{out}'.", "3 volumes predicted, 3 of them in an earlier run"):
        with pytest.raises(SystemExit) as ended:
            cli.main(same)
        assert ended.value.code == 0
        assert said in capsys.readouterr().out
    assert [row["volume"] for row in cells(out)] == ["0.nrrd", "1.nrrd", "2.nrrd"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*same, "--split", "test"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip() == "manifest.csv has no volumes in the split 'test'."


def test_a_file_that_another_run_writes_is_refused(models: list[Path], manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with holding(lock_beside(out)):
        with pytest.raises(PredictionsError, match=r"Another run is writing '.*out.csv'; wait"):
            predicted(models[:1], manifest, out)
        assert not out.exists()
    assert len(predicted(models[:1], manifest, out)) == COUNT


def test_a_volume_that_was_refused_before_has_one_row_in_the_end(
    models: list[Path], manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    predicted(models[:1], manifest, out, cache=Volumes(unreadable=("3.nrrd",)))
    found = predicted(models[:1], manifest, out)
    assert [row["status"] for row in found] == ["done"] * COUNT
