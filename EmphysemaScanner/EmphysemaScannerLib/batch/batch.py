"""Many CTs through one model into one CSV, a row a CT as they finish; a batch that was stopped goes on there."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..base.lists import SUFFIXES, ListRow, read_list
from ..base.progress import Progress, silent
from ..base.rowfile import one_line
from ..ct.reading import IMAGE_SUFFIXES, ct_series, read_ct
from ..i18n import tr as _
from ..lungs.labelfiles import NO_FILES, MaskFiles
from ..lungs.regions import RegionError, parse_labels
from ..models.modelheader import read_metadata
from ..scan.call import Call
from ..scan.device import Device, Precision, choose
from .inputstate import state_of, visible_files
from .row import DONE, REFUSED, BatchError, BatchRow, parsed, row_file, row_of

if TYPE_CHECKING:
    import torch

    from ..ct.reading import CT
    from ..lungs.regions import Masks
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


def _mask_files(folder: Path, row: ListRow) -> MaskFiles:
    paths: list[Path | None] = []
    for name in ("lungs", "lobes"):
        value = row.values.get(name)
        paths.append(_plain(folder / value) if value else None)
        if value and not (folder / value).is_file():
            raise BatchError(f"{row.where}: there is no label file '{value}'; correct the column {name}.")
    labels = [row.values.get(name, "") for name in ("lung_labels", "lobe_labels")]
    try:
        files = MaskFiles(paths[0], paths[1], labels[0], labels[1])
        for text in labels:
            parse_labels(text)
    except RegionError as error:
        raise BatchError(f"{row.where}: {error}") from error
    return files


def read_with_masks(source: Path, files: MaskFiles) -> tuple[CT, Masks]:
    """A CT and what its label files hold."""
    return read_ct(source), files.read()


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
    masks: Mapping[Path, MaskFiles] = MappingProxyType({}),
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
        masks: label files by CT, as ``find_masks`` gives them; of another CT the lungs are found.
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
    with row_file(out_csv).growing() as table:
        earlier = {row.source: row for row in map(parsed, table.rows) if row is not None and row.model == checksum}
        kept: list[BatchRow] = []
        remaining: dict[Path, str] = {}
        for source in sources:
            progress(0.0, _("Checking which CTs have changed"))
            state, row = _state(source, masks.get(source, NO_FILES)), earlier.get(one_line(str(source)))
            if row is not None and _stands(row, state, retry):
                kept.append(row)
                on_row(row)
            else:
                remaining[source] = state
        inputs = {source: (state, masks.get(source, NO_FILES)) for source, state in remaining.items()}
        if processes == 1:
            coming = _rows_here(inputs, len(kept), len(sources), (model, checksum, chosen, precision), progress)
        else:
            from .batchpool import rows_from_processes

            def still_wanted(count: int) -> None:
                finished = len(kept) + count
                said = _("{done} of {count} CTs are done").format(done=finished, count=len(sources))
                progress(finished / len(sources), said)

            coming = rows_from_processes(inputs, processes, model_path, checksum, device, precision, still_wanted)
        rows = list(kept)
        with contextlib.closing(coming):
            for row in coming:
                table.add([row.cells()])
                rows.append(row)
                on_row(row)
    done = [row for row in rows if row.status == DONE]
    positive, no_call = (sum(row.call == call.value for row in done) for call in (Call.POSITIVE, Call.NONE))
    refused_before = sum(row.status == REFUSED for row in kept)
    return BatchSummary(len(done), len(rows) - len(done), positive, no_call, len(kept), refused_before, out_csv)


def _state(ct: Path, files: MaskFiles) -> str:
    """Of a CT's files and its label files; "" where the CT's are not there."""
    state = state_of(ct)
    if not state or not files:
        return state
    parts = [state, files.lung_labels, files.lobe_labels]
    parts += ["" if path is None else state_of(path) for path in (files.lungs, files.lobes)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _stands(row: BatchRow, state: str, retry: bool) -> bool:
    """Whether an earlier row still holds of a CT whose files are in this state."""
    if row.status == REFUSED and retry:
        return False
    gone = not state  # as on a disk that is not mounted today: no reason to lose the answer
    return row.input_state == state or (row.status == DONE and gone)


def _rows_here(
    inputs: Mapping[Path, tuple[str, MaskFiles]],
    before: int,
    count: int,
    scanning: tuple[Model, str, torch.device, Precision],
    progress: Progress,
) -> Generator[BatchRow, None, None]:
    """The rows of CTs (by path, with the state of their files, and label files) one after the other; the next one is
    read meanwhile.
    """
    reader, sources = ThreadPoolExecutor(1), list(inputs)
    try:
        following = [reader.submit(read_with_masks, source, inputs[source][1]) for source in sources[:1]]
        for k, source in enumerate(sources):
            this = following.pop()
            following = [reader.submit(read_with_masks, after, inputs[after][1]) for after in sources[k + 1 : k + 2]]

            def report(fraction: float, stage: str, number: int = before + k, source: Path = source) -> None:
                where = _("CT {number} of {count}, {name}: {stage}")
                said = where.format(number=number + 1, count=count, name=source.name, stage=stage)
                progress((number + fraction) / count, said)

            yield row_of(source, inputs[source][0], this.result, *scanning, report)
    finally:
        reader.shutdown(wait=False, cancel_futures=True)
