"""Training: it learns, resumes, keeps frozen units, and refuses what cannot be trained with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.core import modelfile
from EmphysemaScannerLib.core.conv_lstm import ConvLSTMNetwork
from EmphysemaScannerLib.core.manifest import CohortRow, read_manifest
from EmphysemaScannerLib.core.preprocessing import Preprocessing
from EmphysemaScannerLib.engine.traincommand import train_model
from EmphysemaScannerLib.engine.training import Learner, Plan, TrainingError, Volumes, enlarge, give_long_memory, train

SMALL = Preprocessing(shape=(6, 32, 32))

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def write_cohort(folder: Path, preprocessing: Preprocessing, count: int = 8) -> Path:
    """Dark squares in grey volumes are the disease; the manifest has both splits."""
    rng = np.random.default_rng(0)
    lines = ["volume,label,patient,split,lesions"]
    for k in range(count):
        label, split = k % 2, "tune" if k >= count // 2 else "train"
        hu = rng.normal(-800, 10, preprocessing.shape).astype(np.int16)
        lesions = np.zeros(preprocessing.shape, np.uint8)
        if label:
            lesions[:, 8:24, 8:24] = 255
            hu[lesions > 0] = -1000
        for name, array in ((f"{k}.nrrd", hu), (f"{k}-lesions.nrrd", lesions)):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / name))
        lines.append(f"{k}.nrrd,{label},patient{k},{split},{k}-lesions.nrrd")
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "manifest.csv"


@pytest.fixture
def rows(tmp_path: Path) -> tuple[CohortRow, ...]:
    return read_manifest(write_cohort(tmp_path, SMALL))


def logits(network: ConvLSTMNetwork, rows: tuple[CohortRow, ...]) -> torch.Tensor:
    network.eval()
    inputs = [torch.from_numpy(SMALL.apply(sitk.ReadImage(str(row.volume)))[0])[:, None] for row in rows]
    with torch.inference_mode():
        return network(torch.stack(inputs)).logit


@pytest.mark.parametrize(
    "plan",
    [
        Plan(epochs=12, learning_rate=3e-3, patience=99),
        Plan(epochs=12, learning_rate=3e-3, lesion_weight=1.0, long_memory=True, patience=99),
    ],
    ids=["volume labels alone", "with lesion maps"],
)
def test_a_network_learns_to_tell_the_sick_from_the_well(
    rows: tuple[CohortRow, ...], tmp_path: Path, plan: Plan
) -> None:
    torch.manual_seed(0)
    network = ConvLSTMNetwork(width=4, image_size=32)
    train(network, SMALL, rows, plan, tmp_path / "run", progress_bar=False)
    answers = logits(network, rows)
    sick = torch.tensor([row.label == 1 for row in rows])
    assert answers[sick].min() > answers[~sick].max()


def test_the_volumes_that_are_learned_from_are_those_in_the_files(tmp_path: Path) -> None:
    preprocessing = Preprocessing()
    rows = read_manifest(write_cohort(tmp_path, preprocessing, count=4))
    volumes = Volumes(rows, preprocessing, Plan(), augment=False)
    for row, hu, lesions in zip(rows, volumes.hu, volumes.lesions, strict=True):
        assert np.array_equal(hu, sitk.GetArrayFromImage(sitk.ReadImage(str(row.volume))))
        assert np.array_equal(lesions, sitk.GetArrayFromImage(sitk.ReadImage(str(row.lesions))))


def test_a_run_that_died_goes_on_after_its_last_whole_epoch(
    rows: tuple[CohortRow, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(epochs=3, learning_rate=1e-3, patience=99)
    begun: list[int] = []

    def dies_in_the_second(learner: Learner) -> None:
        begun.append(learner.current_epoch)
        if begun == [0, 1]:
            raise RuntimeError("power cut")

    monkeypatch.setattr(Learner, "on_train_epoch_start", dies_in_the_second)
    with pytest.raises(RuntimeError, match="power cut"):
        train(ConvLSTMNetwork(2, 32), SMALL, rows, plan, tmp_path / "run", progress_bar=False)
    kept = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    resumed: list[bool] = []

    def compare(learner: Learner) -> None:
        begun.append(learner.current_epoch)
        resumed.append(all(torch.equal(value, kept[name]) for name, value in learner.state_dict().items()))

    monkeypatch.setattr(Learner, "on_train_epoch_start", compare)
    train(ConvLSTMNetwork(2, 32), SMALL, rows, plan, tmp_path / "run", progress_bar=False)
    assert begun == [0, 1, 1, 2]
    assert resumed == [True, False]


def test_an_enlarged_network_says_of_a_repeated_picture_what_the_small_one_said_of_one() -> None:
    torch.manual_seed(0)
    small = ConvLSTMNetwork(width=2, image_size=16).eval()
    large = enlarge(small, 32).eval()
    states = torch.randn(1, 4, 1, 1)
    votes = large.evidence(states.expand(-1, -1, 2, 2))
    assert torch.allclose(votes, small.evidence(states).expand(-1, 2, 2))


def test_long_memory_keeps_more_of_the_first_slices() -> None:
    """A forget gate near 1 in the last unit: sigmoid(log(u)) for u up to the number of slices."""
    network = ConvLSTMNetwork(width=4, image_size=16)
    give_long_memory(network, 35)
    forget = torch.sigmoid(network.reading_units[-1].recurrence.input_conv.bias[8:16])
    assert forget.min() >= 0.5
    assert forget.max() > 0.9
    others = torch.cat([u.recurrence.input_conv.bias for u in network.reading_units[:3]])
    assert set(others.unique().tolist()) == {0.0, 1.0}


def test_what_cannot_be_trained_with_is_refused(rows: tuple[CohortRow, ...], tmp_path: Path) -> None:
    healthy = [row for row in rows if not row.label]
    with pytest.raises(TrainingError, match="both labels"):
        train(ConvLSTMNetwork(2, 32), SMALL, healthy, Plan(), tmp_path)
    bare = [dataclasses.replace(row, lesions=None) for row in rows]
    with pytest.raises(TrainingError, match="lesion map"):
        train(ConvLSTMNetwork(2, 32), SMALL, bare, Plan(lesion_weight=1), tmp_path)
    for wrong in ({"crop": 17, "lesion_weight": 1.0}, {"crop": 64}):
        with pytest.raises(TrainingError):
            Plan(**wrong)


def test_the_command_writes_a_model_that_opens_with_its_own_operating_point(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path, Preprocessing(shape=(35, 128, 128)), count=4)
    texts = tmp_path / "card.json"
    texts.write_text('{"name": "squares", "citations": ["none"]}', encoding="utf-8")
    plan = Plan(epochs=1, batch_size=2, crop=16, lesion_weight=1.0)
    path = train_model([manifest], tmp_path / "run", plan, 2, None, texts)
    model = modelfile.load(path)
    assert model.card.name == "squares"
    assert model.card.demonstration
    assert "2 volumes of the tuning split" in model.card.operating_point.source
    assert isinstance(model.network, ConvLSTMNetwork)
    assert model.network.image_size == 128
