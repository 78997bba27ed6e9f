"""docs/performance.md and its plot, from the results of the parts; every number on the page comes from there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median as middle
from typing import Any

from processes import median, spread

INTRODUCTION = """# Performance

Written by `make benchmark`; every number was measured by it on the machine below. Ratios hold on similar machines,
seconds don't. Every way runs in a process of its own, all in turn, round by round; a time is the median of the rounds
(least to most). The peers have the same weights and the same input; the run fails where logits, losses or lung masks
differ.

A table compares like with like: all its rows have the same precision and the same memory settings. *Memory kept*: the
process keeps what tensors free and uses huge pages (`base/memory.py`), as the command line does. *Memory not kept*: it
does not, as in Slicer. The network in PyTorch is there twice: as it is usually written (*naive*), and at the best
settings that were found (reading: BatchNorm folded, channels last, gates in place; learning: channels last).
"""
BEST = "PyTorch at its best settings"
OURS = "ours"
ALONE = "PyTorch at its best settings, network alone"
EARNS_TIME, EARNS_MEMORY = 1.2, 0.5
GPU = """## GPU

Nothing here was timed on a GPU, and no part of the networks was ever run on one: there was none. `emphysema-scanner
benchmark --device cuda` times the same code for whoever has one and checks that it says the same as the CPU.
`scripts/gpu.py` measures all of it in one call of less than 10 minutes and writes `docs/gpu.md`: equality with the
CPU of every architecture in float32, TF32 and bfloat16, what happens when the card's memory is too small, a scan by
stage, throughput by batch size, a step of training beside naive PyTorch, the recurrence eager, as a CUDA graph and
compiled, and how near all that comes to the card's peak and bandwidth. Its code was rehearsed on a CPU
(`--rehearse`), except the calls that only a GPU has.
"""
RATIOS = ("x best settings", "x best settings, CPU time")
STAGES = {"check": "checking the image", "lung_mask": "lung mask"}


def write_page(results: dict[str, Any], folder: Path) -> None:
    """performance.md and performance.svg into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: part["measured"] for name, part in results.items()}
    text = [INTRODUCTION, _machine(results), _targets(parts), _earned(parts), "![Ours and peers](performance.svg)\n"]
    writers = {
        "limits": _limits,
        "network": _network,
        "training": _training,
        "scan": _scan,
        "reading": _reading,
        "growth": _growth,
        "many": _many,
        "cold": _cold,
        "cohort": _cohort,
    }
    text += [write(parts) for name, write in writers.items() if name in parts]
    missing = ", ".join(name for name in writers if name not in parts)
    text += [f"**Not measured in this run:** {missing}.\n"] if missing else []
    (folder / "performance.md").write_text("\n".join([*text, GPU]))
    _plot(parts, folder / "performance.svg")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown; its first column is text, the others are figures."""
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _machine(results: dict[str, Any]) -> str:
    last = next(reversed(results.values()))["machine"]
    rows = [(name, value) for name, value in last.items() if name != "load before"]
    loads = ", ".join(f"{name} {part['machine']['load before']}" for name, part in results.items())
    minutes = sum(part["seconds"] for part in results.values()) / 60
    rows += [("load of the machine before each part", loads), ("minutes in all", f"{minutes:.0f}")]
    return table(["machine", ""], rows)


def _targets(parts: dict[str, Any]) -> str:
    """What was to be reached, what is, and what is below."""
    rows: list[tuple[str, str, str, bool]] = []

    def at_least(text: str, wanted: float, ratio: float) -> None:
        rows.append((text, f"at least {wanted:g}", f"{ratio:.2f}", ratio >= wanted))

    def at_most(text: str, wanted: float, value: float, unit: str = "") -> None:
        rows.append((text, f"at most {wanted:g}{unit}", f"{value:.2f}{unit}", value <= wanted))

    for settings, found in parts.get("scan", {}).items():
        at_least(
            f"whole scan, {settings}: peer pipeline / ours", 10, median(found["peer pipeline"]) / median(found[OURS])
        )
        at_least(f"whole scan, {settings}: {ALONE} / ours", 1, median(found[ALONE]) / median(found[OURS]))
    if "scan" in parts:
        ours = next(iter(parts["scan"].values()))[OURS]
        over_torch = max(m["over_torch_mib"] for m in ours) - ours[0]["ct_mib"]
        at_most("whole scan: memory over the import of torch, without the CT", 150, over_torch, " MiB")
        at_most("whole scan: memory over libraries, model and CT", 150, ours[0]["over_before_mib"], " MiB")
    for batch, tables in parts.get("network", {}).items():
        for settings, found in tables.items():
            fastest = min(
                (label for label in found if not label.startswith(OURS)), key=lambda label: median(found[label])
            )
            at_least(
                f"network, batch {batch}, {settings}: the fastest peer ({fastest}) / ours",
                1,
                median(found[fastest]) / median(found[OURS]),
            )
    if "many" in parts:
        scans = parts["many"]["scans"]
        first, last = scans[: max(1, len(scans) // 10)], scans[-max(1, len(scans) // 10) :]
        at_most("many scans: last tenth / first tenth, time", 1.1, _middle(last, "wall") / _middle(first, "wall"))
    if "cold" in parts:
        cold = {name: middle(seconds) for name, seconds in parts["cold"].items()}
        at_most(
            "imports: what Slicer imports of ours at its start / torch",
            0.3,
            cold["what Slicer imports of ours at its start"] / cold["torch"],
        )
    met = [(text, wanted, value, "yes" if well else "**no**") for text, wanted, value, well in rows]
    below = [f"- {text}: {value} instead of {wanted}." for text, wanted, value, well in rows if not well]
    said = "Below what was wanted:\n\n" + "\n".join(below) if below else "Nothing is below what was wanted."
    return f"## Targets\n\n{said}\n\n" + table(["", "wanted", "measured", "met"], met)


def _earned(parts: dict[str, Any]) -> str:
    """What code of our own brings beside the best that PyTorch does by settings alone."""
    rows = []
    for what, part, per in (("reading, batch", "network", ""), ("learning,", "training", " x ")):
        for size, tables in parts.get(part, {}).items():
            for settings, found in tables.items():
                time = median(found[BEST]) / median(found[OURS])
                memory = median(found[OURS], "over_torch_mib") / median(found[BEST], "over_torch_mib")
                earned = time >= EARNS_TIME or memory <= EARNS_MEMORY
                where = f"{what} {size}{per}{size if per else ''}, {settings}"
                rows.append((where, f"{time:.2f}", f"{memory:.2f}", "yes" if earned else "no"))
    text = "## What our own code brings\n\n"
    text += f"Beside *{BEST}*. Code of our own is kept where it is {EARNS_TIME:g} times as fast or needs at most "
    text += f"{EARNS_MEMORY:g} of the memory.\n\n"
    return text + table(["", "times as fast", "of the memory", "kept for it"], rows)


def _middle(measured: list[dict[str, Any]], name: str) -> float:
    return middle(m[name] for m in measured)


def _times(found: dict[str, Any], against: str, per: int = 1) -> list[list[object]]:
    """Label, ms a volume with spread, ratio on the clock, ratio of processor time."""
    naive, naive_cpu = median(found[against]), median(found[against], "cpu")
    return [
        [
            label,
            spread([m["wall"] / per for m in measured[1:]]),
            f"{naive / median(measured):.2f}",
            f"{naive_cpu / median(measured, 'cpu'):.2f}",
        ]
        for label, measured in found.items()
    ]


def _limits(parts: dict[str, Any]) -> str:
    limits = parts["limits"]
    speeds = limits["gflops"]
    text = "## What the processor can do\n\nThe fastest of several products of matrices, by PyTorch: "
    text += ", ".join(f"{speed:,.0f} GFLOP/s in {name}" for name, speed in speeds.items())
    text += ". Direct convolutions of a volume therefore take at least the milliseconds below (training: three times "
    text += "reading's operations). Winograd's convolutions need fewer operations and can be faster.\n\n"
    tables = {("reading", "128"): (parts.get("network", {}).get("1", {}), 1)}
    tables |= {("learning", size): (parts.get("training", {}).get(size, {}), 4) for size in ("64", "128")}
    rows = []
    for (what, size), (by_settings, volumes) in tables.items():
        need = limits["gflop"][size] * (1 if what == "reading" else 3)
        least = {name: need / speed for name, speed in speeds.items()}
        most = []
        for name, seconds in least.items():
            found = by_settings.get(f"{name}, memory kept")
            most.append(f"{median(found[BEST]) / volumes / seconds:.2f}" if found else "")
        rows.append((f"{what}, {size} x {size}", f"{need:.1f}", *(f"{1e3 * s:,.0f}" for s in least.values()), *most))
    head = [
        "a volume",
        "GFLOP",
        *(f"ms in {name}" for name in speeds),
        *(f"at most x best settings in {name}" for name in speeds),
    ]
    return text + table(head, rows)


def _network(parts: dict[str, Any]) -> str:
    text = "## The network alone\n\nOne pass over volumes of 128 x 128 x 35. *x best settings*: times as fast as "
    text += f"*{BEST}*. *Apart*: the largest difference in the logit from {BEST} in float32.\n"
    for batch, tables in parts["network"].items():
        for settings, found in tables.items():
            rows = _times(found, BEST, int(batch))
            for row, measured in zip(rows, found.values(), strict=True):
                row += [f"{median(measured, 'faults'):,.0f}", f"{median(measured, 'over_torch_mib'):,.0f}"]
                row.append(f"{measured[0]['apart']:.1e}")
            head = [f"batch {batch}, {settings}", "ms a volume", *RATIOS, "page faults", "MiB over torch", "apart"]
            text += "\n" + table(head, rows)
    return text


def _training(parts: dict[str, Any]) -> str:
    text = """## Training

A step with Adam on 4 volumes of 35 slices: forward, back, update. Loss: binary cross-entropy before the given
step, all from the same weights on the same volumes. Keras 3's TimeDistributed normalises every slice by itself
while it learns (3.15.1), so that its losses are others. Those of the others start as one and part by float32's
rounding, which Adam's first steps amplify, since they are as large for the smallest gradient.
"""
    for size, tables in parts["training"].items():
        for settings, found in tables.items():
            rows = _times(found, BEST, 4)
            steps = [k for k in (0, 1, 3, 5) if k < len(found[OURS])]
            for row, measured in zip(rows, found.values(), strict=True):
                row.append(f"{median(measured, 'over_torch_mib'):,.0f}")
                row += [f"{measured[k]['loss']:.4f}" for k in steps]
            head = [f"{size} x {size}, {settings}", "ms a volume", *RATIOS, "MiB over torch"]
            text += "\n" + table([*head, *(f"loss, step {k + 1}" for k in steps)], rows)
    return text


def _scan(parts: dict[str, Any]) -> str:
    text = (
        "## A whole scan\n\nA CT of 512 x 512 x 300 (int16, in memory) to the answer with every overlay, lung mask and "
    )
    text += "densitometry; the peer gives no overlays. First: the first in its process. Memory: the highest during a "
    text += "scan above the import of torch, the CT not counted; and of the first scan above what was there before it "
    text += "(SimpleITK, SciPy, model, CT).\n"
    for settings, found in parts["scan"].items():
        rows = _times(found, "peer pipeline")
        for row, measured in zip(rows, found.values(), strict=True):
            ct = measured[0].get("ct_mib", 0)
            row += [f"{1e3 * measured[0]['wall']:,.0f}", f"{max(m['over_torch_mib'] for m in measured) - ct:,.0f}"]
            row.append(f"{measured[0]['over_before_mib']:,.0f}")
        head = ["ms", "x peer", "x peer, CPU time", "first, ms", "MiB over torch", "MiB over before"]
        text += "\n" + table([settings, *head], rows)
    scans = list(parts["scan"].values())
    text += "\n" + _stages(
        {f"{label}, {name}": v for name, found in parts["scan"].items() for label, v in found.items()}
    )
    peer, ours = scans[0]["peer pipeline"][0], scans[0][OURS][0]
    text += f"\nLogit: ours {ours['logit']:.6f}, PyTorch on our input {peer['on_our_input']:.6f}, "
    text += f"the peer pipeline (another way of resampling) {peer['logit']:.6f}. Dice of the two lung masks "
    text += f"{peer['dice']:.3f}; LAA%-950 {peer['laa_950_apart']:.2f} percentage points apart.\n"
    for settings, found in parts["scan"].items():
        apart = abs(found[OURS][0]["probability"] - ours["probability"])
        text += f"Probability of ours, {settings}: {apart:.1e} from that of the first table.\n"
    return text


def _stages(found: dict[str, Any]) -> str:
    rows = []
    for label, measured in found.items():
        for stage in measured[0].get("stages", {}):
            seconds = [m["stages"][stage] for m in measured[1:]]
            share = middle(seconds) / median(measured)
            rows.append((label, STAGES.get(stage, stage), spread(seconds), f"{100 * share:.0f} %"))
    lines = table(["", "stage", "ms", "share"], rows)
    return lines.replace("| --- | ---: |", "| --- | --- |", 1)


def _reading(parts: dict[str, Any]) -> str:
    names = {"ct.nrrd": "uncompressed NRRD", "dicom": "DICOM folder"}
    found = {names[name]: measured for name, measured in parts["reading"].items()}
    return (
        "## From files\n\nThe same CT, read for every scan from files that the system holds in memory.\n\n"
        + _stages(found)
    )


def _growth(parts: dict[str, Any]) -> str:
    text = "## Growth\n\nTime and memory of a scan of 512 x 512 with the number of slices; without memory kept.\n\n"
    rows = [
        (slices, spread([m["wall"] for m in measured[1:]]), f"{median(measured, 'over_before_mib'):.0f}")
        for slices, measured in parts["growth"].items()
    ]
    return text + table(["slices", "ms", "MiB above before the scan"], rows)


def _many(parts: dict[str, Any]) -> str:
    scans = parts["many"]["scans"]
    tenth = max(1, len(scans) // 10)
    text = f"## {len(scans)} scans in one process\n\nA CT of 256 x 256 x 150, again and again, without memory kept.\n\n"
    rows = [
        (name, spread([m["wall"] for m in some]), f"{_middle(some, 'resident_mib'):.0f}")
        for name, some in (("first tenth", scans[:tenth]), ("last tenth", scans[-tenth:]))
    ]
    return text + table(["", "ms", "MiB resident afterwards"], rows)


def _cold(parts: dict[str, Any]) -> str:
    text = (
        "## Cold start\n\nPython processes that import and end. The first scan in a process is in the table of scans."
    )
    torch = middle(parts["cold"]["torch"])
    rows = [(name, spread(seconds), f"{middle(seconds) / torch:.2f}") for name, seconds in parts["cold"].items()]
    return text + "\n\n" + table(["import of", "ms", "x torch"], rows)


def _cohort(parts: dict[str, Any]) -> str:
    cohort = parts["cohort"]
    text = f"## Cohorts\n\n`emphysema-scanner batch` on {cohort['count']} files of that CT, its start included. "
    if "reading" in parts:
        measured = parts["reading"]["ct.nrrd"]
        largest = max(measured[0]["stages"], key=lambda stage: middle(m["stages"][stage] for m in measured[1:]))
        share = middle(m["stages"][largest] for m in measured[1:]) / median(measured)
        text += (
            f"The bottleneck is the stage *{STAGES.get(largest, largest)}*: {100 * share:.0f} % of a scan from a file."
        )
    rows = [
        (processes, f"{middle(values):.0f} ({min(values):.0f} to {max(values):.0f})")
        for processes, values in cohort["per_minute"].items()
    ]
    return text + "\n\n" + table(["processes", "CTs a minute"], rows)


def _plot(parts: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "performance"
    from matplotlib.figure import Figure

    shown = [name for name in ("network", "scan", "training") if name in parts]
    if not shown:
        return
    figure = Figure(figsize=(4.6 * len(shown), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        if name == "training":
            size, tables = next(iter(parts[name].items()))
            settings, found = next(iter(tables.items()))
            for label, measured in found.items():
                line = "-" if label.startswith(OURS) else "--"
                axes.plot(range(1, len(measured) + 1), [m["loss"] for m in measured], line, label=label)
            axes.set(title=f"Learning, 4 volumes of {size} x {size}", xlabel="step", ylabel="binary cross-entropy")
            axes.legend(fontsize=7)
            continue
        settings, found = next(iter((parts[name]["1"] if name == "network" else parts[name]).items()))
        labels = list(found)[::-1]
        times = [[1e3 * m["wall"] for m in found[label][1:]] for label in labels]
        colours = ["tab:blue" if label.startswith(OURS) else "tab:gray" for label in labels]
        values = [middle(t) for t in times]
        errors = [
            [v - min(t) for v, t in zip(values, times, strict=True)],
            [max(t) - v for v, t in zip(values, times, strict=True)],
        ]
        axes.barh(labels, values, xerr=errors, color=colours)
        axes.tick_params(labelsize=7)
        title = "Network alone, one volume" if name == "network" else "Whole scan, 512 x 512 x 300"
        axes.set(title=f"{title}\n{settings}", xlabel="ms")
    figure.savefig(path, metadata={"Date": None})
