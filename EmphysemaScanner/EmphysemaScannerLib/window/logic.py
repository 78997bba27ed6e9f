"""The module's logic: the same work for the window and for the Python console. Loading it needs no PyTorch."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from ..base.errors import EmphysemaScannerError
from ..base.progress import Progress
from ..i18n import tr as _
from ..jobs.worker import shared_worker
from ..lungs.scope import Scope
from ..models.modelfolder import default_model_path
from ..scan.device import Device, Precision
from ..scene.colours import ColourMap
from ..scene.overlays import Drawing, Overlay
from .parameters import EmphysemaScannerParameterNode

if TYPE_CHECKING:
    from ..archive.kinds import ObjectKind
    from ..batch.batch import BatchSummary
    from ..batch.row import BatchRow
    from ..evaluation.compare import Comparison, ModelFigures
    from ..followup.followup import FollowUp
    from ..followup.saving import FollowUpKind
    from ..jobs.process import BackgroundProcess
    from ..report.saving import Kind
    from ..scan.attribution import Attribution
    from ..scan.result import ScanResult
    from ..scene.pairs import FollowUpNodes
    from ..scene.result import ResultNodes
    from .masknodes import MaskNodes


class EmphysemaScannerLogic(ScriptedLoadableModuleLogic):
    """The same work for the window and for the Python console; to be called on the main thread.

    Whatever takes long waits while the window stays alive, reports to ``progress`` the share done (0 to 1) and the
    stage, can be ended by ``cancel`` (also from ``progress``), and raises

    - ``ScanCancelled``: it was cancelled, or Slicer is closing;
    - ``VolumeRemovedError``: the CT left the scene in the meantime;
    - ``PackagesMissingError``: PyTorch or another package is not installed;
    - another ``EmphysemaScannerError``: anything else that the user can do something about; the message says what.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        # Results by the ID of their CT's node, for show(result).
        self._scanned: weakref.WeakValueDictionary[str, ScanResult] = weakref.WeakValueDictionary()

    def getParameterNode(self) -> EmphysemaScannerParameterNode:
        """The scene's parameter node in the type that names this module's parameters."""
        return EmphysemaScannerParameterNode(super().getParameterNode())  # type: ignore[call-arg] # by its decorator

    def load(self, series: str) -> vtkMRMLScalarVolumeNode:
        """A CT of Slicer's DICOM database as a volume node; loaded only if it is not in the scene already.

        Args:
            series: SeriesInstanceUID.
        """
        from . import dicomdatabase

        return dicomdatabase.ct_of(series)

    def addToDatabase(self, folder: Path | str) -> int:
        """Copy the DICOM objects in a folder, as ``save`` writes them, into Slicer's DICOM database.

        They join the CT's study there. Repeating it changes nothing.

        Args:
            folder: that was saved to.

        Returns:
            How many objects there are.
        """
        from . import dicomdatabase

        return dicomdatabase.add(Path(folder))

    def scan(  # the window's choices
        self,
        volumeNode: vtkMRMLScalarVolumeNode | str,
        modelPath: Path | str | None = None,
        device: Device = Device.AUTO,
        precision: Precision = Precision.AUTO,
        progress: Progress | None = None,
        measure: Scope = Scope.HISTOGRAM,
        masks: MaskNodes | None = None,
        expiratory: vtkMRMLScalarVolumeNode | None = None,
    ) -> ScanResult:
        """Ask a model about a chest CT; changes nothing in the scene.

        Args:
            volumeNode: a CT in HU, in any orientation, under any transform; or the SeriesInstanceUID of one in Slicer's
                DICOM database, which is loaded first, as ``load`` does.
            modelPath: a model file; the bundled model if None.
            device: where the network runs.
            precision: with how many bits it calculates.
            progress: told the share done and the stage.
            measure: how much is measured beside densitometry.
            masks: segmentations or label maps to use as lung mask and as lobes; the lungs are found if None.
            expiratory: a CT of the same patient in expiration, for air trapping and the parametric response map. Where
                it cannot be used, ``ScanResult.expiration`` states why.

        Raises:
            PairError: it is the same CT, or DICOM states another patient.
        """
        from . import longwork
        from .masknodes import NO_NODES

        if isinstance(volumeNode, str):
            volumeNode = self.load(volumeNode)
        chosen = masks or NO_NODES
        path = self._model(modelPath)
        result = longwork.scan(volumeNode, path, device, precision, progress, measure, chosen, expiratory)
        self._scanned[volumeNode.GetID()] = result
        return result

    def remeasure(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        masks: MaskNodes | None = None,
        progress: Progress | None = None,
    ) -> ScanResult:
        """Measure a scanned CT again, in the lung mask that is in the scene now, and renew every figure and chart.

        The network is not asked again, so this needs no PyTorch and takes a few seconds. A lung mask that was edited
        in Segment Editor counts before ``masks.lungs``.

        Args:
            volumeNode: a CT that was scanned and shown.
            masks: other segmentations or label maps to use as lung mask and as lobes; no lobes if None.
            progress: told the share done and the stage.

        Raises:
            RemeasureError: the model's answer depends on the lung mask; scan again with ``masks.lungs``.
        """
        result = self.remeasured(volumeNode, masks, progress)
        self.show(result, volumeNode)
        return result

    def remeasured(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        masks: MaskNodes | None = None,
        progress: Progress | None = None,
    ) -> ScanResult:
        """The result of ``remeasure``; changes nothing in the scene."""
        from . import longwork
        from .masknodes import NO_NODES

        return longwork.remeasure(volumeNode, masks or NO_NODES, progress)

    def show(self, result: ScanResult, volumeNode: vtkMRMLScalarVolumeNode | None = None) -> ResultNodes:
        """Put a result into the scene beside its CT: overlays, lungs, tables and charts; whole or not at all.

        Args:
            result: what ``scan`` answered.
            volumeNode: its CT; the one that ``scan`` was given if None.
        """
        from ..scene.result import show_result

        if volumeNode is None:
            nodeId = next((key for key, known in self._scanned.items() if known is result), None)
            volumeNode = None if nodeId is None else slicer.mrmlScene.GetNodeByID(nodeId)
        if volumeNode is None:
            raise EmphysemaScannerError(_("It is not known which CT this result is of; name its volume node."))
        nodes = show_result(result, volumeNode, slicer.mrmlScene)
        self.setOverlay(volumeNode)
        return nodes

    def setOverlay(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        overlay: Overlay | None = None,
        visible: bool = True,
        opacity: float = 0.5,
        threshold: float = 0.1,
        colours: ColourMap = ColourMap.STANDARD,
        drawing: Drawing = Drawing.FILL,
    ) -> ResultNodes | None:
        """Show a scanned CT in all slice views, with an overlay or without; return its result, or None without one.

        Args:
            volumeNode: the CT.
            overlay: what lies over it; nothing where the result has no such overlay, and the first that it has if None.
            visible: whether the overlay is shown.
            opacity: how strongly it covers the CT (0 to 1).
            threshold: values below this share (0 to 1) of the colour range are not drawn.
            colours: of the overlay and its legend.
            drawing: filled, or the outline of where the values reach the threshold.
        """
        from ..scene import views

        nodes = self.find(volumeNode)
        if nodes is not None:
            overlay = overlay or views.first_overlay(nodes)
            shown = overlay if visible and overlay in nodes.overlays else None
            views.draw_overlay(nodes, shown, drawing, opacity, threshold, colours)
        return nodes

    def find(self, volumeNode: vtkMRMLScalarVolumeNode) -> ResultNodes | None:
        """The nodes of a CT's result that is in the scene, e.g. after a saved scene was opened; needs no PyTorch."""
        from ..scene.result import find_result

        return find_result(volumeNode)

    def result(self, volumeNode: vtkMRMLScalarVolumeNode) -> ScanResult | None:
        """A CT's result from the scene; None if it has none. Needs no PyTorch."""
        from ..scene.result import result_of

        nodes = self.find(volumeNode)
        return None if nodes is None else result_of(nodes)

    def attribute(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        modelPath: Path | str | None = None,
        device: Device = Device.AUTO,
        progress: Progress | None = None,
    ) -> Attribution:
        """Which voxels moved a scanned CT's answer (integrated gradients), as one more overlay of its result.

        The lungs are those of the result, whoever made the mask.

        Args:
            volumeNode: a CT that was scanned and shown.
            modelPath: as for ``scan``; the model must be the one that answered.
            device: as for ``scan``.
            progress: as for ``scan``.
        """
        from . import longwork

        return longwork.attribute(volumeNode, self._model(modelPath), device, progress)

    def save(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        folder: Path | str,
        kinds: set[Kind] | None = None,
        scene: bool = False,
        progress: Progress | None = None,
        named: bool = False,
        objects: frozenset[ObjectKind] = frozenset(),
    ) -> list[Path]:
        """Write a CT's result from the scene into a folder; what is there already and not ours is never overwritten.

        Args:
            volumeNode: a CT whose result is in the scene.
            folder: a new or empty one, or one with results of this module, which are replaced.
            kinds: what to write; everything if None.
            scene: whether the whole scene is written too, as scene.mrb.
            progress: told the share done and the stage.
            named: whether reports call the CT by its node's name, which may name a patient. A scene always does.
            objects: which DICOM objects are written too, into the subfolder "dicom"; for a CT that Slicer loaded from
                its DICOM database and that was not changed since.

        Returns:
            The files.
        """
        from . import longwork

        return longwork.save(volumeNode, Path(folder), kinds, scene, progress, named, objects)

    def followup(
        self,
        volumeNodes: Sequence[vtkMRMLScalarVolumeNode],
        dates: Sequence[date | str | None] | None = None,
        modelPath: Path | str | None = None,
        device: Device = Device.AUTO,
        precision: Precision = Precision.AUTO,
        progress: Progress | None = None,
    ) -> FollowUp:
        """Compare two or more CTs of one patient over time; changes nothing in the scene.

        Args:
            volumeNodes: CTs in HU, in any order.
            dates: their days, such as "2024-03-01", in the same order; None for those that DICOM states.
            modelPath: as for ``scan``.
            device: as for ``scan``.
            precision: as for ``scan``.
            progress: as for ``scan``.
        """
        from . import followupwork

        return followupwork.follow_up(volumeNodes, dates, self._model(modelPath), device, precision, progress)

    def showFollowUp(self, followUp: FollowUp, volumeNodes: Sequence[vtkMRMLScalarVolumeNode]) -> FollowUpNodes:
        """Put each later CT, registered onto the first, the change of density and charts over time into one folder.

        Args:
            followUp: what ``followup`` found.
            volumeNodes: the CTs that it was given.
        """
        from . import followupwork

        return followupwork.show(followUp, volumeNodes)

    def saveFollowUp(
        self,
        followUp: FollowUp,
        folder: Path | str,
        kinds: Sequence[FollowUpKind] | None = None,
        named: bool = False,
        progress: Progress | None = None,
    ) -> list[Path]:
        """Write a follow-up's report, tables and maps into a folder; nothing that is not ours is overwritten.

        Args:
            followUp: what ``followup`` found.
            folder: a new or empty one, or one with results of this module, which are replaced.
            kinds: what to write; everything if None.
            named: whether reports call the CTs by their nodes' names, which may name a patient.
            progress: told the share done and the stage.

        Returns:
            The files.
        """
        from . import followupwork

        return followupwork.save(followUp, Path(folder), kinds, named, progress)

    def batch(  # noqa: PLR0913  # all but two have defaults
        self,
        source: Path | str,
        csvPath: Path | str,
        modelPath: Path | str | None = None,
        device: Device = Device.AUTO,
        precision: Precision = Precision.AUTO,
        progress: Progress | None = None,
        onRow: Callable[[BatchRow], None] | None = None,
        retry: bool = False,
        objects: Path | str | None = None,
    ) -> BatchSummary:
        """Scan many CTs into one CSV, one row per CT; an unfinished CSV of the same model is continued.

        CTs whose files have changed since are scanned again.

        Args:
            source: a folder that is searched for CTs (files and DICOM series), or a CSV with a column ``volume``.
            csvPath: the result.
            modelPath: as for ``scan``.
            device: as for ``scan``.
            precision: as for ``scan``.
            progress: as for ``scan``.
            onRow: told each row, on the main thread.
            retry: scan refused CTs again, changed or not.
            objects: gets a folder of DICOM objects for each CT that was read from DICOM; None if none are wanted.
        """
        from . import longwork

        model = self._model(modelPath)
        folder = None if objects is None else Path(objects)
        return longwork.batch(Path(source), Path(csvPath), model, device, precision, progress, onRow, retry, folder)

    def train(
        self,
        manifest: Path | str,
        folder: Path | str,
        epochs: int = 50,
        startModel: Path | str | None = None,
        progress: Progress | None = None,
        architecture: str = "conv_lstm",
    ) -> Path:
        """Train a model on a cohort in a background process, and wait for it.

        Args:
            manifest: CSV with the columns volume, label, patient, split.
            folder: checkpoints, log and the model; a run that was stopped there goes on.
            epochs: at most.
            startModel: a model to train further; None trains a new one, as published.
            progress: told the share done and the epoch; what it raises ends the training, resumably.
            architecture: of a new model: conv_lstm, mil_max, mil_mean, mil_product, mil_attention, cnn3d,
                laa950_logistic or perc15_logistic.

        Returns:
            The model file.
        """
        from . import commands

        process = self.startTraining(manifest, folder, epochs, startModel, architecture)
        return commands.train(process, Path(folder), epochs, progress)

    def startTraining(
        self,
        manifest: Path | str,
        folder: Path | str,
        epochs: int = 50,
        startModel: Path | str | None = None,
        architecture: str = "conv_lstm",
    ) -> BackgroundProcess:
        """As ``train``, without waiting."""
        from . import commands, packages

        packages.ensure(packages.Need.LEARNING)
        start = None if startModel is None else Path(startModel)
        return commands.start_training(Path(manifest), Path(folder), epochs, start, architecture)

    def evaluate(
        self,
        model: Path | str,
        manifest: Path | str,
        split: str = "test",
        data: str = "",
        record: bool = False,
        progress: Progress | None = None,
    ) -> ModelFigures:
        """Measure one model on labelled volumes; its answers are computed in a background process.

        Args:
            model: a model file, or a folder with a training.
            manifest: CSV with the columns volume, label, patient, split.
            split: the part of it to measure on.
            data: what the volumes are, in words; goes beside every figure.
            record: write the figures into the model's card.
            progress: told the share done and the volume; what it raises ends the work.

        Returns:
            Its probabilities, and AUC, sensitivity, specificity and the like with their 95 % intervals.
        """
        from . import longwork

        return longwork.compare([Path(model)], Path(manifest), split, data, record, progress).models[0]

    def compare(
        self,
        models: Sequence[Path | str],
        manifest: Path | str,
        split: str = "test",
        progress: Progress | None = None,
        data: str = "",
    ) -> Comparison:
        """Measure models on the same labelled volumes, with DeLong's paired tests, as ``evaluate``.

        ``evaluation.comparisontables.markdown`` writes the paper's Table 1 of it, ``evaluation.comparisonpage.write``
        a page with plots.
        """
        from . import longwork

        return longwork.compare([Path(model) for model in models], Path(manifest), split, data, False, progress)

    def cancel(self) -> None:
        """Ask the running work to stop; it does at the next slice."""
        shared_worker().cancel()

    def close(self) -> None:
        """Cancel the running work and end the worker's thread, waiting a few seconds at most."""
        shared_worker().close()

    def showIn3D(self, nodes: ResultNodes, overlay: Overlay | None = None) -> None:
        """Show an overlay as a coloured volume rendering, with the lungs as a faint surface."""
        from ..scene import rendering, views

        shown = overlay or views.first_overlay(nodes)
        if shown is not None:
            rendering.show_in_3d(nodes, shown, slicer.modules.volumerendering.logic())

    @staticmethod
    def _model(modelPath: Path | str | None) -> Path:
        return default_model_path() if modelPath is None else Path(modelPath)
