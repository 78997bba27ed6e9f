"""The command line: ``emphysema-scanner scan | batch | models | card | demo | simulate | cohort | cache | train |
predict | evaluate | recalibrate | compare | report-model``.

Torch, matplotlib and slicer are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .. import __version__
from ..base.errors import EmphysemaScannerError, shown
from ..base.parallel import keep_freed_memory
from ..models.preprocessing import Field
from ..report import wording
from ..scan.device import Device, Precision
from ..simulator.disease import Mix
from ..training.plan import Aids, Balance, MixedPrecision
from . import cachecommand
from . import cohortcommands as cohort_commands

FAILED = 2

app = typer.Typer(
    help=f"Reads a chest CT slice by slice and shows the evidence for emphysema. {wording.RESEARCH_USE}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(cohort_commands.app, name="cohort")
app.add_typer(cachecommand.app, name="cache")

OutOption = Annotated[Path, typer.Option("--out", help="Folder for the results; new, empty, or written by us before.")]
PageOption = Annotated[Path | None, typer.Option("--out", help="Folder for a page, its tables and its plots.")]
PredictionsOption = Annotated[
    Path | None, typer.Option(help="CSV of predict with these models' answers; asks no model again.")
]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Volumes that go through a network at once.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: what a user can cause ends with one sentence on stderr and exit code 2."""
    if arguments is None:  # a process of our own
        keep_freed_memory()
        for stream in (sys.stdout, sys.stderr):  # a file's name may be bytes that are no text
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
    try:
        app(arguments)
    except EmphysemaScannerError as error:
        _fail(str(error))
    except OSError as error:
        where = f" ('{error.filename}')" if error.filename else ""
        _fail(f"The system refused a file operation{where}: {error.strerror or error}.")


def _fail(sentence: str) -> None:
    print(shown(sentence), file=sys.stderr)
    sys.exit(FAILED)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def scan(
    path: Annotated[Path, typer.Argument(help="A chest CT: NRRD, NIfTI, MHA, or a DICOM folder.", show_default=False)],
    out: OutOption,
    model: Annotated[Path | None, typer.Option(help="A .safetensors model file; the shipped one if not given.")] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.AUTO,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Let slicer-core draw overlays and write scene.mrb.")
    ] = True,
    named: Annotated[
        bool, typer.Option("--named", help="Call the CT by its file's name in the results, which may name a patient.")
    ] = False,
    series: Annotated[
        str, typer.Option(help="Which CT series of a DICOM folder to read: its number, UID or description.")
    ] = "",
) -> None:
    """Scan one CT and write result.json, report.html, overlay maps, pictures and a Slicer scene."""
    from .scancommand import scan_path

    scan_path(path, out, model, device, pictures, named, series)


@app.command()
def batch(
    path: Annotated[
        Path,
        typer.Argument(help="A folder that is searched for CTs, or a CSV with a column volume.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="CSV for the results; one that was begun is continued.")],
    model: Annotated[Path | None, typer.Option(help="A .safetensors model file; the shipped one if not given.")] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="With how many bits it calculates.")] = Precision.AUTO,
    processes: Annotated[int, typer.Option(min=1, help="How many CTs to scan at a time, if memory allows.")] = 1,
    retry: Annotated[
        bool, typer.Option("--retry", help="Scan refused CTs again, also those whose files have not changed.")
    ] = False,
) -> None:
    """Scan many CTs into one CSV, a row a CT as they finish; run again to resume, and to scan changed CTs again."""
    from .batchcommand import batch_scan

    batch_scan(path, out, model, device, precision, processes, retry)


@app.command()
def models() -> None:
    """List the architectures with their parameter counts, and the shipped model."""
    from .modelcommands import list_models

    list_models(Console())


@app.command()
def card(
    file: Annotated[
        Path | None, typer.Argument(help="A .safetensors model file; the shipped one if not given.")
    ] = None,
    training: Annotated[
        list[Path] | None,
        typer.Option(help="The cohort that the model learned from: its range is written into the card of FILE."),
    ] = None,
) -> None:
    """Print a model's card: what it is, what it learned from, how well it did."""
    from .modelcommands import show_card

    if training:
        from ..training.likenessrange import write_range

        if file is None:
            raise typer.BadParameter("Name the model file that --training is written into.")
        write_range(file, training)
    show_card(Console(), file)


@app.command()
def demo(out: OutOption = Path("demo-output")) -> None:
    """Scan a real chest CT (LIDC-IDRI-0001), then the same anatomy with simulated emphysema."""
    from .demo import run_demo

    run_demo(out)


@app.command()
def simulate(
    cts: Annotated[list[Path], typer.Argument(help="Chest CTs without emphysema.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the cohort; what is already there is kept.")],
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of cases, one healthy and one diseased.")] = 100,
    split: Annotated[str, typer.Option(help="train, tune or test; written into the manifest.")] = "train",
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 1,
    in_plane: Annotated[
        int, typer.Option(min=0, help="Rows and columns that larger CTs are averaged to; 0: each CT's own.")
    ] = 256,
    twins: Annotated[bool, typer.Option(help="Both cases of a pair differ in the disease alone.")] = False,
    full: Annotated[bool, typer.Option(help="Also write CT and lesions at the simulated resolution.")] = False,
    mix: Annotated[Mix, typer.Option(help="to-destroyed: also lungs destroyed throughout, dark or breathed out.")] = (
        Mix.TO_SEVERE
    ),
    processes: Annotated[int, typer.Option(min=1, help="Pairs simulated at once.")] = 1,
) -> None:
    """Make a cohort of simulated cases from chest CTs without emphysema (files or DICOM folders)."""
    from ..simulator.simulate import Plan
    from .simulatecommand import simulate_cases

    simulate_cases(cts, out, split, pairs, Plan(seed, twins, full, mix), in_plane, processes)


@app.command()
def train(
    manifests: Annotated[list[Path], typer.Argument(help="CSV: volume, label, patient, split.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Folder for checkpoints and model.safetensors; a stopped run goes on there.")
    ],
    architecture: Annotated[str | None, typer.Option(help="As listed by models; conv_lstm if not given.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="At most; the paper's 50.")] = 50,
    batch_size: Annotated[int, typer.Option(min=1, help="Volumes a step, of all processes together.")] = 4,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 1e-4,
    balance: Annotated[Balance, typer.Option(help="When one class is rarer.")] = Balance.WEIGHT,
    width: Annotated[
        int | None, typer.Option(min=1, help="Filters of the first unit; if not given, the paper's.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=16, help="Rows and columns of the grid; the paper's 128.")
    ] = None,
    slices: Annotated[int | None, typer.Option(min=1, help="Slices of the grid; the paper's 35.")] = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="HU that become 0 and 1; -1024 and -624 if not given.")
    ] = None,
    field: Annotated[
        Field | None, typer.Option(help="What of a CT is read: all of it, the paper's way, or the box of the lungs.")
    ] = None,
    margin: Annotated[float, typer.Option(min=0, help="mm around the lungs' box.")] = 0.0,
    outside: Annotated[float | None, typer.Option(help="HU that what is not lung is set to in the lungs' box.")] = None,
    start: Annotated[Path | None, typer.Option(help="A .safetensors model to go on from.")] = None,
    crop: Annotated[
        int | None, typer.Option(help="Teach on fields of view of this many pixels; needs lesion maps.")
    ] = None,
    lesion_weight: Annotated[float, typer.Option(min=0, help="Weight of lesion maps; 0 is volume labels alone.")] = 0.0,
    long_memory: Annotated[bool, typer.Option(help="Chrono initialisation of the last unit.")] = False,
    aids: Annotated[
        Aids, typer.Option(help="whole-lung: beyond the published way, cut, upside-down and coarse volumes.")
    ] = Aids.NONE,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a better tuning AUC before stopping.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 1,
    precision: Annotated[MixedPrecision, typer.Option(help="With how many bits it learns.")] = MixedPrecision.AUTO,
    device: Annotated[Device, typer.Option(help="Where the network learns.")] = Device.AUTO,
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine, one a device.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; torchrun and srun start the processes there.")] = 1,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes a device that prepare volumes.")] = None,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Keep volumes in memory once read.")] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="Let torch.compile write faster code.")] = False,
    card: Annotated[Path | None, typer.Option(help="JSON with the model card's own words.")] = None,
) -> None:
    """Train a model on a cohort; without options a Conv-LSTM, the published way. Repeat the command to go on."""
    from ..models.preprocessing import Preprocessing
    from ..training.plan import Hardware, Plan, TrainingError
    from .traincommand import train_model

    plan = Plan(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        crop=crop,
        lesion_weight=lesion_weight,
        long_memory=long_memory,
        patience=patience,
        seed=seed,
        balance=balance,
        precision=precision,
        aids=aids,
    )
    hardware = Hardware(device, devices, nodes, workers, in_memory, compile_)
    preprocessing = None
    if any(given is not None for given in (image_size, slices, window, field, margin or None, outside)):
        size = image_size or 128
        low, high = window or (-1024.0, -624.0)
        try:
            preprocessing = Preprocessing(
                (slices or 35, size, size), low, high, field=field or Field.WHOLE, margin_mm=margin, outside_hu=outside
            )
        except ValueError as error:
            raise TrainingError(f"A model cannot read volumes like this: {error}.") from error
    path = train_model(
        manifests,
        out,
        plan,
        architecture=architecture,
        width=width,
        start=start,
        texts=card,
        preprocessing=preprocessing,
        hardware=hardware,
    )
    if path is not None:
        print(path)


@app.command()
def predict(
    models: Annotated[list[Path], typer.Argument(help="Model files, or folders with trainings.", show_default=False)],
    manifest: Annotated[Path, typer.Argument(help="CSV: volume, label, patient, split.", show_default=False)],
    out: Annotated[Path, typer.Option(help="CSV for the answers; one that was begun is continued.")],
    split: Annotated[str, typer.Option(help="train, tune or test; all volumes if not given.")] = "",
    shard: Annotated[
        str | None,
        typer.Option(help="Which part to do, such as 2/4; if not given, as torchrun or srun number this process."),
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Put the finished shards together; asks no model.")] = False,
    device: Annotated[Device, typer.Option(help="Where the networks run.")] = Device.AUTO,
    batch_size: BatchSizeOption = 1,
) -> None:
    """Write the models' answers on a cohort into one CSV, a row a volume and model; several processes may share it."""
    from .predictcommand import merge_predictions, predict_models

    if merge:
        merge_predictions(manifest, out, split)
    else:
        predict_models(models, manifest, out, split, shard, device, batch_size)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .safetensors model file.", show_default=False)],
    manifest: Annotated[Path, typer.Argument(help="CSV: volume, label, patient, split.", show_default=False)],
    data: Annotated[str, typer.Option(help="What the volumes are, in words; goes beside every figure.")],
    split: Annotated[str, typer.Option(help="train, tune or test.")] = "test",
    record: Annotated[bool, typer.Option(help="Write the figures into the model's card.")] = False,
    out: PageOption = None,
    predictions: PredictionsOption = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.AUTO,
    batch_size: BatchSizeOption = 1,
) -> None:
    """Measure a model on labelled volumes: AUC, sensitivity, F1, Brier score and others with 95 % intervals."""
    from .measurecommands import evaluate_model

    evaluate_model(Console(), model, manifest, split, data, record, out, predictions, device, batch_size)


@app.command()
def recalibrate(
    model: Annotated[Path, typer.Argument(help="A .safetensors model file.", show_default=False)],
    cases: Annotated[Path, typer.Argument(help="CSV of own cases: volume, label, patient.", show_default=False)],
    data: Annotated[str, typer.Option(help="What the cases are, in words; goes into the new card.")],
    out: Annotated[Path, typer.Option(help="The new model file (.safetensors).")],
) -> None:
    """Give a model the temperature and the operating point of a hospital's own labelled cases, with intervals."""
    from .recalibration import recalibrate_model

    recalibrate_model(Console(), model, cases, data, out)


@app.command()
def compare(
    models: Annotated[list[Path], typer.Argument(help="Model files, or folders with trainings.", show_default=False)],
    manifest: Annotated[Path, typer.Argument(help="CSV: volume, label, patient, split.", show_default=False)],
    data: Annotated[str, typer.Option(help="What the volumes are, in words; goes beside every figure.")],
    split: Annotated[str, typer.Option(help="train, tune or test.")] = "test",
    out: PageOption = None,
    predictions: PredictionsOption = None,
    device: Annotated[Device, typer.Option(help="Where the networks run.")] = Device.AUTO,
    batch_size: BatchSizeOption = 1,
) -> None:
    """Measure models on the same volumes: the paper's Table 1 beside its rows, DeLong's paired test, plots."""
    from .measurecommands import compare_models

    compare_models(Console(), models, manifest, split, data, out, predictions, device, batch_size)


@app.command("report-model")
def report_model(
    manifest: Annotated[
        Path, typer.Argument(help="CSV of simulated cases, as simulate writes it.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for page, tables and plots; what was measured there is kept.")],
    model: Annotated[Path | None, typer.Option(help="A .safetensors model file; the shipped one if not given.")] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="Models to compare it with, or a folder with trainings.")
    ] = None,
    scans: Annotated[Path | None, typer.Option(help="CSV of real CTs: volume, name, kernel, what_is_known.")] = None,
    full: Annotated[
        Path | None, typer.Option(help="Manifest of simulate --full; these CTs are changed to see what it does.")
    ] = None,
    predictions: PredictionsOption = None,
    split: Annotated[str, typer.Option(help="train, tune or test.")] = "test",
    where_cases: Annotated[int, typer.Option(min=1, help="Cases on which overlays are measured.")] = 6,
    changed_cases: Annotated[int, typer.Option(min=1, help="Cases of --full that are changed.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of noise, random maps and ties.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Few cases everywhere.")] = False,
) -> None:
    """Write a report on a model: simulated and real CTs, what changes its answer, which overlay finds disease."""
    from .modelreportcommand import report_model as report

    print(
        report(
            manifest, out, model, also or (), scans, full, predictions, split, where_cases, changed_cases, seed, quick
        )
    )


@app.command()
def benchmark(
    device: Annotated[Device, typer.Option(help="Where the networks run; compared with the CPU.")] = Device.AUTO,
    quick: Annotated[bool, typer.Option("--quick", help="A small network, once: only whether it runs.")] = False,
) -> None:
    """Time reading, learning and a whole scan on this machine, and check that the device says what the CPU says."""
    from .benchmarkcommand import print_benchmark

    print_benchmark(Console(), device, quick)
