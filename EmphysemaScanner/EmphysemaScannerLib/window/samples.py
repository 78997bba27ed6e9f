"""The sample cases in Slicer: in the window, and in the module Sample Data."""

from __future__ import annotations

from typing import Any

import slicer

from ..core.samples import SAMPLES
from ..scene.views import use_lung_window
from ..scene.volumes import volume_node_from_image

CATEGORY = "Emphysema Scanner"


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
    use_lung_window(node)
    return node


def register() -> None:
    """Offer the sample cases in the module Sample Data."""
    try:
        from SampleData import SampleDataLogic
    except ModuleNotFoundError:  # a Slicer that was built without it
        return
    for sample in SAMPLES:
        SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            thumbnailFileName=str(sample.thumbnail),
            uris=[],  # nothing is downloaded
            fileNames=[],
            customDownloader=_load_and_show,
        )


def _load_and_show(source: Any) -> Any:
    """What the button of the module Sample Data does."""
    node = load(source.sampleName)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
