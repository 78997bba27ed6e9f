"""The commands ``cache show | clear | fill``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from ..models.field import Field
from .options import (
    ClusterOption,
    ManifestsArgument,
    MarginOption,
    OutsideOption,
    ProcessesOption,
    number_of,
)
from .progress import progress_bar

if TYPE_CHECKING:
    from ..cohort.cache import VolumeCache
    from ..cohort.manifest import CohortRow
    from ..models.preprocessing import Preprocessing

app = typer.Typer(
    help="Volumes on the network's grid, kept so that each CT is read once; nothing in them names a patient or a path.",
    no_args_is_help=True,
)


@app.command()
def show() -> None:
    """Say where the cache is and how much is in it."""
    from ..cohort.cache import ENVIRONMENT, VolumeCache

    cache = VolumeCache()
    files, size = cache.size()
    print(f"{cache.folder}\n{files} files, {size / 1e6:.1f} MB. {ENVIRONMENT} names another folder.")


@app.command()
def clear() -> None:
    """Remove all that is in the cache; it is made again when needed."""
    from ..cohort.cache import VolumeCache

    cache = VolumeCache()
    size = cache.size()[1]
    print(f"{cache.clear()} files, {size / 1e6:.1f} MB, were removed from {cache.folder}.")


@app.command()
def fill(  # noqa: PLR0913  # one parameter per option
    manifests: ManifestsArgument,
    architecture: Annotated[str, typer.Option(help="Whose input; the same for all that read volumes.")] = "conv_lstm",
    image_size: Annotated[int, typer.Option(min=16, help="Rows and columns of the network's grid.")] = 128,
    slices: Annotated[int, typer.Option(min=1, help="Slices of the network's grid.")] = 35,
    field: Annotated[Field, typer.Option(help="What of a CT is read: all of it, or the lungs' box.")] = Field.WHOLE,
    margin: MarginOption = 0.0,
    outside: OutsideOption = None,
    processes: ProcessesOption = None,
    cluster: ClusterOption = "",
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Read volumes that are not there from the addresses in the column url.")
    ] = False,
) -> None:
    """Read all volumes of a cohort into the cache before a training, and say which cannot be read."""
    from ..base.errors import UnreadableInputError
    from ..batch.cluster import engine
    from ..batch.engine import rows_of
    from ..cohort.cache import ENVIRONMENT, VolumeCache
    from ..cohort.manifest import read_manifest
    from ..models.preprocessing import Preprocessing

    number = number_of(processes, cluster)
    rows = [row for manifest in manifests for row in read_manifest(manifest)]
    if not fetch:
        VolumeCache().check_asked(rows)
    elif not VolumeCache().is_writable():
        raise UnreadableInputError(
            f"Nothing can be kept in '{VolumeCache().folder}'; {ENVIRONMENT} names another folder."
        )
    shape = (slices, image_size, image_size)
    filling = Filling(
        architecture, Preprocessing(shape=shape, field=field, margin_mm=margin, outside_hu=outside), fetch
    )
    problems = 0
    with progress_bar() as bar, engine(filling, number, cluster) as started:

        def still_wanted(done: int, at_a_time: int) -> None:
            bar(done / len(rows), f"{done} of {len(rows)} volumes are done, {at_a_time} at a time")

        for problem in rows_of(rows, started, _problem_of, still_wanted):
            problems += bool(problem)
            if problem:
                print(problem, flush=True)
    if problems:
        raise UnreadableInputError(
            f"{problems} of {len(rows)} volumes cannot be read; mend them or take them out of the manifest."
        )
    print(f"{len(rows)} volumes are in the cache.")


@dataclass(frozen=True)
class Filling:
    """Reads a volume into the cache, in whatever process; returns the manifest's line and why it cannot, or "".

    Attributes:
        architecture: whose input.
        preprocessing: how a volume becomes it.
        fetch: copy volumes that are not here from their addresses for as long as they are read.
    """

    architecture: str
    preprocessing: Preprocessing
    fetch: bool = False

    def __call__(self, row: CohortRow) -> str:
        """Read one."""
        from ..cohort.cache import VolumeCache
        from ..ct.objectstore import ADDRESS

        cache, address = VolumeCache(), row.extra.get(ADDRESS, "")
        if self.fetch and address and not row.volume.exists():
            problem = self._fetched(row, address, cache)
        else:
            problem = cache.problem(row, self.architecture, self.preprocessing)
        return _problem_of(row, problem) if problem else ""

    def _fetched(self, row: CohortRow, address: str, cache: VolumeCache) -> str:
        from ..base.errors import EmphysemaScannerError
        from ..batch.source import Source

        try:
            version = _version(address)
            known = cache.remembered(row.volume)
            is_same = version != "" and known is not None and known[1] == version
            if is_same and not cache.problem(row, self.architecture, self.preprocessing):
                return ""
            with Source(row.volume, address).files() as files:
                problem = cache.problem(replace(row, volume=files), self.architecture, self.preprocessing)
                if problem:
                    return problem.replace(str(files), address)
                cache.remember(row.volume, files, version)
            return cache.problem(row, self.architecture, self.preprocessing)  # a full disk keeps nothing
        except (EmphysemaScannerError, OSError) as error:
            return str(error)


def _version(address: str) -> str:
    """What tells the files at an address apart; "" of a DICOM archive, which states nothing."""
    from ..archive.webaddress import is_web_address
    from ..ct.objectstore import version_of

    return "" if is_web_address(address) else version_of(address)


def _problem_of(row: CohortRow, problem: str) -> str:
    return f"{row.where}: {problem}"
