"""What a run measured as named figures, kept beside the page, and a later run's ratios to them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from page import BEST, OURS
from processes import median

SLOWER = 1.15  # ratios from here on are marked
NAME = "performance.json"


def figures(parts: Mapping[str, Any]) -> dict[str, float]:
    """Milliseconds, by what took them; of a volume, a scan, a stage or a CT.

    Args:
        parts: by the name of the part, what it measured.
    """
    found: dict[str, float] = {}
    for part, volumes in (("network", None), ("training", 4)):
        for size, tables in parts.get(part, {}).items():
            for settings, table in tables.items():
                for label, measured in table.items():
                    found[f"{part}, {size}, {settings}, {label}"] = 1e3 * median(measured) / (volumes or int(size))
    for settings, table in parts.get("scan", {}).items():
        for label, measured in table.items():
            found[f"scan, {settings}, {label}"] = 1e3 * median(measured)
    for file, measured in parts.get("reading", {}).items():
        for stage in measured[0]["stages"]:
            found[f"{file}, {stage}"] = 1e3 * statistics.median(m["stages"][stage] for m in measured[1:])
    found |= {f"import, {what}": 1e3 * statistics.median(s) for what, s in parts.get("cold", {}).items()}
    for processes, values in parts.get("cohort", {}).get("per_minute", {}).items():
        found[f"batch, {processes} processes"] = 60e3 / statistics.median(values)
    return found


def write_figures(parts: Mapping[str, Any], machine: Mapping[str, str], revision: str, folder: Path) -> None:
    """performance.json into a folder.

    Args:
        parts: as for ``figures``.
        machine: as ``machine.describe`` gives it.
        revision: what was measured.
        folder: where performance.md is.
    """
    said = {"revision": revision, "date": machine["date"], "processor": machine.get("processor", "")}
    kept = {name: round(value, 1) for name, value in figures(parts).items()}
    (folder / NAME).write_text(json.dumps({**said, "figures": kept}, indent=1) + "\n")


def compared(parts: Mapping[str, Any], kept: Path) -> str:
    """A line for each figure that both have: now, then, now / then, and the same beside the peer.

    *Beside the peer*: of ours, the ratio divided by that of the peer in the same table, which the machine and its other
    work do not change much. Ratios of ``SLOWER`` and more are marked; of ours, those beside the peer if there is one.
    """
    if not kept.is_file():
        return f"There are no figures at {kept} to compare with."
    then = json.loads(kept.read_text())
    now, before = figures(parts), then["figures"]
    ratios = {name: value / before[name] for name, value in now.items() if before.get(name)}
    lines = [
        f"Beside revision {then['revision']} ({then['date']}, {then['processor']}), ms:",
        f"{'':62}{'now':>9}{'then':>9}{'ratio':>8}{'beside the peer':>17}",
    ]
    for name, ratio in ratios.items():
        peer = next((ratios[other] for other in _peers(name) if other in ratios), None)
        beside = None if peer is None else ratio / peer
        ours = not name.endswith(tuple(f", {label}" for label in (BEST, *_PEERS)))
        mark = "  slower" if ours and (ratio if beside is None else beside) >= SLOWER else ""
        said = "" if beside is None else f"{beside:.2f}"
        lines.append(f"{name:62}{now[name]:>9,.0f}{before[name]:>9,.0f}{ratio:>8.2f}{said:>17}{mark}")
    lines += (
        [f"Not in those figures: {', '.join(name for name in now if name not in ratios)}."]
        if now.keys() - ratios
        else []
    )
    return "\n".join(lines)


_PEERS = ("peer pipeline", "naive PyTorch")


def _peers(name: str) -> list[str]:
    """The figures of the peers in the table of one of ours, the best first."""
    if not name.endswith(f", {OURS}"):
        return []
    return [name.removesuffix(OURS) + label for label in (BEST, *_PEERS)]
