"""What the self-tests scan, and with what."""

import os
from pathlib import Path

import numpy as np
import slicer
import vtk


def modelPath() -> Path:
    """A small model with random weights, fast to run, in Slicer's temporary folder."""
    path = Path(slicer.app.temporaryPath) / "EmphysemaScannerSelfTest.safetensors"
    if not path.exists():
        _saveRandomModel(path)
    return path


def ctPath() -> Path | None:
    """A real CT, if the environment variable EMPHYSEMA_SCANNER_TEST_CT names one."""
    path = os.environ.get("EMPHYSEMA_SCANNER_TEST_CT")
    return Path(path) if path else None


def sceneState() -> dict[str, int]:
    """Node IDs with the time of their last change; the same before and after means that nothing was changed.

    Views are left out, as they follow the size of the window.
    """
    slicer.app.processEvents()
    nodes = [slicer.mrmlScene.GetNthNode(k) for k in range(slicer.mrmlScene.GetNumberOfNodes())]
    return {node.GetID(): node.GetMTime() for node in nodes if not node.IsA("vtkMRMLAbstractViewNode")}


def flipped(volumeNode):
    """The same CT in the same place, with all three array axes stored the other way round."""
    array = slicer.util.arrayFromVolume(volumeNode)
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    flip = np.diag([-1.0, -1.0, -1.0, 1.0])
    flip[:3, 3] = np.array(array.shape[::-1]) - 1
    return slicer.util.addVolumeFromArray(
        array[::-1, ::-1, ::-1].copy(), slicer.util.arrayFromVTKMatrix(matrix) @ flip, "Flipped"
    )


def _saveRandomModel(path: Path) -> None:
    import torch
    from EmphysemaScannerLib.models import modelfile, networks
    from EmphysemaScannerLib.models.modelcard import ModelCard, OperatingPoint
    from EmphysemaScannerLib.models.preprocessing import Preprocessing

    torch.manual_seed(0)
    network = networks.build("conv_lstm", width=4, image_size=32)
    card = ModelCard(
        name="random weights",
        architecture="conv_lstm",
        width=4,
        parameters=networks.keras_parameter_count(network),
        preprocessing=Preprocessing(shape=(35, 32, 32)),
        operating_point=OperatingPoint(0.5, "chosen, not measured"),
        training_data="nothing: the weights are random.",
        trained_on="2026-01-01",
        intended_use="self-tests only.",
        limits="its answer means nothing.",
        demonstration=True,
    )
    modelfile.save(path, network, card)
