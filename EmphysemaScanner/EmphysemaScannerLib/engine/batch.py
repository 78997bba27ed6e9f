"""Many CTs through one model into one CSV, a row a CT as they finish; a batch that was stopped goes on there."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.dicomfolder import files_below
from ..core.errors import EmphysemaScannerError, ModelFileError, ScanCancelled
from ..core.modelheader import read_metadata
from ..core.progress import Progress, silent
from ..core.reading import IMAGE_SUFFIXES, ct_series, read_ct
from ..i18n import tr as _
from .device import Device, Precision, choose, scan_on
from .outputfolder import FILE_LIST
from .rowfile import RowFile, one_line

if TYPE_CHECKING:
    import torch

    from ..core.modelfile import Model
    from ..core.reading import CT

DONE, REFUSED = "done", "refused"
POSITIVE, NEGATIVE = "positive", "negative"


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
        answer: "positive" or "negative"; "" when refused.
        laa_950_percent: LAA%-950 of both lungs.
        perc15_hu: 15th percentile of density of both lungs, HU.
        volume_l: volume of both lungs, litres.
        warnings: doubts about the CT, separated by " | ".
        problem: why it was refused.
        model: SHA-256 of the model, as its file states it.
        seconds: waiting for the file and scanning.
    """

    source: str
    status: str
    probability: float = math.nan
    operating_point: float = math.nan
    answer: str = ""
    laa_950_percent: float = math.nan
    perc15_hu: float = math.nan
    volume_l: float = math.nan
    warnings: str = ""
    problem: str = ""
    model: str = ""
    seconds: float = math.nan


@dataclass(frozen=True)
class BatchSummary:
    """What came out of a batch; ``str`` makes a sentence of it.

    Attributes:
        done, refused: CTs, those of earlier runs included.
        positive: CTs among those done.
        kept: CTs that an earlier run had already been through.
        path: the CSV.
    """

    done: int
    refused: int
    positive: int
    kept: int
    path: Path

    def __str__(self) -> str:
        said = _("{done} scanned ({positive} positive), {refused} refused").format(
            done=self.done, positive=self.positive, refused=self.refused
        )
        kept = _(", {kept} of them in an earlier run").format(kept=self.kept) if self.kept else ""
        return said + kept + _(": '{path}'.").format(path=self.path)


def find_cts(path: Path) -> list[Path]:
    """The CTs at a path, sorted, absolute.

    Args:
        path: a folder, in which image files and DICOM series are searched for at any depth (hidden ones and folders
            with our own results are passed over); a CSV with a column ``volume``, whose paths count from its folder; or
            one CT. A DICOM series that is alone in its folder is named by the folder, otherwise by its first file.

    Raises:
        BatchError: there is nothing, or the CSV has no such column.
    """
    path = Path(path).absolute()
    if path.is_dir():
        found = _search(path)
        if not found:
            raise BatchError(f"No CTs were found in '{path}'; choose a folder with NRRD, NIfTI, MHA or DICOM files.")
        return found
    if not path.exists():
        raise BatchError(f"There is no file or folder '{path}'; check the path.")
    return _listed(path) if path.suffix.lower() == ".csv" else [path]


def _search(top: Path) -> list[Path]:
    def passed_over(folder: Path, files: Sequence[str]) -> bool:
        return FILE_LIST in files or (folder != top and folder.name.startswith("."))

    visible = [file for file in files_below(top, passed_over) if not file.name.startswith(".")]
    images = [file for file in visible if file.name.lower().endswith(IMAGE_SUFFIXES)]
    return sorted([*images, *ct_series(set(visible).difference(images))])


def _listed(path: Path) -> list[Path]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "volume" not in (reader.fieldnames or ()):
                raise BatchError(f"{path.name} lacks the column volume; add it, with a path in every line.")
            volumes = [(line["volume"] or "").strip() for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BatchError(f"The list {path} cannot be read ({error}).") from error
    # A path that is listed twice is one CT.
    found = list(dict.fromkeys(Path(os.path.normpath(path.parent / volume)) for volume in volumes if volume))
    if not found:
        raise BatchError(f"{path.name} lists no volumes.")
    return found


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
    progress: Progress = silent,
    on_row: Callable[[BatchRow], None] = _ignore,
) -> BatchSummary:
    """Scan CTs, each while the next one is read; what cannot be scanned gets a row that says why, and it goes on.

    Args:
        sources: as ``find_cts`` gives them.
        out_csv: gets a row a CT. Rows that are there are kept; CTs that have one by the same model, done or refused,
            are not scanned again.
        model_path: the model file.
        device: where the network runs.
        precision: with how many bits.
        processes: how many scan at a time, each with a model and a CT in memory; more than one not inside Slicer.
        progress: told the share done and the CT and its stage, at every slice (with several processes, how many are
            done); what it raises ends the batch, and only the CTs that are being scanned are lost.
        on_row: told every row of these sources as it becomes known, kept ones first.

    Raises:
        ModelFileError: the model cannot be read.
        DeviceError: there is no such device here.
        BatchError: ``out_csv`` is something else, or cannot be written.
    """
    from ..core.modelfile import load

    model, checksum = load(model_path), read_metadata(model_path).get("sha256", "")
    chosen = choose(device)
    out_csv = Path(out_csv).absolute()
    out = RowFile(out_csv, COLUMNS, "batch", BatchError)
    earlier = {row.source: row for row in _earlier_rows(out) if row.model == checksum}
    kept = [earlier[one_line(str(source))] for source in sources if one_line(str(source)) in earlier]
    for row in kept:
        on_row(row)
    rows, remaining = list(kept), [source for source in sources if one_line(str(source)) not in earlier]
    if processes == 1:
        coming = _rows_here(remaining, len(kept), len(sources), (model, checksum, chosen, precision), progress)
    else:
        from .batchpool import rows_from_processes

        def still_wanted(count: int) -> None:
            finished = len(kept) + count
            said = _("{done} of {count} CTs are done").format(done=finished, count=len(sources))
            progress(finished / len(sources), said)

        coming = rows_from_processes(remaining, processes, model_path, checksum, device, precision, still_wanted)
    with out.open() as file, contextlib.closing(coming):
        for row in coming:
            out.write(file, [dataclasses.astuple(row)])
            rows.append(row)
            on_row(row)
    done = [row for row in rows if row.status == DONE]
    positive = sum(row.answer == POSITIVE for row in done)
    return BatchSummary(len(done), len(rows) - len(done), positive, len(kept), out_csv)


def _rows_here(
    sources: Sequence[Path],
    before: int,
    count: int,
    scanning: tuple[Model, str, torch.device, Precision],
    progress: Progress,
) -> Generator[BatchRow, None, None]:
    """The rows of CTs one after the other; the next one is read while one is scanned."""
    reader = ThreadPoolExecutor(1)
    try:
        following = [reader.submit(read_ct, source) for source in sources[:1]]
        for k, source in enumerate(sources):
            this = following.pop()
            following = [reader.submit(read_ct, after) for after in sources[k + 1 : k + 2]]

            def report(fraction: float, stage: str, number: int = before + k, source: Path = source) -> None:
                where = _("CT {number} of {count}, {name}: {stage}")
                said = where.format(number=number + 1, count=count, name=source.name, stage=stage)
                progress((number + fraction) / count, said)

            yield row_of(source, this.result, *scanning, report)
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def row_of(
    source: Path,
    read: Callable[[], CT],
    model: Model,
    checksum: str,
    device: torch.device,
    precision: Precision,
    report: Progress = silent,
) -> BatchRow:
    """The row of one CT, which ``read`` reads or has read."""
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
        problem = str(error) if known else f"It could not be scanned ({error or type(error).__name__})."
        seconds = round(time.perf_counter() - start, 2)
        return BatchRow(str(source), REFUSED, operating_point=point, problem=problem, model=checksum, seconds=seconds)
    whole = result.densitometry.get("whole")
    return BatchRow(
        source=str(source),
        status=DONE,
        probability=result.probability,
        operating_point=point,
        answer=POSITIVE if result.positive else NEGATIVE,
        laa_950_percent=whole.laa_950_percent if whole else math.nan,
        perc15_hu=whole.perc15_hu if whole else math.nan,
        volume_l=whole.volume_l if whole else math.nan,
        warnings=" | ".join(result.warnings),
        model=checksum,
        seconds=round(time.perf_counter() - start, 2),
    )


COLUMNS = tuple(field.name for field in dataclasses.fields(BatchRow))
_FIGURES = tuple(field.name for field in dataclasses.fields(BatchRow) if field.type == "float")


def _earlier_rows(out: RowFile) -> list[BatchRow]:
    """The whole rows that an earlier run wrote."""
    return [row for cells in out.rows() if (row := _parsed(cells)) is not None]


def _parsed(cells: dict[str, str]) -> BatchRow | None:
    """A row from its cells; None if it is not whole, so that its CT is scanned again."""
    values: dict[str, Any] = dict(cells)
    try:
        values.update({name: float(values[name] or "nan") for name in _FIGURES})
    except ValueError:
        return None
    return BatchRow(**values) if values["status"] in (DONE, REFUSED) else None
