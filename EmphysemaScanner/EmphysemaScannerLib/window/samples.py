"""The sample cases in Slicer: in the window, and in the module Sample Data."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import slicer

from .. import __version__
from ..scene.views import CTWindow, use_window
from ..scene.volumes import volume_node_from_image
from ..simulator.samples import SAMPLES

CATEGORY = "Emphysema Scanner"
SCHEME = "emphysema-scanner:"


def names() -> list[str]:
    """Of the sample cases."""
    return [sample.name for sample in SAMPLES]


def load(name: str) -> Any:
    """Load a sample case, in a lung window; it is made on this computer in a few seconds, nothing is downloaded.

    Returns:
        Its volume node.

    Raises:
        UnreadableInputError: this installation lacks the file.
    """
    sample = next(sample for sample in SAMPLES if sample.name == name)
    node = volume_node_from_image(sample.make(), sample.name, slicer.mrmlScene)
    use_window(node, CTWindow.LUNG)
    return node


def register() -> None:
    """Offer the sample cases in the module Sample Data."""
    try:
        from SampleData import SampleDataLogic
    except ModuleNotFoundError:  # a Slicer that was built without it
        return
    # Loaded by name, a sample is always fetched from a URL, whatever its customDownloader (Slicer's source).
    if hasattr(SampleDataLogic, "registerUrlRewriteRule"):
        SampleDataLogic.registerUrlRewriteRule(CATEGORY, local_url)
    for sample in SAMPLES:
        key = sample.thumbnail.stem
        SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            nodeNames=sample.name,
            thumbnailFileName=str(sample.thumbnail),
            uris=SCHEME + key,
            fileNames=f"EmphysemaScanner-{__version__}-{key}.nrrd",  # Slicer's cache keeps it: not over versions
            loadFileTypes="VolumeFile",
            customDownloader=_load_and_show,
        )


def local_url(url: str) -> str:
    """Where Slicer finds what it is to download: a sample case is made, any other URL stays as it is.

    Raises:
        UnreadableInputError: this installation lacks the file of the sample case.
    """
    for sample in SAMPLES:
        key = sample.thumbnail.stem
        if url == SCHEME + key:
            path = Path(_folder().name) / f"{key}.nrrd"
            sitk.WriteImage(sample.make(), str(path), useCompression=True)
            return path.as_uri()
    return url


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """For this session."""
    return tempfile.TemporaryDirectory(prefix="EmphysemaScanner-")


def _load_and_show(source: Any) -> Any:
    """What the button of the module Sample Data does."""
    node = load(source.sampleName)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
