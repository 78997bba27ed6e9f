"""The bundled model, and the model files in folders for a list to choose from; needs no PyTorch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from ..base.errors import ModelFileError
from .modelcard import ModelCard
from .modelheader import read_card

PACKAGE = Path(__file__).resolve().parent.parent
# In a wheel the models lie inside the package; in a source checkout and in Slicer in the module's Resources beside it.
MODEL_FOLDERS = (PACKAGE / "Models", PACKAGE.parent / "Resources" / "Models")


def default_model_path() -> Path:
    """The shipped model file; the last by name if there are several.

    Raises:
        ModelFileError: this installation has none.
    """
    for folder in MODEL_FOLDERS:
        models = sorted(folder.glob("*.safetensors"))
        if models:
            return models[-1]
    raise ModelFileError("This installation has no shipped model; name a model file (.safetensors) yourself.")


@dataclass(frozen=True)
class ModelEntry:
    """One model file.

    Attributes:
        path: the file.
        card: None if it cannot be read.
        problem: why it cannot be read, a sentence; empty if it can.
    """

    path: Path
    card: ModelCard | None
    problem: str

    @classmethod
    def of_file(cls, path: Path) -> ModelEntry:
        """A file's entry, whether it can be read or not."""
        try:
            return cls(path, read_card(path), "")
        except ModelFileError as error:
            return cls(path, None, str(error))

    @property
    def name(self) -> str:
        """The model's name; the file's if it has no readable card."""
        return self.card.name if self.card else self.path.name


def models_in(*folders: Path) -> list[ModelEntry]:
    """The model files (.safetensors) that lie directly in the folders, by name; one that cannot be a folder has none.

    A file that cannot be read is listed with the reason, not left out.
    """
    paths: set[Path] = set()
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):  # such as a name that is too long
            paths.update(path for path in folder.glob("*.safetensors") if path.is_file())
    entries = [ModelEntry.of_file(path) for path in paths]
    return sorted(entries, key=lambda entry: (entry.name.casefold(), str(entry.path)))
