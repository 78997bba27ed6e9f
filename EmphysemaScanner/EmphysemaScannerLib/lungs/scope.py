"""How much is measured; read without numpy, for the command line's help."""

from __future__ import annotations

from enum import Enum

from ..i18n import tr as _


class Scope(str, Enum):
    """How much is measured.

    HISTOGRAM: what follows from the histograms, which costs nothing; with a sharp kernel the normalised density,
    too. ALL: clusters, bullae, core and rind, and density with less noise as well.
    """

    HISTOGRAM = "histogram"
    ALL = "all"

    def label(self) -> str:
        """Its name in the window."""
        return {
            Scope.HISTOGRAM: _("What the histograms tell"),
            Scope.ALL: _("Everything (clusters, bullae, core and rind)"),
        }[self]
