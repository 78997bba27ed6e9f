"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..lungs.reference import Sex
from ..lungs.scope import Scope
from ..scan.device import Device

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

OutOption = Annotated[Path, typer.Option("--out", help="Folder for the results; new, empty, or written by us before.")]
DicomOutOption = Annotated[
    Path | None,
    typer.Option(help="Folder for DICOM objects (SEG, SR, maps, PDF, pages) of the CT's study; needs highdicom."),
]
DicomSendOption = Annotated[
    str,
    typer.Option(help="Archive that gets the DICOM objects: dicomwebs://HOST[:PORT]/PATH; needs dicomweb-client."),
]
PageOption = Annotated[Path | None, typer.Option("--out", help="Folder for a page, its tables and its plots.")]
ManifestArgument = Annotated[Path, typer.Argument(help="CSV: volume, label, patient, split.", show_default=False)]
ManifestsArgument = Annotated[
    list[Path], typer.Argument(help="CSV: volume, label, patient, split.", show_default=False)
]
ModelArgument = Annotated[Path, typer.Argument(help="A .safetensors model file.", show_default=False)]
ModelsArgument = Annotated[
    list[Path], typer.Argument(help="Model files, or folders with trainings.", show_default=False)
]
ModelOption = Annotated[Path | None, typer.Option(help="A .safetensors model file; the shipped one if not given.")]
DataOption = Annotated[str, typer.Option(help="What the volumes are, in words; goes beside every figure.")]
SplitOption = Annotated[str, typer.Option(help="train, tune or test.")]
PredictionsOption = Annotated[
    Path | None, typer.Option(help="CSV of predict with these models' answers; asks no model again.")
]
DeviceOption = Annotated[Device, typer.Option(help="Where the network runs.")]
DevicesOption = Annotated[Device, typer.Option("--device", help="Where the networks run.")]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Volumes that go through a network at once.")]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="How many volumes to read at a time, if memory allows; 1 if not given.", show_default=False
    ),
]
ClusterOption = Annotated[
    str, typer.Option(help="local, slurm, or a Dask scheduler's address such as tcp://host:8786.")
]
SexOption = Annotated[
    Sex | None, typer.Option(help="The patient's sex, for published figures of healthy people in the report.")
]
AgeOption = Annotated[float | None, typer.Option(min=0, max=120, help="The patient's age in years, likewise.")]
HeightOption = Annotated[float | None, typer.Option(min=50, max=250, help="The patient's height in cm, likewise.")]
WeightOption = Annotated[float | None, typer.Option(min=10, max=400, help="The patient's weight in kg, likewise.")]
MeasureOption = Annotated[
    Scope,
    typer.Option(help="What is measured: what the histograms tell, or also clusters, bullae, core and rind and more."),
]
MarginOption = Annotated[float, typer.Option(min=0, help="mm around the lungs' box.")]
OutsideOption = Annotated[float | None, typer.Option(help="HU that what is not lung is set to in the lungs' box.")]
LungsOption = Annotated[
    Path | None, typer.Option(help="A label file (NRRD, NIfTI, MHA) to use as lung mask; found in the CT otherwise.")
]
LobesOption = Annotated[
    Path | None, typer.Option(help="A label file of the lobes, to measure each; without --lungs the lung mask, too.")
]
ExpiratoryOption = Annotated[
    Path | None,
    typer.Option(help="A CT of the same patient in expiration, for air trapping and the parametric response map."),
]
ExpiratoryLungsOption = Annotated[
    Path | None, typer.Option(help="A label file to use as lung mask of --expiratory; found in it otherwise.")
]
LungLabelsOption = Annotated[
    str, typer.Option(help="What the labels of --lungs are, if not recognised, such as 1=right_lung,2=left_lung.")
]
LobeLabelsOption = Annotated[
    str, typer.Option(help="What the labels of --lobes are, such as 1=right_upper_lobe,2=right_middle_lobe.")
]


def number_of(processes: int | None, cluster: str) -> int:
    """How many processes are started.

    Raises:
        typer.BadParameter: the cluster has its own.
    """
    if "://" in cluster and processes is not None:
        raise typer.BadParameter("A scheduler has its own workers; leave out --processes.")
    return processes or 1
