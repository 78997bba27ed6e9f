"""Where the model lies that comes with EmphysemaScanner."""

from __future__ import annotations

from pathlib import Path

from ..base.errors import ModelFileError

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
