"""A measured section of the report, as plain JSON values, kept beside the report so that it is measured once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...base.wholefile import write_whole
from ..comparisontables import NONE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """A table: ``name`` is its CSV's; cells are text, a figure's interval follows it in brackets."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    in_page: bool = True


@dataclass(frozen=True)
class Plot:
    """Curves: label to the values at ``x``."""

    name: str
    title: str
    across: str
    up: str
    x: Sequence[float]
    curves: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Section:
    """What was measured for one heading.

    Attributes:
        title: the heading.
        said: paragraphs of Markdown, foreign words in them escaped: how it was measured, and what came out.
        tables: in order.
        plots: in order.
    """

    title: str
    said: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[Plot] = ()


def kept(path: Path, key: str, measure: Callable[[], Section]) -> Section:
    """The section as it was measured before with the same key, or measured now and kept."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["key"] == key:
            of = found["section"]
            tables = [Table(**table) for table in of["tables"]]
            return Section(of["title"], of["said"], tables, [Plot(**plot) for plot in of["plots"]])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or of another version
    section = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"key": key, "section": dataclasses.asdict(section)}, indent=1, ensure_ascii=False)
    write_whole(path, text.encode())
    return section


def key_of(files: Iterable[Path | None], *options: object) -> str:
    """What a section depends on: files by content (those that are not there count too), options by value."""
    digest = hashlib.sha256(repr(options).encode())
    for file in files:
        digest.update(file.read_bytes() if file is not None and file.is_file() else str(file).encode())
    return digest.hexdigest()


def mean_interval(values: Sequence[float] | Floats, seed: int = 1, resamples: int = 2000) -> str:
    """The mean over cases with the percentile interval of a bootstrap over them; NaN are left out.

    Args:
        values: one for each case.
        seed: of the bootstrap.
        resamples: how many times cases are drawn with replacement.
    """
    there = np.asarray(values, float)
    there = there[np.isfinite(there)]
    if not len(there):
        return NONE
    drawn = np.random.default_rng(seed).choice(there, (resamples, len(there))).mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{there.mean():.3f} ({low:.3f} to {high:.3f})"
