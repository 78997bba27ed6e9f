"""What a result came from, so that it can be made again: versions, model, parameters and the CT's checksum."""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata

from .. import __version__

PACKAGES = ("numpy", "scipy", "SimpleITK", "torch", "pydicom")
"""Those whose version can change a figure of a result."""


@dataclass(frozen=True)
class RunManifest:
    """The record of one scan.

    Attributes:
        software: version of EmphysemaScanner.
        model_sha256: the checksum that the model's file states; "" for a model that was not read from a file.
        input_sha256: of the CT's voxels, as ``ct.grid.voxels_sha256`` gives it.
        device: where the network ran, such as "cpu" or "cuda:0".
        precision: what its convolutions were calculated in, such as "float32".
        started: date and time of the scan, ISO 8601, UTC.
        python, system: versions of Python and of the operating system.
        packages: versions by name.
    """

    software: str
    model_sha256: str
    input_sha256: str
    device: str
    precision: str
    started: str
    python: str = ""
    system: str = ""
    packages: dict[str, str] = field(default_factory=dict)


def run_manifest(model_sha256: str, input_sha256: str, device: str, precision: str) -> RunManifest:
    """The record of a scan that is being made now, by this process; the arguments are its attributes."""
    return RunManifest(
        software=__version__,
        model_sha256=model_sha256,
        input_sha256=input_sha256,
        device=device,
        precision=precision,
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages=versions(PACKAGES),
    )


def versions(names: Sequence[str]) -> dict[str, str]:
    """The versions of those of some packages that are installed."""
    found = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = _version(name)
    return found


@functools.cache
def _version(name: str) -> str:
    """Of a package that is installed; reading it takes longer than checking a CT, and it stays while the process runs.

    Raises:
        PackageNotFoundError: it is not; it may be later.
    """
    return metadata.version(name)
