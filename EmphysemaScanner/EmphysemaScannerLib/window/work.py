"""Long work in the window: one piece at a time, its button becomes Cancel, its bar shows how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..base.progress import Progress
from ..i18n import tr as _
from . import styles

T = TypeVar("T")


class Work:
    """Runs long work for one button at a time.

    Args:
        cancel: asks the running work to stop.
        changed: called when work has begun or ended, so that the window may enable and disable what depends on it.
    """

    def __init__(self, cancel: Callable[[], None], changed: Callable[[], None]) -> None:
        self._cancel, self._changed = cancel, changed
        self.button: Any = None
        self.closed = False

    @property
    def running(self) -> bool:
        """Whether some button's work is running."""
        return self.button is not None

    def cancels(self, button: Any) -> bool:
        """Whether a click on this button means Cancel; the work is then asked to stop."""
        if self.button is None or self.button is not button:
            return False
        self._cancel()
        button.enabled = False
        button.text = _("Cancelling...")
        return True

    def run(self, button: Any, bar: Any, work: Callable[[Progress], T], stage_label: Any = None) -> T:
        """Call ``work(progress)`` while the button says Cancel; the window stays alive as far as ``work`` lets it.

        Args:
            button: what was pressed.
            bar: shows the share done, and the stage where there is no label for it.
            work: told a function to report to.
            stage_label: shows stages that are too long for the bar.

        Raises:
            Exception: what the work raised; the button is then what it was.
        """
        text, tip = button.text, button.toolTip
        self.button = button
        button.text, button.toolTip = _("Cancel"), _("Stop; what is in the scene stays as it is.")
        bar.value, bar.format, bar.visible = 0, "%p %", True
        self._changed()

        def progress(fraction: float, stage: str) -> None:
            if not self.closed:
                bar.value = round(1000 * fraction)
                if stage_label is None:
                    bar.format = f"{stage} (%p %)"
                else:
                    styles.say(stage_label, stage)

        try:
            return work(progress)
        finally:
            self.button = None
            if not self.closed:  # otherwise the widgets are gone
                bar.visible = False
                button.text, button.toolTip, button.enabled = text, tip, True
                self._changed()
