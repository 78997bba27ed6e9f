"""Having the Python packages that a piece of work needs, installed at the point of use, the user asked first."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from enum import Enum

import slicer

from ..base.errors import EmphysemaScannerError
from ..i18n import tr as _


class Need(Enum):
    """What a piece of work needs besides PyTorch and what Slicer itself brings: import names and requirements."""

    SCAN = (("safetensors", "safetensors>=0.4.5"),)
    ATTRIBUTION = (*SCAN, ("captum", "captum>=0.9"))
    PLOTS = (("matplotlib", "matplotlib>=3.8"),)
    REPORT = (*PLOTS, ("jinja2", "jinja2>=3.1"), ("typst", "typst>=0.15"))
    DICOM = (*REPORT, ("highdicom", "highdicom>=0.27"))
    LEARNING = (
        *SCAN,
        *REPORT,
        ("lightning", "lightning>=2.4"),
        ("sklearn", "scikit-learn>=1.4"),
        ("typer", "typer>=0.12"),
        ("rich", "rich>=13"),
    )


class PackagesMissingError(EmphysemaScannerError):
    """A Python package that the work needs is not installed."""


def torch_is_there() -> bool:
    """Whether PyTorch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def ensure(need: Need, torch: bool = True) -> None:
    """Have what is needed installed, asking the user first.

    Raises:
        PackagesMissingError: PyTorch is not there, or the user or the network refused the rest.
    """
    if torch and not torch_is_there():
        raise PackagesMissingError(_("PyTorch is not installed; press Install PyTorch in the module's window."))
    if not _missing(need):
        return
    requirements = [requirement for _name, requirement in need.value]
    try:
        _install(requirements)
    except RuntimeError as refused:
        raise PackagesMissingError(
            _("This needs Python packages that were not installed: {packages}.").format(
                packages=", ".join(_missing(need))
            )
        ) from refused
    if _missing(need):
        raise PackagesMissingError(
            _("This needs the Python packages {packages}; try again, and accept their installation.").format(
                packages=", ".join(_missing(need))
            )
        )


def install_torch() -> None:
    """Install PyTorch for this computer through the PyTorch extension, asking the user first.

    Raises:
        PackagesMissingError: the PyTorch extension is not there.
    """
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ModuleNotFoundError as error:
        raise PackagesMissingError(
            _("The PyTorch extension is not installed; install it with the Extensions Manager and restart Slicer.")
        ) from error
    PyTorchUtilsLogic().installTorch(askConfirmation=True)


def _missing(need: Need) -> list[str]:
    return [name for name, _requirement in need.value if importlib.util.find_spec(name) is None]


def _install(requirements: Sequence[str]) -> None:
    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # Slicer 5.10
        slicer.util.pip_install(" ".join(requirements))
    else:
        pip_ensure(list(requirements), requester="Emphysema Scanner")
