"""The user's choices as Slicer's parameter node keeps them with the scene."""

from pathlib import Path
from typing import Annotated, Union

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from ..scene.charts import Chart
from ..scene.colours import ColourMap
from ..scene.overlays import Drawing, Overlay
from ..scene.views import CTWindow


@parameterNodeWrapper
class EmphysemaScannerParameterNode:
    """The user's choices; they are saved with the scene, so a renamed field breaks saved scenes."""

    inputVolume: vtkMRMLScalarVolumeNode
    expiratoryVolume: vtkMRMLScalarVolumeNode
    modelPath: Path
    ctWindow: CTWindow = CTWindow.LUNG
    overlay: Overlay = Overlay.DISEASE
    overlayVisible: bool = True
    overlayDrawing: Drawing = Drawing.FILL
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = 0.5
    overlayThreshold: Annotated[float, WithinRange(0, 1)] = 0.1
    overlayColours: ColourMap = ColourMap.STANDARD
    chart: Chart = Chart.PROBABILITY
    # Slicer's wrapper takes no other kind of union.
    lungsNode: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None] = None  # noqa: UP007
    lobesNode: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None] = None  # noqa: UP007
