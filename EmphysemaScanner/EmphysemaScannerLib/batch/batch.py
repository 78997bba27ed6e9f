"""Many CTs through one model into one CSV, a row a CT as they finish; a batch that was stopped goes on there."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import EmphysemaScannerError, ModelFileError, ScanCancelled
from ..base.lists import SUFFIXES, read_list
from ..base.progress import Progress, silent
from ..base.rowfile import Cells, RowFile, one_line
from ..ct.reading import IMAGE_SUFFIXES, ct_series, read_ct
from ..i18n import tr as _
from ..models.modelheader import read_metadata
from ..scan.call import Call
from ..scan.device import Device, Precision, choose, scan_on
from .inputstate import state_of, visible_files

if TYPE_CHECKING:
    import torch

    from ..ct.reading import CT
    from ..models.modelfile import Model

DONE, REFUSED = "done", "refused"


class BatchError(EmphysemaScannerError):
    """The CTs cannot be listed, or the CSV cannot be written."""


@dataclass(frozen=True)
class BatchRow:
    """One CT of a batch: a line of the CSV, whose columns are the attributes in this order.

    Attributes:
        source: the CT's file or folder, absolute.
        status: "done" or "refused".
        probability: of emphysema, 0 to 1; NaN when refused, as are the other figures.
        operating_point: the probability at and above which the model calls a CT positive.
        call: a value of ``core.call.Call``; "" when refused.
        call_reason: why no call was made, if none was.
        laa_950_percent: LAA%-950 of both lungs.
        perc15_hu: 15th percentile of density of both lungs, HU.
        volume_l: volume of both lungs, litres.
        warnings: image quality warnings, separated by " | ".
        problem: why it was refused.
        model: SHA-256 of the model, as its file states it.
        seconds: waiting for the file and scanning.
        input_state: of its files when it was read, as ``inputstate.state_of`` gives it.
    """

    source: str
    status: str
    probability: float = math.nan
    operating_point: float = math.nan
    call: str = ""
    call_reason: str = ""
    laa_950_percent: float = math.nan
    perc15_hu: float = math.nan
    volume_l: float = math.nan
    warnings: str = ""
    problem: str = ""
    model: str = ""
    seconds: float = math.nan
    input_state: str = ""


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


def run_batch(
    sources: Sequence[Path],
    out_csv: Path,
    model_path: Path,
    device: Device = Device.AUTO,
    precision: Precision = Precision.AUTO,
    *,
    processes: int = 1,
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
        retry: scan refused CTs again, changed or not.
        progress: told the share done and the CT and its stage, at every slice (with several processes, how many are
            done); what it raises ends the batch, and only the CTs that are being scanned are lost.
        on_row: told every row of these sources as it becomes known, kept ones first.

    Raises:
        ModelFileError: the model cannot be read.
        DeviceError: there is no such device here.
        BatchError: ``out_csv`` is something else, another run writes it, or it cannot be written.
    """
    from ..models.modelfile import load

    model, checksum = load(model_path), read_metadata(model_path).get("sha256", "")
    chosen = choose(device)
    out_csv = Path(out_csv).absolute()
    with _row_file(out_csv).growing() as table:
        earlier = {row.source: row for row in map(_parsed, table.rows) if row is not None and row.model == checksum}
        kept: list[BatchRow] = []
        remaining: dict[Path, str] = {}
        for source in sources:
            progress(0.0, _("Checking which CTs have changed"))
            state, row = state_of(source), earlier.get(one_line(str(source)))
            if row is not None and _stands(row, state, retry):
                kept.append(row)
                on_row(row)
            else:
                remaining[source] = state
        if processes == 1:
            coming = _rows_here(remaining, len(kept), len(sources), (model, checksum, chosen, precision), progress)
        else:
            from .batchpool import rows_from_processes

            def still_wanted(count: int) -> None:
                finished = len(kept) + count
                said = _("{done} of {count} CTs are done").format(done=finished, count=len(sources))
                progress(finished / len(sources), said)

            coming = rows_from_processes(remaining, processes, model_path, checksum, device, precision, still_wanted)
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
    states: Mapping[Path, str],
    before: int,
    count: int,
    scanning: tuple[Model, str, torch.device, Precision],
    progress: Progress,
) -> Generator[BatchRow, None, None]:
    """The rows of CTs (by path, with the state of their files) one after the other; the next one is read meanwhile."""
    reader, sources = ThreadPoolExecutor(1), list(states)
    try:
        following = [reader.submit(read_ct, source) for source in sources[:1]]
        for k, source in enumerate(sources):
            this = following.pop()
            following = [reader.submit(read_ct, after) for after in sources[k + 1 : k + 2]]

            def report(fraction: float, stage: str, number: int = before + k, source: Path = source) -> None:
                where = _("CT {number} of {count}, {name}: {stage}")
                said = where.format(number=number + 1, count=count, name=source.name, stage=stage)
                progress((number + fraction) / count, said)

            yield row_of(source, states[source], this.result, *scanning, report)
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def row_of(
    source: Path,
    input_state: str,
    read: Callable[[], CT],
    model: Model,
    checksum: str,
    device: torch.device,
    precision: Precision,
    report: Progress = silent,
) -> BatchRow:
    """The row of one CT, which ``read`` reads or has read, with the state that its files were in before."""
    start = time.perf_counter()
    point = model.card.operating_point.probability
    try:
        report(0.0, _("Reading the file"))
        result = scan_on(device, read(), model, report, source.name, precision=precision)
    except (ScanCancelled, ModelFileError):
        raise
    except (EmphysemaScannerError, OSError, RuntimeError, MemoryError) as error:
        # RuntimeError is ITK's and PyTorch's: one CT that they cannot handle must not end a night's work.
        known = isinstance(error, EmphysemaScannerError)
        return BatchRow(
            source=str(source),
            status=REFUSED,
            operating_point=point,
            problem=str(error) if known else f"It could not be scanned ({error or type(error).__name__}).",
            model=checksum,
            seconds=round(time.perf_counter() - start, 2),
            input_state=input_state,
        )
    whole = result.densitometry.get("whole")
    return BatchRow(
        source=str(source),
        status=DONE,
        probability=result.probability,
        operating_point=point,
        call=result.call.value,
        call_reason=result.call_reason,
        laa_950_percent=whole.laa_950_percent if whole else math.nan,
        perc15_hu=whole.perc15_hu if whole else math.nan,
        volume_l=whole.volume_l if whole else math.nan,
        warnings=" | ".join(result.warnings),
        model=checksum,
        seconds=round(time.perf_counter() - start, 2),
        input_state=input_state,
    )


COLUMNS = tuple(field.name for field in dataclasses.fields(BatchRow))
_FIGURES = tuple(field.name for field in dataclasses.fields(BatchRow) if field.type == "float")


def _row_file(path: Path) -> RowFile:
    later = ("call_reason", "input_state")
    return RowFile(path, COLUMNS, ("source", "model"), "batch", BatchError, later, renamed={"answer": "call"})


def _parsed(cells: Cells) -> BatchRow | None:
    """A row from its cells; None if it is not whole, so that its CT is scanned again."""
    values: dict[str, Any] = dict(cells)
    try:
        values.update({name: float(values[name] or "nan") for name in _FIGURES})
    except ValueError:
        return None
    return BatchRow(**values) if values["status"] in (DONE, REFUSED) else None
