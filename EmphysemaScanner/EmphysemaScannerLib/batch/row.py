"""One CT of a batch as a row of its table: scanned, or refused with the reason."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import EmphysemaScannerError, ModelFileError, ScanCancelled
from ..base.progress import Progress, silent
from ..base.rowfile import Cells, RowFile
from ..i18n import tr as _
from ..scan.device import Precision, scan_on

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
        call: a value of ``scan.call.Call``; "" when refused.
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


COLUMNS = tuple(field.name for field in dataclasses.fields(BatchRow))
_FIGURES = tuple(field.name for field in dataclasses.fields(BatchRow) if field.type == "float")


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
    """The row of one CT, which ``read`` reads or has read, with the state that its files were in before.

    Args:
        source: the CT's path, which names the row.
        input_state: of its files, as from ``state_of``.
        read: reads the CT; what it raises becomes a row of a refused CT.
        model: the model, with its weights.
        checksum: SHA-256 of the model file.
        device: where the network runs.
        precision: numerical precision of the network.
        report: called with the share done (0 to 1) and the stage.
    """
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


def row_file(path: Path) -> RowFile:
    """The table at ``path``, with the columns of earlier versions understood."""
    later = ("call_reason", "input_state")
    return RowFile(path, COLUMNS, ("source", "model"), "batch", BatchError, later, renamed={"answer": "call"})


def parsed(cells: Cells) -> BatchRow | None:
    """A row from its cells; None if it is not whole, so that its CT is scanned again."""
    values: dict[str, Any] = dict(cells)
    try:
        values.update({name: float(values[name] or "nan") for name in _FIGURES})
    except ValueError:
        return None
    return BatchRow(**values) if values["status"] in (DONE, REFUSED) else None
