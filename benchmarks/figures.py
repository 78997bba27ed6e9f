"""What a run measured as named figures, kept beside the page, and a later run's ratios to them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from page import ALONE, BEST, OURS
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
    """A line for each figure that both have: now, then, now / then, and the same beside the peers.

    *Beside the peers*: of ours, the ratio divided by that of the peer in the same table, or by the middle ratio of all
    peers of this run, since the machine and its other work change both alike. From ``SLOWER`` on it is marked.
    """
    if not kept.is_file():
        return f"There are no figures at {kept} to compare with."
    then = json.loads(kept.read_text())
    now, before = figures(parts), then["figures"]
    ratios = {name: value / before[name] for name, value in now.items() if before.get(name)}
    of_peers = [ratio for name, ratio in ratios.items() if _is_a_peer(name)]
    machine = statistics.median(of_peers) if of_peers else 1.0
    lines = [
        f"Beside revision {then['revision']} ({then['date']}, {then['processor']}), ms:",
        f"{'':62}{'now':>9}{'then':>9}{'ratio':>8}{'beside the peers':>18}",
    ]
    for name, ratio in ratios.items():
        figures_now = f"{name:62}{now[name]:>9,.0f}{before[name]:>9,.0f}{ratio:>8.2f}"
        if _is_a_peer(name):
            lines.append(figures_now)
            continue
        table = name.removesuffix(OURS)
        beside = ratio / next((ratios[table + peer] for peer in _PEERS if table + peer in ratios), machine)
        lines.append(f"{figures_now}{beside:>18.2f}{'  slower' if beside >= SLOWER else ''}")
    if rest := [name for name in now if name not in ratios]:
        lines.append(f"Not in those figures: {'; '.join(rest)}.")
    return "\n".join(lines)


_PEERS = (BEST, "peer pipeline", "naive PyTorch")  # the one to compare with first
_OTHER_PEERS = (ALONE, "Keras 3 on JAX", "ONNX Runtime", "OpenVINO")


def _is_a_peer(name: str) -> bool:
    ends = tuple(f", {label}" for label in (*_PEERS, *_OTHER_PEERS))
    return name.endswith(ends) or name in ("import, torch", "import, python alone")
