"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..models.field import Field
from ..scan.device import Device
from ..training.plan import Aids, Balance, Hardware, MixedPrecision, NetworkChoice, Plan, TrainingError
from .options import ManifestsArgument, MarginOption, OutsideOption

if TYPE_CHECKING:
    from ..models.preprocessing import Preprocessing
    from ..training.runfolder import TrainingCurves


def train(  # noqa: PLR0913  # one parameter per option
    manifests: ManifestsArgument,
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
    margin: MarginOption = 0.0,
    outside: OutsideOption = None,
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
    precision: Annotated[MixedPrecision, typer.Option(help="Numerical precision.")] = MixedPrecision.AUTO,
    device: Annotated[Device, typer.Option(help="Where the network learns.")] = Device.AUTO,
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine, one a device.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; torchrun and srun start the processes there.")] = 1,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes a device that prepare volumes.")] = None,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Keep volumes in memory once read.")] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="Let torch.compile write faster code.")] = False,
    card: Annotated[Path | None, typer.Option(help="JSON with the model card's own words.")] = None,
) -> None:
    """Train a model on a cohort; without options a Conv-LSTM, the published way. Repeat the command to go on."""
    from ..training.trainmodel import train_model

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
        preprocessing = _preprocessing((slices or 35, size, size), window, field, margin, outside)
    network = NetworkChoice(architecture, width, preprocessing, start)
    path = train_model(manifests, out, plan, network, texts=card, hardware=hardware, on_epoch=_print_epoch)
    if path is not None:
        print(path)


def _preprocessing(
    shape: tuple[int, int, int],
    window: tuple[float, float] | None,
    field: Field | None,
    margin: float,
    outside: float | None,
) -> Preprocessing:
    from ..models.preprocessing import Preprocessing

    low, high = window or (-1024.0, -624.0)
    try:
        return Preprocessing(shape, low, high, field=field or Field.WHOLE, margin_mm=margin, outside_hu=outside)
    except ValueError as error:
        raise TrainingError(f"A model cannot read volumes like this: {error}.") from error


def _print_epoch(curves: TrainingCurves) -> None:
    print(
        f"Epoch {curves.epoch} of {curves.epochs}: training loss {curves.train_loss[-1]:.3f}, "
        f"validation loss {curves.val_loss[-1]:.3f}, validation AUC {curves.val_auc[-1]:.3f}",
        flush=True,
    )
