"""Many CTs through one model into one CSV, one row per CT, written as it finishes; an interrupted batch is resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..base.lists import SUFFIXES, ListRow, read_list
from ..base.progress import Progress, silent
from ..base.rowfile import one_line
from ..ct.reading import IMAGE_SUFFIXES, ct_series
from ..i18n import tr as _
from ..lungs.labelfiles import NO_FILES, MaskFiles
from ..lungs.regions import Masks, RegionError
from ..lungs.scope import Scope
from ..models.modelheader import read_metadata
from ..scan.call import Call
from ..scan.device import Device, Precision, choose
from .cluster import engine
from .engine import Engine, rows_of
from .inputstate import visible_files
from .row import DONE, REFUSED, BatchError, BatchRow, Scanner, parsed, refused_row, row_file, row_of
from .scanning import Scanning, read
from .source import Source, addresses

if TYPE_CHECKING:
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
        without_objects: CTs among those done for which DICOM objects were wanted and could not be written.
    """

    done: int
    refused: int
    positive: int
    no_call: int
    kept: int
    refused_before: int
    path: Path
    without_objects: int = 0

    def __str__(self) -> str:
        if self.kept:
            sentence = _(
                "{done} scanned ({positive} positive, {no_call} without a call), {refused} refused, {kept} of them "
                "in an earlier run: '{path}'."
            )
        else:
            sentence = _("{done} scanned ({positive} positive, {no_call} without a call), {refused} refused: '{path}'.")
        lacking = " " + _("{without_objects} without DICOM objects, for the reason in the table.")
        return (sentence + (lacking if self.without_objects else "")).format(**vars(self))


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


def find_masks(path: Path) -> dict[Path, MaskFiles]:
    """The label files of a list's CTs; none of a folder or a single CT.

    Args:
        path: as for ``find_cts``. A list names them in the columns ``lungs`` and ``lobes``, relative to its folder, and
            in ``lung_labels`` and ``lobe_labels`` what their labels are, where these are not recognised.

    Raises:
        BatchError: the list cannot be read, a label file is not there, or a CT that is listed twice has different ones.
    """
    path = _plain(Path(path).absolute())
    if path.is_dir() or path.suffix.lower() not in SUFFIXES or not path.exists():
        return {}
    found: dict[Path, MaskFiles] = {}
    for row in read_list(path, ["volume"], BatchError).rows:
        ct, files = _plain(path.parent / row.values["volume"]), _mask_files(path.parent, row)
        if found.setdefault(ct, files) != files:
            raise BatchError(f"{row.where}: this CT is listed before with other label files; keep one of the two.")
    return {ct: files for ct, files in found.items() if files}


def find_expiratory(path: Path) -> dict[Path, Path]:
    """The expiratory CTs of a list's CTs; none of a folder or a single CT.

    Args:
        path: as for ``find_cts``. A list names them in the column ``expiratory``, relative to its folder.

    Raises:
        BatchError: the list cannot be read, an expiratory CT is not there, or a CT that is listed twice has two.
    """
    path = _plain(Path(path).absolute())
    if path.is_dir() or path.suffix.lower() not in SUFFIXES or not path.exists():
        return {}
    found: dict[Path, Path | None] = {}
    for row in read_list(path, ["volume"], BatchError).rows:
        name = row.values.get("expiratory", "")
        second = _plain(path.parent / name) if name else None
        if second is not None and not second.exists():
            raise BatchError(f"{row.where}: there is no CT '{name}'; correct the column expiratory.")
        if found.setdefault(_plain(path.parent / row.values["volume"]), second) != second:
            raise BatchError(f"{row.where}: this CT is listed before with another expiratory CT; keep one of the two.")
    return {ct: second for ct, second in found.items() if second is not None}


def _mask_files(folder: Path, row: ListRow) -> MaskFiles:
    try:
        files = MaskFiles.of_columns(folder, row.values)
    except RegionError as error:
        raise BatchError(f"{row.where}: {error}") from error
    lungs, lobes = (None if path is None else _plain(path) for path in (files.lungs, files.lobes))
    for path, column in ((lungs, "lungs"), (lobes, "lobes")):
        if path is not None and not path.is_file():
            raise BatchError(
                f"{row.where}: there is no label file '{row.values[column]}'; correct the column {column}."
            )
    return dataclasses.replace(files, lungs=lungs, lobes=lobes)


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


_Outcome = tuple[bool, str, bool]  # of a row: whether it is done, its call, and whether DICOM objects are lacking


def _ignore(row: BatchRow) -> None:
    pass


def run_batch(  # noqa: PLR0913  # all but three have defaults, and are named
    sources: Sequence[Path],
    out_csv: Path,
    model_path: Path,
    device: Device = Device.AUTO,
    precision: Precision = Precision.AUTO,
    *,
    masks: Mapping[Path, MaskFiles] = MappingProxyType({}),
    expiratory: Mapping[Path, Path] = MappingProxyType({}),
    processes: int = 1,
    cluster: str = "",
    at: Mapping[Path, str] = MappingProxyType({}),
    retry: bool = False,
    objects: Path | None = None,
    measure: Scope = Scope.HISTOGRAM,
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
        masks: label files by CT, as ``find_masks`` gives them; of another CT the lungs are found.
        expiratory: CTs in expiration by CT, as ``find_expiratory`` gives them; each adds air trapping and the
            parametric response map to the row of its CT.
        processes: how many scan at a time, each with a model and a CT in memory; more than one not inside Slicer.
        cluster: "" for this process or, of several, processes of this machine; or as ``cluster.cluster`` has it, which
            then starts the processes.
        at: from where to copy the files of CTs that are not there, as ``addresses_of`` gives them; each is
            copied when its turn comes, and removed when it has been scanned.
        retry: scan refused CTs again, changed or not.
        objects: a folder that gets a folder of DICOM objects for each CT that was read from DICOM; a CT that has a row
            and no such folder is scanned again. None if none are wanted.
        measure: how much is measured. With ``Scope.ALL`` the table has the further columns, and a CT of which less was
            measured is scanned again.
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
    objects = None if objects is None else Path(objects).absolute()
    scanning = Scanning(Path(model_path).absolute(), checksum, device, precision, objects, measure)
    out_csv = Path(out_csv).absolute()
    with row_file(out_csv, measure).growing() as table:
        kept, added = Counter[_Outcome](), Counter[_Outcome]()
        remaining: list[Source] = []
        for source in sources:
            progress(0.0, _("Checking which CTs have changed"))
            ct = Source(source, at.get(source, ""), masks.get(source, NO_FILES), expiratory.get(source))
            cells = table.before(one_line(str(source)), checksum)
            row = None if cells is None else parsed(cells)
            if row is not None and _stands(row, ct, retry, objects, measure):
                kept[_outcome(row)] += 1
                on_row(row)
            else:
                remaining.append(ct)
        if processes == 1 and not cluster:
            here = Scanner(model, checksum, choose(device), precision, objects, measure)
            coming = _rows_here(remaining, kept.total(), len(sources), here, progress)
        else:
            elsewhere = engine(scanning, processes, cluster)
            coming = _rows_elsewhere(remaining, kept.total(), len(sources), (model, scanning), elsewhere, progress)
        with contextlib.closing(coming):
            for row in coming:
                table.add([row.cells(table.of.columns)])
                added[_outcome(row)] += 1
                on_row(row)
    return _summary(kept, added, out_csv)


def _outcome(row: BatchRow) -> _Outcome:
    return row.status == DONE, row.call, bool(row.dicom_problem)


def _summary(kept: Counter[_Outcome], added: Counter[_Outcome], path: Path) -> BatchSummary:
    every = kept + added

    def done_with(call: Call) -> int:
        return sum(count for (is_done, of, _lacks), count in every.items() if is_done and of == call.value)

    refused, refused_before = (
        sum(count for (is_done, _call, _lacks), count in some.items() if not is_done) for some in (every, kept)
    )
    lacking = sum(count for (is_done, _call, lacks), count in every.items() if is_done and lacks)
    positive, no_call = map(done_with, (Call.POSITIVE, Call.NONE))
    done = every.total() - refused
    return BatchSummary(done, refused, positive, no_call, kept.total(), refused_before, path, lacking)


def _stands(row: BatchRow, ct: Source, retry: bool, objects: Path | None, measure: Scope) -> bool:
    """Whether an earlier row still holds of a CT in its present state, and has the objects and measures wanted."""
    if objects and row.status == DONE and not row.dicom_problem:
        written = Path(row.dicom_objects)
        if written.parent != objects or not written.is_dir():
            return False
    if row.status == REFUSED and retry:
        return False
    state = ct.state()
    gone = not state  # as on a disk that is not mounted today: no reason to lose the answer
    lacking = measure is Scope.ALL and row.measure != measure.value
    if lacking and not (row.status == DONE and gone and not ct.address):
        return False
    return row.input_state == state or (row.status == DONE and gone)


def _rows_here(
    sources: Sequence[Source],
    before: int,
    count: int,
    scanner: Scanner,
    progress: Progress,
) -> Generator[BatchRow, None, None]:
    """The rows of CTs one after the other; the next one is read meanwhile."""
    reader = ThreadPoolExecutor(1)

    def begin(source: Source) -> tuple[str, ExitStack, Future[tuple[CT, Masks]]]:
        passing = ExitStack()
        return source.state(), passing, reader.submit(read, source, passing)

    following = [begin(source) for source in sources[:1]]
    try:
        for k, source in enumerate(sources):
            state, passing, this = following.pop()
            following = [begin(after) for after in sources[k + 1 : k + 2]]

            def report(fraction: float, stage: str, number: int = before + k, name: str = source.path.name) -> None:
                where = _("CT {number} of {count}, {name}: {stage}")
                said = where.format(number=number + 1, count=count, name=name, stage=stage)
                progress((number + fraction) / count, said)

            with passing:
                row = row_of(source.path, state, this.result, scanner, report, source.expiratory)
            yield row
    finally:
        reader.shutdown(wait=False, cancel_futures=True)
        for _state, passing, coming in following:
            coming.add_done_callback(partial(_close, passing))


def _close(passing: ExitStack, _future: object) -> None:
    passing.close()


def _rows_elsewhere(
    sources: Sequence[Source],
    before: int,
    count: int,
    asked: tuple[Model, Scanning],
    starting: AbstractContextManager[Engine[Source, BatchRow]],
    progress: Progress,
) -> Generator[BatchRow, None, None]:
    """The rows of CTs as the workers of an engine finish them."""
    model, scanning = asked

    def refused(source: Source, problem: str) -> BatchRow:
        return refused_row(source.path, problem, model.card, scanning.checksum, source.state(), scanning.measure)

    def still_wanted(done: int, at_a_time: int) -> None:
        said = _("{done} of {count} CTs are done, {at_a_time} at a time")
        done += before
        progress(done / count, said.format(done=done, count=count, at_a_time=at_a_time))

    if not sources:
        return
    progress(before / count, _("Starting the processes"))
    with starting as started:
        yield from rows_of(sources, started, refused, still_wanted)
