"""The environment of processes that tests start: they find the library and these helpers."""

from __future__ import annotations

import os
from pathlib import Path

import EmphysemaScannerLib

LIBRARY = Path(EmphysemaScannerLib.__file__).resolve().parents[1]
TESTING = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(LIBRARY), str(TESTING))), "OMP_NUM_THREADS": "1"}
