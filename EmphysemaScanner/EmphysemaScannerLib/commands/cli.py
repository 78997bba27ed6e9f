"""The command line ``emphysema-scanner``: its commands in order, and how their errors end.

A command is a function in a file of its own. Torch, matplotlib and slicer are imported inside the functions, so that
``--help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from ..base.errors import EmphysemaScannerError, shown
from ..base.parallel import keep_freed_memory
from ..report import wording
from . import cache, cohort
from .batch import batch
from .benchmark import benchmark
from .card import card
from .compare import compare
from .demo import demo
from .dictionary import dictionary
from .diseasemap import disease_map
from .evaluate import evaluate
from .followup import followup
from .models import models
from .options import HELP_OPTIONS
from .predict import predict
from .recalibrate import recalibrate
from .reportmodel import report_model
from .scan import scan
from .send import send
from .simulate import simulate
from .train import train

FAILED = 2

app = typer.Typer(
    help=f"Reads a chest CT slice by slice and shows the evidence for emphysema. {wording.RESEARCH_USE}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
)
for command in (
    *(scan, followup, batch, send, dictionary, models, card, demo),
    *(simulate, train, disease_map, predict, evaluate, recalibrate, compare, report_model, benchmark),
):
    app.command()(command)
app.add_typer(cohort.app, name="cohort")
app.add_typer(cache.app, name="cache")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: what a user can cause ends with one sentence on stderr and exit code 2."""
    if arguments is None:  # a process of our own
        keep_freed_memory()
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # PyTorch's threads wait for each other, and let others work
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


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
