"""Training: every architecture learns, a run resumes where it died, and what cannot be trained with is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import CohortRow, ManifestError, read_manifest
from EmphysemaScannerLib.evaluation.statistics import fit_temperature
from EmphysemaScannerLib.models import modelfile, networks
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig, ConvLSTMNetwork
from EmphysemaScannerLib.models.networks import FastConvLSTM, build, keras_parameter_count
from EmphysemaScannerLib.models.preprocessing import Needs, Preprocessing
from EmphysemaScannerLib.training.aids import AidedVolumes, enlarge, give_long_memory
from EmphysemaScannerLib.training.checkpoints import Watch
from EmphysemaScannerLib.training.densities import fit_logistic
from EmphysemaScannerLib.training.learner import Learner
from EmphysemaScannerLib.training.lesions import LesionLearner
from EmphysemaScannerLib.training.plan import Balance, Hardware, MixedPrecision, NetworkChoice, Plan, TrainingError
from EmphysemaScannerLib.training.runfolder import read_training
from EmphysemaScannerLib.training.training import LOCK_FILE, Untrained, alone_in, train
from EmphysemaScannerLib.training.trainmodel import train_model
from EmphysemaScannerLib.training.volumes import TrainingOrder, TuningOrder
from otherrun import holding
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tinycohort import write_cohort

SMALL = Preprocessing(shape=(6, 32, 32))
QUICK = Plan(epochs=12, learning_rate=3e-3, patience=99)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture
def rows(tmp_path: Path) -> tuple[CohortRow, ...]:
    return read_manifest(write_cohort(tmp_path, SMALL.shape, train=4, tune=4))


def run(rows: tuple[CohortRow, ...] | list[CohortRow], plan: Plan, out: Path, **options: object) -> ConvLSTMNetwork:
    torch.manual_seed(0)
    network = FastConvLSTM(ConvLSTMConfig(width=2, image_size=SMALL.shape[1]))
    train(Untrained(network, "conv_lstm", SMALL), rows, plan, out, **options)
    return network


def told_apart(network: torch.nn.Module, architecture: str, preprocessing: Preprocessing, rows: object) -> bool:
    network.eval()
    cache = VolumeCache()
    inputs = torch.stack([cache.network_input(row, architecture, preprocessing) for row in rows])
    with torch.inference_mode():
        answers = network(inputs).logit
    sick = torch.tensor([row.label == 1 for row in rows])
    return bool(answers[sick].min() > answers[~sick].max())


@pytest.mark.parametrize(
    "plan",
    [QUICK, dataclasses.replace(QUICK, lesion_weight=1.0, long_memory=True)],
    ids=["volume labels alone", "with lesion maps"],
)
def test_a_conv_lstm_learns_to_tell_the_sick_from_the_well(
    rows: tuple[CohortRow, ...], tmp_path: Path, plan: Plan
) -> None:
    torch.manual_seed(0)
    network = FastConvLSTM(ConvLSTMConfig(width=4, image_size=32))
    outcome = train(Untrained(network, "conv_lstm", SMALL), rows, plan, tmp_path / "run")
    assert told_apart(network, "conv_lstm", SMALL, rows)
    assert outcome.best_auc == 1
    assert 1 <= outcome.best_epoch <= outcome.epochs == 12
    assert outcome.precision == "32-true"


@pytest.mark.parametrize("architecture", [name for name in networks.ARCHITECTURES if name != "conv_lstm"])
def test_every_other_architecture_is_trained_by_the_same_command(tmp_path: Path, architecture: str) -> None:
    grid = Preprocessing(shape=(16, 16, 16))  # the least that a 3D CNN can halve four times
    manifest = write_cohort(tmp_path, grid.shape, train=8, tune=4, side=8)
    reads_densitometry = networks.ARCHITECTURES[architecture].needs is Needs.DENSITOMETRY
    if reads_densitometry:
        lines = manifest.read_text().splitlines()
        figures = ["laa_950_percent,perc15_hu", *(f"{k % 2 * 20 + k},{-900 - k % 2 * 60 - k}" for k in range(12))]
        manifest.write_text("\n".join(f"{line},{more}" for line, more in zip(lines, figures, strict=True)))
    plan = Plan(epochs=10, learning_rate=1e-2, batch_size=8, patience=99)
    width = None if reads_densitometry else 4
    path = train_model([manifest], tmp_path / "run", plan, NetworkChoice(architecture, width, grid))
    assert path is not None
    model = modelfile.load(path)
    assert model.card.architecture == architecture
    curves = read_training(tmp_path / "run")
    assert f"validation AUC {max(curves.val_auc):.3f}" in model.card.training_log[0]
    if reads_densitometry:
        assert told_apart(model.network, architecture, grid, read_manifest(manifest))
        assert curves.val_auc == (1.0,)
    else:
        assert curves.train_loss[-1] < 0.9 * curves.train_loss[0]


def test_the_volumes_that_are_learned_from_are_those_in_the_files(tmp_path: Path) -> None:
    rows = read_manifest(write_cohort(tmp_path, SMALL.shape, train=2, tune=2, step_hu=-100))
    plan = Plan(lesion_weight=1.0)
    volumes = AidedVolumes(rows, SMALL, plan, augment=False, cache=VolumeCache(), in_memory=True)
    for k, row in enumerate(rows):
        hu, lesions = volumes.read(k)
        assert np.array_equal(hu, sitk.GetArrayFromImage(sitk.ReadImage(str(row.volume))))
        assert np.array_equal(lesions, sitk.GetArrayFromImage(sitk.ReadImage(str(row.lesions))))
        x, label, number, shown = volumes[0, k]
        assert torch.equal(x[:, 0], torch.from_numpy(SMALL.normalise(hu.astype(np.float32))))
        assert (label, number) == (row.label, k)
        assert np.array_equal(shown, lesions)
    for row in rows:
        row.volume.unlink()
    assert volumes[0, 0][0].shape == (6, 1, 32, 32)


def test_what_is_shown_depends_on_seed_epoch_and_volume_alone(rows: tuple[CohortRow, ...]) -> None:
    plan = Plan(crop=16, lesion_weight=1.0)
    volumes = AidedVolumes(rows, SMALL, plan, augment=True, cache=VolumeCache())
    first = volumes[3, 1]
    torch.manual_seed(5)
    again = AidedVolumes(rows, SMALL, plan, augment=True, cache=VolumeCache())[3, 1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    others = [volumes[4, 1], AidedVolumes(rows, SMALL, dataclasses.replace(plan, seed=2), True, VolumeCache())[3, 1]]
    assert not any(torch.equal(first[0], other[0]) for other in others)


def test_the_steps_are_the_same_for_any_number_of_processes() -> None:
    labels = [k % 3 == 0 for k in range(26)]
    plan = Plan(batch_size=4)
    whole = TrainingOrder(labels, plan)
    halves = [TrainingOrder(labels, plan, rank, 2) for rank in (0, 1)]
    for order in (whole, *halves):
        order.set_epoch(7)
    alone, parts = list(whole), [list(half) for half in halves]
    assert len(alone) == len(whole) == 24
    assert len({k for _, k in alone}) == 24
    assert [len(part) for part in parts] == [12, 12] == [len(half) for half in halves]
    for step in range(6):
        together = [shown for part in parts for shown in part[2 * step : 2 * step + 2]]
        assert sorted(together) == sorted(alone[4 * step : 4 * step + 4])
    whole.set_epoch(8)
    assert [k for _, k in whole] != [k for _, k in alone]


def test_sampling_shows_both_classes_equally_often_and_every_rare_volume() -> None:
    labels = [0] * 20 + [1] * 5
    order = list(TrainingOrder(labels, Plan(batch_size=4, balance=Balance.SAMPLE)))
    for step in range(6):
        assert sorted(labels[k] for _, k in order[4 * step : 4 * step + 4]) == [0, 0, 1, 1]
    times = Counter(k for _, k in order)
    assert all(2 <= times[k] <= 3 for k in range(20, 25))
    assert all(times[k] <= 1 for k in range(20))


def test_the_parts_of_the_tuning_split_are_equally_long_and_hold_it_all() -> None:
    for count, ranks in ((5, 2), (8, 4), (3, 4), (1, 3)):
        parts = [[k for _, k in TuningOrder(count, rank, ranks)] for rank in range(ranks)]
        assert len({len(part) for part in parts}) == 1
        assert {k for part in parts for k in part} == set(range(count))


def test_weighted_classes_count_the_same_in_the_loss() -> None:
    class Says(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.logit = x
            return self

    learner = Learner(Says(), Plan(), 1, (4 / 6, 4 / 2))
    label = torch.tensor([1.0, 0, 0, 0])
    assert learner.loss((torch.zeros(4), label, label)) == pytest.approx(math.log(2))
    wrong_positive = learner.loss((torch.tensor([-2.0, 0, 0, 0]), label, label)) - math.log(2)
    wrong_negatives = learner.loss((torch.tensor([0, 2.0, 2, 2]), label, label)) - math.log(2)
    assert wrong_positive == pytest.approx(float(wrong_negatives))


def test_a_run_that_died_goes_on_after_its_last_whole_epoch_to_the_same_weights(
    rows: tuple[CohortRow, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(epochs=3, learning_rate=1e-3, patience=99)
    undisturbed = run(rows, plan, tmp_path / "undisturbed").state_dict()
    begun: list[int] = []

    def dies_in_the_second(learner: Learner) -> None:
        begun.append(learner.current_epoch)
        if begun == [0, 1]:
            raise RuntimeError("power cut")

    monkeypatch.setattr(Learner, "on_train_epoch_start", dies_in_the_second)
    with pytest.raises(RuntimeError, match="power cut"):
        run(rows, plan, tmp_path / "run")
    torch.manual_seed(99)
    resumed = FastConvLSTM(ConvLSTMConfig(2, 32))  # its fresh weights don't matter
    train(Untrained(resumed, "conv_lstm", SMALL), rows, plan, tmp_path / "run")
    assert begun == [0, 1, 1, 2]
    assert all(torch.equal(value, undisturbed[name]) for name, value in resumed.state_dict().items())
    assert read_training(tmp_path / "run") == read_training(tmp_path / "undisturbed")


def test_a_run_ends_when_it_gets_no_better_and_repeating_it_trains_no_more(
    rows: tuple[CohortRow, ...], tmp_path: Path
) -> None:
    plan = Plan(epochs=20, learning_rate=1e-12, patience=2)  # it learns nothing
    first = run(rows, plan, tmp_path / "run").state_dict()
    curves = read_training(tmp_path / "run")
    assert curves.epoch == 1 + int(np.argmax(curves.val_auc)) + 2 < 20
    kept = {path.name for path in (tmp_path / "run").iterdir() if path.suffix in (".pt", ".ckpt", ".part")}
    assert kept == {"last.ckpt", f"best-{curves.epoch - 2}.pt"}
    again = run(rows, plan, tmp_path / "run").state_dict()
    assert read_training(tmp_path / "run") == curves
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_neither_mixed_precision_nor_ways_of_reading_stop_it_from_learning(
    rows: tuple[CohortRow, ...], tmp_path: Path
) -> None:
    plan = dataclasses.replace(QUICK, epochs=2)
    plain = run(rows, plan, tmp_path / "plain").state_dict()
    hardware = Hardware(workers=1, in_memory=True)
    same = run(rows, plan, tmp_path / "workers", hardware=hardware).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in plain.items())
    half = run(rows, dataclasses.replace(plan, precision=MixedPrecision.BFLOAT16), tmp_path / "half").state_dict()
    assert all(value.isfinite().all() for value in half.values())
    assert not torch.equal(half["dense.weight"], plain["dense.weight"])
    with pytest.raises(TrainingError, match="NVIDIA"):
        run(rows, dataclasses.replace(plan, precision=MixedPrecision.FLOAT16), tmp_path / "gpu")


def test_a_full_disk_leaves_the_last_whole_epoch_and_no_half_file(rows: tuple[CohortRow, ...], tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    plan = Plan(epochs=2, learning_rate=1e-3, patience=99)
    run(rows, plan, tmp_path / "undisturbed")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # less than a checkpoint

    out = tmp_path / "run"
    try:
        with pytest.raises(TrainingError, match="free space there and repeat"):
            run(rows, plan, out, watch=Watch(on_epoch=fill_disk))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.load(out / "last.ckpt", weights_only=True)["epoch"] == 0
    assert not [path for path in out.iterdir() if path.name.endswith(".part")]
    run(rows, plan, out)
    assert read_training(out) == read_training(tmp_path / "undisturbed")


def test_an_enlarged_network_says_of_a_repeated_picture_what_the_small_one_said_of_one() -> None:
    torch.manual_seed(0)
    small = FastConvLSTM(ConvLSTMConfig(width=2, image_size=16)).eval()
    large = enlarge(small, 32).eval()
    states = torch.randn(1, 4, 1, 1)
    votes = large.evidence(states.expand(-1, -1, 2, 2))
    assert torch.allclose(votes, small.evidence(states).expand(-1, 2, 2))


def test_with_crops_every_place_gets_the_same_vote_and_enlarging_changes_none(tmp_path: Path) -> None:
    grid = Preprocessing(shape=(6, 48, 48))
    rows = read_manifest(write_cohort(tmp_path, grid.shape, train=4, tune=4))
    torch.manual_seed(0)
    network = FastConvLSTM(ConvLSTMConfig(width=2, image_size=32))
    before = network.dense.weight.clone()
    train(Untrained(network, "conv_lstm", grid), rows, Plan(epochs=1, crop=32, lesion_weight=1), tmp_path / "run")
    votes = network.dense.weight.view(4, 4)
    assert not torch.equal(network.dense.weight, before)
    assert torch.equal(votes, votes[:, :1].expand(-1, 4))
    large = enlarge(network, 48).eval()
    states = torch.randn(3, 4, 3, 3)
    assert torch.allclose(large.evidence(states)[:, :2, :2], network.eval().evidence(states[..., :2, :2]), atol=1e-6)


def test_a_model_for_whole_slices_goes_on_with_crops(tmp_path: Path) -> None:
    grid = Preprocessing(shape=(4, 32, 32), window_low_hu=-1000)
    manifest = write_cohort(tmp_path, grid.shape, train=4, tune=4)
    plan = Plan(epochs=1, batch_size=2, crop=16, lesion_weight=1.0, learning_rate=1e-12)
    first = train_model([manifest], tmp_path / "a", plan, NetworkChoice(width=2, preprocessing=grid))
    second = train_model([manifest], tmp_path / "b", plan, NetworkChoice(start=first))
    assert first is not None
    assert second is not None
    before, after = (modelfile.load(path).network for path in (first, second))
    for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        if name != "dense.bias":  # balanced anew
            assert torch.allclose(old, new, atol=1e-6), name


def test_evidence_that_grows_with_the_disease_read_from_the_top_loses_nothing() -> None:
    learner = LesionLearner(FastConvLSTM(ConvLSTMConfig(width=2, image_size=32)), Plan(lesion_weight=1), total_steps=1)
    share = torch.zeros(1, 3, 32, 32)
    share[0, 1, :16, :16] = 0.1  # in the middle slice of three, in one of four places
    grown = torch.zeros(1, 3, 2, 2)
    grown[0, :2, 0, 0] = math.log(2)  # log(1 + 10 * 0.1), and kept to the last slice read
    learner.requires_grad_(False)
    assert float(learner._evidence_loss(grown, share)) == pytest.approx(0, abs=1e-9)
    assert learner._evidence_loss(grown.flip(1), share) > 0.01
    assert learner._evidence_loss(grown.flip(3), share) > 0.01
    assert learner._evidence_loss(0 * grown, share) > 0.01
    late = grown.clone()
    late[0, 1, 0, 0] = 0  # told only with the slice after
    offset = grown + 0.001  # hardly anything is missed, and in no slice
    assert learner._evidence_loss(late, share) > 0.1 > learner._evidence_loss(offset, share)


def test_long_memory_keeps_more_of_the_first_slices() -> None:
    """A forget gate near 1 in the last unit: sigmoid(log(u)) for u up to the number of slices."""
    network = FastConvLSTM(ConvLSTMConfig(width=4, image_size=16))
    give_long_memory(network, 35)
    forget = torch.sigmoid(network.units[-1].recurrence.input_conv.bias[8:16])
    assert forget.min() >= 0.5
    assert forget.max() > 0.9
    others = torch.cat([u.recurrence.input_conv.bias for u in network.units[:3]])
    assert set(others.unique().tolist()) == {0.0, 1.0}


def test_what_cannot_be_trained_with_is_refused(rows: tuple[CohortRow, ...], tmp_path: Path) -> None:
    healthy = [row for row in rows if not row.label]
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match="both labels"):
        run(healthy, Plan(), out)
    bare = [dataclasses.replace(row, lesions=None) for row in rows]
    with pytest.raises(TrainingError, match=r"line 3.*lesion map"):
        run(bare, Plan(lesion_weight=1), out)
    for wrong in ({"crop": 17, "lesion_weight": 1.0}, {"crop": 64}):
        with pytest.raises(TrainingError):
            Plan(**wrong)
    with pytest.raises(TrainingError, match="lesion weight and long memory"):
        Plan(lesion_weight=1, long_memory=True).check_architecture("mil_max")


def test_volumes_that_are_missing_or_damaged_are_named_by_line(rows: tuple[CohortRow, ...], tmp_path: Path) -> None:
    rows[2].volume.write_bytes(b"not an image")
    with pytest.raises(TrainingError, match=r"^manifest\.csv, line 4: .*2\.nrrd"):
        run(rows, Plan(epochs=1), tmp_path / "run")
    with pytest.raises(TrainingError, match=r"^manifest\.csv, line 4: .*2\.nrrd"):
        run(rows, Plan(epochs=1), tmp_path / "run", hardware=Hardware(workers=1))
    rows[2].volume.unlink()
    with pytest.raises(ManifestError, match=r"manifest\.csv, line 4"):
        run(rows, Plan(epochs=1), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_with_another_run_is_refused(rows: tuple[CohortRow, ...], tmp_path: Path) -> None:
    run(rows, Plan(epochs=1), tmp_path / "run")
    for plan in (Plan(epochs=1, seed=2), Plan(epochs=1, balance=Balance.NONE)):
        with pytest.raises(TrainingError, match="instead of"):
            run(rows, plan, tmp_path / "run")
    with pytest.raises(TrainingError, match="cohort"):
        run([dataclasses.replace(row, label=1 - row.label) for row in rows], Plan(epochs=1), tmp_path / "run")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(TrainingError, match=r"model\.safetensors"):
        run(rows, Plan(epochs=1), tmp_path / "strange")
    assert (tmp_path / "strange" / "model.safetensors").read_bytes() == b"precious"


def test_a_folder_in_which_another_run_trains_is_refused(tmp_path: Path) -> None:
    manifest, out = write_cohort(tmp_path, SMALL.shape, train=4, tune=2), tmp_path / "run"
    out.mkdir()
    quick = dataclasses.replace(QUICK, epochs=1)
    with holding(out / LOCK_FILE), pytest.raises(TrainingError, match=r"Another run is training in '.*run'; wait"):
        train_model([manifest], out, quick, NetworkChoice(width=2, preprocessing=SMALL))
    assert not list(out.iterdir())
    train_model([manifest], out, quick, NetworkChoice(width=2, preprocessing=SMALL))
    assert not (out / LOCK_FILE).exists()


def test_of_several_processes_that_train_together_the_first_alone_locks_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for environment, first in [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "3"}, False),
        ({"NODE_RANK": "1"}, False),
    ]:
        with monkeypatch.context() as patch:
            for name, number in environment.items():
                patch.setenv(name, number)
            with alone_in(tmp_path / "run"):
                assert (tmp_path / "run" / LOCK_FILE).exists() is first
        assert not (tmp_path / "run").exists()  # nothing was written


def test_patients_in_two_splits_of_several_manifests_are_refused_and_suspected_ones_of_one_split_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_cohort(tmp_path / "a", SMALL.shape, train=2, tune=2)
    second = write_cohort(tmp_path / "b", SMALL.shape, train=2, tune=2)
    others = re.sub(r"patient(?=\d)", "other", second.read_text())
    second.write_text(others.replace("other2,", "patient00,"))  # which tunes
    with pytest.raises(ManifestError, match="patient 'patient00' in the split 'tune' is suspected to be 'patient0'"):
        train_model([first, second], tmp_path / "run", QUICK)
    second.write_text(others.replace("other0,", "patient00,"))
    one = dataclasses.replace(QUICK, epochs=1)
    train_model([first, second], tmp_path / "run", one, NetworkChoice(width=2, preprocessing=SMALL))
    said = capsys.readouterr().err
    assert "'patient0' (manifest.csv, line 2) and 'patient00' (manifest.csv, line 2) are suspected" in said


def test_a_training_whose_loss_explodes_says_so(rows: tuple[CohortRow, ...], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="smaller learning rate"):
        run(rows, Plan(epochs=3, learning_rate=1e30, patience=99), tmp_path / "run")


def test_the_command_writes_a_model_that_opens_with_its_own_temperature_and_operating_point(tmp_path: Path) -> None:
    grid = Preprocessing(shape=(4, 32, 32), window_low_hu=-1000)
    manifest = write_cohort(tmp_path, grid.shape, train=4, tune=8)
    texts = tmp_path / "card.json"
    texts.write_text('{"name": "squares", "training_data": "Squares.", "citations": ["none"]}', encoding="utf-8")
    plan = Plan(epochs=3, batch_size=2, crop=16, lesion_weight=1.0)
    path = train_model([manifest], tmp_path / "run", plan, NetworkChoice(width=2, preprocessing=grid), texts=texts)
    assert path is not None
    model = modelfile.load(path)
    assert model.card.name == "squares"
    assert not model.card.demonstration
    assert model.card.training_data == "Squares."
    (log,) = model.card.training_log
    assert re.match(r"Trained on volume labels and lesion maps; best of \d epochs: \d \(at most 3\)", log)
    assert "seed 1" in log
    assert model.card.preprocessing == grid
    assert "tuning split (8 volumes;" in model.card.operating_point.source
    assert isinstance(model.network, ConvLSTMNetwork)
    assert model.network.image_size == 32
    tune = [row for row in read_manifest(manifest) if row.split == "tune"]
    inputs = torch.stack([VolumeCache().network_input(row, "conv_lstm", grid) for row in tune])
    with torch.inference_mode():
        logits = model.network(inputs).logit.double().numpy()
    assert model.card.temperature == pytest.approx(fit_temperature(logits, [row.label for row in tune]), rel=1e-3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"demonstration": "yes"}', "demonstration must be true or false"),
        ('{"training_log": "once"}', "training_log must be a list of texts"),
        ('{"limits": 3}', "limits must be a text"),
        ('{"width": 3}', "and nothing else"),
    ],
)
def test_texts_of_a_card_are_of_the_kind_that_they_must_be(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "card.json").write_text(text, encoding="utf-8")
    manifest = write_cohort(tmp_path, (4, 16, 16), train=4, tune=4, side=8)
    with pytest.raises(EmphysemaScannerError, match=why):
        train_model([manifest], tmp_path / "run", Plan(epochs=1), texts=tmp_path / "card.json")
    assert not (tmp_path / "run").exists()


def test_the_cards_texts_can_name_a_demonstration_and_what_came_before(tmp_path: Path) -> None:
    grid = Preprocessing(shape=(4, 16, 16))
    manifest = write_cohort(tmp_path, grid.shape, train=4, tune=4, side=8)
    texts = tmp_path / "card.json"
    texts.write_text('{"demonstration": true, "training_log": ["Chosen among two."]}', encoding="utf-8")
    path = train_model([manifest], tmp_path / "run", Plan(epochs=1), NetworkChoice("mil_mean", 2, grid), texts=texts)
    assert path is not None
    card = modelfile.load(path).card
    assert card.demonstration
    assert card.training_log[0] == "Chosen among two."
    assert len(card.training_log) == 2


def test_a_model_can_be_gone_on_from_whatever_it_is(tmp_path: Path) -> None:
    grid = Preprocessing(shape=(4, 16, 16))
    manifest = write_cohort(tmp_path, grid.shape, train=4, tune=4, side=8)
    plan = Plan(epochs=1, learning_rate=1e-12)
    first = train_model([manifest], tmp_path / "a", plan, NetworkChoice("mil_mean", 2, grid))
    second = train_model([manifest], tmp_path / "b", plan, NetworkChoice(start=first))
    assert first is not None
    assert second is not None
    before, after = modelfile.load(first), modelfile.load(second)
    assert after.card.architecture == "mil_mean"
    assert after.card.preprocessing == grid
    assert after.card.training_data.endswith("; fine-tuned from a.")
    assert after.card.training_log[:-1] == (
        *before.card.training_log,
        f"Fine-tuned from a, which was trained on: {before.card.training_data}",
    )
    for (name, old), new in zip(before.network.named_parameters(), after.network.parameters(), strict=True):
        assert torch.allclose(old, new, atol=1e-6), name
    for options, why in (({"architecture": "mil_max"}, "is a mil_mean"), ({"width": 3}, "its own width")):
        with pytest.raises(EmphysemaScannerError, match=why):
            train_model([manifest], tmp_path / "c", plan, NetworkChoice(start=first, **options))
    assert json.loads((tmp_path / "b" / "plan.json").read_text())["architecture"] == "mil_mean"


def test_the_curves_are_written_for_tensorboard_where_it_is_installed(
    rows: tuple[CohortRow, ...], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboardX")
    run(rows, Plan(epochs=1), tmp_path / "run")
    (events,) = (tmp_path / "run" / "tensorboard").glob("events*")
    written = events.read_bytes()
    assert all(name in written for name in (b"train_loss", b"val_loss", b"val_auc"))


@pytest.mark.parametrize(("name", "column"), [("laa950_logistic", 0), ("perc15_logistic", 1)])
def test_a_densitometry_model_learns_what_scikit_learn_does(name: str, column: int) -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 80)
    densities = np.stack([generator.gamma(2, 2 + 2 * labels), generator.normal(-910 - 20 * labels, 20)], 1)
    network = build(name)
    fit_logistic(network, torch.tensor(densities), torch.tensor(labels))
    figure = densities[:, column : column + 1]
    expected = LogisticRegression(tol=1e-10).fit(StandardScaler().fit_transform(figure), labels)
    with torch.no_grad():
        answer = network(torch.tensor(densities, dtype=torch.float32)).logit.numpy()
    np.testing.assert_allclose(answer, expected.decision_function(StandardScaler().fit_transform(figure)), atol=1e-3)


def test_a_densitometry_model_stays_finite_where_its_figure_separates_the_classes() -> None:
    network = build("laa950_logistic")
    fit_logistic(
        network,
        torch.tensor([[1.0, -900.0], [2.0, -900.0], [20.0, -950.0], [30.0, -960.0]]),
        torch.tensor([0, 0, 1, 1]),
    )
    assert 0 < network.weight.item() < 10
    assert keras_parameter_count(network) == 2
