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
differ. *Memory kept*: the process keeps what tensors free and uses huge pages (`core/memory.py`), as our command line
does; *as in Slicer* is ours without it.
"""
GPU = """## GPU

Nothing here was timed on a GPU: there was none. The code is the same; `emphysema-scanner benchmark --device cuda` times
it for whoever has one and checks that it says the same as the CPU.
"""
STAGES = {"check": "checking the image", "lung_mask": "lung mask"}


def write_page(results: dict[str, Any], folder: Path) -> None:
    """performance.md and performance.svg into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: part["measured"] for name, part in results.items()}
    text = [INTRODUCTION, _machine(results), _targets(parts), "![Ours and peers](performance.svg)\n"]
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


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _machine(results: dict[str, Any]) -> str:
    last = next(reversed(results.values()))["machine"]
    rows = [(name, value) for name, value in last.items() if name != "load before"]
    loads = ", ".join(f"{name} {part['machine']['load before']}" for name, part in results.items())
    minutes = sum(part["seconds"] for part in results.values()) / 60
    rows += [("load of the machine before each part", loads), ("minutes in all", f"{minutes:.0f}")]
    return _table(["machine", ""], rows)


def _targets(parts: dict[str, Any]) -> str:
    """What was to be reached, what is, and what is below."""
    rows: list[tuple[str, str, str, bool]] = []

    def at_least(text: str, wanted: float, ratio: float) -> None:
        rows.append((text, f"at least {wanted:g}", f"{ratio:.2f}", ratio >= wanted))

    def at_most(text: str, wanted: float, value: float, unit: str = "") -> None:
        rows.append((text, f"at most {wanted:g}{unit}", f"{value:.2f}{unit}", value <= wanted))

    def ratio(found: dict[str, Any], peer: str, ours: str) -> float | None:
        return median(found[peer]) / median(found[ours]) if peer in found and ours in found else None

    scan = parts.get("scan", {})
    for peer, wanted in (("peer pipeline", 10.0), ("naive network alone", 1.0)):
        value = ratio(scan, peer, "ours")
        if value:
            at_least(f"whole scan: {peer} / ours", wanted, value)
    if scan:
        at_most("whole scan: memory over the import of torch, without the CT", 150, _scan_memory(scan), " MiB")
        before = scan.get("ours, as in Slicer", scan["ours"])[0]["over_before_mib"]
        at_most("whole scan: memory over libraries, model and CT", 150, before, " MiB")
    for batch, found in parts.get("network", {}).items():
        for peer, ours, wanted in (
            ("naive PyTorch", "ours", 2.3),
            ("ONNX Runtime", "ours", 1.0),
            ("naive PyTorch", "ours, bf16", 4.0),
        ):
            value = ratio(found, peer, ours)
            if value:
                at_least(f"network, batch {batch}: {peer} / {ours}", wanted, value)
    for size, found in parts.get("training", {}).items():
        for peer, wanted in (("naive PyTorch", 4.0), ("Keras 3 on JAX", 6.0)):
            for ours in ("ours", "ours, bf16"):
                value = ratio(found, peer, ours)
                if value:
                    at_least(f"training, {size} x {size}: {peer} / {ours}", wanted, value)
        if "ours, memory not kept" in found:
            memory = [median(found[way], "over_torch_mib") for way in ("ours, memory not kept", "naive PyTorch")]
            at_most(f"training, {size} x {size}: memory, ours / naive PyTorch, neither kept", 1, memory[0] / memory[1])
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
    return f"## Targets\n\n{said}\n\n" + _table(["", "wanted", "measured", "met"], met)


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
    naive = {("reading", "128"): (parts.get("network", {}).get("1"), 1)}
    naive |= {("learning", size): (parts.get("training", {}).get(size), 4) for size in ("64", "128")}
    rows = []
    for (what, size), (found, volumes) in naive.items():
        need = limits["gflop"][size] * (1 if what == "reading" else 3)
        least = [need / speed for speed in speeds.values()]
        most = [f"{median(found['naive PyTorch']) / volumes / s:.2f}" if found else "" for s in least]
        rows.append((f"{what}, {size} x {size}", f"{need:.1f}", *(f"{1e3 * s:,.0f}" for s in least), *most))
    head = [
        "a volume",
        "GFLOP",
        *(f"ms in {name}" for name in speeds),
        *(f"at most x naive in {name}" for name in speeds),
    ]
    return text + _table(head, rows)


def _network(parts: dict[str, Any]) -> str:
    text = "## The network alone\n\nOne pass over volumes of 128 x 128 x 35, float32 where nothing else is said. "
    text += "*Apart* is the largest difference in the logit from naive PyTorch's.\n"
    for batch, found in parts["network"].items():
        rows = _times(found, "naive PyTorch", int(batch))
        for row, measured in zip(rows, found.values(), strict=True):
            row += [f"{median(measured, 'faults'):,.0f}", f"{median(measured, 'over_torch_mib'):,.0f}"]
            row.append(f"{measured[0]['apart']:.1e}")
        head = [f"batch {batch}", "ms a volume", "x naive", "x naive, CPU time", "page faults", "MiB over torch"]
        text += "\n" + _table([*head, "apart"], rows)
    return text


def _training(parts: dict[str, Any]) -> str:
    text = """## Training

A step with Adam on 4 volumes of 35 slices: forward, back, update. Loss: binary cross-entropy before the given
step, all from the same weights on the same volumes. Keras 3's TimeDistributed normalises every slice by itself
while it learns (3.15.1), so that its losses are others. Those of the others start as one and part by float32's
rounding, which Adam's first steps amplify, since they are as large for the smallest gradient.
"""
    for size, found in parts["training"].items():
        rows = _times(found, "naive PyTorch", 4)
        steps = [k for k in (0, 1, 3, 5) if k < len(found["ours"])]
        for row, measured in zip(rows, found.values(), strict=True):
            row.append(f"{median(measured, 'over_torch_mib'):,.0f}")
            row += [f"{measured[k]['loss']:.4f}" for k in steps]
        head = [f"{size} x {size}", "ms a volume", "x naive", "x naive, CPU time", "MiB over torch"]
        text += "\n" + _table([*head, *(f"loss, step {k + 1}" for k in steps)], rows)
    return text


def _scan_memory(scan: dict[str, Any]) -> float:
    """MiB over torch at the peak of a scan as in Slicer, without the CT; of the first scan, which is the largest."""
    measured = scan.get("ours, as in Slicer", scan["ours"])
    return max(m["over_torch_mib"] for m in measured) - measured[0]["ct_mib"]


def _scan(parts: dict[str, Any]) -> str:
    found = parts["scan"]
    text = (
        "## A whole scan\n\nA CT of 512 x 512 x 300 (int16, in memory) to the answer with every overlay, lung mask and "
    )
    text += "densitometry; the peer gives no overlays. First: the first in its process. Memory: the highest during a "
    text += "scan above the import of torch, the CT not counted; and of the first scan above what was there before it "
    text += "(SimpleITK, SciPy, model, CT).\n\n"
    rows = _times(found, "peer pipeline")
    for row, measured in zip(rows, found.values(), strict=True):
        ct = measured[0].get("ct_mib", 0)
        row += [f"{1e3 * measured[0]['wall']:,.0f}", f"{max(m['over_torch_mib'] for m in measured) - ct:,.0f}"]
        row.append(f"{measured[0]['over_before_mib']:,.0f}")
    text += _table(["", "ms", "x peer", "x peer, CPU time", "first, ms", "MiB over torch", "MiB over before"], rows)
    text += "\n" + _stages(found)
    peer = found["peer pipeline"][0]
    text += (
        f"\nLogit: ours {found['ours'][0]['logit']:.6f}, the naive network on our input {peer['on_our_input']:.6f}, "
    )
    text += f"the peer pipeline (another way of resampling) {peer['logit']:.6f}. Dice of the two lung masks "
    text += f"{peer['dice']:.3f}; LAA%-950 {peer['laa_950_apart']:.2f} percentage points apart.\n"
    ours = found["ours"][0]
    if "ours, bf16" in found:
        apart = abs(found["ours, bf16"][0]["probability"] - ours["probability"])
        text += f"Probability of ours, bf16: {apart:.1e} from that of ours.\n"
    return text


def _stages(found: dict[str, Any]) -> str:
    rows = []
    for label, measured in found.items():
        for stage in measured[0].get("stages", {}):
            seconds = [m["stages"][stage] for m in measured[1:]]
            share = middle(seconds) / median(measured)
            rows.append((label, STAGES.get(stage, stage), spread(seconds), f"{100 * share:.0f} %"))
    lines = _table(["", "stage", "ms", "share"], rows)
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
    return text + _table(["slices", "ms", "MiB above before the scan"], rows)


def _many(parts: dict[str, Any]) -> str:
    scans = parts["many"]["scans"]
    tenth = max(1, len(scans) // 10)
    text = f"## {len(scans)} scans in one process\n\nA CT of 256 x 256 x 150, again and again, without memory kept.\n\n"
    rows = [
        (name, spread([m["wall"] for m in some]), f"{_middle(some, 'resident_mib'):.0f}")
        for name, some in (("first tenth", scans[:tenth]), ("last tenth", scans[-tenth:]))
    ]
    return text + _table(["", "ms", "MiB resident afterwards"], rows)


def _cold(parts: dict[str, Any]) -> str:
    text = (
        "## Cold start\n\nPython processes that import and end. The first scan in a process is in the table of scans."
    )
    torch = middle(parts["cold"]["torch"])
    rows = [(name, spread(seconds), f"{middle(seconds) / torch:.2f}") for name, seconds in parts["cold"].items()]
    return text + "\n\n" + _table(["import of", "ms", "x torch"], rows)


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
    return text + "\n\n" + _table(["processes", "CTs a minute"], rows)


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
            size, found = next(iter(parts[name].items()))
            for label, measured in found.items():
                line = "-" if label.startswith("ours") else "--"
                axes.plot(range(1, len(measured) + 1), [m["loss"] for m in measured], line, label=label)
            axes.set(title=f"Learning, 4 volumes of {size} x {size}", xlabel="step", ylabel="binary cross-entropy")
            axes.legend(fontsize=7)
            continue
        found = parts[name]["1"] if name == "network" else parts[name]
        labels = list(found)[::-1]
        times = [[1e3 * m["wall"] for m in found[label][1:]] for label in labels]
        colours = ["tab:blue" if label.startswith("ours") else "tab:gray" for label in labels]
        values = [middle(t) for t in times]
        errors = [
            [v - min(t) for v, t in zip(values, times, strict=True)],
            [max(t) - v for v, t in zip(values, times, strict=True)],
        ]
        axes.barh(labels, values, xerr=errors, color=colours)
        axes.tick_params(labelsize=7)
        axes.set(title="Network alone, one volume" if name == "network" else "Whole scan, 512 x 512 x 300", xlabel="ms")
    figure.savefig(path, metadata={"Date": None})
