"""Every parser of ours on damaged and invented input: an answer or an error of ours in a sentence, never another.

Fifty inputs a parser here, five thousand with ``make soak`` (tables that DuckDB reads: a tenth of it); what was found
stays as a test of its own.
"""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import hostilemodels
import numpy as np
import pytest
import torch
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.batch import batch
from EmphysemaScannerLib.batch import row as batchrow
from EmphysemaScannerLib.cohort.cache import VolumeCache
from EmphysemaScannerLib.cohort.manifest import read_manifest, write_manifest
from EmphysemaScannerLib.cohort.nlst import Wanted, nlst_cohort
from EmphysemaScannerLib.evaluation import predict
from EmphysemaScannerLib.jobs.process import BackgroundProcess
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.modelcard import ModelCard
from EmphysemaScannerLib.models.modelheader import read_card
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.report.outputfolder import FILE_LIST, whole_or_nothing
from EmphysemaScannerLib.scan.result import ScanResult
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json
from EmphysemaScannerLib.training import runfolder
from EmphysemaScannerLib.training.card import card_texts
from EmphysemaScannerLib.training.checkpoints import LAST_FILE
from EmphysemaScannerLib.training.plan import TrainingError
from EmphysemaScannerLib.training.training import _check_whole, keep_plan
from everymodel import model_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phantom import phantom_image
from tinycohort import write_cohort

SHARE, ALL = 50, 5000
WANTED = Wanted()

CTAB = b"pid,study_yr,sct_ab_desc\n100001,0,51\n100001,2,59\n100002,1,.M\n"
PRSN = b"pid,rndgroup,age,gender\n100001,1,61,1\n100002,1,70.0,2\n"
INDEX = (
    b"collection_id,Modality,PatientID,StudyInstanceUID,SeriesInstanceUID,SeriesDescription,Manufacturer,instanceCount,"
    b"series_aws_url,series_size_MB\n"
    b'nlst,CT,100001,1.10,1.101,"0,OPA,GE,LSPLUS,STANDARD,360,2.5,120,80,0.1,1.5",GE,130,s3://a/b/*,70.5\n'
    b'nlst,CT,100002,1.20,1.201,"0,OPA,SE,VZOOM,B30f,300,2,120,75,40,na",SE,200,s3://a/c/*,60\n'
)
MANIFEST = b"volume,label,patient,split,kernel,age\n0.nrrd,0,p0,train,C,60\n1.nrrd,1,p1,tune,,\n" * 1
METRICS = b"epoch,train_loss,val_loss,val_auc\n1,0.7,0.6,0.5\n2,0.5,nan,0.75\n"
PLAN = json.dumps({"epochs": 50, "cohort": "abc", "window_hu": [-1024.0, -624.0]}).encode()
TEXTS = json.dumps({"name": "a", "citations": ["b"], "limits": "c"}).encode()
LOG = b"  1 % Reading\n 50 % slice 3\r 51 % slice 4\nEpoch 1 of 5: training loss 0.7\n\xe9\x1b[2J\n"


@functools.cache
def scanned() -> ScanResult:
    return scan(phantom_image(), model_of("conv_lstm"))


@functools.cache
def model_bytes() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        model = model_of("perc15_logistic")
        modelfile.save(path, model.network, model.card)
        return path.read_bytes()


def manifest(path: Path) -> None:
    rows = read_manifest(path)
    write_manifest(path.with_name("again.csv"), rows)
    assert [row.patient for row in read_manifest(path.with_name("again.csv"))] == [row.patient for row in rows]


def card(path: Path) -> None:
    read = ModelCard.from_json(path.read_text(encoding="utf-8", errors="surrogateescape"))
    assert ModelCard.from_json(read.to_json()) == read
    read.to_json().encode()


def model_file(path: Path) -> None:
    read_card(path)
    modelfile.load(path)


def training_folder(path: Path) -> None:
    """A window reads it while another process writes: it is never refused."""
    for name in (runfolder.PLAN_FILE, runfolder.METRICS_FILE):
        (path.parent / name).write_bytes(path.read_bytes())
    curves = runfolder.read_training(path.parent)
    assert len(curves.train_loss) == len(curves.val_auc) == curves.epoch
    keep_plan(path.parent, {"epochs": 50})
    runfolder.keep_epochs(path.parent, 3)
    assert runfolder.read_training(path.parent).epoch == 3
    assert runfolder.read_training(path.parent).train_loss[: curves.epoch] == pytest.approx(
        curves.train_loss[:3], nan_ok=True
    )


def rows_of_a_batch(path: Path) -> None:
    out = batchrow.row_file(path)
    with out.growing() as table:
        rows = list(out.rows())
        for row in map(batchrow.parsed, rows):
            assert row is None or row.status in ("done", "refused")
        for cells in rows:
            assert table.before(cells["source"], cells["model"]) == cells
        before = [row for row in rows if row["source"] != "x"]
        table.add([["x"] * len(batchrow.COLUMNS)])
    assert [row for row in out.rows() if row["source"] != "x"] == before
    assert [row["source"] for row in out.rows()].count("x") == 1


def rows_of_predictions(path: Path) -> None:
    list(predict._row_file(path).rows())


def list_of_cts(path: Path) -> None:
    assert all(found.is_absolute() for found in batch._listed(path))


def record(path: Path) -> None:
    result = scanned()
    back = result_from_json(path.read_text(encoding="utf-8", errors="surrogateescape"), result.lung_mask)
    assert 0 <= back.probability <= 1
    record_to_json(back).encode()


@functools.cache
def ended_process(folder: Path) -> BackgroundProcess:
    process = BackgroundProcess([sys.executable, "-c", ""], log=folder / "empty.log")
    process.wait(60)
    return process


def log_of_a_process(path: Path) -> None:
    """What a window shows of a command's log."""
    process = ended_process(path.parent)
    process._log, process._read_up_to, process._unfinished = path, 0, b""
    for line in process.new_lines():
        line.encode()
        assert "\n" not in line


def list_of_our_files(path: Path) -> None:
    folder = path.parent / "out"
    folder.mkdir(exist_ok=True)
    (folder / FILE_LIST).write_bytes(path.read_bytes())
    with whole_or_nothing(folder) as working:
        (working / "a").touch()
    assert sorted(entry.name for entry in folder.iterdir()) == [FILE_LIST, "a"]


def cache_entry(path: Path) -> None:
    """A damaged entry is made again, whatever is in it."""
    folder = path.parent / "cohort"
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        write_cohort(folder, (4, 32, 32), train=1, tune=0)
    cache = VolumeCache(path.parent / "cache")
    volume, grid = folder / "0.nrrd", Preprocessing((4, 32, 32))
    sound = VolumeCache(path.parent / "sound").grid_hu(volume, grid)
    cache.grid_hu(volume, grid)
    (entry,) = cache.folder.rglob("*.npz")
    entry.write_bytes(path.read_bytes())
    found = cache.grid_hu(volume, grid)
    assert found.shape == sound.shape


@functools.cache
def entry_bytes() -> bytes:
    archive = io.BytesIO()
    np.savez_compressed(archive, values=np.zeros((2, 4, 32, 32), np.uint8))
    return archive.getvalue()


def nlst(which: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        pytest.importorskip("duckdb")
        tables = {"ctab": CTAB, "prsn": PRSN, "index": INDEX}
        for name, table in tables.items():
            path.with_name(name).write_bytes(path.read_bytes() if name == which else table)
        nlst_cohort(*(path.with_name(name) for name in ("ctab", "index")), path.parent, WANTED, path.with_name("prsn"))

    return read


def batch_row() -> bytes:
    from EmphysemaScannerLib.base.rowfile import line

    rows = [batchrow.COLUMNS, ("/a.nrrd", "done", 0.5, 0.4, "positive", 1.0, -900.0, 5.0, "w", "", "abc", 1.5, "0f")]
    return "".join(map(line, rows)).encode()


def predictions_row() -> bytes:
    from EmphysemaScannerLib.base.rowfile import line

    return "".join(map(line, (predict.COLUMNS, ("0.nrrd", "p", "test", 1, "m", "n", "done", 0.1, 0.5, "")))).encode()


PARSERS: dict[str, tuple[Callable[[], bytes], Callable[[Path], None]]] = {
    "manifest": (lambda: MANIFEST, manifest),
    "manifest, UTF-16": (lambda: MANIFEST.decode().replace(",", ";").encode("utf-16"), manifest),
    "model card": (lambda: model_of("perc15_logistic").card.to_json().encode(), card),
    "model file": (model_bytes, model_file),
    "plan.json": (lambda: PLAN, training_folder),
    "metrics.csv": (lambda: METRICS, training_folder),
    "batch": (batch_row, rows_of_a_batch),
    "predictions": (predictions_row, rows_of_predictions),
    "list of CTs": (lambda: MANIFEST, list_of_cts),
    "record in a scene": (lambda: record_to_json(scanned()).encode(), record),
    "log of a process": (lambda: b"Epoch 1 of 2\r50 %\r100 %\nDone \xc3\xa9\n", log_of_a_process),
    "list of our files": (lambda: b"report.html\nsub/a.txt\n", list_of_our_files),
    "cache entry": (entry_bytes, cache_entry),
    "card's texts": (lambda: TEXTS, lambda path: card_texts(path) and None),
    "NLST, abnormalities": (lambda: CTAB, nlst("ctab")),
    "NLST, participants": (lambda: PRSN, nlst("prsn")),
    "IDC index": (lambda: INDEX, nlst("index")),
}
NASTY = [
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"',
    b"\r",
    b"\n",
    b",",
    b"{",
    b"[" * 3000,
    b"nan",
    b"Infinity",
    b"-1",
    b"1e999",
    b"9" * 5000,
    b"..",
    b"/",
    b"=",
    b"'",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"null",
    b"true",
    b'{"a":1}',
    b"a" * 140_000,
]


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """Sound input with a few bytes changed, left out, repeated or put in; sometimes none of it is left."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=300))
    if kind == 1:
        return draw(st.text(max_size=300)).encode(errors="replace")
    data = sound
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from((0, 1, 1, 4, 30, 1000)))
        new = draw(st.one_of(st.sampled_from(NASTY), st.binary(max_size=8), st.just(data[start : start + length] * 2)))
        data = data[:start] + new + data[start + length :]
    return data


def parse(name: str, data: bytes, folder: Path) -> None:
    """Anything but an answer or an error of ours in one printable line is raised."""
    path = folder / "input.csv"
    path.write_bytes(data)
    try:
        PARSERS[name][1](path)
    except EmphysemaScannerError as error:
        said = str(error)
        assert len(said.splitlines()) == 1, said
        assert said.rstrip().endswith((".", ")", "?"))
        assert len(said) < 2000


def fuzz(name: str, folder: Path, count: int) -> None:
    sound, _ = PARSERS[name][0](), parse(name, PARSERS[name][0](), folder)

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged(sound))
    def holds(data: bytes) -> None:
        parse(name, data, folder)

    holds()
    print(f"{name}: {count} inputs")


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_answers_or_refuses_in_a_sentence(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, SHARE // 5 if "NLST" in name or "IDC" in name else SHARE)


@pytest.mark.soak
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_answers_or_refuses_in_a_sentence_five_thousand_times(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, ALL // 10 if "NLST" in name or "IDC" in name else ALL)  # DuckDB takes its time


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plan.json", b"[" * 100_000),
        ("metrics.csv", b"epoch,train_loss,val_loss,val_auc\n1,0.5,\0,1\n"),
        ("metrics.csv", b"epoch,train_loss,val_loss,val_auc\n1," + b"9" * 140_000 + b",1,1\n"),
        ("card's texts", b"[" * 100_000),
        ("card's texts", b'{"name": 3}'),
        ("card's texts", b'{"citations": 3}'),
        ("list of our files", b"\xff"),
        ("batch", f'{",".join(batchrow.COLUMNS)}\n/a.nrrd,done,"0.5,0.4,positive,1,-900,5,w,,abc,1\n'.encode()),
        ("manifest", b"volume,label,patient\na,A\x1dz,p\n"),
        ("manifest", b"volume,label,patient\na," + b"9" * 3000 + b",p\n"),
    ],
)
def test_what_once_ended_in_an_error_of_python_is_refused_or_passed_over(
    name: str, data: bytes, tmp_path: Path
) -> None:
    parse(name, data, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "cut", "flipped", "evil"])
def test_a_damaged_or_hostile_checkpoint_is_refused_and_runs_nothing(content: bytes | str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"callbacks": {}, "state_dict": {"a": torch.zeros(100)}}, buffer)
    sound = buffer.getvalue()
    evil = io.BytesIO()
    torch.save({"state_dict": hostilemodels.Evil()}, evil)
    changed = {
        "cut": sound[: len(sound) // 2],
        "flipped": sound[:70] + b"\xff" * 30 + sound[100:],
        "evil": evil.getvalue(),
    }
    last = tmp_path / LAST_FILE
    last.write_bytes(changed[content] if isinstance(content, str) else content)
    with pytest.raises(TrainingError, match="cannot go on"):
        _check_whole(last)
    last.write_bytes(sound)
    _check_whole(last)
