"""One CT of a batch as a row of its table: scanned, or refused with the reason."""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import EmphysemaScannerError, ModelFileError, ScanCancelled
from ..base.progress import Progress, silent
from ..base.rowfile import Cells, RowFile
from ..i18n import tr as _
from ..lungs.expiration import ExpiratoryPair, PairFigures
from ..lungs.regions import LOBES
from ..lungs.scope import Scope
from ..scan.device import Precision, scan_on
from ..scan.pair import Expiratory, read_expiratory, scan_pair
from .figures import FIGURES, figures_of

if TYPE_CHECKING:
    import torch

    from ..ct.reading import CT
    from ..lungs.regions import Masks
    from ..models.modelcard import ModelCard
    from ..models.modelfile import Model
    from ..scan.result import ScanResult

DONE, REFUSED = "done", "refused"
_LONGEST_HEADER = 1 << 20  # characters


@dataclass(frozen=True, eq=False)
class Scanner:
    """How the CTs of a batch are scanned in this process.

    Attributes:
        model: the model, with its weights.
        checksum: SHA-256 of the model file.
        device: where the network runs.
        precision: numerical precision of the network.
        objects: the folder that gets a folder of DICOM objects for each CT; None if none are wanted.
        measure: how much is measured.
    """

    model: Model
    checksum: str
    device: torch.device
    precision: Precision
    objects: Path | None = None
    measure: Scope = Scope.HISTOGRAM


class BatchError(EmphysemaScannerError):
    """The CTs cannot be listed, or the CSV cannot be written."""


@dataclass(frozen=True)
class BatchRow:
    """One CT of a batch: a line of the CSV; columns are the attributes and the keys of ``lobes`` and ``further``.

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
        seconds: waiting for the file and scanner.
        input_state: of its files when it was read, as ``source.Source.state`` gives it.
        dicom_objects: the folder with its DICOM objects; "" where none were written.
        dicom_problem: why none were written although they were wanted.
        lung_mask: whose lung mask was used, a value of ``regions.MaskKind``; "" when refused.
        lobe_mask: whose lobes; "" without lobes.
        expiratory_ratio: lung volume of the CT in expiration over that of this CT; NaN without one, as the next.
        air_trapping_percent: share of the expiratory lungs below -856 HU.
        prm_emphysema_percent, prm_small_airways_percent, prm_normal_percent: classes of the parametric response map.
        expiratory_problem: what is missing or doubtful of the CT in expiration, separated by " | ".
        lobes: figures of the lobes by their columns, ``LOBE_COLUMNS``, as far as they are known.
        measure: how much was measured, a value of ``scope.Scope``; "" in rows of tables without the further columns.
        further: the further figures by their columns, ``FURTHER_COLUMNS``, as far as they are known.
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
    dicom_objects: str = ""
    dicom_problem: str = ""
    lung_mask: str = ""
    lobe_mask: str = ""
    expiratory_ratio: float = math.nan
    air_trapping_percent: float = math.nan
    prm_emphysema_percent: float = math.nan
    prm_small_airways_percent: float = math.nan
    prm_normal_percent: float = math.nan
    expiratory_problem: str = ""
    lobes: Mapping[str, float] = field(default_factory=dict)
    measure: str = ""
    further: Mapping[str, float] = field(default_factory=dict)

    def cells(self, columns: Sequence[str]) -> tuple[object, ...]:
        """The line's values in these columns, some of ``columns_of``."""
        figures = {**self.lobes, **self.further}
        return tuple(getattr(self, name) if name in _OWN_COLUMNS else figures.get(name, math.nan) for name in columns)


LOBE_FIGURES = ("laa_950_percent", "perc15_hu", "volume_l", "disease_extent_percent", "evidence_share_percent")
LOBE_COLUMNS = tuple(f"{lobe.value}_{figure}" for lobe in LOBES for figure in LOBE_FIGURES)
_FURTHER = ("measure", "further")
_ATTRIBUTES = tuple(field.name for field in dataclasses.fields(BatchRow) if field.name not in ("lobes", *_FURTHER))
_OWN_COLUMNS = frozenset((*_ATTRIBUTES, "measure"))
COLUMNS = (*_ATTRIBUTES, *LOBE_COLUMNS)
FURTHER_FIGURES = tuple(figure for figure in FIGURES if figure.column not in COLUMNS)
FURTHER_COLUMNS = tuple(figure.column for figure in FURTHER_FIGURES)
_PAIR_COLUMNS = _ATTRIBUTES[_ATTRIBUTES.index("expiratory_ratio") :]
_FIGURES = tuple(field.name for field in dataclasses.fields(BatchRow) if field.type == "float")


def refused_row(
    source: Path, problem: str, card: ModelCard, checksum: str, input_state: str, measure: Scope
) -> BatchRow:
    """The row of a CT that could not be scanned; the arguments are named as the row's columns are."""
    return BatchRow(
        source=str(source),
        status=REFUSED,
        operating_point=card.operating_point.probability,
        problem=problem,
        model=checksum,
        input_state=input_state,
        measure=measure.value,
    )


def row_of(
    source: Path,
    input_state: str,
    read: Callable[[], tuple[CT, Masks]],
    scanner: Scanner,
    report: Progress = silent,
    expiratory: Path | None = None,
) -> BatchRow:
    """The row of one CT, which ``read`` reads or has read with its masks, and the state its files were in before.

    Args:
        source: the CT's path, which names the row.
        input_state: of its files, as from ``state_of``.
        read: reads the CT; what it raises becomes a row of a refused CT.
        scanner: how.
        report: called with the share done (0 to 1) and the stage.
        expiratory: the patient's CT in expiration; what is wrong with it refuses nothing.
    """
    start = time.perf_counter()
    try:
        report(0.0, _("Reading the file"))
        ct, masks = read()
        scanned = partial(_scanned, scanner, ct, source.name, masks)
        if expiratory is None:
            result = scanned(report)
        else:
            result = scan_pair(scanned, ct.image, _second(expiratory, ct), report)
    except (ScanCancelled, ModelFileError):
        raise
    except (EmphysemaScannerError, OSError, RuntimeError, MemoryError) as error:
        # RuntimeError is ITK's and PyTorch's: one CT that they cannot handle must not end a night's work.
        known = isinstance(error, EmphysemaScannerError)
        problem = str(error) if known else f"It could not be scanned ({error or type(error).__name__})."
        refused = refused_row(source, problem, scanner.model.card, scanner.checksum, input_state, scanner.measure)
        return dataclasses.replace(refused, seconds=round(time.perf_counter() - start, 2))
    objects, missing = _write_objects(ct, result, scanner.objects, report)
    whole = result.densitometry.get("whole")
    return BatchRow(
        source=str(source),
        status=DONE,
        probability=result.probability,
        operating_point=scanner.model.card.operating_point.probability,
        call=result.call.value,
        call_reason=result.call_reason,
        laa_950_percent=whole.laa_950_percent if whole else math.nan,
        perc15_hu=whole.perc15_hu if whole else math.nan,
        volume_l=whole.volume_l if whole else math.nan,
        warnings=" | ".join(result.warnings),
        model=scanner.checksum,
        seconds=round(time.perf_counter() - start, 2),
        input_state=input_state,
        dicom_objects=objects,
        dicom_problem=missing,
        lung_mask=result.lungs_from.kind.value,
        lobe_mask="" if result.lobes_from is None else result.lobes_from.kind.value,
        lobes=_lobes_of(result),
        measure=scanner.measure.value,
        further=figures_of(result),
        **_pair_of(result.expiration),
    )


def _scanned(scanner: Scanner, ct: CT, name: str, masks: Masks, report: Progress) -> ScanResult:
    return scan_on(
        scanner.device,
        ct,
        scanner.model,
        report,
        name,
        precision=scanner.precision,
        masks=masks,
        measure=scanner.measure,
    )


def _second(path: Path, ct: CT) -> Expiratory | ExpiratoryPair:
    """A CT's partner in expiration, or why it cannot be used."""
    try:
        return read_expiratory(path, ct)
    except (EmphysemaScannerError, OSError, RuntimeError) as error:  # RuntimeError is ITK's
        return ExpiratoryPair(missing=_("The expiratory CT could not be used: {why}").format(why=str(error)))


def _pair_of(pair: ExpiratoryPair | None) -> dict[str, Any]:
    """The columns of a CT in expiration."""
    if pair is None:
        return {}
    whole = pair.regions.get("whole", PairFigures())
    return {
        "expiratory_ratio": whole.volume_ratio,
        "air_trapping_percent": whole.air_trapping_percent,
        "prm_emphysema_percent": whole.prm_emphysema_percent,
        "prm_small_airways_percent": whole.prm_small_airways_percent,
        "prm_normal_percent": whole.prm_normal_percent,
        "expiratory_problem": " | ".join((*filter(None, [pair.missing]), *pair.warnings)),
    }


def _lobes_of(result: ScanResult) -> dict[str, float]:
    found: dict[str, float] = {}
    for lobe in LOBES:
        region = result.densitometry.get(lobe.value)
        if region is not None:
            figures = (
                region.laa_950_percent,
                region.perc15_hu,
                region.volume_l,
                result.disease_extent_percent.get(lobe.value, math.nan),
                result.evidence_share_percent.get(lobe.value, math.nan),
            )
            found |= {f"{lobe.value}_{name}": value for name, value in zip(LOBE_FIGURES, figures, strict=True)}
    return found


def _write_objects(ct: CT, result: ScanResult, folder: Path | None, report: Progress) -> tuple[str, str]:
    """The folder with a CT's DICOM objects, or why there are none; "" and "" where none are wanted."""
    if folder is None:
        return "", ""
    from ..archive.writing import check_can_write, write_objects

    assert result.run is not None
    try:
        volume = check_can_write(ct.volume)
        report(1.0, _("Writing the DICOM objects"))
        own = folder / f"ct-{result.run.input_sha256[:16]}"
        write_objects(result, volume, own)
    except ScanCancelled:
        raise
    except (EmphysemaScannerError, OSError) as error:  # the answer is there, and the batch goes on
        return "", str(error)
    return str(own), ""


def columns_of(measure: Scope) -> tuple[str, ...]:
    """The columns of a table for what is measured."""
    return COLUMNS if measure is Scope.HISTOGRAM else (*COLUMNS, "measure", *FURTHER_COLUMNS)


def row_file(path: Path, measure: Scope = Scope.HISTOGRAM) -> RowFile:
    """The table at ``path``, with the columns of earlier versions understood.

    Args:
        path: of the CSV; it may not be there yet.
        measure: what the table must have columns for. A table that has the further columns keeps them.
    """
    columns = columns_of(Scope.ALL if _has_further_columns(path) else measure)
    masks = ("lung_mask", "lobe_mask")
    later = ("call_reason", "input_state", "dicom_objects", "dicom_problem", *masks, *_PAIR_COLUMNS)
    later += (*LOBE_COLUMNS, "measure", *FURTHER_COLUMNS)
    return RowFile(path, columns, ("source", "model"), "batch", BatchError, later, renamed={"answer": "call"})


def _has_further_columns(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return "measure" in next(csv.reader([file.readline(_LONGEST_HEADER)]), [])
    except (OSError, UnicodeDecodeError, csv.Error):  # RowFile finds what it is instead
        return False


def parsed(cells: Cells) -> BatchRow | None:
    """A row from its cells; None if it is not whole, so that its CT is scanned again."""
    values: dict[str, Any] = {name: cells[name] for name in _ATTRIBUTES}
    try:
        values.update({name: float(values[name] or "nan") for name in _FIGURES})
        values["lobes"] = {name: float(cells[name]) for name in LOBE_COLUMNS if cells[name]}
        values["further"] = {name: float(cells[name]) for name in FURTHER_COLUMNS if cells.get(name)}
    except ValueError:
        return None
    values["measure"] = cells.get("measure", "")
    return BatchRow(**values) if values["status"] in (DONE, REFUSED) else None
