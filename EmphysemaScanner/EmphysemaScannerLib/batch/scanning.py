"""How each CT of a batch is scanned, in whatever process: the model is loaded once and kept for the next CT."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from .. import __version__
from ..ct.reading import CT, read_ct
from ..i18n import tr as _
from ..lungs.regions import Masks
from ..lungs.scope import Scope
from ..models.modelheader import read_metadata
from ..scan.device import Device, Precision, choose, take_own_gpu
from .row import BatchError, BatchRow, Scanner, row_of
from .source import Source


@dataclass(frozen=True)
class Scanning:
    """What a process needs to scan a CT; called with a CT's path it returns the CT's row.

    Attributes:
        model_path, checksum: the model file, and what its rows name it by.
        device, precision, objects, measure: as for ``batch.run_batch``.
        version: of EmphysemaScanner where the batch was started.
    """

    model_path: Path
    checksum: str
    device: Device
    precision: Precision
    objects: Path | None = None
    measure: Scope = Scope.HISTOGRAM
    version: str = __version__

    def __call__(self, source: Source) -> BatchRow:
        """The row of a CT that is read here.

        Raises:
            ModelFileError: the model cannot be read here, or has no answer.
            DeviceError: there is no such device here.
            BatchError: another model, or another version of EmphysemaScanner, is here than where the batch was started.
        """
        scanner = _loaded(self, threading.get_ident())
        with ExitStack() as passing:
            reading = partial(read, source, passing)
            return row_of(source.path, source.state(), reading, scanner, expiratory=source.expiratory)


def read(source: Source, passing: ExitStack) -> tuple[CT, Masks]:
    """A CT of a batch, which is copied first where that is asked for, and what its label files hold.

    Args:
        source: the CT.
        passing: what was copied is removed when this is closed; DICOM objects are made of the files, too.
    """
    files = passing.enter_context(source.files())
    return read_ct(files), source.masks.read()


@lru_cache(maxsize=8)
def _loaded(scanning: Scanning, _thread: int) -> Scanner:
    """The scanner of one thread, since a scan may move its network."""
    from ..models.modelfile import load

    if scanning.version != __version__:
        raise BatchError(
            _("The batch was started by EmphysemaScanner {here}, and a worker has {there}; install the same version.")
            .format(here=scanning.version, there=__version__)
        )  # fmt: skip
    if read_metadata(scanning.model_path).get("sha256", "") != scanning.checksum:
        raise BatchError(
            _("'{path}' is another model for a worker than where the batch was started; give a path that all share.")
            .format(path=scanning.model_path)
        )  # fmt: skip
    model, device = load(scanning.model_path), choose(scanning.device)
    take_own_gpu()
    return Scanner(model, scanning.checksum, device, scanning.precision, scanning.objects, scanning.measure)
