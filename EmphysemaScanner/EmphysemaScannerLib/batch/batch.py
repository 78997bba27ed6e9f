"""Many CTs through one model into one CSV, a row a CT as they finish; a batch that was stopped goes on there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..base.lists import SUFFIXES, read_list
from ..base.progress import Progress, silent
from ..base.rowfile import one_line
from ..ct.reading import IMAGE_SUFFIXES, ct_series, read_ct
from ..i18n import tr as _
from ..models.modelheader import read_metadata
from ..scan.call import Call
from ..scan.device import Device, Precision, choose
from .cluster import cluster as on_cluster
from .engine import Engine, process_pool, rows_of
from .inputstate import state_of, visible_files
from .row import DONE, REFUSED, BatchError, BatchRow, parsed, row_file, row_of
from .scanning import Scanning
from .source import Source, addresses

if TYPE_CHECKING:
    import torch

    from ..ct.reading import CT
    from ..models.modelfile import Model


@dataclass(frozen=True)
class BatchSummary:
    """What came out of a batch; ``str`` makes a sentence of it.

    Attributes:
        done, refused: CTs, those of earlier runs included.
        positive, no_call: CTs among those done.
        kept: CTs that an earlier run had already been through.
        refused_before: CTs among those kept that were refused.
        path: the CSV.
    """

    done: int
    refused: int
    positive: int
    no_call: int
    kept: int
    refused_before: int
    path: Path

    def __str__(self) -> str:
        said = _("{done} scanned ({positive} positive, {no_call} without a call), {refused} refused").format(
            done=self.done, positive=self.positive, no_call=self.no_call, refused=self.refused
        )
        kept = _(", {kept} of them in an earlier run").format(kept=self.kept) if self.kept else ""
        return said + kept + _(": '{path}'.").format(path=self.path)


def find_cts(path: Path) -> list[Path]:
    """The CTs at a path, each once, absolute.

    Args:
        path: a folder, in which image files and DICOM series are searched for at any depth (hidden ones and folders
            with our own results are passed over); a list (CSV) with a column ``volume``, as ``lists.read_list`` reads
            it, whose paths count from its folder; or one CT. A DICOM series that is alone in its folder is named by the
            folder, otherwise by its first file.

    Raises:
        BatchError: there is nothing, or a row of the list cannot be read.
    """
    path = _plain(Path(path).absolute())
    if path.is_dir():
        found = _search(path)
        if not found:
            raise BatchError(f"No CTs were found in '{path}'; choose a folder with NRRD, NIfTI, MHA or DICOM files.")
        return found
    if not path.exists():
        raise BatchError(f"There is no file or folder '{path}'; check the path.")
    return _listed(path) if path.suffix.lower() in SUFFIXES else [path]


def addresses_of(path: Path) -> dict[Path, str]:
    """Where the CTs of a list are that have an address (column ``url``); none if the path is no list.

    Raises:
        BatchError: the list cannot be read.
    """
    path = _plain(Path(path).absolute())
    return {_plain(path.parent / volume): address for volume, address in addresses(path).items()}


def _search(top: Path) -> list[Path]:
    visible = list(visible_files(top))
    images = [file for file in visible if file.name.lower().endswith(IMAGE_SUFFIXES)]
    return sorted([*images, *ct_series(set(visible).difference(images))])


def _listed(path: Path) -> list[Path]:
    """The CTs of a list in its order; one that is listed twice is one CT."""
    listed = (row.values["volume"] for row in read_list(path, ["volume"], BatchError).rows)
    return list(dict.fromkeys(_plain(path.parent / volume) for volume in listed))


def _plain(path: Path) -> Path:
    """The path without "..", so that a CT has one name, unless a link on the way makes it another file."""
    plain = Path(os.path.normpath(path))
    try:
        return plain if plain.samefile(path) else path
    except OSError:  # not there, or no name that could be
        return path if os.path.exists(path) else plain  # noqa: PTH110 - Path.exists raises for some names


def _ignore(row: BatchRow) -> None:
    pass


def run_batch(  # noqa: PLR0913  # all but three have defaults, and are named
    sources: Sequence[Path],
    out_csv: Path,
    model_path: Path,
    device: Device = Device.AUTO,
    precision: Precision = Precision.AUTO,
    *,
    processes: int = 1,
    cluster: str = "",
    at: Mapping[Path, str] = MappingProxyType({}),
    retry: bool = False,
    progress: Progress = silent,
    on_row: Callable[[BatchRow], None] = _ignore,
) -> BatchSummary:
    """Scan CTs, each while the next one is read; what cannot be scanned gets a row that says why, and it goes on.

    Args:
        sources: as ``find_cts`` gives them.
        out_csv: gets a row a CT. A CT that has a row by the same model, done or refused, is not scanned again unless
            its files have changed since; its new row then replaces the old one. Rows of earlier versions, which did not
            note the files' state, count as changed. Rows of other models and other CTs are kept.
        model_path: the model file.
        device: where the network runs.
        precision: with how many bits.
        processes: how many scan at a time, each with a model and a CT in memory; more than one not inside Slicer.
        cluster: "" for this process or, of several, processes of this machine; or as ``cluster.cluster`` has it, which
            then starts the processes.
        at: from where to copy the files of CTs that are not there, as ``addresses_of`` gives them; each is
            copied when its turn comes, and removed when it has been read.
        retry: scan refused CTs again, changed or not.
        progress: told the share done and the CT and its stage, at every slice (with several processes, how many are
            done); what it raises ends the batch, and only the CTs that are being scanned are lost.
        on_row: told every row of these sources as it becomes known, kept ones first.

    Raises:
        ModelFileError: the model cannot be read.
        DeviceError: there is no such device here.
        BatchError: ``out_csv`` is something else, another run writes it, or it cannot be written; or the cluster is not
            there, or is lost.
        MissingPackageError: a cluster is asked for, and dask.distributed is not installed.
    """
    from ..models.modelfile import load

    model, checksum = load(model_path), read_metadata(model_path).get("sha256", "")
    scanning = Scanning(Path(model_path).absolute(), checksum, device, precision)
    out_csv = Path(out_csv).absolute()
    with row_file(out_csv).growing() as table:
        earlier = {row.source: row for row in map(parsed, table.rows) if row is not None and row.model == checksum}
        kept: list[BatchRow] = []
        remaining: list[Source] = []
        for source in sources:
            progress(0.0, _("Checking which CTs have changed"))
            row = earlier.get(one_line(str(source)))
            if row is not None and _stands(row, state_of(source), retry):
                kept.append(row)
                on_row(row)
            else:
                remaining.append(Source(source, at.get(source, "")))
        if processes == 1 and not cluster:
            here = (model, checksum, choose(device), precision)
            coming = _rows_here(remaining, len(kept), len(sources), here, progress)
        else:
            shared = process_pool(scanning, processes) if not cluster else on_cluster(scanning, cluster, processes)
            coming = _rows_elsewhere(remaining, len(kept), len(sources), (model, checksum), shared, progress)
        rows = list(kept)
        with contextlib.closing(coming):
            for row in coming:
                table.add([dataclasses.astuple(row)])
                rows.append(row)
                on_row(row)
    done = [row for row in rows if row.status == DONE]
    positive, no_call = (sum(row.call == call.value for row in done) for call in (Call.POSITIVE, Call.NONE))
    refused_before = sum(row.status == REFUSED for row in kept)
    return BatchSummary(len(done), len(rows) - len(done), positive, no_call, len(kept), refused_before, out_csv)


def _stands(row: BatchRow, state: str, retry: bool) -> bool:
    """Whether an earlier row still holds of a CT whose files are in this state."""
    if row.status == REFUSED and retry:
        return False
    gone = not state  # as on a disk that is not mounted today: no reason to lose the answer
    return row.input_state == state or (row.status == DONE and gone)


def _rows_here(
    sources: Sequence[Source],
    before: int,
    count: int,
    scanning: tuple[Model, str, torch.device, Precision],
    progress: Progress,
) -> Generator[BatchRow, None, None]:
    """The rows of CTs one after the other; the next one is read meanwhile."""
    reader = ThreadPoolExecutor(1)

    def read(source: Source) -> CT:
        with source.files() as files:
            return read_ct(files)

    def begin(source: Source) -> tuple[str, Future[CT]]:
        return state_of(source.path), reader.submit(read, source)

    try:
        following = [begin(source) for source in sources[:1]]
        for k, source in enumerate(sources):
            state, this = following.pop()
            following = [begin(after) for after in sources[k + 1 : k + 2]]

            def report(fraction: float, stage: str, number: int = before + k, name: str = source.path.name) -> None:
                where = _("CT {number} of {count}, {name}: {stage}")
                said = where.format(number=number + 1, count=count, name=name, stage=stage)
                progress((number + fraction) / count, said)

            yield row_of(source.path, state, this.result, *scanning, report)
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def _rows_elsewhere(
    sources: Sequence[Source],
    before: int,
    count: int,
    asked: tuple[Model, str],
    starting: AbstractContextManager[Engine],
    progress: Progress,
) -> Generator[BatchRow, None, None]:
    """The rows of CTs as the workers of an engine finish them."""
    model, checksum = asked

    def refused(source: Source, problem: str) -> BatchRow:
        point = model.card.operating_point.probability
        state = state_of(source.path)
        return BatchRow(
            str(source.path), REFUSED, operating_point=point, problem=problem, model=checksum, input_state=state
        )

    def still_wanted(done: int, at_a_time: int) -> None:
        said = _("{done} of {count} CTs are done, {at_a_time} at a time")
        done += before
        progress(done / count, said.format(done=done, count=count, at_a_time=at_a_time))

    if not sources:
        return
    progress(before / count, _("Starting the processes"))
    with starting as engine:
        yield from rows_of(sources, engine, refused, still_wanted)
