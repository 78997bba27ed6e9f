"""The window: connects the panels with the logic and with the scene's parameter node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import qt
import slicer
from slicer.util import VTKObservationMixin

from ..base.errors import EmphysemaScannerError, ModelFileError, RecordError, ScanCancelled
from ..base.progress import Progress
from ..i18n import tr as _
from ..jobs.process import BackgroundProcess
from ..models.modelfolder import default_model_path
from ..report import richtext, wording
from ..scan.remeasure import RemeasureError
from ..scene import rendering, views
from ..scene.result import ResultNodes, is_part_of_a_result, result_of
from . import packages, styles
from .answerpanel import AnswerPanel
from .batchpanel import BatchPanel
from .choosers import Choosers
from .ctpanel import CTPanel, cts, scalar_volumes
from .followuppanel import FollowUpPanel
from .maskpanel import MaskPanel, label_nodes
from .modelpanel import ModelPanel
from .savepanel import SavePanel
from .settings import Settings
from .settingspanel import SettingsPanel
from .slicespanel import SlicesPanel
from .trainpanel import TrainPanel
from .viewer import Viewer
from .work import Work

if TYPE_CHECKING:
    from ..batch.batch import BatchSummary
    from ..followup.followup import FollowUp
    from ..scan.result import ScanResult
    from .logic import EmphysemaScannerLogic
    from .masknodes import MaskNodes
    from .parameters import EmphysemaScannerParameterNode

T = TypeVar("T")
OVERLAY_KEY = "O"  # free in Slicer's slice views


class Window(VTKObservationMixin):
    """All panels of the module.

    Args:
        ui: the window's widgets by name.
        logic: the module's logic.
    """

    def __init__(self, ui: Any, logic: EmphysemaScannerLogic) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic = ui, logic
        self.node: EmphysemaScannerParameterNode | None = None
        self.nodes: ResultNodes | None = None
        self._drawn: tuple[Any, ...] = ()
        self._look_is_due = False
        self.settings = Settings()
        self.work = Work(logic.cancel, self.update)
        self.answer = AnswerPanel(ui)
        self.models = ModelPanel(ui, self.settings, self._on_model)
        self.choosers = Choosers(ui)
        self.slices = SlicesPanel(ui, self.answer.show_read_so_far)
        self.viewer = Viewer(ui, logic, self.slices.listen_to_plots)
        self.saving = SavePanel(ui)
        self.masks = MaskPanel(ui)
        self.batch = BatchPanel(ui)
        self.follow_up = FollowUpPanel(ui, self.update)
        self.training = TrainPanel(ui, self.settings, self._start_training, lambda _path: self._list_models())
        self.options = SettingsPanel(ui, self.settings, self._list_models)
        self.loading = CTPanel(ui, self._do_at_once, self._on_loaded)
        self._key = qt.QShortcut(qt.QKeySequence(OVERLAY_KEY), slicer.util.mainWindow() or ui.EmphysemaScanner)
        self._key.connect("activated()", self.toggle_overlay)
        for button, pressed in (
            (ui.scanButton, self._on_scan),
            (ui.attributeButton, self._on_attribute),
            (ui.saveButton, self._on_save),
            (ui.remeasureButton, self._on_remeasure),
            (ui.batchButton, self._on_batch),
            (ui.followUpButton, self._on_follow_up),
            (ui.followUpSaveButton, self._on_save_follow_up),
            (ui.torchButton, self._on_torch),
        ):
            button.connect("clicked(bool)", pressed)
        ui.overlay3DCheckBox.connect("clicked(bool)", self._on_3d)
        ui.resultTabs.setCornerWidget(ui.ctWindowComboBox)
        ui.progressBar.visible = False
        styles.say(ui.statusLabel, "")
        styles.say(ui.batchStatusLabel, "")
        styles.say(ui.saveStatusLabel, "")
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self._on_nodes_changed)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._on_nodes_changed)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndBatchProcessEvent, self._on_nodes_changed)
        self.update()

    def enter(self) -> None:
        """The module was entered."""
        self._key.enabled = True
        self.viewer.layout.enter()
        self.masks.look_for_edits(self.nodes)

    def leave(self) -> None:
        """The module was left."""
        self.slices.stop()
        self._key.enabled = False
        self.follow_up.layout.restore()
        self.viewer.layout.leave()

    def close(self) -> None:
        """The module ends."""
        self.work.closed = True
        self._key.enabled = False
        self.training.close()
        self.follow_up.close()
        self.slices.close()
        self.viewer.close()
        self.removeObservers()

    def scene_closes(self) -> None:
        """The scene is about to be emptied."""
        self.follow_up.forget()
        views.clear_charts(slicer.mrmlScene)  # or Slicer's plot views take a series out of the next scene's charts

    def follow(self, node: EmphysemaScannerParameterNode | None) -> None:
        """Follow another parameter node, or none; the views stay as they are."""
        self.node = node
        if node is None:
            self._forget()
            self.update()
            return
        if not node.inputVolume:
            node.inputVolume = next(iter(cts()), None)
        if not node.modelPath.is_file():
            self._choose_shipped_model()
        self.models.fill(node.modelPath)
        self._drawn = self._choice()
        self._take_up_result()
        self._drawn = self._choice()
        self.update()
        self._on_nodes_changed()  # a scene that is being opened is whole only after this

    @property
    def _parameters(self) -> EmphysemaScannerParameterNode:
        """The parameter node; there is one wherever something can be chosen or pressed."""
        assert self.node is not None
        return self.node

    def _choose_shipped_model(self) -> None:
        """Instead of none, or of one that is gone."""
        gone = self._parameters.modelPath
        try:
            self._parameters.modelPath = default_model_path()
        except ModelFileError as error:
            styles.say(self.ui.statusLabel, str(error), styles.ERROR)
            return
        if gone != Path():
            sentence = _("The model '{path}' no longer exists; the bundled model was selected.")
            styles.say(self.ui.statusLabel, sentence.format(path=gone))

    def on_parameters_changed(self) -> None:
        """Bring panels and views to what is chosen now."""
        if self.node is None:
            return
        if self.models.entry is None or self.models.entry.path != self.node.modelPath:  # chosen by a script
            self.models.fill(self.node.modelPath)
        before, now = self._drawn, self._choice()
        if now != before:
            self._drawn = now
            if not before or now[0] is not before[0]:
                styles.say(self.ui.statusLabel, "")  # it was about the last CT
                styles.say(self.ui.masksStatusLabel, "")
                self._take_up_result()
                self.viewer.open()
            else:
                self.viewer.draw()
        self.update()

    def update(self) -> None:
        """Enable, disable, show and hide what depends on the state."""
        if self.work.closed:
            return
        ui, node, busy = self.ui, self.node, self.work.running
        torch_missing = not packages.torch_is_there()
        chosen = node is not None and node.inputVolume is not None
        ui.torchFrame.visible = torch_missing
        ui.inputsFrame.enabled = not busy
        ui.settingsCollapsibleButton.enabled = not busy
        has_result = self.nodes is not None
        has_overlays = self.nodes is not None and bool(self.nodes.overlays)
        for button, usable in (
            (ui.scanButton, chosen),
            (ui.attributeButton, has_overlays),
            (ui.batchButton, True),
            (ui.followUpButton, True),
        ):
            if self.work.button is not button:
                button.enabled = usable and not torch_missing and not busy
        if not busy:
            tip = _("Scan the chosen CT (Ctrl+Return).") if chosen else _("Choose a chest CT first.")
            ui.scanButton.toolTip = _("Install PyTorch first.") if torch_missing else tip
        ui.hintLabel.visible = not chosen and not torch_missing
        ui.saveButton.enabled = (has_result and not busy) or self.work.button is ui.saveButton
        ui.saveButton.toolTip = _("Write the chosen files into the folder.") if has_result else _("Scan a CT first.")
        ui.layoutButton.enabled = has_result or self.viewer.layout.is_shown
        ui.layoutButton.checked = self.viewer.layout.is_shown  # a saved scene brings its layout
        self.choosers.update(self.nodes, node, self.work.button is ui.attributeButton)
        self.masks.update(node)
        self.follow_up.update(busy)
        ui.followUpSaveButton.enabled = not busy or self.work.button is ui.followUpSaveButton
        ui.remeasureButton.enabled = (has_result and not busy) or self.work.button is ui.remeasureButton
        if not busy:
            ui.remeasureButton.toolTip = MaskPanel.tip() if has_result else _("Scan a CT first.")
        answered = self.answer.result
        ui.researchUseLabel.text = self.models.caution() if answered is None else richtext.caution(answered.model)
        ui.trainButton.enabled = self.training.running or not torch_missing

    # -- scanning and showing -------------------------------------------------------------------------------------

    def _on_scan(self, _checked: bool = False) -> None:
        """Scan, or cancel the scan that is running."""
        if self.work.cancels(self.ui.scanButton):
            return
        volume, model = self._parameters.inputVolume, self._parameters.modelPath
        result = self._do(
            self.ui.scanButton,
            self.ui.progressBar,
            self.ui.statusLabel,
            _("The scan failed."),
            lambda progress: self._scanned(volume, model, progress, self.masks.nodes(self._parameters)),
        )
        if result is not None:
            self._do_at_once(lambda: self.logic.show(result, volume))
            self._after_work(self.viewer.open)
            if result.expiration is not None and result.expiration.missing:
                styles.say(self.ui.statusLabel, result.expiration.missing, styles.WARNING)  # else below the tables

    def _scanned(self, volume: Any, model: Path, progress: Progress, masks: MaskNodes) -> ScanResult:
        with self.masks.asking(masks):
            settings = self.settings
            return self.logic.scan(
                volume,
                model,
                settings.device,
                settings.precision,
                progress,
                settings.measure,
                masks,
                self._parameters.expiratoryVolume,
            )

    def _on_remeasure(self, _checked: bool = False) -> None:
        """Measure the chosen CT again in its mask, or scan it again where the answer depends on that; or cancel it."""
        if self.work.cancels(self.ui.remeasureButton):
            return
        volume, model, nodes = self._parameters.inputVolume, self._parameters.modelPath, self.nodes
        masks = self.masks.nodes(self._parameters)
        said: list[str] = []
        styles.say(self.ui.statusLabel, "")

        def measure(progress: Progress) -> ScanResult:
            with self.masks.asking(masks):
                try:
                    return self.logic.remeasured(volume, masks, progress)
                except RemeasureError:
                    said.append(_("The model's answer depends on the lung mask: the CT was scanned again."))
            return self._scanned(volume, model, progress, self.masks.with_edits(masks, nodes))

        label = self.ui.masksStatusLabel
        done = self._do(self.ui.remeasureButton, self.ui.progressBar, label, _("Measuring again failed."), measure)
        if done is not None:
            self._do_at_once(lambda: self.logic.show(done, volume))
            self._after_work(self.viewer.draw)
            said = said or [_("Measured again in: {mask}.").format(mask=wording.mask_origin(done.lungs_from))]
            styles.say(label, said[0])

    def _on_attribute(self, _checked: bool = False) -> None:
        """Compute the gradient attribution of the chosen CT's result, or cancel that."""
        if self.work.cancels(self.ui.attributeButton):
            return
        volume, model = self._parameters.inputVolume, self._parameters.modelPath
        done = self._do(
            self.ui.attributeButton,
            self.ui.progressBar,
            self.ui.statusLabel,
            _("The gradient attribution failed."),
            lambda progress: self.logic.attribute(volume, model, self.settings.device, progress),
        )
        if done is not None:
            self._after_work(self.viewer.draw)
            sentence = _(
                "Gradient attribution: the voxels' shares sum to {difference} (error {gap}), the logit's difference"
                " from that of the same chest at healthy lung density."
            )
            sentence = sentence.format(difference=f"{done.difference:+.2f}", gap=f"{abs(done.gap):.2g}")
            styles.say(self.ui.statusLabel, sentence)

    def _after_work(self, show: Callable[[], None]) -> None:
        """Take up what the work has put into the scene, unless the module was left in the meantime."""
        if self.node is not None:
            self._take_up_result()
            show()
            self.update()

    def _take_up_result(self) -> None:
        """Find the chosen CT's result in the scene and bring the panels to it."""
        volume = None if self.node is None else self.node.inputVolume
        nodes = None if volume is None else self.logic.find(volume)
        self.loading.show_series(volume if nodes is None else None)  # a result states its series itself
        self._forget()
        if nodes is None:
            return
        try:
            result = result_of(nodes)
        except RecordError as error:
            styles.say(self.ui.statusLabel, str(error), styles.ERROR)
            return
        self.nodes = nodes
        self.answer.show(result)
        self.slices.show(nodes, result)
        self.choosers.offer(nodes, self._parameters)
        self.viewer.follow(self.node, nodes)

    def _forget(self) -> None:
        self.nodes = None
        self.viewer.follow(self.node, None)
        self.answer.clear()
        self.slices.clear()

    def _on_3d(self, shown: bool) -> None:
        if self.nodes is not None:
            if shown:
                self._do_at_once(self.viewer.draw)
            self.viewer.show_3d(shown)

    def toggle_overlay(self) -> None:
        """Switch the overlay off or on, as the key does."""
        if self.node is not None and self.nodes is not None:
            self.node.overlayVisible = not self.node.overlayVisible

    def _on_nodes_changed(self, _caller: Any = None, _event: Any = None) -> None:
        """A result may have been added or removed by somebody else: look once all of its nodes are there, or gone."""
        if not self._look_is_due:
            self._look_is_due = True
            qt.QTimer.singleShot(0, self._look)

    def _look(self) -> None:
        self._look_is_due = False
        if self.work.closed or self.work.running or self.node is None or slicer.mrmlScene.IsBatchProcessing():
            return
        volume = self.node.inputVolume
        found = None if volume is None else self.logic.find(volume)
        if (found and found.record) is not (self.nodes and self.nodes.record):
            self._take_up_result()
            self.update()
        if self.nodes is not None and rendering.is_shown_in_3d(self.nodes) and not self.ui.overlay3DCheckBox.checked:
            self.ui.overlay3DCheckBox.checked = self.viewer.layout.with_3d = True
            self.viewer.draw_in_3d()  # saved scenes lack the lungs' surface
        hidden = [node.GetID() for node in scalar_volumes() if is_part_of_a_result(node)]
        for chooser in (self.ui.inputSelector, self.ui.expiratorySelector):
            chooser.sortFilterProxyModel().hiddenNodeIDs = hidden
        parts = [node.GetID() for node in label_nodes() if is_part_of_a_result(node)]
        for chooser in (self.ui.lungsSelector, self.ui.lobesSelector):
            chooser.sortFilterProxyModel().hiddenNodeIDs = parts
        self.masks.update(self.node)
        self.follow_up.fill()
        self.follow_up.update(self.work.running)

    # -- the other buttons ----------------------------------------------------------------------------------------

    def _on_save(self, _checked: bool = False) -> None:
        if self.work.cancels(self.ui.saveButton):
            return
        volume = self._parameters.inputVolume

        def write(progress: Progress) -> list[Path]:
            folder = self.saving.folder()
            chosen = self.saving
            written: list[Path] = self.logic.save(
                volume, folder, chosen.kinds(), chosen.scene, progress, chosen.named, chosen.objects()
            )
            return written

        label = self.ui.saveStatusLabel
        written = self._do(self.ui.saveButton, self.ui.progressBar, label, _("The results could not be saved."), write)
        if written:
            self.saving.remember()
            styles.say(label, " ".join(filter(None, (_saved(written), self._add_to_database(written[0].parent)))))

    def _add_to_database(self, folder: Path) -> str:
        """What was saved into Slicer's DICOM database, or why it was not, in a sentence; "" where it is not ticked."""
        if not self.saving.into_database:
            return ""
        try:
            count = self.logic.addToDatabase(folder)
        except EmphysemaScannerError as error:
            return str(error)
        return _("{count} DICOM objects are in Slicer's DICOM database.").format(count=count)

    def _on_batch(self, _checked: bool = False) -> None:
        ui = self.ui
        if self.work.cancels(ui.batchButton):
            return
        self.batch.clear()
        model = self._parameters.modelPath

        def scan_all(progress: Progress) -> BatchSummary:
            source, output = self.batch.paths()
            return self.logic.batch(
                source,
                output,
                model,
                self.settings.device,
                self.settings.precision,
                progress=progress,
                onRow=self.batch.add,
                retry=self.batch.retry,
                objects=self.batch.objects_beside(output),
            )

        summary = self._do(ui.batchButton, ui.batchProgressBar, ui.batchStatusLabel, _("The batch failed."), scan_all)
        if summary is not None:
            styles.say(ui.batchStatusLabel, str(summary))

    def _on_follow_up(self, _checked: bool = False) -> None:
        """Compare the ticked CTs over time, or cancel that."""
        ui = self.ui
        if self.work.cancels(ui.followUpButton):
            return
        nodes, dates = self.follow_up.chosen()
        model, settings = self._parameters.modelPath, self.settings

        def compare(progress: Progress) -> FollowUp:
            return self.logic.followup(nodes, dates, model, settings.device, settings.precision, progress)

        label = ui.followUpStatusLabel
        found = self._do(ui.followUpButton, ui.progressBar, label, _("The comparison failed."), compare)
        if found is not None:
            self._do_at_once(lambda: self.follow_up.show(found, self.logic.showFollowUp(found, nodes)))

    def _on_save_follow_up(self, _checked: bool = False) -> None:
        ui, found = self.ui, self.follow_up.found
        if self.work.cancels(ui.followUpSaveButton) or found is None:
            return

        def write(progress: Progress) -> list[Path]:
            folder, named = self.follow_up.folder(), bool(ui.followUpNameCheckBox.checked)
            return self.logic.saveFollowUp(found, folder, named=named, progress=progress)

        label = ui.followUpSaveStatusLabel
        failed = _("The follow-up could not be saved.")
        written = self._do(ui.followUpSaveButton, ui.progressBar, label, failed, write)
        if written:
            styles.say(label, _saved(written))

    def _start_training(self, manifest: Path, folder: Path, epochs: int, architecture: str) -> BackgroundProcess:
        process: BackgroundProcess = self.logic.startTraining(
            manifest, folder, epochs, None if architecture else self._parameters.modelPath, architecture
        )
        return process

    def _list_models(self) -> None:
        """Those of the model folder, which has changed."""
        if self.node is not None:
            self.models.fill(self.node.modelPath)

    def _on_model(self, path: Path) -> None:
        if self.node is not None:
            self.node.modelPath = path

    def _on_loaded(self, ct: Any) -> None:
        if self.node is not None:
            self.node.inputVolume = ct

    def _on_torch(self, _checked: bool = False) -> None:
        self._do_at_once(packages.install_torch)
        self.update()

    # -- how work is done -----------------------------------------------------------------------------------------

    def _do(self, button: Any, bar: Any, label: Any, failed: str, work: Callable[[Progress], T]) -> T | None:
        """Long work; what the user can mend is said in the label, anything else is Slicer's error display's."""
        styles.say(label, "")
        sentence, style = "", styles.NOTE
        done: T | None = None
        with slicer.util.tryWithErrorDisplay(failed):
            try:
                done = self.work.run(button, bar, work, label if bar is self.ui.batchProgressBar else None)
            except ScanCancelled as cancelled:
                sentence = str(cancelled)
            except EmphysemaScannerError as error:
                sentence, style = str(error), styles.ERROR
        if not self.work.closed:
            styles.say(label, sentence, style)
            return done
        return None

    def _do_at_once(self, work: Callable[[], Any]) -> None:
        """Short work; what the user can mend is said below the Scan button."""
        with slicer.util.tryWithErrorDisplay(_("The operation failed.")):
            try:
                work()
            except EmphysemaScannerError as error:
                styles.say(self.ui.statusLabel, str(error), styles.ERROR)

    def _choice(self) -> tuple[Any, ...]:
        """What the views show."""
        node = self._parameters
        return (
            node.inputVolume,
            node.ctWindow,
            node.overlay,
            node.overlayVisible,
            node.overlayDrawing,
            node.overlayOpacity,
            node.overlayThreshold,
            node.overlayColours,
            node.chart,
        )


def _saved(written: list[Path]) -> str:
    """Where files were written, and which, as a sentence."""
    names = ", ".join(path.name for path in written)
    return _("Saved to '{folder}': {names}.").format(folder=written[0].parent, names=names)
